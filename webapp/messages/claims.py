"""Claims: a waiting message becomes `sending`, for exactly one worker on exactly one host.

A claim is one conditional UPDATE, committed before the first byte leaves. Nothing is claimed while
the installation is on hold.
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import commit_or_find, db, end_read, installation, table
from webapp.database.models import Batch, Message, Slowdown
from webapp.messages import batches, transitions
from webapp.messages.timing import tolerance
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now, steady_s

MAX_SLOWDOWN = timedelta(minutes=15)
"""No account is slowed down for longer. A longer slowdown was written by a clock that was ahead."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is ours alone to send."""

    message: Message
    at: float
    """Since when, by `times.steady_s`. No request begins on an old claim."""


def claim(message_id: str) -> Claim | None:
    """Claim a waiting message. Returns None if it is not due or somebody else has it."""
    attempt = secrets.token_hex(16)
    at = steady_s()

    def take(session: Session) -> Message | None:
        if installation.is_on_hold(session):
            return None
        return _take(session, _CLAIM, attempt, message=message_id)

    taken = commit_or_find(take, lambda: _claimed_as(attempt))
    return Claim(taken, at) if taken else None


def claim_next(batch_id: str) -> Claim | None:
    """Claim the batch's next message. Returns None if nothing is due or the batch may not go on."""
    attempt = secrets.token_hex(16)
    claimed_at = steady_s()

    def take(session: Session) -> Message | None:
        batch = batches.locked(session, batch_id)
        if batch is None or installation.is_on_hold(session):
            return None
        if not batches.may_go_on(session, batch):
            return None
        moves = batch.active_at > now() - tolerance()
        taken = _take(session, _CLAIM_NEXT, attempt, batch=batch_id, moves=moves)
        if taken is not None:
            session.execute(_MOVED, {"batch": batch_id, "at": now()})
        return taken

    found = commit_or_find(take, lambda: _claimed_as(attempt))
    return Claim(found, claimed_at) if found else None


def _take(session: Session, claim: sa.Update, attempt: str, **chosen: object) -> Message | None:
    """Claim what the statement chooses, if it is due and its account is not slowed down."""
    at = now()
    params = {"claimed_as": attempt, "at": at, "limit": at - tolerance(), **chosen}
    params["slow_until"] = at + MAX_SLOWDOWN
    taken = session.scalar(claim, params)
    return (
        session.scalar(_TAKEN, {"message": taken}, execution_options=_AS_IT_IS) if taken else None
    )


# Built once, because making these statements anew took longer than running them; and from the
# tables' own columns, because SQLAlchemy takes three times as long with its models (both measured).
_AS_IT_IS = {"populate_existing": True}
_TAKEN = sa.select(Message).where(Message.id == sa.bindparam("message"))
_MOVED = (
    sa.update(table(Batch))
    .where(table(Batch).c.id == sa.bindparam("batch"))
    .values(active_at=sa.bindparam("at"))
)
_messages = table(Message).c


def _claim_of(chosen: sa.Select[str]) -> sa.Update:
    at = sa.bindparam("at", type_=_messages.due_at.type)
    slowdowns = table(Slowdown).c
    slow = sa.select(slowdowns.account_id).where(
        slowdowns.account_id == _messages.account_id,
        slowdowns.until > at,
        slowdowns.until <= sa.bindparam("slow_until", type_=slowdowns.until.type),
    )
    # `coalesce` keeps SQLite from the index on due times: it would read everything that is queued
    # for each claim (18 ms with 20,000, measured) instead of the batch's own index.
    is_due = sa.func.coalesce(_messages.due_at, at) <= at
    due = chosen.where(transitions.CAN_CLAIM, is_due, ~slow.exists())
    lock = due.with_for_update(skip_locked=True, of=table(Message))
    return (
        transitions.claim()
        # A scalar is evaluated once; PostgreSQL may run an `IN (… LIMIT 1)` again and again.
        .where(_messages.id == lock.scalar_subquery())
        .values(
            attempt=sa.bindparam("claimed_as"),
            sending_since=at,
            # This is the first try if there is no time, or one from a clock that was ahead.
            first_tried_at=sa.case(
                (_messages.first_tried_at <= at, _messages.first_tried_at), else_=at
            ),
            tries=_messages.tries + 1,
        )
        .returning(_messages.id)
    )


def _in_time() -> sa.ColumnElement[bool]:
    """A planned message is late by its own time, a queued one only if its whole batch has stood
    still: a batch that moves sets its own pace."""
    planned = sa.and_(_messages.outcome == Outcome.HELD, _messages.expected_at > _LIMIT)
    moves = sa.bindparam("moves", type_=sa.Boolean)
    return sa.or_(planned, sa.and_(_messages.outcome == Outcome.QUEUED, moves))


_LIMIT = sa.bindparam("limit", type_=_messages.expected_at.type)
_CLAIM = _claim_of(
    sa.select(_messages.id).where(
        _messages.id == sa.bindparam("message"), _messages.expected_at > _LIMIT
    )
)
_CLAIM_NEXT = _claim_of(
    sa.select(_messages.id)
    .where(_messages.batch_id == sa.bindparam("batch"), _in_time())
    .order_by(_messages.position)
    .limit(1)
)


def _claimed_as(attempt: str) -> Message | None:
    found = db.session.scalar(
        sa.select(Message).where(Message.attempt == attempt, Message.outcome == Outcome.SENDING),
        execution_options=_AS_IT_IS,
    )
    end_read()
    return found
