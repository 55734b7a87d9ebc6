"""A stand-in for sipgate that costs next to nothing: `python -m tests.benchmarks.upstream`.

The simulator checks tokens, keeps phones and costs as much as the app it answers; in a figure it
would hide what is ours. This one only knows the shapes, waits as long as it is told before it
answers a send or a read, and counts. Its own process; one thread, asyncio.

`GET /_state` tells what arrived; `POST /_reset?delay_ms=50` begins anew. Both at once.
"""

import asyncio
import json
import ssl
import sys
import time
from urllib.parse import parse_qs, urlsplit

HOST = "127.0.0.1"
SENDS = "/v2/sessions/sms"
EXTENSIONS = {"items": [{"id": "s0", "alias": "Benchmark", "callerId": "+4915799912345"}]}


class State:
    """What has arrived since the last reset."""

    def __init__(self, delay_s: float = 0.0) -> None:
        self.delay_s = delay_s
        self.requests = 0
        self.recipients: dict[str, int] = {}
        self.arrived_at: list[float] = []
        """One for each send, on `time.monotonic`, which all processes of a machine share."""

    def as_json(self) -> bytes:
        told = {
            "requests": self.requests,
            "sends": len(self.arrived_at),
            "recipients": len(self.recipients),
            "arrived_at": self.arrived_at[:: max(1, len(self.arrived_at) // 100)],
            "last_at": self.arrived_at[-1] if self.arrived_at else None,
        }
        return json.dumps(told).encode()


class Connection(asyncio.Protocol):
    """One connection: reads a request, answers after the delay, goes on."""

    state = State()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, gap, rest = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        method, target, _ = head.split(b" ", 2)
        self._take(method.decode(), target.decode(), rest[:length])

    def _take(self, method: str, target: str, body: bytes) -> None:
        parts = urlsplit(target)
        if parts.path.startswith("/_"):
            self._control(parts.path, parse_qs(parts.query))
            return
        state = Connection.state
        state.requests += 1
        if parts.path == SENDS and method == "POST":
            recipient = json.loads(body)["recipient"]
            state.recipients[recipient] = state.recipients.get(recipient, 0) + 1
            state.arrived_at.append(time.monotonic())
            answer = _answer("204 No Content")
        else:
            answer = _answer("200 OK", json.dumps(_said(parts.path)).encode())
        if state.delay_s:
            asyncio.get_running_loop().call_later(state.delay_s, self._write, answer)
        else:
            self._write(answer)

    def _control(self, path: str, query: dict[str, list[str]]) -> None:
        if path == "/_reset":
            Connection.state = State(float(query.get("delay_ms", ["0"])[0]) / 1000)
        self._write(_answer("200 OK", Connection.state.as_json()))

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)  # type: ignore[attr-defined]


def _said(path: str) -> object:
    if path.endswith("/token"):
        return {"access_token": "a", "refresh_token": "r", "expires_in": 3600}
    if path.endswith("/userinfo"):
        return {"sub": "w0", "masterSipId": "1234567"}
    if path.endswith("/sms"):
        return EXTENSIONS
    return {"id": "w0", "firstname": "Bench", "lastname": "Mark", "admin": False}


def _answer(status: str, body: bytes = b"") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def serve(port: int, tls_port: int, certificate: str) -> None:
    """Answer on both ports, with the same state, until the process is ended."""
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    plain = await loop.create_server(Connection, HOST, port, backlog=1024)
    secure = await loop.create_server(Connection, HOST, tls_port, ssl=context, backlog=1024)
    async with plain, secure:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
