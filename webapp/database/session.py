"""Transactions: one short write at a time on SQLite, and no read open while sipgate is waited for.

Measured: SQLite loses updates silently in its default mode, so a write begins with BEGIN IMMEDIATE.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from flask import current_app
from flask_sqlalchemy_lite import SQLAlchemy
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from webapp.database import copies, turns

log = logging.getLogger(__name__)


# Objects stay readable after a commit: no transaction may be open while we wait for sipgate,
# and a lazy reload would open one.
db = SQLAlchemy(session_options={"expire_on_commit": False})

BUSY_MS = 10_000
"""How long a statement waits for somebody else's lock, on either database."""
DATABASE_ERRORS = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What a database that is away, busy or restarting raises: at the statement, or at the pool.
PostgreSQL that takes no writes for a while, as at a failover, calls that an internal error."""
COUNTS_WRITES = "counts_writes"
_writing = threading.RLock()
Row = TypeVar("Row")


@contextmanager
def transaction() -> Iterator[Session]:
    """A short write: begins at once, commits at the end, undoes all on any error.

    Never talk to sipgate inside: the write lock would keep everybody else waiting.
    """
    end_read()
    session = db.session
    with _one_writer(session):
        connection = session.connection(execution_options={"sqlite_begin": "IMMEDIATE"})
        is_sqlite = connection.dialect.name == "sqlite"
        session.info["writes"] = copies.changes(connection) if is_sqlite else None
        try:
            yield session
            session.flush()
            if is_sqlite:
                _commit_counted(session)
            else:
                _commit(session)
        except BaseException:
            rollback()
            raise
        finally:
            del session.info["writes"]


def _commit_counted(session: Session) -> None:
    """Commit, and count what was written, here and beside the database: see `copies.py`.

    Not before this process has looked whether it is on a copy, for which the count must stand.
    """
    connection = session.connection()
    mark = None
    has_looked = COUNTS_WRITES in current_app.extensions
    if has_looked and copies.changes(connection) != session.info["writes"]:
        mark = copies.count_on(connection)
    session.commit()
    if mark:
        copies.repeat(mark, str(connection.engine.url.database))


def _commit(session: Session) -> None:
    try:
        session.commit()
    except DATABASE_ERRORS:
        session.info["commit_unanswered"] = True
        raise


def may_have_committed() -> bool:
    """Whether a COMMIT of this request or task was not answered: it may have been done (F52)."""
    return "commit_unanswered" in db.session.info


@contextmanager
def _one_writer(session: Session) -> Iterator[None]:
    """The threads of this process write to SQLite in turn, and so do the processes.

    SQLite has one writer anyway, but whoever waits for it sleeps and asks again, and some never get
    it: of 300 sends by 200 people at once, three ran into `BUSY_MS` (measured).
    """
    url = session.get_bind().engine.url
    if url.get_backend_name() != "sqlite":
        yield
        return
    ends_at = time.monotonic() + BUSY_MS / 1000
    if not _writing.acquire(timeout=BUSY_MS / 1000):
        raise sa.exc.TimeoutError("the database is busy")
    try:
        with turns.writers_turn(url.database, ends_at) if url.database else nullcontext():
            yield
    finally:
        _writing.release()


def rows_changed(
    session: Session, statement: sa.Update | sa.Delete, params: Mapping[str, object] | None = None
) -> int:
    """Execute it and tell how many rows it changed: the answer to "was it me who claimed this?".

    Rows that are loaded already do not learn of it. `said`: the values of its parameters.
    """
    done = session.execute(statement, params, execution_options={"synchronize_session": False})
    return cast("sa.CursorResult[Any]", done).rowcount


def upsert(
    session: Session,
    table: type[Any],
    key: Mapping[str, Any],
    values: Mapping[str, Any],
    **new: Any,
) -> None:
    """Give the row with this key these values; where there is none, make it, with `new` besides.

    One statement, so that nobody comes between looking and inserting. `key` is unique in `table`.
    """
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = kind.insert(table).values(**key, **values, **new)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def table(kind: type[Any]) -> sa.Table:
    """A model's table. Changes of it cost a third of what changes of the model do (measured)."""
    return cast("sa.Table", kind.__table__)


def insert(session: Session, *new: Any) -> None:
    """Insert rows of one table as they stand, at once. They stay apart from the session.

    SQLAlchemy's unit of work takes five times as long for the same statement (measured), and every
    text that is sent needs three.
    """
    statement, names = _insertion(table(type(new[0])))
    session.execute(statement, [{name: getattr(row, name) for name in names} for row in new])


@lru_cache
def _insertion(into: sa.Table) -> tuple[sa.Insert, tuple[str, ...]]:
    """The statement, and the columns that a new row has: not those that the database counts."""
    counted = into.autoincrement_column
    return into.insert(), tuple(one.key for one in into.columns if one is not counted)


def end_read() -> None:
    """End the open read, if any, before waiting for somebody else. Loaded rows stay readable.

    Raises `RuntimeError` in the middle of a write, which would be cut in two.
    """
    if "writes" in db.session.info:
        raise RuntimeError("nobody may be waited for inside of a write")
    try:
        db.session.commit()
    except sa.exc.SQLAlchemyError:
        rollback()
        raise


def rollback() -> None:
    """Undo what is open. Loaded rows are read again at their next use, unless `detached`."""
    db.session.rollback()


def detached(row: Row) -> Row:
    """The row apart from the session: readable as it was, whatever becomes of the database."""
    if row in db.session:
        db.session.expunge(row)
    return row


LOOK_AGAIN_AFTER_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""A database that restarts is back within seconds; a claim nobody remembers is an "unknown"."""

Kept = TypeVar("Kept")


def commit_or_find(
    work: Callable[[Session], Kept | None], find_again: Callable[[], Kept | None]
) -> Kept | None:
    """Do it in one transaction. If the database is lost at the commit, look whether it was kept.

    A lost answer to COMMIT says nothing about the commit (measured), so the attempt's own id is
    looked up on a new connection, for a while.
    """
    try:
        with transaction() as session:
            return work(session)
    except DATABASE_ERRORS:
        log.warning("the database was lost at a claim; looking whether it was kept")
    for wait_s in LOOK_AGAIN_AFTER_S[:-1]:
        time.sleep(wait_s)
        try:
            return find_again()
        except DATABASE_ERRORS:
            rollback()
    time.sleep(LOOK_AGAIN_AFTER_S[-1])
    return find_again()
