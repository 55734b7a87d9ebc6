"""An open page learns by itself what needs attention, as long as somebody may look at it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from playwright.sync_api import Page, expect

from tests.browser.conftest import LiveApp
from tests.browser.visitor import Visitor
from tests.support.rows import stored_rows
from webapp.simulator import Fault

LOST = Fault(mode="close", deliver=True)
A_MINUTE = "01:00"
HIDE = """(isHidden) => {
  Object.defineProperty(document, "hidden", { value: isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
FROM_TOP = "document.querySelector('[data-send]').getBoundingClientRect().top"
MAIN_FROM_TOP = "document.querySelector('main').getBoundingClientRect().top"


OWN_BROWSER = {"offline": False}
"""A clock once set stays with its browser, which the other tests share by its options: so these
have one of their own."""


@pytest.fixture
def anna(signed_in: Callable[..., Visitor]) -> Visitor:
    """Anna Sommer, signed in, with a clock that goes on when it is told to."""
    anna = signed_in(**OWN_BROWSER)
    anna.page.clock.install()
    return anna


@pytest.fixture
def asked(anna: Visitor) -> list[str]:
    """What Anna's page has asked for."""
    found: list[str] = []
    anna.page.on("request", lambda request: found.append(request.url))
    return found


def polls(asked: list[str]) -> int:
    return len([url for url in asked if url.endswith("/attention")])


def lose_a_message(visitor: Visitor, text: str = "Hello") -> str:
    """Elsewhere, a message of the same person ends as unknown; returns its path."""
    visitor.sipgate.fail_next("send", LOST)
    page = visitor.quick.send_and_look(text=text)
    assert visitor.quick.twin(page)["outcome"] == "unknown"
    return page.path


def a_minute_later(page: Page) -> None:
    """Let a minute pass, and its question be answered."""
    with page.expect_response("**/attention"):
        page.clock.run_for(A_MINUTE)


def settle(visitor: Visitor, path: str) -> None:
    visitor.quick.press(visitor.quick.get(path), f"{path}/settle", outcome="accepted")


def test_the_line_and_the_title_follow_while_a_page_is_open(
    anna: Visitor, asked: list[str]
) -> None:
    page = anna.page
    anna.go("/help")
    line = page.locator("header .strip.tone-unknown")
    expect(line).to_be_hidden()
    path = lose_a_message(anna)
    assert polls(asked) == 0

    a_minute_later(page)
    expect(line).to_have_text("1 message needs your attention")
    expect(line).to_be_visible()
    expect(page).to_have_title("(1) Help · Team SMS")

    lose_a_message(anna, "Another one")
    a_minute_later(page)
    expect(line).to_have_text("2 messages need your attention")
    expect(page).to_have_title("(2) Help · Team SMS")

    settle(anna, path)
    a_minute_later(page)
    expect(line).to_have_text("1 message needs your attention")
    expect(page).to_have_title("(1) Help · Team SMS")
    assert polls(asked) == 3


def test_the_line_goes_when_nothing_needs_attention_any_more(anna: Visitor) -> None:
    path = lose_a_message(anna)
    anna.go("/help")
    line = anna.page.locator("header .strip.tone-unknown")
    expect(line).to_have_text("1 message needs your attention")
    settle(anna, path)
    a_minute_later(anna.page)
    expect(line).to_be_hidden()
    expect(anna.page).to_have_title("Help · Team SMS")


def test_a_page_that_nobody_sees_asks_for_nothing_until_somebody_looks(
    anna: Visitor, asked: list[str]
) -> None:
    anna.go("/help")
    anna.page.evaluate(HIDE, True)
    anna.page.clock.run_for("10:00")
    assert polls(asked) == 0
    with anna.page.expect_response("**/attention"):
        anna.page.evaluate(HIDE, False)
        anna.page.clock.run_for(1)
    # Looking away and back does not ask again before its time.
    anna.page.evaluate(HIDE, True)
    anna.page.evaluate(HIDE, False)
    anna.page.clock.run_for(1)
    assert polls(asked) == 1


def test_what_one_is_about_to_click_stays_where_it_is(anna: Visitor) -> None:
    anna.page.set_viewport_size({"width": 1280, "height": 700})
    anna.go("/")
    anna.message.fill("Half a text")
    for start in (0, 150):
        anna.page.evaluate("(y) => scrollTo(0, y)", start)
        before = anna.page.evaluate(FROM_TOP)
        path = lose_a_message(anna, f"From {start}")
        a_minute_later(anna.page)
        expect(anna.page.locator("header .strip.tone-unknown")).to_have_text(
            "1 message needs your attention"
        )
        assert anna.page.evaluate(FROM_TOP) == pytest.approx(before, abs=1)
        settle(anna, path)
        a_minute_later(anna.page)
        expect(anna.page.locator("header .strip.tone-unknown")).to_be_hidden()
    expect(anna.message).to_have_value("Half a text")


def test_a_page_too_short_to_be_scrolled_does_not_jump_either(anna: Visitor) -> None:
    anna.page.set_viewport_size({"width": 1280, "height": 1400})
    anna.go("/sessions")
    assert anna.page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    before = anna.page.evaluate(MAIN_FROM_TOP)
    lose_a_message(anna)
    a_minute_later(anna.page)
    expect(anna.page.locator("header .strip.tone-unknown")).to_be_visible()
    assert anna.page.evaluate(MAIN_FROM_TOP) == pytest.approx(before, abs=1)


def test_a_page_whose_sign_in_has_ended_keeps_what_was_typed_and_stops_asking(
    anna: Visitor, asked: list[str]
) -> None:
    anna.go("/")
    anna.message.fill("Half a text")
    anna.page.context.clear_cookies()
    anna.page.clock.run_for("05:00")
    assert polls(asked) == 1
    expect(anna.message).to_have_value("Half a text")
    assert anna.page.url == f"{anna.url}/"


def test_the_page_of_a_stranger_asks_for_nothing(new_visitor: Callable[..., Visitor]) -> None:
    visitor = new_visitor(**OWN_BROWSER)
    asked: list[str] = []
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.clock.install()
    visitor.go("/help")
    visitor.page.clock.run_for("05:00")
    assert asked
    assert polls(asked) == 0


def test_asking_is_no_use_of_the_session(live_app: LiveApp, anna: Visitor) -> None:
    def last_seen() -> list[object]:
        return [row["last_seen_at"] for row in stored_rows(live_app.app)["sessions"]]

    anna.go("/help")
    before = last_seen()
    calls = sum(anna.sipgate.world.calls.values())
    # The server's clock goes on as well: by then any use would be written down.
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
        a_minute_later(anna.page)
        assert last_seen() == before
        assert sum(anna.sipgate.world.calls.values()) == calls
        anna.quick.get("/messages")
        assert last_seen() != before
