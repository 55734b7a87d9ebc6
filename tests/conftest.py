"""The fixtures that all tests share: the simulator over real HTTP, databases, apps, browsers.

One simulator runs per test process and is reset before each test; one template database is migrated
per process and copied: a SQLite file, or with `TEST_DATABASE=postgresql` a database of a real
PostgreSQL. Where a run requires browsers or npm (`TEST_REQUIRE`), a skip is a failure.
"""

import gc
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from flask import Flask
from jinja2 import FileSystemBytecodeCache
from xdist.scheduler import LoadScopeScheduling

from tests.support import preloaded, servers
from tests.support.kept import KeptApp, empty_postgresql, restore_sqlite
from tests.support.pages import Browser
from webapp import create_app
from webapp.config import PROJECT
from webapp.database import db
from webapp.database.schema import upgrade_schema
from webapp.jobs.tasks import queue
from webapp.simulator.server import Simulator, running_simulator
from webapp.simulator.world import World

PUBLIC_URL = os.environ.get("TEST_PUBLIC_URL", "http://localhost")
REQUIRED = os.environ.get("TEST_REQUIRE", "").split()
ON_POSTGRESQL = os.environ.get("TEST_DATABASE", "sqlite") == "postgresql"
WHOLE_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSERS = ("chromium-headless-shell", *WHOLE_BROWSERS)
"""The first is the same engine without all that surrounds a page, at half the cost."""


TOGETHER = ("tests/jobs/test_operations.py", "tests/processes/test_behind_nginx.py")
LONG = ("slow", "browser")
LONG_BEGIN_UNTIL = 0.7
"""The share of a run in which the long tests begin."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have programs started by one process per run, which has imported what they import."""
    if not hasattr(config, "workerinput"):
        stack = ExitStack()
        folder = stack.enter_context(TemporaryDirectory(prefix="team-sms-run-"))
        stack.enter_context(preloaded.serving(Path(folder)))
        config.add_cleanup(stack.close)


class Scheduling(LoadScopeScheduling):
    """Of several workers: each takes the next test, or all of a file that shares a real server.

    pytest-xdist's own groups are not seen with pytest 9.2, which it asks for an id by its old name.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if path in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if ON_POSTGRESQL:
        left_out = [item for item in items if chooses_its_database(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not chooses_its_database(item)]
    if "PYTEST_XDIST_WORKER" in os.environ:
        begin_long_ones_early(items)


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what lives as long as the run: all that is imported.

    Looking through it again and again took a sixth of the processor time (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def chooses_its_database(item: pytest.Item) -> bool:
    """Whether it is about SQLite's file, or on PostgreSQL in every run."""
    fixtures = getattr(item, "fixturenames", ())
    is_chosen = "either_url" in fixtures or "postgresql_url" in fixtures
    return is_chosen or item.get_closest_marker("sqlite") is not None


def begin_long_ones_early(items: list[pytest.Item]) -> None:
    """Spread the long tests, which mostly wait, over the first part of a run with several workers.

    So others have the processors meanwhile, and no worker begins a long one at the end.
    """
    long = [item for item in items if any(map(item.get_closest_marker, LONG))]
    short = [item for item in items if not any(map(item.get_closest_marker, LONG))]
    place = {item: at / len(long) * LONG_BEGIN_UNTIL for at, item in enumerate(long)}
    place |= {item: at / len(short) for at, item in enumerate(short)}
    items.sort(key=place.__getitem__)


def required_or_skip(what: str, reason: str) -> None:
    """Skip, saying why; fail instead where the run requires it (CI)."""
    if what in REQUIRED:
        pytest.fail(f"{reason} (and TEST_REQUIRE demands {what})")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    with running_simulator(World(requires_pkce=True)) as running:
        running.world.client = type(running.client)(
            running.client.client_id,
            running.client.client_secret,
            (f"{PUBLIC_URL}/auth/callback",),
        )
        yield running


@pytest.fixture
def sipgate(simulator: Simulator) -> Iterator[Simulator]:
    """The simulated sipgate, reset, with `fail_next`, `phones` and the ledger of what arrived."""
    simulator.reset()
    yield simulator
    simulator.reset()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Delete the metrics folders that apps on PostgreSQL keep in `instance`."""
    if not hasattr(session.config, "workerinput"):  # the others may still be using theirs
        for left in (PROJECT / "instance").glob(f"t{'[0-9a-f]' * 20}-*"):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def database_url(database: Path) -> str:
    """The address of the test database named by this path, which is a file only on SQLite."""
    if ON_POSTGRESQL:
        return servers.postgresql().url(database_name(database))
    return f"sqlite:///{database}"


def database_name(database: Path) -> str:
    """The name on PostgreSQL of the database named by this path."""
    return f"t{hashlib.sha256(str(database).encode()).hexdigest()[:20]}"


def make_empty_database(database: Path) -> None:
    """On SQLite there is nothing to do: it makes the file itself."""
    if ON_POSTGRESQL:
        servers.postgresql().create(database_name(database))


def copy_database(template: Path, database: Path) -> None:
    """Give a test its own migrated database."""
    if ON_POSTGRESQL:
        servers.postgresql().create(database_name(database), database_name(template))
    else:
        shutil.copy(template, database)


def drop_database(database: Path) -> None:
    """On PostgreSQL, drop the database."""
    if ON_POSTGRESQL:
        servers.postgresql().drop(database_name(database))


def values_for(simulator: Simulator, database: Path, **changed: str) -> dict[str, str]:
    """Settings as the environment would have them."""
    values = {
        "PUBLIC_URL": PUBLIC_URL,
        "TRUSTED_PROXY_HOPS": "1" if PUBLIC_URL.startswith("https") else "0",
        "SECRET_KEY": "a-key-for-tests-only-0123456789-abcdefghij",
        "SIPGATE_CLIENT_ID": simulator.client.client_id,
        "SIPGATE_CLIENT_SECRET": simulator.client.client_secret,
        "SIPGATE_ISSUER": simulator.issuer,
        "SIPGATE_API_URL": simulator.api_url,
        "SIPGATE_ACCOUNTS": "1234567 7654321",
        "DATABASE_URL": database_url(database),
        # A test must not depend on the time of day at which it runs.
        "QUIET_HOURS": "",
        # Nor on how many tests share an app.
        "RATE_LIMITS": "",
    }
    return {**values, **changed}


@pytest.fixture(scope="session")
def template_database(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "app.sqlite"
    make_empty_database(path)
    app = create_app(values_for(simulator, path))
    with app.app_context():
        upgrade_schema()
        db.engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_template(simulator: Simulator, template_database: Path) -> str:
    """The name of a migrated database on PostgreSQL, also in a run on SQLite."""
    if ON_POSTGRESQL:
        return database_name(template_database)
    name = database_name(template_database)
    servers.postgresql().create(name)
    url = servers.postgresql().url(name)
    app = create_app(values_for(simulator, template_database, DATABASE_URL=url))
    with app.app_context():
        upgrade_schema()
        db.engine.dispose()
    return name


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of this test's own migrated database on PostgreSQL."""
    template: str = request.getfixturevalue("postgresql_template")
    server, name = servers.postgresql(), database_name(tmp_path / "own")
    server.create(name, template)
    yield server.url(name)
    server.drop(name)
    for left in (PROJECT / "instance").glob(f"{name}-*"):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink()


@pytest.fixture(params=["sqlite", "postgresql"])
def either_url(request: pytest.FixtureRequest) -> str:
    """The address of this test's database, on SQLite and then on PostgreSQL."""
    if "keep_app" in request.node.fixturenames and not needs_its_own(request):
        kept: str = request.getfixturevalue(f"kept_{request.param}")
        return kept
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_url")
        return url
    database = request.getfixturevalue("tmp_path") / "either.sqlite"
    shutil.copy(request.getfixturevalue("template_database"), database)
    return f"sqlite:///{database}"


MakeApp = Callable[..., Flask]


@pytest.fixture(scope="session")
def compiled_templates(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """Page templates compiled once per process: every test makes an app, which would do it anew."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture
def make_app(
    sipgate: Simulator,
    template_database: Path,
    tmp_path: Path,
    compiled_templates: FileSystemBytecodeCache,
) -> Iterator[MakeApp]:
    """Make an app on this test's own database; keyword arguments change settings."""
    database = tmp_path / "app.sqlite"
    copy_database(template_database, database)
    made: list[Flask] = []

    def make(**changed: str) -> Flask:
        app = create_app(values_for(sipgate, database, **changed))
        app.jinja_env.bytecode_cache = compiled_templates
        made.append(app)
        return app

    yield make
    queue.storage.close()
    for app in made:
        with app.app_context():
            db.engine.dispose()
    drop_database(database)


def needs_its_own(request: pytest.FixtureRequest) -> bool:
    """Whether the test makes apps, may look for their files, or says that it changes its app."""
    is_marked = request.node.get_closest_marker("own_app") is not None
    return is_marked or not {"make_app", "tmp_path"}.isdisjoint(request.node.fixturenames)


@pytest.fixture(scope="session")
def kept_sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the file that one kept app after the other uses."""
    return f"sqlite:///{tmp_path_factory.mktemp('kept') / 'app.sqlite'}"


@pytest.fixture(scope="session")
def kept_postgresql(postgresql_template: str) -> str:
    server, name = servers.postgresql(), f"{postgresql_template}kept"
    server.create(name, postgresql_template)
    return server.url(name)


@pytest.fixture(scope="session")
def kept_apps() -> dict[frozenset[tuple[str, str]], KeptApp]:
    """By their settings."""
    return {}


@pytest.fixture
def keep_app(
    request: pytest.FixtureRequest,
    sipgate: Simulator,
    template_database: Path,
    kept_apps: dict[frozenset[tuple[str, str]], KeptApp],
    compiled_templates: FileSystemBytecodeCache,
) -> Iterator[MakeApp]:
    """As `make_app`, but the app of an earlier test that had the same settings, as good as new.

    A test gets one of its own if it asks for `make_app` or `tmp_path`, or is marked `own_app`.
    """
    if needs_its_own(request):
        yield request.getfixturevalue("make_app")
        return
    with ExitStack() as lent:

        def keep(**changed: str) -> Flask:
            default = "kept_postgresql" if ON_POSTGRESQL else "kept_sqlite"
            url = changed.get("DATABASE_URL") or request.getfixturevalue(default)
            restore(url, template_database)
            values = values_for(sipgate, template_database, **{**changed, "DATABASE_URL": url})
            key = frozenset(values.items())
            if key not in kept_apps:
                kept_apps[key] = KeptApp(create_app(values))
                kept_apps[key].app.jinja_env.bytecode_cache = compiled_templates
            return lent.enter_context(kept_apps[key].lent())

        yield keep
        queue.storage.close()


def restore(url: str, template: Path) -> None:
    """Make the kept database at this address a new one."""
    if url.startswith("sqlite:///"):
        restore_sqlite(template, Path(url.removeprefix("sqlite:///")))
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            empty_postgresql(connection)


@pytest.fixture
def app(keep_app: MakeApp) -> Flask:
    return keep_app()


@pytest.fixture
def new_browser(app: Flask, sipgate: Simulator) -> Callable[[], Browser]:
    return lambda: Browser(app, sipgate)


@pytest.fixture
def stranger(app: Flask, sipgate: Simulator) -> Browser:
    """A browser in which nobody is signed in."""
    return Browser(app, sipgate)


@pytest.fixture
def anna(new_browser: Callable[[], Browser]) -> Browser:
    """Anna Sommer's browser, signed in: an admin with the extensions s0 and s1."""
    browser = new_browser()
    browser.sign_in("anna")
    return browser


def browser_program(names: tuple[str, ...]) -> str:
    """The path of the first of these programs that the machine has; skip if it has none."""
    path = next(filter(None, map(shutil.which, names)), "")
    if not path:
        required_or_skip("browser", "no Chromium or Chrome found: browser tests did not run")
    return path


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """Playwright drives the machine's own Chromium; nothing is downloaded."""
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-dev-shm-usage",
        # One process shows all pages, which need not be started for each.
        "--renderer-process-limit=1",
        "--disable-site-isolation-trials",
    ]
    hosts = "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
    return {
        **browser_type_launch_args,
        "executable_path": browser_program(BROWSERS),
        "args": [*flags, f"--host-resolver-rules={hosts}"],
    }
