"""The step that records one message's outcome and claims the next: what may come between."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.killed_at import is_claim, is_result
from tests.support.pages import Browser, Page
from tests.support.raw_servers import wait_until
from tests.support.worker import arrived, counts, put_clocks_back, send_to_many, work
from webapp.database import db, installation, transaction
from webapp.database.models import Batch, Member, Message, Slowdown
from webapp.jobs import tasks
from webapp.messages import batches, claims, sending
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

SLOW = Fault(delay_s=1, deliver=True)


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url, SEND_CONCURRENCY="1")


def open_batch(app: Flask, browser: Browser, count: int) -> Page:
    """A batch that had a clear answer, so that the next outcome comes with a claim."""
    page = send_to_many(browser, count)
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(is_open=True))
    return page


@contextmanager
def in_joint_write(
    app: Flask, do: Callable[[], object], *, at_commit: bool = False, times: int = 1
) -> Iterator[list[str]]:
    """`do` something before the claim that follows an outcome in one transaction, or before that
    transaction's commit; yields where it was done."""
    done: list[str] = []
    has_result = has_both = False
    with app.app_context():
        engine = db.engine

    def begin(_connection: sa.Connection) -> None:
        nonlocal has_result, has_both
        has_result = has_both = False

    def see(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, _m: Any) -> None:
        nonlocal has_result, has_both
        has_result |= is_result(statement, str(values))
        if has_result and is_claim(statement, str(values)):
            has_both = True
            act("claim", not at_commit)

    def commit(_connection: sa.Connection) -> None:
        act("commit", at_commit and has_both)

    def act(where: str, is_there: bool) -> None:
        if is_there and len(done) < times:
            done.append(where)
            do()

    listeners = (("begin", begin), ("before_cursor_execute", see), ("commit", commit))
    for name, listener in listeners:
        sa.event.listen(engine, name, listener)
    try:
        yield done
    finally:
        for name, listener in listeners:
            sa.event.remove(engine, name, listener)


def fail() -> None:
    raise sa.exc.OperationalError("the database", {}, ConnectionError("went away"))


def break_down() -> None:
    raise ValueError("something nobody thought of")


@contextmanager
def beside(app: Flask, call: Callable[[], object]) -> Iterator[tuple[Callable[[], None], Event]]:
    """A function that lets `call` begin in another thread and waits a moment; and whether it has
    ended."""
    has_ended = Event()

    def run() -> None:
        with app.app_context():
            call()
        has_ended.set()

    other = Thread(target=run)

    def begin() -> None:
        other.start()
        time.sleep(0.7)

    yield begin, has_ended
    other.join(20)
    assert has_ended.is_set()


def test_one_write_records_an_outcome_and_claims_the_next(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = open_batch(app, anna, 5)
    with in_joint_write(app, lambda: None, times=9) as done:
        work(app)
    assert len(done) == 5
    assert counts(anna, page) == {"accepted": 5}
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.parametrize("error", [fail, break_down])
@pytest.mark.parametrize("at_commit", [False, True])
def test_an_outcome_is_not_lost_with_the_next_claim(
    app: Flask,
    anna: Browser,
    sipgate: Simulator,
    caplog: pytest.LogCaptureFixture,
    error: Callable[[], None],
    at_commit: bool,
) -> None:
    caplog.set_level(logging.INFO, "webapp")
    page = open_batch(app, anna, 4)
    with in_joint_write(app, error, at_commit=at_commit, times=2) as done:
        work(app)
    assert len(done) == 2
    assert counts(anna, page) == {"accepted": 4}
    assert set(arrived(sipgate).values()) == {1}
    told = [one for one in caplog.messages if one.startswith("message ") and "accepted" in one]
    assert len(told) == 4, "once each, after the commit"


def test_a_database_that_stays_away_leaves_what_may_have_gone_unknown_and_the_rest_waiting(
    app: Flask, anna: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SAVE_AGAIN_AFTER_S", (0.01,))
    page = open_batch(app, anna, 3)
    with app.app_context():
        engine = db.engine

    def see(_c: Any, _cursor: Any, statement: str, values: Any, _context: Any, _m: Any) -> None:
        if is_result(statement, str(values)):
            fail()

    sa.event.listen(engine, "before_cursor_execute", see)
    task = tasks.queue.dequeue()
    monkeypatch.setattr(tasks, "TURN_S", 0.0)
    task.execute()
    sa.event.remove(engine, "before_cursor_execute", see)
    assert counts(anna, page) == {"sending": 1, "queued": 2}
    put_clocks_back(app)
    work(app)
    assert counts(anna, page) == {"unknown": 1, "accepted": 2}
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.parametrize(("action", "rest"), [("stop", "paused"), ("cancel", "cancelled")])
def test_what_is_asked_while_one_is_being_sent_stops_the_next_claim(
    app: Flask, anna: Browser, sipgate: Simulator, action: str, rest: str
) -> None:
    page = open_batch(app, anna, 4)
    sipgate.fail_next("send", SLOW)
    worker = Thread(target=work, args=[app])
    worker.start()
    wait_until(lambda: sipgate.world.calls["send"] == 1)
    anna.press(page, f"{page.path}/{action}")
    worker.join()
    assert counts(anna, page) == {"accepted": 1, rest: 3}
    assert sum(arrived(sipgate).values()) == 1


def test_a_stop_that_meets_the_claim_of_the_next_stops_the_rest(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """Neither waits for the other in a circle; one more at most goes, and nothing after it."""
    page = open_batch(app, anna, 8)

    def stop() -> None:
        batch = db.session.scalars(sa.select(Batch)).one()
        batches.stop(batch, db.session.scalars(sa.select(Member)).one())

    # While a lane waits for sipgate, whoever waits for the database has its turn.
    sipgate.world.fail_always("send", Fault(delay_s=0.5, deliver=True))
    with beside(app, stop) as (begin, _), in_joint_write(app, begin) as done:
        work(app)
    assert done
    found = counts(anna, page)
    assert found["accepted"] in (1, 2), found
    assert found["accepted"] + found["paused"] == 8
    assert sum(arrived(sipgate).values()) == found["accepted"]


def test_a_hold_that_meets_the_claim_of_the_next_waits_for_it_and_stops_the_rest(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = open_batch(app, anna, 4)
    with app.app_context():
        installation.register_location()
    was_done: list[bool] = []

    def before_commit() -> None:
        begin()
        was_done.append(has_ended.is_set())

    sipgate.world.fail_always("send", Fault(delay_s=0.5, deliver=True))
    with (
        beside(app, installation.hold) as (begin, has_ended),
        in_joint_write(app, before_commit, at_commit=True),
    ):
        work(app)
    assert was_done == [False]
    assert counts(anna, page) == {"accepted": 2, "queued": 2}
    assert sum(arrived(sipgate).values()) == 2


def test_on_hold_since_the_request_the_outcome_is_written_and_nothing_claimed(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = open_batch(app, anna, 3)
    sipgate.fail_next("send", SLOW)
    worker = Thread(target=work, args=[app])
    worker.start()
    wait_until(lambda: sipgate.world.calls["send"] == 1)
    with app.app_context():
        installation.hold()
    worker.join()
    assert counts(anna, page) == {"accepted": 1, "queued": 2}


def test_slowed_down_since_the_request_the_outcome_is_written_and_nothing_claimed(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = open_batch(app, anna, 3)
    sipgate.fail_next("send", SLOW)
    worker = Thread(target=work, args=[app])
    worker.start()
    wait_until(lambda: sipgate.world.calls["send"] == 1)
    with app.app_context(), transaction() as rows:
        account_id = rows.scalar(sa.select(Batch.account_id))
        rows.add(Slowdown(account_id=str(account_id), until=now() + claims.MAX_SLOWDOWN))
    worker.join()
    assert counts(anna, page) == {"accepted": 1, "queued": 2}
    assert sum(arrived(sipgate).values()) == 1


def test_only_three_unknown_ones_in_a_row_stop_the_batch(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """A clear answer after an unknown one begins the count anew, though it claims the next."""
    page = open_batch(app, anna, 9)
    for status in (500, 500, 204, 500, 500, 400, 204):
        sipgate.fail_next("send", Fault(status, deliver=status == 204))
    work(app)
    found = counts(anna, page)
    assert (found["unknown"], found["refused"], found["accepted"]) == (4, 1, 4)
    with app.app_context():
        assert db.session.scalar(sa.select(Batch.unknowns_in_a_row)) == 0


@pytest.mark.parametrize("status", [402, 403])
def test_an_answer_that_stops_the_batch_claims_no_other(
    app: Flask, anna: Browser, sipgate: Simulator, status: int
) -> None:
    page = open_batch(app, anna, 5)
    for answer in (204, 204, status):
        sipgate.fail_next("send", Fault(answer, deliver=answer == 204))
    work(app)
    assert counts(anna, page) == {"accepted": 2, "refused": 1, "paused": 2}
    assert sipgate.world.calls["send"] == 3


def test_f68_a_claims_age_counts_from_before_the_write_that_makes_it(
    app: Flask, anna: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_batch(app, anna, 2)
    monkeypatch.setattr(sending, "BEGIN_WITHIN_S", 1.0)
    with in_joint_write(app, lambda: time.sleep(1.5), at_commit=True):
        work(app)
    assert counts(anna, page) == {"accepted": 1, "queued": 1}
    assert sum(arrived(sipgate).values()) == 1
    monkeypatch.undo()
    put_clocks_back(app)
    work(app)
    assert counts(anna, page) == {"accepted": 2}
    assert set(arrived(sipgate).values()) == {1}


def test_a_claim_that_was_given_up_claims_no_other(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = open_batch(app, anna, 3)
    with app.app_context():
        batch_id = str(db.session.scalar(sa.select(Batch.id)))
        claim = claims.claim_next(batch_id)
    assert claim
    put_clocks_back(app)
    anna.get(page.path)
    with app.app_context():
        done = sending.deliver_claimed(claim, and_claim_next=True)
        assert done.next is None
        found = set(db.session.scalars(sa.select(Message.outcome)))
    assert found == {Outcome.UNKNOWN, Outcome.QUEUED}


def test_two_tokens_in_turn_are_each_used_while_they_are_valid(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """The token that is read with a claim is refused: one refresh, and the message goes once."""
    page = open_batch(app, anna, 4)
    sipgate.world.expire_access_tokens()
    work(app)
    assert counts(anna, page) == {"accepted": 4}
    assert set(arrived(sipgate).values()) == {1}
