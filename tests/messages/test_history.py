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
                    "created_at": newest.created_at - timedelta(seconds=n + 1),
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


def test_counts_are_links_that_filter(anna: Browser) -> None:
    anna.send(ONE, "Accepted")
    anna.send(REFUSED, "Refused")
    page = anna.get("/messages")
    links = {
        link.get_text(" ", strip=True): str(link["href"]) for link in page.soup.select(".chips a")
    }
    assert list(links) == ["All", "Accepted 1", "Refused 1"]
    chosen = anna.get(links["Refused 1"])
    assert texts(chosen) == ["Refused"]
    current = chosen.soup.select(".chips [aria-current]")
    assert [one.get_text(" ", strip=True) for one in current] == ["Refused 1"]


def test_counts_cover_seven_days_and_stop_at_999(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Now")
    many(app, 1100, outcome=Outcome.ACCEPTED)
    many_old = datetime.now(UTC) - timedelta(days=8)
    with app.app_context(), transaction() as rows:
        rows.execute(
            sa.update(Message)
            .where(Message.id < f"{50:032x}")
            .values(created_at=many_old, outcome=Outcome.REFUSED)
        )
    chips = anna.get("/messages").soup.select(".chips a")
    assert [one.get_text(" ", strip=True) for one in chips] == ["All", "Accepted 999+"]


def test_pages_follow_each_other_without_gap_or_repetition(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Newest")
    many(app, 120)
    with app.app_context(), transaction() as rows:
        # Equal times, as the messages of a batch have them: the id decides.
        same = rows.scalar(sa.select(Message.created_at).where(Message.id == f"{40:032x}"))
        middle = Message.id.between(f"{40:032x}", f"{60:032x}")
        rows.execute(sa.update(Message).where(middle).values(created_at=same))
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


def test_what_has_not_gone_stands_on_top_with_what_can_be_done(
    anna: Browser, sipgate: Simulator
) -> None:
    soon = (datetime.now(UTC) + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M")
    later = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    anna.send(ONE, "Later", send_at=later, time_zone="UTC")
    anna.send(OTHER, "Soon", send_at=soon, time_zone="UTC")
    anna.send("+491713920052", "Now")
    lines = [
        line.get_text(" ", strip=True) for line in anna.get("/messages").soup.select(".ahead li")
    ]
    assert len(lines) == 2
    assert lines[0].startswith("Scheduled +49 171 3920051")
    assert lines[0].endswith("can no longer be recalled.")
    assert lines[1].startswith("Planned +49 171 3920050")
    assert "Can be changed until" in lines[1]
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=1), tick=True):
        assert len(anna.get("/messages").soup.select(".ahead li")) == 1


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
    assert texts(both) == ["Second", "First"]
    write = next(a for a in both.soup.select("main a") if "Write another" in a.get_text())
    assert anna.get(str(write["href"])).fields("/messages")["recipient"] == ONE


def test_one_numbers_page_shows_only_what_one_may_see(
    anna: Browser, ben: Browser, new_browser: Callable[[], Browser]
) -> None:
    anna.send(ONE, "From Anna")
    question = ben.send(ONE, "From Ben", status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    taken = ben.post("/messages", {**question.fields(), "confirm": str(button["value"])})
    path = "/numbers/" + ben.twin(taken)["id"]
    assert texts(ben.get(path)) == ["From Ben"]
    assert texts(anna.get(path)) == ["From Ben", "From Anna"]
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
    assert head[-1] == "Text"
    assert [row[-1] for row in rows] == ["Refused", "Accepted, with a comma\nand a line break"]
    assert [row[-1] for row in rows_of(anna, outcome="refused")[1:]] == ["Refused"]


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)"])
def test_b13_no_cell_of_the_export_is_a_formula(anna: Browser, text: str) -> None:
    anna.send(ONE, text)
    row = rows_of(anna)[1]
    assert row[-1] == f"'{text}"
    assert row[4] == f"'{ONE}"
    assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_the_export_is_whole_beyond_one_chunk(app: Flask, anna: Browser) -> None:
    anna.send(ONE, "Newest")
    many(app, 1203)
    found = [row[-1] for row in rows_of(anna)[1:]]
    assert len(found) == len(set(found)) == 1204


def test_a_german_export_is_split_by_semicolons(anna: Browser) -> None:
    anna.send(ONE, "Hallo")
    answer = anna.get("/messages.csv", headers={"Accept-Language": "de"}).response
    assert ";" in answer.get_data(as_text=True).splitlines()[0]


def test_a_batchs_messages_are_found_too(app: Flask, anna: Browser) -> None:
    send_to_many(anna, 3, "To three")
    work(app)
    assert listed(anna, q="three") == ["To three"] * 3


@pytest.mark.sqlite
@pytest.mark.parametrize("path", ["/messages", "/messages?outcome=unknown&outcome=paused"])
def test_outcomes_are_read_from_their_index_however_many_others_there_are(
    app: Flask, anna: Browser, path: str
) -> None:
    searches = searched(app, "messages.outcome", lambda: anna.get(path))
    assert searches
    assert all("outcome=?" in search for search in searches), searches


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
