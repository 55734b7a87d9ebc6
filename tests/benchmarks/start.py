"""What it costs to start, to stand there, and to carry the pages."""

import gzip
import re
import statistics
import time
from pathlib import Path

from tests.benchmarks import client, people, rows
from tests.benchmarks.serving import Place, Use, serving_pid, use_of
from tests.benchmarks.table import Table
from tests.chaos.processes import Program
from tests.support import servers
from webapp import create_app
from webapp.config import PROJECT
from webapp.database.installation import register_location
from webapp.database.schema import upgrade_schema

PAGES = {
    "welcome (signed out)": "",
    "form": "/",
    "history, 50 messages": "/messages",
    "extensions": "/extensions",
    "help": "/help",
}
LOAD = 1000


def measure(place: Place, rounds: int) -> Table:
    table = Table("Start, memory, bytes")
    _start(place, table, rounds)
    _memory(place, table)
    _bytes(place, table)
    return table


def _start(place: Place, table: Table, rounds: int) -> None:
    taken: dict[str, list[float]] = {"first": [], "again": [], "bare": []}
    for turn in range(rounds):
        values = place.settings(f"start-{turn}")
        for name in ("first", "again"):
            taken[name].append(_seconds_to_first_page(place, values, "tests.benchmarks.authority"))
        taken["bare"].append(_seconds_to_first_page(place, values, "tests.benchmarks.bare"))
    bare = statistics.median(taken["bare"])
    for name, what in (("first", "with an empty database"), ("again", "with its database")):
        table.add(f"start to first page, {what}", f"{client.spread(taken[name])} s", "")
    ratio = statistics.median(taken["again"]) / bare
    table.add("start / start of the bare app", f"{ratio:.2f}", f"bare {bare:.2f} s")


def _seconds_to_first_page(place: Place, values: dict[str, str], module: str) -> float:
    """From the start of Python until the page has come."""
    program = Program(module, [], values, place.folder / "start.log")
    path = "/form" if module.endswith("bare") else "/"
    at = client.Connection(values["PUBLIC_URL"])
    began = time.monotonic()
    program.start()
    try:
        while True:
            try:
                assert at.ask(client.get(path, {"Host": "127.0.0.1"})).status == 200
                return time.monotonic() - began
            except ConnectionError:
                at.close()
                assert program.is_running, program.log.read_text()[-500:]
                time.sleep(0.005)
    finally:
        at.close()
        program.end()


def _memory(place: Place, table: Table) -> None:
    values = place.settings("memory")
    server = place.app(values)
    bare, bare_url = place.bare(values)
    app = create_app(values)
    members = people.sign_in(app, 20)
    at, bare_at = client.Connection(values["PUBLIC_URL"]), client.Connection(bare_url)
    for person in members:
        at.ask(client.get("/", person.headers))
        bare_at.ask(client.get("/form", {"Host": "127.0.0.1"}))
    pid = serving_pid(server)
    _tell_use(table, "web process with its worker, after 20 pages", use_of(pid))
    place.upstream.reset(20)
    numbers = people.numbers()
    sends = [people.send_request(app, members[n % 20], next(numbers)) for n in range(LOAD)]
    client.stream(values["PUBLIC_URL"], sends, 64)
    _tell_use(table, f"the same, after {LOAD} more sends, 64 at once", use_of(pid))
    _tell_use(table, "gunicorn's own process beside it", use_of(int(server.pid or 0)))
    _tell_use(table, "the bare app's process, after 20 pages", use_of(serving_pid(bare)))
    server.end()
    bare.end()
    _worker_memory(place, table)


def _worker_memory(place: Place, table: Table) -> None:
    database = f"memory{time.monotonic_ns()}"
    servers.postgresql().create(database)
    values = place.settings("unused", DATABASE_URL=servers.postgresql().url(database))
    app = create_app(values)
    with app.app_context():
        upgrade_schema()
        register_location()
    person = people.sign_in(app, 1)[0]
    worker = place.start(Program("webapp.worker", [], values, place.folder / "worker.log"))
    time.sleep(3)
    _tell_use(table, "worker of its own (PostgreSQL), after its start", use_of(worker.pid or 0))
    place.upstream.reset(20)
    rows.wake(app, rows.queue_batches(app, person, LOAD, 100))
    until = time.monotonic() + 120
    while rows.outcomes(app).get("accepted", 0) < LOAD and time.monotonic() < until:
        time.sleep(0.2)
    _tell_use(table, f"the same, after {LOAD} messages", use_of(worker.pid or 0))
    worker.end()


def _tell_use(table: Table, what: str, use: Use) -> None:
    table.add(what, f"{use.pss_mb:.0f} MB", f"resident {use.rss_mb:.0f} MB")


def _bytes(place: Place, table: Table) -> None:
    values = place.settings("bytes")
    place.app(values)
    app = create_app(values)
    person = people.sign_in(app, 1)[0]
    others = people.sign_in(app, 9)
    rows.fill_history(app, 1000, person, others)
    at = client.Connection(values["PUBLIC_URL"])
    for name, path in PAGES.items():
        headers = person.headers if path else {"Host": "127.0.0.1"}
        page = at.ask(client.get(path or "/", headers)).body
        scripts = re.findall(rb'<script[^>]* src="/static/[0-9a-f]+/([^"]+)', page)
        styles = re.findall(rb'<link rel="stylesheet" href="/static/[0-9a-f]+/([^"]+)', page)
        parts = {"HTML": page, "CSS": _files(styles), "JavaScript": _files(_with_imports(scripts))}
        beside = ", ".join(f"{kind} {len(data):,}" for kind, data in parts.items())
        packed = sum(len(gzip.compress(data)) for data in parts.values() if data)
        total = sum(map(len, parts.values()))
        table.add(f"bytes of {name}", f"{total:,}", f"{beside}; packed (gzip) {packed:,}")


def _with_imports(scripts: list[bytes]) -> list[bytes]:
    """These scripts and what they import, each once."""
    found = dict.fromkeys(scripts)
    waiting = list(found)
    while waiting:
        imported = re.findall(rb'from "\./([^"]+)"', _files([waiting.pop()]))
        waiting += [name for name in imported if name not in found]
        found |= dict.fromkeys(imported)
    return list(found)


def _files(names: list[bytes]) -> bytes:
    return b"".join((Path(PROJECT) / "static" / name.decode()).read_bytes() for name in names)
