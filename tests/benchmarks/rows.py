"""Messages in bulk: a history of any length by SQL, and queued batches by the app's models."""

import json
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask

from tests.benchmarks import people
from webapp.database import db, transaction
from webapp.database.models import Batch, Message, new_id
from webapp.jobs import tasks
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now

WORDS = ("appointment", "invoice", "delivery", "Monday", "garden", "window", "repair", "thanks")
RARE = "Zeppelin"
INSERT = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :count)
INSERT INTO messages (id, member_id, account_id, extension_id, extension_alias, caller_id,
    recipient, text, segment_count, time_zone, outcome, reason, settled_how, position, tries, looks,
    created_at, settled_at)
SELECT lower(hex(randomblob(16))),
    CASE WHEN i % 2 = 0 THEN :own ELSE :first_other + (i / 2) % 9 END,
    :account, 's0', 'Benchmark', '+4915799912345',
    '+4917' || (10000000 + (i * 7919) % 80000000),
    'Hello, this is message ' || i || ' about your ' ||
        CASE WHEN i % 4999 = 17 THEN :rare ELSE json_extract(:words, '$[' || (i % 8) || ']') END ||
        '. Call us if the time does not suit you, we will find another one.',
    1, '',
    CASE WHEN i / 2 % 10 = 3 THEN 'refused' WHEN i / 2 % 50 = 7 THEN 'not_sent'
         ELSE 'accepted' END,
    CASE WHEN i / 2 % 10 = 3 THEN 'rejected' WHEN i / 2 % 50 = 7 THEN 'unreachable' ELSE '' END,
    '', 0, 1, 0,
    strftime('%Y-%m-%d %H:%M:%S.000000', :newest - CAST(i AS REAL) * :year_s / :count, 'unixepoch'),
    strftime('%Y-%m-%d %H:%M:%S.000000', :newest - CAST(i AS REAL) * :year_s / :count, 'unixepoch')
FROM n
"""


def fill_history(app: Flask, count: int, own: people.Person, others: list[people.Person]) -> None:
    """`count` messages of one account, evenly over the last year, on SQLite; every second one is
    by `own`, the rest by nine others."""
    with app.app_context(), transaction() as rows:
        rows.execute(
            sa.text(INSERT),
            {
                "count": count,
                "own": own.member_id,
                "first_other": others[0].member_id,
                "account": people.ACCOUNT,
                "rare": RARE,
                "words": json.dumps(WORDS),
                "newest": int(now().timestamp()) - 3600,
                "year_s": 365 * 86_400,
            },
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
