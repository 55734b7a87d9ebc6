"""`flask doctor`: one look at settings, database, worker, sipgate, clock, disk and alerts.

Each finding says what is so and, unless it is well, what to do. Nothing is sent and nothing is
changed. No secret is in what it says.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from flask import current_app

from webapp.alerts import outlets, telling
from webapp.alerts.outlets import OutletFailed
from webapp.config import Settings, settings
from webapp.config.values import declaration_of
from webapp.database import (
    DATABASE_ERRORS,
    beside_database,
    db,
    end_read,
    installation,
    rollback,
    schema,
    transaction,
)
from webapp.database.models import TokenSet
from webapp.i18n.alerts import outlet_name, outlet_problem
from webapp.jobs import heartbeat
from webapp.rules.alerts import Outlet
from webapp.rules.outcomes import Reason
from webapp.rules.times import now
from webapp.signin import PersonalToken
from webapp.sipgate import (
    Authorization,
    Extension,
    Refused,
    SipgateError,
    Unauthorized,
    Unreachable,
    client,
    login,
)
from webapp.sipgate.login import LoginUnavailable
from webapp.telemetry.metrics import LEAST_TOKEN_CHARACTERS

CLOCK_LOOK, CLOCK_FAULT = timedelta(seconds=10), timedelta(minutes=2)
"""How far our clock may be from sipgate's, which tells whole seconds."""
DISK_LOOK, DISK_FAULT = 1024**3, 100 * 1024**2
BACKUP_LOOK = timedelta(days=7)
OLD_BACKUP = (
    "make one with `flask --app webapp backup FILE`, and let that happen by itself every day"
)
SIPGATE_ANYWHERE = "*"


class Level(StrEnum):
    OK = "ok"
    LOOK = "look"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is so; `to_do` is empty only if it is well."""

    level: Level
    what: str
    to_do: str = ""


def ok(what: str) -> Finding:
    return Finding(Level.OK, what)


def look(what: str, to_do: str) -> Finding:
    return Finding(Level.LOOK, what, to_do)


def fault(what: str, to_do: str) -> Finding:
    return Finding(Level.FAULT, what, to_do)


def examine(token: PersonalToken | None) -> Iterator[tuple[str, Finding]]:
    """Everything, one finding after the other as it is known, each with the heading it belongs to.
    With a personal access token also what its owner may do at sipgate."""
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "Settings": _settings,
        "Database": _database,
        "Worker": _worker,
        "sipgate": lambda: _sipgate(token),
        "Disk": _disk,
        "Alerts": _alerts,
    }
    for heading, findings in parts.items():
        for finding in findings():
            yield heading, finding


# --- Settings -------------------------------------------------------------------------------------


def _settings() -> Iterator[Finding]:
    """Each with what it means. A setting that is wrong has kept the app from starting."""
    doubts = dict(_doubts())
    shown = settings.shown()
    for one in fields(Settings):
        name = one.name.upper()
        meaning = declaration_of(one).words.partition(". ")[0].rstrip(".")
        what = f"{name}: {shown[name]} ({meaning})"
        yield look(what, doubts[name]) if name in doubts else ok(what)
    for name in current_app.config["GONE_SETTINGS"]:
        yield look(f"{name} is set and has no effect any more", "remove it from .env")


def _doubts() -> Iterator[tuple[str, str]]:
    """What is allowed and seldom meant, by setting."""
    if not settings.sipgate_accounts:
        yield (
            "SIPGATE_ACCOUNTS",
            "nobody can sign in: set it (the page that says no names the id)",
        )
    if SIPGATE_ANYWHERE in settings.sipgate_accounts:
        yield "SIPGATE_ACCOUNTS", "everybody who has a sipgate account may sign in: name yours"
    if not settings.is_https:
        yield "PUBLIC_URL", "only this machine can use it: set the https address that people use"
    for name, url in (
        ("SIPGATE_ISSUER", settings.sipgate_issuer),
        ("SIPGATE_API_URL", settings.sipgate_api_url),
    ):
        if not url.startswith(("https://login.sipgate.com/", "https://api.sipgate.com/")):
            yield name, "this is not sipgate's: leave it empty, unless this is a test"
    if 0 < len(settings.metrics_token) < LEAST_TOKEN_CHARACTERS:
        yield "METRICS_TOKEN", f"make it longer: at least {LEAST_TOKEN_CHARACTERS} characters"


# --- Database -------------------------------------------------------------------------------------


class _Undone(Exception):
    """Ends a write that must change nothing."""


def _database() -> Iterator[Finding]:
    place = settings.shown()["DATABASE_URL"]
    try:
        state = schema.schema_state()
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).partition("\n")[0]
        yield fault(
            f"{place} cannot be read: {reason}", "check DATABASE_URL and that it is running"
        )
        return
    yield ok(f"{place} answers")
    if state == "newer":
        yield fault("It was made by a newer version", "start that version")
    elif state == "older":
        yield look("It is empty or of an earlier version", "start the server, which upgrades it")
    else:
        yield ok("Its schema is this version's")
        yield from _current_database()


def _current_database() -> Iterator[Finding]:
    """What can be asked only of a database with our tables."""
    try:
        with transaction() as session:
            session.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))
            raise _Undone
    except _Undone:
        yield ok("It can be written")
    except sa.exc.SQLAlchemyError:
        yield fault("It cannot be written", "check rights and room of the disk it is on")
    hold = installation.hold_state()
    if hold:
        to_do = "look through what waits, then `flask --app webapp release`"
        yield look(f"Sending is on hold ({hold}): nothing is sent", to_do)
    yield _backup()
    missing = _missing_scopes()
    if missing:
        yield look(f"Some who are signed in have not granted {missing}", "they sign in again")


def _backup() -> Finding:
    if db.engine.url.get_backend_name() != "sqlite":
        return look("Backups of PostgreSQL are not known here", "make sure that pg_dump runs daily")
    at = installation.last_backup_at()
    if at is None:
        return look("No backup was ever made with `flask backup`", OLD_BACKUP)
    words = f"The last backup was made {_ago(at)}"
    return ok(words) if now() - at < BACKUP_LOOK else look(words, OLD_BACKUP)


def _missing_scopes() -> str:
    """Permissions that the settings ask for and a living sign-in was not granted."""
    granted = db.session.scalars(sa.select(TokenSet.scope).where(TokenSet.ended_at.is_(None)))
    told = [set(scope.split()) for scope in granted if scope]
    return ", ".join(one for one in settings.scopes if any(one not in scope for scope in told))


# --- Worker ---------------------------------------------------------------------------------------


def _worker() -> Iterator[Finding]:
    to_do = "start the server (`make run`); on PostgreSQL also `make worker`"
    try:
        beat = db.session.scalar(heartbeat.LAST_BEAT)
    except sa.exc.SQLAlchemyError:
        rollback()
        yield look("Nothing is known of it without the database", to_do)
        return
    if heartbeat.is_recent(beat):
        yield ok(f"It gave a sign of life {_ago(beat or now())}")
    elif beat is None:
        yield look("None has given a sign of life", to_do)
    else:
        yield fault(f"Its last sign of life was {_ago(beat)}: nothing planned is sent", to_do)


# --- sipgate --------------------------------------------------------------------------------------


def _sipgate(token: PersonalToken | None) -> Iterator[Finding]:
    yield _login_server()
    try:
        asked_at = datetime.now(UTC)
        greeting = client().greet()
        took = datetime.now(UTC) - asked_at
    except Unreachable as error:
        yield _unreachable(error)
        return
    if greeting.status != 401:
        what = f"The API at {settings.sipgate_api_url} answered {greeting.status} and not 401"
        yield fault(what, "check SIPGATE_API_URL")
        return
    yield ok(f"The API at {settings.sipgate_api_url} answers")
    yield _clock(greeting.at, asked_at + took / 2)
    if token:
        yield from _rights(token)
    else:
        to_do = "set SIPGATE_TOKEN_ID and SIPGATE_TOKEN, or give --token-id and --token"
        yield look("What an account may do was not asked: there is no personal token", to_do)


def _login_server() -> Finding:
    try:
        is_accepted = login.accepts_client()
    except LoginUnavailable:
        what = f"The login server {settings.sipgate_issuer} gave no usable answer"
        return fault(what, "check SIPGATE_ISSUER, this machine's network, certificates and clock")
    if not is_accepted:
        what = "The login server does not accept our client"
        return fault(what, "check SIPGATE_CLIENT_ID and SIPGATE_CLIENT_SECRET")
    return ok(
        f"The login server answers and knows our client. It returns to {settings.redirect_uri}"
    )


def _unreachable(error: Unreachable) -> Finding:
    if error.reason == Reason.UNTRUSTED:
        what = "The API's certificate could not be checked"
        return fault(what, "check SIPGATE_API_URL, and this machine's clock and certificates")
    what = f"The API at {settings.sipgate_api_url} cannot be reached"
    return fault(what, "check SIPGATE_API_URL and this machine's network")


def _clock(theirs: datetime | None, ours: datetime) -> Finding:
    if theirs is None:
        return look("sipgate's clock is not known: it did not say", "compare this machine's clock")
    # Whole seconds, cut off.
    off = abs(ours - theirs - timedelta(seconds=0.5))
    what = f"This machine's clock and sipgate's differ by {off.total_seconds():.0f} s"
    to_do = "let NTP set this machine's clock (timedatectl): planned messages go by it"
    if off > CLOCK_FAULT:
        return fault(what, to_do)
    return look(what, to_do) if off > CLOCK_LOOK else ok(what)


def _rights(token: PersonalToken) -> Iterator[Finding]:
    """What the token's owner may do. Sending is not tried: it would cost a message."""
    auth = token.current()
    try:
        owner = client().identity(auth)
    except (Unauthorized, Refused):
        to_do = "make a new one at sipgate, with users:read, sms:read and sessions:sms:write"
        yield fault("sipgate does not take the personal token", to_do)
        return
    except SipgateError:
        yield fault("sipgate could not be asked whose token it is", "try again later")
        return
    if settings.admits(owner.account_id):
        yield ok(
            f"The token is of the account {owner.account_id}, whose people may sign in. Sending is "
            "not tried: it costs a message"
        )
    else:
        what = f"The token is of the account {owner.account_id}, whose people may not sign in"
        yield look(what, "add it to SIPGATE_ACCOUNTS, if it is yours")
    yield _right("users:read", lambda: client().person(auth, owner.sub))
    extensions: list[Extension] = []
    yield _right("sms:read", lambda: extensions.extend(client().extensions(auth, owner.sub)))
    if not extensions:
        what = "No Web SMS extension of the token's owner is known"
        yield look(what, "book Web SMS in sipgate's Feature Store, and enable it for this person")
    optional: dict[str, Callable[[], object]] = {
        "balance:read": lambda: client().balance(auth),
        "contacts:read": lambda: client().contacts(auth),
        "history:read": lambda: _history(auth, extensions),
    }
    for scope, ask in optional.items():
        if scope in settings.scopes:
            yield _right(scope, ask)


def _right(scope: str, ask: Callable[[], object]) -> Finding:
    try:
        ask()
    except Refused as refused:
        what = f"{scope} is refused ({refused.status})"
        return fault(what, "give the token this permission; the account may not have it either")
    except SipgateError:
        return look(f"{scope} could not be tried: sipgate gave no usable answer", "try again later")
    return ok(f"{scope} is granted")


def _history(auth: Authorization, extensions: list[Extension]) -> None:
    for extension in extensions[:1]:
        client().sent_texts(auth, extension_id=extension.id, since=now(), until=now())


# --- Disk and alerts ------------------------------------------------------------------------------


def _disk() -> Iterator[Finding]:
    folder = Path(beside_database(current_app, "mark")).parent
    free = shutil.disk_usage(folder).free
    what = f"{free / 1024**3:.1f} GiB are free in {folder}"
    to_do = "make room: a full disk stops sending"
    if free < DISK_FAULT:
        yield fault(what, to_do)
    else:
        yield look(what, to_do) if free < DISK_LOOK else ok(what)


def _alerts() -> Iterator[Finding]:
    active = outlets.active()
    if not active:
        what = "Nobody is told when something goes wrong"
        yield look(what, "set ALERT_EMAIL and SMTP_URL, or ALERT_WEBHOOK")
    for outlet in active:
        yield _outlet(outlet)


def _outlet(outlet: Outlet) -> Finding:
    where = f"{outlet_name(outlet)} to {outlets.place(outlet)}"
    if outlet == Outlet.MAIL:
        try:
            outlets.try_mail_server()
        except OutletFailed as failed:
            return fault(where, outlet_problem(failed.problem))
    try:
        failing = [one for one in telling.states() if one.name == outlet and one.problem]
    except DATABASE_ERRORS:
        failing = []
    finally:
        end_read()
    if failing:
        return fault(f"{where}: the last alert failed", outlet_problem(failing[0].problem))
    return ok(f"{where}. `flask --app webapp alert --test` sends a test")


def _ago(moment: datetime) -> str:
    seconds = max(0, int((now() - moment).total_seconds()))
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} seconds ago"
