"""The hold on sending, and what sets it: an operator, a backup, a copied database.

A database that was copied or restored must not send what its original has sent already. So a
backup is written on hold, and a database that is opened from another place or file than before, or
in an older state (`copies.py`), is put on hold. Only `flask release` ends it. On hold nothing is
sent and no token set is used (`signin/tokens.py`): the original may be using it.
"""

import fcntl
import logging
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.orm import Session

from webapp.database import copies
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Installation
from webapp.database.schema import SchemaError
from webapp.database.session import (
    COUNTS_WRITES,
    DATABASE_ERRORS,
    db,
    table,
    transaction,
    upsert,
)
from webapp.rules.times import now

log = logging.getLogger(__name__)

START_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0)

# For every page and message, so built once.
_row = table(Installation).c
HOLD_REASON = sa.select(_row.hold_reason).where(_row.id == 1)
NUMBER_KEY = sa.select(_row.number_key).where(_row.id == 1)
_HOLD_REASON_TO_STAY = HOLD_REASON.with_for_update(read=True)
HOLD_TO_STAY = _HOLD_REASON_TO_STAY.subquery()
"""`is_on_hold`, for a query that reads something else as well; there may be no row."""


class Hold(StrEnum):
    """Why nothing is sent."""

    NONE = ""
    OPERATOR = "operator"
    BACKUP = "backup"
    MOVED = "moved"


class BackupFailed(Exception):
    """`str()` is a sentence for the operator. There is nothing under the backup's name."""


def register_location() -> None:
    """At start: note where a new database lives; put a copy of another on hold."""
    home, file = _home(), _file()
    with transaction() as session:
        row = session.get(Installation, 1, populate_existing=True)
        if row is None:
            made = {"hold_reason": Hold.NONE, "mark": _new_mark(), "number_key": _new_key()}
            upsert(session, Installation, {"id": 1}, {"home": home}, **made)
        elif not row.hold_reason and (
            row.home != home or (file and copies.is_copy(row.mark, file))
        ):
            row.hold_reason = Hold.MOVED
            row.held_at = now()
            record(session, AuditEvent.HELD, detail=Hold.MOVED)
        elif not row.mark:
            row.mark = _new_mark()
        if row is not None and not row.number_key:
            row.number_key = _new_key()
        # Write in any case: that repeats the mark beside the database if its file was lost.
        session.flush()
        session.execute(sa.update(Installation).values(home=Installation.home))
        current_app.extensions[COUNTS_WRITES] = True


def register_at_start() -> None:
    """Register, and try again for a while: a database that takes no writes during a failover is no
    reason not to start. Raises `SchemaError`."""
    for wait_s in START_AGAIN_AFTER_S:
        try:
            register_location()
            return
        except DATABASE_ERRORS:
            log.warning("the database takes no writes; registering again in %g s", wait_s)
            time.sleep(wait_s)
    try:
        register_location()
    except DATABASE_ERRORS:
        raise SchemaError("the database takes no writes.") from None


def hold_state() -> Hold:
    return Hold(db.session.scalar(HOLD_REASON) or "")


def is_on_hold(session: Session | sa.Connection) -> bool:
    """For a transaction that is about to claim a message: `hold` waits until it ends."""
    return bool(session.scalar(_HOLD_REASON_TO_STAY))


def number_key(session: Session) -> str:
    """The key for hashes of phone numbers, as hexadecimal digits; the same for good."""
    return session.scalar(NUMBER_KEY) or ""


def hold() -> None:
    """Send nothing from now on. What is already being sent is finished."""
    register_location()
    with transaction() as session:
        row = session.get_one(Installation, 1)
        row.hold_reason = row.hold_reason or Hold.OPERATOR
        row.held_at = row.held_at or now()
        record(session, AuditEvent.HELD, detail=Hold.OPERATOR)


def release_hold() -> None:
    """Send again, from this place."""
    register_location()
    with transaction() as session:
        row = session.get_one(Installation, 1)
        row.home = _home()
        row.mark = _new_mark()
        row.hold_reason = Hold.NONE
        row.held_at = None
        record(session, AuditEvent.RELEASED)


def backup(target: Path) -> None:
    """Write a copy of the SQLite database that is on hold. Raises `BackupFailed`.

    `VACUUM INTO` sees one consistent state while others write; `cp` would not. The copy gets its
    name last, when it is whole, on hold and on the disk, so a killed backup leaves none there.
    """
    if db.engine.url.get_backend_name() != "sqlite":
        raise BackupFailed("use pg_dump for PostgreSQL, and `flask hold` first after a restore")
    if os.path.lexists(target):
        raise BackupFailed(f"{target} exists already")
    part = target.absolute().with_name(f"{target.name}.unfinished-backup")
    try:
        register_location()  # the copy needs the row that says it is on hold
        with _part_of_a_backup(part):
            _write_held_copy(part)
            _sync(part)
            _give_name(part, target)
            _sync(part.parent)
        Path(_backup_note()).touch(mode=0o600)
    except OSError as error:
        raise BackupFailed(f"{target} could not be written: {error.strerror}") from None
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        reason = getattr(error, "orig", error)
        raise BackupFailed(f"{target} could not be written: {reason}") from None


def last_backup_at() -> datetime | None:
    """When `backup` last succeeded here; None if it never did, or if that is not known."""
    try:
        return datetime.fromtimestamp(Path(_backup_note()).stat().st_mtime, UTC)
    except OSError:
        return None


def _backup_note() -> str:
    """A file beside the database: when it was last written is when a backup was last made."""
    return f"{_file()}.last-backup"


@contextmanager
def _part_of_a_backup(part: Path) -> Iterator[None]:
    """An empty file for the copy, locked; the rest of a killed backup is overwritten."""
    with open(os.open(part, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupFailed(f"{part} is being written by another backup") from None
        try:
            file.truncate()
            yield
        finally:
            for left in (part, Path(f"{part}-journal")):
                left.unlink(missing_ok=True)


def _write_held_copy(part: Path) -> None:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Not through SQLAlchemy, which would begin a transaction.
        connection.connection.execute("VACUUM INTO ?", (str(part),))
    address = sa.URL.create("sqlite", database=str(part))
    copy = sa.create_engine(address, poolclass=sa.NullPool, hide_parameters=True)
    with copy.begin() as connection:
        held = sa.update(Installation).values(hold_reason=Hold.BACKUP.value, held_at=now())
        connection.execute(held)


def _give_name(part: Path, target: Path) -> None:
    """Never overwrites a file that appeared meanwhile, if the file system has hard links."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise BackupFailed(f"{target} exists already") from None
    except OSError:
        part.rename(target)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _file() -> str:
    """The path of the SQLite file; empty for PostgreSQL."""
    url = db.engine.url
    return url.database or "" if url.get_backend_name() == "sqlite" else ""


def _new_mark() -> str:
    file = _file()
    return str(copies.new_mark(file)) if file else ""


def _new_key() -> str:
    return secrets.token_hex(32)


def _home() -> str:
    """Where the database is: a copy of it elsewhere gives another answer."""
    if db.engine.url.get_backend_name() == "sqlite":
        return str(Path(_file()).resolve())
    query = "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"
    return str(db.session.scalar(sa.text(query)))
