"""Triggers on `messages` that drop the counts of a day as soon as one of its messages changes.

They are in the database because a count must never be false, whatever changes a message: a click,
the worker, retention, `flask forget`, or an operator's own SQL. The statement that changes a row
drops the day in the same transaction. `webapp/messages/overview.py` counts days and says why that
cannot pass a change.

A message of today is in no counted day. SQLite sees that within a microsecond, by an empty part of
an index. PostgreSQL takes 70 for a statement in a trigger and 16 for the UPDATE itself (measured),
so it first compares with the end of the latest day ever counted. That is kept in a sequence, which
is read without a statement and is never set back, not even where a transaction is undone.
"""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database.session import db, transaction
from webapp.database.types import UTCDateTime

WATCHED = (
    "account_id",
    "member_id",
    "extension_id",
    "template_id",
    "segment_count",
    "outcome",
    "reason",
    "shown_at",
)
"""The columns that days are counted by."""

_EVENTS = {
    "messages_added": ("INSERT", "NEW"),
    "messages_changed": (f"UPDATE OF {', '.join(WATCHED)}", "OLD"),
    "messages_moved": ("UPDATE OF account_id, shown_at", "NEW"),
    "messages_erased": ("DELETE", "OLD"),
}
NAMES = tuple(_EVENTS)
_DROP = (
    "DELETE FROM counted_days WHERE account_id = {row}.account_id"
    " AND until > {row}.shown_at AND since <= {row}.shown_at;"
)
_WAS_COUNTED = (
    "extract(epoch FROM {row}.shown_at) < pg_sequence_last_value('counted_until'::regclass)"
)
_RAISE = sa.text(
    "SELECT setval('counted_until', greatest(pg_sequence_last_value('counted_until'::regclass),"
    " extract(epoch FROM :until)::bigint))"
).bindparams(sa.bindparam("until", type_=UTCDateTime()))


def install(connection: sa.Connection) -> None:
    """Create the triggers that are missing. Days counted without them may be false and are dropped.

    SQLite loses a table's triggers when a migration makes the table anew.
    """
    missing = [name for name in NAMES if name not in _existing(connection)]
    for name in missing:
        for statement in _creation(connection.dialect.name, name):
            connection.exec_driver_sql(statement)
    if missing:
        connection.exec_driver_sql("DELETE FROM counted_days")


def require() -> None:
    """`install`, in a transaction of its own."""
    with transaction() as session:
        install(session.connection())


def remove(connection: sa.Connection) -> None:
    """For the way down to a schema without counted days."""
    is_sqlite = connection.dialect.name == "sqlite"
    for name in NAMES:
        where = "" if is_sqlite else " ON messages"
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}{where}")
        if not is_sqlite:
            connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}()")
    if not is_sqlite:
        connection.exec_driver_sql("DROP SEQUENCE IF EXISTS counted_until")


def expect_counts(session: Session, until: datetime) -> None:
    """Days up to this moment may stand counted from now on. To be called before they do, while
    nobody else can change a message."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(_RAISE, {"until": until})


def are_in_place() -> bool:
    return set(NAMES) <= _existing(db.session.connection())


def _existing(connection: sa.Connection) -> set[str]:
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'messages'"
        if connection.dialect.name == "sqlite"
        else "SELECT tgname FROM pg_trigger WHERE tgrelid = 'messages'::regclass"
    )
    return set(connection.exec_driver_sql(query).scalars())


def _creation(dialect: str, name: str) -> list[str]:
    event, row = _EVENTS[name]
    body = _DROP.format(row=row)
    on = f"CREATE TRIGGER {name} AFTER {event} ON messages FOR EACH ROW"
    if dialect == "sqlite":
        return [f"{on} BEGIN {body} END"]
    return [
        "CREATE SEQUENCE IF NOT EXISTS counted_until",
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {body} RETURN NULL; END $$",
        f"{on} WHEN ({_WAS_COUNTED.format(row=row)}) EXECUTE FUNCTION {name}()",
    ]
