"""`python -m tests.benchmarks [--parts send,pages] [--quick]`; `--help` names all parts."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from tests.benchmarks import crowd, lists, pages, send, spreadsheet, start, worker
from tests.benchmarks.serving import Place, fsync_ms, machine, place
from tests.benchmarks.table import Table

CONCURRENCY = 16


def main() -> int:
    """Measure the chosen parts and print their tables; the exit code says nothing of targets."""
    options = _options()
    # What was started ends with us, however we end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    quick = options.quick
    times, rounds = (20, 2) if quick else (150, 5)
    parts: dict[str, Callable[[Place], Table]] = {
        "send": lambda at: send.measure(at, times, rounds),
        "pages": lambda at: pages.measure(at, times, rounds),
        "lists": lambda at: lists.measure(
            at,
            times // 5,
            min(rounds, 3),
            many=20_000 if quick else lists.MANY,
            databases=options.databases.split(","),
        ),
        "spreadsheet": lambda at: spreadsheet.measure(
            at, 300 if quick else 20_000, CONCURRENCY, databases=options.databases.split(",")
        ),
        "crowd": lambda at: crowd.measure(at, 300 if quick else 2_000, rounds),
        "worker": lambda at: worker.measure(
            at,
            [300] if quick else [int(size) for size in options.sizes.split(",")],
            CONCURRENCY,
            rounds,
            databases=options.databases.split(","),
        ),
        "start": lambda at: start.measure(at, 2 if quick else 5),
    }
    chosen = [one for one in options.parts.split(",") if one] or list(parts)
    if unknown := set(chosen) - set(parts):
        sys.exit(f"There is no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}.")
    with place() as first:
        flush = f"a flush to the disk takes {fsync_ms(first.folder):.2f} ms"
    began = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    sys.stdout.write(f"{began}; {machine()}; {flush}; {_load('before')}\n\n")
    for name in chosen:
        sys.stderr.write(f"{name}\n")
        with place() as at:
            sys.stdout.write(parts[name](at).as_text() + "\n")
        sys.stdout.flush()
    sys.stdout.write(f"{_load('after')}\n")
    return 0


def _load(when: str) -> str:
    return f"load {when}: {os.getloadavg()[0]:.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--parts", default="", help="send,pages,lists,spreadsheet,crowd,worker,start; empty: all"
    )
    parser.add_argument("--databases", default="sqlite,postgresql", help="for lists and worker")
    parser.add_argument("--sizes", default="1000,20000", help="of the worker's queues")
    parser.add_argument("--quick", action="store_true", help="small numbers: does it run at all?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
