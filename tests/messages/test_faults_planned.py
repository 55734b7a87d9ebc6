"""Planned messages have time until theirs comes, and every living sign-in; on both databases."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.messages.test_faults_worker import assert_once_at_most, later, plan
from tests.support.pages import Browser
from tests.support.worker import counts, send_to_many, work
from webapp.database import db, transaction
from webapp.database.models import Message, TokenSet
from webapp.messages import changes
from webapp.rules.times import now
from webapp.signin import tokens
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url)


@pytest.mark.parametrize("away", ["sipgate", "login"])
def test_f73_a_planned_message_is_tried_until_its_time_and_then_asked_about(
    app: Flask, anna: Browser, sipgate: Simulator, away: str
) -> None:
    page = plan(anna)
    if away == "sipgate":
        sipgate.stop()
    else:
        sipgate.world.fail_always("refresh", Fault(503))
    for minutes in (61, 65, 77, 100, 119, 121, 140, 148):
        with later(minutes=minutes):
            work(app)
            assert anna.twin(page)["outcome"] == "held"
    with later(minutes=151):
        work(app)
        assert anna.twin(page)["outcome"] == "missed"
        if away == "sipgate":
            sipgate.start()
        sipgate.world.clear_faults()
        work(app)
        assert anna.twin(page)["outcome"] == "missed"
    assert sipgate.world.arrivals == []


@pytest.mark.parametrize(("back_after", "outcome"), [(100, "scheduled"), (125, "accepted")])
def test_f73_a_planned_message_goes_once_when_sipgate_is_back_in_time(
    app: Flask, anna: Browser, sipgate: Simulator, back_after: int, outcome: str
) -> None:
    page = plan(anna)
    sipgate.stop()
    for minutes in (61, 77, 95):
        with later(minutes=minutes):
            work(app)
    sipgate.start()
    with later(minutes=back_after):
        work(app)
        assert anna.twin(page)["outcome"] == outcome
    assert len(sipgate.world.arrivals) == 1


def test_f73_a_planned_message_of_a_batch_is_missed_too_and_never_given_up(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    send_at = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    page = send_to_many(anna, 2, send_at=send_at, time_zone="UTC")
    sipgate.stop()
    for minutes in (61, 77, 100, 121, 140):
        with later(minutes=minutes):
            work(app)
            assert counts(anna, page) == {"held": 2}
    with later(minutes=152):
        work(app)
        assert counts(anna, page) == {"missed": 2}
    sipgate.start()
    assert sipgate.world.arrivals == []


def two_sign_ins(app: Flask, sipgate: Simulator) -> Browser:
    """Anna in two browsers; returns the second one, whose sign-in is the newer."""
    Browser(app, sipgate).sign_in("anna")
    newer = Browser(app, sipgate)
    newer.sign_in("anna")
    return newer


def kill_newest(app: Flask) -> None:
    """sipgate takes nothing of it any more."""
    with app.app_context(), transaction() as rows:
        newest = rows.scalars(sa.select(TokenSet).order_by(TokenSet.id.desc()).limit(1)).one()
        newest.access_token = newest.refresh_token = "dead"  # noqa: S105


@pytest.mark.parametrize("has_run_out", [False, True])
def test_f74_where_the_newer_sign_in_has_ended_the_older_one_sends(
    app: Flask, sipgate: Simulator, has_run_out: bool
) -> None:
    browser = two_sign_ins(app, sipgate)
    page = plan(browser)
    kill_newest(app)
    if has_run_out:
        with app.app_context(), transaction() as rows:
            rows.execute(sa.update(TokenSet).values(expires_at=now()))
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Message).values(due_at=now()))
    work(app)
    browser.sign_in("anna")
    assert browser.twin(page)["outcome"] == "scheduled"
    assert len([one for one in sipgate.world.arrivals if one.accepted]) == 1
    assert sipgate.world.calls["send"] == (1 if has_run_out else 2)


def test_f74_a_sign_in_that_is_refused_even_when_renewed_leaves_it_to_the_next(
    app: Flask, sipgate: Simulator
) -> None:
    browser = two_sign_ins(app, sipgate)
    page = plan(browser)
    sipgate.fail_next("send", Fault(401), times=2)
    with later(minutes=61):
        work(app)
    browser.sign_in("anna")
    assert browser.twin(page)["outcome"] == "scheduled"
    assert sipgate.world.calls["send"] == 3
    assert_once_at_most(sipgate)


def test_f74_it_waits_for_a_sign_in_only_when_the_last_has_ended(
    app: Flask, sipgate: Simulator
) -> None:
    browser = two_sign_ins(app, sipgate)
    page, other = plan(browser), plan(browser, "+491713920051")
    sipgate.world.fail_always("send", Fault(401))
    with later(minutes=61):
        work(app)
    sipgate.world.clear_faults()
    browser.sign_in("anna")
    assert {browser.twin(one)["outcome"] for one in (page, other)} == {"paused"}
    assert browser.twin(page)["reason"] == "sign_in_ended"
    assert sipgate.world.calls["send"] == 4  # a first try, and one after the refresh, for each


def test_f74_the_last_of_the_sign_ins_that_ends_decides_when_it_must_go(
    app: Flask, sipgate: Simulator
) -> None:
    browser = two_sign_ins(app, sipgate)
    page = plan(browser, in_hours=72)
    with app.app_context(), transaction() as rows:
        newest = rows.scalar(sa.select(sa.func.max(TokenSet.id)))
        soon = sa.update(TokenSet).where(TokenSet.id == newest)
        rows.execute(soon.values(refresh_expires_at=now() + timedelta(hours=20)))
        rest = sa.update(TokenSet).where(TokenSet.id != newest)
        rows.execute(rest.values(refresh_expires_at=now() + timedelta(hours=60)))
    work(app)
    assert browser.twin(page)["outcome"] == "held"
    with app.app_context():
        until = changes.handover_at(db.session.scalars(sa.select(Message)).one())
    assert until is not None
    assert abs(until - now() - timedelta(hours=36)) < timedelta(minutes=1)


def test_f74_all_sign_ins_that_a_waiting_message_may_need_are_kept_alive(
    app: Flask, sipgate: Simulator
) -> None:
    plan(two_sign_ins(app, sipgate), in_hours=29 * 24)
    with later(days=16), app.app_context():
        tokens.keep_alive()
    assert sipgate.world.calls["token_refresh"] == 2
