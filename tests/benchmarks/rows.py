"""Messages in bulk: a history of any length, and queued batches."""

import re
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask

from tests.benchmarks import people
from webapp.database import db, insert, table, transaction
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
NUMBER = "+4917139200501"
"""Every tenth message goes there."""
TEMPLATE = "e" * 32
"""Of every tenth message."""
MESSAGES = """
WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :count),
kinds AS (
    SELECT i, i / 100 AS block, i % 100 AS place, i < :planned AS is_planned,
        i % 2 = 0 AND i % 100 < 2 * :batch AND i >= :planned AS in_batch,
        i >= :planned AND i / 2 % 5 = 3 AS is_refused
    FROM numbers
),
ids AS (
    SELECT *, {id} AS id, CASE WHEN in_batch THEN {batch_id} END AS batch_id,
        :begin - :step * CASE WHEN in_batch THEN 100 * block ELSE i END AS taken_at,
        CASE WHEN is_planned THEN :begin + 3600 * (i + 2) END AS planned_at
    FROM kinds
)
SELECT id, batch_id, COALESCE(batch_id, id) AS entry_id, place / 2 AS position,
    CASE WHEN i % 2 = 0 THEN :own ELSE :first_other + i / 2 % 9 END AS member_id,
    :account AS account_id, 's0' AS extension_id, 'Benchmark' AS extension_alias,
    '+4915799912345' AS caller_id,
    CASE WHEN i % 10 = 6 THEN :number
        ELSE '+4917' || (10000000 + CAST(i AS BIGINT) * 7919 % 80000000) END AS recipient,
    CASE WHEN i % 10 = 4 THEN :template END AS template_id,
    'Hello, this is message ' || CASE WHEN in_batch THEN block ELSE i END || ' about your '
        || CASE WHEN i % 4999 = 17 THEN :rare ELSE {word} END
        || '. Call us if the time does not suit you, we will find another one.' AS text,
    1 AS segment_count, '' AS time_zone, '' AS settled_how, '' AS wish, 1 AS tries, 0 AS looks,
    CASE WHEN is_planned THEN 'held' WHEN is_refused THEN 'refused' ELSE 'accepted' END AS outcome,
    CASE WHEN is_refused THEN 'rejected' ELSE '' END AS reason,
    {taken_at} AS created_at, {shown_at} AS shown_at, {taken_at} AS done_at,
    CASE WHEN NOT is_planned THEN {taken_at} END AS settled_at, {planned_at} AS send_at
FROM ids
"""
"""`count` messages, numbered from the newest. Ids are as scattered as random ones."""


def fill_history(app: Flask, count: int, own: people.Person, others: list[people.Person]) -> None:
    """`count` messages of one account, evenly over the last year; every second one is by `own`,
    the rest by nine others.

    By plain SQL, and with the indexes made afterwards: a million takes a minute.
    """
    begin = now() - timedelta(hours=1)
    with app.app_context():
        blocks = range(-(-PLANNED // 100) - 1, -(-count // 100))
        of = {"member_id": own.member_id, "account_id": people.ACCOUNT}
        with transaction() as session:
            insert(session, *(Batch(id=f"{block:032x}", **of) for block in blocks))
        with db.engine.begin() as connection:
            indexes = _indexes(connection)
            for index in indexes:
                index.drop(connection)
            connection.execute(
                _filling(connection.dialect.name),
                {
                    "count": count,
                    "planned": PLANNED,
                    "batch": BATCH,
                    "begin": begin.timestamp(),
                    "step": YEAR.total_seconds() / count,
                    "own": own.member_id,
                    "first_other": others[0].member_id,
                    "account": people.ACCOUNT,
                    "number": NUMBER,
                    "template": TEMPLATE,
                    "rare": RARE,
                },
            )
            for index in indexes:
                index.create(connection)
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            # Which both do by themselves, in time.
            is_sqlite = connection.dialect.name == "sqlite"
            tidy = "PRAGMA wal_checkpoint(TRUNCATE)" if is_sqlite else "VACUUM ANALYZE"
            connection.execute(sa.text(tidy))


def _indexes(connection: sa.Connection) -> list[sa.Index]:
    """Those of messages, in the order in which the migrations made them: of two that serve a query
    equally, SQLite takes the newer one."""
    found = {one.name: one for one in table(Message).indexes}
    if connection.dialect.name != "sqlite":
        return list(found.values())
    made = sa.text("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'messages'")
    return [found[name] for name in connection.scalars(made) if name in found]


def _filling(dialect: str) -> sa.TextClause:
    """The statement that inserts the messages."""
    if dialect == "sqlite":
        hexadecimal = "printf('%032x', {})"
        time = "strftime('%Y-%m-%d %H:%M:%f000', {}, 'unixepoch')"
    else:
        hexadecimal = "lpad(to_hex({}), 32, '0')"
        time = "to_timestamp({})"
    scattered = "CAST(i AS BIGINT) * 2654435761 % 4294967296 * 4194304 + i"
    words = " ".join(f"WHEN {place} THEN '{word}'" for place, word in enumerate(WORDS))
    query = MESSAGES.format(
        id=hexadecimal.format(scattered),
        batch_id=hexadecimal.format("block"),
        word=f"CASE i % {len(WORDS)} {words} END",
        taken_at=time.format("taken_at"),
        planned_at=time.format("planned_at"),
        shown_at=time.format("COALESCE(planned_at, taken_at)"),
    )
    columns = re.findall(r" AS (\w+)[,\n]", query[query.rindex("SELECT id, batch_id") :])
    return sa.text(f"INSERT INTO messages (id, batch_id, {', '.join(columns)}) {query}")  # noqa: S608


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
