"""Apps and databases that one test after the other gets, as good as new.

Making an app costs as much as three pages: addresses are compiled, and every engine compiles its
statements anew. So each test process keeps one app for each set of settings. What an app and its
database hold is put back for each test; a test that changes more fails.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import sqlalchemy as sa
from flask import Flask

from webapp.database import db, end_read, is_on_sqlite
from webapp.jobs.tasks import queue, setup_queue
from webapp.sipgate import setup_sipgate
from webapp.sipgate.login import setup_login_server

STAYS = ("queue", "writing", "next")
"""Files beside a database that are kept open: emptied, or never with anything in them."""


class KeptApp:
    def __init__(self, app: Flask) -> None:
        self.app = app
        self._config, self._extensions = dict(app.config), dict(app.extensions)
        self._functions = _functions(app)
        with app.app_context():
            self._engine = db.engine

    @contextmanager
    def lent(self) -> Iterator[Flask]:
        """To one test: as `create_app` leaves it, with no connection and nothing queued."""
        app = self.app
        for current, first in (
            (app.config, self._config),
            (app.extensions, self._extensions),
        ):
            current.clear()
            current.update(first)
        logging.getLogger("webapp").setLevel(app.config["SETTINGS"].log_level)
        setup_sipgate(app, before_waiting=end_read)
        setup_login_server(app)
        setup_queue(app)
        if is_on_sqlite(app):  # else what is queued is in the database
            queue.flush()
        with self._listeners_removed():
            yield app
        self._engine.dispose()
        assert _functions(app) == self._functions, "mark the test `own_app`: it changes what runs"

    @contextmanager
    def _listeners_removed(self) -> Iterator[None]:
        """Remove what is made to listen to the engine meanwhile."""
        added: list[tuple[str, Any]] = []
        listen = sa.event.listen

        def noted_listen(target: Any, name: str, function: Any, **options: Any) -> None:
            if target is self._engine:
                added.append((name, function))
            listen(target, name, function, **options)

        def noted_listens_for(target: Any, name: str, **options: Any) -> Any:
            def decorate(function: Any) -> Any:
                noted_listen(target, name, function, **options)
                return function

            return decorate

        with (
            mock.patch.object(sa.event, "listen", noted_listen),
            mock.patch.object(sa.event, "listens_for", noted_listens_for),
        ):
            yield
        for name, function in added:
            if sa.event.contains(self._engine, name, function):
                sa.event.remove(self._engine, name, function)


def _functions(app: Flask) -> list[dict[Any, Any]]:
    """What runs with each request."""
    of_kinds = (app.before_request_funcs, app.after_request_funcs, app.teardown_request_funcs)
    return [
        *({name: list(found) for name, found in kind.items()} for kind in of_kinds),
        {"teardown": list(app.teardown_appcontext_funcs)},
        dict(app.view_functions),
    ]


def restore_sqlite(template: Path, database: Path) -> None:
    """Make all of `database`, which may be open, as `template` is."""
    for path in database.parent.glob(f"{database.name}.*"):
        if not path.suffix.startswith(tuple(f".{name}" for name in STAYS)):
            path.unlink()
    with closing(sqlite3.connect(template)) as source, closing(sqlite3.connect(database)) as target:
        source.backup(target)


def empty_postgresql(connection: "psycopg.Connection[Any]") -> None:
    """Delete all rows, but not which migration the tables are of; ids begin at 1 again."""
    tables = connection.execute(
        "SELECT quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname = 'public' AND tablename <> 'alembic_version'"
    )
    deletes = [f"DELETE FROM {name}" for (name,) in tables.fetchall()]  # noqa: S608
    # In any order: this setting leaves out the checks of foreign keys.
    connection.execute("; ".join(("SET session_replication_role = replica", *deletes)))
    connection.execute(
        "SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)"
        " FROM pg_sequences WHERE last_value IS NOT NULL"
    )
