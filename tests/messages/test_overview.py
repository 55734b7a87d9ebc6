"""The overview's figures: always what a plain count gives, and what the lists behind them show."""

import csv
import io
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.raw_servers import in_parallel
from webapp.database import db, transaction, triggers
from webapp.database.models import CountedDay, DayCount, Member, Message, MessageTemplate
from webapp.jobs import retention
from webapp.messages import overview, samples, transitions
from webapp.messages.overview import By
from webapp.rules.outcomes import BILLED, Actor, Outcome, Reason
from webapp.rules.times import now

BERLIN = ZoneInfo("Europe/Berlin")
NewBrowser = Callable[[], Browser]
Row = tuple[Any, ...]


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url, SEGMENT_PRICE="0.075", RETENTION_DAYS="30")


@pytest.fixture
def ben(new_browser: NewBrowser) -> Browser:
    browser = new_browser()
    browser.sign_in("ben")
    return browser


def member_of(name: str) -> Member:
    return db.session.scalars(sa.select(Member).where(Member.name.startswith(name))).one()


def message(at: datetime, member: Member, n: int = 0, **values: Any) -> Message:
    """One that was accepted, unless `values` say otherwise."""
    plain: dict[str, Any] = {
        "member_id": member.id,
        "account_id": member.account_id,
        "extension_id": "s0",
        "recipient": f"+4917139200{n % 100:02d}",
        "text": "Hello",
        "segment_count": 1,
        "outcome": Outcome.ACCEPTED,
        "created_at": at,
    }
    return Message(**{**plain, **values})


def add(*new: Message) -> list[str]:
    with transaction() as session:
        session.add_all(new)
    return [one.id for one in new]


def day_of(moment: datetime) -> date:
    return moment.astimezone(BERLIN).date()


def plain_count(member_id: int | None = None) -> Counter[Row]:
    """Messages and billed segments by day, what they are counted by, and its value: each row read
    and counted here."""
    found: Counter[Row] = Counter()
    for one in db.session.scalars(sa.select(Message).execution_options(populate_existing=True)):
        if member_id is not None and one.member_id != member_id:
            continue
        keys = {
            By.OUTCOME: one.outcome.value,
            By.MEMBER: str(one.member_id),
            By.EXTENSION: one.extension_id,
            By.TEMPLATE: one.template_id,
            By.REASON: one.reason,
        }
        billed = one.segment_count if one.outcome in BILLED else 0
        for by, key in keys.items():
            if key:
                found[day_of(one.shown_at), by, key, "messages"] += 1
                found[day_of(one.shown_at), by, key, "segments"] += billed
    db.session.rollback()
    return +found


def counted(member: Member, first: date, last: date) -> Counter[Row]:
    """The same as the overview has it."""
    found: Counter[Row] = Counter()
    for day in overview.days(member, first, last):
        for by, tallies in day.figures.by.items():
            for key, tally in tallies.items():
                found[day.on, by, key, "messages"] += tally.messages
                found[day.on, by, key, "segments"] += tally.segments
    return +found


def standing() -> int:
    return db.session.scalar(sa.select(sa.func.count()).select_from(CountedDay)) or 0


# --- Equal to a plain count -----------------------------------------------------------------------


class Life:
    """Random changes of messages in the ways the app makes them, now and then with SQL of one's
    own, between countings that come at any time."""

    def __init__(self, seed: int, members: list[Member]) -> None:
        self.random = random.Random(seed)
        self.members = members
        self.ids: list[str] = []

    def moment(self) -> datetime:
        """Within eight days; often just around midnight, and up to two days ahead."""
        day = datetime.combine(day_of(now()), datetime.min.time(), BERLIN)
        day += timedelta(days=self.random.randint(-8, 2))
        near = self.random.choice((0, 1, -1, 3600, 40000, 86399))
        return (day + timedelta(seconds=near)).astimezone(UTC)

    def step(self) -> None:
        step = self.random.choice(
            (self.add, self.add, self.change, self.move, self.erase, self.count, self.edit)
        )
        step()

    def add(self) -> None:
        pick = self.random.choice
        self.ids += add(
            *(
                message(
                    self.moment(),
                    pick(self.members),
                    extension_id=pick(("s0", "s1")),
                    template_id=pick((None, "t1", "t2")),
                    segment_count=self.random.randint(1, 3),
                    outcome=pick(list(Outcome)),
                    reason=pick(("", "balance", "no_answer")),
                )
                for _ in range(self.random.randint(1, 5))
            )
        )

    def some(self) -> sa.ColumnElement[bool]:
        chosen = self.random.sample(self.ids, min(len(self.ids), self.random.randint(1, 6)))
        return Message.id.in_(chosen)

    def change(self) -> None:
        changes = (
            transitions.change_to(Outcome.UNKNOWN, Actor.WORKER),
            transitions.change_to(Outcome.ACCEPTED, Actor.PERSON),
            transitions.change_to(Outcome.QUEUED, Actor.PERSON),
            transitions.withdraw(),
            transitions.pause(Reason.BALANCE),
        )
        with transaction() as session:
            session.execute(self.random.choice(changes).where(self.some()))

    def move(self) -> None:
        """To another day, as a missed message is that gets a new time."""
        with transaction() as session:
            session.execute(sa.update(Message).where(self.some()).values(shown_at=self.moment()))

    def edit(self) -> None:
        """What somebody types who looks after the database."""
        with transaction() as session:
            ids = self.random.sample(self.ids, min(len(self.ids), 2))
            for id_ in ids:
                statement = (
                    "UPDATE messages SET template_id = 't3', segment_count = 9 WHERE id = :id"
                )
                session.execute(sa.text(statement), {"id": id_})

    def erase(self) -> None:
        with transaction() as session:
            session.execute(sa.delete(Message).where(self.some()))

    def count(self) -> None:
        overview.count_ended_days()


@pytest.mark.parametrize("seed", range(4))
def test_at_every_moment_the_figures_are_those_of_a_plain_count(
    app: Flask, anna: Browser, ben: Browser, seed: int
) -> None:
    with app.app_context():
        anna_, ben_ = member_of("Anna"), member_of("Ben")
        life = Life(seed, [anna_, ben_])
        first, last = day_of(now()) - timedelta(days=12), day_of(now()) + timedelta(days=4)
        stood = 0
        for _ in range(60):
            life.step()
            assert counted(anna_, first, last) == plain_count()
            assert counted(ben_, first, last) == plain_count(ben_.id)
            stood = max(stood, standing())
        assert stood > 3, "no day was ever counted: this proves nothing"


def test_a_change_drops_its_day_alone_and_an_undone_change_none(app: Flask, anna: Browser) -> None:
    with app.app_context():
        me = member_of("Anna")
        days = [now() - timedelta(days=n) for n in (1, 2, 3)]
        ids = add(*(message(at, me) for at in days))
        overview.count_ended_days()
        assert standing() == 3
        with db.engine.connect() as connection:
            connection.execute(sa.update(Message).values(outcome=Outcome.REFUSED))
            connection.rollback()
        assert standing() == 3
        with transaction() as session:
            refused = sa.update(Message).where(Message.id == ids[1])
            session.execute(refused.values(outcome=Outcome.REFUSED))
        assert standing() == 2
        overview.count_ended_days()
        assert standing() == 3
        found = overview.total(overview.days(me, day_of(days[2]), day_of(days[0])))
        assert found.of(Outcome.REFUSED).messages == 1


def test_marking_something_done_leaves_the_counts_alone(app: Flask, anna: Browser) -> None:
    with app.app_context():
        me = member_of("Anna")
        add(message(now() - timedelta(days=1), me, outcome=Outcome.REFUSED))
        overview.count_ended_days()
        with transaction() as session:
            session.execute(sa.update(Message).values(done_at=now()))
        assert standing() == 1


def test_retention_and_forgetting_take_their_messages_out_of_the_counts(
    app: Flask, anna: Browser
) -> None:
    with app.app_context():
        me = member_of("Anna")
        at = now() - timedelta(days=2)
        planned = now() - timedelta(days=20)
        add(
            message(at, me, 1),
            message(at, me, 2),
            message(now() - timedelta(days=31), me, 3, send_at=planned),
        )
        overview.count_ended_days()
        assert standing() >= 20
        retention.forget_number("+491713920001")
        retention.prune()
        first, last = day_of(now()) - timedelta(days=32), day_of(now())
        assert counted(me, first, last) == plain_count()
        assert overview.total(overview.days(me, first, last)).of().messages == 1


def test_triggers_that_a_remade_table_lost_come_back_and_nothing_counted_stays(
    app: Flask, anna: Browser
) -> None:
    with app.app_context():
        me = member_of("Anna")
        ids = add(message(now() - timedelta(days=1), me))
        overview.count_ended_days()
        with transaction() as session:
            where = "" if db.engine.dialect.name == "sqlite" else " ON messages"
            session.execute(sa.text(f"DROP TRIGGER messages_changed{where}"))
        assert not triggers.are_in_place()
        with transaction() as session:
            refused = sa.update(Message).where(Message.id == ids[0])
            session.execute(refused.values(outcome=Outcome.REFUSED))
        triggers.require()
        assert triggers.are_in_place()
        first, last = day_of(now()) - timedelta(days=2), day_of(now())
        assert counted(me, first, last) == plain_count()
        triggers.require()


def test_counts_hold_no_number_and_no_text(app: Flask, anna: Browser) -> None:
    with app.app_context():
        me = member_of("Anna")
        add(message(now() - timedelta(days=1), me, 77, text="Secret"))
        overview.count_ended_days()
        kept = str([one.counts for one in db.session.scalars(sa.select(DayCount))])
        assert "3920077" not in kept
        assert "Secret" not in kept


def test_a_day_counted_while_others_write_misses_none_of_their_changes(
    app: Flask, anna: Browser
) -> None:
    """Each message is changed once at a time, in a transaction that stays open for a moment: a
    count taken meanwhile must not outlive it."""
    with app.app_context():
        me = member_of("Anna")
        ids = add(*(message(now() - timedelta(days=n), me) for n in range(1, 29)))
    is_over = threading.Event()

    def change(share: list[str]) -> None:
        for outcome in (Outcome.REFUSED, Outcome.UNKNOWN, Outcome.ACCEPTED, Outcome.REFUSED):
            for id_ in share:
                with app.app_context(), transaction() as session:
                    of = sa.update(Message).where(Message.id == id_)
                    session.execute(of.values(outcome=outcome))
                    time.sleep(0.002)

    def count() -> None:
        while not is_over.is_set():
            with app.app_context():
                overview.count_ended_days()

    counting = threading.Thread(target=count)
    counting.start()
    try:
        in_parallel(*(partial(change, ids[n::4]) for n in range(4)))
    finally:
        is_over.set()
        counting.join()
    with app.app_context():
        first, last = day_of(now()) - timedelta(days=29), day_of(now())
        assert counted(me, first, last) == plain_count()


# --- The page -------------------------------------------------------------------------------------


def figures(page: Page) -> dict[str, str]:
    """Every figure that leads to a list, by its address."""
    links = page.soup.select("main .tile a, main table a, main a[href*='from=']")
    return {str(a["href"]): a.get_text(" ", strip=True) for a in links}


def listed(browser: Browser, url: str) -> int:
    """How many messages a list shows on all its pages; a batch as those of it that are shown."""
    answer = browser.get(url.replace("/messages?", "/messages.csv?")).response
    text = answer.get_data(as_text=True).removeprefix("\ufeff")
    return len(list(csv.reader(io.StringIO(text), strict=True))) - 1


def fill_some_days(people: list[Member]) -> None:
    outcomes = list(Outcome)
    template = MessageTemplate(
        account_id=people[0].account_id, name="Ready", text="…", changed_by_id=people[0].id
    )
    with transaction() as session:
        session.add(template)
        session.flush()
        session.add_all(
            message(
                now() - timedelta(days=n % 9, minutes=n),
                people[n % len(people)],
                n,
                outcome=outcomes[n % len(outcomes)],
                reason="balance" if n % 5 == 0 else "",
                template_id=template.id if n % 3 == 0 else None,
                extension_id=f"s{n % 2}",
                segment_count=1 + n % 2,
            )
            for n in range(120)
        )


@pytest.mark.parametrize("is_counted", [False, True])
def test_every_figure_leads_to_exactly_its_messages(
    app: Flask, anna: Browser, ben: Browser, is_counted: bool
) -> None:
    with app.app_context():
        fill_some_days([member_of("Anna"), member_of("Ben")])
        if is_counted:
            overview.count_ended_days()
    checked = 0
    for browser in (anna, ben):
        for url, shown in figures(browser.get("/overview?days=30")).items():
            if "from=" not in url or "€" in shown:
                continue
            number = shown.split()[0].replace(",", "")
            assert listed(browser, url) == int(number), url
            checked += 1
    assert checked > 60


def test_a_year_is_drawn_by_weeks_and_each_leads_to_its_messages(
    make_app: MakeApp, either_url: str, sipgate: Any
) -> None:
    app = make_app(DATABASE_URL=either_url)
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    with app.app_context():
        add(*(message(now() - timedelta(days=5 * n), member_of("Anna"), n) for n in range(70)))
    page = anna.get("/overview?days=365")
    rows = page.soup.select("main details table tbody tr")
    assert len(rows) in (53, 54)
    links = [row.select_one("td a") for row in rows]
    counted_by_week = {str(a["href"]): int(a.text) for a in links if a}
    assert sum(counted_by_week.values()) == 70
    for url, count in list(counted_by_week.items())[::9]:
        assert listed(anna, url) == count


def test_others_see_their_own_messages_and_no_names(
    app: Flask, anna: Browser, ben: Browser
) -> None:
    with app.app_context():
        add(*(message(now() - timedelta(days=1), member_of("Anna"), n) for n in range(7)))
        add(*(message(now() - timedelta(days=1), member_of("Ben"), n) for n in range(3)))
    assert "In the last 30 days: 10 messages" in anna.get("/overview").text
    assert "Ben Wagner" in anna.get("/overview").text
    page = ben.get("/overview?by=member")
    assert "In the last 30 days: 3 messages" in page.text
    assert "Anna" not in page.text
    assert "By person" not in page.text
    ben.get("/overview.csv?by=member", status=403)


def test_another_account_counts_nothing_of_this_one(
    app: Flask, anna: Browser, new_browser: NewBrowser
) -> None:
    with app.app_context():
        add(*(message(now() - timedelta(days=1), member_of("Anna"), n) for n in range(7)))
        overview.count_ended_days()
    karl = new_browser()
    karl.sign_in("karl")
    page = karl.get("/overview")
    assert "In the last 30 days: 0 messages" in page.text
    assert "Anna" not in page.text


def test_a_team_that_sees_all_counts_all_but_not_by_person(
    make_app: MakeApp, either_url: str, sipgate: Any
) -> None:
    app = make_app(DATABASE_URL=either_url, HISTORY_VISIBILITY="team")
    anna, ben = Browser(app, sipgate), Browser(app, sipgate)
    anna.sign_in("anna")
    ben.sign_in("ben")
    with app.app_context():
        add(*(message(now() - timedelta(days=1), member_of("Anna"), n) for n in range(7)))
    page = ben.get("/overview")
    assert "In the last 30 days: 7 messages" in page.text
    assert "By person" not in page.text


@pytest.mark.parametrize("days", ["", "0", "-1", "9999999", "x", "٣", "1e2", "400"])
def test_days_that_cannot_be_shown_are_thirty(anna: Browser, days: str) -> None:
    assert "In the last 30 days:" in anna.get("/overview", query_string={"days": days}).text


def test_the_spreadsheet_has_a_line_for_each_day_or_for_each_of_what_is_asked(
    app: Flask, anna: Browser, ben: Browser
) -> None:
    with app.app_context():
        yesterday = now() - timedelta(days=1)
        add(
            message(yesterday, member_of("Anna"), segment_count=2), message(now(), member_of("Ben"))
        )
    text = anna.get("/overview.csv?days=7").response.get_data(as_text=True)
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert len(rows) == 8
    assert rows[0][:2] == ["Day", "Messages"]
    assert rows[6] == [str(day_of(yesterday)), "1", "1", "0", "0", "0", "2", "0.15"]
    text = anna.get("/overview.csv?days=7&by=member").response.get_data(as_text=True)
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert [row[:2] for row in rows[1:]] == [["Anna Sommer", "1"], ["Ben Wagner", "1"]]


def test_the_month_costs_what_its_billed_parts_cost(app: Flask, anna: Browser) -> None:
    with app.app_context():
        me = member_of("Anna")
        add(
            message(now(), me, segment_count=2),
            message(now(), me, outcome=Outcome.UNKNOWN),
            message(now(), me, outcome=Outcome.REFUSED, segment_count=5),
        )
    tile = next(t for t in anna.get("/overview").soup.select(".tile") if "estimated" in t.text)
    assert "€0.23" in tile.text
    assert "3 parts" in tile.text


def test_the_demos_past_is_counted_and_found_and_never_put_into_a_database_in_use(
    app: Flask, new_browser: NewBrowser
) -> None:
    with app.app_context():
        count = samples.fill()
    anna = new_browser()
    anna.sign_in("anna")
    first = overview_days(anna, 30)
    assert 100 < first < count
    assert listed(anna, "/messages?tab=all") == count
    with app.app_context(), pytest.raises(samples.NotEmpty):
        samples.fill()


def overview_days(browser: Browser, days: int) -> int:
    """How many messages the page says there were."""
    found = re.search(
        r"In the last \d+ days: ([\d,]+) messages", browser.get(f"/overview?days={days}").text
    )
    assert found
    return int(found[1].replace(",", ""))
