"""Contacts, message templates and messages again, by the people who use them every day."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_keyboard import press, tab_to
from tests.browser.visitor import RECIPIENT, Visitor

EMIL, FRIEDA = "+491713920020", "+491713920021"


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {"SIPGATE_OPTIONAL_SCOPES": "contacts:read balance:read"}


def test_contacts_are_suggested_while_one_writes(anna: Visitor) -> None:
    anna.go("/contacts")
    anna.go("/")
    anna.to.press_sequentially("0171 3920050, fri")
    anna.page.get_by_role("button", name=f"Frieda Großmann {FRIEDA}").click()
    expect(anna.to).to_have_value(f"0171 3920050, {FRIEDA}")
    expect(anna.button).to_have_text("Send 2 messages")
    anna.to.fill("xyz")
    expect(anna.page.get_by_role("button", name="Frieda Großmann")).to_have_count(0)


def test_a_suggestion_is_taken_by_keyboard(anna: Visitor) -> None:
    anna.go("/contacts")
    anna.go("/")
    anna.to.focus()
    anna.page.keyboard.type("emil")
    suggestion = anna.page.get_by_role("button", name="Emil Fischer")
    suggestion.wait_for()
    tab_to(anna, suggestion)
    press(anna, "Enter")
    expect(anna.to).to_have_value(EMIL)


def test_no_whole_number_is_asked_for_in_an_address(anna: Visitor) -> None:
    asked: list[str] = []
    anna.page.on("request", lambda request: asked.append(request.url))
    anna.go("/")
    anna.to.press_sequentially("0171 3920020")
    anna.page.wait_for_timeout(300)
    suggested = [url for url in asked if "/contacts?q=" in url]
    assert suggested
    assert not [url for url in suggested if "3920" in url]


def test_a_contact_opens_the_form(writer: Visitor) -> None:
    writer.go("/contacts")
    writer.page.get_by_label("Name or number").fill("ölm")
    writer.page.get_by_role("button", name="Search").click()
    writer.page.get_by_role("link", name="Hans Ölmann").first.click()
    expect(writer.to).to_have_value("+4917604069002")


def test_a_template_is_made_filled_in_and_sent(writer: Visitor) -> None:
    page = writer.page
    writer.go("/message-templates")
    page.get_by_role("link", name="New message template").click()
    page.get_by_label("Name").fill("Reminder")
    page.get_by_label("Text").fill("Hello ((name)), until ((time)).")
    page.get_by_role("button", name="Save template").click()
    writer.go("/")
    page.get_by_role("link", name="Reminder").click()
    page.get_by_label("name", exact=True).fill("Emil")
    page.get_by_label("time", exact=True).fill("ten")
    page.get_by_role("button", name="Insert into a new message").click()
    expect(writer.message).to_have_value("Hello Emil, until ten.")
    writer.to.fill(RECIPIENT)
    writer.button.click()
    writer.see("Accepted by sipgate")
    assert writer.sent_texts() == ["Hello Emil, until ten."]


def test_a_test_to_oneself_leaves_the_form_as_it_was(writer: Visitor) -> None:
    writer.go("/")
    writer.write(RECIPIENT, "Is this readable?")
    writer.page.get_by_text("Try it on your own phone first").click()
    writer.page.get_by_label("Your own mobile number").fill("0171 3920060")
    writer.page.get_by_role("button", name="Send a test to myself").click()
    writer.see("Test to +49 171 3920060: Accepted")
    expect(writer.to).to_have_value(RECIPIENT)
    expect(writer.message).to_have_value("Is this readable?")
    writer.button.click()
    # The same text, to somebody else: no question stands in the way.
    writer.see("Accepted by sipgate")
    assert [one.recipient for one in writer.sipgate.world.arrivals] == ["+491713920060", RECIPIENT]


def test_messages_are_filtered_and_searched(writer: Visitor) -> None:
    writer.send(RECIPIENT, "Your bicycle is ready")
    writer.send("0171 3920002", "No money for this")
    writer.go("/messages")
    writer.page.get_by_role("link", name="Refused 1").click()
    expect(writer.page.locator("tbody tr")).to_have_count(1)
    writer.see("No money for this")
    writer.page.get_by_role("link", name="All", exact=True).click()
    writer.page.get_by_label("Search").fill("bicycle")
    writer.page.get_by_role("button", name="Search").click()
    expect(writer.page.locator("tbody tr")).to_have_count(1)
    writer.page.locator("tbody a").click()
    writer.page.get_by_role("link", name="All messages to this number").click()
    expect(writer.page.get_by_role("heading", level=1)).to_have_text("Messages to +49 171 3920050")
