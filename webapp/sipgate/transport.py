"""The transport below every call to sipgate: a total deadline, and a record of what has left us.

requests' exceptions do not distinguish "nothing was sent" from "it may have been sent": a refused
connection and a reset after delivery are both `ConnectionError` (measured). So the connection
records how far it got, and callers decide by that. A read timeout is no limit either: a server that
drips one byte a second never reaches it. So every read waits only for what is left of one deadline.

Nothing is retried, nothing is read from the environment (proxies, `.netrc`), and a cookie received
in one member's call is not sent in another's.
"""

import http.client
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol

import requests
from flask import Flask, current_app, has_app_context
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from webapp.rules.times import steady_s

HEADERS = {"User-Agent": "Team-SMS", "Accept-Encoding": "identity"}
CONNECT_TIMEOUT_S = 5.0
MAX_IDLE_S = 5.0
"""A pooled connection that was idle for longer is not used again: the server may be closing it, and
a request lost on it would be an "unknown" that a fresh connection avoids."""


@dataclass(slots=True)
class Exchange:
    """How far one request and its response got."""

    ends_at: float
    """The end of the total deadline, on `time.monotonic`."""
    max_bytes: int
    """No more than this is read."""
    begin_by: float = math.inf
    """The request does not begin later than this, on `steady_s`."""
    is_late: bool = False
    """It did not begin, because it was too late."""
    request_began: bool = False
    """The first byte of the request may have left; until then, certainly nothing was sent."""
    status: int | None = None
    """The status line's code, even if the rest of the response broke off."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Empty until all have come."""

    def begin(self) -> None:
        """Call right before the first byte. A process that was frozen for too long stops here."""
        if not self.request_began and steady_s() > self.begin_by:
            self.is_late = True
            raise TimeoutError("the request may not begin any more")
        self.request_began = True

    def remaining_s(self) -> float:
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the total deadline has passed")
        return left


_current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
_BEFORE_WAITING = "before_waiting"
_begin_by: ContextVar[float] = ContextVar("begin_by", default=math.inf)


def before_waiting(app: Flask, release: Callable[[], None]) -> None:
    """Have `release` called before each request to sipgate or its login server."""
    app.extensions[_BEFORE_WAITING] = release


@contextmanager
def must_begin_by(moment: float) -> Iterator[None]:
    """Requests inside do not begin later than `moment`, on `steady_s`."""
    token = _begin_by.set(moment)
    try:
        yield
    finally:
        _begin_by.reset(token)


@contextmanager
def deadline(deadline_s: float, max_bytes: int) -> Iterator[Exchange]:
    """Requests inside share one deadline; afterwards the exchange tells how far they got.

    Before that, the app releases what must not be held while waiting (an open database read).
    """
    if has_app_context():
        current_app.extensions.get(_BEFORE_WAITING, lambda: None)()
    ends_at = time.monotonic() + deadline_s
    current = Exchange(ends_at=ends_at, max_bytes=max_bytes, begin_by=_begin_by.get())
    token = _current.set(current)
    try:
        yield current
    finally:
        _current.reset(token)


def _exchange() -> Exchange:
    current = _current.get()
    if current is None:
        raise RuntimeError("requests to sipgate are made inside `with deadline(...)`")
    return current


class _DeadlineReader(io.RawIOBase):
    """Reads a socket; each read waits only for what is left of the deadline."""

    def __init__(self, sock: Any, current: Exchange) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._exchange = current
        self._bytes = 0
        self.has_ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._exchange.remaining_s())
        count: int | None = self._raw.readinto(buffer)
        self._bytes += count or 0
        self.has_ended = count == 0
        if self._bytes > self._exchange.max_bytes:
            raise OSError("the answer is larger than anything sipgate says")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._exchange = _exchange()
        self.fp.close()
        self._reader = _DeadlineReader(sock, self._exchange)
        self.fp = io.BufferedReader(self._reader)

    def begin(self) -> None:
        try:
            super().begin()
        finally:
            # Set before the headers are read, so a broken header still leaves a known status.
            if isinstance(self.status, int):
                self._exchange.status = self.status
        # http.client takes the end of the connection for the end of the headers.
        if self._reader.has_ended:
            raise http.client.IncompleteRead(b"")
        self._exchange.headers = CaseInsensitiveDict(self.headers.items())


class _NotesProgress:
    """A connection that records when a request begins, and is not reused after `MAX_IDLE_S`."""

    response_class = _Response
    _last_used = 0.0
    sock: Any

    @property
    def is_connected(self) -> bool:
        fresh = time.monotonic() - self._last_used < MAX_IDLE_S
        return fresh and bool(super().is_connected)  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._last_used = time.monotonic()

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        current = _exchange()
        self.sock.settimeout(current.remaining_s())
        current.begin()
        super().send(data)  # type: ignore[misc]

    def getresponse(self) -> Any:
        response = super().getresponse()  # type: ignore[misc]
        self._last_used = time.monotonic()
        return response


class _HTTPConnection(_NotesProgress, HTTPConnection):  # type: ignore[misc]
    pass


class _HTTPSConnection(_NotesProgress, HTTPSConnection):  # type: ignore[misc]
    pass


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """requests' transport on the connections above. One per process: its pool is thread-safe."""

    def __init__(self, pool_size: int) -> None:
        super().__init__(pool_connections=4, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def send(
        self, request: requests.PreparedRequest, *args: Any, **kwargs: Any
    ) -> requests.Response:
        left = _exchange().remaining_s()
        kwargs["timeout"] = (min(CONNECT_TIMEOUT_S, left), left)
        return super().send(request, *args, **kwargs)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        # We ask for no compression. A body that is compressed all the same stays so, or a few
        # kilobytes could unpack to gigabytes; it then fails to parse as JSON.
        resp.headers.pop("Content-Encoding", None)
        # No redirect is followed, but requests would parse its address all the same, and fail on
        # one that is not UTF-8.
        resp.headers.pop("Location", None)
        return super().build_response(req, resp)


class _Session(Protocol):
    trust_env: bool
    max_redirects: int
    headers: Any
    cookies: Any

    def mount(self, prefix: str, adapter: Any) -> None: ...


def prepare(session: _Session, adapter: DeadlineAdapter) -> None:
    """Mount this transport on a requests session (Authlib's is one), without the environment."""
    session.trust_env = False
    session.max_redirects = 0
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    session.headers.update(HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
