"""What Prometheus reads at `/metrics`: how much, how fast, how it ended. Off without METRICS_TOKEN.

Labels have few values, such as endpoints and outcomes: never an id, a number or a path. All
processes on one database write into one folder, and the page adds them up. A fault in here is
logged and changes nothing else.

The library maps its files into memory: on a full disk, touching a page without room ends the
process (SIGBUS). Our files have its format, but are written to, which only fails (F75).
"""

import hmac
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, g, has_app_context, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.mmap_dict import mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
LEAST_TOKEN_CHARACTERS = 32
FORGET_AFTER_S = 7 * 24 * 3600
METHODS = ("GET", "HEAD", "POST")
# From a cached page to a send that waits for sipgate until its deadline.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0)


class Metrics:
    """The instruments of one app."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        registry = CollectorRegistry()
        self.requests = Histogram(
            "team_sms_request_seconds",
            "Requests answered, by endpoint, method and class of status",
            ("endpoint", "method", "status"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.upstream = Histogram(
            "team_sms_upstream_seconds",
            "Calls to sipgate, by operation and class of status",
            ("operation", "status"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.messages = Counter(
            "team_sms_messages",
            "Messages, by the outcome of handing them over",
            ("outcome",),
            registry=registry,
        )

        self.alerts = Counter(
            "team_sms_alerts",
            "Mails and POSTs with alerts, by outlet and whether they were taken",
            ("outlet", "result"),
            registry=registry,
        )

    def page(self) -> bytes:
        """The sums of all processes, in Prometheus' text format."""
        together = CollectorRegistry()
        if not self._folder.is_dir():  # it could not be made: the disk was full
            return b""
        MultiProcessCollector(together, path=str(self._folder))
        return generate_latest(together)


def setup_metrics(app: Flask, folder: str) -> None:
    """Count, if METRICS_TOKEN is set. All processes of this database share `folder`."""
    token: str = app.config["SETTINGS"].metrics_token
    if not token:
        return
    if len(token) < LEAST_TOKEN_CHARACTERS:
        log.warning(
            "METRICS_TOKEN has fewer than %d characters, which the next release refuses",
            LEAST_TOKEN_CHARACTERS,
        )
    values.ValueClass = _value_class(_Files(Path(folder)))
    app.extensions["metrics"] = Metrics(Path(folder))
    app.before_request(_start)
    app.after_request(_finish)


class _File:
    """Numbers of one process by their keys, as `prometheus_client.mmap_dict` reads them."""

    HEAD = 8
    """The length of what is written so far (four bytes), and four of padding."""

    def __init__(self, path: Path) -> None:
        self._places: dict[str, int] = {}
        self._used = self.HEAD
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        self._file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._write(struct.pack("i4x", self._used), 0)
            new.rename(path)  # no reader finds it empty
        except OSError:
            os.close(self._file)
            new.unlink(missing_ok=True)
            raise

    def put(self, key: str, value: float) -> None:
        if key not in self._places:
            name = key.encode()
            padded = name + b" " * (8 - (len(name) + 4) % 8)
            entry = struct.pack(f"i{len(padded)}sdd", len(name), padded, 0.0, 0.0)
            self._write(entry, self._used)
            self._write(struct.pack("i", self._used + len(entry)), 0)
            self._used += len(entry)
            self._places[key] = self._used - 16
        self._write(struct.pack("d", value), self._places[key])

    def _write(self, data: bytes, place: int) -> None:
        if os.pwrite(self._file, data, place) < len(data):
            raise OSError("there is no room for all of it")


class _Files:
    """The files of this process, one for each kind of instrument; made anew after a fork."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _File] = {}
        self._lock = threading.Lock()
        self._is_failing = False

    def put(self, kind: str, key: str, value: float) -> None:
        """On a full disk the number is not written; counting goes on in memory."""
        path = self._folder / f"{kind}_{process_name()}.db"
        with self._lock:
            try:
                if path.name not in self._open:
                    self._open[path.name] = _File(path)
                self._open[path.name].put(key, value)
                self._is_failing = False
            except OSError as error:
                if not self._is_failing:
                    log.warning("nothing can be counted: %s", error)
                self._is_failing = True


def _value_class(files: _Files) -> type:
    """The class of numbers that the library makes its instruments of."""

    class Value(values.MutexValue):
        def __init__(
            self,
            kind: str,
            metric: str,
            name: str,
            label_names: Any,
            label_values: Any,
            help_text: str,
            **rest: Any,
        ) -> None:
            super().__init__(kind, metric, name, label_names, label_values, help_text, **rest)
            self._kind = kind
            self._key = mmap_key(metric, name, label_names, label_values, help_text)
            self._process = os.getpid()
            files.put(kind, self._key, 0.0)

        def inc(self, amount: float) -> None:
            with self._lock:
                if self._process != os.getpid():  # what was counted before the fork is the parent's
                    self._process, self._value = os.getpid(), 0.0
                self._value += amount
                files.put(self._kind, self._key, self._value)

    return Value


def process_name() -> str:
    """This host's name and this process's number."""
    return f"{_host()}-{os.getpid()}"


def forget_ended_processes(folder: str) -> None:
    """At the server's start: delete the files of processes that no longer run."""
    for path in Path(folder).glob("*.db"):
        host, _, number = path.stem.partition("_")[2].rpartition("-")
        is_old = path.stat().st_mtime < time.time() - FORGET_AFTER_S
        if is_old or (host == _host() and not _is_alive(number)):
            path.unlink(missing_ok=True)


def admits(authorization: str) -> bool | None:
    """Whether the header is METRICS_TOKEN as Bearer, compared in constant time; None if unset."""
    token: str = current_app.config["SETTINGS"].metrics_token
    if not token:
        return None
    return hmac.compare_digest(authorization.encode(), f"Bearer {token}".encode())


def page() -> bytes:
    found: Metrics = current_app.extensions["metrics"]
    return found.page()


def count_message(outcome: str, count: int = 1) -> None:
    """`count` messages have ended like this."""
    with _harmless() as found:
        if found:
            found.messages.labels(outcome).inc(count)


def count_alert(outlet: str, result: str) -> None:
    """An outlet was `told`, or it `failed`."""
    with _harmless() as found:
        if found:
            found.alerts.labels(outlet, result).inc()


@contextmanager
def upstream(operation: str) -> Iterator[list[int]]:
    """Times a call to sipgate; the caller appends the answer's status to the list."""
    started = time.monotonic()
    status: list[int] = []
    try:
        yield status
    finally:
        with _harmless() as found:
            if found:
                kind = _class(status[0]) if status else "no answer"
                found.upstream.labels(operation, kind).observe(time.monotonic() - started)


@contextmanager
def _harmless() -> Iterator[Metrics | None]:
    """The running app's instruments, if any. An error inside is only logged."""
    try:
        yield current_app.extensions.get("metrics") if has_app_context() else None
    except Exception:
        log.exception("something could not be counted")


def _start() -> None:
    g.counted_from = time.monotonic()


def _finish(response: Response) -> Response:
    with _harmless() as found:
        if found and "counted_from" in g:
            method = request.method if request.method in METHODS else "other"
            labels = (request.endpoint or "none", method, _class(response.status_code))
            found.requests.labels(*labels).observe(time.monotonic() - g.counted_from)
    return response


def _class(status: int) -> str:
    return f"{status // 100}xx"


def _host() -> str:
    # The library cuts its file names at the underscore.
    return socket.gethostname().replace("_", "-") or "host"


def _is_alive(number: str) -> bool:
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
