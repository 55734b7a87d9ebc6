"""Which schema a database has, and migrating it to ours."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from webapp.database import migrating, triggers
from webapp.database.engine import POSTGRESQL_LINE, alembic
from webapp.database.session import db, transaction

READ_ONLY_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0)
MIGRATION_LOCK = 0x7465616D736D73
"""The number of PostgreSQL's advisory lock: "teamsms"."""


class SchemaError(RuntimeError):
    """The database does not fit this version of the app. `str()` is a sentence for the operator."""


def schema_state() -> str:
    """`current`, `older` (or empty) or `newer` than this app."""
    with db.engine.connect() as connection:
        context = sa.inspect(connection)
        if not context.has_table("alembic_version"):
            return "older"
        found = set(connection.scalars(sa.text("SELECT version_num FROM alembic_version")))
    known = {script.revision for script in alembic.script_directory.walk_revisions()}
    if found - known:
        return "newer"
    return "current" if found == set(alembic.script_directory.get_heads()) else "older"


def upgrade_schema() -> None:
    """Migrate to this version's schema, one process at a time.

    Raises `SchemaError` for a newer schema and for a database that cannot be read or written. A
    PostgreSQL that takes no writes may be in a failover: it is tried again for a while.
    """
    for wait_s in READ_ONLY_AGAIN_AFTER_S:
        try:
            _upgrade_if_older()
            return
        except sa.exc.InternalError:  # what PostgreSQL answers then; SQLite never
            time.sleep(wait_s)
        except sa.exc.DBAPIError as error:
            raise _unusable(error) from None
    try:
        _upgrade_if_older()
    except sa.exc.DBAPIError as error:
        raise _unusable(error) from None


def _upgrade_if_older() -> None:
    try:
        with _migration_lock():
            state = schema_state()
            if state == "newer":
                raise SchemaError(
                    "The database was made by a newer version of Team SMS; start that version."
                )
            if state == "older":
                _upgrade()
            triggers.require()
            # Fail now, not at the first message, if the database cannot be written.
            with transaction() as session:
                session.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))
    except OSError as error:
        raise SchemaError(f"The database cannot be used: {error.strerror}.") from None


def _unusable(error: sa.exc.DBAPIError) -> SchemaError:
    reason = str(error.orig).partition("\n")[0].rstrip(".")
    return SchemaError(f"The database cannot be used: {reason}.")


def _upgrade() -> None:
    db.engine.dispose()
    migrating.set()
    try:
        alembic.upgrade()
    finally:
        migrating.clear()
        db.engine.dispose()


def require_current_schema() -> None:
    """For processes that do not migrate. Raises `SchemaError` unless the schema is ours."""
    try:
        state = schema_state()
    except sa.exc.DBAPIError as error:
        raise _unusable(error) from None
    if state != "current":
        raise SchemaError(f"The database's schema is {state} than this version; start the web app.")


@contextmanager
def _migration_lock() -> Iterator[None]:
    """One process migrates at a time; the others wait until it is done."""
    url = db.engine.url
    if url.get_backend_name() == "postgresql":
        with _autocommit(db.engine) as connection:
            connection.execute(sa.text("SET lock_timeout = 0"))
            connection.execute(sa.select(sa.func.pg_advisory_lock(MIGRATION_LOCK)))
            yield
        # The lock ended with its connection.
        return
    if not url.database:
        yield
        return
    path = f"{url.database}.migrating"
    with open(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _autocommit(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection outside the pool, without a transaction around it."""
    outside = sa.create_engine(
        engine.url,
        poolclass=sa.NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args=POSTGRESQL_LINE,
        hide_parameters=True,
    )
    with outside.connect() as connection:
        yield connection
