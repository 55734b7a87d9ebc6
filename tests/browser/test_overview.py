"""The overview and the record by keyboard alone, with and without JavaScript."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.test_keyboard import WITH_AND_WITHOUT, open_link, press, push_button, tab_to
from tests.browser.visitor import Visitor
from tests.support.pages import Browser


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {"SEGMENT_PRICE": "0.075"}


@WITH_AND_WITHOUT
def test_a_figure_of_the_overview_leads_to_its_messages(
    signed_in: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = signed_in(java_script_enabled=with_script)
    visitor.quick.send("0171 3920050", "one")
    visitor.quick.send("0171 3920003", "two")
    visitor.go("/overview")
    tab_to(visitor, visitor.main.get_by_text("The same as a table"))
    press(visitor, "Enter")
    table = visitor.main.get_by_role("region", name="Messages per day")
    expect(table).to_be_visible()
    today = table.get_by_role("row", name="Today")
    accepted = today.get_by_role("cell").nth(1).get_by_role("link")
    expect(accepted).to_have_text("1")
    tab_to(visitor, accepted)
    press(visitor, "Enter")
    visitor.page.wait_for_url("**/messages?*")
    expect(visitor.main.locator("[data-entry]")).to_have_count(1)


@WITH_AND_WITHOUT
def test_an_administrator_ends_a_colleagues_sign_ins(
    signed_in: Callable[..., Visitor], with_script: bool
) -> None:
    visitor = signed_in(java_script_enabled=with_script)
    ben = Browser(visitor.quick.app, visitor.quick.sipgate)
    ben.sign_in("ben")
    visitor.go("/record")
    open_link(visitor, "Who may sign in")
    tab_to(visitor, visitor.page.locator("#people a[href$='/end']"))
    press(visitor, "Enter")
    visitor.see("Ben Wagner has no messages that wait.")
    push_button(visitor, "End sign-ins")
    visitor.see("Ben Wagner is signed out everywhere.")
    visitor.see("ended the sign-ins of Ben Wagner")
    ben.get("/messages", status=302)
