"""A database of every released version, with rows of every outcome, brought up to date and back."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp, database_name
from tests.support import servers
from tests.support.pages import Browser
from tests.support.rows import stored_rows
from tests.support.worker import work
from webapp.database import alembic, db
from webapp.database.schema import schema_state, upgrade_schema
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.server import Simulator

RELEASED = ("0001", "0002", "0003")
"""The schema's revision in each version that somebody may have; the newest needs no upgrade."""

SETTLED = ("accepted", "scheduled", "refused", "not_sent", "unknown")
WAITING = ("held", "queued", "paused", "missed", "cancelled")
OUTCOMES = {
    "0001": (*SETTLED, "sending"),
    "0002": (*SETTLED, "sending", *WAITING),
    "0003": (*SETTLED, "sending", *WAITING),
}
"""What rows of that version can be."""

AFTERWARDS = {"sending": "unknown", "held": "scheduled", "queued": "accepted"}
"""What becomes of them when the worker has had its turn; the others stay what they are."""


@pytest.fixture(params=["sqlite", "postgresql"])
def app(request: pytest.FixtureRequest, make_app: MakeApp, tmp_path: Path) -> Iterator[Flask]:
    """An app on an empty database."""
    if request.param == "sqlite":
        yield make_app(DATABASE_URL=f"sqlite:///{tmp_path}/empty.sqlite")
        return
    server, name = servers.postgresql(), database_name(tmp_path / "empty")
    server.create(name)
    app = make_app(DATABASE_URL=server.url(name))
    yield app
    with app.app_context():
        db.engine.dispose()
    server.drop(name)


def recipient(place: int) -> str:
    return f"+4917139204{place:02d}"


def fill(app: Flask, revision: str) -> None:
    """One message of every outcome, as that version would have left it."""
    at = now()
    with app.app_context():
        alembic.upgrade(revision)
        insert("members", id=1, account_id="1234567", sub="w0", name="Anna", is_admin=True)
        if revision != "0001":
            idle = {"active_at": at - timedelta(minutes=1)}
            insert("batches", id="b" * 32, member_id=1, account_id="1234567", **idle)
        for place, outcome in enumerate(OUTCOMES[revision]):
            insert("messages", **message(place, outcome, at))
        if db.engine.dialect.name == "postgresql":
            with db.engine.begin() as connection:
                connection.exec_driver_sql("SELECT setval('members_id_seq', 1)")
        db.engine.dispose()


def message(place: int, outcome: str, at: datetime) -> dict[str, Any]:
    is_queued = outcome == "queued"
    is_planned = outcome in ("held", "scheduled")
    return {
        "id": f"{place:032x}",
        "member_id": 1,
        "account_id": "1234567",
        "extension_id": "s0",
        "recipient": recipient(place),
        "text": f"was {outcome}",
        "segment_count": 1,
        "outcome": outcome,
        "send_at": at + timedelta(minutes=30) if is_planned else None,
        "sending_since": at - timedelta(minutes=5) if outcome == "sending" else None,
        "due_at": at - timedelta(minutes=1) if outcome in ("held", "queued") else None,
        "expected_at": at + timedelta(minutes=30 if is_planned else 0),
        "batch_id": "b" * 32 if is_queued else None,
    }


def insert(table: str, **values: Any) -> None:
    """A row with these values where the table has such columns, and plain ones in the others."""
    found = sa.Table(table, sa.MetaData(), autoload_with=db.engine)
    row = {name: value for name, value in values.items() if name in found.c}
    for column in found.c:
        if column.name not in row and not column.nullable:
            row[column.name] = plain(column)
    with db.engine.begin() as connection:
        connection.execute(found.insert().values(**row))


def plain(column: sa.Column[Any]) -> Any:
    kind = column.type.python_type
    return {str: "", int: 0, bool: False, datetime: now()}[kind]


@pytest.mark.parametrize("revision", RELEASED)
def test_f59_rows_of_every_outcome_keep_their_meaning_and_are_sent_once_at_most(
    app: Flask, sipgate: Simulator, revision: str
) -> None:
    fill(app, revision)
    before = {row["id"]: row["outcome"] for row in stored_rows(app)["messages"]}
    with app.app_context():
        upgrade_schema()
        assert schema_state() == "current"
    upgraded = stored_rows(app)["messages"]
    assert {row["id"]: row["outcome"] for row in upgraded} == before
    done = {row["outcome"] for row in upgraded if row["done_at"]}
    assert done == {"refused", "not_sent"}, "what ended long ago asks for nobody's attention"
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    assert stored_rows(app)["members"][0]["id"] == 1, "Anna is another member now"
    for id_ in before:
        anna.get(f"/messages/{id_}")
    anna.get("/messages")
    work(app)
    work(app)
    for row in stored_rows(app)["messages"]:
        was = before[row["id"]]
        assert row["outcome"] == AFTERWARDS.get(was, was)
    texts = Counter(one.text for one in sipgate.world.arrivals)
    assert texts == {f"was {one}": 1 for one in ("held", "queued") if one in before.values()}


@pytest.mark.parametrize("revision", RELEASED)
def test_f59_the_way_down_and_up_again_loses_no_message(app: Flask, revision: str) -> None:
    fill(app, revision)
    before = stored_rows(app)["messages"]
    with app.app_context():
        upgrade_schema()
        alembic.downgrade(revision)
    assert stored_rows(app)["messages"] == before
    with app.app_context():
        upgrade_schema()
        assert schema_state() == "current"
        assert alembic.compare_metadata() == []
    assert len(stored_rows(app)["messages"]) == len(before)


def test_every_outcome_is_in_the_newest_released_database() -> None:
    assert set(OUTCOMES[RELEASED[-1]]) == {outcome.value for outcome in Outcome}
