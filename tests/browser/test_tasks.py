"""Everyday tasks, from the page where they begin to the page that says they are done.

Each takes no more clicks, fields and scrolling than docs/tasks.md tells, in either language.
"""

import gettext
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest
import time_machine
from playwright.sync_api import Locator, ViewportSize, expect

from tests.browser.conftest import LiveApp
from tests.browser.every_page import kept_template, planned
from tests.browser.hand import Effort, Hand
from tests.browser.test_daily_work import EMIL, TABLE
from tests.browser.visitor import RECIPIENT, Visitor
from tests.support.pages import Browser as QuickBrowser
from tests.support.worker import work
from webapp.config import PROJECT
from webapp.rules.times import now
from webapp.simulator import Fault

LOCALES = {"English": "en-US", "German": "de-DE"}
SCREEN: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 375, "height": 667}
OWN_NUMBER = "+491713920055"
TOO_POOR = "0171 3920002"
"""sipgate refuses a text to it: the balance is too low."""
LOST = Fault(mode="close", deliver=True)
ROW = re.compile(
    r"^\| (?P<task>[^|]+?) \| \d+ \| (?P<clicks>\d+) \| \d+ \| (?P<fields>\d+)"
    r" \| \d+ \| (?P<scrolls>\d+) \|$",
    re.M,
)


def documented() -> dict[str, Effort]:
    """What docs/tasks.md tells, by task."""
    rows = ROW.finditer((PROJECT / "docs" / "tasks.md").read_text())
    return {
        row["task"]: Effort(int(row["clicks"]), int(row["fields"]), int(row["scrolls"]))
        for row in rows
    }


class Worker:
    """Somebody at work: their page, in their language, and the hand that does the task."""

    def __init__(self, visitor: Visitor, locale: str) -> None:
        self.visitor = visitor
        self.page = visitor.page
        self.hand = Hand()
        self.language = language = locale.partition("-")[0]
        catalog = gettext.translation(
            "messages", PROJECT / "webapp" / "translations", [language], fallback=language == "en"
        )
        self.say = catalog.gettext
        self.page.set_viewport_size(SCREEN)

    def begin_on_the_form(self) -> None:
        self.visitor.go("/")
        expect(self.page.locator("html")).to_have_attribute("lang", self.language)
        expect(self.field("To")).to_be_focused()

    def field(self, label: str) -> Locator:
        return self.page.get_by_label(self.say(label), exact=True)

    def part(self, role: Literal["link", "button"], name: str) -> Locator:
        """A link or button, by its English name."""
        return self.visitor.main.get_by_role(role, name=self.say(name))

    def open(self, name: str) -> None:
        """Go to another page by the navigation."""
        pages = self.page.get_by_role("navigation", name=self.say("Pages"))
        self.hand.click(pages.get_by_role("link", name=self.say(name)))

    def click(self, name: str, role: Literal["link", "button"] = "button") -> None:
        self.hand.click(self.part(role, name))

    def send(self) -> None:
        self.hand.click(self.visitor.button)

    def see_outcome(self, outcome: str) -> None:
        expect(self.page.locator(".fate")).to_have_attribute("data-outcome", outcome)

    def rows(self) -> Locator:
        return self.page.locator("tbody tr[data-entry]")


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {"SIPGATE_OPTIONAL_SCOPES": "contacts:read balance:read history:read"}


@pytest.fixture(params=LOCALES)
def locale(request: pytest.FixtureRequest) -> str:
    return LOCALES[request.param]


@pytest.fixture
def anna(signed_in: Callable[..., Visitor], locale: str) -> Worker:
    """Anna Sommer, signed in; the app knows her contacts."""
    visitor = signed_in(locale=locale)
    visitor.quick.get("/contacts")
    return Worker(visitor, locale)


def check(worker: Worker, task: str) -> None:
    most, effort = documented()[task], worker.hand.effort
    assert effort.is_within(most), f"{task}: {effort}"


def test_sign_in(new_visitor: Callable[..., Visitor], locale: str) -> None:
    stranger = Worker(new_visitor(locale=locale), locale)
    stranger.visitor.go("/")
    stranger.click("Sign in with sipgate", "link")
    stranger.hand.click(stranger.page.locator("#allow"))
    expect(stranger.field("To")).to_be_focused()
    check(stranger, "Sign in")


def test_send_one(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "0171 3920050")
    anna.hand.type(anna.field("Message"), "Hello")
    anna.send()
    anna.see_outcome("accepted")
    check(anna, "Send one")


def test_a_wrong_number_is_corrected(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "0171 39200")
    anna.hand.type(anna.field("Message"), "Hello")
    anna.hand.click(anna.page.locator("[data-recipients] .wrong"))
    anna.hand.type(anna.field("To"), "50")
    anna.send()
    anna.see_outcome("accepted")
    assert [one.recipient for one in anna.visitor.sipgate.world.arrivals] == [RECIPIENT]
    check(anna, "Correct a wrong number")


def test_a_text_is_made_cheaper(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "0171 3920050")
    anna.hand.type(anna.field("Message"), "We are open – until six")
    anna.click("Use plain quotes and dashes")
    anna.send()
    anna.see_outcome("accepted")
    assert anna.visitor.sent_texts() == ["We are open - until six"]
    check(anna, "Make a text cheaper")


def test_a_message_is_planned_changed_and_withdrawn(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "0171 3920050")
    anna.hand.type(anna.field("Message"), "Before")
    anna.click("Tomorrow")
    anna.send()
    anna.see_outcome("held")
    anna.click("Change", "link")
    anna.hand.type(anna.field("Message"), " and after")
    anna.send()
    expect(anna.page.locator(".bubble")).to_have_text("Before and after")
    anna.click("Cancel sending")
    anna.see_outcome("cancelled")
    check(anna, "Plan, change, cancel")


def test_twelve_lines_of_a_spreadsheet_are_pasted(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.paste(anna.field("To"), TABLE)
    expect(anna.visitor.button).to_have_text(re.compile("12"))
    anna.hand.type(anna.field("Message"), "Hello")
    anna.send()
    anna.hand.click(anna.page.locator("button[name=confirm]"))
    anna.page.wait_for_url("**/batches/*")
    check(anna, "Paste twelve")


def test_a_template_is_filled_in_and_sent(anna: Worker) -> None:
    kept_template(anna.visitor)
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "frieda")
    anna.hand.click(anna.page.locator(".suggestions [role=option]"))
    anna.click("Reminder")
    expect(anna.field("time")).to_be_focused()
    anna.hand.type(anna.field("time"), "ten")
    anna.send()
    anna.see_outcome("accepted")
    assert anna.visitor.sent_texts() == ["Hello Frieda, until ten."]
    check(anna, "Send a template")


def test_what_was_written_to_a_number_is_found(anna: Worker) -> None:
    for text, number in [("Monday", RECIPIENT), ("Tuesday", RECIPIENT), ("Other", EMIL)]:
        anna.visitor.quick.send(number, text)
    anna.begin_on_the_form()
    anna.open("Messages")
    anna.hand.type(anna.field("Name, number or text"), "0171 3920050")
    anna.click("Search")
    expect(anna.rows()).to_have_count(2)
    anna.hand.click(anna.rows().first.get_by_role("link"))
    anna.click("All messages to this number", "link")
    expect(anna.page.locator(".bubble")).to_have_text(["Monday", "Tuesday"])
    check(anna, "Find a number")


def test_an_unknown_one_is_settled(anna: Worker) -> None:
    anna.visitor.sipgate.fail_next("send", LOST)
    anna.visitor.quick.send()
    anna.begin_on_the_form()
    anna.hand.click(anna.page.locator("header .strip.tone-unknown a"))
    anna.hand.click(anna.rows().get_by_role("link"))
    anna.click("Check sipgate's history again")
    anna.see_outcome("accepted")
    check(anna, "Settle an unknown one")


def test_a_contact_gets_a_text(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.hand.type(anna.field("To"), "emil")
    anna.hand.click(anna.page.locator(".suggestions [role=option]"))
    anna.hand.type(anna.field("Message"), "Hello")
    anna.send()
    anna.see_outcome("accepted")
    assert [one.recipient for one in anna.visitor.sipgate.world.arrivals] == [EMIL]
    check(anna, "Write to a contact")


def test_an_own_sender_is_added_and_chosen(anna: Worker) -> None:
    anna.begin_on_the_form()
    anna.open("Extensions")
    anna.click("Own sender numbers", "link")
    anna.click("Allow it at sipgate", "link")
    anna.hand.click(anna.page.locator("#allow"))
    anna.hand.type(anna.field("Mobile number"), "0171 3920055")
    anna.click("Send the code")
    code = anna.field("Code")
    code.wait_for()
    anna.hand.type(code, anna.visitor.sipgate.phones[OWN_NUMBER][0].text.split()[-1])
    anna.click("Confirm the number")
    anna.hand.click(anna.part("button", "Make it the default sender").nth(1))
    anna.hand.click(anna.page.locator("button[name=confirm]"))
    own = anna.page.locator(".cards .panel").filter(has_text="+49 171 3920055")
    expect(own).to_contain_text(anna.say("Default"))
    check(anna, "Add and choose an own sender")


def test_what_a_colleague_sent_is_seen(anna: Worker, live_app: LiveApp) -> None:
    ben = QuickBrowser(live_app.app, live_app.sipgate)
    ben.sign_in("ben")
    ben.send(EMIL, "By Ben")
    anna.visitor.quick.send(text="By Anna")
    anna.begin_on_the_form()
    anna.open("Messages")
    expect(anna.rows()).to_have_count(2)
    anna.hand.choose(anna.field("Sent by"), "Ben Wagner")
    anna.click("Search")
    expect(anna.rows()).to_have_count(1)
    expect(anna.rows()).to_contain_text("By Ben")
    check(anna, "See what a colleague sent")


def test_a_text_is_sent_from_the_phone(anna: Worker) -> None:
    anna.page.set_viewport_size(PHONE)
    anna.visitor.go("/messages")
    anna.open("New")
    expect(anna.field("To")).to_be_focused()
    anna.hand.type(anna.field("To"), "0171 3920050")
    anna.hand.type(anna.field("Message"), "Hello")
    anna.send()
    anna.see_outcome("accepted")
    check(anna, "Send from the phone")


def test_on_the_next_day_a_refused_plan_is_noticed_and_sent(
    anna: Worker, live_app: LiveApp
) -> None:
    yesterday = now() - timedelta(days=1)
    due = yesterday + timedelta(hours=6)
    with time_machine.travel(yesterday, tick=True):
        browser = QuickBrowser(live_app.app, live_app.sipgate)
        browser.sign_in("anna")
        browser.send(TOO_POOR, "Refused", send_at=f"{due:%Y-%m-%dT%H:%M}", time_zone="UTC")
    with time_machine.travel(due, tick=True):
        work(live_app.app)
    anna.begin_on_the_form()
    anna.hand.click(anna.page.locator("header .strip.tone-unknown a"))
    anna.hand.click(anna.rows().get_by_role("link"))
    anna.see_outcome("refused")
    anna.click("Send again", "link")
    anna.hand.retype(anna.field("To"), "0171 3920050")
    anna.send()
    anna.see_outcome("accepted")
    expect(anna.page.locator("header .strip.tone-unknown")).to_be_hidden()
    check(anna, "Next day: send a refused one again")


def test_somebody_signs_out_while_a_message_waits(anna: Worker) -> None:
    planned(anna.visitor)
    anna.begin_on_the_form()
    anna.hand.click(anna.page.locator(".menu-name"))
    anna.hand.click(anna.page.locator("#menu").get_by_role("link", name=anna.say("Sign out")))
    anna.click("Pause and sign out")
    anna.visitor.see(anna.say("You are signed out."))
    check(anna, "Sign out while one waits")
