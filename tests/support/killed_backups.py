"""`python -m tests.support.killed_backups FOLDER`: many backups, each SIGKILLed at another point.

Each backup is made by a child process, as `FOLDER/0.sqlite`, `1.sqlite` …, of the database that
the environment names. The first ones die at the first, second … line that they run of
`webapp/database/installation.py`, until one survives; the others in the middle of SQLite's own
work. Prints how many there were.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import sqlalchemy as sa

from webapp import create_app
from webapp.database import db, installation

STEPS = (500, 2_000, 5_000, 10_000, 20_000)
"""After so many instructions of SQLite's virtual machine."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_line(number: int) -> None:
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != installation.__file__:
            return None
        seen += event == "line"
        if seen == number:
            die()
        return trace

    sys.settrace(trace)


def after_steps(count: int) -> None:
    @sa.event.listens_for(db.engine, "checkout")
    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.set_progress_handler(die, count)


def was_killed(target: Path, prepare: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        prepare()
        installation.backup(target)
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(folder: Path) -> int:
    app = create_app()
    with app.app_context():
        installation.register_location()
        db.engine.dispose()
        number = 0
        while was_killed(folder / f"{number}.sqlite", partial(at_line, number + 1)):
            number += 1
        for steps in STEPS:
            number += 1
            was_killed(folder / f"{number}.sqlite", partial(after_steps, steps))
    return number + 1


if __name__ == "__main__":
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
