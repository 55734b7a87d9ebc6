"""Members kept apart: what each may see and do, how often, and for how long."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import send_to_many, work
from webapp.database import db, installation
from webapp.database.models import Event, Message
from webapp.jobs import heartbeat, retention
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

NewBrowser = Callable[[], Browser]
ONE = "+491713920050"


def signed_in(new_browser: NewBrowser, person: str) -> Browser:
    browser = new_browser()
    browser.sign_in(person)
    return browser


def planned(browser: Browser) -> Page:
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(ONE, send_at=send_at, time_zone="UTC")


def token(browser: Browser) -> dict[str, str]:
    return {"csrf_token": browser.get("/").fields()["csrf_token"]}


ACTIONS = ("cancel", "edit", "reschedule", "settle", "look")


@pytest.mark.parametrize(("person", "may_see"), [("karl", False), ("ben", False), ("anna", True)])
def test_b16_others_see_a_message_only_as_admins_of_its_account(
    new_browser: NewBrowser, person: str, may_see: bool
) -> None:
    owner = signed_in(new_browser, "ben" if person == "anna" else "anna")
    page = planned(owner)
    other = signed_in(new_browser, person)
    other.get(page.path, status=200 if may_see else 404)
    other.get(f"{page.path}/edit", status=404)
    other.get(f"{page.path}/again", status=404)
    for action in ACTIONS:
        if not (may_see and action == "cancel"):
            other.post(f"{page.path}/{action}", token(other), status=404)
    assert owner.twin(page)["outcome"] == "held"
    assert (page.path in str(other.get("/messages").soup)) == may_see


@pytest.mark.parametrize(("person", "may_see"), [("karl", False), ("ben", False), ("anna", True)])
def test_b16_others_reach_a_batch_only_as_admins_of_its_account(
    app: Flask, new_browser: NewBrowser, person: str, may_see: bool
) -> None:
    owner = signed_in(new_browser, "ben" if person == "anna" else "anna")
    page = send_to_many(owner, 3)
    other = signed_in(new_browser, person)
    other.get(page.path, status=200 if may_see else 404)
    other.post(f"{page.path}/resume", token(other), status=404)
    for action in ("stop", "cancel"):
        other.post(f"{page.path}/{action}", token(other), status=303 if may_see else 404)


def test_an_admin_may_withdraw_a_colleagues_message(new_browser: NewBrowser) -> None:
    ben, anna = signed_in(new_browser, "ben"), signed_in(new_browser, "anna")
    page = planned(ben)
    anna.press(anna.get(page.path), f"{page.path}/cancel")
    assert ben.twin(page)["outcome"] == "cancelled"


def test_with_team_visibility_all_of_the_account_see_and_nobody_else(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(HISTORY_VISIBILITY="team")
    browsers = {}
    for person in ("anna", "ben", "karl"):
        browsers[person] = Browser(app, sipgate)
        browsers[person].sign_in(person)
    page = planned(browsers["anna"])
    browsers["ben"].get(page.path)
    browsers["ben"].post(f"{page.path}/cancel", token(browsers["ben"]), status=404)
    browsers["karl"].get(page.path, status=404)


def test_f35_who_signs_in_in_the_same_browser_sees_nothing_of_the_first(
    app: Flask, new_browser: NewBrowser, sipgate: Simulator
) -> None:
    browser = signed_in(new_browser, "anna")
    page, batch = planned(browser), send_to_many(browser, 3)
    browser.sign_in("karl")  # `w0` of the other account
    browser.get(page.path, status=404)
    browser.get(batch.path, status=404)
    browser.post(f"{batch.path}/resume", token(browser), status=404)
    assert page.path not in str(browser.get("/messages").soup)


def test_b30_too_many_sends_a_minute_are_a_page_with_the_waiting_time(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    anna = Browser(make_app(RATE_LIMITS="send 2/minute per member"), sipgate)
    anna.sign_in()
    anna.send(ONE, "one")
    anna.send(ONE, "two")
    page = anna.send(ONE, "three", status=429)
    assert int(page.response.headers["Retry-After"]) <= 60
    assert "Nothing was sent" in page.text
    assert "three" in page.soup.get_text()
    assert len(sipgate.world.arrivals) == 2


def test_b30_too_many_sign_ins_a_minute_are_slowed_down(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    browser = Browser(make_app(RATE_LIMITS="login 3/minute per address"), sipgate)
    for _ in range(3):
        browser.get("/login", status=302)
    browser.get("/login", status=429)


def test_b30_the_daily_limit_has_its_own_words(make_app: MakeApp, sipgate: Simulator) -> None:
    anna = Browser(make_app(DAILY_LIMIT="2"), sipgate)
    anna.sign_in()
    anna.send(ONE, "one")
    anna.send(ONE, "two")
    page = anna.send(ONE, "three", status=429)
    assert "2 messages" in page.text
    assert len(sipgate.world.arrivals) == 2


def test_after_fifteen_minutes_a_removed_account_is_signed_out(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    browser = Browser(make_app(), sipgate)
    browser.sign_in("karl")
    # The operator takes the account out and starts the app anew: same browser, same database.
    browser.client.application = make_app(SIPGATE_ACCOUNTS="1234567")
    browser.get("/messages")
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
        browser.get("/messages", status=302)


def test_the_look_at_fifteen_minutes_survives_a_sipgate_that_is_away(
    anna: Browser, sipgate: Simulator
) -> None:
    sipgate.world.fail_always("userinfo", Fault(503))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
        anna.get("/messages")
        asked = sipgate.world.calls["userinfo"]
        anna.get("/messages")
        assert sipgate.world.calls["userinfo"] == asked


def test_ones_own_sessions_are_listed_and_can_be_ended(
    new_browser: NewBrowser, sipgate: Simulator
) -> None:
    here, there = signed_in(new_browser, "anna"), signed_in(new_browser, "anna")
    page = here.get("/sessions")
    assert "This browser" in page.text
    [form] = [one for one in page.soup.select("main form") if "/end" in str(one["action"])]
    here.press(page, str(form["action"]))
    there.get("/messages", status=302)
    here.get("/messages")
    assert sipgate.world.calls["logout"] == 1


def test_nobody_ends_another_members_session(new_browser: NewBrowser) -> None:
    anna, ben = signed_in(new_browser, "anna"), signed_in(new_browser, "ben")
    spare = signed_in(new_browser, "anna")
    page = anna.get("/sessions")
    [form] = [one for one in page.soup.select("main form") if "/end" in str(one["action"])]
    ben.post(str(form["action"]), token(ben), status=404)
    spare.get("/messages")


def test_who_did_what_is_recorded_without_text_or_number(app: Flask, anna: Browser) -> None:
    page = planned(anna)
    anna.press(page, f"{page.path}/cancel")
    with app.app_context():
        events = list(db.session.scalars(sa.select(Event).order_by(Event.id)))
    assert [event.kind for event in events] == ["signed_in", "planned", "withdrew"]
    assert not [event for event in events if ONE[1:] in event.note or "Hello" in event.note]


def test_what_is_past_its_time_is_erased_and_what_waits_is_not(app: Flask, anna: Browser) -> None:
    old, waiting = anna.send_and_look(ONE, "old"), planned(anna)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=366)), app.app_context():
        assert retention.prune() == 1
    with app.app_context():
        kept = list(db.session.scalars(sa.select(Message.id)))
    assert kept == [waiting.path.rsplit("/", 1)[1]]
    assert old.path.rsplit("/", 1)[1] not in kept


def test_a_number_can_be_forgotten(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    anna.send(ONE, "one")
    planned(anna)
    anna.send("+491713920051", "another")
    result = app.test_cli_runner().invoke(args=["forget", "--number", "0171 3920050"])
    assert result.output == "2 messages erased.\n"
    with app.app_context():
        assert list(db.session.scalars(sa.select(Message.recipient))) == ["+491713920051"]
    work(app)
    assert len(sipgate.world.arrivals) == 2


def test_f49_without_a_worker_the_pages_say_so(app: Flask, anna: Browser) -> None:
    assert "is not running" in anna.get("/").soup.get_text().lower()
    anna.get("/readyz", status=503)
    with app.app_context():
        heartbeat.heartbeat("a worker of this test")
    assert "is not running" not in anna.get("/").soup.get_text().lower()
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60), tick=True):
        assert "is not running" in anna.get("/").soup.get_text().lower()


@pytest.mark.sqlite
def test_f55_a_backup_that_is_put_back_sends_nothing_until_it_is_released(
    make_app: MakeApp, sipgate: Simulator, tmp_path: object
) -> None:
    app = make_app()
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = planned(anna)
    copy = f"{tmp_path}/backup.sqlite"
    assert "starts on hold" in app.test_cli_runner().invoke(args=["backup", copy]).output
    restored = make_app(DATABASE_URL=f"sqlite:///{copy}")
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=4, minutes=1), tick=True):
        work(restored)
        assert sipgate.world.arrivals == []
        restored.test_cli_runner().invoke(args=["release"])
        work(restored)
    assert len(sipgate.world.arrivals) == 1
    assert page.status == 200


@pytest.mark.sqlite
def test_f56_a_copied_database_finds_itself_elsewhere_and_holds(
    make_app: MakeApp, sipgate: Simulator, tmp_path: object
) -> None:
    app = make_app()
    with app.app_context():
        installation.register_location()
        db.session.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
        db.session.commit()
        source = db.engine.url.database
    copy = f"{tmp_path}/copy.sqlite"
    with open(str(source), "rb") as original, open(copy, "wb") as target:
        target.write(original.read())
    copied = make_app(DATABASE_URL=f"sqlite:///{copy}")
    with copied.app_context():
        installation.register_location()
        assert installation.hold_state() == installation.Hold.MOVED
    with app.app_context():
        assert installation.hold_state() == installation.Hold.NONE
