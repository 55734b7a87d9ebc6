"""The worker with long queues: its pace, its memory, whether a message's cost stays flat, and what
it costs beside a Celery task."""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flask import Flask

from tests.benchmarks import people, rows
from tests.benchmarks.peer import NotThere, Peer
from tests.benchmarks.serving import Place, Use, serving_pid, use_of
from tests.benchmarks.table import Table
from tests.chaos.processes import Program
from tests.support import servers
from webapp import create_app
from webapp.database.installation import register_location
from webapp.database.schema import upgrade_schema

DELAY_MS = 100
BATCH = 100
"""What a form takes."""
MAX_GROWTH_MB = 50
PARTS = 5
AT_ONCE = 500
"""Messages a turn, where turns are compared."""
MOST_CPU_MS = 1.25
LEAST_SHARE = {"SQLite": 0.93, "PostgreSQL": 0.9}
LEAST_LONG_SHARE = 0.9
LONG = 10_000


@dataclass(slots=True)
class Run:
    """What one queue took."""

    took_s: float
    before: Use
    after: Use
    most_mb: float = 0.0
    cpu_ms: list[float] = field(default_factory=list)
    """Processor time a message in each fifth of the queue."""
    pace: list[float] = field(default_factory=list)
    """Messages a second in each fifth."""


def measure(
    place: Place,
    sizes: list[int],
    concurrency: int,
    rounds: int,
    *,
    databases: list[str],
) -> Table:
    table = Table(f"The worker, {DELAY_MS} ms upstream, SEND_CONCURRENCY {concurrency}")
    for database in databases:
        make = _on_sqlite if database == "sqlite" else _on_postgresql
        app, person, worker = make(place, concurrency)
        name = (
            "SQLite, inside the server" if database == "sqlite" else "PostgreSQL, its own process"
        )
        _run(place, app, person, worker, 200, BATCH)  # warm

        def cpu_ms(
            app: Flask = app, person: people.Person = person, worker: Program = worker
        ) -> float:
            run = _run(place, app, person, worker, AT_ONCE, BATCH)
            return (run.after.cpu_s - run.before.cpu_s) * 1000 / AT_ONCE

        _compare(place, table, name, concurrency, rounds, cpu_ms)
        for size in sizes:
            found = _run(place, app, person, worker, size, BATCH)
            _tell(table, f"{name}: {size:,} in batches of {BATCH}", found, size, concurrency)
        found = _run(place, app, person, worker, sizes[0], sizes[0])
        _tell(table, f"{name}: {sizes[0]:,} in one batch", found, sizes[0], concurrency)
        worker.end()
    return table


def _compare(
    place: Place,
    table: Table,
    name: str,
    lanes: int,
    rounds: int,
    ours: Callable[[], float],
) -> None:
    """Processor time a message, beside Celery's: in turns, so that the machine's speed is the
    same for both."""
    try:
        peer = Peer(place, lanes)
    except NotThere as missing:
        note = f"**Not compared with Celery: {missing}.**"
        sys.stderr.write(f"  {note}\n")
        table.notes += [note] if note not in table.notes else []
        peer = None
    own, celerys = [], []
    for _ in range(rounds):
        own.append(ours())
        if peer:
            celerys.append(peer.cpu_ms(AT_ONCE, DELAY_MS))
    what = f"{name}: processor time a message"
    shown = _shown(own)
    mean = statistics.median(own)
    table.add(what, f"{mean:.2f} ms", shown, f"at most {MOST_CPU_MS} ms", mean <= MOST_CPU_MS)
    if peer:
        peer.end()
        ratio = statistics.median([one / other for one, other in zip(own, celerys, strict=True)])
        beside = f"Celery's: {statistics.median(celerys):.2f} ms, {_shown(celerys)}"
        table.add(f"{what} / a Celery task", f"{ratio:.2f}", beside, "below 1", ratio < 1)


def _shown(measured: list[float]) -> str:
    return ", ".join(f"{one:.2f}" for one in measured)


def _on_sqlite(place: Place, concurrency: int) -> tuple[Flask, people.Person, Program]:
    values = place.settings("worker", SEND_CONCURRENCY=str(concurrency))
    server = place.app(values)
    app = create_app(values)
    return app, people.sign_in(app, 1)[0], server


def _on_postgresql(place: Place, concurrency: int) -> tuple[Flask, people.Person, Program]:
    database = f"bench{time.monotonic_ns()}"
    servers.postgresql().create(database)
    values = place.settings(
        "unused",
        DATABASE_URL=servers.postgresql().url(database),
        SEND_CONCURRENCY=str(concurrency),
    )
    app = create_app(values)
    with app.app_context():
        upgrade_schema()
        register_location()
    program = Program("webapp.worker", [], values, place.folder / "worker.log")
    place.start(program)
    time.sleep(3)
    return app, people.sign_in(app, 1)[0], program


def _run(
    place: Place, app: Flask, person: people.Person, worker: Program, count: int, size: int
) -> Run:
    batches = rows.queue_batches(app, person, count, size)
    accepted = rows.outcomes(app).get("accepted", 0)
    place.upstream.reset(DELAY_MS)
    pid = serving_pid(worker)
    run = Run(0.0, use_of(pid), use_of(pid))
    began = mark = time.monotonic()
    cpu_s, done = run.before.cpu_s, 0
    rows.wake(app, batches)
    while True:
        time.sleep(0.1)
        sends, at, use = place.upstream.state()["sends"], time.monotonic(), use_of(pid)
        run.most_mb = max(run.most_mb, use.rss_mb)
        if sends >= count * (len(run.cpu_ms) + 1) / PARTS and sends > done:
            run.cpu_ms.append((use.cpu_s - cpu_s) * 1000 / (sends - done))
            run.pace.append((sends - done) / (at - mark))
            cpu_s, done, mark = use.cpu_s, sends, at
        if sends >= count:
            break
        assert at - began < 60 + count, "the queue stands still"
    while rows.outcomes(app).get("accepted", 0) < accepted + count:
        assert time.monotonic() - began < 60 + count, rows.outcomes(app)
        time.sleep(0.02)
    run.took_s = time.monotonic() - began
    state = place.upstream.state()
    assert state["sends"] == state["recipients"] == count, "not exactly once each"
    time.sleep(1)
    run.after = use_of(pid)
    return run


def _tell(table: Table, what: str, run: Run, count: int, concurrency: int) -> None:
    limit = concurrency / (DELAY_MS / 1000)
    pace = count / run.took_s
    share = pace / limit
    least = LEAST_LONG_SHARE if count >= LONG else LEAST_SHARE[what.partition(",")[0]]
    table.add(
        f"{what}: messages a second, of what {concurrency} at once allow",
        f"{share:.2f}",
        f"{pace:.0f} of {limit:.0f}, {run.took_s:.1f} s",
        f"at least {least}",
        share >= least,
    )
    growth = max(run.most_mb, run.after.rss_mb) - run.before.rss_mb
    table.add(
        f"{what}: memory grew by",
        f"{growth:.1f} MB",
        f"{run.before.rss_mb:.0f} MB before",
        f"below {MAX_GROWTH_MB} MB",
        growth < MAX_GROWTH_MB,
    )
    flat = run.cpu_ms[-1] / run.cpu_ms[0]
    shown = ", ".join(f"{one:.1f}" for one in run.cpu_ms)
    table.add(
        f"{what}: processor time a message, last fifth / first fifth",
        f"{flat:.2f}",
        f"{shown} ms",
        "0.8 to 1.25",
        0.8 <= flat <= 1.25,
    )
