"""The app and sipgate over real HTTP on loopback, and a real Chromium that visits both.

Whatever a test does, its browser is watched: an error in the console, a violation of the
Content-Security-Policy or a request to any other host fails the test. With TEST_PUBLIC_URL on
https the app speaks TLS to the browser, too.
"""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import trustme
from flask import Flask
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    ConsoleMessage,
    Request,
    Response,
    expect,
)

from tests.browser.visitor import Visitor
from tests.conftest import PUBLIC_URL, WHOLE_BROWSERS, MakeApp, browser_program
from tests.support.pages import Browser as QuickBrowser
from webapp.simulator import Simulator, World
from webapp.simulator.server import LOOPBACK, SimulatorServer

HERE = __name__.rpartition(".")[0].replace(".", "/")
IS_TLS = PUBLIC_URL.startswith("https")
ADMITTED = "1234567"
"""The practice. Karl's workshop has to stay outside."""
WAIT_MS = 20_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if f"{HERE}/" in item.path.as_posix():
            item.add_marker(pytest.mark.browser)


class LiveApp:
    """The app behind an address: `url` has no slash at the end."""

    def __init__(self, url: str, app: Flask, sipgate: Simulator) -> None:
        self.url = url
        self.app = app
        self.sipgate = sipgate


class Watch:
    """Writes down what must not happen in a browser."""

    def __init__(self, context: BrowserContext) -> None:
        self.reset()
        context.on("console", self._console)
        context.on("weberror", lambda error: self._found.append(f"script: {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)

    def reset(self) -> None:
        self._found: list[str] = []
        self._errors: list[tuple[str, str]] = []
        self._pages_with_bad_status: set[str] = set()

    def check(self) -> None:
        """Chrome reports a page with a status such as 422 as an error of its own: that one may."""
        errors = [
            f"console: {text} ({url})"
            for text, url in self._errors
            if not (text.startswith("Failed to load") and url in self._pages_with_bad_status)
        ]
        assert not self._found + errors

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._errors.append((message.text, str(message.location.get("url"))))

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.hostname not in ("localhost", LOOPBACK):
            self._found.append(f"a request to {parts.hostname}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.request.is_navigation_request():
            self._pages_with_bad_status.add(response.url)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """With the cache for going back that people's browsers have and Playwright turns off."""
    return {**browser_type_launch_args, "ignore_default_args": ["--disable-back-forward-cache"]}


@pytest.fixture(scope="session")
def certificate() -> ssl.SSLContext | None:
    """A certificate for localhost, where this run is about TLS."""
    if not IS_TLS:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def live_settings() -> dict[str, str]:
    """Planned times go to sipgate at once here, where their arrival can be compared."""
    return {"SCHEDULE_HANDOVER_MINUTES": "44640"}


@pytest.fixture(scope="session")
def live_server(
    simulator: Simulator, certificate: ssl.SSLContext | None
) -> Iterator[SimulatorServer]:
    """The simulator's server, for one app after the other: threads, keep-alive, a clean end.

    The port is there before the apps, because an app must know its own address.
    """
    server = SimulatorServer(World(), 0, tls=certificate, control=False)
    thread = threading.Thread(target=server.run, name="live app", daemon=True)
    thread.start()
    with closing(server.socket):
        yield server
        server.stop()
        thread.join()


@pytest.fixture
def live_app(
    keep_app: MakeApp,
    sipgate: Simulator,
    live_server: SimulatorServer,
    live_settings: dict[str, str],
) -> Iterator[LiveApp]:
    url = f"{'https' if IS_TLS else 'http'}://localhost:{live_server.port}"
    app = keep_app(PUBLIC_URL=url, SIPGATE_ACCOUNTS=ADMITTED, **live_settings)
    registered = sipgate.world.client
    sipgate.world.client = replace(registered, redirect_uris=(f"{url}/auth/callback",))
    requests = Requests(app)
    live_server.app = requests
    try:
        yield LiveApp(url, app, sipgate)
    finally:
        live_server.app = gone
        sipgate.world.client = registered
        if requests.are_running:
            sipgate.stop()  # some wait for an answer of it, for as long as their test said
        requests.wait_for_their_end()


class Requests:
    """An app, of which one can wait until it is not at work."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._count = 0
        self._changed = threading.Condition()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        self._add(1)
        try:
            with closing(self._app(environ, start_response)) as answer:
                return list(answer)
        finally:
            self._add(-1)

    def _add(self, number: int) -> None:
        with self._changed:
            self._count += number
            self._changed.notify_all()

    @property
    def are_running(self) -> bool:
        return self._count > 0

    def wait_for_their_end(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: not self._count, WAIT_MS / 1000)


def gone(_environ: Any, start_response: Any) -> list[bytes]:
    """What a page of an earlier test is told."""
    start_response("410 Gone", [])
    return []


@pytest.fixture(scope="session")
def whole_browser(
    browser_type: BrowserType, browser_type_launch_args: dict[str, Any]
) -> Iterator[Browser]:
    """The one that people have, which keeps the pages they leave."""
    arguments = {**browser_type_launch_args, "executable_path": browser_program(WHOLE_BROWSERS)}
    with closing(browser_type.launch(**arguments)) as launched:
        yield launched


@pytest.fixture
def this_browser(request: pytest.FixtureRequest, browser_name: str) -> Browser:
    """The test's browser: the whole one if it goes back to pages, else the one that is cheaper."""
    assert browser_name == "chromium"
    goes_back = request.node.get_closest_marker("goes_back")
    found: Browser = request.getfixturevalue("whole_browser" if goes_back else "browser")
    return found


@pytest.fixture(scope="session")
def watched_contexts() -> Callable[..., tuple[BrowserContext, Watch]]:
    """Browsers by their options. Making one takes a second, so the tests wipe and share them."""
    made: dict[str, tuple[BrowserContext, Watch]] = {}
    expect.set_options(timeout=WAIT_MS)

    def find(browser: Browser, **options: Any) -> tuple[BrowserContext, Watch]:
        options = {"timezone_id": "Europe/Berlin", "locale": "en-GB", **options}
        key = repr((id(browser), sorted(options.items())))
        if key not in made:
            context = browser.new_context(ignore_https_errors=IS_TLS, **options)
            context.set_default_timeout(WAIT_MS)
            context.new_page()  # keeps the process that shows pages
            made[key] = context, Watch(context)
        return made[key]

    return find


@pytest.fixture
def new_visitor(
    watched_contexts: Callable[..., tuple[BrowserContext, Watch]],
    this_browser: Browser,
    live_app: LiveApp,
) -> Iterator[Callable[..., Visitor]]:
    """Make a person with a wiped browser; keyword arguments are Playwright's."""
    used: list[tuple[BrowserContext, Watch]] = []

    def make(**options: Any) -> Visitor:
        context, watch = watched_contexts(this_browser, **options)
        context.clear_cookies()
        watch.reset()
        used.append((context, watch))
        quick = QuickBrowser(live_app.app, live_app.sipgate)
        return Visitor(context.new_page(), live_app.url, live_app.sipgate, quick)

    yield make
    for context, watch in used:
        for page in context.pages[1:]:
            page.close()
        watch.check()


@pytest.fixture
def signed_in(new_visitor: Callable[..., Visitor], live_app: LiveApp) -> Callable[..., Visitor]:
    """Make a person who has signed in, without the time that it takes on the screen."""

    def make(person: str = "anna", **options: Any) -> Visitor:
        visitor = new_visitor(**options)
        visitor.quick.sign_in(person)
        name = live_app.app.config["SESSION_COOKIE_NAME"]
        cookie = visitor.quick.client.get_cookie(name, domain="localhost")
        assert cookie is not None
        value: Any = {"name": name, "value": cookie.value, "url": live_app.url}
        visitor.page.context.add_cookies([value])
        return visitor

    return make


@pytest.fixture
def visitor(new_visitor: Callable[..., Visitor]) -> Visitor:
    """Somebody who has not signed in."""
    return new_visitor()


@pytest.fixture
def anna(signed_in: Callable[..., Visitor]) -> Visitor:
    """Anna Sommer, signed in: an admin with the extensions s0 and s1."""
    return signed_in()


@pytest.fixture(params=["with JavaScript", "without JavaScript"])
def writer(request: pytest.FixtureRequest, signed_in: Callable[..., Visitor]) -> Visitor:
    """Anna Sommer, signed in: once with JavaScript and once without."""
    return signed_in(java_script_enabled=request.param == "with JavaScript")
