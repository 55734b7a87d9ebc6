"""A database of every released version, with rows of every outcome, brought up to date and back."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.account.test_senders import add_fields, allowed
from tests.conftest import MakeApp, database_name
from tests.support import servers
from tests.support.pages import Browser
from tests.support.rows import stored_rows
from tests.support.worker import work
from webapp.database import alembic, db, transaction
from webapp.database.daily_limit import DailyLimitReached, require_room
from webapp.database.idempotency import SubmissionId, content_hash
from webapp.database.models import KeptAnswer, Member, Submission
from webapp.database.schema import schema_state, upgrade_schema
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.server import Simulator

RELEASED = ("0001", "0002", "0003", "0005", "0007")
"""The schema's revision in each version that somebody may have; the newest needs no upgrade."""

SETTLED = ("accepted", "scheduled", "refused", "not_sent", "unknown")
WAITING = ("held", "queued", "paused", "missed", "cancelled")
OUTCOMES = {
    "0001": (*SETTLED, "sending"),
    "0002": (*SETTLED, "sending", *WAITING),
    "0003": (*SETTLED, "sending", *WAITING),
    "0005": (*SETTLED, "sending", *WAITING),
    "0007": (*SETTLED, "sending", *WAITING),
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
        "done_at": at if outcome in ("refused", "not_sent") else None,
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


FORM_ID = "0123456789abcdef" * 2
CODE_FORMS = {
    FORM_ID: ("accepted", ""),
    "c" * 32: ("unknown", "interrupted"),
    "d" * 32: ("refused", "rejected"),
}
"""Forms that asked for the code of an own number, and what became of them."""


def content_of_code_form(app: Flask) -> str:
    with app.app_context():
        return content_hash({"sms_id": "s0", "recipient": "0171 3920055"})


def fill_with_code_forms(app: Flask, at: datetime) -> None:
    """As schema 0005 kept them: beside what sipgate last said, under a part of their id."""
    fill(app, "0005")
    content = content_of_code_form(app)
    with app.app_context():
        insert("kept_answers", member_id=1, kind="guesses:" + "a" * 32, value={"count": 1})
        for id_, (outcome, reason) in CODE_FORMS.items():
            value = {"content": content, "outcome": outcome, "reason": reason}
            kind = f"sender:{id_[:25]}"
            insert("kept_answers", member_id=1, kind=kind, value=value, asked_at=at)
        db.engine.dispose()


def kept_answers(app: Flask) -> list[dict[str, Any]]:
    with app.app_context():
        query = sa.select(KeptAnswer.kind, KeptAnswer.value, KeptAnswer.asked_at)
        found = db.session.execute(query.order_by(KeptAnswer.kind)).mappings()
        return [dict(row) for row in found]


def test_forms_that_asked_for_a_code_move_to_the_used_forms_and_back(app: Flask) -> None:
    at = now() - timedelta(hours=1)
    fill_with_code_forms(app, at)
    before = kept_answers(app)
    with app.app_context():
        upgrade_schema()
    assert [row["kind"] for row in kept_answers(app)] == ["guesses:" + "a" * 32]
    with app.app_context():
        query = sa.select(Submission).order_by(Submission.id)
        moved = {row.id: row for row in db.session.scalars(query)}
    assert set(moved) == {id_[:25] for id_ in CODE_FORMS}
    for id_, (outcome, reason) in CODE_FORMS.items():
        row = moved[id_[:25]]
        assert (row.outcome, row.reason or "", row.created_at) == (outcome, reason, at)
        assert (row.member_id, row.message_id, row.erased_at) == (1, None, None)
    with app.app_context():
        alembic.downgrade("0005")
    assert kept_answers(app) == before
    assert stored_rows(app)["submissions"] == []


def test_a_form_that_asked_for_a_code_before_the_upgrade_does_not_ask_again_after_it(
    app: Flask, sipgate: Simulator
) -> None:
    fill_with_code_forms(app, now())
    with app.app_context():
        upgrade_schema()
    anna = allowed(Browser(app, sipgate), "anna")
    page = add_fields(anna.get("/senders?sms_id=s0"))
    with app.app_context():
        signed = SubmissionId(FORM_ID, 1).signed
    form = {**page, "number": "0171 3920055", "submission_id": signed}
    anna.post("/senders", form, status=303)
    anna.post("/senders", {**form, "number": "0171 3920056"}, status=409)
    assert sipgate.world.calls["add_caller_id"] == 0


def test_codes_asked_for_before_the_upgrade_count_as_texts_of_their_day(app: Flask) -> None:
    fill_with_code_forms(app, now())
    sent = len(set(OUTCOMES["0005"]) - {"cancelled"}) + len(CODE_FORMS)
    with app.app_context():
        upgrade_schema()
        anna = db.session.get_one(Member, 1)
        app.config["SETTINGS"] = replace(app.config["SETTINGS"], daily_limit=sent + 1)
        with transaction() as session:
            require_room(session, anna, 1)
            with pytest.raises(DailyLimitReached):
                require_room(session, anna, 2)


def test_batches_of_before_lists_are_filled_and_each_message_has_its_own_place(app: Flask) -> None:
    at = now()
    with app.app_context():
        alembic.upgrade("0007")
        insert("members", id=1, account_id="1234567", sub="w0", name="Anna", is_admin=True)
        insert("batches", id="b" * 32, member_id=1, account_id="1234567", created_at=at)
        for n, place in enumerate((0, 1, 1, 2)):
            row = {**message(n, "queued", at), "position": place}
            insert("messages", **row)
        insert("messages", **message(7, "accepted", at))
        insert("messages", **message(8, "accepted", at))
        db.engine.dispose()
        upgrade_schema()
        assert alembic.compare_metadata() == []
    batch = stored_rows(app)["batches"][0]
    assert (batch["total"], batch["list_id"]) == (4, None)
    assert batch["filled_at"] is not None
    places = [row["position"] for row in stored_rows(app)["messages"] if row["batch_id"]]
    assert places == [0, 1, 2, 3]


def test_alerts_come_with_their_upgrade_and_go_with_the_way_back(app: Flask) -> None:
    with app.app_context():
        alembic.upgrade("0012")
        db.engine.dispose()
        upgrade_schema()
        insert("alerts", id=1, kind="hold", about="", episode=1, count=0)
        insert("alert_outlets", name="mail")
        with pytest.raises(sa.exc.IntegrityError):
            insert("alerts", id=2, kind="hold", about="", episode=1, count=0)
        alembic.downgrade("0012")
        assert not {"alerts", "alert_outlets"} & set(sa.inspect(db.engine).get_table_names())
        upgrade_schema()
        assert alembic.compare_metadata() == []


def test_every_outcome_is_in_the_newest_released_database() -> None:
    assert set(OUTCOMES[RELEASED[-1]]) == {outcome.value for outcome in Outcome}
