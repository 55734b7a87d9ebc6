"""Without JavaScript, every page is plain forms and links, and everything can be done."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser.every_page import kept_template
from tests.browser.visitor import RECIPIENT, Visitor
from tests.support.worker import send_to_many, work


@pytest.fixture
def live_settings() -> dict[str, str]:
    """Planned messages stay here, and sipgate's contacts and history are read."""
    return {"SIPGATE_OPTIONAL_SCOPES": "history:read contacts:read"}


@pytest.fixture
def anna(signed_in: Callable[..., Visitor]) -> Visitor:
    return signed_in(java_script_enabled=False)


def push(visitor: Visitor, name: str) -> None:
    visitor.main.get_by_role("button", name=name, exact=True).click()


def test_a_template_is_inserted_and_what_was_typed_stays(anna: Visitor) -> None:
    kept_template(anna, "Closed on Friday.", "Closed")
    anna.go("/")
    anna.write(text="Hello!")
    anna.page.get_by_label("Message template").select_option("Closed")
    push(anna, "Insert into the text")
    expect(anna.to).to_have_value(RECIPIENT)
    expect(anna.message).to_have_value("Hello!\nClosed on Friday.")
    anna.button.click()
    anna.see("Accepted by sipgate")
    assert anna.sent_texts() == ["Hello!\nClosed on Friday."]


def test_a_question_is_answered_or_the_edited_message_sent(anna: Visitor) -> None:
    anna.go("/")
    anna.write("0171 3920050\n0171 3920051")
    anna.button.click()
    anna.see("Check before sending")
    anna.message.fill("Edited")
    push(anna, "Send the edited message")
    anna.see("Check before sending")
    push(anna, "Send 2 messages")
    anna.page.wait_for_url("**/batches/*")
    work(anna.quick.app)
    anna.main.get_by_role("link", name="Refresh").click()
    anna.see("2 of 2 done")
    assert anna.sent_texts() == ["Edited", "Edited"]


def test_a_batch_is_paused_resumed_and_one_of_it_released_alone(anna: Visitor) -> None:
    anna.go(send_to_many(anna.quick, 2, "To two").path)
    push(anna, "Pause sending")
    anna.see("Paused")
    anna.page.locator(".rows a").first.click()
    push(anna, "Send now")
    anna.page.go_back()
    anna.go(anna.page.url.removeprefix(anna.url))
    anna.page.get_by_role("link", name="to 2 recipients").click()
    push(anna, "Resume sending")
    work(anna.quick.app)
    anna.main.get_by_role("link", name="Refresh").click()
    anna.see("2 of 2 done")
    assert anna.sent_texts() == ["To two", "To two"]


def test_an_unknown_message_is_looked_up_and_settled(anna: Visitor) -> None:
    anna.go(anna.quick.send("0171 3920006").location)
    push(anna, "Check sipgate's history again")
    anna.see("No matching entry yet")
    push(anna, "Mark as not sent")
    assert anna.outcome == "not_sent"
    anna.page.get_by_role("link", name="Send again").click()
    anna.to.fill(RECIPIENT)
    anna.button.click()
    anna.see("Accepted by sipgate")


def test_messages_are_found_and_a_number_is_written_to_from_its_page(anna: Visitor) -> None:
    anna.quick.send("0171 3920001", "Refused there")
    anna.quick.send(text="Found here")
    anna.go("/messages")
    anna.page.get_by_text("More filters").click()
    anna.page.get_by_label("Status").select_option("Accepted")
    push(anna, "Search")
    rows = anna.page.locator("tbody tr:has(a)")
    expect(rows).to_have_count(1)
    rows.get_by_role("link").click()
    anna.page.get_by_role("link", name="All messages to this number").click()
    anna.message.fill("And this")
    push(anna, "Send now")
    anna.see("Accepted by sipgate")
    assert anna.sent_texts()[-1] == "And this"


def test_signing_out_asks_what_happens_to_what_waits(anna: Visitor) -> None:
    later = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"
    message = anna.quick.send_and_look(send_at=later, time_zone="UTC")
    anna.go("/")
    anna.page.locator(".menu-name").click()
    anna.page.locator("#menu").get_by_role("link", name="Sign out").click()
    push(anna, "Pause and sign out")
    anna.see("You are signed out")
    anna.quick.sign_in()
    assert "Paused" in anna.quick.get(message.path).text
