"""The processes of a run: the simulator, the production server, workers of their own.

On SQLite there is one server with two processes, of which one carries the worker. On PostgreSQL
there are two servers and two workers.
Each is a session of its own, so that Ctrl-C reaches only us, and each is ended by its own process
id: `Processes` ends them whatever happens.
"""

import os
import re
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import requests

from tests.support import preloaded, servers

HOST = "127.0.0.1"
START_LIMIT_S = 60
END_LIMIT_S = 40
"""Longer than the server's own grace of 30 s."""
SEND_CONCURRENCY = 8
DATABASE = "chaos"
READ_ONLY_S = 3
"""As long as a failover may take."""

PERSON_WAITS_S = 90
"""How long a browser waits for an answer: longer than any answer takes."""


class Program:
    """One Python module as a process, with its output in a file."""

    def __init__(self, module: str, options: list[str], values: dict[str, str], log: Path) -> None:
        self.module = module
        self._options = options
        self._values = values
        self.log = log
        self._process: preloaded.Started | None = None

    def start(self) -> None:
        env = {**_surroundings(), **self._values}
        with self.log.open("ab") as output:
            self._process = preloaded.start(self.module, self._options, env, output.fileno())

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Negative: the signal that ended it. None while it runs."""
        return self._process.poll() if self._process is not None else None

    def kill(self) -> None:
        """SIGKILL it and its children, at once: nothing is finished, nothing is said."""
        if self._process is None:
            return
        # Stopped first: else it could start another child between our look and its end, and that
        # one would go on holding the port.
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGSTOP)
        for pid in (*self.children(), self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def kill_oldest_child(self) -> bool:
        """SIGKILL only what it started first, of what still runs; whether there was anything."""
        children = self.children()
        for pid in children[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(children)

    def end(self) -> None:
        """Ask it to end, and wait; kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def children(self) -> list[int]:
        """The ids of the processes it has started and that still run (Linux)."""
        if self._process is None or self._process.poll() is not None:
            return []
        pid = self._process.pid
        try:
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except OSError:
            return []
        return [int(child) for child in found.split()]


class Processes:
    """All of a run's processes; use it as a context."""

    def __init__(self, folder: Path, database: str = "sqlite") -> None:
        self.folder = folder
        self._database = database
        self.app_url = f"http://{HOST}:{servers.free_port()}"
        self.app_urls = [self.app_url]
        self.webs: list[Program] = []
        self.workers: list[Program] = []
        self._postgresql: servers.PostgreSQL | None = None
        self.is_over = threading.Event()
        """Set when the run is broken off or done: nobody need wait for an answer any more."""
        self._killing = threading.Lock()

    def __enter__(self) -> "Processes":
        try:
            self._start_all()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.is_over.set()
        for program in self.programs:
            program.kill()
        simulator: Program | None = getattr(self, "simulator", None)
        if simulator is not None:
            simulator.kill()
        if self._postgresql is not None:
            self._postgresql.stop()

    @property
    def programs(self) -> list[Program]:
        """The app's own, in the order in which they are started."""
        return [*self.webs, *self.workers]

    @property
    def killable(self) -> list[str]:
        """What `kill` can kill, by its name in the table."""
        names = [*(f"web{n}" for n in _numbers(self.webs))]
        names += [f"serving{n}" for n in _numbers(self.webs)]
        return names + [f"worker{n}" for n in _numbers(self.workers)]

    @property
    def troubles(self) -> dict[str, Callable[[], None]]:
        """What can happen to PostgreSQL; nothing where there is none."""
        server = self._postgresql
        if server is None:
            return {}
        return {
            "connections cut": lambda: server.cut_connections(DATABASE),
            "read-only": lambda: self._read_only(server),
            "postgresql restarted": server.restart_at_once,
        }

    def _read_only(self, server: servers.PostgreSQL) -> None:
        server.take_writes(False)
        self.is_over.wait(READ_ONLY_S)
        server.take_writes(True)

    def _start_all(self) -> None:
        secret = secrets.token_hex(16)  # no dash in front: it is an option's value
        self.simulator = Program(
            "webapp.simulator",
            ["--port", "0", "--control", "--redirect-uri", f"{self.app_url}/auth/callback"]
            + ["--client-secret", secret],
            {"PYTHONUNBUFFERED": "1"},
            self.folder / "simulator.log",
        )
        self.simulator.start()
        self.sipgate_url = self._simulators_address()
        self.database_url, count = f"sqlite:///{self.folder / 'chaos.sqlite'}", 1
        if self._database == "postgresql":
            self.database_url, count = self._start_postgresql(), 2
        values = {**self._settings(secret), "DATABASE_URL": self.database_url}
        values["WEB_PROCESSES"] = "1" if self._postgresql else "2"
        self.app_urls += [f"http://{HOST}:{servers.free_port()}" for _ in range(count - 1)]
        for place, url in enumerate(self.app_urls, 1):
            own = {**values, "PORT": url.rpartition(":")[2]}
            logs = self.folder / f"web{place}.log", self.folder / f"worker{place}.log"
            self.webs.append(Program("webapp.server", [], own, logs[0]))
            if self._postgresql:
                self.workers.append(Program("webapp.worker", [], values, logs[1]))
        self.start_app()

    def _start_postgresql(self) -> str:
        """Returns the address of its database."""
        self._postgresql = servers.PostgreSQL()
        self._postgresql.create(DATABASE)
        return self._postgresql.url(DATABASE)

    def wait_for_web(self) -> None:
        """Until every server answers; RuntimeError if one does not."""
        for url, web in zip(self.app_urls, self.webs, strict=True):
            until = time.monotonic() + START_LIMIT_S
            while not _answers(url):
                if time.monotonic() > until:
                    raise RuntimeError(f"the server does not answer: {self._last_words(web)}")
                time.sleep(0.1)

    def restart_if_ended(self) -> list[str]:
        """Start again what ended by itself, as a service manager would; returns what that was."""
        with self._killing:
            ended = [program for program in self.programs if not program.is_running]
            sentences = [f"{one.module} ended by itself ({one.exit_code})" for one in ended]
            for program in ended:
                program.start()
        return sentences

    def kill(self, which: str) -> None:
        """SIGKILL and start again at once: `web`, `worker`, or `serving` (a process that serves,
        which gunicorn's own master starts again); `web2` is the second one."""
        kind = which.rstrip("0123456789")
        place = int(which.removeprefix(kind) or 1) - 1
        with self._killing:
            if kind == "serving" and self.webs[place].kill_oldest_child():
                return
            program = (self.workers if kind == "worker" else self.webs)[place]
            program.kill()
            program.start()

    def end_app(self) -> None:
        """End the server and the worker as a deployment does: what is under way is finished."""
        enders = [threading.Thread(target=one.end) for one in self.programs]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def start_app(self) -> None:
        """The servers first: they bring the schema up to date, one after the other."""
        for web in self.webs:
            web.start()
        self.wait_for_web()
        for worker in self.workers:
            worker.start()

    def tracebacks(self) -> int:
        """How many the logs of the servers and the workers hold."""
        logs = [program.log.read_text(errors="replace") for program in self.programs]
        return sum(log.count("Traceback (most recent call last)") for log in logs)

    def _settings(self, secret: str) -> dict[str, str]:
        return {
            "HOST": HOST,
            "PORT": self.app_url.rpartition(":")[2],
            "PUBLIC_URL": self.app_url,
            "TRUSTED_PROXY_HOPS": "0",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "SIPGATE_CLIENT_ID": "1234567-0-team-sms-demo:third-party",
            "SIPGATE_CLIENT_SECRET": secret,
            "SIPGATE_ISSUER": f"{self.sipgate_url}/auth/realms/third-party",
            "SIPGATE_API_URL": f"{self.sipgate_url}/v2",
            "SIPGATE_ACCOUNTS": "1234567 7654321",
            "SIPGATE_OPTIONAL_SCOPES": "",
            "SEND_CONCURRENCY": str(SEND_CONCURRENCY),
            # The shortest there is, so that planned messages are handed over while the run lasts.
            "SCHEDULE_HANDOVER_MINUTES": "5",
            "DAILY_LIMIT": "1000000",
            "RATE_LIMITS": "",
            "QUIET_HOURS": "",
            "LOG_LEVEL": "INFO",
        }

    def _simulators_address(self) -> str:
        """The address that it says it has."""
        until = time.monotonic() + START_LIMIT_S
        while time.monotonic() < until and self.simulator.is_running:
            found = re.search(r"http://\S+", self.simulator.log.read_text())
            if found:
                return found[0]
            time.sleep(0.05)
        raise RuntimeError(f"the simulator did not start: {self._last_words(self.simulator)}")

    def _last_words(self, program: Program) -> str:
        return program.log.read_text(errors="replace")[-500:]


class Sipgate:
    """The simulator from outside: its faults and its ledger."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._lock = threading.Lock()

    def fail_next(self, endpoint: str, fault: dict[str, Any]) -> None:
        self._post("fail", {"endpoint": endpoint, "fault": fault})

    def expire_access_tokens(self) -> None:
        self._post("expire_access_tokens", {})

    def clear_faults(self) -> None:
        self._post("clear_faults", {})

    def arrivals(self) -> list[dict[str, Any]]:
        with self._lock:
            answer = self._session.get(f"{self._url}/_control/arrivals", timeout=60)
        found: list[dict[str, Any]] = answer.json()["arrivals"]
        return found

    def close(self) -> None:
        self._session.close()

    def _post(self, action: str, order: dict[str, Any]) -> None:
        with self._lock:
            answer = self._session.post(f"{self._url}/_control/{action}", json=order, timeout=30)
        if answer.status_code != 204:
            raise RuntimeError(f"the simulator refused {action}: {answer.text}")


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _numbers(programs: list[Program]) -> list[str]:
    """What their names end in: nothing, 2, 3 …"""
    return [str(place + 1) if place else "" for place in range(len(programs))]


def _surroundings() -> dict[str, str]:
    """What a program needs of our environment, and no settings of ours."""
    names = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")
    return {name: os.environ[name] for name in names if name in os.environ}
