"""The list read page by page: every entry once, under every filter."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.messages.test_history import all_entries
from tests.support.pages import Browser, Page
from tests.support.worker import send_to_many
from webapp.database import insert, transaction
from webapp.database.models import Batch, Member, Message, new_id
from webapp.rules.outcomes import Outcome, Reason
from webapp.simulator.server import Simulator

ENTRIES = 140
BERLIN = ZoneInfo("Europe/Berlin")
NEEDS = (Outcome.UNKNOWN, Outcome.PAUSED, Outcome.MISSED)
FAILED = (Outcome.REFUSED, Outcome.NOT_SENT)

Fits = Callable[[Message], bool]


def made(chance: random.Random, members: list[Member]) -> list[tuple[Batch | None, list[Message]]]:
    """Messages and batches of all kinds. Many stand at the same time as others."""
    at = datetime.now(UTC).replace(microsecond=0)
    found = []
    for _ in range(ENTRIES):
        member = chance.choice(members)
        written_at = at - timedelta(hours=chance.randrange(100))
        planned_at = at + timedelta(hours=chance.randrange(-50, 100))
        send_at = planned_at if chance.random() < 0.4 else None
        batch = None
        if chance.random() < 0.4:
            batch = Batch(member_id=member.id, account_id=member.account_id)
        extension_id = chance.choice(["s0", "s1"])
        template_id = chance.choice(["a" * 32, "b" * 32, None])
        messages = [
            Message(
                id=new_id(),
                member_id=member.id,
                account_id=member.account_id,
                batch_id=batch.id if batch else None,
                position=place,
                extension_id=extension_id,
                template_id=template_id,
                recipient=f"+4917139200{chance.randrange(10, 99)}",
                text=chance.choice(["Hello", "Good morning"]),
                segment_count=1,
                send_at=send_at,
                outcome=chance.choice(list(Outcome)),
                reason=chance.choice(["", Reason.BALANCE, Reason.REJECTED]),
                done_at=at if chance.random() < 0.3 else None,
                created_at=written_at,
            )
            for place in range(chance.randrange(2, 8) if batch else 1)
        ]
        if batch and chance.random() < 0.4:
            move_alone(chance.choice(messages), at + timedelta(hours=chance.randrange(100)))
        found.append((batch, messages))
    return found


def move_alone(message: Message, at: datetime) -> None:
    message.send_at = message.shown_at = at
    message.entry_id = message.id


def needs_attention(message: Message) -> bool:
    unseen = message.batch_id is not None or message.send_at is not None
    is_open = message.outcome in NEEDS or message.outcome in FAILED and unseen
    return message.done_at is None and is_open


def is_planned(message: Message) -> bool:
    if message.outcome == Outcome.SCHEDULED:
        return message.shown_at > datetime.now(UTC)
    return message.outcome == Outcome.HELD


def filters(anna: int, ben: int) -> list[tuple[dict[str, Any], Fits]]:
    day = datetime.now(BERLIN).date() - timedelta(days=1)
    one_day = {"from": day.isoformat(), "to": day.isoformat()}
    two = ["refused", "accepted"]
    return [
        ({}, lambda one: True),
        ({"outcome": "refused"}, lambda one: one.outcome == Outcome.REFUSED),
        ({"outcome": two}, lambda one: one.outcome in two),
        ({"tab": "attention"}, needs_attention),
        ({"tab": "planned"}, is_planned),
        ({"tab": "planned", "outcome": "held"}, lambda one: one.outcome == Outcome.HELD),
        ({"q": "morning"}, lambda one: "morning" in one.text),
        ({"member": "w1"}, lambda one: one.member_id == ben),
        (
            {"member": "w0", "q": "392005"},
            lambda one: one.member_id == anna and "392005" in one.recipient,
        ),
        ({"extension": "s1"}, lambda one: one.extension_id == "s1"),
        ({"template": "a" * 32}, lambda one: one.template_id == "a" * 32),
        ({"reason": "balance"}, lambda one: one.reason == Reason.BALANCE),
        (one_day, lambda one: one.shown_at.astimezone(BERLIN).date() == day),
        (
            {"extension": "s0", "outcome": two, "reason": "rejected", "tab": "attention"},
            lambda one: (
                (one.extension_id, one.reason) == ("s0", Reason.REJECTED)
                and one.outcome in two
                and needs_attention(one)
            ),
        ),
    ]


@pytest.fixture
def filled(make_app: MakeApp, either_url: str, sipgate: Simulator) -> tuple[Flask, list[Browser]]:
    app = make_app(DATABASE_URL=either_url)
    people = [Browser(app, sipgate), Browser(app, sipgate)]
    for browser, name in zip(people, ("anna", "ben"), strict=True):
        browser.sign_in(name)
    return app, people


@pytest.mark.parametrize("seed", [1, 2])
def test_every_entry_stands_on_one_page_once_under_every_filter(
    filled: tuple[Flask, list[Browser]], seed: int
) -> None:
    app, (anna, ben) = filled
    with app.app_context(), transaction() as session:
        members = list(session.scalars(sa.select(Member).order_by(Member.sub)))
        of = {member.sub: member.id for member in members}
        rows = made(random.Random(seed), members)
        insert(session, *(batch for batch, _ in rows if batch))
        insert(session, *(message for _, messages in rows for message in messages))
    for browser, only in ((anna, None), (ben, of["w1"])):
        for query, fits in filters(of["w0"], of["w1"]):
            chosen = {
                (message.shown_at, message.entry_id)
                for _, messages in rows
                for message in messages
                if only in (None, message.member_id) and fits(message)
            }
            ordered = sorted(chosen, reverse=query.get("tab") != "planned")
            assert all_entries(browser, query) == [id_ for _, id_ in ordered], query


def test_a_batch_shows_how_many_of_it_fit(filled: tuple[Flask, list[Browser]]) -> None:
    app, (anna, _) = filled
    with app.app_context(), transaction() as session:
        member = session.scalars(sa.select(Member).where(Member.sub == "w0")).one()
        batch = Batch(member_id=member.id, account_id=member.account_id)
        insert(session, batch)
        outcomes = [Outcome.ACCEPTED] * 3 + [Outcome.REFUSED] * 2
        at = datetime.now(UTC)
        insert(
            session,
            *(
                Message(
                    **{"member_id": member.id, "account_id": member.account_id},
                    **{"batch_id": batch.id, "position": place, "extension_id": "s0"},
                    recipient=f"+4917139200{place + 10}",
                    text="Hello",
                    segment_count=1,
                    outcome=outcome,
                    created_at=at,
                )
                for place, outcome in enumerate(outcomes)
            ),
        )
    [row] = anna.get("/messages").soup.select("tr[data-entry]")
    assert "5 recipients" in row.get_text()
    assert row.get_text(" ", strip=True).endswith("3 Accepted, 2 Refused")
    for query in ("outcome=refused", "tab=attention", "q=3920013&outcome=refused"):
        [row] = anna.get(f"/messages?{query}").soup.select("tr[data-entry]")
        count = 1 if "q=" in query else 2
        assert f"{count} of 5 recipients" in row.get_text()
        assert row.get_text(" ", strip=True).endswith(f"{count} Refused")
        assert str(row.select("a")[0]["href"]) == f"/batches/{batch.id}"


def test_a_message_moved_alone_stands_at_its_own_time_and_its_batch_goes_without_it(
    filled: tuple[Flask, list[Browser]],
) -> None:
    _, (anna, _) = filled
    batch, [moved, *_] = stopped_batch(anna)
    other_day = f"{datetime.now(BERLIN) + timedelta(days=5):%Y-%m-%dT09:30}"
    reschedule(anna, moved, send_at=other_day)
    anna.press(anna.get(batch.path), f"{batch.path}/resume")
    for tab in ("all", "planned"):
        rows = anna.get(f"/messages?tab={tab}").soup.select("tr[data-entry]")
        in_order = rows if tab == "planned" else rows[::-1]
        assert [str(row.select("a")[0]["href"]) for row in in_order] == [batch.path, moved]
        assert "2 of 3 recipients" in in_order[0].get_text()
        assert "recipients" not in in_order[1].get_text()
        assert "09:30" in in_order[1].get_text()
    page = anna.get(batch.path)
    assert page.h1 == "3 messages"
    at = [row.select("time") for row in page.soup.select(".rows tbody tr")]
    assert [len(found) for found in at] == [1, 0, 0]
    assert "09:30" in at[0][0].get_text()
    assert "08:00" in page.soup.select("main > .hint time")[0].get_text()
    assert "a message to 3 recipients" in anna.get(moved).text


def test_a_message_released_alone_at_its_planned_time_stays_with_its_batch(
    filled: tuple[Flask, list[Browser]],
) -> None:
    _, (anna, _) = filled
    batch, [released, *_] = stopped_batch(anna)
    reschedule(anna, released)
    anna.press(anna.get(batch.path), f"{batch.path}/resume")
    [row] = anna.get("/messages?tab=planned").soup.select("tr[data-entry]")
    assert "3 recipients" in row.get_text()


def stopped_batch(browser: Browser) -> tuple[Page, list[str]]:
    """One of three, planned for the day after tomorrow, with the paths of its messages."""
    day = datetime.now(BERLIN) + timedelta(days=2)
    page = send_to_many(browser, 3, send_at=f"{day:%Y-%m-%dT08:00}", time_zone="Europe/Berlin")
    browser.press(page, f"{page.path}/stop")
    links = browser.get(page.path).soup.select(".rows tbody a")
    return page, [str(link["href"]) for link in links]


def reschedule(browser: Browser, path: str, **fields: str) -> None:
    """Send a paused message after all: at the planned time in its form, or at another."""
    page = browser.get(path)
    values = {**page.fields(f"{path}/reschedule"), **fields, "when": "planned"}
    answer = browser.post(f"{path}/reschedule", values)
    if answer.status == 409:
        confirm = str(answer.soup.select("[name=confirm]")[0]["value"])
        answer = browser.post(f"{path}/reschedule", {**values, "confirm": confirm})
    assert answer.status == 303
