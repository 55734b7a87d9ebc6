"""Wake-ups wait in the database; whatever happens to them there, nothing is lost or doubled."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import requests
import sqlalchemy as sa
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import servers
from tests.support.pages import Browser, Page
from tests.support.raw_servers import wait_until
from tests.support.worker import LONE_WORKER, arrived, counts, send_to_many
from webapp.database import beside_database, db, transaction
from webapp.database.models import Batch
from webapp.jobs import storage, tasks
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

START_S = 30
"""Longer than a process takes to start on a busy machine."""
Start = Callable[..., Program]
COUNT = 40


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url)


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator, either_url: str) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, **changed: str) -> Program:
        values = values_for(sipgate, tmp_path, DATABASE_URL=either_url, **changed)
        program = Program(module, [], values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


def sweep_now(app: Flask) -> None:
    """What comes every minute anyway; for batches that have stood still a moment."""
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(active_at=now() - timedelta(minutes=1)))
    tasks.every_minute.call_local()


def server_of(app: Flask) -> str | None:
    """The database's name on PostgreSQL."""
    with app.app_context():
        url = db.engine.url
    return url.database if url.get_backend_name() == "postgresql" else None


@contextmanager
def somebody_elses(app: Flask) -> Iterator["psycopg.Connection | sqlite3.Connection"]:
    """A connection of somebody else to the tables of wake-ups."""
    if database := server_of(app):
        with psycopg.connect(servers.postgresql().url(database)) as connection:
            yield connection
    else:
        with closing(sqlite3.connect(beside_database(app, "queue"), timeout=10)) as file:
            yield file


def task_table(app: Flask) -> str:
    return "huey_task" if server_of(app) else "task"


# --- The usual ----------------------------------------------------------------------------------


@pytest.mark.slow  # starts a process
def test_a_worker_of_its_own_is_woken_through_the_database(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    start(LONE_WORKER)
    wait_until(lambda: anna.get("/readyz", status=None).status == 200, seconds=START_S)
    page = send_to_many(anna, 10)
    # A sweep comes once a minute, and leaves a batch alone for its first 20 seconds.
    wait_until(lambda: counts(anna, page) == {"accepted": 10}, seconds=15)
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.slow  # starts two processes
@pytest.mark.parametrize("either_url", ["postgresql"], indirect=True)
def test_on_postgresql_the_server_has_no_worker_inside(
    app: Flask, anna: Browser, start: Start
) -> None:
    port = str(servers.free_port())
    url = f"http://localhost:{port}"
    start("webapp.server", PUBLIC_URL=url, PORT=port, TRUSTED_PROXY_HOPS="0")
    wait_until(lambda: answers(url), seconds=START_S)
    page = send_to_many(anna, 5)
    assert requests.get(f"{url}/readyz", timeout=5).json() == {"status": "no worker"}
    assert counts(anna, page) == {"queued": 5}
    start("webapp.worker")
    wait_until(lambda: counts(anna, page) == {"accepted": 5}, seconds=START_S)
    assert requests.get(f"{url}/readyz", timeout=5).status_code == 200


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize("either_url", ["postgresql"], indirect=True)
def test_a_process_holds_one_connection_beyond_its_pool(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    sipgate.world.fail_always("send", Fault(delay_s=0.2, deliver=True))
    page = send_to_many(anna, 90)
    database = server_of(app)
    tasks.queue.storage.close()
    with app.app_context():
        db.engine.dispose()
    start("webapp.worker", SEND_CONCURRENCY="40")
    query = (
        "SELECT application_name = 'team-sms queue', count(*) FROM pg_stat_activity"  # noqa: S608
        f" WHERE datname = '{database}' GROUP BY 1"
    )
    most: dict[bool, int] = {True: 0, False: 0}

    def is_done() -> bool:
        for is_queue, count in servers.postgresql().run_sql(query):
            most[is_queue] = max(most[is_queue], count)
        return len(arrived(sipgate)) == 90

    wait_until(is_done, seconds=2 * START_S)
    with app.app_context():
        most_of_a_pool = db.engine.pool.size() + 10
    assert most[True] == 1
    assert 0 < most[False] <= most_of_a_pool
    assert sum(counts(anna, page).values()) == 90


# --- F57 ----------------------------------------------------------------------------------------


@pytest.mark.slow  # starts a process
def test_f57_wake_ups_emptied_in_mid_batch_lose_and_double_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    worker, page = at_work(anna, sipgate, start)
    for number in range(3):
        wait_until(lambda n=number: len(arrived(sipgate)) > 3 + 5 * n, seconds=START_S)
        with somebody_elses(app) as other:
            other.execute(f"DELETE FROM {task_table(app)}")  # noqa: S608
            other.commit()
    finish(app, anna, sipgate, worker, page)


@pytest.mark.slow  # starts a process
def test_f57_wake_ups_locked_in_mid_batch_lose_and_double_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "FILE_WAIT_S", 0.5)
    tasks.setup_queue(app)
    worker, page = at_work(anna, sipgate, start)
    with somebody_elses(app) as other:
        if server_of(app):
            other.execute(f"LOCK TABLE {task_table(app)} IN ACCESS EXCLUSIVE MODE")
        else:
            other.execute("BEGIN EXCLUSIVE")
        # Forms are taken all the same.
        late = send_to_many(anna, 5, "While they were locked")
        assert sum(counts(anna, late).values()) == 5
        other.rollback()
    finish(app, anna, sipgate, worker, page, late)


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize("either_url", ["postgresql"], indirect=True)
def test_f57_connections_cut_in_mid_batch_lose_and_double_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    worker, page = at_work(anna, sipgate, start)
    for number in range(3):
        wait_until(lambda n=number: len(arrived(sipgate)) > 3 + 5 * n, seconds=START_S)
        servers.postgresql().cut_connections(server_of(app) or "")
    finish(app, anna, sipgate, worker, page)


@pytest.mark.parametrize("either_url", ["postgresql"], indirect=True)
def test_f57_tables_that_are_gone_are_made_again(app: Flask, anna: Browser) -> None:
    send_to_many(anna, 3)
    with somebody_elses(app) as other:
        other.execute("DROP TABLE huey_task, huey_schedule, huey_kv, huey_counter")
        other.commit()
    send_to_many(anna, 3, "Nobody is woken")
    tasks.setup_queue(app)
    page = send_to_many(anna, 3, "After a new start")
    assert tasks.queue.storage.queue_size() > 0
    assert sum(counts(anna, page).values()) == 3


def at_work(anna: Browser, sipgate: Simulator, start: Start) -> tuple[Program, Page]:
    """A worker in the middle of a batch."""
    worker = start(LONE_WORKER, SEND_CONCURRENCY="2")
    sipgate.world.fail_always("send", Fault(delay_s=0.1, deliver=True))
    page = send_to_many(anna, COUNT)
    wait_until(lambda: len(arrived(sipgate)) > 3, seconds=START_S)
    return worker, page


def finish(
    app: Flask, anna: Browser, sipgate: Simulator, worker: Program, page: Page, *late: Page
) -> None:
    """The worker outlives it, and sends all, each once."""
    sipgate.world.clear_faults()

    def is_done() -> bool:
        sweep_now(app)
        ends = [counts(anna, one) for one in (page, *late)]
        return ends == [{"accepted": COUNT}, *({"accepted": 5} for _ in late)]

    wait_until(is_done, seconds=2 * START_S)
    assert worker.is_running, "the worker did not outlive it"
    assert [one.accepted for one in sipgate.world.arrivals].count(True) == COUNT + 5 * len(late)
