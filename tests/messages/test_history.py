"""Finding messages again: filters, search, counts, one number's page, the export."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import send_to_many, work
from webapp.database import db, transaction
from webapp.database.models import Message
from webapp.rules.outcomes import Outcome
from webapp.simulator.server import Simulator

ONE, OTHER = "+491713920050", "+491713920051"
REFUSED = "+491713920002"


@pytest.fixture
def ben(new_browser: Callable[[], Browser]) -> Browser:
    browser = new_browser()
    browser.sign_in("ben")
    return browser


def texts(page: Page) -> list[str]:
    """The texts of the list, as shown."""
    return [cell.get_text(strip=True) for cell in page.soup.select("main table .cell-text")]


def listed(browser: Browser, **query: str) -> list[str]:
    return texts(browser.get("/messages", query_string=query))


def rows_of(browser: Browser, **query: str) -> list[list[str]]:
    answer = browser.get("/messages.csv", query_string=query).response
    assert answer.mimetype == "text/csv"
    assert "attachment" in answer.headers["Content-Disposition"]
    text = answer.get_data(as_text=True)
    assert text.startswith("\ufeff")
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True))


def at(**ahead: float) -> str:
    """A time that far ahead, as the form has it."""
    return f"{datetime.now(UTC) + timedelta(**ahead):%Y-%m-%dT%H:%M}"


def entries(page: Page) -> list[str]:
    """The ids of the list's entries, as shown."""
    return [str(row["data-entry"]) for row in page.soup.select("tr[data-entry]")]


def all_entries(browser: Browser, query: dict[str, str]) -> list[str]:
    """Those of all pages, one after the other."""
    seen: list[str] = []
    page = browser.get("/messages", query_string=query)
    while True:
        seen += entries(page)
        links = [a for a in page.soup.select(".pager a") if "messages.csv" not in str(a["href"])]
        if not links:
            return seen
        page = browser.get(str(links[0]["href"]))


def many(app: Flask, count: int, **values: object) -> None:
    """Copies of the newest message, each a second older than the one before."""
    with app.app_context(), transaction() as rows:
        newest = rows.scalar(sa.select(Message).order_by(Message.created_at.desc()).limit(1))
        assert newest is not None
        columns = {c.key: getattr(newest, c.key) for c in sa.inspect(Message).column_attrs}
        rows.execute(
            sa.insert(Message),
            [
                {
                    **columns,
                    "id": f"{n:032x}",
                    "text": f"Copy {n:04d}",
                    "entry_id": f"{n:032x}",
                    "created_at": newest.created_at - timedelta(seconds=n + 1),
                    "shown_at": newest.shown_at - timedelta(seconds=n + 1),
                    **values,
                }
                for n in range(count)
            ],
        )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("invoice", ["Your INVOICE is ready"]),
        ("übung", ["Die ÜBUNG fällt aus"]),
        ("3920051", ["Die ÜBUNG fällt aus"]),
        ("0171 39 200 51", ["Die ÜBUNG fällt aus"]),
        ("+49 171 3920050", ["Your INVOICE is ready"]),
        ("100%", []),
        ("_", []),
        ("anna", ["Die ÜBUNG fällt aus", "Your INVOICE is ready"]),
        ("nothing", []),
    ],
)
def test_search_finds_words_numbers_and_people(anna: Browser, words: str, found: list[str]) -> None:
    anna.send(ONE, "Your INVOICE is ready")
    anna.send(OTHER, "Die ÜBUNG fällt aus")
    assert listed(anna, q=words) == found


def test_search_finds_a_contact_by_name(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app(SIPGATE_OPTIONAL_SCOPES="contacts:read")
    anna = Browser(app, sipgate)
    anna.sign_in()
    work(app)
    anna.send("+491713920020", "To Emil")
    anna.send(ONE, "To nobody")
    assert listed(anna, q="fischer") == ["To Emil"]


def tabs(page: Page) -> dict[str, str]:
    """The tabs, with their counts, and where they lead."""
    return {a.get_text(" ", strip=True): str(a["href"]) for a in page.soup.select(".chips a")}


def test_tabs_have_counts_and_keep_the_filter(anna: Browser) -> None:
    anna.send(ONE, "Accepted", send_at=at(days=2), time_zone="UTC")
    anna.send(REFUSED, "Refused")
    page = anna.get("/messages", query_string={"q": "a", "member": "w0", "from": "2026-01-01"})
    assert list(tabs(page)) == ["All", "Planned 1"]
    address = tabs(page)["Planned 1"]
    chosen = anna.get(address)
    assert texts(chosen) == ["Accepted"]
    assert chosen.fields("/messages") == {
        **{"tab": "planned", "q": "a", "from": "2026-01-01"},
        **{"to": "", "outcome": "", "extension": ""},
    }
    assert "member=w0" in address
    [current] = chosen.soup.select(".chips [aria-current]")
    assert current.get_text(" ", strip=True) == "Planned 1"


def test_planned_ones_are_counted_up_to_999(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Planned", send_at=at(days=2), time_zone="UTC")
    many(app, 1100)
    assert list(tabs(anna.get("/messages"))) == ["All", "Planned 999+"]


def test_pages_follow_each_other_without_gap_or_repetition(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Newest")
    many(app, 120)
    with app.app_context(), transaction() as rows:
        # Equal times, as the messages of a batch have them: the id decides.
        same = rows.scalar(sa.select(Message.created_at).where(Message.id == f"{40:032x}"))
        middle = Message.id.between(f"{40:032x}", f"{60:032x}")
        rows.execute(sa.update(Message).where(middle).values(created_at=same, shown_at=same))
    seen: list[str] = []
    page = anna.get("/messages")
    while True:
        seen += texts(page)
        links = [a for a in page.soup.select(".pager a") if "Older" in a.get_text()]
        if not links:
            break
        page = anna.get(str(links[0]["href"]))
    assert len(seen) == len(set(seen)) == 121
    assert seen[0] == "Newest"


def test_a_page_keeps_its_filter(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Copy of all")
    many(app, 60, outcome=Outcome.REFUSED)
    page = anna.get("/messages", query_string={"outcome": "refused", "q": "copy"})
    older = anna.get(str(page.soup.select(".pager a")[0]["href"]))
    assert len(texts(page)) == 50
    assert len(texts(older)) == 10
    assert "Copy of all" not in texts(older)


def test_planned_ones_have_a_tab_with_the_next_one_first(anna: Browser) -> None:
    anna.send(ONE, "Later", send_at=at(days=2), time_zone="UTC")
    anna.send(OTHER, "Soon", send_at=at(minutes=30), time_zone="UTC")
    anna.send("+491713920052", "Now")
    assert listed(anna, tab="planned") == ["Soon", "Later"]
    assert listed(anna) == ["Later", "Soon", "Now"]
    assert listed(anna, tab="planned", outcome="held") == ["Later"]
    assert listed(anna, tab="planned", outcome="accepted") == []
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1), tick=True):
        assert listed(anna, tab="planned") == ["Later"]


@time_machine.travel("2026-11-30T08:00:00Z", tick=True)
def test_planned_ones_say_when_they_go_and_until_when_they_can_be_changed(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    """60 minutes before its time a message goes to sipgate."""
    app = make_app(SCHEDULE_HANDOVER_MINUTES="60")
    anna = Browser(app, sipgate)
    anna.sign_in()
    anna.send(ONE, "At sipgate", send_at="2026-11-30T09:30", time_zone="Europe/Berlin")
    anna.send(ONE, "Held", send_at="2026-12-01T17:00", time_zone="Europe/Berlin")
    send_to_many(anna, 2, "To two", send_at="2026-12-04T00:30", time_zone="Europe/Berlin")
    anna.get("/")
    page = anna.get("/messages?tab=planned")
    heads = [cell.get_text(strip=True) for cell in page.soup.select("main thead th")]
    assert heads == ["When", "Recipient", "Text", "Sent by", "Can be changed until"]
    rows = [
        [cell.get_text(strip=True) for cell in row.select("td")]
        for row in page.soup.select("main tbody tr")
    ]
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("Today, 09:30", "At sipgate", "Scheduled"),
        ("Tomorrow, 17:00", "Held", "Tomorrow, 16:00"),
        ("Fri 4 Dec, 00:30", "To two", "Thu 3 Dec, 23:30"),
    ]
    assert rows[2][1] == "2 recipients"


def test_planned_ones_of_many_pages_follow_each_other(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Last", send_at=at(days=2), time_zone="UTC")
    many(app, 120)
    seen = all_entries(anna, {"tab": "planned"})
    assert len(seen) == len(set(seen)) == 121
    assert seen[0] == f"{119:032x}"


def test_everything_with_one_number_is_on_one_page(anna: Browser) -> None:
    anna.send(ONE, "First")
    anna.send(OTHER, "Somebody else")
    page = anna.send_and_look(ONE, "Second")
    link = next(
        a for a in page.soup.select("main a") if "All messages to this number" in a.get_text()
    )
    path = str(link["href"])
    assert ONE.strip("+") not in path
    assert "3920050" not in path
    both = anna.get(path)
    assert both.h1 == "Messages to +49 171 3920050"
    assert bubbles(both) == ["First", "Second"]
    more = next(a for a in both.soup.select("main a") if "More options" in a.get_text())
    assert anna.get(str(more["href"])).fields("/messages")["recipient"] == ONE


def bubbles(page: Page) -> list[str]:
    """The texts of a conversation, as shown."""
    return [one.get_text() for one in page.soup.select(".conversation .bubble")]


def test_a_conversation_goes_on_below_it(anna: Browser, sipgate: Simulator) -> None:
    page = anna.send_and_look(ONE, "First line\nand a second one")
    page = anna.get("/numbers/" + anna.twin(page)["id"])
    assert bubbles(page) == ["First line\nand a second one"]
    form = {**page.fields("/messages"), "message": "And then"}
    for _ in range(2):  # the form's id is good for one text
        sent = anna.post("/messages", form, status=303)
    assert [one.text for one in sipgate.world.arrivals][1:] == ["And then"]
    assert bubbles(anna.get(page.path)) == ["First line\nand a second one", "And then"]
    assert anna.twin(sent)["recipient"] == ONE
    # A question is asked on the form's own page, where nothing is lost.
    asked = anna.post(
        "/messages", {**anna.get(page.path).fields("/messages"), "message": "And then"}, status=409
    )
    assert asked.fields("/messages")["message"] == "And then"


def test_a_long_conversation_has_pages(app: Flask, anna: Browser) -> None:
    page = anna.send_and_look(ONE, "Newest")
    many(app, 120)
    path = "/numbers/" + anna.twin(page)["id"]
    seen: list[str] = []
    while path:
        page = anna.get(path)
        seen = bubbles(page) + seen
        older = [a for a in page.soup.select("main a") if "Older" in a.get_text()]
        path = str(older[0]["href"]) if older else ""
    assert seen == [*(f"Copy {n:04d}" for n in reversed(range(120))), "Newest"]


def test_one_numbers_page_shows_only_what_one_may_see(
    anna: Browser, ben: Browser, new_browser: Callable[[], Browser]
) -> None:
    anna.send(ONE, "From Anna")
    question = ben.send(ONE, "From Ben", status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    taken = ben.post("/messages", {**question.fields(), "confirm": str(button["value"])})
    path = "/numbers/" + ben.twin(taken)["id"]
    assert bubbles(ben.get(path)) == ["From Ben"]
    assert bubbles(anna.get(path)) == ["From Anna", "From Ben"]
    karl = new_browser()
    karl.sign_in("karl")
    karl.get(path, status=404)
    karl.get("/", query_string={"number": path.rpartition("/")[2]}, status=404)


def test_an_admin_chooses_by_member_and_others_cannot(anna: Browser, ben: Browser) -> None:
    anna.send(ONE, "From Anna")
    ben.send(OTHER, "From Ben")
    page = anna.get("/messages")
    names = [one.get_text() for one in page.soup.select("select[name=member] option")]
    assert names == ["Everyone", "Anna Sommer", "Ben Wagner"]
    assert listed(anna, member="w1") == ["From Ben"]
    assert listed(anna, q="wagner") == ["From Ben"]
    assert ben.get("/messages").soup.select("select[name=member]") == []
    assert listed(ben, member="w0") == []
    assert listed(ben) == ["From Ben"]


def test_another_account_with_the_same_sub_is_never_listed(
    anna: Browser, new_browser: Callable[[], Browser]
) -> None:
    karl = new_browser()
    karl.sign_in("karl")
    karl.send(ONE, "From Karl")
    anna.send(OTHER, "From Anna")
    for query in ({}, {"member": "w0"}, {"q": "karl"}, {"q": "3920050"}, {"outcome": "accepted"}):
        assert "From Karl" not in listed(anna, **query)
        assert "From Karl" not in str(rows_of(anna, **query))


@pytest.mark.parametrize(
    "query", ["outcome=nonsense", "member=%00", "q=%00%00", "q=" + "x" * 5000, "before="]
)
def test_b18_a_filter_that_makes_no_sense_is_no_error(anna: Browser, query: str) -> None:
    anna.send(ONE, "Hello")
    anna.get(f"/messages?{query}")
    anna.get(f"/messages.csv?{query}")


def test_the_export_holds_what_the_filter_shows(anna: Browser) -> None:
    anna.send(ONE, "Accepted, with a comma\nand a line break")
    anna.send(REFUSED, "Refused")
    head, *rows = rows_of(anna)
    assert head[8] == "Text"
    assert [row[8] for row in rows] == ["Refused", "Accepted, with a comma\nand a line break"]
    assert [row[8] for row in rows_of(anna, outcome="refused")[1:]] == ["Refused"]


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
def test_b13_no_cell_of_the_export_is_a_formula(anna: Browser, text: str) -> None:
    anna.send(ONE, text)
    row = rows_of(anna)[1]
    assert row[8] == f"'{text}"
    assert row[4] == f"'{ONE}"
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_the_export_is_whole_beyond_one_chunk(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Newest")
    many(app, 1203)
    found = [row[8] for row in rows_of(anna)[1:]]
    assert len(found) == len(set(found)) == 1204


def test_a_german_export_is_split_by_semicolons(anna: Browser) -> None:
    anna.send(ONE, "Hallo")
    answer = anna.get("/messages.csv", headers={"Accept-Language": "de"}).response
    assert ";" in answer.get_data(as_text=True).splitlines()[0]


def test_a_batchs_messages_are_found_too(app: Flask, anna: Browser) -> None:
    send_to_many(anna, 3, "To three")
    work(app)
    page = anna.get("/messages?q=three")
    assert texts(page) == ["To three"]
    assert "3 recipients" in page.text
    assert [row[8] for row in rows_of(anna, q="three")[1:]] == ["To three"] * 3


@pytest.mark.sqlite
@pytest.mark.parametrize("path", ["/messages", "/messages?outcome=unknown&outcome=paused"])
def test_outcomes_are_read_from_their_index_however_many_others_there_are(
    app: Flask, anna: Browser, path: str
) -> None:
    searches = searched(app, "messages.outcome", lambda: anna.get(path))
    assert searches
    # Or from that of one batch, or of what needs attention, which has few rows.
    few = ("outcome=?", "batch_id=?", "ix_messages_attention_")
    assert all(any(by in search for by in few) for search in searches), searches


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("path", "condition", "index"),
    [
        ("/messages", "done_at IS NULL", "ix_messages_attention_"),
        ("/messages?tab=attention", "done_at IS NULL", "ix_messages_attention_"),
        ("/messages?reason=balance", "messages.reason", "ix_messages_reason_"),
        ("/messages?extension=s1", "messages.extension_id", "ix_messages_extension"),
        (f"/messages?template={'0' * 32}", "messages.template_id", "ix_messages_template"),
    ],
)
@pytest.mark.parametrize("person", ["anna", "ben"])
def test_each_filter_is_read_from_an_index_of_its_own(
    app: Flask, sipgate: Simulator, person: str, path: str, condition: str, index: str
) -> None:
    browser = Browser(app, sipgate)
    browser.sign_in(person)
    searches = searched(app, condition, lambda: browser.get(path))
    assert any(index in search for search in searches), searches
    # What every page shows is one statement, with a few rows of a batch or of one outcome.
    few = (index, "outcome=?", "batch_id=?")
    assert all(any(by in search for by in few) for search in searches), searches


@pytest.mark.sqlite
@pytest.mark.parametrize("path", ["/messages", "/messages?outcome=cancelled"])
def test_a_page_reads_its_own_messages_by_their_ids(app: Flask, anna: Browser, path: str) -> None:
    anna.send()
    searches = searched(app, "messages.id IN", lambda: anna.get(path))
    assert searches
    assert all("(id=?)" in search for search in searches), searches


@pytest.mark.sqlite
def test_a_claim_reads_its_own_batch_however_much_is_queued_besides(
    app: Flask, anna: Browser
) -> None:
    send_to_many(anna, 2)
    searches = searched(app, "ORDER BY messages.position", lambda: work(app))
    assert len(searches) >= 4
    own = ("batch_id=?", "(id=?)")
    assert all(any(by in search for by in own) for search in searches), searches


def searched(app: Flask, about: str, act: Callable[[], object]) -> list[str]:
    """How SQLite finds messages for the statements, caused by an act, whose condition has this."""
    asked: list[tuple[str, Any]] = []
    with app.app_context():
        engine = db.engine
    sa.event.listen(
        engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    act()
    chosen = [one for one in asked if about in one[0].partition("WHERE")[2]]
    with engine.connect() as connection:
        return [
            str(row[3])
            for statement, values in chosen
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            if row[3].startswith("SEARCH messages")
        ]
