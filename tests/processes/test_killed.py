"""Processes that are killed, stopped or told to end while they send; the ledger is the judge."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support import servers
from tests.support.killed_at import FROZEN_LIMIT_S
from tests.support.pages import Browser
from tests.support.raw_servers import cookie_of, expect, wait_until
from tests.support.worker import (
    LONE_WORKER,
    arrived,
    counts,
    put_clocks_back,
    send_to_many,
    work,
)
from webapp.database import db, transaction
from webapp.database.models import KeptAnswer, Message, TokenSet
from webapp.messages import sending, sweep
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator
from webapp.sipgate import SEND_DEADLINE_S, transport

SIGKILLED = -signal.SIGKILL
START_S = 30
"""Longer than a process takes to start on a busy machine."""
FULL = 2
"""What SQLite calls `synchronous=FULL`."""


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path, sipgate: Simulator, either_url: str) -> Iterator[Start]:
    """Start one of our programs on this test's database; whatever happens, it is ended."""
    started: list[Program] = []

    def start(module: str, *options: str, **changed: str) -> Program:
        values = values_for(sipgate, tmp_path, DATABASE_URL=either_url, **changed)
        program = Program(module, list(options), values, tmp_path / f"{len(started)}.log")
        started.append(program)
        program.start()
        return program

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url)


def has_ended(program: Program) -> Callable[[], bool]:
    return lambda: not program.is_running


on_sqlite = pytest.mark.parametrize("either_url", ["sqlite"], indirect=True)
"""Where the database does not matter, and a server takes long to start."""

AT = {
    "before the claim's commit": (Counter(accepted=3), 3),
    "after the claim's commit": (Counter(accepted=2, unknown=1), 2),
    "connected": (Counter(accepted=2, unknown=1), 2),
    "written": (Counter(accepted=2, unknown=1), 3),
    "answered": (Counter(accepted=2, unknown=1), 3),
    "after the result's commit": (Counter(accepted=3), 3),
    # The second one's outcome, and the claim of the third.
    "between a result and the next claim": (Counter(accepted=2, unknown=1), 3),
    "before the commit of both": (Counter(accepted=2, unknown=1), 3),
    "after the commit of both": (Counter(accepted=2, unknown=1), 2),
}
"""What becomes of three messages when their worker dies there, and how many arrive."""


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize("point", AT)
def test_f44_killed_at_any_point_no_message_is_doubled_or_lost(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, point: str
) -> None:
    page = send_to_many(anna, 3)
    worker = start("tests.support.killed_at", point, LONE_WORKER, SEND_CONCURRENCY="1")
    wait_until(has_ended(worker), seconds=START_S)
    assert worker.exit_code == SIGKILLED, worker.log.read_text()
    outcomes, texts = AT[point]
    assert sum(counts(anna, page).values()) == 3
    put_clocks_back(app)
    work(app)
    assert counts(anna, page) == outcomes
    wait_until(lambda: len(arrived(sipgate)) == texts)
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.slow  # starts a process
def test_f46_told_to_end_the_worker_finishes_its_message_and_takes_no_other(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    page = send_to_many(anna, 4)
    sipgate.fail_next("send", Fault(delay_s=1.5, deliver=True))
    worker = start(LONE_WORKER, SEND_CONCURRENCY="1")
    wait_until(lambda: sipgate.world.calls["send"] == 1, seconds=START_S)
    told_at = time.monotonic()
    worker.end()
    assert time.monotonic() - told_at < 25
    assert worker.exit_code == 0, worker.log.read_text()
    assert counts(anna, page) == {"accepted": 1, "queued": 3}
    assert sum(arrived(sipgate).values()) == 1
    put_clocks_back(app)
    work(app)
    assert counts(anna, page) == {"accepted": 4}
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.slow  # starts a process
def test_f48_a_worker_that_hangs_is_noticed_and_its_message_becomes_unknown(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    page = send_to_many(anna, 2)
    sipgate.fail_next("send", Fault(delay_s=1, deliver=True))
    worker = start(LONE_WORKER, SEND_CONCURRENCY="1")
    wait_until(lambda: sipgate.world.calls["send"] == 1, seconds=START_S)
    with stopped(worker):
        assert "is not running" not in anna.get(page.path).soup.get_text().lower()
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=60), tick=True):
            assert "is not running" in anna.get(page.path).soup.get_text().lower()
            anna.get("/readyz", status=503)
        put_clocks_back(app)
        anna.get(page.path)
        assert counts(anna, page) == {"unknown": 1, "queued": 1}
    # Awake again, it finds its message settled, and goes on with the next one.
    wait_until(lambda: counts(anna, page) == {"unknown": 1, "accepted": 1}, seconds=START_S)
    assert sorted(arrived(sipgate).values()) == [1, 1]


@pytest.mark.slow  # starts a process, and waits until a claim is too old
@pytest.mark.parametrize("point", ["after the claim's commit", "connecting"])
def test_f68_a_worker_frozen_before_its_request_does_not_begin_it_when_it_wakes(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, point: str
) -> None:
    page = send_to_many(anna, 2)
    worker = start("tests.support.killed_at", f"frozen: {point}", LONE_WORKER, SEND_CONCURRENCY="1")
    with frozen_by_itself(worker):
        put_clocks_back(app)
        assert counts(anna, anna.get(page.path)) == {"unknown": 1, "queued": 1}
        with app.app_context():
            id_ = db.session.scalar(sa.select(Message.id).where(Message.outcome == Outcome.UNKNOWN))
        given_up = anna.get(f"/messages/{id_}")
        anna.press(given_up, f"{given_up.path}/settle", outcome="not_sent")
        again = anna.get(f"{given_up.path}/again")
        asked = anna.post("/messages", again.fields(), status=None)
        if asked.status == 409:
            button = asked.soup.select_one("main button[name=confirm]")
            assert button is not None
            answer = {**asked.fields(), "confirm": str(button["value"])}
            asked = anna.post("/messages", answer, status=303)
        expect(anna, asked, "accepted")
    # Awake again, it leaves alone what is not its any more, and goes on with the next one.
    wait_until(lambda: counts(anna, page) == {"not_sent": 1, "accepted": 1}, seconds=START_S)
    assert sorted(arrived(sipgate).values()) == [1, 1]


@pytest.mark.slow  # starts a process, and waits until a claim is too old
def test_f68_a_worker_frozen_for_a_while_puts_back_what_is_still_its_own(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start
) -> None:
    page = send_to_many(anna, 2)
    worker = start(
        "tests.support.killed_at", "frozen: connecting", LONE_WORKER, SEND_CONCURRENCY="1"
    )
    with frozen_by_itself(worker):
        assert counts(anna, page) == {"sending": 1, "queued": 1}
        anna.press(anna.get(page.path), f"{page.path}/stop")
    wait_until(lambda: counts(anna, page) == {"paused": 2}, seconds=START_S)
    assert sipgate.world.arrivals == []
    anna.press(anna.get(page.path), f"{page.path}/resume")
    put_clocks_back(app)
    work(app)
    wait_until(lambda: counts(anna, page) == {"accepted": 2}, seconds=START_S)
    assert sorted(arrived(sipgate).values()) == [1, 1]


@contextmanager
def frozen_by_itself(program: Program) -> Iterator[None]:
    """From when it has stopped at its point, for longer than a claim may be old."""
    wait_until(lambda: state_of(program) == "T", seconds=START_S)
    frozen_at = time.monotonic()
    yield
    time.sleep(max(0, frozen_at + FROZEN_LIMIT_S + 0.5 - time.monotonic()))
    assert program.pid
    os.kill(program.pid, signal.SIGCONT)


def state_of(program: Program) -> str:
    """As `ps` shows it: `T` is stopped."""
    assert program.is_running, program.log.read_text()
    return Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[0]


@on_sqlite
def test_f68_a_request_begins_within_its_time_or_not_at_all(
    app: Flask, anna: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have their own look: the first request, and the one after a 401."""
    monkeypatch.setattr(sending, "AGAIN_WITHIN_S", -1.0)
    sipgate.fail_next("send", Fault(401))
    expect(anna, anna.send(), "not_sent", "not_in_time", says="so nothing was sent")
    assert sipgate.world.calls["send"] == 1
    expect(anna, anna.send("+491713920051"), "accepted")
    monkeypatch.setattr(sending, "BEGIN_WITHIN_S", -1.0)
    expect(anna, anna.send("+491713920052"), "not_sent", "not_in_time", says="Send again")
    assert sipgate.world.calls["send"] == 2


def test_f68_no_claim_is_given_up_while_its_request_may_still_be_under_way() -> None:
    longest = sending.AGAIN_WITHIN_S + SEND_DEADLINE_S
    longest += sum(sending.SAVE_AGAIN_AFTER_S)
    assert sending.BEGIN_WITHIN_S <= sending.AGAIN_WITHIN_S
    assert timedelta(seconds=longest) < sweep.STALE_AFTER


def test_f68_a_claims_age_counts_while_the_machine_sleeps() -> None:
    assert abs(transport.steady_s() - time.clock_gettime(time.CLOCK_BOOTTIME)) < 1


@contextmanager
def stopped(program: Program) -> Iterator[None]:
    """As if it hung: it is there, and does nothing."""
    assert program.pid
    os.kill(program.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(program.pid, signal.SIGCONT)


@pytest.mark.slow  # starts a process
def test_f58_after_a_power_cut_all_that_was_committed_is_there(
    app: Flask, anna: Browser, sipgate: Simulator, start: Start, either_url: str
) -> None:
    page = send_to_many(anna, 30)
    sipgate.world.fail_always("send", Fault(delay_s=0.02, deliver=True))
    worker = start(LONE_WORKER, SEND_CONCURRENCY="2")
    wait_until(lambda: counts(anna, page)["accepted"] >= 5, seconds=START_S)
    before = counts(anna, page)["accepted"]
    cut_the_power(worker, either_url)
    left = counts(anna, page)
    assert sum(left.values()) == 30
    assert left["accepted"] >= before
    assert left["sending"] <= 2
    put_clocks_back(app)
    work(app)
    end = counts(anna, page)
    assert (end["accepted"] + end["unknown"], end["unknown"]) == (30, left["sending"])
    assert set(arrived(sipgate).values()) == {1}


def cut_the_power(worker: Program, url: str) -> None:
    """SIGKILL everything at once: the worker, and PostgreSQL with all its processes."""
    worker.kill()
    if url.startswith("postgresql"):
        servers.postgresql().crash()
        servers.postgresql().start()


def test_f58_a_commit_is_on_the_disk_before_it_is_answered(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        if db.engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == FULL
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


# --- The web server -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """The address at which a real server will answer, and a browser that is signed in there."""

    url: str
    app: Flask
    anna: Browser

    @property
    def settings(self) -> dict[str, str]:
        return {
            "PUBLIC_URL": self.url,
            "HOST": "127.0.0.1",
            "PORT": self.url.rpartition(":")[2],
            "TRUSTED_PROXY_HOPS": "0",
        }

    def is_up(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthz", timeout=2).ok
        except requests.RequestException:
            return False

    def ask(self, method: str, path: str, data: dict[str, str] | None = None) -> int | None:
        """The status that Anna's browser gets of the real server; None for a broken connection."""
        name, value = cookie_of(self.anna)
        try:
            answer = requests.request(
                method,
                self.url + path,
                data=data,
                cookies={name: value},
                timeout=40,
                allow_redirects=False,
            )
        except requests.RequestException:
            return None
        return answer.status_code


@pytest.fixture
def site(make_app: MakeApp, sipgate: Simulator, either_url: str) -> Iterator[Site]:
    url = f"http://localhost:{servers.free_port()}"
    usual = sipgate.world.client
    sipgate.world.client = replace(usual, redirect_uris=(f"{url}/auth/callback",))
    app = make_app(DATABASE_URL=either_url, PUBLIC_URL=url, TRUSTED_PROXY_HOPS="0")
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    yield Site(url, app, anna)
    sipgate.world.client = usual


@pytest.mark.slow  # starts a server
@on_sqlite
def test_f30_killed_between_a_refresh_and_its_saving_asks_to_sign_in_and_keeps_what_waits(
    site: Site, sipgate: Simulator, start: Start
) -> None:
    anna = site.anna
    send_at = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    page = anna.send_and_look(send_at=send_at, time_zone="UTC")
    with site.app.app_context(), transaction() as rows:
        rows.execute(sa.delete(KeptAnswer))  # so that the page asks sipgate
    sipgate.world.expire_access_tokens()
    server = start("tests.support.killed_at", "refresh answered", "webapp.server", **site.settings)
    wait_until(site.is_up, seconds=START_S)
    assert site.ask("GET", "/extensions") is None, "the process was not killed"
    assert sipgate.world.calls["token_refresh"] == 1
    server.end()
    with site.app.app_context(), transaction() as rows:
        rows.execute(sa.update(TokenSet).values(lease_until=now()))  # its holder is dead
    assert "Sign in again" in anna.get("/extensions", status=401).text
    work(site.app)
    anna.sign_in("anna")
    assert anna.twin(page)["outcome"] == "paused"
    assert arrived(sipgate) == {}
    anna.press(anna.get(page.path), f"{page.path}/reschedule", when="now")
    work(site.app)
    assert anna.twin(page)["outcome"] == "accepted"
    assert sum(arrived(sipgate).values()) == 1


@pytest.mark.slow  # starts a server, twice
@on_sqlite
def test_f43_a_server_that_is_told_to_end_answers_or_breaks_and_no_form_is_lost(
    site: Site, sipgate: Simulator, start: Start
) -> None:
    for round_ in range(2):
        numbers = [f"+49171392{round_}{n:03d}" for n in range(300, 308)]
        forms = [site.anna.compose(recipient=number, message="Hello") for number in numbers]
        server = start("webapp.server", **site.settings)
        wait_until(site.is_up, seconds=START_S)
        sipgate.world.fail_always("send", Fault(delay_s=0.2, deliver=True))
        posts = [partial(site.ask, "POST", "/messages", form) for form in forms]
        with ThreadPoolExecutor(len(posts) + 1) as pool:
            answers = [pool.submit(post) for post in posts]
            time.sleep(0.2 * round_)
            server.end()
        assert {answer.result() for answer in answers} <= {303, None}
        sipgate.world.clear_faults()
        for form, answer, number in zip(forms, answers, numbers, strict=True):
            assert arrived(sipgate)[number] == 1 or answer.result() is None, (
                "answered, but never sent"
            )
            # Whoever saw an error sends the form again: it is the same message, or a first one.
            expect(site.anna, site.anna.post("/messages", form), "accepted")
            assert arrived(sipgate)[number] == 1
