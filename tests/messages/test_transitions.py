"""Every function that changes outcomes makes the changes of the table, and no others."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.support.pages import Browser
from tests.test_architecture import name_of, room_of, sources
from webapp.database import db, insert, transaction
from webapp.database.models import Batch, Member, Message, TokenSet, new_id
from webapp.jobs import retention
from webapp.messages import attention, batches, changes, claims, reconcile, sending, sweep
from webapp.messages.submit import NewMessage
from webapp.rules.outcomes import (
    MAY_BECOME,
    NEEDS_RESUME,
    WAITING,
    Actor,
    Outcome,
    Reason,
    Wish,
)
from webapp.rules.times import now
from webapp.signin import Result
from webapp.sipgate import Extension

NUMBER = "+491713920050"
HOUR = timedelta(hours=1)

Change = tuple[Outcome, Outcome]
Act = Callable[[Message, Batch | None, Member], object]


@dataclass(frozen=True, slots=True)
class Row:
    """A message in one of all the states in which a function may find it."""

    outcome: Outcome
    is_late: bool
    has_time: bool
    wish: Wish
    in_batch: bool


ROWS = [
    Row(outcome, is_late, has_time, wish, in_batch)
    for outcome, is_late, has_time, wish, in_batch in product(
        Outcome, (False, True), (False, True), Wish, (False, True)
    )
    if wish == Wish.NONE or outcome == Outcome.SENDING
]


def inserted(row: Row, member: Member) -> tuple[Message, Batch | None]:
    """Two hours from now or an hour ago; due in any case."""
    at = now() - HOUR if row.is_late else now()
    batch = None
    if row.in_batch:
        batch = Batch(member_id=member.id, account_id=member.account_id)
        batch.active_at = at
        batch.is_open = True
    send_at = (at if row.is_late else at + 2 * HOUR) if row.has_time else None
    message = Message(
        id=new_id(),
        member_id=member.id,
        account_id=member.account_id,
        batch_id=batch.id if batch else None,
        extension_id="s0",
        recipient=NUMBER,
        text="Hello",
        segment_count=1,
        send_at=send_at,
        outcome=row.outcome,
        wish=row.wish,
        attempt=new_id(),
        sending_since=at,
        due_at=at - timedelta(seconds=1),
        expected_at=send_at or at,
    )
    return message, batch


def changes_made(app: Flask, act: Act, rows: Iterable[Row], *, once: bool = False) -> set[Change]:
    """Call it for each of the rows, and return which outcomes became which others."""
    with app.app_context():
        with transaction() as session:
            member = session.scalars(sa.select(Member)).one()
            made = [inserted(row, member) for row in rows]
            insert(session, *(batch for _, batch in made if batch))
            insert(session, *(message for message, _ in made))
        before = {message.id: message.outcome for message, _ in made}
        for message, batch in made[:1] if once else made:
            with suppress(ValueError):  # it refuses
                act(message, batch, member)
        found = sa.select(Message.id, Message.outcome)
        after = {id_: outcome for id_, outcome in db.session.execute(found)}
    return {(before[id_], new) for id_, new in after.items() if before[id_] != new}


def new_text(send_in: timedelta | None) -> NewMessage:
    return NewMessage(
        extension=Extension(id="s0", alias="Web SMS", caller_id=""),
        recipient=NUMBER,
        text="Changed",
        send_at=now() + send_in if send_in else None,
        time_zone="UTC",
    )


def after_attempt(message: Message, *_: object) -> None:
    with transaction() as session:
        refused = Result(Outcome.REFUSED, Reason.BALANCE)
        batches.after_attempt(session, message, refused)


def sent_again(message: Message, _: Batch | None, member: Member) -> None:
    with transaction() as session:
        attention.sent_again(session, message.id, member)


def sweep_without_sign_in(*_: object) -> None:
    with transaction() as session:
        session.execute(sa.update(TokenSet).values(ended_at=now()))
    sweep.sweep()


def from_each(outcomes: Iterable[Outcome], new: Outcome) -> set[Change]:
    return {(old, new) for old in outcomes}


def recorded(outcome: Outcome) -> set[Change]:
    """What `record_result` writes; a wish counts where sipgate took nothing."""
    wished = (Outcome.CANCELLED, Outcome.PAUSED) if outcome == Outcome.NOT_SENT else ()
    return {(Outcome.SENDING, new) for new in (outcome, *wished)}


def put_back(outcome: Outcome) -> set[Change]:
    return {(Outcome.SENDING, new) for new in (outcome, Outcome.CANCELLED, Outcome.PAUSED)}


PAUSES = from_each(WAITING, Outcome.PAUSED)
WITHDRAWS = from_each((*WAITING, *NEEDS_RESUME), Outcome.CANCELLED)
CLAIMS = from_each(WAITING, Outcome.SENDING)
MISSES = from_each((*WAITING, Outcome.PAUSED), Outcome.MISSED)
RESUMES = {(Outcome.PAUSED, new) for new in WAITING}
INTERRUPTED = {(Outcome.SENDING, Outcome.UNKNOWN)}
BY_CLAIMANT = set(MAY_BECOME[Outcome.SENDING][Actor.CLAIMANT])
BY_WORD = set(MAY_BECOME[Outcome.UNKNOWN][Actor.PERSON])

EACH: dict[str, tuple[Actor, Act, set[Change]]] = {
    "claim": (Actor.WORKER, lambda m, b, by: claims.claim(m.id), CLAIMS),
    "claim_next": (Actor.WORKER, lambda m, b, by: b and claims.claim_next(b.id), CLAIMS),
    "after_attempt": (Actor.WORKER, after_attempt, PAUSES),
    "withdraw": (Actor.PERSON, lambda m, b, by: changes.withdraw(m, by), WITHDRAWS),
    "edit": (Actor.PERSON, lambda m, b, by: changes.edit(m, new_text(2 * HOUR), by), set()),
    "edit_to_now": (
        Actor.PERSON,
        lambda m, b, by: changes.edit(m, new_text(None), by),
        {(Outcome.HELD, Outcome.QUEUED)},
    ),
    "reschedule": (
        Actor.PERSON,
        lambda m, b, by: changes.reschedule(m, now() + 2 * HOUR, "UTC", by),
        from_each(NEEDS_RESUME, Outcome.HELD),
    ),
    "reschedule_to_now": (
        Actor.PERSON,
        lambda m, b, by: changes.reschedule(m, None, "", by),
        from_each(NEEDS_RESUME, Outcome.QUEUED),
    ),
    "stop": (Actor.PERSON, lambda m, b, by: b and batches.stop(b, by), PAUSES),
    "resume": (Actor.PERSON, lambda m, b, by: b and batches.resume(b, by), RESUMES),
    "cancel": (Actor.PERSON, lambda m, b, by: b and batches.cancel(b, by), WITHDRAWS),
    "mark_done": (Actor.PERSON, lambda m, b, by: attention.mark_done(m, by), set()),
    "sent_again": (Actor.PERSON, sent_again, set()),
}
for one in Outcome:
    EACH[f"record_result-{one}"] = (
        Actor.CLAIMANT,
        lambda m, b, by, one=one: sending.record_result(m, Result(one)),
        recorded(one) if one in BY_CLAIMANT else set(),
    )
    EACH[f"put_back-{one}"] = (
        Actor.CLAIMANT,
        lambda m, b, by, one=one: sending.put_back(m, one, due_at=now()),
        put_back(one) if one in BY_CLAIMANT else set(),
    )
    EACH[f"settle_by_member-{one}"] = (
        Actor.PERSON,
        lambda m, b, by, one=one: reconcile.settle_by_member(m, one, by),
        {(Outcome.UNKNOWN, one)} if one in BY_WORD else set(),
    )

ONCE: dict[str, tuple[Actor, Act, set[Change]]] = {
    "settle_stale": (Actor.WORKER, lambda *_: sweep.settle_stale(), INTERRUPTED),
    "mark_missed": (Actor.WORKER, lambda *_: sweep.mark_missed(), MISSES),
    "sweep": (Actor.WORKER, lambda *_: sweep.sweep(), INTERRUPTED | MISSES),
    "sweep_without_sign_in": (
        Actor.WORKER,
        sweep_without_sign_in,
        INTERRUPTED | MISSES | PAUSES,
    ),
    "release_all": (Actor.PERSON, lambda m, b, by: batches.release_all(by), RESUMES),
    "pause_waiting_of": (
        Actor.PERSON,
        lambda m, b, by: changes.pause_waiting_of(by.id, Reason.SIGNED_OUT),
        PAUSES,
    ),
    "hand_over_now": (Actor.PERSON, lambda m, b, by: changes.hand_over_now(by.id), set()),
    "forget_number": (Actor.PERSON, lambda *_: retention.forget_number(NUMBER), set()),
}


@pytest.mark.parametrize("name", EACH)
def test_a_function_makes_its_changes_and_no_others(app: Flask, anna: Browser, name: str) -> None:
    _, act, expected = EACH[name]
    assert changes_made(app, act, ROWS) == expected


@pytest.mark.parametrize("name", ONCE)
def test_what_changes_many_makes_its_changes_and_no_others(
    app: Flask, anna: Browser, name: str
) -> None:
    _, act, expected = ONCE[name]
    assert changes_made(app, act, ROWS, once=True) == expected


def test_the_functions_make_all_changes_of_the_table_and_no_others() -> None:
    """Except those by the history, which need sipgate: they are in `test_reconcile.py`."""
    made = {
        (by, *change) for by, _, expected in (*EACH.values(), *ONCE.values()) for change in expected
    }
    table = {
        (by, old, new)
        for old, changes_of in MAY_BECOME.items()
        for by, outcomes in changes_of.items()
        for new in outcomes
        if by != Actor.HISTORY
    }
    assert made == table


# --- Nobody writes it by hand ---------------------------------------------------------------------

HOME = "messages.transitions"


def handwritten(source: str, *, may_write_messages: bool) -> Iterator[str]:
    """The places where a source writes an outcome by itself."""
    tree = ast.parse(source)
    # A message that is not stored yet may begin with another outcome than most.
    first = {
        target
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("first_outcome(")
        for target in node.targets
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _in_call(node)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if node.attr == "outcome" and node not in first:
                yield f"line {node.lineno}: {ast.unparse(node)} ="
        elif may_write_messages and isinstance(node, ast.Constant) and node.value == "outcome":
            yield f"line {node.lineno}: a column by its name"
    for found in re.finditer(r"(?i)\bset\s+outcome\b|\binsert\s+into\s+messages\b", source):
        yield found[0]


def _in_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func).rpartition(".")[2]
    for argument in node.keywords:
        if argument.arg != "outcome" or called not in ("values", "Message", "dict"):
            continue
        if not (called == "Message" and ast.unparse(argument.value).startswith("first_outcome(")):
            yield f"line {node.lineno}: {called}(outcome=…)"


@pytest.mark.parametrize(
    "source",
    [
        "sa.update(Message).values(outcome=Outcome.HELD)",
        "change.values(**{'outcome': 'held'})",
        "values['outcome'] = Outcome.HELD",
        "message.outcome = Outcome.HELD",
        "Message(outcome=Outcome.ACCEPTED)",
        "sa.update(Message).values(dict(outcome=Outcome.HELD))",
        "session.execute(sa.text('UPDATE messages SET outcome = 1'))",
    ],
)
def test_a_handwritten_outcome_is_found(source: str) -> None:
    assert list(handwritten(source, may_write_messages=True))


def test_no_other_module_writes_an_outcome() -> None:
    for path in sources():
        name = name_of(path)
        writes = room_of(name) == "messages" or name == "jobs.retention"
        found: Any = list(handwritten(path.read_text(), may_write_messages=writes))
        assert name == HOME or not found, (
            f"{name} writes an outcome by hand ({found}): use webapp/messages/transitions.py, or "
            "`first_outcome` for a new message"
        )
