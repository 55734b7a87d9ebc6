"""What is asked of a message while its request is under way: it waits with the row (F67)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.raw_servers import (
    another_tab,
    black_hole,
    in_parallel,
    is_black,
    limit,
    wait_until,
)
from tests.support.worker import arrived, counts, send_to_many, work
from webapp.database import db, transaction
from webapp.database.models import Batch, Message, Slowdown
from webapp.messages import claims, sending, sweep
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

ONE = "+491713920050"
DELAY_S = 2.5
"""Longer than the clicks take that come meanwhile."""
SLOW_DOWN = Fault(429, (("Retry-After", "5"),), delay_s=DELAY_S)
WITHDRAWN = "Being sent. If sipgate does not take it, sending is cancelled."
PAUSED = "Being sent. If sipgate does not take it, sending is paused."


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url, SEND_CONCURRENCY="1")


def plan(app: Flask, browser: Browser, to: str = ONE) -> Page:
    """Plan a message whose hand-over is due now, and open its page."""
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    page = browser.send_and_look(to, send_at=send_at, time_zone="UTC")
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Message).values(due_at=now()))
    return page


def sending_ids(app: Flask) -> list[str]:
    with app.app_context():
        query = sa.select(Message.id).where(Message.outcome == Outcome.SENDING)
        return list(db.session.scalars(query))


@contextmanager
def under_way(
    app: Flask, *, count: int = 1, do: Callable[[], object] | None = None
) -> Iterator[str]:
    """While a message is being sent (by `do`, or else by the worker); yields its id."""
    sender = Thread(target=do or (lambda: work(app)))
    sender.start()
    ids: list[str] = []

    def are_sending() -> bool:
        ids[:] = sending_ids(app)
        return len(ids) == count

    wait_until(are_sending)
    yield ids[0]
    assert sending_ids(app), "the answer came before all was asked"
    sender.join()


def much_later(app: Flask) -> None:
    """All that is due in the next minutes is done, and so is all that is due in an hour."""
    for minutes in (2, 20, 70):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
            work(app)


def press(browser: Browser, path: str, action: str, **fields: str) -> Page:
    return browser.follow(browser.press(browser.get(path), f"{path}/{action}", **fields))


@pytest.mark.parametrize(("action", "becomes"), [("stop", "paused"), ("cancel", "cancelled")])
def test_f67_a_batch_stopped_while_one_is_being_sent_sends_nothing_without_a_click(
    app: Flask, anna: Browser, sipgate: Simulator, action: str, becomes: str
) -> None:
    page = send_to_many(anna, 4)
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app) as id_:
        shown = press(anna, page.path, action)
        assert f"1 message is being sent. If sipgate does not take it, sending is {becomes}." in (
            shown.text
        )
        assert (
            anna.twin(anna.get(f"/messages/{id_}"))["wish"]
            == {
                "stop": "pause",
                "cancel": "cancel",
            }[action]
        )
    assert counts(anna, page) == {becomes: 4}
    much_later(app)
    assert counts(anna, page) == {becomes: 4}
    assert arrived(sipgate) == {}
    twin = anna.twin(anna.get(f"/messages/{id_}"))
    assert (twin["wish"], twin["reason"]) == (None, "stopped" if action == "stop" else "")
    if action == "stop":
        press(anna, page.path, "resume")
        much_later(app)
        assert counts(anna, page) == {"accepted": 4}
        assert set(arrived(sipgate).values()) == {1}


def test_f67_a_planned_message_withdrawn_while_it_is_being_sent_is_never_sent_later(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(app, anna)
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app):
        assert anna.twin(page)["wish"] is None
        shown = press(anna, page.path, "cancel")
        assert WITHDRAWN in shown.text
        assert "too late" not in shown.text.lower()
        assert anna.twin(page)["wish"] == "cancel"
        assert "Cancel sending" not in [
            one.get_text(strip=True) for one in shown.soup.select("button")
        ]
    much_later(app)
    assert anna.twin(page)["outcome"] == "cancelled"
    assert anna.twin(page)["wish"] is None
    assert arrived(sipgate) == {}


@pytest.mark.parametrize(
    ("fault", "outcome", "texts"),
    [
        (Fault(delay_s=DELAY_S), "scheduled", 1),
        (Fault(400, delay_s=DELAY_S), "refused", 0),
        (Fault(500, delay_s=DELAY_S), "unknown", 0),
        (Fault(401, delay_s=DELAY_S), "scheduled", 1),
    ],
)
def test_f67_a_yes_a_no_and_no_answer_stay_what_they_are(
    app: Flask, anna: Browser, sipgate: Simulator, fault: Fault, outcome: str, texts: int
) -> None:
    page = plan(app, anna)
    sipgate.fail_next("send", fault)
    with under_way(app):
        press(anna, page.path, "cancel")
    twin = anna.twin(page)
    assert (twin["outcome"], twin["wish"]) == (outcome, None)
    assert sum(arrived(sipgate).values()) == texts


def test_f67_a_401_for_good_is_cancelled_where_it_was_wished(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(app, anna)
    sipgate.world.fail_always("send", Fault(401, delay_s=DELAY_S))
    with under_way(app):
        press(anna, page.path, "cancel")
    sipgate.world.clear_faults()
    anna.sign_in()
    assert anna.twin(page)["outcome"] == "cancelled"


@pytest.mark.parametrize(("action", "becomes"), [("stop", "paused"), ("cancel", "cancelled")])
def test_f67_no_connection_does_what_was_wished(
    app: Flask, anna: Browser, sipgate: Simulator, action: str, becomes: str
) -> None:
    page = send_to_many(anna, 2)
    with black_hole() as url:
        if not is_black(url):
            pytest.skip("this kernel takes more connections than the backlog says")
        limit(app, send_s=DELAY_S, api_url=url)
        with under_way(app):
            press(anna, page.path, action)
    limit(app)
    much_later(app)
    assert counts(anna, page) == {becomes: 2}
    assert sipgate.world.arrivals == []


def test_f67_signing_out_with_pause_holds_what_is_being_sent(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page, other = plan(app, anna, "+491713920051"), Browser(app, sipgate)
    other.sign_in()
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app):
        anna.press(anna.get("/logout"), "/logout", waiting="pause")
        assert PAUSED in other.get(page.path).text
    much_later(app)
    other.sign_in()
    twin = other.twin(page)
    assert (twin["outcome"], twin["reason"], twin["wish"]) == ("paused", "signed_out", None)
    assert arrived(sipgate) == {}


def test_f67_going_on_takes_the_pause_back(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    page = send_to_many(anna, 1 + 1)
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app) as id_:
        press(anna, page.path, "stop")
        press(anna, page.path, "resume")
        twin = anna.twin(anna.get(f"/messages/{id_}"))
        assert (twin["wish"], twin["reason"]) == (None, "")
    much_later(app)
    assert counts(anna, page) == {"accepted": 2}
    assert set(arrived(sipgate).values()) == {1}


def test_f67_the_last_one_of_a_batch_can_be_stopped_and_goes_on(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 2)
    sipgate.world.fail_from("send", 2, SLOW_DOWN)
    with under_way(app):
        wait_until(lambda: counts(anna, page) == {"accepted": 1, "sending": 1})
        press(anna, page.path, "stop")
        assert f"{page.path}/resume" in str(anna.get(page.path).soup)
    sipgate.world.clear_faults()
    much_later(app)
    assert counts(anna, page) == {"accepted": 1, "paused": 1}


def test_f67_withdrawing_beats_stopping_in_either_order(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for first, second in (("stop", "cancel"), ("cancel", "stop")):
        with app.app_context(), transaction() as rows:
            rows.execute(sa.delete(Slowdown))
        page = send_to_many(anna, 2, text=f"{first} first")
        sipgate.fail_next("send", SLOW_DOWN)
        with under_way(app) as id_:
            paths = {"stop": page.path, "cancel": f"/messages/{id_}"}
            for action in (first, second):
                press(anna, paths[action], action)
            assert anna.twin(anna.get(f"/messages/{id_}"))["wish"] == "cancel"
        assert counts(anna, page) == {"cancelled": 1, "paused": 1}


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(SLOW_DOWN, "cancelled"), (Fault(delay_s=DELAY_S), "accepted")],
)
def test_f67_a_message_for_now_can_be_withdrawn_in_another_tab(
    app: Flask, anna: Browser, sipgate: Simulator, fault: Fault, outcome: str
) -> None:
    form, tab = anna.compose(recipient=ONE, message="Hello"), another_tab(anna)
    sipgate.fail_next("send", fault)
    with under_way(app, do=lambda: tab.post("/messages", form, status=303)) as id_:
        page = press(anna, f"/messages/{id_}", "cancel")
        assert WITHDRAWN in page.text
    assert anna.twin(page)["outcome"] == outcome
    assert sum(arrived(sipgate).values()) == (outcome == "accepted")


def test_f67_a_message_for_now_is_never_paused(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form, tab = anna.compose(recipient=ONE, message="Hello"), another_tab(anna)
    other = Browser(app, sipgate)
    other.sign_in()
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app, do=lambda: tab.post("/messages", form, status=None)) as id_:
        anna.press(anna.get("/logout"), "/logout", waiting="pause")
        assert other.twin(other.get(f"/messages/{id_}"))["wish"] is None
    twin = other.twin(other.get(f"/messages/{id_}"))
    assert (twin["outcome"], twin["reason"]) == ("refused", "rate_limited")


def test_f67_changing_what_is_being_sent_is_not_called_too_late(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(app, anna)
    form = anna.get(f"{page.path}/edit").fields()
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app):
        shown = anna.follow(anna.post(f"{page.path}/edit", form, status=303))
        words = shown.soup.get_text(" ")
        assert "is being sent right now" in words
        assert "Too late" not in words


def test_f67_forgetting_a_number_takes_back_what_is_being_sent_to_it(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(app, anna)
    sipgate.fail_next("send", SLOW_DOWN)
    with under_way(app):
        app.test_cli_runner().invoke(args=["forget", "--number", ONE])
        assert anna.twin(page)["wish"] == "cancel"
    much_later(app)
    assert anna.twin(page)["outcome"] == "cancelled"
    assert arrived(sipgate) == {}


def test_f67_what_stops_a_batch_by_itself_also_holds_what_is_being_sent(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 6)
    batch_id = open_batch(app)
    with app.app_context():
        taken = [one for _ in range(2) if (one := claims.claim_next(batch_id))]
    first, second = taken
    sipgate.fail_next("send", Fault(402))
    deliver(app, first)
    with app.app_context():
        assert db.session.get_one(Message, second.message.id).wish == "pause"
    sipgate.fail_next("send", Fault(429, (("Retry-After", "5"),)))
    deliver(app, second)
    assert counts(anna, page) == {"refused": 1, "paused": 5}
    much_later(app)
    assert arrived(sipgate) == {}


def test_f67_interrupted_while_a_wish_waits_it_is_unknown_and_wishes_nothing(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(app, anna)
    with app.app_context():
        claim = claims.claim(page.path.rsplit("/", 1)[1])
    assert claim
    press(anna, page.path, "cancel")
    with time_machine.travel(now() + sweep.STALE_AFTER + timedelta(seconds=1), tick=True):
        work(app)
        twin = anna.twin(page)
    assert (twin["outcome"], twin["wish"]) == ("unknown", None)
    sipgate.fail_next("send", Fault(429))
    deliver(app, claim)  # it was not dead, and comes back: the row is not its any more
    assert anna.twin(page)["outcome"] == "unknown"


def open_batch(app: Flask) -> str:
    """Let as many go at once as ask."""
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(is_open=True))
        return str(rows.scalar(sa.select(Batch.id)))


def deliver(app: Flask, claim: claims.Claim) -> None:
    with app.app_context():
        sending.deliver_claimed(claim)


def test_f67_withdrawing_and_putting_back_never_pass_each_other(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """Whichever of the two comes first, the message is withdrawn."""
    pages = [plan(app, anna, f"+4917139200{n}") for n in range(50, 65)]
    sipgate.world.fail_always("send", Fault(429, (("Retry-After", "0"),)))
    for page in pages:
        with app.app_context(), transaction() as rows:
            rows.execute(sa.delete(Slowdown))
        with app.app_context():
            claim = claims.claim(page.path.rsplit("/", 1)[1])
        assert claim
        fields, tab = anna.get(page.path).fields(f"{page.path}/cancel"), another_tab(anna)
        in_parallel(
            lambda claim=claim: deliver(app, claim),
            lambda tab=tab, page=page, fields=fields: tab.post(f"{page.path}/cancel", fields),
        )
        assert anna.twin(page)["outcome"] == "cancelled"


def test_f67_stopping_while_many_come_back_breaks_nothing_and_holds_all(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """They lock in one order, or PostgreSQL would end one of two that wait for each other."""
    page = send_to_many(anna, 12)
    singles = [plan(app, anna, f"+4917139200{n}") for n in range(50, 54)]
    batch_id = open_batch(app)
    with app.app_context():
        taken = [one for _ in range(6) if (one := claims.claim_next(batch_id))]
        for one in singles:
            claim = claims.claim(one.path.rsplit("/", 1)[1])
            assert claim
            taken.append(claim)
        broken: list[object] = []
        sa.event.listen(db.engine, "handle_error", lambda context: broken.append(context))
    sipgate.world.fail_always("send", Fault(401))
    fields, tab = anna.get(page.path).fields(f"{page.path}/stop"), another_tab(anna)
    in_parallel(
        lambda: tab.post(f"{page.path}/stop", fields, status=303),
        *(lambda one=one: deliver(app, one) for one in taken),
    )
    assert broken == []
    sipgate.world.clear_faults()
    anna.sign_in()
    assert counts(anna, page) == {"paused": 12}
    assert {anna.twin(one)["outcome"] for one in singles} == {"paused"}
    assert arrived(sipgate) == {}
