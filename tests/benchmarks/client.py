"""A client that costs little, so that the figures are the server's: requests made beforehand, one
kept connection, and times in milliseconds."""

import asyncio
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit


def get(path: str, headers: Mapping[str, str]) -> bytes:
    return _request("GET", path, headers, b"")


def post(path: str, headers: Mapping[str, str], fields: Mapping[str, str]) -> bytes:
    form = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return _request("POST", path, form, urlencode(fields).encode())


def _request(method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: str
    body: bytes

    @property
    def location(self) -> str:
        """The path of where it leads."""
        for line in self.head.split("\r\n"):
            if line.lower().startswith("location:"):
                return urlsplit(line.partition(":")[2].strip()).path
        return ""


MAX_IDLE_S = 2.0
"""The server keeps a connection open for 5 s."""


class Connection:
    """A kept connection, opened again when it was idle for so long that the server may close it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._socket: socket.socket | None = None
        self._last_used = 0.0

    def ask(self, request: bytes) -> Answer:
        """Send a prepared request and read the whole answer."""
        if time.monotonic() - self._last_used > MAX_IDLE_S:
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._read()
        head, _, body = data.partition(b"\r\n\r\n")
        lowered = head.lower()
        found = lowered.partition(b"content-length:")[2].partition(b"\r\n")[0].strip()
        while len(body) < int(found or 0):
            body += self._read()
        self._last_used = time.monotonic()
        if b"connection: close" in lowered:
            self.close()
        return Answer(int(head.split(b" ", 2)[1]), head.decode("latin-1"), body)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> bytes:
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection in the middle")
        return data


def asker(at: Connection, request: bytes) -> Callable[[], None]:
    """A call that asks for a page, which has to be there."""

    def ask() -> None:
        answer = at.ask(request)
        assert answer.status == 200, (answer.status, answer.body[:1000])

    return ask


def timed_ms(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1000


IN_A_ROW = 5
"""Calls of one contestant before the next one's turn."""
SETTLE_S = 0.002
"""The server may still work when the answer is there; then its processor time is read."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A call, and what tells the processor time of the process that does its work, in seconds."""

    call: Callable[[], object]
    cpu_s: Callable[[], float] = time.process_time
    prepare: Callable[[], object] = lambda: None
    """What comes before each call and is not measured."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What the calls of a contestant took: each by the clock, and of the processor a call, on the
    average of each turn."""

    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        return statistics.median(self.wall_ms)

    @property
    def cpu(self) -> float:
        return statistics.median(self.cpu_ms)


def interleaved(contestants: Mapping[str, Contestant], times: int) -> dict[str, Taken]:
    """A few calls of each in turn, about `times` in all: whatever disturbs the machine disturbs all
    of them. Who comes first changes from turn to turn."""
    taken = {name: Taken() for name in contestants}
    names = list(contestants)
    for turn in range(max(1, times // IN_A_ROW)):
        first = turn % len(names)
        for name in (*names[first:], *names[:first]):
            _turn(contestants[name], taken[name], min(IN_A_ROW, times))
    return taken


def _turn(contestant: Contestant, taken: Taken, count: int) -> None:
    time.sleep(SETTLE_S)
    began = contestant.cpu_s()
    for _ in range(count):
        contestant.prepare()
        taken.wall_ms.append(timed_ms(contestant.call))
    time.sleep(SETTLE_S)
    taken.cpu_ms.append((contestant.cpu_s() - began) * 1000 / count)


@dataclass(frozen=True, slots=True)
class Waited:
    """How one of many was served."""

    status: int
    ms: float


async def _one(url: str, request: bytes, begin: asyncio.Event, after_s: float) -> Waited:
    parts = urlsplit(url)
    await begin.wait()
    await asyncio.sleep(after_s)
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(request)
    status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
    taken = (time.perf_counter() - began) * 1000
    writer.close()
    return Waited(status, taken)


async def _crowd(
    url: str, requests: Sequence[bytes], within_s: float
) -> tuple[float, list[Waited]]:
    begin = asyncio.Event()
    step = within_s / max(1, len(requests))
    all_ = [
        asyncio.ensure_future(_one(url, request, begin, place * step))
        for place, request in enumerate(requests)
    ]
    await asyncio.sleep(0.1)
    began = time.perf_counter()
    begin.set()
    answers = await asyncio.gather(*all_)
    return time.perf_counter() - began, answers


def crowd(url: str, requests: Sequence[bytes], within_s: float = 0) -> tuple[float, list[Waited]]:
    """Everybody opens a connection and sends one request: all at once, or evenly within a time.

    Returns how many seconds it took until the last was answered, and how each was served.
    """
    return asyncio.run(_crowd(url, requests, within_s))


async def _stream(url: str, requests: Iterable[bytes], people: int) -> tuple[float, list[Waited]]:
    parts = urlsplit(url)
    queue, answers = iter(requests), list[Waited]()

    async def person() -> None:
        for request in queue:
            began = time.perf_counter()
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
            answers.append(Waited(status, (time.perf_counter() - began) * 1000))
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(person() for _ in range(people)))
    return time.perf_counter() - began, answers


def stream(url: str, requests: Iterable[bytes], people: int) -> tuple[float, list[Waited]]:
    """So many people, each sending again as soon as the last is answered, until all is sent."""
    return asyncio.run(_stream(url, requests, people))


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(values: Sequence[float]) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
