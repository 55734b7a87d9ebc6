"""What Prometheus reads at `/metrics`: how much, how fast, how it ended. Off without METRICS_TOKEN.

Labels are endpoints, outcomes and the like, of which there are few: never an id, a number or a
path. All processes on one database write into one folder, which the page adds up. A fault in here
is logged and changes nothing else.
"""

import hmac
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask, Response, current_app, g, has_app_context, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

from webapp.config import MIN_SECRET_CHARACTERS

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
FORGET_AFTER_S = 7 * 24 * 3600
METHODS = ("GET", "HEAD", "POST")
# From a page out of the cache to a send that waits for sipgate to the last second.
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

    def page(self) -> bytes:
        """Everything that all processes have counted, in Prometheus' text format."""
        together = CollectorRegistry()
        MultiProcessCollector(together, path=str(self._folder))
        return generate_latest(together)


def setup_metrics(app: Flask, folder: str) -> None:
    """`folder` is shared by all processes of this database, and made here."""
    token: str = app.config["SETTINGS"].metrics_token
    if not token:
        return
    if len(token) < MIN_SECRET_CHARACTERS:
        log.warning(
            "METRICS_TOKEN has fewer than %d characters, which the next release refuses",
            MIN_SECRET_CHARACTERS,
        )
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    # The library knows no other way to say where; the process's id alone would not do where
    # several containers share the folder.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
    values.ValueClass = values.MultiProcessValue(process_name)
    app.extensions["metrics"] = Metrics(Path(folder))
    app.before_request(_start)
    app.after_request(_finish)


def process_name() -> str:
    """This host's name and this process's number."""
    return f"{_host()}-{os.getpid()}"


def forget_ended_processes(folder: str) -> None:
    """At the server's start: empty the folder, but for what other living processes still write."""
    for path in Path(folder).glob("*.db"):
        host, _, number = path.stem.partition("_")[2].rpartition("-")
        is_old = path.stat().st_mtime < time.time() - FORGET_AFTER_S
        if is_old or (host == _host() and not _is_alive(number)):
            path.unlink(missing_ok=True)


def admits(authorization: str) -> bool | None:
    """Whether the header holds METRICS_TOKEN as Bearer, told in constant time; None if unset."""
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


@contextmanager
def upstream(operation: str) -> Iterator[list[int]]:
    """Times a call to sipgate; put the answer's status into the list."""
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
    """The running app's instruments, if any; a full disk must not change what became of a text."""
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
