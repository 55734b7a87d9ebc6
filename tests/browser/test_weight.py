"""What a visit costs: bytes over the wire, and patience."""

import random
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import LiveApp
from tests.browser.test_every_page import MOST_BYTES, MOST_SHIFT, SHIFT
from tests.browser.visitor import Visitor
from webapp.config import PROJECT
from webapp.database import insert, transaction
from webapp.database.models import Batch, Contact, Member, Message, new_id
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now

MOST_BYTES_AT_FIRST = 70 * 1024
MOST_SCRIPT_BYTES = 34 * 1024
"""To be read, not golfed: all modules together. A third is the field of recipients, with its
suggestions, and the templates that are filled in place."""
MOST_STYLE_BYTES = 37 * 1024
"""The sheet of all pages."""
MOST_OWN_STYLE_BYTES = 4 * 1024
"""What few pages alone need is a sheet of its own, which only they load: all of these together."""
STATIC = PROJECT / "static"
ENTRIES = ["app.js", "attention.js", "compose.js"]
"""The scripts that the form's page itself names."""
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


def test_long_lists_are_light_too(live_app: LiveApp, anna: Visitor) -> None:
    lists = long_lists(live_app)
    anna.go("/help")  # the files are there
    anna.page.wait_for_timeout(300)
    for path, count in lists.items():
        sent = bytes_of(anna.page, lambda path=path: anna.page.goto(f"{anna.url}{path}"))  # type: ignore[misc]
        assert anna.page.locator("main table tbody td:first-child").count() == count
        assert 1_000 < sent <= MOST_BYTES, path


def long_lists(live_app: LiveApp) -> dict[str, int]:
    """Fill what is listed, each row with words of its own; pages, and how many rows they show."""
    chance = random.Random(1)

    def words(count: int) -> str:
        letters = (
            chance.choices("enirstadhulcgmobwfkz", k=chance.randint(3, 11)) for _ in range(count)
        )
        return " ".join("".join(word) for word in letters)

    with live_app.app.app_context(), transaction() as rows:
        member = rows.scalars(sa.select(Member)).one()
        batch = Batch(member_id=member.id, account_id=member.account_id)
        insert(rows, batch)

        def message(number: int, **values: Any) -> Message:
            return Message(
                member_id=member.id,
                account_id=member.account_id,
                extension_id="s0",
                recipient=f"+49176{chance.randint(10_000_000, 99_999_999)}",
                text=values.pop("text", None) or words(20),
                segment_count=1,
                outcome=Outcome.ACCEPTED,
                **{"created_at": now() - timedelta(minutes=number), **values},
            )

        insert(rows, *(message(number) for number in range(60)))
        text = words(20)
        many = (
            message(n, batch_id=batch.id, position=n, text=text, created_at=batch.created_at)
            for n in range(100)
        )
        insert(rows, *many)
        contacts = (
            Contact(
                id=new_id(),
                member_id=member.id,
                name=words(2),
                organization=words(2),
                typed="",
                number=f"+49176{chance.randint(10_000_000, 99_999_999)}",
                is_private=False,
            )
            for _ in range(60)
        )
        insert(rows, *contacts)
    return {"/messages": 50, f"/batches/{batch.id}": 100, "/contacts": 50}


def test_scripts_and_styles_stay_small(anna: Visitor) -> None:
    anna.go("/")
    expect(anna.button).to_have_text("Send now")
    loaded = {path.rpartition("/")[2]: size for path, _sent, size in anna.page.evaluate(FILES)}
    sizes = {path.name: path.stat().st_size for path in STATIC.glob("*.[jc]s*")}
    # All there are, but those of pages about something under way, and of the overview.
    elsewhere = {"poll.js": None, "overview.css": None}
    assert {name: loaded.get(name) for name in sizes} == {**sizes, **elsewhere}
    styles = sizes["app.css"]
    own_styles = sum(size for name, size in sizes.items() if name.endswith(".css")) - styles
    scripts = sum(size for name, size in sizes.items() if name.endswith(".js"))
    assert 1_000 < styles <= MOST_STYLE_BYTES
    assert own_styles <= MOST_OWN_STYLE_BYTES
    assert 1_000 < scripts <= MOST_SCRIPT_BYTES


def test_what_a_script_imports_is_not_asked_for_a_second_time(anna: Visitor) -> None:
    asked: list[str] = []
    anna.page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    anna.go("/")
    expect(anna.button).to_have_text("Send now")
    assert asked.count("counter.js") == 1
    anna.page.wait_for_timeout(300)  # Chromium fills its cache after the page is there
    sent = {path.rpartition("/")[2]: sent for path, sent, _ in reloaded(anna.page)}
    assert sent["compose.js"] == sent["counter.js"] == 0


def reloaded(page: Page) -> list[tuple[str, int, int]]:
    """What the page loads when one comes to it again: path, bytes over the wire, size."""
    page.goto("about:blank")
    page.go_back()
    page.wait_for_load_state("networkidle")
    found: list[tuple[str, int, int]] = page.evaluate(FILES)
    return found


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("person", ["anna", "ben"])
def test_a_script_that_comes_late_moves_nothing(
    person: str, width: int, signed_in: Callable[..., Visitor]
) -> None:
    someone = signed_in(person)
    someone.page.set_viewport_size({"width": width, "height": 900})
    someone.go("/help")
    held: list[Route] = []
    someone.page.route(re.compile("|".join(ENTRIES)), lambda route: held.append(route))
    someone.page.goto(f"{someone.url}/", wait_until="commit")
    someone.page.evaluate(PAINTED)
    expect(someone.button).to_have_text("Send")
    assert sorted(route.request.url.rpartition("/")[2] for route in held) == ENTRIES
    for route in held:
        route.continue_()
    expect(someone.button).to_have_text("Send now")
    assert someone.page.evaluate(SHIFT) < MOST_SHIFT
