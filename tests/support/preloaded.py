"""Start our programs without the two seconds of processor time that importing them costs.

`serve` has imported what the programs import. For each one it forks a child, which then runs the
module as `python -m` would: with its own arguments, environment, session and output. A run of the
tests has one such server, which ends with it, and with it all that it has started; a program whose
starter is gone is killed, too. Outside a run, programs are started in the usual way.
"""

import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
ADDRESS = "TEST_PRELOADED"
"""The environment's name for the socket of a run's server."""
MOST_BYTES = 128 * 1024
"""Of an order: mostly the environment."""
IMPORTED = (
    "flask.cli",
    "gunicorn.arbiter",
    "gunicorn.workers.gthread",
    "huey.consumer",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "webapp.jobs.consumer",
    "webapp.jobs.heartbeat",
    "webapp.simulator.server",
)
"""With all that they import; but none of the programs, which `runpy` wants to import itself."""


class Forked:
    """A started program, with what `subprocess.Popen` has."""

    def __init__(self, order: dict[str, object], output: int, errors: int) -> None:
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.connect(os.environ[ADDRESS])
        socket.send_fds(self._line, [json.dumps(order).encode()], [output, errors])
        self.pid = int(self._line.recv(64))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._line.recv(64))
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


Started = Forked | subprocess.Popen[bytes]


def start(
    module: str, options: list[str], env: Mapping[str, str], output: int, errors: int | None = None
) -> Started:
    """Start `python -m MODULE OPTIONS` in the project's folder, in a session of its own.

    `env` is the whole environment; `output` and `errors` are open files' numbers.
    """
    errors = output if errors is None else errors
    if ADDRESS in os.environ:
        return Forked({"module": module, "options": options, "env": dict(env)}, output, errors)
    return subprocess.Popen(
        [sys.executable, "-m", module, *options],
        cwd=PROJECT,
        env=env,
        stdout=output,
        stderr=errors,
        start_new_session=True,
    )


def run(
    module: str, options: list[str], env: Mapping[str, str], *, timeout_s: float = 30
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` with `capture_output` and `text`."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = start(module, options, env, output.fileno(), errors.fileno())
        try:
            code = started.wait(timeout_s)
        except subprocess.TimeoutExpired:
            started.kill()
            raise
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([module, *options], code, *texts)


@contextmanager
def serving(folder: Path) -> Iterator[None]:
    """A run's server, with its socket in `folder`. It loads nothing before the first order."""
    if sys.platform != "linux":
        yield
        return
    address = str(folder / "preloaded")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(64)
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.preloaded", str(listener.fileno())],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        server.communicate()  # the end of its input is its end


# --- The server -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """A program that somebody has asked for: in the forked child, what it is to run."""

    module: str
    options: list[str]


def serve(listener: socket.socket) -> Order | None:
    """Until the input ends; returns None then, and in each forked child its order."""
    woken, waker = socket.socketpair()
    waker.setblocking(False)
    lines: dict[int, socket.socket] = {}
    with listener, woken, waker:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno())
        while True:
            ready = select.select([sys.stdin, listener, woken, *lines.values()], [], [])[0]
            if woken in ready:
                woken.recv(4096)
                _tell_ended(lines)
            for pid, line in lines.items():
                if sys.stdin in ready or line in ready:  # nobody says anything there: it has ended
                    _kill(pid)
            if sys.stdin in ready:
                return None
            if listener in ready and (order := _fork(listener.accept()[0], lines)):
                return order


def _tell_ended(lines: dict[int, socket.socket]) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with lines.pop(ended[0]) as line, suppress(OSError):
                line.send(str(os.waitstatus_to_exitcode(ended[1])).encode())


def _kill(pid: int) -> None:
    """And its children."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _fork(line: socket.socket, lines: dict[int, socket.socket]) -> Order | None:
    text, files, _, _ = socket.recv_fds(line, MOST_BYTES, 2)
    if not files:  # whoever it was has ended
        line.close()
        return None
    for module in IMPORTED:
        importlib.import_module(module)
    gc.freeze()
    pid = os.fork()
    if pid:
        lines[pid] = line
        with suppress(OSError):
            line.send(str(pid).encode())
    else:
        signal.set_wakeup_fd(-1)
        for one in (line, *lines.values()):
            one.close()
        order = json.loads(text)
        _become_its_own(order["env"], *files)
    for file in files:
        os.close(file)
    return None if pid else Order(order["module"], order["options"])


def _become_its_own(env: dict[str, str], output: int, errors: int) -> None:
    """As a process is that was started with this environment and these outputs."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, output, errors)):
        os.dup2(file, number)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=bool(env.get("PYTHONUNBUFFERED")))


if __name__ == "__main__":
    if order := serve(socket.socket(fileno=int(sys.argv[1]))):
        sys.argv = [order.module, *order.options]
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)
