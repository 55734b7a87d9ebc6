"""Everything by keyboard alone, and one always sees where one is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.every_page import kept_template
from tests.browser.visitor import RECIPIENT, Visitor

MOST_STOPS = 40
MOST_STOPS_TO_SEND = 12
WITH_AND_WITHOUT = pytest.mark.parametrize(
    "with_script", [True, False], ids=["JavaScript", "no JavaScript"]
)


@pytest.fixture
def live_settings() -> dict[str, str]:
    """Planned messages stay here, to be changed and withdrawn."""
    return {}


SHOWS_FOCUS = """() => {
  const style = getComputedStyle(document.activeElement);
  if (document.activeElement.type === "datetime-local") return true; // the browser marks its parts
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
}"""
NAME = "() => document.activeElement.outerHTML.slice(0, 100)"


def press(visitor: Visitor, *keys: str) -> None:
    for key in keys:
        visitor.page.keyboard.press(key)


def tab_to(visitor: Visitor, wanted: Locator) -> None:
    for _ in range(MOST_STOPS):
        press(visitor, "Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"the Tab key does not lead to {wanted}")


def open_link(visitor: Visitor, name: str) -> None:
    tab_to(visitor, visitor.main.get_by_role("link", name=name, exact=True))
    press(visitor, "Enter")


def push_button(visitor: Visitor, name: str) -> None:
    tab_to(visitor, visitor.main.get_by_role("button", name=name, exact=True))
    press(visitor, "Enter")


@WITH_AND_WITHOUT
def test_signing_in_sending_and_signing_out_need_no_mouse(
    new_visitor: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = new_visitor(java_script_enabled=with_script)
    visitor.go("/")
    tab_to(visitor, visitor.page.get_by_role("link", name="Sign in with sipgate"))
    press(visitor, "Enter")
    tab_to(visitor, visitor.page.get_by_role("radio", name="Anna Sommer"))
    tab_to(visitor, visitor.page.get_by_role("button", name="Allow"))
    press(visitor, "Enter")
    visitor.page.wait_for_url(f"{visitor.url}/**")
    expect(visitor.to).to_be_focused()
    visitor.page.keyboard.type(RECIPIENT)
    tab_to(visitor, visitor.message)
    visitor.page.keyboard.type("By keyboard")
    tab_to(visitor, visitor.button)
    press(visitor, "Enter")
    visitor.see("Accepted by sipgate")
    assert visitor.sent_texts() == ["By keyboard"]
    tab_to(visitor, visitor.page.locator(".menu-name"))
    press(visitor, "Enter")
    tab_to(visitor, visitor.page.get_by_role("button", name="Sign out"))
    press(visitor, "Enter")
    visitor.see("You are signed out")


def test_adding_and_choosing_a_sender_needs_no_mouse(anna: Visitor) -> None:
    def go_to(role: Literal["link", "button", "radio", "textbox"], name: str) -> None:
        tab_to(anna, anna.page.get_by_role(role, name=name, exact=role != "radio"))

    anna.go("/extensions")
    go_to("link", "Own sender numbers")
    press(anna, "Enter")
    go_to("link", "Allow it at sipgate")
    press(anna, "Enter")
    go_to("radio", "Anna Sommer")
    go_to("button", "Allow")
    press(anna, "Enter")
    anna.see("Add a mobile number")
    go_to("textbox", "Mobile number")
    anna.page.keyboard.type("0171 3920055")
    press(anna, "Enter")
    anna.see("Enter the code")
    code = anna.sipgate.phones["+491713920055"][0].text.split()[-1]
    go_to("textbox", "Code")
    anna.page.keyboard.type(code)
    press(anna, "Enter")
    anna.see("The number is confirmed")
    # The first is the word `sipgate`, which precedes the new number.
    tab_to(anna, anna.page.get_by_role("button", name="Make it the default sender").nth(1))
    press(anna, "Enter")
    anna.see("+49 171 3920055")
    go_to("button", "Make it the default sender")
    press(anna, "Enter")
    anna.see("Recipients see this sender from now on")
    anna.go("/")
    anna.see("+49 171 3920055")


@WITH_AND_WITHOUT
def test_planning_changing_and_withdrawing_need_no_mouse(
    signed_in: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = signed_in(java_script_enabled=with_script)
    visitor.go("/")
    visitor.page.keyboard.type(RECIPIENT)
    tab_to(visitor, visitor.message)
    visitor.page.keyboard.type("Before")
    if with_script:
        tab_to(visitor, visitor.page.get_by_role("button", name="Now", exact=True))
        press(visitor, "ArrowLeft", "Enter")  # the last one: Other…
        expect(visitor.send_at).to_be_focused()
    else:
        tab_to(visitor, visitor.send_at)
    moment = datetime.now(UTC) + timedelta(days=3)
    # Date fields are American here: Playwright starts Chromium so.
    visitor.page.keyboard.type(f"{moment:%m%d%Y}")
    press(visitor, "Tab")
    visitor.page.keyboard.type("0815A")
    expect(visitor.send_at).to_have_value(f"{moment:%Y-%m-%dT08:15}")
    tab_to(visitor, visitor.button)
    press(visitor, "Enter")
    visitor.see("Can be changed until")
    assert visitor.outcome == "held"
    open_link(visitor, "Change")
    tab_to(visitor, visitor.message)
    press(visitor, "End")
    visitor.page.keyboard.type(" and after")
    tab_to(visitor, visitor.button)
    press(visitor, "Enter")
    expect(visitor.page.locator(".bubble")).to_have_text("Before and after")
    push_button(visitor, "Cancel sending")
    visitor.see("It was not sent")
    assert visitor.outcome == "cancelled"
    assert visitor.sent_texts() == []


def test_the_first_stop_skips_the_navigation(anna: Visitor) -> None:
    anna.go("/messages")
    press(anna, "Tab")
    expect(anna.page.get_by_role("link", name="Skip the navigation")).to_be_focused()
    expect(anna.page.get_by_role("link", name="Skip the navigation")).to_be_in_viewport()
    press(anna, "Enter")
    expect(anna.main).to_be_focused()


@WITH_AND_WITHOUT
def test_twelve_stops_lead_from_the_top_of_the_page_to_send(
    signed_in: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = signed_in(java_script_enabled=with_script)
    for name in ("Reminder", "Closed", "Ready"):
        kept_template(visitor, name=name)
    visitor.go("/")
    skip = visitor.page.get_by_role("link", name="Skip the navigation")
    skip.focus()
    press(visitor, "Enter")
    stops = 1
    while not visitor.button.evaluate("element => element === document.activeElement"):
        press(visitor, "Tab")
        stops += 1
        assert stops <= MOST_STOPS_TO_SEND
    assert stops > 3


@pytest.mark.parametrize("keys", ["Control+Enter", "Meta+Enter"])
def test_ctrl_enter_sends_once_from_any_field(anna: Visitor, keys: str) -> None:
    anna.go("/")
    anna.page.keyboard.type("0171 3920050")
    anna.message.fill("By Ctrl+Enter")
    press(anna, keys, keys)
    anna.see("Accepted by sipgate")
    assert anna.sent_texts() == ["By Ctrl+Enter"]


def test_escape_closes_the_menu_and_returns_to_its_button(anna: Visitor) -> None:
    anna.go("/")
    summary = anna.page.locator(".menu-name")
    summary.focus()
    press(anna, "Enter", "Tab", "Escape")
    expect(summary).to_be_focused()
    expect(anna.page.get_by_role("button", name="Sign out")).to_be_hidden()


def test_every_stop_on_the_form_shows_the_focus(anna: Visitor) -> None:
    anna.go("/")
    without = []
    for _ in range(MOST_STOPS):
        press(anna, "Tab")
        if anna.page.evaluate("() => document.activeElement === document.body"):
            break
        if not anna.page.evaluate(SHOWS_FOCUS):
            without.append(anna.page.evaluate(NAME))
    assert not without
