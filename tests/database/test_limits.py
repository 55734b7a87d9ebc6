"""How often somebody may do something: counted in the database, on both, for all processes."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from tests.support.raw_servers import in_parallel
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import work
from webapp.config import SettingError, Settings
from webapp.database import db, limits
from webapp.database.limits import Limit, TooOften
from webapp.simulator.server import Simulator

THREE = Limit(3, timedelta(minutes=1))
START = datetime(2026, 11, 3, 9, 0, tzinfo=UTC)


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url)


def tries(app: Flask, count: int, who: str = "member 1", kind: str = "send") -> list[bool]:
    """Which of so many requests are let in."""
    found = []
    for _ in range(count):
        with app.app_context():
            try:
                limits.let_in(kind, who, THREE)
                found.append(True)
            except TooOften as refused:
                found.append(not 0 < refused.seconds <= 60)
    return found


def test_as_many_are_let_in_as_the_limit_says_and_a_minute_later_again(app: Flask) -> None:
    with time_machine.travel(START, tick=False) as clock:
        assert tries(app, 5) == [True, True, True, False, False]
        clock.shift(59)
        assert tries(app, 1) == [False]
        clock.shift(1)
        assert tries(app, 4) == [True, True, True, False]


def test_each_person_and_each_kind_has_a_count_of_its_own(app: Flask) -> None:
    assert tries(app, 4) == [True, True, True, False]
    assert tries(app, 1, who="member 2") == [True]
    assert tries(app, 1, kind="login") == [True]


def test_of_many_at_once_no_more_are_let_in(app: Flask) -> None:
    found = in_parallel(*[lambda: tries(app, 1)] * 12)
    assert found.count([True]) == 3


def test_a_clock_that_was_ahead_locks_nobody_out(app: Flask) -> None:
    with time_machine.travel(START + timedelta(days=1), tick=False):
        assert tries(app, 4) == [True, True, True, False]
    with time_machine.travel(START, tick=False):
        assert tries(app, 4) == [True, True, True, False]


def test_all_processes_have_one_count(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    limited = {"DATABASE_URL": either_url, "RATE_LIMITS": "login 3/minute per address"}
    statuses = [
        Browser(make_app(**limited), sipgate).get("/login", status=None).status for _ in range(5)
    ]
    assert statuses == [302, 302, 302, 429, 429]


def test_no_address_is_kept_and_what_has_ended_is_erased(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url, RATE_LIMITS="login 3/minute per address")
    Browser(app, sipgate).get("/login", status=302)
    assert len(stored_rows(app)["rate_counts"]) == 1
    assert b"127.0.0.1" not in stored_bytes(app)
    work(app)
    assert len(stored_rows(app)["rate_counts"]) == 1
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=2), tick=True):
        work(app)
    assert stored_rows(app)["rate_counts"] == []


def test_a_refused_form_is_not_counted_and_writes_nothing(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url, RATE_LIMITS="login 3/minute per address")
    browser = Browser(app, sipgate)
    for _ in range(3):
        browser.get("/login", status=302)
    before = stored_rows(app)["rate_counts"]
    written: list[str] = []
    with app.app_context():
        see = lambda _one, _two, statement, *_: written.append(statement)  # noqa: E731
        sa.event.listen(db.engine, "before_cursor_execute", see)
    browser.get("/login", status=429)
    assert stored_rows(app)["rate_counts"] == before
    assert [one for one in written if "rate_counts" in one]
    assert not [one for one in written if one.startswith(("INSERT", "UPDATE", "DELETE"))]


# --- The setting --------------------------------------------------------------------------------

NEEDED = {
    "SECRET_KEY": "a-key-for-tests-only-0123456789-abcdefghij",
    "SIPGATE_CLIENT_ID": "1234567-0-team-sms:third-party",
    "SIPGATE_CLIENT_SECRET": "secret",
}


@pytest.mark.parametrize(
    ("given", "login", "send"),
    [
        (None, "30/minute", "120/minute"),
        ("", None, None),
        ("login 2/hour per address", "2/hour", "120/minute"),
        ("send 5/day per member", "30/minute", "5/day"),
        ("send 5/day per member, login 2/second per address", "2/second", "5/day"),
    ],
)
def test_a_kind_that_is_left_out_has_its_default(
    given: str | None, login: str | None, send: str | None
) -> None:
    values = NEEDED if given is None else {**NEEDED, "RATE_LIMITS": given}
    found = Settings.from_mapping(values).rate_limits
    assert (found.get("login"), found.get("send")) == (login, send)


def test_a_limit_that_is_none_is_refused() -> None:
    with pytest.raises(SettingError, match="RATE_LIMITS must be like"):
        Settings.from_mapping({**NEEDED, "RATE_LIMITS": "send many per member"})
