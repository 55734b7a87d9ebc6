"""Celery beside our worker: in an environment of its own, made when it is first asked for, with
Debian's redis-server as its broker. Nothing of it is among the requirements."""

import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

from tests.benchmarks.serving import HOST, Place, use_of
from tests.support.servers import free_port
from webapp.config import PROJECT

PACKAGES = ("celery[redis]==5.7.0", "requests==2.34.2")
FOLDER = PROJECT / ".venv" / "bench-celery"
LIMIT_S = 300


class NotThere(Exception):
    """`str()` says what is missing."""


class Peer:
    """A broker, and a Celery worker with as many threads as ours has lanes."""

    def __init__(self, place: Place, lanes: int) -> None:
        server = shutil.which("redis-server")
        if server is None:
            raise NotThere("redis-server is not installed")
        self._place = place
        self._python = _python()
        self._broker = f"redis://{HOST}:{(port := free_port())}/0"
        keep_nothing = ["--save", "", "--appendonly", "no", "--dir", str(place.folder)]
        self._started = [
            subprocess.Popen(
                [server, "--bind", HOST, "--port", str(port), *keep_nothing],
                stdout=subprocess.DEVNULL,
            ),
            self._run("work", str(lanes)),
        ]
        self.cpu_ms(32)  # until it works, and warm

    def end(self) -> None:
        for process in reversed(self._started):
            process.terminate()
            process.wait(LIMIT_S)

    def cpu_ms(self, count: int, delay_ms: float = 0) -> float:
        """Processor time of the worker's process, a task."""
        self._place.upstream.reset(delay_ms)
        pid = self._started[1].pid
        before, until = use_of(pid).cpu_s, time.monotonic() + LIMIT_S
        url = f"{self._place.upstream.http}/v2/sessions/sms"
        if self._run("enqueue", url, str(count)).wait(LIMIT_S):
            raise RuntimeError("nothing could be enqueued for Celery")
        while self._place.upstream.state()["sends"] < count:
            if time.monotonic() > until or self._started[1].poll() is not None:
                raise RuntimeError("Celery's worker does not work")
            time.sleep(0.1)
        time.sleep(1)
        return (use_of(pid).cpu_s - before) * 1000 / count

    def _run(self, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._place.folder / "celery.log").open("ab") as log:
            return subprocess.Popen(
                [self._python, "-m", "tests.benchmarks.celery_task", self._broker, *arguments],
                cwd=PROJECT,
                stdout=log,
                stderr=log,
            )


def _python() -> Path:
    python = FOLDER / "bin" / "python"
    made = FOLDER / "made-with"
    wanted = " ".join((*PACKAGES, sys.version))
    if not made.exists() or made.read_text() != wanted:
        venv.create(FOLDER, clear=True, with_pip=True)
        quiet = ("--quiet", "--disable-pip-version-check")
        done = subprocess.run([python, "-m", "pip", "install", *quiet, *PACKAGES], check=False)
        if done.returncode:
            raise NotThere("Celery's packages could not be installed")
        made.write_text(wanted)
    return python
