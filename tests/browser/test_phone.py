"""On a phone: the pages as tabs at the bottom, above which everything can be reached."""

from collections.abc import Callable

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.visitor import Visitor

PHONE: ViewportSize = {"width": 320, "height": 640}
LOW: ViewportSize = {"width": 640, "height": 320}
"""A phone on its side, or a page enlarged to four times its size."""
WIDE: ViewportSize = {"width": 1280, "height": 860}
PARTS_THAT_OVERLAP = """() => {
    const tabs = document.querySelector(".tabs").getBoundingClientRect();
    document.activeElement.scrollIntoView({block: "nearest"});
    const at = document.activeElement.getBoundingClientRect();
    const isPart = document.activeElement !== document.body; // after the last one
    return isPart && at.bottom > tabs.top && !document.activeElement.closest(".tabs");
}"""


@pytest.fixture
def phone(anna: Visitor) -> Visitor:
    anna.page.set_viewport_size(PHONE)
    anna.go("/")
    return anna


def test_the_tabs_lead_to_the_pages_and_say_which_one_it_is(phone: Visitor) -> None:
    tabs = phone.page.locator(".tabs")
    expect(phone.page.get_by_role("navigation", name="Pages")).to_have_count(1)
    for name, path in [("Messages", "/messages"), ("Planned", "/messages"), ("New", "/")]:
        tabs.get_by_role("link", name=name).click()
        assert phone.page.url.removeprefix(phone.url).partition("?")[0] == path
        expect(tabs.locator("[aria-current=page]")).to_contain_text(name)


def test_more_opens_the_menu_with_the_other_pages(phone: Visitor) -> None:
    phone.page.get_by_role("button", name="More").click()
    menu = phone.page.locator("#menu")
    expect(menu.get_by_role("link", name="Contacts")).to_be_in_viewport(ratio=1)
    expect(menu.get_by_role("button", name="Sign out")).to_be_in_viewport(ratio=1)
    menu.get_by_role("link", name="Message templates").click()
    expect(phone.page.get_by_role("heading", level=1)).to_have_text("Message templates")


def test_the_tabs_stay_at_the_bottom_and_cover_nothing_that_has_the_focus(phone: Visitor) -> None:
    tabs = phone.page.locator(".tabs")
    for _press in range(25):
        phone.page.keyboard.press("Tab")
        assert not phone.page.evaluate(PARTS_THAT_OVERLAP)
        box = tabs.bounding_box()
        assert box
        assert box["y"] + box["height"] == PHONE["height"]
    phone.page.evaluate("scrollTo(0, document.body.scrollHeight)")
    footer = phone.page.get_by_role("button", name="Deutsch").bounding_box()
    assert footer
    assert box
    assert footer["y"] + footer["height"] <= box["y"]


def test_in_a_low_window_the_tabs_are_the_end_of_the_page(phone: Visitor) -> None:
    phone.page.set_viewport_size(LOW)
    expect(phone.page.locator(".tabs")).to_have_css("position", "static")
    expect(phone.page.locator(".tabs")).not_to_be_in_viewport()


def test_on_a_wide_screen_the_pages_are_on_top(phone: Visitor) -> None:
    phone.page.set_viewport_size(WIDE)
    expect(phone.page.locator(".tabs")).to_be_hidden()
    on_top = phone.page.get_by_role("banner").get_by_role("navigation", name="Pages")
    expect(on_top.get_by_role("link", name="Contacts")).to_be_visible()


def test_the_tab_shows_how_many_need_attention(phone: Visitor) -> None:
    count = phone.page.locator(".tabs .count")
    expect(count).to_be_hidden()
    phone.quick.send_and_look("+491713920008")  # of which nobody knows whether it was sent
    phone.go("/messages")
    expect(count).to_have_text("1")
    expect(phone.page.locator(".tabs").get_by_role("link", name="Messages 1")).to_be_visible()


def test_without_javascript_the_tabs_and_the_menu_work(
    signed_in: Callable[..., Visitor],
) -> None:
    visitor = signed_in("anna", java_script_enabled=False)
    visitor.page.set_viewport_size(PHONE)
    visitor.go("/")
    visitor.page.locator(".tabs").get_by_role("link", name="Messages").click()
    visitor.page.get_by_role("button", name="More").click()
    expect(visitor.page.locator("#menu").get_by_role("link", name="Contacts")).to_be_visible()


def test_in_forced_colours_the_chosen_tab_differs(phone: Visitor) -> None:
    phone.page.emulate_media(forced_colors="active")
    tabs = phone.page.locator(".tabs a")
    colours = tabs.evaluate_all("all => all.map(a => getComputedStyle(a).borderTopColor)")
    assert colours[0] not in colours[1:]
