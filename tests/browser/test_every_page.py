"""What holds on every page, whoever looks and on whatever screen.

`PAGES` names each page and how one gets there. A new page belongs into this table.
"""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

from tests.browser.visitor import Visitor
from webapp.simulator import Fault

EVERY_RULE = {
    "resultTypes": ["violations"],
    "rules": {"target-size": {"enabled": True}},  # WCAG 2.2, off by default
}
RULES_OF_LOOKS = {
    "resultTypes": ["violations"],
    "runOnly": ["color-contrast", "link-in-text-block", "target-size"],
}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
SMALL_PHONE: ViewportSize = {"width": 320, "height": 640}
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PLANNED = "2020-02-20T08:00"


def path(value: str) -> Callable[[Visitor], None]:
    return lambda visitor: visitor.go(value)


def sent_to(ending: str) -> Callable[[Visitor], None]:
    return lambda visitor: visitor.send(f"0171 3920{ending}", "A text with €uros and 👍🏽" * 5)


def filled_form(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write(text="Ihr Termin ist morgen um 8 Uhr. 👍🏽" * 4)
    visitor.page.get_by_role("button", name="Tomorrow 08:00").click()


def form_with_errors(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write("0171 hello", "\u200b", at=PLANNED)
    visitor.button.click()
    visitor.see("There are 3 things to change")


def form_used_before(visitor: Visitor) -> None:
    used = "[name=submission_id]"
    visitor.go("/")
    submission = visitor.page.locator(used).input_value()
    visitor.write()
    visitor.button.click()
    visitor.go("/")
    visitor.page.locator(used).evaluate("(field, value) => field.value = value", submission)
    visitor.write(text="Something else")
    visitor.button.click()
    visitor.see("already used for another message")


def sign_in_ended(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write()
    visitor.page.context.clear_cookies()
    visitor.button.click()
    visitor.see("your text is kept")


def message_under_way(visitor: Visitor) -> None:
    visitor.sipgate.fail_next("send", Fault(delay_s=8, deliver=True))
    sender = visitor.new_tab()
    sender.go("/")
    sender.write()
    sender.button.click(no_wait_after=True)
    sender.page.wait_for_timeout(300)
    visitor.go("/messages")
    visitor.page.locator("tbody a").first.click()
    visitor.see("on its way to sipgate")


def message_not_sent(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.write()
    visitor.sipgate.stop()
    visitor.button.click()
    visitor.see("could not be reached")


def planned_message(visitor: Visitor) -> None:
    filled_form(visitor)
    visitor.button.click()
    visitor.see("can no longer be recalled")


def form_to_send_again(visitor: Visitor) -> None:
    visitor.send("0171 3920001")
    visitor.page.get_by_role("link", name="Send again").click()
    visitor.see("This repeats a message")


def list_of_messages(visitor: Visitor) -> None:
    for ending in ("050", "001", "006"):
        sent_to(ending)(visitor)
    visitor.go("/messages")


def further_permissions(visitor: Visitor) -> None:
    visitor.go("/senders")
    visitor.page.get_by_role("link", name="Go to sipgate to allow it").click()
    visitor.consent("Anna Sommer")
    visitor.see("Add a mobile number")


def sender_without_its_code(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.page.get_by_label("Mobile number").fill("0171 3920055")
    visitor.page.get_by_role("button", name="Send the code").click()
    visitor.see("Enter the code")


def sender_with_a_wrong_code(visitor: Visitor) -> None:
    sender_without_its_code(visitor)
    visitor.page.get_by_label("Code", exact=True).fill("WRONG1")
    visitor.page.get_by_role("button", name="Confirm the number").click()
    visitor.see("sipgate did not accept this one")


def senders_of_every_kind(visitor: Visitor) -> None:
    sender_without_its_code(visitor)
    visitor.page.get_by_role("link", name="Back to the list").click()
    visitor.see("Not confirmed yet")


def sender_refused(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.sipgate.fail_next("add_caller_id", Fault(403))
    visitor.page.get_by_label("Mobile number").fill("0171 3920055")
    visitor.page.get_by_role("button", name="Send the code").click()
    visitor.see("sipgate does not allow this")


def sender_in_question(visitor: Visitor) -> None:
    further_permissions(visitor)
    visitor.page.get_by_role("button", name="Make it the default").click()
    visitor.see("whoever sends it")


def opened_menu(visitor: Visitor) -> None:
    visitor.go("/messages")
    visitor.page.locator("[popovertarget=menu]").click()


def extensions_not_known(visitor: Visitor) -> None:
    visitor.sipgate.fail_next("extensions", Fault(503), times=3)
    visitor.go("/")


def declined(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Anna Sommer", button="Cancel")


def not_admitted(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Karl Krause")


def simulator(value: str) -> Callable[[Visitor], None]:
    def go(visitor: Visitor) -> None:
        visitor.send(text="A text on a phone")
        visitor.page.goto(visitor.sipgate.base_url + value)

    return go


STRANGER = ""
PAGES: dict[str, tuple[str, Callable[[Visitor], None]]] = {
    "start page": (STRANGER, path("/")),
    "access declined": (STRANGER, declined),
    "account not admitted": (STRANGER, not_admitted),
    "empty form": ("anna", path("/")),
    "form of one extension": ("ben", path("/")),
    "filled form": ("anna", filled_form),
    "form with errors": ("anna", form_with_errors),
    "form used before": ("anna", form_used_before),
    "form to send again": ("anna", form_to_send_again),
    "sign-in ended": ("anna", sign_in_ended),
    "no extension": ("clara", path("/")),
    "extensions not known": ("anna", extensions_not_known),
    "message accepted": ("anna", sent_to("050")),
    "message planned": ("anna", planned_message),
    "message refused": ("anna", sent_to("003")),
    "message unknown": ("anna", sent_to("006")),
    "message under way": ("anna", message_under_way),
    "message not sent": ("anna", message_not_sent),
    "no messages": ("anna", path("/messages")),
    "list of messages": ("anna", list_of_messages),
    "opened menu": ("anna", opened_menu),
    "list of extensions": ("anna", path("/extensions")),
    "senders": ("anna", senders_of_every_kind),
    "sender refused": ("anna", sender_refused),
    "sender's code, wrong": ("anna", sender_with_a_wrong_code),
    "sender in question": ("anna", sender_in_question),
    "no such page": ("anna", path("/messages/nobody-has-this-id")),
    "sipgate's sign-in": (STRANGER, path("/login")),
    "simulator": ("anna", simulator("/")),
    "phones": ("anna", simulator("/phones")),
    "phone": ("anna", simulator("/phones/+491713920050")),
}


@pytest.fixture(scope="module")
def axe() -> Axe:
    return Axe()


def findings(axe: Axe, page: Page, options: dict[str, Any]) -> list[Any]:
    return [
        (found["id"], node["target"], node.get("failureSummary"))
        for found in axe.run(page, options=options).response["violations"]
        for node in found["nodes"]
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_light_and_dark_and_fits_a_small_phone(
    name: str,
    new_visitor: Callable[..., Visitor],
    signed_in: Callable[..., Visitor],
    axe: Axe,
) -> None:
    person, arrive = PAGES[name]
    someone = signed_in(person) if person else new_visitor()
    arrive(someone)
    someone.page.set_viewport_size(DESKTOP)
    assert findings(axe, someone.page, EVERY_RULE) == []
    someone.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    someone.page.set_viewport_size(SMALL_PHONE)
    assert someone.page.evaluate(TOO_WIDE) <= 0
    assert findings(axe, someone.page, RULES_OF_LOOKS) == []
