"""Messages in bulk: a history of any length, and queued batches."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import Flask

from tests.benchmarks import people
from webapp.database import db, insert, transaction
from webapp.database.models import Batch, Message, new_id
from webapp.jobs import tasks
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now

WORDS = ("appointment", "invoice", "delivery", "Monday", "garden", "window", "repair", "thanks")
RARE = "Zeppelin"
BATCH = 20
"""Messages of a batch. Of 100 messages, so many are one batch by `own`."""
YEAR = timedelta(days=365)
PLANNED = 120
"""The newest so many are planned, however long the history is."""
CHUNK = 20_000


def fill_history(app: Flask, count: int, own: people.Person, others: list[people.Person]) -> None:
    """`count` messages of one account, evenly over the last year; every second one is by `own`,
    the rest by nine others."""
    begin = now() - timedelta(hours=1)
    writers = [own.member_id, *(one.member_id for one in others)]
    with app.app_context():
        for start in range(0, count, CHUNK):
            chosen = range(start, min(count, start + CHUNK))
            made = [_past(i, begin, YEAR / count, writers) for i in chosen]
            batches = {one.batch_id: one for one in made if one.batch_id}
            with transaction() as session:
                for id_, one in batches.items():
                    of = {"member_id": one.member_id, "account_id": one.account_id}
                    insert(session, Batch(id=id_, **of))
                insert(session, *made)


def _past(i: int, begin: datetime, step: timedelta, writers: list[int]) -> Message:
    """The message number `i`, counted from the newest."""
    block, place = divmod(i, 100)
    is_planned = i < PLANNED
    in_batch = i % 2 == 0 and place < 2 * BATCH and not is_planned
    at = begin - (100 * block if in_batch else i) * step
    outcome, reason = Outcome.HELD if is_planned else Outcome.ACCEPTED, ""
    if not is_planned and i // 2 % 10 == 3:
        outcome, reason = Outcome.REFUSED, "rejected"
    return Message(
        member_id=writers[0 if i % 2 == 0 else 1 + i // 2 % 9],
        account_id=people.ACCOUNT,
        extension_id="s0",
        extension_alias="Benchmark",
        caller_id="+4915799912345",
        recipient=f"+4917{10_000_000 + i * 7919 % 80_000_000}",
        text=f"Hello, this is message {block if in_batch else i} about your "
        f"{RARE if i % 4999 == 17 else WORDS[i % 8]}. Call us if the time does not suit you, we "
        "will find another one.",
        segment_count=1,
        outcome=outcome,
        reason=reason,
        batch_id=f"{block:032x}" if in_batch else None,
        position=place // 2,
        tries=1,
        send_at=begin + timedelta(hours=i + 2) if is_planned else None,
        created_at=at,
        settled_at=None if is_planned else at,
        done_at=at,
    )


def queue_batches(app: Flask, person: people.Person, count: int, size: int) -> list[str]:
    """`count` messages that are due, in batches of `size`; returns the batches' ids. Nobody is
    woken."""
    numbers = people.numbers()
    batches = []
    for start in range(0, count, size):
        batch = Batch(member_id=person.member_id, account_id=people.ACCOUNT)
        batches.append(batch.id)
        with app.app_context(), transaction() as rows:
            rows.add(batch)
            rows.flush()
            at = now() - timedelta(seconds=1)
            rows.execute(
                sa.insert(Message),
                [
                    _queued(batch, place, next(numbers), at)
                    for place in range(min(size, count - start))
                ],
            )
    return batches


def _queued(batch: Batch, place: int, recipient: str, at: object) -> dict[str, object]:
    return {
        "id": new_id(),
        "created_at": at,
        "member_id": batch.member_id,
        "account_id": batch.account_id,
        "batch_id": batch.id,
        "position": place,
        "extension_id": "s0",
        "recipient": recipient,
        "text": people.TEXT,
        "segment_count": 1,
        "outcome": Outcome.QUEUED,
        "due_at": at,
        "expected_at": at,
        "shown_at": batch.created_at,
        "entry_id": batch.id,
    }


def wake(app: Flask, batches: list[str]) -> None:
    """As the page does after a form."""
    tasks.setup_queue(app)
    with app.app_context():
        for batch_id in batches:
            tasks.start_batch(batch_id)


def outcomes(app: Flask) -> dict[str, int]:
    """How many messages have which outcome."""
    query = sa.select(Message.outcome, sa.func.count()).group_by(Message.outcome)
    with app.app_context():
        found = {outcome.value: count for outcome, count in db.session.execute(query)}
        db.session.rollback()
    return found
