"""The HTTP server: Werkzeug's threads with keep-alive, raw sockets for faults, and a clean stop.

`running_simulator` starts it in a thread, for the tests as well as for `__main__`.
"""

import io
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from webapp.simulator.app import create_app
from webapp.simulator.faults import Fault
from webapp.simulator.grants import Client
from webapp.simulator.records import PhoneText
from webapp.simulator.wire import RAW
from webapp.simulator.world import World

log = logging.getLogger("simulator")

LOOPBACK = "127.0.0.1"


class RequestBody(io.RawIOBase):
    """The request's body: as many bytes as promised, read when they are wanted."""

    def __init__(self, source: Any, length: int) -> None:
        self._source = source
        self.left = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data: bytes = self._source.read(min(len(buffer), self.left))
        buffer[: len(data)] = data
        self.left -= len(data)
        return len(data)


class Handler(WSGIRequestHandler):
    """One connection. Werkzeug's own handler closes it after each answer; this one keeps it.

    An answer leaves in one write, and what the app did not read of a request is read before the
    next one.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: "SimulatorServer"

    def setup(self) -> None:
        if self.server.tls is not None:
            # Here, in the connection's own thread, so that a slow handshake holds up nobody.
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        self.server.connections.add(self.request)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.server.connections.discard(self.connection)
        self.server.close_connection(self.connection)

    def run_wsgi(self) -> None:
        environ = self.environ = self.make_environ()
        body = self._body(environ)
        status, headers, content = self._answer(environ)
        if environ.get(RAW):
            self.close_connection = True
            return
        while body.left and body.read(65536):
            pass
        self._write(status, headers, content)

    def _body(self, environ: Any) -> RequestBody:
        source, length = environ["wsgi.input"], int(environ.get("CONTENT_LENGTH") or 0)
        if environ.get("wsgi.input_terminated"):  # chunked, and Werkzeug has taken the chunks apart
            content = source.read()
            source, length = io.BytesIO(content), len(content)
        body = RequestBody(source, length)
        environ["wsgi.input"] = io.BufferedReader(body)
        return body

    def _answer(self, environ: Any) -> tuple[str, list[tuple[str, str]], bytes]:
        started: list[Any] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Any:
            started[:] = [status, headers]
            return None

        chunks = self.server.app(environ, start_response)
        try:
            content = b"".join(chunks)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return started[0], started[1], content

    def _write(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        """HEAD has the length of the GET but no body; 204 and 304 have neither (RFC 9110, 8.6)."""
        bodiless = status[:3] in ("204", "304") or self.command == "HEAD"
        lines = [f"{self.protocol_version} {status}", f"Date: {self.date_time_string()}"]
        names = {name.lower() for name, _ in headers}
        if "content-length" not in names and status[:3] not in ("204", "304"):
            headers = [*headers, ("Content-Length", str(len(content)))]
        if self.close_connection:
            headers = [*headers, ("Connection", "close")]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head if bodiless else head + content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Quiet: the ledger knows what arrived."""

    def log(self, type: str, message: str, *args: Any) -> None:
        log.debug(message.rstrip(), *args)


class SimulatorServer(ThreadedWSGIServer):
    """A server that can be stopped for good: listening socket, kept connections and hangs."""

    request_queue_size = 1024

    def __init__(
        self, world: World, port: int, *, tls: ssl.SSLContext | None, control: bool
    ) -> None:
        self.connections: set[socket.socket] = set()
        self.tls = tls
        super().__init__(LOOPBACK, port, create_app(world, with_control=control), Handler)
        self.ssl_context = tls  # set afterwards: Werkzeug would shake hands in the accepting thread
        self.world = world

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("connection from %s ended", client_address, exc_info=True)

    def close_connection(self, connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            log.debug("the connection was closed before")
        connection.close()

    def run(self) -> None:
        """Serve until `stop` is called from another thread."""
        self.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self.shutdown()
        self.world.halt.set()
        for connection in list(self.connections):
            self.close_connection(connection)


class Simulator:
    """A simulator in a thread: its addresses, its world, and a switch."""

    def __init__(self, world: World, port: int, tls: ssl.SSLContext | None, control: bool) -> None:
        self.world = world
        self.port = port
        self._tls = tls
        self._control = control
        self.start()

    @property
    def base_url(self) -> str:
        """Without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://{LOOPBACK}:{self.port}"

    @property
    def issuer(self) -> str:
        return f"{self.base_url}/auth/realms/{self.world.realms[0]}"

    @property
    def api_url(self) -> str:
        return f"{self.base_url}/v2"

    @property
    def client(self) -> Client:
        return self.world.client

    @property
    def phones(self) -> dict[str, list[PhoneText]]:
        return self.world.phones

    def access_token(self, person: str, scope: str = "all") -> str:
        """A fresh access token for a person (a key), without the detour over a browser."""
        return self.world.sign_in(person, scope, self.issuer)

    def fail_next(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        self.world.fail_next(endpoint, fault, times)

    def reset(self) -> None:
        """Back to the first state, and up again if it was stopped."""
        self.world.reset()
        if not self.is_running:
            self.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self.world.renew_halt()
        self._server = SimulatorServer(self.world, self.port, tls=self._tls, control=self._control)
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.run, name="simulator", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections and cut those that are open: sipgate is away."""
        if self.is_running:
            self._server.stop()
            self._thread.join()


@contextmanager
def running_simulator(
    world: World | None = None,
    *,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    control: bool = False,
) -> Iterator[Simulator]:
    """A simulator on a loopback port (0: any free one) for as long as the block runs."""
    simulator = Simulator(world or World(), port, tls, control)
    try:
        yield simulator
    finally:
        simulator.stop()
