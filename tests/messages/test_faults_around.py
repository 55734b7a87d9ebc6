"""Faults around the sending: clocks that jump or differ, logs and alarms that fail."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import values_for
from tests.support.pages import Browser, Page
from tests.support.raw_servers import expect, wait_until
from tests.support.worker import LONE_WORKER, send_to_many, work
from webapp.database import db, transaction
from webapp.database.models import Message, TokenSet
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

NUMBER = "+491713920050"


# --- F61: clocks --------------------------------------------------------------------------------


@contextmanager
def our_clock_off_by(sipgate: Simulator, **span: float) -> Iterator[None]:
    """Our clock jumps; sipgate's goes on as it was."""
    jump = timedelta(**span)
    sipgate.world.advance(-jump.total_seconds())
    with time_machine.travel(datetime.now(UTC) + jump, tick=True):
        yield
    sipgate.world.advance(jump.total_seconds())


def plan(browser: Browser, *, in_hours: float = 2) -> Page:
    """Plan a message and open its page."""
    send_at = f"{datetime.now(UTC) + timedelta(hours=in_hours):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(send_at=send_at, time_zone="UTC")


def test_f61_a_clock_that_falls_back_an_hour_sends_nothing_twice(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with our_clock_off_by(sipgate, minutes=61):
        work(app)
        assert anna.twin(page)["outcome"] == "scheduled"
    work(app)
    with our_clock_off_by(sipgate, minutes=61):
        work(app)
    assert anna.twin(page)["outcome"] == "scheduled"
    assert len(sipgate.world.arrivals) == 1


def test_f61_a_claim_left_by_a_dead_process_becomes_unknown_though_the_clock_fell_back(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with app.app_context(), transaction() as rows:
        # It died in the middle of the request, an hour before its clock fell back by an hour.
        claim = {"outcome": "sending", "attempt": "of-the-dead", "tries": 1}
        rows.execute(sa.update(Message).values(sending_since=now() + timedelta(hours=1), **claim))
    work(app)
    assert anna.twin(page)["outcome"] == "sending", "its process may still be at work"
    with our_clock_off_by(sipgate, minutes=2):
        work(app)
        assert anna.twin(page)["outcome"] == "unknown"
    assert sipgate.world.arrivals == []


def test_f61_a_clock_an_hour_behind_sends_nothing_early_and_in_the_end_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with our_clock_off_by(sipgate, hours=-1):
        work(app)
        assert sipgate.world.arrivals == []
    work(app)
    assert sipgate.world.arrivals == []
    with our_clock_off_by(sipgate, minutes=61):
        work(app)
    [arrival] = sipgate.world.arrivals
    assert arrival.send_at is not None
    assert anna.twin(page)["outcome"] == "scheduled"


def test_f61_a_clock_that_jumps_a_day_ahead_sends_nothing_of_what_was_planned_but_asks(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with our_clock_off_by(sipgate, days=1):
        work(app)
    anna.sign_in("anna")
    assert anna.twin(page)["outcome"] == "missed"
    assert sipgate.world.arrivals == []
    anna.press(anna.get(page.path), f"{page.path}/reschedule", when="now")
    work(app)
    assert len(sipgate.world.arrivals) == 1


def test_f61_a_batch_goes_on_through_jumps_and_sends_each_message_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 6)
    for jump in ({"hours": -1}, {"seconds": 30}, {"hours": 1}, {"hours": -1}, {"days": 1}):
        with our_clock_off_by(sipgate, **jump):
            work(app)
    recipients = [one.recipient for one in sipgate.world.arrivals if one.accepted]
    assert len(recipients) == len(set(recipients)) == 6
    anna.sign_in("anna")
    assert is_done(anna, page, 6)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_f61_ten_minutes_between_sipgates_clock_and_ours_change_nothing(
    app: Flask, stranger: Browser, sipgate: Simulator, minutes: int
) -> None:
    sipgate.world.advance(minutes * 60)
    stranger.sign_in("anna")
    with app.app_context():
        expires_at = db.session.scalar(sa.select(TokenSet.expires_at))
    assert expires_at is not None
    # By `expires_in`, not by a time that sipgate's clock told.
    assert 0 < (expires_at - datetime.now(UTC)).total_seconds() <= 300
    expect(stranger, stranger.send("+491713920051"), "accepted")
    page = plan(stranger)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=61), tick=True):
        work(app)
        assert stranger.twin(page)["outcome"] == "scheduled"
    assert len(sipgate.world.arrivals) == 2


# --- F65: what comes after the sending ----------------------------------------------------------


class BrokenLog(logging.Handler):
    """A log that fails whenever it is written to."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("No space left on device")


@pytest.fixture
def broken_log() -> Iterator[logging.Handler]:
    """Logging of our own modules fails, from when the test adds it until the end."""
    handler = BrokenLog()
    yield handler
    logging.getLogger("webapp").removeHandler(handler)


def test_f65_a_log_that_fails_changes_no_outcome(
    app: Flask, anna: Browser, sipgate: Simulator, broken_log: logging.Handler
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    batch = send_to_many(anna, 4)
    logging.getLogger("webapp").addHandler(broken_log)
    expect(anna, anna.post("/messages", form, status=303), "accepted")
    work(app)
    twin = anna.get(batch.path, headers={"Accept": "application/json"}).json
    assert twin["counts"]["accepted"] == 4
    assert len(sipgate.world.arrivals) == 5


@pytest.mark.sqlite  # where a table that is gone is a database in trouble
def test_f65_an_alarm_that_cannot_be_kept_changes_no_outcome(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    rename_table(app, "alarms", "gone")
    sipgate.fail_next("send", Fault(mode="redirect"))
    answer = anna.post("/messages", form, status=303)
    rename_table(app, "gone", "alarms")
    expect(anna, answer, "unknown", "redirected")


def rename_table(app: Flask, name: str, other_name: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {other_name}")


@pytest.mark.slow  # starts a process
def test_f65_a_worker_whose_log_has_no_space_left_sends_and_says_the_truth(
    app: Flask, anna: Browser, sipgate: Simulator, tmp_path: Path
) -> None:
    page = send_to_many(anna, 3)
    values = values_for(sipgate, tmp_path / "app.sqlite", LOG_LEVEL="DEBUG")
    worker = Program(LONE_WORKER, [], values, Path("/dev/full"))
    worker.start()
    try:
        wait_until(lambda: is_done(anna, page), seconds=30)
    finally:
        worker.kill()
    assert sorted(one.accepted for one in sipgate.world.arrivals) == [True] * 3


def is_done(browser: Browser, page: Page, count: int = 3) -> bool:
    """Whether all of a batch was accepted, by its JSON twin."""
    twin = browser.get(page.path, headers={"Accept": "application/json"}).json
    return bool(twin["counts"]["accepted"] == count)
