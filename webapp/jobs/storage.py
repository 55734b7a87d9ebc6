"""Where wake-ups wait: in a file beside a SQLite database, on PostgreSQL in the same database."""

import sqlite3
import threading
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


class _WakesThreads:
    """Above one of huey's storages: wakes a thread of this process that waits for a task.

    Tasks that another process enqueues are found by polling.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        super().__init__(*args, **options)

    def enqueue(self, data: bytes, priority: float | None = None) -> None:
        super().enqueue(data, priority)  # type: ignore[misc]
        self._wake_one()

    def dequeue(self) -> bytes | None:
        data: bytes | None = super().dequeue()  # type: ignore[misc]
        if data is not None:
            self._wake_one()  # where there was one, another process may have left more
        return data

    def changes(self) -> int:
        """How often there was news; to be read before looking for a task in vain."""
        return self._changes

    def wait(self, seen: int, timeout_s: float) -> None:
        """Wait for news since `changes` was `seen`."""
        with self._changed:
            self._changed.wait_for(lambda: self._changes != seen, timeout_s)

    def wake_all(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _wake_one(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify()


class _File(_WakesThreads, SqliteStorage):  # type: ignore[misc]
    def _create_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection = super()._create_connection()
        # Without a flush at each commit: a loss of power may lose wake-ups (the sweep finds what is
        # due) or bring them again (the row is claimed), but does not damage the file.
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


class _Server(_WakesThreads, PostgresStorage):  # type: ignore[misc]
    pass


def storage_for(app: Flask, name: str) -> BaseStorage:
    return _in_a_file(app, name) if is_on_sqlite(app) else _in_postgresql(app, name)


def _in_a_file(app: Flask, name: str) -> SqliteStorage:
    """A file of its own, for huey locks the whole of it."""
    path = beside_database(app, "queue")
    try:
        make_private(path)
        return _File(name, filename=path, timeout=FILE_WAIT_S)
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

    storage = _Server(name, connection=connect, blocking=False, create_tables=False)
    return storage


def _make_tables(connection: Any, storage: PostgresStorage) -> None:
    """huey's own, as huey writes them; its statements fail where two processes begin at once."""
    with connection.transaction():
        found = connection.execute("SELECT to_regclass(%s)", [storage.table_counter])
        if found.fetchone()[0] is None:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [TABLES])
            for statement in storage.ddl:
                connection.execute(statement)
