"""The record: who may read it, what stands in it, and ending somebody's sign-ins."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import send_to_many, work
from webapp.database import db, insert, transaction
from webapp.database.models import Event, Member, Message, TokenSet
from webapp.i18n import sentences
from webapp.rules.times import now
from webapp.simulator.server import Simulator

ONE = "+491713920050"
NewBrowser = Callable[[], Browser]


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url)


def signed_in(new_browser: NewBrowser, person: str) -> Browser:
    browser = new_browser()
    browser.sign_in(person)
    return browser


@pytest.fixture
def ben(new_browser: NewBrowser) -> Browser:
    return signed_in(new_browser, "ben")


def planned(browser: Browser) -> Page:
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(ONE, send_at=send_at, time_zone="UTC")


def told(page: Page) -> list[str]:
    """Who did what, as the page has it."""
    rows = page.soup.select("tr[data-kind]")
    return [
        f"{row.select_one('.cell-recipient').text} {row.select_one('.cell-text').text}"  # type: ignore[union-attr]
        for row in rows
    ]


def lines(browser: Browser, query: str = "") -> list[list[str]]:
    text = browser.get(f"/record.csv{query}").response.get_data(as_text=True)
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff")), strict=True))[1:]


def end_path(app: Flask, name: str) -> str:
    with app.app_context():
        query = sa.select(Member.id).where(Member.name.startswith(name))
        return f"/members/{db.session.scalars(query).one()}/end"


def token(browser: Browser) -> dict[str, str]:
    return {"csrf_token": browser.get("/").fields()["csrf_token"]}


def test_it_says_who_did_what_the_latest_first(anna: Browser, ben: Browser) -> None:
    page = planned(ben)
    ben.press(page, f"{page.path}/cancel")
    send_to_many(anna, 3)
    found = anna.get("/record")
    assert told(found) == [
        "Anna Sommer sent a message to several people",
        "Ben Wagner cancelled a message",
        "Ben Wagner planned a message",
        "Ben Wagner signed in",
        "Anna Sommer signed in",
    ]
    main = str(found.soup.main)
    assert "3920050" not in main
    assert "Hello" not in main
    link = found.soup.select_one("tr[data-kind=planned] a")
    assert link is not None
    anna.get(str(link["href"]))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?member=w1", 2),
        ("?member=w0", 1),
        ("?member=w9", 0),
        ("?kind=planned", 1),
        ("?kind=planned&kind=signed_in", 3),
        ("?member=w1&kind=signed_in", 1),
        ("?kind=nonsense", 3),
        ("?from=2020-01-01&to=2020-12-31", 0),
        ("?from=2020-01-01", 3),
        ("?from=x&to=\x00", 3),
        ("?before=x", 3),
        ("?before=2020-01-01T00:00:00%2B00:00~5", 0),
    ],
)
def test_it_is_filtered(anna: Browser, ben: Browser, query: str, count: int) -> None:
    planned(ben)
    assert len(told(anna.get(f"/record{query}"))) == count
    if "before" not in query:
        assert len(lines(anna, query)) == count


def test_every_entry_is_on_one_page_exactly(app: Flask, anna: Browser) -> None:
    at = now() - timedelta(hours=1)
    with app.app_context(), transaction() as session:
        member_id = session.scalars(sa.select(Member.id)).one()
        insert(
            session,
            *(
                Event(at=at - timedelta(seconds=n // 7), kind="sent", account_id="1234567",
                      member_id=member_id, note=str(n))
                for n in range(130)
            ),
        )  # fmt: skip
    seen: list[str] = []
    page = anna.get("/record?kind=sent")
    while True:
        seen += told(page)
        older = [a for a in page.soup.select(".pager a") if "before=" in str(a["href"])]
        if not older:
            break
        page = anna.get(str(older[0]["href"]))
    assert len(seen) == len(set(seen)) == 130 == len(lines(anna, "?kind=sent"))


def test_every_kind_of_event_has_words_in_the_record() -> None:
    ours = {"held", "released", "erased"}
    assert {kind.value for kind in sentences.RECORD} | ours == {
        kind.value for kind in sentences.AuditEvent
    }


@pytest.mark.parametrize("path", ["/record", "/record.csv"])
def test_only_administrators_read_it(ben: Browser, path: str) -> None:
    ben.get(path, status=403)
    assert 'href="/record"' not in str(ben.get("/").soup)


def test_it_holds_nothing_of_another_account(
    app: Flask, anna: Browser, new_browser: NewBrowser
) -> None:
    planned(anna)
    karl = signed_in(new_browser, "karl")
    with app.app_context(), transaction() as session:
        session.execute(
            sa.update(Member).where(Member.account_id != "1234567").values(is_admin=True)
        )
    page = karl.get("/record")
    assert "Anna" not in page.text
    assert told(page) == ["Karl Krause signed in"]
    path = end_path(app, "Anna")
    karl.get(path, status=404)
    karl.post(path, token(karl), status=404)
    anna.get("/record")


def test_people_stand_there_with_the_day_they_were_last_here(
    app: Flask, anna: Browser, ben: Browser
) -> None:
    planned(ben)
    page = anna.get("/record")
    assert "1234567" in page.soup.select("#people")[0].text
    rows = {row.th.text.strip(): row.text for row in page.soup.select("#people tbody tr")}  # type: ignore[union-attr]
    assert set(rows) == {"Anna Sommer (administrator)", "Ben Wagner"}
    assert "Today" in rows["Ben Wagner"]
    with app.app_context(), transaction() as session:
        old = sa.update(Member).where(Member.name == "Ben Wagner")
        session.execute(old.values(last_seen_at=now() - timedelta(days=1)))
    assert "Yesterday" in anna.get("/record").soup.select("#people")[0].text


def test_using_the_app_later_counts_as_being_here(app: Flask, ben: Browser) -> None:
    with app.app_context():
        before = db.session.scalars(sa.select(Member.last_seen_at)).one()
    assert before is not None
    with time_machine.travel(now() + timedelta(minutes=10)):
        ben.get("/messages")
        with app.app_context():
            seen = db.session.scalars(sa.select(Member.last_seen_at)).one()
    assert seen is not None
    assert seen - before >= timedelta(minutes=9)


def test_an_administrator_ends_somebodys_sign_ins_and_what_waits_is_paused(
    app: Flask, anna: Browser, ben: Browser, sipgate: Simulator
) -> None:
    message = planned(ben)
    path = end_path(app, "Ben")
    page = anna.get(path)
    assert "Ben Wagner has 1 message that waits" in page.text
    ben.get("/messages")  # the question alone has changed nothing
    after = anna.follow(anna.press(page, path))
    assert "Ben Wagner is signed out everywhere." in after.text
    assert told(after)[0] == "Anna Sommer ended the sign-ins of Ben Wagner"
    assert ben.get("/messages", status=302).location.startswith("/login")
    assert anna.twin(message)["outcome"] == "paused"
    with app.app_context():
        assert not list(
            db.session.scalars(
                sa.select(TokenSet.id)
                .join(Member, Member.id == TokenSet.member_id)
                .where(Member.name == "Ben Wagner", TokenSet.ended_at.is_(None))
            )
        )
    work(app)
    assert not sipgate.world.arrivals
    ben.sign_in("ben")
    assert ben.twin(message)["outcome"] == "paused"


def test_one_ends_ones_own_sign_ins_elsewhere(app: Flask, anna: Browser) -> None:
    page = anna.post(end_path(app, "Anna"), token(anna), status=303)
    assert page.location.endswith("/sessions")
    anna.get("/messages")


def test_only_administrators_end_sign_ins(app: Flask, anna: Browser, ben: Browser) -> None:
    path = end_path(app, "Anna")
    ben.get(path, status=404)
    ben.post(path, token(ben), status=404)
    anna.get("/messages")
    anna.get("/members/999999/end", status=404)
    anna.get("/members/x/end", status=404)


def test_entries_outlive_their_message_without_a_link(app: Flask, anna: Browser) -> None:
    planned(anna)
    with app.app_context(), transaction() as session:
        session.execute(sa.text("UPDATE submissions SET message_id = NULL"))
        session.execute(sa.delete(Message))
    row = anna.get("/record").soup.select_one("tr[data-kind=planned]")
    assert row is not None
    assert row.a is None
