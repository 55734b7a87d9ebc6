"""This installation: where its database lives, whether it is on hold, whether a worker is alive.

A database that was copied or put back from a backup must not send what its original has sent
already. So a backup carries the hold, and a database that finds itself in another place than it was
made in puts itself on hold; only `flask release` ends it.
"""

import os
import secrets
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import now, put, transaction
from webapp.extensions import db
from webapp.models import Installation, Worker
from webapp.record import Did, note

BEAT_EVERY_S = 10
STOPPED_AFTER = timedelta(seconds=45)
"""A worker unheard of for this long counts as dead; pages say so within a minute."""
FORGET_WORKER_AFTER = timedelta(days=1)

# For every page or message; built once, as in `claims.py`.
_HOLD_REASON = sa.select(Installation.hold_reason).where(Installation.id == 1)
_HOLD_REASON_TO_STAY = _HOLD_REASON.with_for_update(read=True)
_LAST_BEAT = sa.select(sa.func.max(Worker.beat_at))


class Hold(StrEnum):
    """Why nothing is sent."""

    NONE = ""
    OPERATOR = "operator"
    BACKUP = "backup"
    MOVED = "moved"


def settle_in() -> None:
    """At start: on first use note where the database lives; in another place, hold."""
    home = _home()
    with transaction() as rows:
        row = rows.get(Installation, 1, populate_existing=True)
        if row is None:
            put(rows, Installation, {"id": 1}, {"home": home}, hold_reason=Hold.NONE)
        elif row.home != home and not row.hold_reason:
            row.hold_reason = Hold.MOVED
            row.held_at = now()
            note(rows, Did.HELD, detail=Hold.MOVED)


def hold_state() -> Hold:
    return Hold(db.session.scalar(_HOLD_REASON) or "")


def is_on_hold(rows: Session) -> bool:
    """The same, inside a transaction that is about to claim: `hold` waits for its end."""
    return bool(rows.scalar(_HOLD_REASON_TO_STAY))


def hold() -> None:
    """Send nothing from now on; what is under way is finished."""
    settle_in()
    with transaction() as rows:
        row = rows.get_one(Installation, 1)
        row.hold_reason = row.hold_reason or Hold.OPERATOR
        row.held_at = row.held_at or now()
        note(rows, Did.HELD, detail=Hold.OPERATOR)


def release_hold() -> None:
    """Send again, from this place."""
    settle_in()
    with transaction() as rows:
        row = rows.get_one(Installation, 1)
        row.home = _home()
        row.hold_reason = Hold.NONE
        row.held_at = None
        note(rows, Did.RELEASED)


def backup(target: Path) -> None:
    """Write a copy of the SQLite database that is on hold. Raises `ValueError` for others.

    `VACUUM INTO` sees one consistent state while others write; `cp` would not.
    """
    if db.engine.url.get_backend_name() != "sqlite":
        raise ValueError("use pg_dump for PostgreSQL, and `flask hold` first after a restore")
    if target.exists():
        raise ValueError(f"{target} exists already")
    settle_in()  # the copy needs the row that says it is on hold
    os.close(os.open(target, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600))
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.connection.execute("VACUUM INTO ?", (str(target),))
    copy = sa.create_engine(f"sqlite:///{target}", hide_parameters=True)
    with copy.begin() as connection:
        connection.execute(
            sa.update(Installation).values(hold_reason=Hold.BACKUP.value, held_at=now())
        )
    copy.dispose()


def new_worker_id() -> str:
    return secrets.token_hex(8)


def beat(worker_id: str) -> None:
    """A worker's sign of life."""
    with transaction() as rows:
        put(rows, Worker, {"id": worker_id}, {"beat_at": now()})
        rows.execute(sa.delete(Worker).where(Worker.beat_at < now() - FORGET_WORKER_AFTER))


def sign_off(worker_id: str) -> None:
    with transaction() as rows:
        rows.execute(sa.delete(Worker).where(Worker.id == worker_id))


def has_worker() -> bool:
    """Whether any worker was alive a moment ago."""
    last = db.session.scalar(_LAST_BEAT)
    return last is not None and last > now() - STOPPED_AFTER


def _home() -> str:
    """Where the database is: a copy of it elsewhere gives another answer."""
    url = db.engine.url
    if url.get_backend_name() == "sqlite":
        return str(Path(url.database or "").resolve())
    query = "SELECT system_identifier || '/' || current_database() FROM pg_control_system()"
    return str(db.session.scalar(sa.text(query)))
