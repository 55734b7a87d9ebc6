"""Contacts of sipgate: a page, suggestions, names beside numbers; each member's own."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.raw_servers import case
from tests.support.worker import work
from webapp.database import db, transaction
from webapp.database.models import Contact as Kept
from webapp.database.models import Member
from webapp.simulator.faults import Fault
from webapp.simulator.people import Contact
from webapp.simulator.records import Paging
from webapp.simulator.server import Simulator
from webapp.sipgate import contact_entry, internal_entry

SCOPES = "contacts:read balance:read history:read"
EMIL = "+491713920020"


@pytest.fixture
def app(keep_app: MakeApp) -> Flask:
    return keep_app(SIPGATE_OPTIONAL_SCOPES=SCOPES)


@pytest.fixture
def ben(new_browser: Callable[[], Browser]) -> Browser:
    browser = new_browser()
    browser.sign_in("ben")
    return browser


def suggestions(browser: Browser, words: str) -> list[dict[str, str]]:
    answer = browser.get(
        "/contacts", query_string={"q": words}, headers={"Accept": "application/json"}
    )
    found: list[dict[str, str]] = answer.json["contacts"]
    return found


def test_the_page_shows_shared_own_and_internal_contacts_in_one_spelling(anna: Browser) -> None:
    text = anna.get("/contacts").text
    for said in (
        "Emil Fischer +49 171 3920020",
        "Frieda Großmann +49 171 3920021",
        "Labor Nord +49 30 23125123",
        "Clara Neu +49 171 3920091",
        "Hans Ölmann +49 176 04069002",
        "Hans Ölmann +49 30 23125456",
    ):
        assert said in text.replace("Labor Nord Labor Nord", "Labor Nord")
    assert "Nur E-Mail" not in text


def test_private_contacts_never_cross_members(anna: Browser, ben: Browser) -> None:
    assert "Ida Privat" not in anna.get("/contacts").text
    page = ben.get("/contacts")
    assert "Ida Privat" in page.text
    assert "only you" in page.text
    assert "Ölmann" not in page.text
    assert suggestions(ben, "Ölmann") == []
    hans = suggestions(anna, "ölmann")[0]["id"]
    assert ben.get("/", query_string={"contact": hans}).fields("/messages")["recipient"] == ""


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("emil", "Emil Fischer"),
        ("FISCHER emil", "Emil Fischer"),
        ("ölm", "Hans Ölmann"),
        ("großm", "Frieda Großmann"),
        ("0171 392 00 20", "Emil Fischer"),
        ("+49 171 3920020", "Emil Fischer"),
        ("3920021", "Frieda Großmann"),
        ("%", None),
        ("_", None),
        ("nobody", None),
    ],
)
def test_they_are_found_by_name_or_number(anna: Browser, words: str, name: str | None) -> None:
    anna.get("/contacts")
    found = suggestions(anna, words)
    assert ([one["name"] for one in found][:1] or [None]) == [name]
    page = anna.get("/contacts", query_string={"q": words})
    assert (name in page.text) if name else ("No matching contacts" in page.text)


def test_an_entry_opens_the_form_and_no_number_stands_in_an_address(anna: Browser) -> None:
    page = anna.get("/contacts", query_string={"q": "Emil"})
    link = page.soup.select_one("main td a")
    assert link is not None
    assert EMIL.strip("+") not in str(link["href"])
    assert anna.get(str(link["href"])).fields("/messages")["recipient"] == EMIL


def test_a_contact_that_wants_no_more_texts_is_noted_from_its_row(anna: Browser) -> None:
    page = anna.get("/contacts", query_string={"q": "Frieda"})
    link = page.soup.select_one("main td a.beside")
    assert link is not None
    assert link.get_text() == "Wants no more texts"
    form = anna.get(str(link["href"]))
    anna.post("/blocked", {**form.fields("/blocked"), "how": "phone"}, status=303)
    page = anna.get("/contacts", query_string={"q": "Frieda"})
    assert not page.soup.select("main td a.beside")
    assert "wants no texts" in page.text


def test_names_stand_beside_numbers_once_the_worker_has_read_them(
    app: Flask, anna: Browser
) -> None:
    work(app)
    page = anna.send_and_look(EMIL, "Hello")
    assert page.h1 == "Message to Emil Fischer"
    assert "+49 171 3920020" in page.text
    assert "Emil Fischer" in anna.get("/messages").text
    question = anna.send(EMIL, "Hello", status=409)
    assert "went to Emil Fischer (+49 171 3920020)" in question.text


def test_the_form_and_its_question_name_whom_the_contacts_know(app: Flask, anna: Browser) -> None:
    work(app)
    question = anna.send(f"{EMIL}, 0171 3920050", status=409)
    assert "+49 171 3920020 Emil Fischer" in question.text
    contact = anna.get("/contacts", query_string={"q": "Frieda"}).soup.select_one("main td a")
    assert contact is not None
    assert "Frieda Großmann" in anna.get(str(contact["href"])).text


def test_a_number_that_nobody_knows_stays_a_number(app: Flask, anna: Browser) -> None:
    work(app)
    assert anna.send_and_look("+491713920050").h1 == "Message to +49 171 3920050"


def test_suggestions_never_wait_for_sipgate(anna: Browser, sipgate: Simulator) -> None:
    anna.get("/contacts")
    asked = sipgate.world.calls["contacts"]
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1), tick=True):
        suggestions(anna, "emil")
    assert sipgate.world.calls["contacts"] == asked == 1


def test_a_sipgate_that_is_away_leaves_what_was_kept(anna: Browser, sipgate: Simulator) -> None:
    anna.get("/contacts")
    sipgate.fail_next("contacts", Fault(503), times=5)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=11), tick=True):
        page = anna.get("/contacts")
    assert "these may be out of date" in page.text
    assert "Emil Fischer" in page.text


def test_a_refusal_or_a_missing_permission_blocks_nothing(
    make_app: MakeApp, sipgate: Simulator, anna: Browser
) -> None:
    sipgate.fail_next("contacts", Fault(403))
    assert "does not let you read contacts" in anna.get("/contacts").text
    plain = Browser(make_app(), sipgate)
    plain.sign_in("anna")
    assert "contacts:read" in plain.get("/contacts").text
    plain.send(EMIL)
    assert len(sipgate.world.arrivals) == 1


def test_read_again_shows_what_was_changed_at_sipgate(anna: Browser, sipgate: Simulator) -> None:
    page = anna.get("/contacts")
    account = sipgate.world.accounts["1234567"]
    account.contacts.append(Contact("Zoe Zweig", (("0171 3920033", ()),), "SHARED"))
    assert "Zoe" not in anna.get("/contacts").text
    anna.press(page, "/contacts/read")
    assert "Zoe Zweig" in anna.get("/contacts").text


def test_a_long_list_is_paged_and_read_to_its_end(anna: Browser, sipgate: Simulator) -> None:
    account = sipgate.world.accounts["1234567"]
    account.contacts.extend(
        Contact(f"Person {n:04d}", ((f"+49176040{n:05d}", ()),), "SHARED") for n in range(600)
    )
    page = anna.get("/contacts", query_string={"q": "Person"})
    seen: list[str] = []
    while True:
        seen += [cell.get_text(strip=True) for cell in page.soup.select("td.cell-recipient")]
        more = page.soup.select_one(".pager a")
        if more is None:
            break
        page = anna.get(str(more["href"]))
    assert seen == [f"Person {n:04d}" for n in range(600)]


ONE = [{"number": "1"}]
TWICE = [{"number": "1"}, {"number": "1 "}]
ODD = [None, {"number": 5}, "7"]


@pytest.mark.parametrize(
    ("item", "name", "numbers", "is_private"),
    [
        ({"id": 7, "name": "A", "numbers": ONE, "scope": "shared"}, "A", ("1",), False),
        ({"id": "x", "name": "A", "numbers": ONE}, "A", ("1",), True),
        ({"id": "x", "name": "", "organization": [["Firm"]], "numbers": None}, "Firm", (), True),
        ({"id": "x", "name": "A\u202eB\x00", "numbers": ODD}, "AB", ("5",), True),
        ({"id": "x", "name": "A", "numbers": TWICE}, "A", ("1",), True),
    ],
)
def test_whatever_shape_a_contact_has_it_is_read_or_left(
    item: object, name: str, numbers: tuple[str, ...], is_private: bool
) -> None:
    found = contact_entry(item)
    assert found is not None
    assert (found.name, found.numbers, found.is_private) == (name, numbers, is_private)


@pytest.mark.parametrize("item", [None, [], "x", {}, {"id": None, "name": "A"}, {"id": "1"}])
def test_what_is_no_contact_is_left_out(item: object) -> None:
    assert contact_entry(item) is None
    assert internal_entry(item) is None


def test_an_unusable_number_is_shown_but_leads_nowhere(anna: Browser, sipgate: Simulator) -> None:
    account = sipgate.world.accounts["1234567"]
    account.contacts.append(Contact("Notruf", (("110", ()),), "SHARED"))
    page = anna.get("/contacts", query_string={"q": "Notruf"})
    assert "cannot receive texts" in page.text
    assert page.soup.select("main td a") == []


def test_markup_in_a_name_is_only_text(anna: Browser, sipgate: Simulator) -> None:
    account = sipgate.world.accounts["1234567"]
    evil = "<img src=x onerror=alert(1)>"
    account.contacts.append(Contact(evil, ((EMIL, ()),), "SHARED"))
    page = anna.get("/contacts", query_string={"q": "onerror"})
    assert evil in page.text
    assert page.soup.find("img") is None


def test_forgetting_a_number_forgets_its_contact(app: Flask, anna: Browser) -> None:
    anna.get("/contacts")
    app.test_cli_runner().invoke(args=["forget", "--number", EMIL])
    assert suggestions(anna, "emil") == []


# --- F82: a list that is not whole ----------------------------------------------------------------

INCOMPLETE = "sipgate did not tell this app all of your contacts; some may be missing here."


def many(count: int, scope: str = "SHARED") -> Iterable[Contact]:
    for n in range(count):
        yield Contact(f"Person {n:05d}", ((f"+49176040{n:05d}", ()),), scope)


def names(browser: Browser) -> set[str]:
    """Everybody called "Person …", from all pages."""
    found: set[str] = set()
    page: Page | None = browser.get("/contacts", query_string={"q": "Person"})
    while page is not None:
        found |= {cell.get_text(strip=True) for cell in page.soup.select("td.cell-recipient")}
        more = page.soup.select_one(".pager a")
        page = browser.get(str(more["href"])) if more else None
    return found


BROKEN = (
    Fault(403),
    Fault(404),
    Fault(429),
    Fault(503),
    Fault(200, body=b"<html>"),
    Fault(200, body=b'{"items": null}'),
    Fault(mode="close"),
)


def test_f82_colleagues_that_cannot_be_read_hide_nobody_else(
    anna: Browser, sipgate: Simulator
) -> None:
    for fault in BROKEN:
        sipgate.world.fail_always("internal_contacts", fault)
        page = anna.press(anna.get("/contacts"), "/contacts/read")
        with case(fault):
            text = anna.get("/contacts").text
            assert INCOMPLETE in text
            assert "Emil Fischer" in text
            assert "Hans Ölmann" in text
            assert suggestions(anna, "emil")
    sipgate.world.clear_faults()
    page = anna.press(anna.get("/contacts"), "/contacts/read")
    assert INCOMPLETE not in anna.follow(page).text


@pytest.mark.parametrize("status", [403, 404])
def test_f82_refused_contacts_leave_the_colleagues(
    anna: Browser, sipgate: Simulator, status: int
) -> None:
    anna.get("/contacts")
    sipgate.world.fail_always("contacts", Fault(status))
    anna.press(anna.get("/contacts"), "/contacts/read")
    text = anna.get("/contacts").text
    assert "sipgate does not let you read contacts; only your colleagues are shown." in text
    assert "Clara Neu" in text
    assert "Emil Fischer" not in text
    sipgate.world.fail_always("internal_contacts", Fault(403))
    anna.press(anna.get("/contacts"), "/contacts/read")
    assert "sipgate does not let you read contacts." in anna.get("/contacts").text


@pytest.mark.parametrize(
    ("paging", "count", "is_whole"),
    [
        (Paging(at_most=100), 330, True),
        (Paging(at_most=100, counts=False), 330, True),
        (Paging(counts=False), 250, True),
        (Paging(counts=False), 600, True),
        (Paging(knows_offset=False), 80, True),
        (Paging(at_most=100, knows_offset=False), 330, False),
        (Paging(at_most=100, knows_offset=False, counts=False), 330, False),
    ],
)
def test_f82_paging_goes_on_by_what_came_and_stops_where_nothing_new_comes(
    anna: Browser, sipgate: Simulator, paging: Paging, count: int, is_whole: bool
) -> None:
    account = sipgate.world.accounts["1234567"]
    account.contacts[:] = many(count)
    sipgate.world.paging = paging
    assert len(names(anna)) == (count if is_whole else 100)
    assert (INCOMPLETE in anna.get("/contacts").text) == (not is_whole)
    assert sipgate.world.calls["contacts"] < 6


def test_f82_a_page_that_breaks_takes_nothing_away(anna: Browser, sipgate: Simulator) -> None:
    account = sipgate.world.accounts["1234567"]
    account.contacts[:] = many(330)
    sipgate.world.paging = Paging(at_most=100)
    assert len(names(anna)) == 330
    account.contacts.insert(0, Contact("Person new", (("0171 3920033", ()),), "SHARED"))
    sipgate.world.faults.fail_from("contacts", 2, Fault(503))
    anna.press(anna.get("/contacts"), "/contacts/read")
    assert len(names(anna)) == 331
    assert INCOMPLETE in anna.get("/contacts").text


def test_f82_what_a_broken_reading_told_is_kept_where_nothing_was(
    anna: Browser, sipgate: Simulator
) -> None:
    sipgate.world.accounts["1234567"].contacts[:] = many(330)
    sipgate.world.paging = Paging(at_most=100)
    sipgate.world.faults.fail_from("contacts", 3, Fault(mode="reset"))
    assert len(names(anna)) == 200
    assert INCOMPLETE in anna.get("/contacts").text


# --- Many -----------------------------------------------------------------------------------------


def test_more_than_20000_contacts_are_cut_and_reading_them_holds_up_nobody(
    app: Flask, anna: Browser, ben: Browser, sipgate: Simulator
) -> None:
    account = sipgate.world.accounts["1234567"]
    account.contacts[:] = many(20_300)
    waits: list[float] = []
    is_read = threading.Event()

    def write_all_the_time() -> None:
        while not is_read.is_set():
            started = time.monotonic()
            with app.app_context(), transaction() as rows:
                rows.execute(sa.update(Member).values(own_number="+491713920020"))
            waits.append(time.monotonic() - started)
            time.sleep(0.01)

    writer = threading.Thread(target=write_all_the_time)
    writer.start()
    started = time.monotonic()
    try:
        page = anna.get("/contacts")
    finally:
        took_s = time.monotonic() - started
        is_read.set()
        writer.join()
    # Inside the lock, the numbers took more than half of all that the reading took.
    assert max(waits) < max(1, took_s / 7)
    assert len(waits) > 50
    assert "This app shows 20,000 of your contacts; you have more at sipgate" in page.text
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Kept)) == 20_000


def test_a_contact_with_many_numbers_counts_for_each(anna: Browser, sipgate: Simulator) -> None:
    numbers = tuple((f"+49176040{n:05d}", ()) for n in range(40))
    sipgate.world.accounts["1234567"].contacts[:] = [Contact("Person", numbers, "SHARED")]
    page = anna.get("/contacts")
    assert len(page.soup.select("td.cell-recipient")) == 20
    assert "you have more at sipgate" not in page.text


def test_read_again_is_limited_per_member(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app(SIPGATE_OPTIONAL_SCOPES=SCOPES, RATE_LIMITS="send 120/minute per member")
    anna, ben = Browser(app, sipgate), Browser(app, sipgate)
    anna.sign_in("anna")
    ben.sign_in("ben")
    page = anna.get("/contacts")
    for status in [303] * 6 + [429] * 2:
        anna.press(page, "/contacts/read", status=status)
    assert ben.press(ben.get("/contacts"), "/contacts/read").status == 303
    assert sipgate.world.calls["contacts"] == 1 + 6 + 2
