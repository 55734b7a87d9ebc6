"""Several processes on one SQLite file: they write in turn, and one of them carries the worker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import servers
from tests.support.pages import Browser
from tests.support.raw_servers import expect, wait_until
from tests.support.worker import LONE_WORKER, arrived, counts, put_clocks_back, send_to_many, work
from webapp.config import PROJECT
from webapp.database import session
from webapp.jobs import tasks
from webapp.simulator.server import Simulator

START_S = 30
"""Longer than a process takes to start on a busy machine."""
TAKEN_OVER_S = 60
Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, *options: str, **changed: str) -> Program:
        values = values_for(sipgate, tmp_path / "app.sqlite", **changed)
        program = Program(module, list(options), values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def start_server(start: Start) -> Start:
    """The server, from when it and its worker are there."""

    def start_server(**changed: str) -> Program:
        port = str(servers.free_port())
        place = {"PORT": port, "PUBLIC_URL": f"http://localhost:{port}", "TRUSTED_PROXY_HOPS": "0"}
        server = start("webapp.server", **place, **changed)
        wait_until(lambda: is_ready(f"http://localhost:{port}"), seconds=2 * START_S)
        return server

    return start_server


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=5).ok
    except requests.RequestException:
        return False


def carriers(server: Program, database: Path) -> list[int]:
    """The processes that have the worker's place: who only looked has closed the file again."""
    place = f"{database}.worker"
    return [pid for pid in server.children() if has_open(pid, place)]


def has_open(pid: int, path: str) -> bool:
    try:
        return any(os.readlink(one) == path for one in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


@pytest.mark.sqlite
@pytest.mark.slow  # starts a server, and waits until one process follows another
def test_f84_when_the_process_with_the_worker_is_killed_another_takes_over(
    app: Flask, anna: Browser, sipgate: Simulator, start_server: Start, tmp_path: Path
) -> None:
    server, database = start_server(WEB_PROCESSES="2"), tmp_path / "app.sqlite"
    first = send_to_many(anna, 5)
    wait_until(lambda: counts(anna, first) == {"accepted": 5}, seconds=START_S)
    [carrier] = carriers(server, database)
    other = next(pid for pid in server.children() if pid != carrier)
    os.kill(carrier, signal.SIGKILL)
    killed_at = time.monotonic()
    second = send_to_many(anna, 5, "After the kill")
    wait_until(lambda: counts(anna, second) == {"accepted": 5}, seconds=TAKEN_OVER_S)
    assert time.monotonic() - killed_at < TAKEN_OVER_S
    [successor] = carriers(server, database)
    assert successor != carrier
    assert other in server.children()
    assert set(arrived(sipgate).values()) == {2}
    files = sorted(tmp_path.glob("app.sqlite.*"))
    names = {one.name for one in files}
    assert {f"app.sqlite.{name}" for name in ("worker", "writing", "next", "queue")} <= names
    assert not [one.name for one in files if one.stat().st_mode & 0o077]


@pytest.mark.sqlite
@pytest.mark.slow  # starts a process
def test_f85_while_a_process_stands_still_in_a_write_others_say_so_and_then_go_on(
    app: Flask, anna: Browser, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = send_to_many(anna, 2)
    form = anna.compose(recipient="+491713920050", message="While it stands still")
    point = "frozen: before the claim's commit"
    worker = start("tests.support.killed_at", point, LONE_WORKER, SEND_CONCURRENCY="1")
    wait_until(lambda: is_stopped(worker), seconds=START_S)
    monkeypatch.setattr(session, "BUSY_MS", 500)
    began = time.monotonic()
    busy = anna.post("/messages", form, status=503)
    assert time.monotonic() - began < 5, "it waited for SQLite's own lock"
    assert "While it stands still" in busy.soup.get_text()
    anna.get("/messages")  # whoever only reads waits for nobody
    monkeypatch.undo()
    assert worker.pid
    os.kill(worker.pid, signal.SIGCONT)
    expect(anna, anna.post("/messages", form, status=303), "accepted")
    wait_until(lambda: sum(counts(anna, page).values()) == 2, seconds=START_S)
    put_clocks_back(app)
    work(app)
    assert not set(counts(anna, page)) & {"sending", "unknown"}


def is_stopped(program: Program) -> bool:
    assert program.is_running, program.log.read_text()
    return Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


TAKE_TURNS = """
import sys, time
from webapp.database.turns import writers_turn
ends_at, count = time.monotonic() + 3, 0
while time.monotonic() < ends_at:
    with writers_turn(sys.argv[1], ends_at + 10):
        time.sleep(0.001)
    count += 1
print(count)
"""


@pytest.mark.slow  # starts three processes
def test_processes_that_write_without_a_pause_all_get_their_turn(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TAKE_TURNS, str(tmp_path / "some.sqlite")]
    started = [
        subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    found = [int(one.communicate(timeout=60)[0]) for one in started]
    assert min(found) > sum(found) / 10, found


# --- F86 ----------------------------------------------------------------------------------------

REDIS_URL = "redis://sms:Zq7-secret@127.0.0.1:1/0"
SAID = "REDIS_URL is still set"


def test_f86_what_waited_in_redis_is_found_by_a_sweep_and_people_are_told(
    make_app: MakeApp, either_url: str, sipgate: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    before = make_app(DATABASE_URL=either_url)
    anna = Browser(before, sipgate)
    anna.sign_in("anna")
    page = send_to_many(anna, 5)
    tasks.queue.storage.flush_queue()  # the wake-ups of before are where nobody looks
    app = make_app(DATABASE_URL=either_url, REDIS_URL=REDIS_URL)
    assert [one.levelname for one in caplog.records if SAID in one.getMessage()] == ["WARNING"]
    assert "Zq7" not in caplog.text
    put_clocks_back(app)
    work(app)
    assert counts(anna, page) == {"accepted": 5}
    assert set(arrived(sipgate).values()) == {1}
    assert SAID not in anna.get("/operator").text
    anna.client.application = app
    shown = anna.get("/operator")
    assert SAID in shown.text
    assert "Zq7" not in shown.response.get_data(as_text=True)


@pytest.mark.sqlite
@pytest.mark.slow  # starts a server
def test_f86_the_server_starts_with_it_and_sends_what_waited(
    app: Flask, anna: Browser, sipgate: Simulator, start_server: Start
) -> None:
    page = send_to_many(anna, 5)
    tasks.queue.storage.flush_queue()
    put_clocks_back(app)
    server = start_server(REDIS_URL=REDIS_URL)
    wait_until(lambda: counts(anna, page) == {"accepted": 5}, seconds=START_S)
    assert set(arrived(sipgate).values()) == {1}
    said = server.log.read_text()
    assert SAID in said
    assert "Zq7" not in said
