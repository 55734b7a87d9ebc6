"""What the fault tests share: the verdict on a message, steps that people take, bad servers.

`expect` gives the verdict: page, JSON twin and the simulator's ledger must agree.
"""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask
from werkzeug.serving import make_server

from tests.conftest import ON_POSTGRESQL, database_url
from tests.support.pages import Browser, Page
from webapp.simulator import Arrival, Simulator, running_simulator
from webapp.sipgate import Sipgate

LOOPBACK = "127.0.0.1"
SENT = ("accepted", "scheduled")
NOT_SENT = ("refused", "not_sent")
REPEATABLE = (*NOT_SENT, "unknown")
T = TypeVar("T")


# --- The verdict ----------------------------------------------------------------------------------


def expect(
    browser: Browser, answer: Page, outcome: str, reason: str = "", *, says: str = ""
) -> Page:
    """Judge the message that `answer` leads to (or shows), and return its page."""
    page = browser.follow(answer) if answer.status == 303 else answer
    assert page.status == 200, f"{page.status} instead of the message's page: {page.text[:300]}"
    twin = browser.twin(page)
    found = (twin["outcome"], twin["reason"])
    assert found == (outcome, reason), f"{found} instead of {(outcome, reason)}: {page.text[:300]}"
    judge_arrivals(browser.sipgate.world.arrivals_for(twin["recipient"]), outcome)
    _judge_page(page, outcome)
    assert says.casefold() in page.text.casefold(), f"{says!r} is not on the page: {page.text}"
    return page


def judge_arrivals(arrivals: list[Arrival], outcome: str) -> None:
    """At most one POST, or two after a 401, and as many of them accepted as the outcome says."""
    statuses = [arrival.status for arrival in arrivals]
    accepted = sum(arrival.accepted for arrival in arrivals)
    assert len(statuses) <= 1 or (len(statuses) == 2 and statuses[0] == 401), statuses
    if outcome in SENT:
        assert accepted == 1, f"{outcome}, but sipgate accepted {accepted}: {statuses}"
    if outcome in NOT_SENT:
        assert accepted == 0, f"{outcome}, but sipgate accepted {accepted}: {statuses}"
    if outcome == "not_sent":
        assert set(statuses) <= {401}, f"not_sent, but sipgate was asked: {statuses}"
    assert accepted <= 1, f"accepted {accepted} times"


def _judge_page(page: Page, outcome: str) -> None:
    shown = page.soup.select_one("[data-outcome]")
    assert shown is not None, f"no outcome on the page: {page.text[:300]}"
    assert shown["data-outcome"] == outcome
    words = page.text.casefold()
    assert ("accepted by sipgate" in words) == (outcome == "accepted"), page.text
    assert ("sipgate has it and will send it" in words) == (outcome == "scheduled"), page.text
    assert ("nothing was sent" in words) == (outcome in NOT_SENT), page.text
    assert ("cannot tell" in words) == (outcome == "unknown"), page.text
    assert again_link(page) == (outcome in REPEATABLE), page.text


def again_link(page: Page) -> bool:
    """Whether the page offers "Send again"."""
    return any(a.get_text(strip=True) == "Send again" for a in page.soup.select("main a"))


@contextmanager
def case(*what: object) -> Iterator[None]:
    """Name the row of a table in the failure it causes."""
    try:
        yield
    except AssertionError as error:
        error.add_note(f"in the case {what}")
        raise


# --- What people do -------------------------------------------------------------------------------


def prefilled(page: Page) -> dict[str, str]:
    """What a browser would send of a form that came with values."""
    return {name: value.removeprefix("\r\n") for name, value in page.fields().items()}


def sign_in_by_link(browser: Browser, asked: Page, person: str = "anna") -> Page:
    """Follow a page's "Sign in again" to sipgate and back, to where it leads."""
    link = next(a for a in asked.soup.select("main a") if a.get_text(strip=True) == "Sign in again")
    address = browser.get(str(link["href"]), status=302).location
    return browser.follow(browser.get(browser.callback_path(address, person), status=302))


# --- The app under test ---------------------------------------------------------------------------


def limit(
    app: Flask, *, send_s: float = 0.5, read_s: float = 0.5, api_url: str | None = None
) -> Sipgate:
    """Give the app a client with small limits (and, if wanted, another sipgate)."""
    client = Sipgate(
        api_url or app.config["SETTINGS"].sipgate_api_url,
        pool_size=64,
        send_deadline_s=send_s,
        read_deadline_s=read_s,
    )
    app.extensions["sipgate"] = client
    return client


def another_tab(browser: Browser) -> Browser:
    """The same browser once more, with its cookies as they are now: one for each thread."""
    tab = Browser(browser.app, browser.sipgate)
    name, value = cookie_of(browser)
    secure = browser.base_url.startswith("https")
    tab.client.set_cookie(name, value, domain=host_of(browser), secure=secure)
    return tab


def cookie_of(browser: Browser) -> tuple[str, str]:
    """Name and value of the session's cookie."""
    name = str(browser.app.config["SESSION_COOKIE_NAME"])
    cookie = browser.client.get_cookie(name, host_of(browser))
    assert cookie is not None, "this browser has no session cookie"
    return name, cookie.value


def host_of(browser: Browser) -> str:
    return str(urlsplit(browser.base_url).hostname)


def in_parallel(*calls: Callable[[], T]) -> list[T]:
    """All calls at once, each in a thread of its own; their results in order."""
    barrier = threading.Barrier(len(calls))

    def together(call: Callable[[], T]) -> T:
        barrier.wait(timeout=10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(together, calls))


def wait_until(is_so: Callable[[], bool], *, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.005)


@contextmanager
def write_lock(database: Path) -> Iterator[None]:
    """Hold the database's write lock from another connection."""
    other = sa.create_engine(database_url(database), poolclass=sa.NullPool)
    with other.connect() as connection:
        if ON_POSTGRESQL:
            tables = ", ".join(sa.inspect(connection).get_table_names())
            connection.exec_driver_sql(f"LOCK TABLE {tables} IN EXCLUSIVE MODE")
        else:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        yield
        connection.rollback()


@contextmanager
def serving(app: Flask) -> Iterator[int]:
    """The app on a real port, with threads; yields the port."""
    server = make_server(LOOPBACK, 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- Servers that misbehave -----------------------------------------------------------------------


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset: lingering is on with a time of 0."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_request(connection: socket.socket) -> bytes:
    """One whole request: head, and as much body as its length promises."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += _some(connection)
    return head + b"\r\n\r\n" + body


def _some(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client has gone")
    return data


class RawServer:
    """Answers each connection with `meet`; `requests` is what came in, whole or not."""

    def __init__(self, meet: Callable[[socket.socket, "RawServer"], None]) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._meet = meet
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        # Closing a socket does not wake an accept; a last connection does.
        self._stopping = True
        with socket.create_connection((LOOPBACK, self.port)):
            self._thread.join()
        self._listener.close()

    _stopping = False

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._stopping:
                    return
                connection.settimeout(5)
                self.connections += 1
                try:
                    self._meet(connection, self)
                except OSError:
                    continue


@contextmanager
def raw_server(meet: Callable[[socket.socket, RawServer], None]) -> Iterator[RawServer]:
    server = RawServer(meet)
    try:
        yield server
    finally:
        server.stop()


def answering(answer: bytes, *, then_reset: bool = False) -> Any:
    """A server that reads the request and answers exactly these bytes, then closes."""

    def meet(connection: socket.socket, server: RawServer) -> None:
        server.requests.append(read_request(connection))
        connection.sendall(answer)
        if then_reset:
            time.sleep(0.05)  # so that the client reads what came before the reset overtakes it
            reset(connection)

    return raw_server(meet)


def resetting_after(byte_count: int) -> Any:
    """A server that reads so many bytes of the request, then resets the connection."""

    def meet(connection: socket.socket, server: RawServer) -> None:
        server.requests.append(connection.recv(byte_count))
        reset(connection)

    return raw_server(meet)


@contextmanager
def black_hole() -> Iterator[str]:
    """An address whose connections are never established: a listener with a full backlog."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((LOOPBACK, port))
            time.sleep(0.05)
            yield f"http://{LOOPBACK}:{port}"
        finally:
            for filler in fillers:
                filler.close()


def is_black(url: str) -> bool:
    """Whether connecting there really hangs; some kernels take more than the backlog says."""
    parts = urlsplit(url)
    try:
        socket.create_connection((str(parts.hostname), parts.port), timeout=0.2).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def tls_sipgate(simulator: Simulator, context: ssl.SSLContext) -> Iterator[Simulator]:
    """The same simulated sipgate, and the same ledger, behind TLS on another port."""
    with running_simulator(simulator.world, tls=context) as running:
        yield running
