"""A list from the file to the report, a list of reminders, and a group: by keyboard, without
JavaScript, on a small phone, in both languages."""

import gettext
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import ViewportSize, expect

from tests.browser.conftest import LiveApp
from tests.browser.test_keyboard import press, tab_to
from tests.browser.visitor import Visitor
from tests.support.rows import stored_rows
from tests.support.worker import arrived, work
from webapp.config import PROJECT
from webapp.rules.times import now

PHONE: ViewportSize = {"width": 320, "height": 640}
HEADS = ("Handy", "Vorname", "Termin", "Ort")
PEOPLE = (
    ("0176 04070001", "Jörg", "10:00", "Köln"),
    ("0176 04070002", "Ann", "11:00", "Bonn"),
    ("0176", "Bad", "12:00", "Köln"),
    ("17604070003", "Cy", "-", "Köln"),
    ("0176 04070001", "Jörg", "10:00", "Köln"),
)
OVERFLOWS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


@pytest.fixture
def live_settings() -> dict[str, str]:
    return {"SIPGATE_OPTIONAL_SCOPES": "contacts:read"}


class Clerk:
    """Somebody with a keyboard and a list, in one language."""

    def __init__(self, visitor: Visitor, language: str) -> None:
        self.visitor, self.page = visitor, visitor.page
        catalog = gettext.translation(
            "messages", PROJECT / "webapp" / "translations", [language], fallback=language == "en"
        )
        self.say, self.say_many = catalog.gettext, catalog.ngettext

    def many(self, one: str, more: str, count: int) -> str:
        return self.say_many(one, more, count) % {"num": count}

    def see(self, sentence: str) -> None:
        """See it on the page, of which nothing lies beside the screen."""
        expect(self.visitor.main).to_contain_text(sentence)
        assert not self.page.evaluate(OVERFLOWS), f"wider than the screen: {self.page.url}"

    def use(self, role: Literal["link", "button"], name: str) -> None:
        tab_to(self.visitor, self.visitor.main.get_by_role(role, name=name, exact=True))
        press(self.visitor, "Enter")

    def field(self, label: str) -> None:
        """Go on to a field."""
        tab_to(self.visitor, self.page.get_by_label(self.say(label), exact=True))

    def type(self, label: str, text: str) -> None:
        self.field(label)
        self.page.keyboard.insert_text(text)

    def leave_out(self, words: str) -> None:
        tab_to(self.visitor, self.page.get_by_label(words, exact=True))
        press(self.visitor, "Space")


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
@pytest.mark.parametrize("source", ["file", "cells"])
def test_from_the_list_to_the_report(
    signed_in: Callable[..., Visitor],
    live_app: LiveApp,
    tmp_path: Path,
    locale: str,
    source: str,
) -> None:
    visitor = signed_in(java_script_enabled=False, locale=locale)
    visitor.page.set_viewport_size(PHONE)
    clerk = Clerk(visitor, locale[:2])
    visitor.go("/")
    clerk.use("link", clerk.say("To many people, each with their own text: from a spreadsheet"))
    choose(clerk, source, tmp_path)
    write(clerk)
    check_and_send(clerk)
    work(live_app.app)
    read_report(clerk)
    assert arrived(visitor.sipgate) == {"+4917604070001": 1, "+4917604070003": 1}
    texts = {one.recipient: one.text for one in visitor.sipgate.world.arrivals}
    assert texts["+4917604070001"] == "Hallo Jörg, um 10:00"


def choose(clerk: Clerk, source: str, folder: Path) -> None:
    if source == "cells":
        cells = "\n".join("\t".join(row) for row in (HEADS, *PEOPLE))
        clerk.type("Or paste the cells", cells)
    else:
        file = folder / "liste.csv"
        file.write_text("\n".join(";".join(row) for row in (HEADS, *PEOPLE)))
        clerk.field("File")
        clerk.page.get_by_label(clerk.say("File"), exact=True).set_input_files(file)
    clerk.use("button", clerk.say("Read the list"))
    clerk.see(clerk.many("%(num)s row", "%(num)s rows", len(PEOPLE)))


def write(clerk: Clerk) -> None:
    """A text for those in Köln."""
    clerk.type("Message", "Hallo ((Vorname)), um ((Termin))")
    clerk.field("Only some, by column")
    clerk.page.keyboard.type("D")
    clerk.type("where it says", "köln")
    clerk.use("button", clerk.say("Check the list"))
    clerk.see(clerk.say("%(count)s of %(rows)s can be sent.") % {"count": 2, "rows": 5})


def check_and_send(clerk: Clerk) -> None:
    clerk.see("Hallo Jörg, um 10:00")
    clerk.leave_out(
        clerk.many(
            "Leave out %(num)s row that cannot be sent",
            "Leave out %(num)s rows that cannot be sent",
            1,
        )
    )
    clerk.use("button", clerk.say("Apply"))
    confirm(clerk, clerk.many("Send %(num)s message", "Send %(num)s messages", 2))
    clerk.see(clerk.say("Preparing %(made)s of %(total)s") % {"made": 0, "total": 2})


def confirm(clerk: Clerk, send: str) -> None:
    """Press the button, and the one below what is asked then."""
    clerk.use("button", send)
    clerk.see(clerk.say("Check before sending"))
    press(clerk.visitor, "Tab")
    expect(clerk.page.get_by_role("button", name=send).first).to_be_focused()
    press(clerk.visitor, "Enter")


def read_report(clerk: Clerk) -> None:
    clerk.page.reload()
    clerk.see(clerk.say("Finished. The list shows the status of each message."))
    with clerk.page.expect_download() as download:
        clerk.use("link", clerk.say("Report (CSV)"))
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert [line[0] for line in lines[1:]] == ["2", "5"]
    with clerk.page.expect_download() as download:
        clerk.use("link", clerk.say("Rows left out (CSV)"))
    lines = download.value.path().read_text("utf-8-sig").splitlines()
    assert [line[0] for line in lines[1:]] == ["3", "4", "6"]


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_a_contact_wants_no_more_texts_by_keyboard(
    signed_in: Callable[..., Visitor], locale: str
) -> None:
    visitor = signed_in(java_script_enabled=False, locale=locale)
    visitor.page.set_viewport_size(PHONE)
    clerk = Clerk(visitor, locale[:2])
    visitor.go("/contacts?q=Emil")
    clerk.see("Emil Fischer")
    clerk.use("link", clerk.say("Wants no more texts"))
    expect(clerk.page.get_by_label(clerk.say("Number"), exact=True)).to_have_value(
        "+49 171 3920020"
    )
    clerk.use("button", clerk.say("Do not write to this number"))
    clerk.see("+49 171 3920020")
    visitor.go("/contacts?q=Emil")
    clerk.see(clerk.say("wants no texts"))


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_each_is_reminded_before_their_appointment(
    signed_in: Callable[..., Visitor], live_app: LiveApp, locale: str
) -> None:
    visitor = signed_in(java_script_enabled=False, locale=locale)
    visitor.page.set_viewport_size(PHONE)
    clerk = Clerk(visitor, locale[:2])
    day = now() + timedelta(days=3)
    visitor.go("/batches/new")
    rows = [f"0176 0407000{n}\tPerson {n}\t{day:%d.%m.%Y} 1{n}:30" for n in (1, 2)]
    clerk.type("Or paste the cells", "\n".join(["Handy\tVorname\tTermin", *rows]))
    clerk.use("button", clerk.say("Read the list"))
    clerk.type("Message", "Hallo ((Vorname)), bis ((Termin))")
    clerk.use("button", clerk.say("Check the list"))
    clerk.field("Now, or at a time")
    press(visitor, "ArrowDown")
    expect(visitor.page.get_by_label(clerk.say("Before each appointment"))).to_be_checked()
    clerk.use("button", clerk.say("Show when each one goes"))
    clerk.see(clerk.say("When they go"))
    confirm(clerk, clerk.many("Schedule %(num)s message", "Schedule %(num)s messages", 2))
    visitor.page.wait_for_url("**/batches/*")
    work(live_app.app)
    planned = [row for row in stored_rows(live_app.app)["messages"] if row["outcome"] == "held"]
    assert len(planned) == 2
    assert all(row["send_at"] < row["not_after"] for row in planned)
    assert not arrived(visitor.sipgate)


@pytest.mark.parametrize("locale", ["en-GB", "de-DE"])
def test_a_group_is_made_changed_and_written_to(
    signed_in: Callable[..., Visitor], live_app: LiveApp, locale: str
) -> None:
    visitor = signed_in(java_script_enabled=False, locale=locale)
    visitor.page.set_viewport_size(PHONE)
    clerk = Clerk(visitor, locale[:2])
    visitor.go("/groups")
    clerk.type("Name", "Chor")
    rows = [f"0176 0407000{n}\tPerson {n}" for n in (1, 2, 3)]
    clerk.type("People", "\n".join(rows))
    clerk.use("button", clerk.say("Make the group"))
    clerk.see(clerk.many("%(num)s person", "%(num)s people", 3))
    clerk.leave_out("+49 176 04070002")
    clerk.use("button", clerk.say("Remove those that are ticked"))
    clerk.see(clerk.many("%(num)s person", "%(num)s people", 2))
    clerk.use("button", clerk.say("Write to this group"))
    clerk.type("Message", "Hallo ((Name))")
    clerk.use("button", clerk.say("Check the list"))
    confirm(clerk, clerk.many("Send %(num)s message", "Send %(num)s messages", 2))
    visitor.page.wait_for_url("**/batches/*")
    work(live_app.app)
    assert arrived(visitor.sipgate) == {"+4917604070001": 1, "+4917604070003": 1}
    assert "Hallo Person 1" in {one.text for one in visitor.sipgate.world.arrivals}
