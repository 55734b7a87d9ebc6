"""The database underneath: column types, transactions, and the schema's version.

Rules that were measured (`T3` of the library notes): SQLite loses updates silently in its default
mode, so writes begin with BEGIN IMMEDIATE, with WAL and `synchronous=FULL` (a committed claim must
survive a power loss); and no transaction may be open while we wait for sipgate: whatever a page has
read so far ends before a request (`release`), and inside of a write there is none.
"""

import base64
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask, current_app
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from webapp import copies
from webapp.config import SettingError
from webapp.extensions import alembic, db, settings

BUSY_MS = 10_000
"""How long a statement waits for somebody else's lock, on either database."""
POSTGRESQL_POOL = 10
"""A connection is held for one short transaction, so a few serve many threads; and all processes
together must stay below the server's `max_connections` (100 unless changed)."""
POSTGRESQL_LINE = {
    # A server that has vanished is found out in seconds, not by TCP's quarter of an hour.
    "connect_timeout": 5,
    "tcp_user_timeout": 15_000,
    "options": f"-c lock_timeout={BUSY_MS}",
}
AWAY = (sa.exc.OperationalError, sa.exc.InternalError, sa.exc.TimeoutError)
"""What a database that is away, busy or restarting raises: at the statement, or at the pool.
PostgreSQL that takes no writes for a while, as at a failover, calls that an internal error."""
migrating = threading.Event()
"""Set while tables are changed: SQLite makes them anew, which references would forbid."""
COUNTS_WRITES = "counts_writes"
_writing = threading.RLock()
Row = TypeVar("Row")


def now() -> datetime:
    """The one clock: aware, UTC."""
    return datetime.now(UTC)


class UTCDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes, kept in UTC; a naive value is a mistake and is refused."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Encrypted(sa.TypeDecorator[str]):
    """Text encrypted at rest with the app's secret keys; the newest writes, all of them read.

    A value no key can read (SECRET_KEY was replaced) comes out as None: the sign-in it belonged
    to has ended, which is a page, not a crash.
    """

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        return None if value is None else _fernet(settings.secret_key).encrypt(value.encode())

    def process_result_value(self, value: bytes | None, dialect: Any) -> str | None:
        if value is None:
            return None
        try:
            return _fernet(settings.secret_key).decrypt(value).decode()
        except InvalidToken:
            return None


@lru_cache
def _fernet(secret_keys: tuple[str, ...]) -> MultiFernet:
    def derive(key: str) -> Fernet:
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"team-sms tokens at rest")
        return Fernet(base64.urlsafe_b64encode(hkdf.derive(key.encode())))

    return MultiFernet([derive(key) for key in secret_keys])


@contextmanager
def transaction() -> Iterator[Session]:
    """A short write: begins at once, commits at the end, undoes all on any error.

    Never talk to sipgate inside: the write lock would keep everybody else waiting.
    """
    release()
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
            forget()
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
    except AWAY:
        session.info["commit_unanswered"] = True
        raise


def may_have_committed() -> bool:
    """Whether a COMMIT of this request or task was not answered: it may have been done (F52)."""
    return "commit_unanswered" in db.session.info


@contextmanager
def _one_writer(session: Session) -> Iterator[None]:
    """The threads of this process write to SQLite in turn.

    SQLite has one writer anyway, but whoever waits for it sleeps and asks again, and some never get
    it: of 300 sends by 200 people at once, three ran into `BUSY_MS` (measured).
    """
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    if not _writing.acquire(timeout=BUSY_MS / 1000):
        raise sa.exc.TimeoutError("the database is busy")
    try:
        yield
    finally:
        _writing.release()


def rows_changed(
    rows: Session, statement: sa.Update | sa.Delete, said: Mapping[str, object] | None = None
) -> int:
    """Execute it and tell how many rows it changed: the answer to "was it me who claimed this?".

    Rows that are loaded already do not learn of it. `said`: the values of its parameters.
    """
    done = rows.execute(statement, said, execution_options={"synchronize_session": False})
    return cast("sa.CursorResult[Any]", done).rowcount


def put(
    rows: Session, table: type[Any], key: Mapping[str, Any], values: Mapping[str, Any], **new: Any
) -> None:
    """Give the row with this key these values; where there is none, make it, with `new` besides.

    One statement, so that nobody comes between looking and inserting. `key` is unique in `table`.
    """
    kind = postgresql if rows.get_bind().dialect.name == "postgresql" else sqlite
    statement = kind.insert(table).values(**key, **values, **new)
    rows.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(values)))


def table(kind: type[Any]) -> sa.Table:
    """A model's table. Changes of it cost a third of what changes of the model do (measured)."""
    return cast("sa.Table", kind.__table__)


def insert(rows: Session, *new: Any) -> None:
    """Insert rows of one table as they stand, at once. They stay apart from the session.

    SQLAlchemy's unit of work takes five times as long for the same statement (measured), and every
    text that is sent needs three.
    """
    statement, names = _insertion(table(type(new[0])))
    rows.execute(statement, [{name: getattr(row, name) for name in names} for row in new])


@lru_cache
def _insertion(into: sa.Table) -> tuple[sa.Insert, tuple[str, ...]]:
    """The statement, and the columns that a new row has: not those that the database counts."""
    counted = into.autoincrement_column
    return into.insert(), tuple(one.key for one in into.columns if one is not counted)


def release() -> None:
    """End the open read, if any, before waiting for somebody else. Loaded rows stay readable.

    Raises `RuntimeError` in the middle of a write, which would be cut in two.
    """
    if "writes" in db.session.info:
        raise RuntimeError("nobody may be waited for inside of a write")
    try:
        db.session.commit()
    except sa.exc.SQLAlchemyError:
        forget()
        raise


def forget() -> None:
    """Undo what is open. Loaded rows are read again at their next use, unless `detached`."""
    db.session.rollback()


def detached(row: Row) -> Row:
    """The row apart from the session: readable as it was, whatever becomes of the database."""
    if row in db.session:
        db.session.expunge(row)
    return row


def setup_database(app: Flask) -> None:
    """Bind engine and migrations. A SQLite file's folder is made, readable by its owner only."""
    url = _url(app.config["SETTINGS"].database_url)
    # An error's text goes into the log; texts and numbers must not.
    options: dict[str, Any] = {"url": url, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        _make_private_folder(url)
        options["connect_args"] = {"check_same_thread": False}
        options["pool_size"] = app.config["SETTINGS"].web_threads
    else:
        options["connect_args"] = POSTGRESQL_LINE
        options.update(pool_size=POSTGRESQL_POOL, pool_timeout=BUSY_MS / 1000, pool_pre_ping=True)
    app.config["SQLALCHEMY_ENGINES"] = {"default": options}
    app.config["ALEMBIC"] = {"script_location": "migrations"}
    app.config["ALEMBIC_CONTEXT"] = {"render_as_batch": True, "transactional_ddl": True}
    db.init_app(app)
    _skip_async_sessions(app)
    app.teardown_request(_end_reading)
    alembic.init_app(app)
    with app.app_context():
        if url.get_backend_name() == "sqlite":
            _prepare_sqlite(db.engine)
        else:
            _prepare_postgresql(db.engine)


def _end_reading(_error: BaseException | None) -> None:
    """What a page has read ends with it. A database that has gone meanwhile must not spoil it.

    What is loaded stays readable: an export is still being written.
    """
    with suppress(*AWAY):
        release()


def _skip_async_sessions(app: Flask) -> None:
    """Do not close the extension's async sessions, of which we have none.

    It would start an event loop for every request (measured: 5 of 6 ms), and fail in a thread that
    has one, as a test with a browser does.
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
        return url
    if "@" in f"{url.host}{url.database}":
        # What is taken for the place would be shown, and is a part of the password.
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


def _prepare_sqlite(engine: sa.Engine) -> None:
    """SQLAlchemy's recipe for real SQLite transactions, with the kind of BEGIN we ask for."""

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout = {BUSY_MS}",
            "journal_mode = WAL",
            "synchronous = FULL",
            # SQLite changes a table by making it anew, which its references would forbid.
            f"foreign_keys = {'OFF' if migrating.is_set() else 'ON'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        # SQLite's own knows only ASCII: a search for "ölmann" would not find "Ölmann".
        connection.create_function("lower", 1, _lower, deterministic=True)

    @sa.event.listens_for(engine, "begin")
    def on_begin(connection: sa.Connection) -> None:
        kind = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {kind}")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _prepare_postgresql(engine: sa.Engine) -> None:
    """Its texts hold no NUL, but an address may: as another sign it fits no row."""
    from psycopg.types.string import StrDumper

    class NulSafe(StrDumper):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\x00", "\ufffd"))

    @sa.event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, NulSafe)

    @sa.event.listens_for(engine, "handle_error")
    def on_error(context: sa.engine.ExceptionContext) -> None:
        """Keep the first line only: below it, PostgreSQL repeats the row that it refused."""
        for error in (context.original_exception, context.sqlalchemy_exception):
            if error is not None:
                error.args = (str(error.args[0]).partition("\n")[0], *error.args[1:])


def beside_database(app: Flask, suffix: str) -> str:
    """A file of ours beside the SQLite database, with its name: two apps never meet in it.

    For PostgreSQL in the folder `instance`, with the database's name and a mark of its whole
    address.
    """
    url = sa.engine.make_url(app.config["SETTINGS"].database_url)
    if url.get_backend_name() == "sqlite" and url.database:
        return f"{url.database}.{suffix}"
    folder = Path(app.instance_path)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = hashlib.sha256(str(url).encode()).hexdigest()[:8]  # `str` leaves the password out
    return str(folder / f"{url.database}-{mark}.{suffix}")


def make_private(path: str) -> None:
    """Make a SQLite file, and those that SQLite lays beside it, its owner's alone: also the files
    of an earlier version, which others could read."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    for name in (path, f"{path}-wal", f"{path}-shm"):
        with suppress(OSError):  # not there, or somebody else's
            os.chmod(name, 0o600)


def close_connections() -> None:
    """Before a fork: a connection must not be shared between processes."""
    db.engine.dispose()


def is_reachable() -> bool:
    try:
        db.session.execute(sa.text("SELECT 1"))
    except sa.exc.SQLAlchemyError:
        current_app.logger.exception("the database does not answer")
        return False
    return True
