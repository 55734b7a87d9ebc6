"""Faults while the worker sends: what it retries, what it pauses, and when a batch stops."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Thread

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import counts, impatient, send_to_many, work
from webapp.database import db, transaction
from webapp.database.models import Batch, Message, Slowdown, TokenSet
from webapp.jobs.tasks import queue
from webapp.messages import claims, sending
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.signin import tokens
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

ONE = "+491713920050"


def plan(browser: Browser, to: str = ONE, *, in_hours: float = 2) -> Page:
    """Plan a message and open its page."""
    send_at = f"{datetime.now(UTC) + timedelta(hours=in_hours):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(to, send_at=send_at, time_zone="UTC")


def later(**span: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(**span), tick=True)


def assert_once_at_most(sipgate: Simulator) -> None:
    arrivals = Counter(one.recipient for one in sipgate.world.arrivals if one.accepted)
    assert not [number for number, count in arrivals.items() if count > 1]


def test_f01_an_unreachable_sipgate_is_tried_again_and_reached_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    sipgate.stop()
    with later(minutes=61):
        work(app)
        assert anna.twin(page)["outcome"] == "held"
        sipgate.start()
    with later(minutes=62):
        work(app)
        assert anna.twin(page)["outcome"] == "scheduled"
    assert len(sipgate.world.arrivals) == 1


def test_f01_after_fifteen_minutes_without_sipgate_it_is_not_sent(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 2)
    sipgate.stop()
    for minutes, outcome in ((1, "queued"), (5, "queued"), (15, "queued"), (18, "not_sent")):
        with later(minutes=minutes):
            work(app)
            assert counts(anna, page) == {outcome: 2}
    sipgate.start()
    with later(minutes=20):
        work(app)
    assert counts(anna, page) == {"not_sent": 2}
    assert sipgate.world.arrivals == []


def test_f01_what_a_person_lets_go_on_has_its_fifteen_minutes_anew(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 2)
    sipgate.stop()
    with later(minutes=1):
        work(app)
        anna.press(anna.get(page.path), f"{page.path}/stop")
    with later(minutes=25):
        anna.press(anna.get(page.path), f"{page.path}/resume")
        work(app)
        assert counts(anna, page) == {"queued": 2}
    sipgate.start()
    with later(minutes=27):
        work(app)
        assert counts(anna, page) == {"accepted": 2}


@pytest.mark.parametrize("many", [False, True])
def test_f78_a_slow_down_by_a_clock_that_was_a_day_ahead_ends_within_fifteen_minutes(
    app: Flask, anna: Browser, sipgate: Simulator, many: bool
) -> None:
    sipgate.fail_next("send", Fault(429, (("Retry-After", "300"),)))
    page = plan(anna, in_hours=26)
    with later(days=1, hours=1, minutes=1):
        anna.sign_in()
        if many:
            page = send_to_many(anna, 2)
        work(app, sweep=not many)
        assert sipgate.world.calls["send"] == 1
    with later(minutes=15):
        anna.sign_in()
        work(app)
        if many:
            assert counts(anna, page) == {"accepted": 2}
            return
        # Nor is what is planned for tomorrow's night handed over before its hour, or too late.
        assert anna.twin(page)["outcome"] == "held"
        assert anna.send_and_look("+491713920052").status == 200
    with later(hours=25, minutes=2):
        work(app)
        anna.sign_in()
        assert anna.twin(page)["outcome"] == "scheduled"
    assert_once_at_most(sipgate)


def test_f17_a_401_after_the_refresh_pauses_what_waits(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page, other = plan(anna), plan(anna, "+491713920051")
    sipgate.world.fail_always("send", Fault(401))
    with later(minutes=61):
        work(app)
    sipgate.world.clear_faults()
    anna.sign_in()
    assert {anna.twin(one)["outcome"] for one in (page, other)} == {"paused"}
    assert "sign-in had ended" in anna.get(page.path).text
    assert len(sipgate.world.arrivals) == 2  # one message: its first try and the one after refresh


def test_f18_an_empty_balance_refuses_one_and_pauses_the_rest(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(SEND_CONCURRENCY="1")
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 20)
    sipgate.world.fail_from("send", 10, Fault(402))
    work(app)
    assert counts(anna, page) == {"accepted": 9, "refused": 1, "paused": 10}
    assert "balance" in anna.get(page.path).text
    sipgate.world.clear_faults()
    page = anna.get(page.path)
    anna.press(page, f"{page.path}/resume")
    work(app)
    assert counts(anna, page) == {"accepted": 19, "refused": 1}
    assert_once_at_most(sipgate)


def test_a_stopped_batch_of_which_nothing_waits_any_more_is_not_called_paused(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(SEND_CONCURRENCY="1")
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 3)
    sipgate.world.fail_from("send", 2, Fault(402))
    work(app)
    page = anna.get(page.path)
    assert "Sending is paused: the balance is too low." in page.text
    anna.press(page, f"{page.path}/cancel")
    assert counts(anna, page) == {"accepted": 1, "refused": 1, "cancelled": 1}
    page = anna.get(page.path)
    assert "Finished, but not all were sent: the balance was too low." in page.text
    assert "paused" not in page.text.lower()


def test_f19_a_missing_right_pauses_the_rest_of_the_batch(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(SEND_CONCURRENCY="1")
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 10)
    sipgate.world.fail_from("send", 3, Fault(403))
    work(app)
    assert counts(anna, page) == {"accepted": 2, "refused": 1, "paused": 7}


@pytest.mark.parametrize("value", ["0", "5", "-1", "abc", "99999999999", "", "past", "future"])
def test_f21_slowing_down_waits_as_asked_and_sends_once(
    app: Flask, anna: Browser, sipgate: Simulator, value: str
) -> None:
    dates = {
        "past": "Sun, 06 Nov 1994 08:49:37 GMT",
        "future": f"{datetime.now(UTC) + timedelta(minutes=62):%a, %d %b %Y %H:%M:%S} GMT",
    }
    headers = (("Retry-After", dates.get(value, value)),) if value else ()
    page, other = plan(anna), plan(anna, "+491713920051")
    with later(minutes=61):
        sipgate.fail_next("send", Fault(429, headers))
        work(app)
        with app.app_context():
            until = db.session.scalar(sa.select(Slowdown.until))
            assert until is not None
            assert until <= now() + timedelta(minutes=15)
    with later(minutes=77):
        work(app)
        outcomes = [anna.twin(one)["outcome"] for one in (page, other)]
    assert outcomes == ["scheduled", "scheduled"]
    assert_once_at_most(sipgate)


def test_f22_three_unknown_outcomes_in_a_row_stop_the_batch(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    impatient(app)
    page = send_to_many(anna, 100)
    sipgate.world.fail_always("send", Fault(mode="close"))
    work(app)
    assert counts(anna, page) == {"unknown": 3, "paused": 97}
    assert "three messages in a row" in anna.get(page.path).text
    assert len(sipgate.world.arrivals) == 3


def test_f27_a_dead_refresh_token_pauses_and_the_next_sign_in_can_go_on(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    sipgate.world.end_sessions()
    with later(minutes=61):
        work(app)
        anna.sign_in()
        page = anna.get(page.path)
        assert anna.twin(page)["outcome"] == "paused"
        anna.press(page, f"{page.path}/reschedule", when="now")
        work(app)
        assert anna.twin(page)["outcome"] == "accepted"
    assert len([one for one in sipgate.world.arrivals if one.accepted]) == 1


def test_f28_a_login_server_that_is_away_pauses_nothing(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    sipgate.world.fail_always("refresh", Fault(503))
    with later(minutes=61):
        work(app)
        assert anna.get(page.path, status=None).status == 200
        assert anna.twin(page)["outcome"] == "held"
        sipgate.world.clear_faults()
    with later(minutes=63):
        work(app)
        assert anna.twin(page)["outcome"] == "scheduled"


def test_f33_signing_out_hands_over_what_waits_and_then_ends_the_grant(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna, in_hours=30)
    question = anna.get("/logout")
    assert "1 unsent message" in question.text
    anna.press(question, "/logout", waiting="hand_over")
    anna.get(page.path, status=302)
    assert sipgate.world.calls["logout"] == 0
    work(app)
    work(app)
    [arrival] = sipgate.world.arrivals
    assert arrival.send_at is not None
    assert sipgate.world.calls["logout"] == 1
    with app.app_context():
        assert db.session.scalar(sa.select(TokenSet.ended_at)) is not None


def test_f33_signing_out_can_pause_what_waits(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna, in_hours=30)
    anna.press(anna.get("/logout"), "/logout", waiting="pause")
    work(app)
    assert sipgate.world.arrivals == []
    assert sipgate.world.calls["logout"] == 1
    anna.sign_in()
    assert anna.twin(page)["outcome"] == "paused"
    assert "you signed out" in anna.get(page.path).text


def test_f34_an_extension_that_is_taken_away_stops_the_batch(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(SEND_CONCURRENCY="1")
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 10)
    sipgate.world.remove_extension("anna", "s0")
    work(app)
    assert counts(anna, page) == {"refused": 1, "paused": 9}


def test_f47_parallel_workers_claim_each_message_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 60)
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(is_open=True))
        batch_id = rows.scalar(sa.select(Batch.id))
    start = Barrier(8)

    def lane() -> None:
        start.wait()
        with app.app_context():
            while message := claims.claim_next(str(batch_id)):
                sending.deliver_claimed(message)

    lanes = [Thread(target=lane) for _ in range(8)]
    for one in lanes:
        one.start()
    for one in lanes:
        one.join()
    assert counts(anna, page) == {"accepted": 60}
    assert len(sipgate.world.arrivals) == 60


def test_f57_a_flushed_queue_loses_nothing(app: Flask, anna: Browser, sipgate: Simulator) -> None:

    page = send_to_many(anna, 5)
    queue.flush()
    with later(seconds=30):
        work(app)
    assert counts(anna, page) == {"accepted": 5}


def test_f60_a_message_that_is_a_little_late_is_sent_and_marked_late(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with later(hours=2, minutes=10):
        work(app)
        page = anna.get(page.path)
        assert anna.twin(page)["outcome"] == "accepted"
        assert "late" in page.text
    [arrival] = sipgate.world.arrivals
    assert arrival.send_at is None


def test_f60_a_message_that_is_too_late_is_asked_about(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    with later(hours=3):
        work(app)
        page = anna.get(page.path)
        assert anna.twin(page)["outcome"] == "missed"
        assert sipgate.world.arrivals == []
        anna.press(page, f"{page.path}/reschedule")
        work(app)
        assert anna.twin(page)["outcome"] == "accepted"
    assert len(sipgate.world.arrivals) == 1


def test_f60_a_batch_that_stood_still_for_days_is_asked_about(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 5)
    with later(days=3):
        work(app)
        anna.sign_in()
        assert counts(anna, page) == {"missed": 5}
    assert sipgate.world.arrivals == []


def test_f64_withdrawing_and_sending_have_one_winner(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for round_ in range(20):
        page = plan(anna, f"+4917139200{50 + round_}")
        message_id = page.path.rsplit("/", 1)[1]
        with app.app_context(), transaction() as rows:
            rows.execute(sa.update(Message).where(Message.id == message_id).values(due_at=now()))
        start = Barrier(2)

        def send(message_id: str = message_id, start: Barrier = start) -> None:
            with app.app_context():
                start.wait()
                message = claims.claim(message_id)
                if message:
                    sending.deliver_claimed(message)

        worker = Thread(target=send)
        worker.start()
        start.wait()
        anna.press(page, f"{page.path}/cancel")
        worker.join()
        outcome = anna.twin(page)["outcome"]
        arrived = len(sipgate.world.arrivals_for(f"+4917139200{50 + round_}"))
        assert (outcome, arrived) in (("cancelled", 0), ("scheduled", 1))


def test_the_hand_over_comes_before_the_sign_in_would_end(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna, in_hours=72)
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(TokenSet).values(refresh_expires_at=now() + timedelta(hours=48)))
    page = anna.get(page.path)
    assert "Can be changed until" in page.text
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(TokenSet).values(refresh_expires_at=now() + timedelta(hours=20)))
    work(app)
    assert anna.twin(page)["outcome"] == "scheduled"


def test_a_waiting_message_keeps_its_sign_in_alive(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    plan(anna, in_hours=29 * 24)
    before = sipgate.world.calls["token_refresh"]
    with later(days=16), app.app_context():
        tokens.keep_alive()
    assert sipgate.world.calls["token_refresh"] == before + 1


def test_nothing_is_claimed_while_on_hold(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    page = plan(anna)
    runner = app.test_cli_runner()
    assert "On hold" in runner.invoke(args=["hold"]).output
    with later(minutes=61):
        work(app)
        assert sipgate.world.arrivals == []
        assert "on hold" in anna.get(page.path).soup.get_text()
        assert anna.send(status=503).text
        runner.invoke(args=["release"])
        work(app)
        assert anna.twin(page)["outcome"] == Outcome.SCHEDULED


@pytest.mark.sqlite
def test_f66_threads_of_a_process_ask_for_sqlites_one_writer_in_turn(app: Flask) -> None:
    """Whoever asks while another writes would sleep and ask again, and some would never get it."""
    asked: list[str] = []
    is_writing, is_waiting = Event(), Event()

    def write_second() -> None:
        is_writing.wait(5)
        with app.app_context():
            is_waiting.set()
            with transaction():
                asked.append("second may write")

    with app.app_context():
        # A connection is taken before SQLite itself is asked.
        sa.event.listen(db.engine, "checkout", lambda *_: asked.append("asked"))
        second = Thread(target=write_second)
        second.start()
        with transaction():
            is_writing.set()
            is_waiting.wait(5)
            second.join(0.2)  # long enough to ask, if nothing kept it from asking
            asked.append("first is done")
        second.join(10)
    assert asked == ["asked", "first is done", "asked", "second may write"]
