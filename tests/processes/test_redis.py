"""A real Redis wakes workers and counts requests; whatever happens to it, nothing is lost."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import servers
from tests.support.pages import Browser
from tests.support.raw_servers import wait_until
from tests.support.servers import Redis
from tests.support.worker import arrived, counts, send_to_many
from webapp.database import transaction
from webapp.database.models import Batch
from webapp.jobs import tasks
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

START_S = 30
"""Longer than a process takes to start on a busy machine."""
Start = Callable[..., Program]


@pytest.fixture
def redis(redis_server: str) -> Redis:
    server = servers.redis()
    server.restart()  # empty, also after a test that killed it
    return server


@pytest.fixture
def app(make_app: MakeApp, redis: Redis) -> Flask:
    return make_app(REDIS_URL=redis.url)


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, **changed: str) -> Program:
        values = values_for(sipgate, tmp_path / "app.sqlite", **changed)
        program = Program(module, [], values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


def is_ready(browser: Browser) -> bool:
    """Whether a worker has given a sign of life."""
    return browser.get("/readyz", status=None).status == 200


def sweep_now(app: Flask) -> None:
    """What comes every minute anyway; for batches that have stood still a moment."""
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(active_at=now() - timedelta(minutes=1)))
    tasks.every_minute.call_local()


@pytest.mark.slow  # starts a process
def test_a_worker_of_its_own_is_woken_through_redis(
    app: Flask, anna: Browser, sipgate: Simulator, redis: Redis, start: Start
) -> None:
    start("webapp.worker", REDIS_URL=redis.url)
    wait_until(lambda: is_ready(anna), seconds=START_S)
    page = send_to_many(anna, 10)
    # A sweep comes once a minute, and leaves a batch alone for its first 20 seconds.
    wait_until(lambda: counts(anna, page) == {"accepted": 10}, seconds=15)
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.slow  # starts a process
def test_f57_redis_flushed_down_and_restarted_in_mid_batch_loses_and_doubles_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, redis: Redis, start: Start
) -> None:
    worker = start("webapp.worker", REDIS_URL=redis.url, SEND_CONCURRENCY="2")
    sipgate.world.fail_always("send", Fault(delay_s=0.1, deliver=True))
    page = send_to_many(anna, 60)
    for number, trouble in enumerate((redis.flush, redis.restart, redis.kill)):
        wait_until(lambda n=number: len(arrived(sipgate)) > 3 + 10 * n, seconds=START_S)
        trouble()
    # While it is away, forms are taken all the same.
    late = send_to_many(anna, 5, "While Redis was away")
    assert sum(counts(anna, late).values()) == 5
    redis.start()
    sipgate.world.clear_faults()
    wait_until(lambda: worker.is_running and bool(sum(counts(anna, page).values())))

    def is_done() -> bool:
        sweep_now(app)
        return (counts(anna, page), counts(anna, late)) == ({"accepted": 60}, {"accepted": 5})

    wait_until(is_done, seconds=2 * START_S)
    assert worker.is_running, "the worker did not outlive its Redis"
    assert [one.accepted for one in sipgate.world.arrivals].count(True) == 65


def test_requests_are_counted_in_redis_for_all_processes_together(
    make_app: MakeApp, sipgate: Simulator, redis: Redis
) -> None:
    for url in (redis.url, redis.socket_url):
        redis.flush()
        limits = {"REDIS_URL": url, "RATE_LIMITS": "login 3/minute per address"}
        statuses = [
            Browser(make_app(**limits), sipgate).get("/login", status=None).status for _ in range(5)
        ]
        assert statuses == [302, 302, 302, 429, 429]
        assert [key for key in redis.key_names() if key.startswith("LIMIT")]


def test_while_redis_is_away_each_process_counts_for_itself(
    make_app: MakeApp, sipgate: Simulator, redis: Redis
) -> None:
    app = make_app(REDIS_URL=redis.url, RATE_LIMITS="login 3/minute per address")
    browser = Browser(app, sipgate)
    assert browser.get("/login", status=None).status == 302
    redis.kill()
    statuses = [browser.get("/login", status=None).status for _ in range(5)]
    assert statuses == [302, 302, 302, 429, 429]


@pytest.mark.slow  # starts a server
@pytest.mark.parametrize("with_redis", [False, True])
def test_the_server_has_a_worker_inside_unless_there_is_redis(
    make_app: MakeApp, sipgate: Simulator, redis: Redis, start: Start, with_redis: bool
) -> None:
    redis_url = redis.url if with_redis else ""
    app = make_app(REDIS_URL=redis_url)
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    port = servers.free_port()
    url = f"http://localhost:{port}"
    start(
        "webapp.server",
        REDIS_URL=redis_url,
        PUBLIC_URL=url,
        PORT=str(port),
        TRUSTED_PROXY_HOPS="0",
    )
    wait_until(lambda: answers(url), seconds=START_S)
    page = send_to_many(anna, 5)
    if with_redis:
        assert requests.get(f"{url}/readyz", timeout=5).json() == {"status": "no worker"}
        assert counts(anna, page) == {"queued": 5}
        start("webapp.worker", REDIS_URL=redis_url)
    wait_until(lambda: counts(anna, page) == {"accepted": 5}, seconds=START_S)
    assert requests.get(f"{url}/readyz", timeout=5).status_code == 200


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).ok
    except requests.RequestException:
        return False
