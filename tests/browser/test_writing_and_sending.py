"""From the start page to the recipient's phone, as people do it."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from tests.browser.hand import IS_IN_SIGHT
from tests.browser.visitor import RECIPIENT, Visitor
from webapp.simulator import Fault

BERLIN = ZoneInfo("Europe/Berlin")
BUTTON_REPEATS = 10
REMEMBER_BUTTON = """() => document.querySelector("[data-compose]").addEventListener("submit",
  ({ submitter }) => setTimeout(() => { localStorage.said = submitter.textContent; }))"""
SCROLL = (
    "share => scrollTo(0, share * document.querySelector('.sendbar').parentElement.scrollHeight)"
)


def tomorrow(hour: int = 8) -> datetime:
    day = datetime.now(BERLIN) + timedelta(days=1)
    return day.replace(hour=hour, minute=0, second=0, microsecond=0)


def field_value(moment: datetime) -> str:
    """As a date field writes it."""
    return f"{moment:%Y-%m-%dT%H:%M}"


@pytest.mark.parametrize("with_script", [True, False], ids=["JavaScript", "no JavaScript"])
def test_somebody_signs_in_and_their_text_arrives_on_the_phone(
    new_visitor: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = new_visitor(java_script_enabled=with_script)
    visitor.sign_in("Anna Sommer")
    visitor.send("0171 3920050", "Ihr Termin ist morgen um 8 Uhr. Grüße!")
    visitor.see("Accepted by sipgate")
    assert visitor.outcome == "accepted"
    assert visitor.phone_texts() == ["Ihr Termin ist morgen um 8 Uhr. Grüße!"]


def test_a_text_of_several_lines_arrives_as_typed(anna: Visitor) -> None:
    anna.send(text="\nFirst line\n\n  indented 👍🏽")
    assert [text.text for text in anna.sipgate.phones[RECIPIENT]] == [
        "\nFirst line\n\n  indented 👍🏽"
    ]


def test_a_message_for_tomorrow_waits_at_sipgate(writer: Visitor) -> None:
    moment = tomorrow()
    writer.send(text="See you tomorrow", at=field_value(moment))
    assert writer.outcome == "scheduled"
    writer.see(f"{moment:%-d %b %Y, 08:00 CE}")
    assert [text.due_at for text in writer.scheduled()] == [moment.timestamp()]
    assert writer.phone_texts() == []
    writer.page.goto(f"{writer.sipgate.base_url}/phones")
    writer.see("Scheduled, not on a phone yet")


def test_the_other_extension_shows_its_own_sender(anna: Visitor) -> None:
    anna.go("/")
    anna.page.get_by_label("From", exact=True).select_option("s1")
    anna.write()
    anna.button.click()
    anna.page.wait_for_url("**/messages/*")
    assert [text.sender for text in anna.sipgate.phones[RECIPIENT]] == ["sipgate"]


def test_the_form_has_its_three_labels_and_begins_with_its_primary_button(writer: Visitor) -> None:
    writer.go("/")
    for label in ("From", "To", "Message"):
        expect(writer.page.get_by_label(label, exact=True)).to_have_count(1)
    expect(writer.button).to_have_text(re.compile("^(Send|Schedule)"))
    first = writer.page.locator(
        "main form button:not([type=button]), main form input[type=submit]"
    ).first
    assert first.inner_text() == writer.button.inner_text()


def test_a_quick_choice_fills_in_the_time_and_changes_the_button(anna: Visitor) -> None:
    anna.go("/")
    expect(anna.button).to_have_text("Send now")
    anna.page.get_by_role("button", name="Tomorrow 08:00").click()
    expect(anna.send_at).to_have_value(field_value(tomorrow()))
    expect(anna.button).to_have_text(f"Schedule for {tomorrow():%a} 08:00")
    expect(anna.page.locator("[data-when]")).to_have_text(
        re.compile(f"^Tomorrow, {tomorrow():%a}.* 08:00 CES?T, in ")
    )
    anna.page.get_by_role("button", name="Now", exact=True).click()
    expect(anna.send_at).to_have_value("")
    expect(anna.button).to_have_text("Send now")


def test_a_time_is_meant_in_the_zone_of_the_browser(signed_in: Callable[..., Visitor]) -> None:
    visitor = signed_in(timezone_id="America/New_York")
    zone = ZoneInfo("America/New_York")
    moment = (datetime.now(zone) + timedelta(days=1)).replace(minute=30, second=0, microsecond=0)
    visitor.send(at=field_value(moment))
    assert [text.due_at for text in visitor.scheduled()] == [moment.timestamp()]


def test_the_phone_beside_the_form_shows_text_sender_and_segments(anna: Visitor) -> None:
    anna.go("/")
    anna.write(text="x" * 161)
    expect(anna.page.locator("[data-phone-text] .cut")).to_have_count(1)
    anna.page.get_by_label("From", exact=True).select_option("s1")
    expect(anna.page.locator("[data-phone-sender]")).to_have_text("sipgate")
    anna.page.get_by_label("From", exact=True).select_option("s0")
    expect(anna.page.locator("[data-phone-sender]")).to_have_text("+49 171 3920090")


def test_a_double_click_sends_once(writer: Visitor) -> None:
    writer.go("/")
    writer.write()
    writer.button.dblclick()
    writer.page.wait_for_url("**/messages/*")
    writer.see("Accepted")
    assert writer.sent_texts() == ["Hello"]


def test_the_button_says_at_once_that_it_is_sending(anna: Visitor) -> None:
    anna.sipgate.fail_next("send", Fault(delay_s=1, deliver=True))
    anna.go("/")
    anna.write()
    anna.page.evaluate(REMEMBER_BUTTON)
    anna.button.click()
    anna.page.wait_for_url("**/messages/*")
    assert anna.page.evaluate("localStorage.said") == "Sending…"


def test_what_sends_the_form_is_in_sight_all_along_a_long_form(anna: Visitor) -> None:
    anna.page.set_viewport_size({"width": 320, "height": 640})
    anna.go("/")
    anna.write("0171 3920050\n0171 3920051", "A line\n" * 40, at=field_value(tomorrow()))
    for share in (0, 0.25, 0.5, 0.75):
        anna.page.evaluate(SCROLL, share)
        expect(anna.button).to_be_in_viewport(ratio=1)
        assert anna.button.evaluate(IS_IN_SIGHT)


def test_an_edited_message_can_be_sent_once_it_was_edited(anna: Visitor) -> None:
    question_before_sending(anna)
    edited = anna.page.get_by_role("button", name="Send the edited message")
    expect(edited).to_be_hidden()
    for field in (anna.to, anna.message, anna.to):  # one may look around
        field.focus()
    expect(edited).to_be_hidden()
    anna.message.fill("Something else")
    expect(edited).to_be_visible()
    anna.message.fill("Hello")
    expect(edited).to_be_hidden()
    anna.message.fill("Something else")
    edited.click()
    anna.see("Check before sending")
    anna.page.get_by_role("button", name="Send 2 messages").click()
    anna.page.wait_for_url("**/batches/*")


def question_before_sending(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write("0171 3920050\n0171 3920051")
    visitor.button.click()
    visitor.see("Check before sending")


def test_a_held_enter_key_sends_once(writer: Visitor) -> None:
    writer.sipgate.fail_next("send", Fault(delay_s=0.5, deliver=True))
    writer.go("/")
    writer.write()
    writer.button.focus()
    for _ in range(BUTTON_REPEATS):
        writer.page.keyboard.down("Enter")
    writer.page.keyboard.up("Enter")
    writer.page.wait_for_url("**/messages/*")
    assert writer.sent_texts() == ["Hello"]


@pytest.mark.goes_back
def test_going_back_and_sending_again_leads_to_the_same_message(writer: Visitor) -> None:
    writer.go("/")  # the first form brings a cookie, and Chrome keeps no such page
    writer.send()
    result = writer.page.url
    writer.page.go_back(wait_until="commit")
    expect(writer.to).to_have_value(RECIPIENT)
    writer.button.click()
    writer.see("Accepted")
    assert writer.page.url == result
    assert writer.sent_texts() == ["Hello"]


@pytest.mark.goes_back
def test_going_back_to_a_page_that_was_not_kept_offers_no_second_send(anna: Visitor) -> None:
    anna.send()
    anna.page.goto("about:blank")
    anna.go("/messages")
    anna.page.evaluate("history.go(-3)")
    anna.page.wait_for_url(f"{anna.url}/")
    expect(anna.to).to_have_value("")
    anna.button.click()
    anna.see("Enter a mobile number")
    assert anna.sent_texts() == ["Hello"]


def test_a_reloaded_result_sends_nothing(anna: Visitor) -> None:
    anna.send()
    anna.page.reload()
    anna.see("Accepted")
    assert anna.sent_texts() == ["Hello"]


def test_the_page_of_a_message_under_way_turns_to_its_outcome_by_itself(anna: Visitor) -> None:
    anna.go("/")
    anna.write(text="Slow")
    anna.send_slowly(6)
    onlooker = anna.new_tab()
    onlooker.go("/messages")
    onlooker.page.get_by_role("link", name="+49 171 3920050").click()
    onlooker.see("on its way to sipgate")
    onlooker.see("Accepted by sipgate")
    anna.page.wait_for_url("**/messages/*")
    assert anna.sent_texts() == ["Slow"]


def test_send_again_makes_a_new_message_that_is_linked_to_the_old_one(anna: Visitor) -> None:
    anna.send("0171 3920001", "Try")
    first = anna.page.url
    anna.page.get_by_role("link", name="Send again").click()
    expect(anna.message).to_have_value("Try")
    anna.to.fill(RECIPIENT)
    anna.button.click()
    anna.see("Accepted by sipgate")
    anna.page.get_by_role("link", name="an earlier message").click()
    assert anna.page.url == first
    assert anna.sent_texts() == ["Try", "Try"]


def test_the_list_names_what_was_sent_newest_first(anna: Visitor) -> None:
    anna.send(text="The first")
    anna.send("0171 3920002", "The second")
    anna.page.get_by_role("link", name="Messages", exact=True).click()
    rows = anna.page.locator("tbody tr:has(a)")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Refused")
    expect(rows.last).to_contain_text("The first")
