"""Contacts, message templates and messages again, by the people who use them every day."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from tests.browser.every_page import kept_template
from tests.browser.test_keyboard import press
from tests.browser.visitor import RECIPIENT, Visitor

EMIL, FRIEDA = "+491713920020", "+491713920021"


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {"SIPGATE_OPTIONAL_SCOPES": "contacts:read balance:read"}


@pytest.fixture
def writing(anna: Visitor) -> Visitor:
    """Anna on the form, whose contacts are known."""
    anna.go("/contacts")
    anna.go("/")
    expect(anna.button).to_have_text("Send now")
    return anna


def test_contacts_are_suggested_while_one_writes(writing: Visitor) -> None:
    writing.to.press_sequentially("0171 3920050, fri")
    writing.suggestions.filter(has_text="Frieda Großmann").click()
    expect(writing.tokens).to_have_text(["0171 3920050", "Frieda Großmann"])
    expect(writing.to).to_have_value(f"0171 3920050\n{FRIEDA}\n")
    expect(writing.button).to_have_text("Send 2 messages")
    writing.to.press_sequentially("xyz")
    expect(writing.suggestions).to_have_count(0)


def test_recipients_are_chosen_and_dropped_by_keyboard(writing: Visitor) -> None:
    page = writing.page
    page.keyboard.type("emil")
    expect(writing.suggestions).to_have_text([f"Emil Fischer {EMIL}"])
    expect(page.locator("[role=option][aria-selected=true]")).to_have_count(1)
    press(writing, "Enter")
    expect(writing.tokens).to_have_text(["Emil Fischer"])
    page.keyboard.type("0171 3920050")
    press(writing, "Enter")
    expect(writing.tokens).to_have_count(2)
    press(writing, "Backspace")
    expect(writing.tokens).to_have_text(["Emil Fischer"])
    page.keyboard.type("fi")
    writing.suggestions.first.wait_for()
    press(writing, "Escape")
    expect(writing.suggestions).to_have_count(0)
    expect(writing.to).to_have_value(f"{EMIL}\nfi")
    press(writing, "Backspace", "Backspace", "Backspace")
    expect(writing.tokens).to_have_count(0)
    expect(writing.to).to_have_value("")


def test_the_arrow_keys_walk_through_the_suggestions(writing: Visitor) -> None:
    writing.page.keyboard.type("fr")
    options = writing.suggestions
    options.first.wait_for()
    names = options.all_inner_texts()
    for place in [*range(1, len(names)), 0]:
        press(writing, "ArrowDown")
        expect(writing.page.locator("[role=option][aria-selected=true]")).to_have_text(names[place])
    active = writing.to.get_attribute("aria-activedescendant")
    expect(writing.page.locator(f"#{active}")).to_have_text(names[0])
    press(writing, "ArrowUp")
    expect(writing.page.locator("[role=option][aria-selected=true]")).to_have_count(0)


def test_a_token_is_removed_with_the_arrow_keys_and_enter(writing: Visitor) -> None:
    writing.to.press_sequentially("0171 3920050,0171 3920051,0171 3920052,")
    expect(writing.tokens).to_have_count(3)
    press(writing, "Shift+Tab", "ArrowRight")
    expect(writing.tokens.nth(1)).to_be_focused()
    press(writing, "Enter")
    expect(writing.tokens).to_have_text(["0171 3920050", "0171 3920052"])
    expect(writing.to).to_be_focused()


def test_an_answer_that_comes_late_leaves_the_focus_on_its_token(writing: Visitor) -> None:
    held: list[Route] = []
    writing.page.route("**/recipients", lambda route: held.append(route))
    writing.to.press_sequentially(f"0171 3920050,{EMIL},")
    expect(writing.tokens).to_have_text(["0171 3920050", EMIL])
    press(writing, "Shift+Tab", "ArrowRight")
    expect(writing.tokens.nth(1)).to_be_focused()
    with writing.page.expect_response("**/recipients"):
        held[-1].continue_()
    expect(writing.tokens.nth(1)).to_have_accessible_name("Remove Emil Fischer")
    expect(writing.tokens.nth(1)).to_be_focused()
    press(writing, "ArrowLeft")
    expect(writing.tokens.first).to_be_focused()


@pytest.mark.parametrize("typed", ["Frieda Großmann", "Frieda Großmann,"])
def test_an_exact_name_is_its_contact(writer: Visitor, typed: str) -> None:
    writer.go("/contacts")
    writer.go("/")
    writer.to.press_sequentially(typed)
    press(writer, "Escape")
    writer.message.fill("To Frieda")
    writer.button.click()
    writer.see("Accepted by sipgate")
    assert [one.recipient for one in writer.sipgate.world.arrivals] == [FRIEDA]


TABLE = "Name\tHandy\n" + "\n".join(f"Gast {n}\t0171 39200{n}" for n in range(50, 62))
PASTE = """text => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  document.activeElement.dispatchEvent(
    new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true }));
}"""


def test_twelve_lines_of_a_spreadsheet_are_twelve_recipients(writing: Visitor) -> None:
    writing.to.focus()
    writing.page.evaluate(PASTE, TABLE + "\nGast 50 noch einmal\t+49 171 3920050")
    expect(writing.button).to_have_text("Send 12 messages")
    expect(writing.tokens.first).to_have_text("Gast 50")
    writing.see("1 number was there twice; it gets one message.")
    writing.message.fill("Für zwölf")
    writing.button.click()
    writing.see("12 recipients")
    writing.page.get_by_role("button", name="Send 12 messages").click()
    writing.page.wait_for_url("**/batches/*")


def test_a_wrong_one_is_marked_where_it_stands_and_corrected_there(writing: Visitor) -> None:
    writing.to.press_sequentially("0171 12,0171 3920050,")
    wrong = writing.page.locator("[data-recipients] .wrong")
    expect(wrong).to_have_text(["0171 12"])
    writing.see("“0171 12” is too short")
    wrong.click()
    expect(writing.to).to_have_value("0171 3920050\n0171 12")
    writing.page.keyboard.type("34567")
    writing.message.fill("Right now")
    expect(wrong).to_have_count(0)
    expect(writing.tokens).to_have_text(["0171 3920050", "0171 1234567"])


def test_the_form_that_comes_back_marks_the_wrong_one(writing: Visitor) -> None:
    writing.write("0171 12\n0171 3920020", "Hello")
    writing.button.click()
    writing.see("“0171 12” is too short")
    expect(writing.tokens).to_have_text(["0171 12", "Emil Fischer"])
    expect(writing.page.locator("[data-recipients] .wrong")).to_have_text(["0171 12"])
    expect(writing.to).to_have_value("0171 12\n0171 3920020")


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
    page.locator("main button[type=submit]").click()
    page.get_by_role("link", name="Use “Reminder”").click()
    page.get_by_label("name", exact=True).fill("Emil")
    page.get_by_label("time", exact=True).fill("ten")
    writer.to.fill(RECIPIENT)
    writer.button.click()
    confirm = page.locator("button[name=confirm]")
    expect(confirm.or_(page.locator("[data-outcome]")).first).to_be_visible()
    if confirm.is_visible():  # without JavaScript, the finished text has not been seen before
        writer.see("The finished text: “Hello Emil, until ten.”")
        confirm.click()
    writer.see("Accepted by sipgate")
    assert writer.sent_texts() == ["Hello Emil, until ten."]


def test_a_template_comes_to_what_was_typed_and_is_filled_in_place(writing: Visitor) -> None:
    page = writing.page
    kept_template(writing, "Hello ((first name)), until ((time)).")
    writing.page.reload()
    writing.to.press_sequentially("frieda")
    writing.suggestions.click()
    writing.message.fill("Good morning!")
    page.get_by_role("button", name="Reminder").click()
    expect(writing.message).to_have_value("Good morning!\nHello Frieda, until ((time)).")
    expect(page.get_by_label("first name", exact=True)).to_have_value("Frieda")
    expect(page.get_by_label("time", exact=True)).to_be_focused()
    page.keyboard.type("ten")
    expect(writing.message).to_have_value("Good morning!\nHello Frieda, until ten.")
    expect(page.locator("[data-phone-text]")).to_have_text("Good morning! Hello Frieda, until ten.")
    expect(writing.to).to_have_value(f"{FRIEDA}")
    page.get_by_role("button", name="Undo").click()
    expect(writing.message).to_have_value("Good morning!")
    writing.page.get_by_role("button", name="Reminder").click()
    expect(page.get_by_label("time", exact=True)).to_have_value("ten")
    press(writing, "Control+Enter")
    writing.see("Accepted by sipgate")
    assert writing.sent_texts() == ["Good morning!\nHello Frieda, until ten."]


def test_without_javascript_a_template_comes_to_what_was_typed_too(
    signed_in: Callable[..., Visitor],
) -> None:
    visitor = signed_in(java_script_enabled=False)
    kept_template(visitor, "We are closed today.")
    visitor.go("/")
    visitor.write(RECIPIENT, "Good morning!", at="2030-01-01T08:00")
    visitor.page.get_by_label("Message template").select_option("Reminder")
    visitor.page.get_by_role("button", name="Insert into the text").click()
    expect(visitor.message).to_have_value("Good morning!\nWe are closed today.")
    expect(visitor.to).to_have_value(RECIPIENT)
    expect(visitor.send_at).to_have_value("2030-01-01T08:00")
    visitor.send_at.fill("")
    visitor.button.click()
    visitor.see("Accepted by sipgate")
    assert visitor.sent_texts() == ["Good morning!\nWe are closed today."]


def test_a_contact_chosen_meanwhile_comes_to_the_draft(writing: Visitor) -> None:
    writing.write("0171 3920050", "Half a text")
    writing.go("/contacts")
    writing.page.get_by_role("link", name="Emil Fischer").click()
    expect(writing.message).to_have_value("Half a text")
    expect(writing.tokens).to_have_text(["0171 3920050", "Emil Fischer"])
    writing.page.reload()
    expect(writing.tokens).to_have_text(["0171 3920050", "Emil Fischer"])


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
    rows = writer.page.locator("tr[data-entry]")
    expect(rows).to_have_count(2)
    writer.page.get_by_text("More filters").click()
    writer.page.get_by_label("Status", exact=True).select_option("Refused")
    writer.page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("No money for this")
    writer.page.get_by_role("link", name="Remove filters").click()
    expect(rows).to_have_count(2)
    writer.page.get_by_label("Name, number or text").fill("bicycle")
    writer.page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("Your bicycle is ready")
    rows.get_by_role("link").click()
    writer.page.get_by_role("link", name="All messages to this number").click()
    expect(writer.page.get_by_role("heading", level=1)).to_have_text("Messages to +49 171 3920050")
