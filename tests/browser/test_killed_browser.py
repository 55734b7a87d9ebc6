"""A browser that is killed while its batch is being sent."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright

from tests.browser.conftest import LiveApp
from tests.browser.visitor import Visitor
from tests.support.pages import Browser as QuickBrowser
from tests.support.worker import work
from webapp.simulator import Fault

COUNT = 6


class OwnChromium:
    """A Chromium process of our own, which can be killed; visited over its debugging port."""

    def __init__(self, playwright: Playwright, arguments: dict[str, Any], folder: Path) -> None:
        self._process = subprocess.Popen(
            [
                arguments["executable_path"],
                "--headless=new",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                *arguments["args"],
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.browser = self._connect(playwright, folder / "DevToolsActivePort")

    def _connect(self, playwright: Playwright, told: Path) -> Browser:
        until = time.monotonic() + 30
        while not told.exists() or not told.read_text():
            assert time.monotonic() < until, "Chromium did not start"
            time.sleep(0.05)
        port = told.read_text().split()[0]
        return playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")

    def kill(self) -> None:
        """SIGKILL it and all of its processes, which are a session of their own."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def chromium(
    playwright: Playwright, browser_type_launch_args: dict[str, Any], tmp_path: Path
) -> Iterator[OwnChromium]:
    started = OwnChromium(playwright, browser_type_launch_args, tmp_path / "profile")
    yield started
    started.kill()


@pytest.mark.slow  # starts a Chromium of its own
def test_f42_a_batch_goes_on_without_the_browser_and_is_there_on_return(
    live_app: LiveApp, chromium: OwnChromium, signed_in: Callable[..., Visitor]
) -> None:
    quick = QuickBrowser(live_app.app, live_app.sipgate)
    quick.sign_in("anna")
    cookie = quick.client.get_cookie(live_app.app.config["SESSION_COOKIE_NAME"], "localhost")
    assert cookie is not None
    context = chromium.browser.new_context(ignore_https_errors=True, locale="en-GB")
    value: Any = {"name": cookie.key, "value": cookie.value, "url": live_app.url}
    context.add_cookies([value])
    visitor = Visitor(context.new_page(), live_app.url, live_app.sipgate, quick)
    numbers = [f"+49171392007{n}" for n in range(COUNT)]
    visitor.go("/")
    visitor.write("\n".join(numbers), "Hello")
    visitor.button.click()
    visitor.page.get_by_role("button", name=f"Send {COUNT} messages").click()
    visitor.page.wait_for_url("**/batches/*")
    address = visitor.page.url.removeprefix(live_app.url)
    live_app.sipgate.world.fail_from("send", 2, Fault(delay_s=0.1, deliver=True))

    chromium.kill()
    work(live_app.app)

    back = signed_in()
    back.go(address)
    back.see(f"{COUNT} of {COUNT}")
    arrivals = live_app.sipgate.world.arrivals
    assert sorted(one.recipient for one in arrivals) == numbers
