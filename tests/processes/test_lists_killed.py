"""Lists whose worker or server is killed at every step: 1,200 people, nobody twice, nobody lost."""

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import lists
from tests.support.pages import Browser
from tests.support.raw_servers import wait_until
from tests.support.real_servers import free_port, wait_for
from tests.support.rows import stored_rows
from tests.support.worker import LONE_WORKER, arrived, put_clocks_back, work
from webapp.jobs import tasks
from webapp.simulator.server import Simulator

START_S = 60
"""Longer than a process takes to start on a busy machine."""
PEOPLE = 1200
"""Three pieces."""
Start = Callable[..., Program]


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url, DAILY_LIMIT="10000")


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator, either_url: str) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, *options: str, **changed: str) -> Program:
        settings = {"DATABASE_URL": either_url, "DAILY_LIMIT": "10000", **changed}
        values = values_for(sipgate, tmp_path, **settings)
        program = Program(module, list(options), values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


MADE = {
    "before a piece's commit": 0,
    "after a piece's commit": 500,
    "before the last piece's commit": PEOPLE,
    "after the last piece's commit": PEOPLE,
}
"""How many messages are there when the worker dies at the point."""


@pytest.mark.slow  # starts processes
@pytest.mark.parametrize("point", MADE)
def test_a_worker_killed_while_it_makes_messages_makes_none_twice_and_loses_none(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, point: str
) -> None:
    batch = lists.send(anna, lists.checked(anna, lists.people(PEOPLE)))
    worker = start("tests.support.killed_at", point, LONE_WORKER)
    wait_until(lambda: not worker.is_running, seconds=START_S)
    assert worker.exit_code == -signal.SIGKILL, worker.log.read_text()
    assert len(stored_rows(app)["messages"]) == MADE[point]
    assert not arrived(sipgate), "nothing is sent before all are there"
    for _ in range(3):
        put_clocks_back(app)
        work(app)
    twin = lists.twin(anna, batch)
    assert (twin["total"], twin["made"]) == (PEOPLE, PEOPLE)
    assert twin["counts"]["accepted"] == PEOPLE
    assert len(arrived(sipgate)) == PEOPLE
    assert set(arrived(sipgate).values()) == {1}
    assert stored_rows(app)["lists"][0]["content"] is None


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
