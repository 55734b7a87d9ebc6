"""Plays faults, below HTTP if necessary, on the socket that the server puts into the WSGI
environment. `faults` decides which call meets which fault.
"""

import gzip
import io
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from functools import cache
from threading import Event
from typing import Any

from flask import Response

from webapp.simulator.faults import REDIRECT_TARGET, Fault, error_body

RAW = "simulator.raw"
"""Key in the WSGI environment: the answer is already on the wire (or there is none), so the
server writes nothing more and closes."""

_HUGE_BYTES = 100 * 1024 * 1024
_CHUNK = b"x" * (1024 * 1024)
_POLL_S = 0.02  # how soon a waiting fault notices that its client has gone or that it must stop
_FOREVER_S = 3600.0
_PEER_CLOSED = getattr(select, "POLLRDHUP", select.POLLHUP)  # the first exists on Linux only


class Halted(Exception):
    """The simulator was reset or shut down while a fault was being played."""


class Wire:
    """The connection below HTTP."""

    def __init__(self, environ: dict[str, Any], halt: Event) -> None:
        self._socket: socket.socket = environ["werkzeug.socket"]
        self._halt = halt

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than the client does: OSError when it has gone. Raises Halted."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self._halt.wait(min(left, _POLL_S)):
                raise Halted
            if self._client_has_gone():
                raise ConnectionError("the client has gone")

    def send(self, data: bytes) -> None:
        if self._halt.is_set():
            raise Halted
        self._socket.sendall(data)

    def reset(self) -> None:
        """Close with a TCP reset: lingering is on with a time of 0."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server's buffered files keep a closed socket open; a detached one is ours alone.
        os.close(self._socket.detach())

    def _client_has_gone(self) -> bool:
        """True when the client closed its side, also with data of its own still unread."""
        poll = select.poll()
        try:
            poll.register(self._socket.fileno(), _PEER_CLOSED)
        except ValueError:  # closed by a server that is being stopped
            return True
        return bool(poll.poll(0))


def pause(fault: Fault, environ: dict[str, Any], halt: Event) -> bool:
    """Wait before the request is carried out; False: nobody waits for the answer any more."""
    try:
        Wire(environ, halt).wait(fault.delay_s)
    except (OSError, Halted):
        environ[RAW] = True
        return False
    return True


def play(fault: Fault, environ: dict[str, Any], halt: Event, usual: Response) -> Response:
    """Carry the fault out and return what the server shall still write."""
    wire = Wire(environ, halt)
    try:
        if fault.mode != "hang":
            wire.wait(fault.delay_s)
        if fault.is_only_slow:
            return usual
        if fault.mode in ("answer", "redirect"):
            return _response(fault)
        environ[RAW] = True
        _PLAYERS[fault.mode](wire, fault)
    except (OSError, Halted):
        environ[RAW] = True
    return Response()


def _response(fault: Fault) -> Response:
    status = fault.seen_status or 200
    body = error_body(status) if fault.body is None else fault.body
    response = Response(body, status=status, content_type=_content_type(body))
    if fault.mode == "redirect":
        response.headers["Location"] = REDIRECT_TARGET
    for name, value in fault.headers:
        response.headers[name] = value
    response.autocorrect_location_header = False
    return response


def _content_type(body: bytes) -> str:
    """By the look of it. `{` is JSON, `<` is HTML."""
    if body.startswith((b"{", b"[")):
        return "application/json"
    return "text/html; charset=utf-8" if body.startswith(b"<") else "text/plain; charset=utf-8"


def _head(fault: Fault, length: int, *extra: tuple[str, str]) -> bytes:
    status = fault.seen_status or 200
    lines = [f"HTTP/1.1 {status} Simulated", f"Content-Length: {length}"]
    headers = {"Content-Type": "application/json", **dict((*fault.headers, *extra))}
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")


def _hang(wire: Wire, fault: Fault) -> None:
    wire.wait(fault.delay_s or _FOREVER_S)


def _reset(wire: Wire, fault: Fault) -> None:
    wire.reset()


def _close(wire: Wire, fault: Fault) -> None:
    """Nothing: the server ends the connection by itself."""


def _drip_headers(wire: Wire, fault: Fault) -> None:
    body = fault.body or b""
    _drip(wire, _head(fault, len(body)) + body, fault.interval_s)


def _drip_body(wire: Wire, fault: Fault) -> None:
    body = fault.body or b"x" * 50
    wire.send(_head(fault, len(body)))
    _drip(wire, body, fault.interval_s)


def _drip(wire: Wire, data: bytes, interval_s: float) -> None:
    for byte in data:
        wire.send(bytes([byte]))
        wire.wait(interval_s)


def _break_body(wire: Wire, fault: Fault) -> None:
    wire.send(_head(fault, 100) + b"part")
    wire.wait(0.05)  # so that the client reads the status line before the reset overtakes it
    wire.reset()


def _endless_headers(wire: Wire, fault: Fault) -> None:
    wire.send(f"HTTP/1.1 {fault.status or 200} Simulated\r\n".encode())
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    while True:
        wire.send(line)


def _huge_body(wire: Wire, fault: Fault) -> None:
    wire.send(_head(fault, _HUGE_BYTES))
    for _ in range(_HUGE_BYTES // len(_CHUNK)):
        wire.send(_CHUNK)


def _gzip_bomb(wire: Wire, fault: Fault) -> None:
    body = _bomb()
    wire.send(_head(fault, len(body), ("Content-Encoding", "gzip")) + body)


@cache
def _bomb() -> bytes:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as bomb:
        for _ in range(_HUGE_BYTES // len(_CHUNK)):
            bomb.write(_CHUNK)
    return packed.getvalue()


_PLAYERS: dict[str, Callable[[Wire, Fault], None]] = {
    "hang": _hang,
    "reset": _reset,
    "reset_early": _reset,
    "close": _close,
    "drip_headers": _drip_headers,
    "drip_body": _drip_body,
    "break_body": _break_body,
    "endless_headers": _endless_headers,
    "huge_body": _huge_body,
    "gzip_bomb": _gzip_bomb,
}
