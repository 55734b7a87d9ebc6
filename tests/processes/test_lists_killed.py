"""Lists whose worker or server is killed at every step: nobody gets a text twice, nobody is lost.

A short list in small pieces here; `make list-kills` sends 5,000 through three rounds of kills.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import lists
from tests.support.killed_at import POINTS
from tests.support.pages import Browser, Page
from tests.support.raw_servers import wait_until
from tests.support.real_servers import free_port, wait_for
from tests.support.rows import stored_rows
from tests.support.worker import LONE_WORKER, arrived, counts, put_clocks_back, work
from webapp.database import db
from webapp.jobs import tasks
from webapp.messages.lists import fill
from webapp.simulator.server import Simulator

START_S = 60
"""Longer than a process takes to start on a busy machine."""
LISTED = int(os.environ.get("LISTED", 0))
"""People of the long run; without it that is left out."""
ROUNDS = 3
PEOPLE, PIECE = 36, 12
"""Three pieces."""
WHILE_MADE = {
    "before a piece's commit": (0, 0),
    "after a piece's commit": (0, 12),
    "before the last piece's commit": (12, 36),
    "after the last piece's commit": (36, 36),
}
"""How many messages there are before, and when the worker has died at the point."""
WHILE_SENT = (
    "before the claim's commit",
    "after the claim's commit",
    "connecting",
    "connected",
    "written",
    "answered",
    "after the result's commit",
    "between a result and the next claim",
    "before the commit of both",
    "after the commit of both",
)
SETTINGS = {"DAILY_LIMIT": "100000", "BATCH_CONFIRM": "10", "SEND_CONCURRENCY": "4"}
Start = Callable[..., Program]


@pytest.fixture
def app(make_app: MakeApp, either_url: str, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(fill, "PIECE", PIECE)
    return make_app(DATABASE_URL=either_url, **SETTINGS)


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator, either_url: str) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, *options: str, **changed: str) -> Program:
        settings = {"DATABASE_URL": either_url, **SETTINGS, **changed}
        values = values_for(sipgate, tmp_path, **settings)
        program = Program(module, list(options), values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


def kill_worker(app: Flask, start: Start, point: str, piece: int) -> None:
    """Start a worker, with a sweep to do, that is SIGKILLed at a point."""
    put_clocks_back(app)
    with app.app_context():
        tasks.setup_queue(app)
        tasks.enqueue_sweep()
    worker = start("tests.support.killed_at", point, LONE_WORKER, str(piece))
    wait_until(lambda: not worker.is_running, seconds=START_S)
    assert worker.exit_code == -signal.SIGKILL, (point, worker.log.read_text()[-2000:])


def finish(app: Flask, times: int = 3) -> None:
    for _ in range(times):
        put_clocks_back(app)
        work(app)


def each_went_once(app: Flask, browser: Browser, batch: Page, sipgate: Simulator) -> None:
    """Everybody got one text, or is `unknown` for a person to decide; nobody got two."""
    twin = lists.twin(browser, batch)
    assert twin["total"] == twin["made"] == counts(browser, batch).total()
    assert set(counts(browser, batch)) <= {"accepted", "unknown"}, counts(browser, batch)
    rows = stored_rows(app)["messages"]
    assert len({row["recipient"] for row in rows}) == twin["total"]
    got = arrived(sipgate)
    assert set(got.values()) == {1}
    assert {row["recipient"] for row in rows if row["outcome"] == "accepted"} <= set(got)
    assert set(got) <= {row["recipient"] for row in rows}
    assert stored_rows(app)["lists"][0]["content"] is None


@pytest.mark.slow  # starts processes
def test_a_worker_killed_at_every_step_makes_and_sends_each_message_once(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    batch = lists.send(anna, lists.checked(anna, lists.people(PEOPLE)))
    for point, (before, made) in WHILE_MADE.items():
        assert len(stored_rows(app)["messages"]) == before, point
        kill_worker(app, start, point, PIECE)
        assert len(stored_rows(app)["messages"]) == made, point
        assert not arrived(sipgate), "nothing is sent before all are there"
    for point in ("written", "before the commit of both"):
        kill_worker(app, start, point, PIECE)
    finish(app)
    each_went_once(app, anna, batch, sipgate)


if LISTED:  # not skipped without it: where all tests must run, a skip is a failure

    @pytest.mark.slow  # as long as LISTED says
    def test_a_long_list_through_rounds_of_kills(
        app: Flask,
        anna: Browser,
        sipgate: Simulator,
        start: Start,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        piece = max(1, LISTED // 10)
        began = time.monotonic()
        batch = lists.send(anna, lists.checked(anna, lists.people(LISTED)))
        while_made = ["before a piece's commit", "after a piece's commit"]
        points = while_made * ROUNDS + list(WHILE_MADE)[2:] + list(WHILE_SENT) * ROUNDS
        assert set(points) == set(POINTS) - {
            "before the list's commit",  # the server's, below
            "after the list's commit",
            "refresh answered",
        }
        for point in points:
            kill_worker(app, start, point, piece)
            if lists.twin(anna, batch)["stop_reason"]:
                resume = f"{batch.path}/resume"
                anna.post(resume, anna.get(batch.path).fields(resume), status=303)
        finish(app)
        each_went_once(app, anna, batch, sipgate)
        with app.app_context(), capsys.disabled():
            sys.stdout.write(
                f"\n{db.engine.dialect.name}: {LISTED} people, {len(points)} kills in "
                f"{time.monotonic() - began:.0f} s; {dict(counts(anna, batch))}, "
                f"{len(arrived(sipgate))} texts arrived, none twice\n"
            )


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("point", ["before the list's commit", "after the list's commit"])
def test_a_server_killed_while_it_takes_a_list_takes_it_once(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, point: str
) -> None:
    form = lists.confirmed(anna, lists.checked(anna, lists.people(5)))
    tasks.queue.flush()
    port = str(free_port())
    url = f"http://localhost:{port}"
    server = start("tests.support.killed_at", point, "webapp.server", PORT=port)
    wait_for(f"{url}/healthz", server.log)
    cookie = anna.client.get_cookie("session")
    assert cookie is not None
    with pytest.raises(requests.RequestException):
        requests.post(
            f"{url}/batches",
            data=form,
            headers={"Cookie": f"session={cookie.value}", "Host": "localhost"},
            timeout=30,
        )
    server.kill()
    taken = len(stored_rows(app)["batches"])
    assert taken == (1 if point.startswith("after") else 0)
    answer = anna.post("/batches", form, status=303)  # as a browser resends it
    batch = anna.follow(answer)
    for _ in range(3):
        put_clocks_back(app)
        work(app)
    assert lists.twin(anna, batch)["counts"]["accepted"] == 5
    assert sum(arrived(sipgate).values()) == 5
    assert len(stored_rows(app)["batches"]) == 1


@pytest.mark.slow  # starts a server
def test_fifty_posts_of_one_form_at_once_make_one_batch(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    form = lists.confirmed(anna, lists.checked(anna, lists.people(5)))
    tasks.queue.flush()
    port = str(free_port())
    server = start("webapp.server", PORT=port)
    wait_for(f"http://localhost:{port}/healthz", server.log)
    cookie = anna.client.get_cookie("session")
    assert cookie is not None

    def post(_: int) -> tuple[int, str]:
        answer = requests.post(
            f"http://localhost:{port}/batches",
            data=form,
            headers={"Cookie": f"session={cookie.value}", "Host": "localhost"},
            allow_redirects=False,
            timeout=60,
        )
        return answer.status_code, answer.headers.get("Location", "")

    with ThreadPoolExecutor(50) as pool:
        answers = set(pool.map(post, range(50)))
    assert len(answers) == 1, answers
    assert answers.pop()[0] == 303
    assert len(stored_rows(app)["batches"]) == 1
    for _ in range(2):
        put_clocks_back(app)
        work(app)
    assert sum(arrived(sipgate).values()) == 5
