"""The processes of a benchmark, what they use, and the stand-in seen from outside."""

import os
import platform
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks import authority
from tests.chaos.processes import Program
from tests.support import servers
from tests.support.servers import free_port

HOST = "127.0.0.1"
START_LIMIT_S = 30
_PROCESS_CLOCK = 2
"""`CPUCLOCK_SCHED` of Linux, as in `clock_getcpuclockid`, which Python has for threads only."""
TICKS = os.sysconf("SC_CLK_TCK")
BODY = {"smsId": "s0", "recipient": "+4915799900001", "message": "Hello"}


class Upstream:
    """The stand-in, as a process. `http` and `https` are the same server."""

    def __init__(self, folder: Path) -> None:
        self.certificate, self.bundle = authority.make(folder)
        self.http, self.https = (f"http://{HOST}:{free_port()}", f"https://{HOST}:{free_port()}")
        ports = [one.rpartition(":")[2] for one in (self.http, self.https)]
        arguments = [*ports, str(self.certificate)]
        log = folder / "upstream.log"
        self.program = Program("tests.benchmarks.upstream", arguments, {}, log)
        self._session = requests.Session()
        self._session.trust_env = False

    def reset(self, delay_ms: float = 0) -> None:
        self._session.post(f"{self.http}/_reset?delay_ms={delay_ms}", timeout=5)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._session.get(f"{self.http}/_state", timeout=5).json()
        return found


class Place:
    """A folder on the disk, the stand-in, and whatever a part starts; all gone at the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.upstream = Upstream(folder)
        self.start(self.upstream.program, f"{self.upstream.http}/_state")

    def settings(self, name: str, *, tls: bool = False, **changed: str) -> dict[str, str]:
        """Settings of an app with a SQLite database of this name."""
        sipgate = self.upstream.https if tls else self.upstream.http
        port = str(free_port())
        values = {
            "HOST": HOST,
            "PORT": port,
            "PUBLIC_URL": f"http://{HOST}:{port}",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "SIPGATE_CLIENT_ID": "benchmark:third-party",
            "SIPGATE_CLIENT_SECRET": "of-the-benchmark",
            "SIPGATE_ISSUER": f"{sipgate}/auth/realms/third-party",
            "SIPGATE_API_URL": f"{sipgate}/v2",
            "SIPGATE_ACCOUNTS": "*",
            "DATABASE_URL": self.database("sqlite", name),
            # What is measured is one send; how many are allowed is another matter.
            "RATE_LIMITS": "",
            "DAILY_LIMIT": "1000000",
            "QUIET_HOURS": "",
            authority.BUNDLE: str(self.upstream.bundle),
        }
        return {**values, **changed}

    def database(self, kind: str, name: str) -> str:
        """The address of a new, empty database; `kind` is `sqlite` or `postgresql`."""
        if kind == "sqlite":
            return f"sqlite:///{self.folder / name}.sqlite"
        server, own = servers.postgresql(), f"bench{time.monotonic_ns()}"
        server.create(own)
        self._stack.callback(server.drop, own)
        return server.url(own)

    def serve(self, module: str, values: dict[str, str]) -> Program:
        """Start a web server with these settings, and wait until it answers."""
        program = Program(module, [], values, self.folder / f"{module}.log")
        return self.start(program, f"{values['PUBLIC_URL']}/healthz")

    def app(self, values: dict[str, str]) -> Program:
        """The production server."""
        return self.serve("tests.benchmarks.authority", values)

    def bare(self, values: dict[str, str]) -> tuple[Program, str]:
        """The bare app with the settings of the other, on a port of its own; and its address."""
        port = str(free_port())
        url = f"http://{HOST}:{port}"
        return self.serve("tests.benchmarks.bare", {**values, "PORT": port, "PUBLIC_URL": url}), url

    def start(self, program: Program, url: str = "") -> Program:
        self._stack.callback(program.end)
        program.start()
        until = time.monotonic() + START_LIMIT_S
        while url and time.monotonic() < until:
            with suppress(requests.RequestException):
                if requests.get(url, timeout=5).status_code == 200:
                    return program
            if not program.is_running:
                break
            time.sleep(0.02)
        if url:
            raise RuntimeError(
                f"{program.module} does not answer: {program.log.read_text()[-800:]}"
            )
        return program


@contextmanager
def place() -> Iterator[Place]:
    """On a disk: a commit that waits for memory would be no commit's price."""
    folder = Path(tempfile.mkdtemp(prefix="team-sms-bench-", dir=os.environ.get("BENCH_FOLDER")))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Place(folder, stack)


@dataclass(frozen=True, slots=True)
class Use:
    """What a process has used: memory in MB (resident, and its share of what is shared), processor
    time in seconds since it began."""

    rss_mb: float
    pss_mb: float
    cpu_s: float


def use_of(pid: int) -> Use:
    kb = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split()[:2]
        kb[name] = int(value)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS
    return Use(kb["Rss:"] / 1024, kb["Pss:"] / 1024, cpu_s)


def serving_pid(program: Program) -> int:
    """The process that serves: gunicorn's child, or the program itself."""
    children = program.children()
    return children[0] if children else int(program.pid or 0)


def cpu_s(program: Program) -> float:
    """The processor time of a program and the processes it has started, so far, in seconds.

    By the processes' own clocks (nanoseconds; `/proc` counts hundredths of a second).
    """
    return _cpu_s([int(program.pid or 0), *program.children()])


def database_cpu_s() -> float:
    """The processor time of PostgreSQL's processes that serve somebody, in seconds."""
    pid = (servers.postgresql().folder / "data" / "postmaster.pid").read_text().split()[0]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return _cpu_s([int(child) for child in children])


def _cpu_s(pids: list[int]) -> float:
    found = 0.0
    for pid in pids:
        with suppress(OSError):  # ended meanwhile
            found += time.clock_gettime((~pid << 3) | _PROCESS_CLOCK)
    return found


def machine() -> str:
    """What the figures were taken on, in a line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB of memory, "
        f"Python {platform.python_version()}, {platform.system()}"
    )


def fsync_ms(folder: Path) -> float:
    """What one flush to this disk takes: part of every commit."""
    path, taken = folder / "flush", []
    with path.open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return statistics.median(taken)
