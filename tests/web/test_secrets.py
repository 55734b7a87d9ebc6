"""What is secret stays so: on pages, in `repr`, in what a start that fails says, and in the log."""

import ast
import logging
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from tests.test_architecture import sources
from webapp import create_app
from webapp.config import SettingError, Settings
from webapp.database import db, transaction
from webapp.database.models import Message
from webapp.database.schema import SchemaError, upgrade_schema
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

MARK = "Zq7"
"""Stands in every secret below."""
KEY = f"{MARK}-a-key-for-tests-0123456789-abcdefghijklm"
SECRETS = {
    "SECRET_KEY": f"{KEY},{KEY[::-1]}{MARK}",
    "SIPGATE_CLIENT_SECRET": f"{MARK}-client-secret",
    "DATABASE_URL": f"postgresql://sms:{MARK}@127.0.0.1:1/sms?sslpassword={MARK}",
    "METRICS_TOKEN": f"{MARK}-metrics-token",
    "SIPGATE_TOKEN": f"{MARK}-personal-token",
    "SMTP_URL": f"smtps://{MARK}:{MARK}@mail.example.com",
    "ALERT_WEBHOOK": f"ntfy+https://{MARK}:{MARK}@ntfy.example.com/{MARK}?auth={MARK}",
}
OPEN = {
    "PUBLIC_URL": "http://localhost:8123",
    "HOST": "127.0.0.1",
    "PORT": "8123",
    "SIPGATE_CLIENT_ID": "1234567-0-team-sms",
    "SIPGATE_ISSUER": "https://login.example/auth/realms/x",
    "SIPGATE_API_URL": "https://api.example/v2",
    "SIPGATE_OPTIONAL_SCOPES": "history:read",
    "SIPGATE_ACCOUNTS": "1234567",
    "WEB_PROCESSES": "1",
    "WEB_THREADS": "8",
    "SEND_CONCURRENCY": "8",
    "SCHEDULE_HANDOVER_MINUTES": "60",
    "MISSED_AFTER_MINUTES": "30",
    "DAILY_LIMIT": "100",
    "BATCH_CONFIRM": "50",
    "RATE_LIMITS": "send 10/minute per member",
    "RETENTION_DAYS": "30",
    "HISTORY_VISIBILITY": "own",
    "DEFAULT_REGION": "DE",
    "DEFAULT_TIME_ZONE": "Europe/Berlin",
    "QUIET_HOURS": "22:00-07:00",
    "SEGMENT_PRICE": "0.07",
    "TRUSTED_PROXY_HOPS": "0",
    "SIPGATE_TOKEN_ID": "token-AB12CD",
    "LOG_LEVEL": "DEBUG",
    "ALERT_EMAIL": "office@example.com",
}
ALL = {**OPEN, **SECRETS}
TEXT = f"Geheimer Befund {MARK}"
NUMBER = "+491713920050"


# --- Settings -----------------------------------------------------------------------------------


def test_every_setting_is_either_open_or_a_secret() -> None:
    """A new setting is named in one of the two above; most that name a place belong below."""
    assert {one.name.upper() for one in fields(Settings)} == set(ALL)
    assert not set(OPEN) & set(SECRETS)


def test_no_secret_is_in_what_settings_say_of_themselves() -> None:
    settings = Settings.from_mapping(ALL)
    for said in (repr(settings), str(settings), f"{settings}", str(settings.shown())):
        assert MARK not in said
    for name in SECRETS:
        with_it, without = settings.shown()[name], Settings.from_mapping(OPEN | needed()).shown()
        assert with_it
        assert with_it != without[name] or name in needed(), name


def needed() -> dict[str, str]:
    names = ("SECRET_KEY", "SIPGATE_CLIENT_SECRET", "SMTP_URL")
    return {name: SECRETS[name] for name in names}


def test_where_the_database_is_is_shown_without_its_password() -> None:
    shown = Settings.from_mapping(ALL).shown()
    assert shown["DATABASE_URL"] == "postgresql://***@127.0.0.1:1/sms?***"


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://sms:a/{MARK}@host/0",
        "postgresql://sms:a@{MARK}@host/0",
        "postgresql://:{MARK}@host/0",
        "postgresql://s/m:{MARK}@host/0",
        "postgresql://sms:%5A{MARK}%20@host/0",
        "postgresql://host/0?a={MARK}&a={MARK}2&password={MARK}",
        "postgresql:///0?user=sms&password={MARK}&host=/run",
        "postgresql://sms:{MARK}#x@host/0",
        "postgresql://sms:{MARK}",
    ],
)
def test_no_spelling_of_a_password_is_shown(address: str) -> None:
    values = {**ALL, "DATABASE_URL": address.format(MARK=MARK)}
    settings = Settings.from_mapping(values)
    assert MARK not in settings.shown()["DATABASE_URL"] + repr(settings)


def test_the_operators_page_shows_no_secret(
    make_app: MakeApp, sipgate: Simulator, postgresql_url: str
) -> None:
    """On PostgreSQL, whose address holds a password, as did that of an earlier version's Redis."""
    url = sa.engine.make_url(postgresql_url)
    address = url.set(password=MARK).render_as_string(hide_password=False)
    names = ("SECRET_KEY", "METRICS_TOKEN", "SIPGATE_TOKEN", "SMTP_URL", "ALERT_WEBHOOK")
    others = {name: SECRETS[name] for name in names}
    app = make_app(
        ALERT_EMAIL="office@example.com",
        DATABASE_URL=address,
        REDIS_URL=f"redis://sms:{MARK}@127.0.0.1:1/0?password={MARK}",
        **others,
    )
    browser = Browser(app, sipgate)
    browser.sign_in()
    page = browser.get("/operator")
    assert "DATABASE_URL" in page.text
    assert "REDIS_URL is still set" in page.text
    assert url.database
    assert f"/{url.database}" in page.text
    assert MARK not in page.response.get_data(as_text=True)
    assert MARK not in str(page.response.headers)


@pytest.mark.parametrize("name", ["PUBLIC_URL", "SIPGATE_ISSUER", "SIPGATE_API_URL"])
@pytest.mark.parametrize("part", [f":{MARK}@", f"{MARK}@", f"a:{MARK}@"])
def test_an_address_that_is_shown_takes_no_password(name: str, part: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.from_mapping({**ALL, name: f"https://{part}localhost"})
    assert str(refused.value).startswith(name)
    assert MARK not in str(refused.value)


@pytest.mark.parametrize("name", list(ALL))
@pytest.mark.parametrize(
    "value", ["{}\n{}", '"{}"', "x{}", "sqlite://a:{}@b/c", "redis://:{}@h:x/0", "{}\x00"]
)
def test_a_start_that_is_refused_repeats_no_value(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    """Whatever a value is wrong with, its setting is named and the value is not."""
    usable = {**OPEN, **needed(), "DATABASE_URL": f"sqlite:///{tmp_path}/app.sqlite"}
    caplog.set_level(logging.DEBUG)
    said = refusal({**usable, name: value.format(MARK, MARK)})
    assert not said or said.startswith(f"{name} ")
    assert MARK not in said + caplog.text


def refusal(values: dict[str, str]) -> str:
    """What the app says that does not start, with what it was caused by; nothing if it does."""
    try:
        create_app(values)
    except SettingError as error:
        return "".join(map(str, filter(None, (error, error.__cause__))))
    return ""


def test_a_database_that_does_not_answer_is_told_without_its_password(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    app = make_app(**SECRETS | {"SIPGATE_CLIENT_SECRET": "other", "ALERT_EMAIL": "a@example.com"})
    with app.app_context(), pytest.raises(SchemaError) as refused:
        upgrade_schema()
    written = "".join(capfd.readouterr())
    assert "cannot be used" in str(refused.value)
    assert MARK not in str(refused.value) + caplog.text + written
    with app.app_context():
        assert f":{MARK}" not in repr(db.engine) + str(db.engine.url)


# --- The log ------------------------------------------------------------------------------------


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


REFUSE_SQLITE = """
CREATE TRIGGER refuse BEFORE INSERT ON messages BEGIN SELECT RAISE(ABORT, 'refused'); END
"""
REFUSE_POSTGRESQL = "ALTER TABLE messages ADD CONSTRAINT refuse CHECK (segment_count > 99)"


def test_a_refused_row_is_logged_without_its_text_and_number(
    app: Flask, anna: Browser, logged: pytest.LogCaptureFixture
) -> None:
    with app.app_context(), transaction() as rows:
        on_sqlite = db.engine.dialect.name == "sqlite"
        rows.execute(sa.text(REFUSE_SQLITE if on_sqlite else REFUSE_POSTGRESQL))
    data = anna.compose(recipient=NUMBER, message=TEXT)
    answer = anna.client.post("/messages", data=data, base_url=anna.base_url)
    assert answer.status_code == 500
    assert "IntegrityError" in logged.text, "this is the row that was refused"
    assert "INSERT INTO messages" in logged.text, "the statement itself may be read"
    assert_unsaid(logged)


def test_a_failing_statement_is_logged_without_what_was_searched(
    app: Flask, anna: Browser, logged: pytest.LogCaptureFixture
) -> None:
    with app.app_context(), transaction() as rows:
        rows.execute(sa.text("ALTER TABLE messages RENAME COLUMN text TO gone"))
    answer = anna.client.get(
        "/messages", query_string={"q": f"{TEXT} {NUMBER}"}, base_url=anna.base_url
    )
    assert answer.status_code in (500, 503)
    assert logged.records
    assert_unsaid(logged)


def assert_unsaid(logged: pytest.LogCaptureFixture) -> None:
    traces = "".join(record.exc_text or "" for record in logged.records)
    for secret in (MARK, "Befund", NUMBER, NUMBER[1:]):
        assert secret not in logged.text + traces


def test_every_engine_hides_its_parameters() -> None:
    made = [
        call
        for path in sources()
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("create_engine")
    ]
    assert len(made) >= 2
    for call in made:
        assert "hide_parameters=True" in ast.unparse(call)


def test_sending_again_what_was_just_erased_sends(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """The message that it repeats was forgotten while its form was open."""
    sipgate.fail_next("send", Fault(402))
    page = anna.send_and_look(NUMBER, "Hello")
    form = anna.get(f"{page.path}/again")
    forgotten = app.test_cli_runner().invoke(args=["forget", "--number", NUMBER])
    assert forgotten.exit_code == 0
    wrong = anna.post("/messages", {**form.fields("/messages"), "message": ""}, status=422)
    taken = anna.post(
        "/messages", {**wrong.fields("/messages"), "message": "Hello again"}, status=303
    )
    assert anna.twin(taken)["outcome"] == "accepted"
    assert [one.text for one in sipgate.phones[NUMBER]] == ["Hello again"]
    with app.app_context():
        assert list(db.session.scalars(sa.select(Message.previous_id))) == [None]
