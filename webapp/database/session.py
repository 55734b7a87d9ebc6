"""Transactions: short writes, and no read open during a call to sipgate.

A write on SQLite begins with BEGIN IMMEDIATE: by default it loses updates silently (measured).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


# Objects stay readable after a commit: no transaction may be open during a call to sipgate, and a
# lazy reload would open one.
db = SQLAlchemy(session_options={"expire_on_commit": False})

BUSY_MS = 10_000
"""How long a statement waits for another's lock, on either database."""
DATABASE_ERRORS = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What a database that is unreachable, busy or restarting raises, at a statement or at the pool.
PostgreSQL that takes no writes for a while, as in a failover, raises `InternalError`."""
COUNTS_WRITES = "counts_writes"
"""In `app.extensions` once this process has checked whether its database is a copy."""
_writing = threading.RLock()
Row = TypeVar("Row")


@contextmanager
def transaction() -> Iterator[Session]:
    """A short write: begins at once, commits at the end, rolls back on any error.

    Never call sipgate inside: everybody else would wait for the write lock.
    """
    end_read()
    session = db.session
    with _one_writer(session):
        connection = session.connection(execution_options=_of_a_write())
        session.info["writes"] = _changes(connection)
        try:
            yield session
            session.flush()
            _commit(session, connection, session.commit)
        except BaseException:
            rollback()
            raise
        finally:
            del session.info["writes"]


@contextmanager
def connected() -> Iterator[sa.Connection]:
    """A short write as in `transaction`, by a connection without a session, for what is done for
    every message: that costs half (measured)."""
    end_read()
    session = db.session
    with _one_writer(session), db.engine.connect() as connection:
        connection.execution_options(**_of_a_write())
        with connection.begin() as begun:
            session.info["writes"] = _changes(connection)
            try:
                yield connection
                _commit_or_drop(session, connection, begun)
            finally:
                del session.info["writes"]


def _of_a_write() -> dict[str, str]:
    """The options of a connection that will write: SQLite is told so at the BEGIN."""
    return {"isolation_level": "IMMEDIATE"} if db.engine.dialect.name == "sqlite" else {}


def _commit_or_drop(
    session: Session, connection: sa.Connection, begun: sa.engine.RootTransaction
) -> None:
    """SQLAlchemy takes a failed commit for an end: nobody must be given what may still be open."""
    try:
        _commit(session, connection, begun.commit)
    except BaseException:
        connection.invalidate()
        raise


def _changes(connection: sa.Connection) -> int | None:
    """How many rows this connection has changed so far, where writes are counted."""
    return copies.changes(connection) if connection.dialect.name == "sqlite" else None


def _commit(session: Session, connection: sa.Connection, commit: Callable[[], None]) -> None:
    if session.info["writes"] is not None:
        _commit_counted(session.info["writes"], connection, commit)
        return
    try:
        commit()
    except DATABASE_ERRORS:
        session.info["commit_unanswered"] = True
        raise


def _commit_counted(before: int, connection: sa.Connection, commit: Callable[[], None]) -> None:
    """Commit, and count the write, in the row and beside the database (`copies.py`).

    Only once this process has checked whether the database is a copy: its count must not move on.
    """
    mark = None
    has_looked = COUNTS_WRITES in current_app.extensions
    if has_looked and copies.changes(connection) != before:
        mark = copies.count_on(connection)
    commit()
    if mark:
        copies.repeat(mark, str(connection.engine.url.database))


def may_have_committed() -> bool:
    """Whether a COMMIT of this request or task got no answer: it may have been done (F52)."""
    return "commit_unanswered" in db.session.info


@contextmanager
def _one_writer(session: Session) -> Iterator[None]:
    """The threads of this process write to SQLite in turn, and so do the processes.

    SQLite has one writer anyway, but threads that wait for it sleep and ask again, and some never
    get it: of 300 sends by 200 people at once, three ran into `BUSY_MS` (measured).
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
    session: Session | sa.Connection,
    statement: sa.Update | sa.Delete,
    params: Mapping[str, object] | None = None,
) -> int:
    """Execute the statement; returns how many rows it changed, which says who won a race.

    Rows that are loaded already are not updated.
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
    """Update the row with this key, or insert it with `values` and `new`.

    One statement, so that two that come at once do not both insert. `key` is unique in `table`.
    """
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = kind.insert(table).values(**key, **values, **new)
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def table(kind: type[Any]) -> sa.Table:
    """A model's table. An UPDATE of it costs a third of one of the model (measured)."""
    return cast("sa.Table", kind.__table__)


def insert(session: Session | sa.Connection, *new: Any) -> None:
    """Insert new rows of one table at once. They are not added to the session.

    SQLAlchemy's unit of work takes five times as long for the same statement (measured), and every
    message needs three.
    """
    statement, names = _insertion(table(type(new[0])))
    rows = [{name: getattr(row, name) for name in names} for row in new]
    session.execute(statement, rows if len(rows) > 1 else rows[0])


def insert_missing(session: Session, new: Sequence[Any], key: Sequence[str]) -> None:
    """`insert` without the rows whose `key`, unique in its table, is there already."""
    into = table(type(new[0]))
    _, names = _insertion(into)
    kind = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = kind.insert(into).on_conflict_do_nothing(index_elements=list(key))
    session.execute(statement, [{name: getattr(row, name) for name in names} for row in new])


@lru_cache
def _insertion(into: sa.Table) -> tuple[sa.Insert, tuple[str, ...]]:
    """The statement, and the columns it fills: all but an autoincremented one."""
    counted = into.autoincrement_column
    return into.insert(), tuple(column.key for column in into.columns if column is not counted)


def end_read() -> None:
    """End the open read, if any, before waiting for another system. Loaded rows stay readable.

    Raises `RuntimeError` inside a write, which would be cut in two.
    """
    if "writes" in db.session.info:
        raise RuntimeError("a write is open: nothing may be waited for inside it")
    if not db.session.in_transaction():
        return
    try:
        db.session.commit()
    except sa.exc.SQLAlchemyError:
        rollback()
        raise


def begin_snapshot() -> None:
    """Begin a read whose statements all see the database as it is at the first of them.

    SQLite's reads do so anyway; PostgreSQL's see what was committed between two statements.
    """
    end_read()
    if db.engine.dialect.name == "postgresql":
        db.session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def rollback() -> None:
    """Undo what is open. Loaded rows are read again at their next use, unless `detached`."""
    db.session.rollback()


def detached(row: Row) -> Row:
    """Take the row out of the session: it stays readable even if the database fails."""
    if row in db.session:
        db.session.expunge(row)
    return row


LOOK_AGAIN_AFTER_S = (0.0, 0.2, 0.5, 1.0, 2.0, 4.0)
"""A database that restarts is back within seconds; giving up would make a claim "unknown"."""

Kept = TypeVar("Kept")


def commit_or_find(
    work: Callable[[Session], Kept | None], find_again: Callable[[], Kept | None]
) -> Kept | None:
    """Do `work` in one transaction. If the database is lost at the commit, look for its result.

    A lost answer to COMMIT says nothing about the commit (measured). So `find_again` looks for the
    attempt's own id on a new connection, several times.
    """
    try:
        with transaction() as session:
            return work(session)
    except DATABASE_ERRORS:
        return look_again(find_again)


def look_again(find_again: Callable[[], Kept | None]) -> Kept | None:
    """After a failed write: what it kept all the same, if anything. Raises if the database stays
    away."""
    log.warning("the database was lost at a claim; looking whether it was kept")
    for wait_s in LOOK_AGAIN_AFTER_S[:-1]:
        time.sleep(wait_s)
        try:
            return find_again()
        except DATABASE_ERRORS:
            rollback()
    time.sleep(LOOK_AGAIN_AFTER_S[-1])
    return find_again()
