"""What holds on every page, whoever looks, in either language and scheme, on whatever screen."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, ViewportSize

from tests.browser.every_page import PAGES
from tests.browser.visitor import Visitor

RULES = {
    "resultTypes": ["violations"],
    "rules": {"target-size": {"enabled": True}},  # WCAG 2.2, off by default
}
# A hundred zones say nothing that the first does not, and take seconds.
PARTS = {"exclude": [["option:nth-of-type(n+3)"]]}
RUN = f"""async () => (await axe.run({json.dumps(PARTS)}, {json.dumps(RULES)})).violations.flatMap(
  (found) => found.nodes.map((node) => [found.id, node.target.join(" "), node.failureSummary]))"""
DESKTOP: ViewportSize = {"width": 1280, "height": 900}
SMALL_PHONE: ViewportSize = {"width": 320, "height": 640}
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
MOST_BYTES = 15 * 1024
MOST_SHIFT = 0.01
BYTES = "performance.getEntriesByType('navigation')[0].transferSize"
SHIFT = """() => new Promise((tell) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => tell(sum), 50);
})"""


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {
        "SIPGATE_OPTIONAL_SCOPES": "history:read contacts:read balance:read",
        "SEGMENT_PRICE": "0.079",
    }


@pytest.fixture(scope="module")
def axe_script() -> str:
    return Axe().axe_script


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_still_accessible_and_fits_in_both_languages_and_schemes(
    name: str,
    new_visitor: Callable[..., Visitor],
    signed_in: Callable[..., Visitor],
    axe_script: str,
) -> None:
    person, arrive = PAGES[name]
    someone = signed_in(person) if person else new_visitor()
    someone.page.set_viewport_size(DESKTOP)
    arrive(someone)
    found = trouble_on(someone.page, axe_script, scheme="light")
    speak_german(someone.page)
    someone.page.set_viewport_size(SMALL_PHONE)
    someone.page.reload()  # also what a form was answered with: it is sent once more
    if someone.page.url.startswith(someone.url):
        assert someone.page.locator("html").get_attribute("lang") == "de"
    found += trouble_on(someone.page, axe_script, scheme="dark")
    assert found == []


@pytest.mark.parametrize("width", [768, 1280, 1920])
def test_the_frame_stands_still_from_page_to_page(
    width: int, signed_in: Callable[..., Visitor]
) -> None:
    anna = signed_in("anna")
    anna.go("/help")
    speak_german(anna.page)
    anna.page.set_viewport_size({"width": width, "height": 900})
    edges = set()
    for path in ("/", "/messages", "/contacts", "/message-templates", "/overview", "/help"):
        anna.go(path)
        edges |= {
            round(box["x"])
            for box in (
                anna.page.locator(one).bounding_box() for one in (".brand", "h1", "footer p")
            )
            if box
        }
        assert anna.page.evaluate(TOO_WIDE) == 0
    assert len(edges) == 1


def speak_german(page: Page) -> None:
    """As a browser that asks for German pages, from the next page on."""
    name = page.evaluate("navigator.userAgent")
    override = {"userAgent": name, "acceptLanguage": "de"}
    page.context.new_cdp_session(page).send("Emulation.setUserAgentOverride", override)


def trouble_on(page: Page, axe_script: str, scheme: Any) -> list[Any]:
    """Of the page as it is: its own weight, what moved while it loaded, its width, and axe's."""
    found: list[Any] = []
    if (weight := page.evaluate(BYTES)) > MOST_BYTES:
        found.append(f"{weight} bytes")
    if (shift := page.evaluate(SHIFT)) >= MOST_SHIFT:
        found.append(f"a layout shift of {shift}")
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.evaluate(axe_script)
    found += page.evaluate(RUN)
    page.set_viewport_size(SMALL_PHONE)
    for either in ("dark", "light"):
        page.emulate_media(color_scheme=either)  # type: ignore[arg-type]
        if (more := page.evaluate(TOO_WIDE)) > 0:
            found.append(f"{more} pixels too wide in the {either}")
    return found
