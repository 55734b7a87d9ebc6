"""Take the pictures of README.md and docs/demo.md anew: `.venv/bin/python docs/screenshots.py`, after `make demo` once.

Starts the demo's two programs on free ports, writes messages as a person would, and saves the pages
to docs/screenshots/. Needs the packages of requirements-dev.txt and Chromium or Chrome.
"""

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from webapp import demo  # noqa: E402 (found only by the line above)

FOLDER = PROJECT / "docs" / "screenshots"
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
TALL: ViewportSize = {"width": 1280, "height": 1080}
PHONE: ViewportSize = {"width": 390, "height": 844}
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")

REMINDER = (
    "Good morning Ms Großmann, this is a reminder of your appointment today at 10:00. "
    "Remember to bring your card. Praxis Dr. Sommer"
)
TEXTS = (
    ("0176 04069002", "Your prescription is ready. Praxis Dr. Sommer"),
    ("0171 3920021", REMINDER),
    ("0171 3920002", "Your results are here. You can call us until six."),
    ("0171 3920020", "We are closed on Friday. Your next appointment is on Monday at nine."),
    ("0171 3920006", "Call us back when you can. Praxis Dr. Sommer"),
)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        sys.exit("Needs Chromium or Chrome.")
    os.environ["QUIET_HOURS"] = ""  # the pictures are the same at night
    with running_demo() as (app, simulator), sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-gpu"],
            env={**os.environ, "LANGUAGE": "en_GB"},  # how date fields look
        )
        take_all(browser, app, simulator)
        browser.close()


@contextmanager
def running_demo() -> Iterator[tuple[str, str]]:
    """The addresses of the app and of the simulator, for as long as the block runs."""
    app_port = demo.free_port(5100)
    simulator_port = demo.free_port(app_port + 1)
    app_url, simulator_url = f"http://localhost:{app_port}", f"http://localhost:{simulator_port}"
    secret = secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory() as folder:
        simulator = demo.start_simulator(simulator_port, app_port, secret)
        environment = demo.app_environment(simulator_port, app_port, secret, Path(folder))
        app = demo.start("webapp.server", [], environment)
        try:
            demo.wait_for(simulator_url, simulator)
            demo.wait_for(f"{app_url}/healthz", app)
            yield app_url, simulator_url
        finally:
            demo.stop_all([app, simulator])


def take_all(browser: Browser, app: str, simulator: str) -> None:
    context = browser.new_context(
        viewport=DESKTOP, locale="en-GB", timezone_id="Europe/Berlin", color_scheme="light"
    )
    page = context.new_page()
    page.goto(app)
    take(page, "welcome")
    sign_in(page)
    take_form(page, app)
    for number, text in TEXTS:
        send(page, app, number, text)
        name = {"0171 3920020": "accepted", "0171 3920006": "unknown"}.get(number)
        if name:
            take(page, name)
    take_at(page, f"{app}/messages", "messages")
    take_at(page, f"{simulator}/phones", "phones")


def take_form(page: Page, app: str) -> None:
    """Light, dark, and on a phone."""
    write(page, app, "0171 3920021", REMINDER)
    page.get_by_role("button", name="Tomorrow 08:00").click()
    page.set_viewport_size(TALL)
    take(page, "compose")
    page.emulate_media(color_scheme="dark")
    take(page, "compose-dark")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light")
    take(page, "compose-phone")
    page.set_viewport_size(DESKTOP)


def sign_in(page: Page) -> None:
    page.get_by_role("link", name="Sign in with sipgate").click()
    page.get_by_label("Anna Sommer").check()
    page.get_by_role("button", name="Allow").click()
    page.get_by_label("Message", exact=True).wait_for()


def write(page: Page, app: str, number: str, text: str) -> None:
    page.goto(app)
    page.get_by_label("To", exact=True).fill(number)
    page.get_by_label("Message", exact=True).fill(text)


def send(page: Page, app: str, number: str, text: str) -> None:
    write(page, app, number, text)
    page.get_by_role("button", name="Now", exact=True).click()  # a kept draft may have a time
    page.get_by_role("button", name="Send now").click()
    page.wait_for_url("**/messages/*")


def take_at(page: Page, url: str, name: str) -> None:
    page.goto(url)
    take(page, name)


def take(page: Page, name: str) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    path = FOLDER / f"{name}.png"
    page.screenshot(path=path, animations="disabled", caret="hide")


if __name__ == "__main__":
    main()
