"""What a visit costs: bytes over the wire, and patience."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.test_every_page import MOST_BYTES, MOST_SHIFT, SHIFT
from tests.browser.visitor import Visitor

MOST_BYTES_AT_FIRST = 60 * 1024
MOST_SCRIPT_BYTES = 8 * 1024
MOST_STYLE_BYTES = 25_000
PAINTED = """() => new Promise((tell) =>
  new PerformanceObserver(() => tell(true)).observe({ type: "paint", buffered: true }))"""
FILES = """() => performance.getEntriesByType("resource").map(
  (one) => [new URL(one.name).pathname, one.transferSize, one.decodedBodySize])"""


def bytes_of(page: Page, visit: Callable[[], object]) -> int:
    """What came over the wire, headers included, of every kind: pages, files, the icon."""
    found: list[int] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda event: found.append(event["encodedDataLength"]))
    visit()
    page.wait_for_load_state("networkidle")
    session.detach()
    return round(sum(found))


@pytest.mark.parametrize("person", ["", "anna"])
def test_the_first_page_with_all_its_files_is_light_and_the_next_ones_much_lighter(
    person: str, new_visitor: Callable[..., Visitor], signed_in: Callable[..., Visitor]
) -> None:
    someone = signed_in(person) if person else new_visitor()
    session = someone.page.context.new_cdp_session(someone.page)
    session.send("Network.clearBrowserCache")
    first = bytes_of(someone.page, lambda: someone.go("/"))
    assert 10_000 < first <= MOST_BYTES_AT_FIRST
    someone.page.wait_for_timeout(300)  # Chromium fills its cache after the page is there
    # Another page, and the same one again: the files do not come a second time.
    for path in ("/help", "/"):
        assert 1_000 < bytes_of(someone.page, lambda path=path: someone.go(path)) <= MOST_BYTES  # type: ignore[misc]


def test_scripts_and_styles_stay_small(anna: Visitor) -> None:
    anna.go("/")
    anna.page.reload()
    sizes = {path: size for path, _sent, size in anna.page.evaluate(FILES)}
    styles = [size for path, size in sizes.items() if path.endswith(".css")]
    scripts = [size for path, size in sizes.items() if path.endswith(".js")]
    poll = len(anna.page.request.get(f"{anna.url}/static/poll.js").body())
    assert (len(styles), len(scripts)) == (1, 2)
    assert 1_000 < sum(styles) <= MOST_STYLE_BYTES
    assert 1_000 < sum(scripts) + poll <= MOST_SCRIPT_BYTES


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("person", ["anna", "ben"])
def test_a_script_that_comes_late_moves_nothing(
    person: str, width: int, signed_in: Callable[..., Visitor]
) -> None:
    someone = signed_in(person)
    someone.page.set_viewport_size({"width": width, "height": 900})
    someone.go("/help")
    held: list[Route] = []
    someone.page.route("**/static/*.js*", lambda route: held.append(route))
    someone.page.goto(f"{someone.url}/", wait_until="commit")
    someone.page.evaluate(PAINTED)
    expect(someone.button).to_have_text("Send")
    assert len(held) == 2
    for route in held:
        route.continue_()
    expect(someone.button).to_have_text("Send now")
    assert someone.page.evaluate(SHIFT) < MOST_SHIFT
