"""The operator's page: how the set-up stands, in words, before the settings."""

import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from webapp.database import audit, installation, transaction
from webapp.database.audit import AlarmKind
from webapp.database.models import TokenSet
from webapp.jobs import heartbeat
from webapp.simulator.server import Simulator

ALL = "history:read contacts:read balance:read"


def findings(browser: Browser) -> dict[str, str]:
    """Sentences of the page by their tone, good ones last."""
    found = browser.get("/operator").soup.select(".findings > li")
    return {one.get_text(" ", strip=True): str(one["class"][-1]) for one in found}


def tone(browser: Browser, words: str) -> str:
    [found] = [tone for said, tone in findings(browser).items() if words in said]
    return found.removeprefix("tone-")


def test_it_says_whether_the_worker_runs(app: Flask, anna: Browser) -> None:
    assert tone(anna, "(the worker) is not running") == "bad"
    with app.app_context():
        heartbeat.heartbeat("0" * 32)
    assert tone(anna, "(the worker) is running") == "good"


def test_it_says_that_sending_is_on_hold_and_what_alarms_there_were(
    app: Flask, anna: Browser
) -> None:
    assert tone(anna, "no alarm") == "good"
    with app.app_context():
        audit.alarm(AlarmKind.UNTRUSTED)
        installation.hold()
    assert tone(anna, "Sending is on hold") == "bad"
    assert not [said for said in findings(anna) if "no alarm" in said]


def test_it_names_permissions_that_are_not_asked_for_or_were_not_given(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    few = Browser(make_app(), sipgate)
    few.sign_in("anna")
    assert tone(few, "Add history:read to SIPGATE_OPTIONAL_SCOPES") == "unknown"
    app = make_app(SIPGATE_OPTIONAL_SCOPES=ALL)
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    assert tone(anna, "all permissions") == "good"
    with app.app_context(), transaction() as session:
        session.execute(sa.update(TokenSet).values(scope="sessions:sms:write sms:read users:read"))
    assert tone(anna, "Allow balance:read for the client") == "bad"


def test_the_settings_stand_behind_the_findings(anna: Browser) -> None:
    details = anna.get("/operator").soup.select_one("main details")
    assert details is not None
    assert "DATABASE_URL" in details.text
    assert not details.has_attr("open")
