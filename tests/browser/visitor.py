"""A person in front of the app, in words of what people do."""

import re

from playwright.sync_api import Locator, Page, expect

from tests.support.pages import Browser
from tests.support.raw_servers import limit
from webapp.simulator import Fault, PhoneText, Simulator

RECIPIENT = "+491713920050"
"""A number that the simulator accepts."""


class Visitor:
    """One person's browser tab. What is typed and clicked is found by label and role."""

    def __init__(self, page: Page, url: str, sipgate: Simulator, quick: Browser) -> None:
        self.page = page
        self.url = url
        self.sipgate = sipgate
        self.quick = quick
        """The same person without a screen: for what has happened before a test begins."""

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def new_tab(self) -> "Visitor":
        return Visitor(self.page.context.new_page(), self.url, self.sipgate, self.quick)

    def sign_in(self, name: str) -> None:
        """Through sipgate's page, by the button on the start page."""
        self.go("/")
        self.page.get_by_role("link", name="Sign in with sipgate").click()
        self.consent(name)

    def consent(self, name: str, button: str = "Allow") -> None:
        self.page.get_by_role("radio", name=re.compile(name)).check()
        self.page.get_by_role("button", name=button).click()
        self.page.wait_for_url(f"{self.url}/**")

    def write(self, to: str = RECIPIENT, text: str = "Hello", *, at: str = "") -> None:
        """Fill in the form on this page; `at` as a date field has it, 2026-12-24T08:00."""
        self.to.fill(to)
        self.message.fill(text)
        if at:
            self.show_time()
            self.send_at.fill(at)

    def show_time(self) -> None:
        """Day and time, which JavaScript shows on demand only."""
        other = self.page.get_by_role("button", name="Other…")
        if other.is_visible() and other.get_attribute("aria-expanded") == "false":
            other.click()

    def show_zone(self) -> None:
        self.show_time()
        change = self.page.get_by_role("button", name=re.compile("time · change$"))
        if change.is_visible():
            change.click()

    @property
    def tokens(self) -> Locator:
        """The recipients that the field's own line does not show."""
        return self.page.get_by_role("toolbar", name="Recipients").get_by_role("button")

    def send(self, to: str = RECIPIENT, text: str = "Hello", *, at: str = "") -> None:
        """Write a new message, send it, and wait for the page that tells its outcome."""
        self.go("/")
        self.write(to, text, at=at)
        self.button.click()
        self.page.wait_for_url("**/messages/*")

    def send_slowly(self, seconds: float) -> None:
        """Send what is written; returns while it is on its way to sipgate, for that long."""
        limit(self.quick.app, send_s=2 * seconds, read_s=20)
        self.sipgate.fail_next("send", Fault(delay_s=seconds, deliver=True))
        self.button.click(no_wait_after=True)
        while not self.sipgate.world.calls["send"]:
            self.page.wait_for_timeout(20)

    @property
    def to(self) -> Locator:
        return self.page.get_by_label("To", exact=True)

    @property
    def message(self) -> Locator:
        return self.page.get_by_label("Message", exact=True)

    @property
    def send_at(self) -> Locator:
        return self.page.get_by_label("Send at", exact=True)

    @property
    def button(self) -> Locator:
        """The form's primary action: its first submit control in source order."""
        return self.page.locator("main form button[type=submit]").first

    @property
    def suggestions(self) -> Locator:
        return self.page.get_by_role("listbox", name="Contacts").get_by_role("option")

    @property
    def main(self) -> Locator:
        return self.page.get_by_role("main")

    @property
    def outcome(self) -> str:
        """Of the message whose page this is, as the code."""
        return self.page.locator("[data-outcome]").get_attribute("data-outcome") or ""

    def phone_texts(self, number: str = RECIPIENT) -> list[str]:
        """The texts that the simulator's phone page shows, newest first."""
        self.page.goto(f"{self.sipgate.base_url}/phones/{number}")
        return self.page.locator(".bubble").all_inner_texts()

    def sent_texts(self) -> list[str]:
        """What arrived at sipgate's sending interface, oldest first."""
        return [arrival.text for arrival in self.sipgate.world.arrivals]

    def scheduled(self) -> list[PhoneText]:
        return self.sipgate.world.scheduled

    def see(self, text: str) -> None:
        expect(self.main).to_contain_text(text)

    def sign_out(self) -> None:
        self.page.locator(".menu-name").click()
        self.page.get_by_role("button", name="Sign out").click()
        self.see("You are signed out")
