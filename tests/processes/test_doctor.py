"""`flask doctor`: each of its lines, with a simulated sipgate, real databases and a mail server."""

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp, values_for
from tests.support import preloaded, servers
from tests.support.outlets import ADDRESS, Mailbox, serving
from tests.support.pages import Browser
from tests.support.raw_servers import answering
from tests.support.rows import stored_rows
from webapp.config import setting_names
from webapp.database import db, installation, transaction
from webapp.database.models import TokenSet
from webapp.jobs import heartbeat
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

TOKEN_ID, TOKEN = "token-AB12CD", "3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10"
OWNER = {"SIPGATE_TOKEN_ID": TOKEN_ID, "SIPGATE_TOKEN": TOKEN}
ALL_SCOPES = {"SIPGATE_OPTIONAL_SCOPES": "history:read contacts:read balance:read"}
Doctor = Callable[..., "Report"]


class Report:
    """What it said, line by line: level and words, with what to do behind an arrow."""

    def __init__(self, output: str, exit_code: int) -> None:
        self.output, self.exit_code = output, exit_code
        self.lines = output.replace("\n         -> ", " -> ").split("\n")

    def line(self, words: str) -> str:
        (found,) = [line for line in self.lines if words in line]
        return found.strip()

    def level(self, words: str) -> str:
        return self.line(words).split()[0]


@pytest.fixture
def doctor(make_app: MakeApp) -> Doctor:
    def run(*arguments: str, **changed: str) -> Report:
        app = make_app(**{**OWNER, **changed})
        result = app.test_cli_runner().invoke(args=["doctor", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        settings = app.config["SETTINGS"]
        for secret in (TOKEN, settings.sipgate_client_secret, *settings.secret_key):
            assert secret not in result.output
        assert all("->" in line for line in Report(result.output, 0).lines if is_bad(line))
        return Report(result.output, result.exit_code)

    return run


def is_bad(line: str) -> bool:
    return line.strip().startswith(("look ", "fault "))


def test_where_all_is_well_there_is_no_fault(doctor: Doctor, app: Flask) -> None:
    with app.app_context():
        heartbeat.heartbeat("a")
    report = doctor(**ALL_SCOPES)
    assert report.exit_code == 0, report.output
    for words in (
        "The login server answers and knows our client",
        "/v2 answers",
        "This machine's clock",
        "The token is of the account 1234567",
        "sms:read is granted",
        "users:read is granted",
        "balance:read is granted",
        "contacts:read is granted",
        "history:read is granted",
        "It can be written",
        "Its schema is this version's",
        "It gave a sign of life",
        "GiB are free",
    ):
        assert report.level(words) == "ok", report.line(words)
    assert report.lines[-2].startswith("0 faults, ")


def test_every_setting_stands_there_with_what_it_means(doctor: Doctor) -> None:
    report = doctor()
    for name in setting_names():
        assert "(" in report.line(f" {name}: "), name


def test_it_sends_nothing_and_changes_nothing(
    doctor: Doctor, app: Flask, anna: Browser, sipgate: Simulator, mailbox: Mailbox
) -> None:
    anna.send()
    before = stored_rows(app)
    arrivals = len(sipgate.world.arrivals)
    doctor(SMTP_URL=f"smtp://127.0.0.1:{mailbox.port}", ALERT_EMAIL=ADDRESS, **ALL_SCOPES)
    assert stored_rows(app) == before
    assert len(sipgate.world.arrivals) == arrivals
    assert mailbox.mails == []


# --- sipgate --------------------------------------------------------------------------------------


def test_a_wrong_secret_of_the_client_is_a_fault(doctor: Doctor) -> None:
    report = doctor(SIPGATE_CLIENT_SECRET="another-one")
    assert report.exit_code == 1
    assert report.level("does not accept our client") == "fault"
    assert "check SIPGATE_CLIENT_ID and SIPGATE_CLIENT_SECRET" in report.output


def test_a_sipgate_that_is_away_is_a_fault(doctor: Doctor, sipgate: Simulator) -> None:
    sipgate.stop()
    report = doctor()
    assert report.exit_code == 1
    assert report.level("gave no usable answer") == "fault"
    assert report.level("cannot be reached") == "fault"


def test_another_address_than_the_apis_is_a_fault(doctor: Doctor, sipgate: Simulator) -> None:
    report = doctor(SIPGATE_API_URL=f"{sipgate.base_url}/nowhere")
    assert report.level("answered 404 and not 401") == "fault"


@pytest.mark.parametrize(
    ("behind_s", "level"), [(0, "ok"), (30, "look"), (-30, "look"), (3600, "fault")]
)
def test_a_clock_that_is_wrong_is_noticed_by_sipgates(
    doctor: Doctor, behind_s: int, level: str
) -> None:
    at = datetime.now(UTC) - timedelta(seconds=behind_s)
    date = format_datetime(at, usegmt=True)
    answer = f"HTTP/1.1 401 Unauthorized\r\nDate: {date}\r\nContent-Length: 0\r\n\r\n".encode()
    with answering(answer) as server:
        report = doctor(SIPGATE_API_URL=server.url, SIPGATE_TOKEN="")
    assert report.level("This machine's clock") == level
    assert ("NTP" in report.line("This machine's clock")) == (level != "ok")


def test_an_answer_without_a_time_says_nothing_of_the_clock(doctor: Doctor) -> None:
    answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
    with answering(answer) as server:
        report = doctor(SIPGATE_API_URL=server.url, SIPGATE_TOKEN="")
    assert report.level("sipgate's clock is not known") == "look"


def test_without_a_token_it_says_what_it_did_not_ask(doctor: Doctor) -> None:
    report = doctor(SIPGATE_TOKEN="", SIPGATE_TOKEN_ID="")
    assert report.level("there is no personal token") == "look"
    assert "is granted" not in report.output


def test_a_token_may_be_given_or_asked_for(make_app: MakeApp, doctor: Doctor) -> None:
    none = {"SIPGATE_TOKEN": "", "SIPGATE_TOKEN_ID": ""}
    given = doctor("--token-id", TOKEN_ID, "--token", TOKEN, **none)
    assert given.level("sms:read is granted") == "ok"
    runner = make_app(**none).test_cli_runner()
    asked = runner.invoke(args=["doctor", "--token-id", TOKEN_ID, "--token", "-"], input=TOKEN)
    assert "sms:read is granted" in asked.output
    assert TOKEN not in asked.output


def test_a_token_that_sipgate_does_not_take_is_a_fault(doctor: Doctor) -> None:
    report = doctor(SIPGATE_TOKEN="not-this-one")
    assert report.level("does not take the personal token") == "fault"
    assert report.exit_code == 1


def test_a_permission_that_is_refused_is_a_fault(doctor: Doctor, sipgate: Simulator) -> None:
    sipgate.world.fail_always("balance", Fault(403))
    report = doctor(**ALL_SCOPES)
    assert report.level("balance:read is refused (403)") == "fault"
    assert report.level("contacts:read is granted") == "ok"


def test_an_account_that_may_not_sign_in_is_named(doctor: Doctor) -> None:
    report = doctor(SIPGATE_ACCOUNTS="999")
    assert "add it to SIPGATE_ACCOUNTS" in report.line("The token is of the account 1234567")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SIPGATE_ACCOUNTS", "", "nobody can sign in"),
        ("SIPGATE_ACCOUNTS", "*", "everybody who has a sipgate account"),
        ("METRICS_TOKEN", "short", "make it longer"),
        ("REDIS_URL", "redis://", "remove it"),
    ],
)
def test_a_setting_that_is_seldom_meant_is_to_be_looked_at(
    doctor: Doctor, name: str, value: str, words: str
) -> None:
    report = doctor(**{name: value})
    line = report.line(f" {name} is set" if name == "REDIS_URL" else f" {name}: ")
    assert line.startswith("look")
    assert words in line


# --- Database and worker --------------------------------------------------------------------------


def test_a_database_that_nobody_has_made_yet_is_no_fault(doctor: Doctor, tmp_path: Path) -> None:
    report = doctor(DATABASE_URL=f"sqlite:///{tmp_path}/new.sqlite")
    assert report.exit_code == 0, report.output
    assert report.level("It is empty or of an earlier version") == "look"
    assert report.level("Nothing is known of it") == "look"


def test_a_database_of_a_newer_version_is_a_fault(
    doctor: Doctor, make_app: MakeApp, either_url: str
) -> None:
    app = make_app(DATABASE_URL=either_url)
    with app.app_context(), transaction() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    report = doctor(DATABASE_URL=either_url)
    assert report.exit_code == 1
    assert report.level("It was made by a newer version") == "fault"


def test_a_database_that_is_away_is_a_fault_without_its_password(doctor: Doctor) -> None:
    report = doctor(DATABASE_URL="postgresql://sms:geheim@127.0.0.1:1/sms")
    assert report.exit_code == 1
    assert report.level("cannot be read") == "fault"
    assert "geheim" not in report.output


def test_a_database_that_takes_no_writes_is_a_fault(doctor: Doctor, postgresql_url: str) -> None:
    servers.postgresql().take_writes(False)
    try:
        report = doctor(DATABASE_URL=postgresql_url)
    finally:
        servers.postgresql().take_writes(True)
    assert report.level("It cannot be written") == "fault"


def test_a_hold_is_to_be_looked_at(doctor: Doctor, app: Flask) -> None:
    with app.app_context():
        installation.hold()
    assert doctor().level("Sending is on hold (operator)") == "look"


@pytest.mark.sqlite
def test_it_knows_when_the_last_backup_was_made(doctor: Doctor, app: Flask, tmp_path: Path) -> None:
    assert doctor().level("No backup was ever made") == "look"
    with app.app_context():
        installation.register_location()
        installation.backup(tmp_path / "backup.sqlite")
        note = Path(installation._backup_note())
    assert doctor().level("The last backup was made 0 seconds ago") == "ok"
    assert note.stat().st_mode & 0o777 == 0o600
    past = (now() - timedelta(days=9)).timestamp()
    os.utime(note, (past, past))
    assert doctor().level("The last backup was made 9 days ago") == "look"


def test_a_worker_that_is_silent_is_a_fault(doctor: Doctor, app: Flask) -> None:
    assert doctor().level("None has given a sign of life") == "look"
    with app.app_context(), transaction() as session:
        past = now() - timedelta(minutes=10)
        session.execute(
            sa.text("INSERT INTO workers (id, beat_at) VALUES ('a', :at)"), {"at": past}
        )
    assert doctor().level("Its last sign of life was 10 minutes ago") == "fault"


def test_sign_ins_without_a_permission_that_was_added_are_to_be_looked_at(
    doctor: Doctor, app: Flask, anna: Browser
) -> None:
    with app.app_context(), transaction() as session:
        session.execute(sa.update(TokenSet).values(scope="sessions:sms:write sms:read users:read"))
    line = doctor(SIPGATE_OPTIONAL_SCOPES="history:read").line("who are signed in")
    assert "have not granted history:read" in line


# --- Alerts ---------------------------------------------------------------------------------------


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    mailbox = Mailbox()
    with serving(mailbox):
        yield mailbox


def test_it_says_that_nobody_is_told(doctor: Doctor) -> None:
    assert doctor().level("Nobody is told when something goes wrong") == "look"


def test_it_looks_whether_the_mail_server_takes_us(doctor: Doctor, mailbox: Mailbox) -> None:
    values = {"ALERT_EMAIL": ADDRESS, "SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}"}
    assert doctor(**values).level(f"E-mail to {ADDRESS}") == "ok"
    values["SMTP_URL"] = f"smtp://name:geheim@127.0.0.1:{mailbox.port}"
    report = doctor(**values)
    assert report.level(f"E-mail to {ADDRESS}") == "fault"
    assert "geheim" not in report.output
    assert report.exit_code == 1


# --- As a process ---------------------------------------------------------------------------------


@pytest.mark.slow  # starts a process
def test_as_somebody_types_it(sipgate: Simulator, app: Flask, tmp_path: Path) -> None:
    values: dict[str, Any] = values_for(sipgate, tmp_path / "app.sqlite", **OWNER)
    ended = preloaded.run("flask", ["--app", "webapp", "doctor"], {**os.environ, **values})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("Settings:\n")
    assert ended.stderr == ""
    assert TOKEN not in ended.stdout
    with app.app_context():
        db.engine.dispose()
