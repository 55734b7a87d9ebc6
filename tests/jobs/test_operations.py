"""What an operator sees of a running server: its numbers and its log."""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ON_POSTGRESQL, MakeApp, make_empty_database, values_for
from tests.support.pages import Browser
from tests.support.real_servers import (
    Client,
    free_port,
    running,
    running_server,
    running_worker,
    wait_for,
)
from webapp.config import PROJECT, Settings
from webapp.database import beside_database
from webapp.simulator import Simulator
from webapp.telemetry import metrics

# One real server with its worker is started for all of them, in one process: see `TOGETHER`.
pytestmark = pytest.mark.slow

TOKEN = "a-word-that-only-the-operators-prometheus-knows"
TEXT = "Geheimer Befund 4711"
NUMBERS = ("+491713920050", "+491713920006", "+491713920001")
OWNER = {"SIPGATE_TOKEN_ID": "token-AB12CD"}
OWNER |= {"SIPGATE_TOKEN": "3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10"}


@dataclass(frozen=True)
class Seen:
    """What remains of a server after an hour's work, in short."""

    numbers: dict[tuple[str, ...], float]
    log: str
    lines: list[dict[str, Any]]
    planned_id: str
    secrets: list[str]
    answers: dict[str, Any]


@pytest.fixture(scope="module")
def seen(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("operations")
    port = free_port()
    url = f"http://localhost:{port}"
    make_empty_database(folder / "app.sqlite")
    values = values_for(
        simulator,
        folder / "app.sqlite",
        PUBLIC_URL=url,
        PORT=str(port),
        TRUSTED_PROXY_HOPS="0",
        METRICS_TOKEN=TOKEN,
        **OWNER,
    )
    simulator.reset()
    registered = simulator.world.client
    simulator.world.client = replace(registered, redirect_uris=(f"{url}/auth/callback",))
    app = Flask(__name__, instance_path=str(PROJECT / "instance"))
    app.config["SETTINGS"] = Settings.from_mapping(values)
    counted = Path(beside_database(app, "metrics"))
    counted.mkdir()
    left_behind = counted / f"counter_{metrics._host()}-999999999.db"
    left_behind.write_bytes(b"of a process that ended")
    try:
        with ExitStack() as stack:
            stack.enter_context(running_server(values, folder / "log"))
            if ON_POSTGRESQL:
                stack.enter_context(running_worker(values, folder / "log"))
            return visit(simulator, Client(url), folder, values)
    finally:
        simulator.world.client = registered
        simulator.reset()


def visit(simulator: Simulator, anna: Client, folder: Path, values: dict[str, str]) -> Seen:
    """Send at once, to many, and from the command line; then read everything there is."""
    anna.sign_in()
    for number in NUMBERS:
        assert anna.send(number, TEXT).ok
    soon = f"{datetime.now(UTC) + timedelta(minutes=5):%Y-%m-%dT%H:%M}"
    question = anna.send("0176 04069001, 0176 04069002", TEXT, send_at=soon, time_zone="UTC")
    batch = anna.send(
        "0176 04069001, 0176 04069002",
        TEXT,
        send_at=soon,
        time_zone="UTC",
        confirm=re.findall(r'name="confirm" value="([^"]+)"', question.text)[0],
    )
    until_sent(simulator, 5)
    subprocess.run(
        [sys.executable, "-m", "flask", "--app", "webapp", "sms", "send"]
        + ["--from", "s0", "--to", "+491713920051", "--text", TEXT],
        cwd=PROJECT,
        env={**os.environ, **values},
        capture_output=True,
        check=True,
    )
    anna.get(f"/nowhere/{TEXT}?q={NUMBERS[0]}")
    anna.get(f"/messages/{NUMBERS[0]}?q={TEXT}")
    answers = {
        "none": anna.get("/metrics"),
        "wrong": anna.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}),
        "right": anna.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}),
        "forged": anna.get("/about", headers={"X-Request-ID": "forged-by-a-client"}),
    }
    log = (folder / "log").read_text()
    rest = [line for line in log.splitlines() if line.startswith("{")]
    grants = simulator.world.grants
    return Seen(
        numbers=samples(answers["right"].text),
        log=log,
        lines=[json.loads(line) for line in rest],
        planned_id=re.findall(r'href="/messages/([0-9a-f]{32})"', batch.text)[0],
        secrets=[*grants.refresh_tokens, *grants.access_tokens, TOKEN, *OWNER.values()]
        + [values["SECRET_KEY"], values["SIPGATE_CLIENT_SECRET"]]
        + [str(cookie.value) for cookie in anna.session.cookies],
        answers=answers,
    )


def until_sent(simulator: Simulator, count: int) -> None:
    ends_at = time.monotonic() + 15
    while len(simulator.world.arrivals) < count:
        assert time.monotonic() < ends_at, "the worker did not send"
        time.sleep(0.05)
    time.sleep(0.3)  # its outcomes are written


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Counts by name and the labels' values, without the buckets of histograms."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


# --- Numbers ------------------------------------------------------------------------------------


def test_there_are_no_numbers_without_the_setting(stranger: Browser) -> None:
    stranger.get("/metrics", status=404)
    stranger.get("/metrics", status=404, headers={"Authorization": "Bearer "})


def test_numbers_are_for_whoever_knows_the_word(seen: Seen) -> None:
    assert seen.answers["none"].status_code == 401
    assert seen.answers["wrong"].status_code == 401
    assert seen.answers["wrong"].headers["WWW-Authenticate"] == "Bearer"
    assert "team_sms" not in seen.answers["wrong"].text
    assert seen.answers["right"].status_code == 200
    assert seen.answers["right"].headers["Content-Type"].startswith("text/plain; version=")


def test_messages_are_counted_by_outcome_over_all_processes(seen: Seen) -> None:
    """One each from the page; two from the worker; one from the command line, which has ended."""
    counts = {key[1]: n for key, n in seen.numbers.items() if key[0] == "team_sms_messages_total"}
    assert counts == {"accepted": 2, "unknown": 1, "refused": 1, "scheduled": 2}


def test_requests_are_counted_by_endpoint_method_and_class_of_status(seen: Seen) -> None:
    name = "team_sms_request_seconds_count"
    assert seen.numbers[name, "compose.create", "POST", "3xx"] == 4
    assert seen.numbers[name, "compose.create", "POST", "4xx"] == 1
    assert seen.numbers[name, "none", "GET", "4xx"] == 1
    assert seen.numbers["team_sms_request_seconds_sum", "compose.create", "POST", "3xx"] > 0


def test_calls_to_sipgate_are_counted_by_operation_without_ids(seen: Seen) -> None:
    name = "team_sms_upstream_seconds_count"
    assert seen.numbers[name, "POST /sessions/sms", "2xx"] == 4
    assert seen.numbers[name, "POST /sessions/sms", "4xx"] == 1
    assert seen.numbers[name, "POST /sessions/sms", "5xx"] == 1
    assert seen.numbers[name, "GET /{id}/sms", "2xx"] >= 1
    assert seen.numbers[name, "token", "2xx"] == 1


def test_no_label_holds_an_id_a_number_or_a_path(seen: Seen) -> None:
    labels = {label for key in seen.numbers for label in key[1:]}
    assert not [label for label in labels if re.search(r"\d{3}|[0-9a-f]{16}|\?", label)]


def test_a_fault_in_counting_changes_nothing(
    make_app: MakeApp, sipgate: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    app: Flask = make_app()
    app.extensions["metrics"] = "no instruments"
    anna = Browser(app, sipgate)
    anna.sign_in()
    assert anna.twin(anna.send())["outcome"] == "accepted"
    assert "something could not be counted" in caplog.text


# --- The log ------------------------------------------------------------------------------------


def test_every_request_is_one_line_with_its_facts(seen: Seen) -> None:
    [line] = [one for one in seen.lines if one.get("path") == "/about"]
    assert (line["method"], line["endpoint"], line["status"]) == ("GET", "help.about", 200)
    assert line["member"] == 1
    assert isinstance(line["ms"], int)
    assert datetime.fromisoformat(line["time"]).tzinfo is not None
    assert len([one for one in seen.lines if one.get("endpoint") == "compose.create"]) == 5


def test_a_client_cannot_choose_its_request_id(seen: Seen) -> None:
    answered = seen.answers["forged"].headers["X-Request-ID"]
    assert answered != "forged-by-a-client"
    [line] = [one for one in seen.lines if one.get("path") == "/about"]
    assert line["request_id"] == answered


def test_a_text_can_be_followed_by_its_id_from_the_page_to_the_worker(seen: Seen) -> None:
    about = [one for one in seen.lines if one.get("message_id") == seen.planned_id]
    events = [one["event"] for one in about]
    assert events[0] == f"message {seen.planned_id} was taken as held"
    assert any(event.startswith("POST /sessions/sms 2") for event in events)
    assert events[-1].startswith(f"message {seen.planned_id} to ")
    assert "scheduled" in events[-1]
    web = {one["request_id"] for one in about if one.get("request_id")}
    [request] = [one for one in seen.lines if one.get("request_id") in web and "path" in one]
    assert (request["endpoint"], request["status"]) == ("compose.create", 303)


def test_nothing_secret_is_in_the_log(seen: Seen) -> None:
    assert len(seen.secrets) > 6
    assert seen.log.count("\n") > 20
    spaced = [f"{number[:3]} {number[3:6]} {number[6:]}" for number in NUMBERS]
    for secret in (TEXT, "Befund", *NUMBERS, *(n[1:] for n in NUMBERS), *spaced, *seen.secrets):
        assert secret not in seen.log


def test_all_but_the_first_line_is_json(seen: Seen) -> None:
    other = [line for line in seen.log.splitlines() if not line.startswith("{")]
    assert len(other) == 1
    assert other[0].startswith("Team SMS on http://")


@pytest.mark.parametrize(
    ("given", "is_taken"),
    [("3f2a9c0d1e4b5a69", True), ("short", False), ("with blank in it", False), ("x" * 65, False)],
)
def test_a_trusted_proxys_request_id_is_taken_over_if_it_looks_like_one(
    make_app: MakeApp, sipgate: Simulator, given: str, is_taken: bool
) -> None:
    browser = Browser(make_app(TRUSTED_PROXY_HOPS="1"), sipgate)
    page = browser.get("/about", headers={"X-Request-ID": given})
    assert (page.response.headers["X-Request-ID"] == given) == is_taken


# --- F75: a full disk ---------------------------------------------------------------------------


@pytest.mark.parametrize("full", ["at the start", "later"])
def test_f75_a_full_disk_where_numbers_are_kept_changes_nothing_else(
    simulator: Simulator, tmp_path: Path, full: str
) -> None:
    """A disk of 1 MB holds the numbers, and a file that leaves no room for more."""
    port = free_port()
    url = f"http://localhost:{port}"
    changed = {"PUBLIC_URL": url, "PORT": str(port), "TRUSTED_PROXY_HOPS": "0"}
    changed |= {"DATABASE_URL": f"sqlite:///{tmp_path}/app.sqlite", "METRICS_TOKEN": TOKEN}
    values = values_for(simulator, tmp_path / "app.sqlite", **changed)
    disk = tmp_path / "app.sqlite.metrics"
    disk.mkdir(mode=0o700)
    mount = f"mount -t tmpfs -o size=1m none {disk}"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("this kernel lets nobody here mount anything in a namespace")
    fill = f"dd if=/dev/zero of={disk}/full bs=4k status=none"
    inside = f"{mount} && {fill + '; ' if full == 'at the start' else ''}exec {sys.executable} -m "
    simulator.reset()
    registered = simulator.world.client
    simulator.world.client = replace(registered, redirect_uris=(f"{url}/auth/callback",))
    log = tmp_path / "log"
    try:
        command = ["unshare", "--mount", "sh", "-c", f"{inside} webapp.server"]
        with running(command, log, values) as pid:
            wait_for(f"{url}/healthz", log)
            there = ["nsenter", "--mount", f"--target={pid}", "sh", "-c", fill]
            subprocess.run(there, capture_output=True, check=False)
            anna = Client(url)
            anna.sign_in()
            pages = [anna.send(NUMBERS[0], f"{TEXT} {n}") for n in range(3)]
            # Every label that is new asks for room.
            for path in ("/messages", "/senders", "/sessions", "/help", "/about", "/nowhere"):
                assert anna.get(path).status_code in (200, 404)
            counted = anna.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    finally:
        simulator.world.client = registered
    assert [page.status_code for page in pages] == [200] * 3
    assert all("Accepted by sipgate" in page.text for page in pages)
    assert len(simulator.world.arrivals) == 3
    simulator.reset()
    assert counted.status_code == 200
    assert "nothing can be counted" in log.read_text()
