"""Where wake-ups wait: in a file beside a SQLite database, on PostgreSQL in the same database."""

import sqlite3
from typing import Any

from flask import Flask
from huey.storage import BaseStorage, PostgresStorage, SqliteStorage

from webapp.config import SettingError
from webapp.database import beside_database, connect_apart, is_on_sqlite, make_private

FILE_WAIT_S = 10
LOCK_WAIT_MS = 1000
"""A wake-up may be lost: nobody waits long for its tables while somebody else holds them."""
TABLES = 0x7465616D717565
"""The number of PostgreSQL's advisory lock: "teamque"."""


def storage_for(app: Flask, name: str) -> BaseStorage:
    return _in_a_file(app, name) if is_on_sqlite(app) else _in_postgresql(app, name)


def _in_a_file(app: Flask, name: str) -> SqliteStorage:
    """A file of its own, for huey locks the whole of it."""
    path = beside_database(app, "queue")
    try:
        make_private(path)
        return SqliteStorage(name, filename=path, timeout=FILE_WAIT_S)
    except (sqlite3.Error, OSError) as error:
        raise SettingError(
            f"DATABASE_URL cannot be used, no queue can be kept beside it: {error}."
        ) from None


def _in_postgresql(app: Flask, name: str) -> PostgresStorage:
    """One connection of the process, made at the first use, so after any fork.

    The consumer's threads ask in turn, as they do on SQLite: with `blocking`, each would hold a
    connection of its own to listen on.
    """

    def connect() -> Any:
        options = f"-c lock_timeout={LOCK_WAIT_MS} -c synchronous_commit=off"
        connection = connect_apart(app, options=options, application_name="team-sms queue")
        try:
            _make_tables(connection, storage)
        except BaseException:
            connection.close()
            raise
        return connection

    storage = PostgresStorage(name, connection=connect, blocking=False, create_tables=False)
    return storage


def _make_tables(connection: Any, storage: PostgresStorage) -> None:
    """huey's own, as huey writes them; its statements fail where two processes begin at once."""
    with connection.transaction():
        found = connection.execute("SELECT to_regclass(%s)", [storage.table_counter])
        if found.fetchone()[0] is None:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [TABLES])
            for statement in storage.ddl:
                connection.execute(statement)
