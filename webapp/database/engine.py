"""The engine: SQLite or PostgreSQL, how each is set up, and the files beside a SQLite database.

SQLite runs with WAL and `synchronous=FULL`: a committed claim must survive a power loss.
"""

import hashlib
import os
import threading
from contextlib import suppress
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app
from flask_alembic import Alembic
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from webapp.config import SettingError
from webapp.database.session import BUSY_MS, DATABASE_ERRORS, db, end_read

alembic = Alembic(run_mkdir=False, command_name="db")
POSTGRESQL_POOL = 10
"""Each connection is used for one short transaction, so a few serve many threads. All processes
together must stay below the server's `max_connections` (100 by default)."""
POSTGRESQL_LINE = {
    # Notice within seconds that the server is gone; TCP alone takes a quarter of an hour.
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "options": f"-c lock_timeout={BUSY_MS}",
}
migrating = threading.Event()
"""Set while tables are changed: SQLite makes them anew, which foreign keys would forbid."""


def setup_database(app: Flask) -> None:
    """Bind engine and migrations. A SQLite file's folder is made, readable by its owner only."""
    url = _url(app.config["SETTINGS"].database_url)
    # The log gets an error's text, which must hold no message and no number.
    options: dict[str, Any] = {"url": url, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        _make_private_folder(url)
        options["connect_args"] = {"check_same_thread": False, "isolation_level": "DEFERRED"}
        options["pool_size"] = app.config["SETTINGS"].web_threads
    else:
        options["connect_args"] = POSTGRESQL_LINE
        options.update(pool_size=POSTGRESQL_POOL, pool_timeout=BUSY_MS / 1000, pool_pre_ping=True)
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    app.config["ALEMBIC"] = {"script_location": "database/migrations"}
    app.config["ALEMBIC_CONTEXT"] = {
        "render_as_batch": True,
        "transactional_ddl": True,
        "include_name": _is_ours,
    }
    db.init_app(app)
    _skip_async_sessions(app)
    app.teardown_request(_end_reading)
    alembic.init_app(app)
    with app.app_context():
        if url.get_backend_name() == "sqlite":
            _prepare_sqlite(db.engine)
        else:
            _prepare_postgresql(db.engine)


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Of the tables, not those that huey makes."""
    return kind != "table" or not str(name).startswith("huey_")


def _end_reading(_error: BaseException | None) -> None:
    """End the request's read. If the database fails now, the page is still sent.

    Loaded rows stay readable: an export is still being written.
    """
    with suppress(*DATABASE_ERRORS):
        end_read()


def _skip_async_sessions(app: Flask) -> None:
    """Remove Flask-SQLAlchemy-Lite's teardown of async sessions, which we do not use.

    It starts an event loop for every request (measured: 5 of 6 ms), and fails in a thread that has
    one already, as in tests with a browser.
    """
    app.teardown_appcontext_funcs = [
        function for function in app.teardown_appcontext_funcs if not iscoroutinefunction(function)
    ]


def _url(address: str) -> sa.URL:
    try:
        url = sa.engine.make_url(address)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise SettingError("DATABASE_URL must begin with sqlite:/// or postgresql://.")
    if url.get_backend_name() == "sqlite":
        if url.username or url.password or url.host:
            raise SettingError("DATABASE_URL needs three slashes: sqlite:///, then the file.")
        return url.set(drivername="sqlite+begun")
    if "@" in f"{url.host}{url.database}":
        # The part after it would be read as the host, and shown, though it is of the password.
        raise SettingError("DATABASE_URL must have the sign @ in a password written as %40.")
    url = url.set(drivername="postgresql+psycopg")
    try:
        url.get_dialect().import_dbapi()
    except ImportError:
        raise SettingError(
            "DATABASE_URL names PostgreSQL, whose driver is missing: "
            "pip install -r requirements-scale.txt."
        ) from None
    return url


def _make_private_folder(url: sa.URL) -> None:
    if not url.database or url.database == ":memory:":
        return
    try:
        Path(url.database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not Path(url.database).exists():
            os.close(os.open(url.database, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise SettingError(
            f"DATABASE_URL names a file that cannot be made: {error.strerror}."
        ) from None


class SqliteDialect(SQLiteDialect_pysqlite):
    """Python's driver with real transactions: each begins where SQLAlchemy says so, not at the
    first change. A write says that it is one by the isolation level IMMEDIATE.

    SQLAlchemy's recipe for this is an event, and events made each transaction twice as long
    (measured).
    """

    supports_statement_cache = True

    def get_isolation_level_values(self, dbapi_connection: Any) -> Any:
        return ["AUTOCOMMIT", "DEFERRED", "IMMEDIATE"]

    def set_isolation_level(self, dbapi_connection: Any, level: str) -> None:
        dbapi_connection.isolation_level = None if level == "AUTOCOMMIT" else level

    def get_isolation_level(self, dbapi_connection: Any) -> Any:
        return dbapi_connection.isolation_level or "AUTOCOMMIT"

    def do_begin(self, dbapi_connection: Any) -> None:
        kind = dbapi_connection.isolation_level
        if kind is not None:
            dbapi_connection.execute(f"BEGIN {kind}")


sa.dialects.registry.register("sqlite.begun", __name__, SqliteDialect.__name__)


def _prepare_sqlite(engine: sa.Engine) -> None:
    """What is said on each new connection."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        for pragma in (
            f"busy_timeout = {BUSY_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            # What is erased is overwritten, not only forgotten.
            "secure_delete = ON",
            # See `migrating`.
            f"foreign_keys = {'OFF' if migrating.is_set() else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own `lower` knows only ASCII: "ölmann" would not find "Ölmann".
        connection.create_function("lower", 1, _lower, deterministic=True)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _prepare_postgresql(engine: sa.Engine) -> None:
    """PostgreSQL's text holds no NUL. One from an address is replaced, and then matches no row."""
    from psycopg.types.string import StrDumper

    class NulSafe(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\x00", "\ufffd"))

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, NulSafe)

    @sa.event.listens_for(engine, "handle_error")
    def on_error(context: sa.engine.ExceptionContext) -> None:
        """Keep the first line only: the others repeat the row that was refused."""
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def beside_database(app: Flask, suffix: str) -> str:
    """The path of a file of ours for this database: beside a SQLite file, with its name.

    For PostgreSQL it is in the folder `instance`, named by the database and a hash of its whole
    address. So two apps never share one.
    """
    url = sa.engine.make_url(app.config["SETTINGS"].database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return f"{url.database}.{suffix}"
    folder = Path(app.instance_path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = hashlib.sha256(str(url).encode()).hexdigest()[:8]  # `str` leaves the password out
    return str(folder / f"{url.database}-{mark}.{suffix}")


def make_private(path: str) -> None:
    """Create a SQLite file that only its owner can read, with those that SQLite puts beside it.

    Files that an earlier version left readable are closed, too.
    """
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # not there, or somebody else's
            os.chmod(name, 0o600)


def close_connections() -> None:
    """Before a fork: a connection must not be shared between processes."""
    db.engine.dispose()


def is_on_sqlite(app: Flask) -> bool:
    with app.app_context():
        return db.engine.dialect.name == "sqlite"


def connect_apart(app: Flask, **options: str) -> Any:
    """A connection of PostgreSQL's driver that no pool knows; each statement commits by itself."""
    with app.app_context():
        dialect, url = db.engine.dialect, db.engine.url
    positional, named = dialect.create_connect_args(url)
    dbapi: Any = dialect.loaded_dbapi
    return dbapi.connect(*positional, **{**named, **POSTGRESQL_LINE, **options, "autocommit": True})


def is_reachable() -> bool:
    try:
        db.session.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError:
        current_app.logger.exception("the database does not answer")
        return False
    return True
