"""A page about something under way follows it by itself, and takes nobody's place away."""

from playwright.sync_api import expect

from tests.browser.visitor import Visitor
from tests.support.worker import send_to_many, work

STAMP = "document.documentElement.dataset.stamp"


def send_and_look_on(visitor: Visitor) -> Visitor:
    """A message that is under way for some seconds; returns an onlooker at its page."""
    visitor.go("/")
    visitor.write()
    visitor.send_slowly(6)
    onlooker = visitor.new_tab()
    onlooker.go("/messages")
    onlooker.main.get_by_role("link", name="+49 171 3920050").click()
    onlooker.see("on its way to sipgate")
    return onlooker


def test_the_outcome_comes_without_reloading_and_the_focus_moves_to_the_page(anna: Visitor) -> None:
    onlooker = send_and_look_on(anna)
    onlooker.page.evaluate(f"{STAMP} = 'kept'")
    again = onlooker.page.get_by_role("link", name="Refresh")
    again.focus()
    expect(again).to_be_focused()
    onlooker.see("Accepted by sipgate")
    assert onlooker.page.evaluate(STAMP) == "kept"
    expect(again).to_have_count(0)
    expect(onlooker.main).to_be_focused()  # what had it is gone
    anna.page.wait_for_url("**/messages/*")


def test_a_link_in_a_table_that_is_renewed_keeps_the_focus(anna: Visitor) -> None:
    page = send_to_many(anna.quick, 4)
    anna.go(page.path)
    third = anna.page.locator(".rows a").nth(2)
    third.focus()
    anna.page.evaluate(f"{STAMP} = 'kept'")
    work(anna.quick.app)
    expect(anna.page.locator(".rows").get_by_text("Accepted")).to_have_count(4)
    expect(third).to_be_focused()
    assert anna.page.evaluate(STAMP) == "kept"
    assert len(anna.sent_texts()) == 4
