"""Claims: how a waiting message becomes `sending`, for exactly one worker on exactly one host.

The claim is one conditional UPDATE; its row count says who won, and it is committed before the
first byte leaves. Nothing is claimed while the installation is on hold.
"""

import logging
import secrets
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database import (
    commit_or_find,
    db,
    end_read,
    installation,
    table,
)
from webapp.database.models import Batch, Message, Slowdown
from webapp.rules.outcomes import WAITING, Outcome
from webapp.rules.times import now, steady_s

log = logging.getLogger(__name__)

MAX_UNKNOWNS_IN_A_ROW = 3

MAX_SLOWDOWN = timedelta(minutes=15)
"""Nothing is put off for longer; what says so comes from a clock that was ahead, and is over."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is ours alone to send, and since when by `times.steady_s`: a claim has an age,
    and an old one begins nothing."""

    message: Message
    at: float


def tolerance() -> timedelta:
    """How late a message may be sent without asking."""
    return timedelta(minutes=settings.missed_after_minutes)


def claim(message_id: str) -> Claim | None:
    """Take a waiting message that is due; None when it is not, or somebody else has it."""
    attempt = secrets.token_hex(16)
    at = steady_s()

    def take(session: Session) -> Message | None:
        if installation.is_on_hold(session):
            return None
        return _take(session, _CLAIM, attempt, message=message_id)

    taken = commit_or_find(take, lambda: _claimed_as(attempt))
    return Claim(taken, at) if taken else None


def claim_next(batch_id: str) -> Claim | None:
    """Take the batch's next message; None when nothing is due or the batch holds back.

    Until a first clear answer has come, at most three are under way or unknown at once: a sipgate
    that hangs from the start costs three unknowns, not a hundred.
    """
    attempt = secrets.token_hex(16)
    claimed_at = steady_s()

    def take(session: Session) -> Message | None:
        batch = locked(session, batch_id)
        if batch is None or batch.stop_reason or installation.is_on_hold(session):
            return None
        if not _may_go_on(session, batch):
            return None
        moves = batch.active_at > now() - tolerance()
        taken = _take(session, _CLAIM_NEXT, attempt, batch=batch_id, moves=moves)
        if taken is not None:
            session.execute(_MOVED, {"batch": batch_id, "at": now()})
        return taken

    found = commit_or_find(take, lambda: _claimed_as(attempt))
    return Claim(found, claimed_at) if found else None


def locked(session: Session, batch_id: str) -> Batch | None:
    """The batch as it is, which nobody else may change until this transaction ends."""
    return session.scalar(_LOCKED, {"batch": batch_id}, execution_options=_AS_IT_IS)


def _take(session: Session, claim: sa.Update, attempt: str, **chosen: object) -> Message | None:
    """Claim what the statement chooses, if it waits, is due, and its account need not slow down."""
    at = now()
    params = {"claimed_as": attempt, "at": at, "limit": at - tolerance(), **chosen}
    params["slow_until"] = at + MAX_SLOWDOWN
    taken = session.scalar(claim, params)
    return (
        session.scalar(_TAKEN, {"message": taken}, execution_options=_AS_IT_IS) if taken else None
    )


# Built once, as making these statements anew took longer than running them; and the changes from
# the tables' own columns, as SQLAlchemy takes three times as long for its objects' (both measured).
_AS_IT_IS = {"populate_existing": True}
_TAKEN = sa.select(Message).where(Message.id == sa.bindparam("message"))
_LOCKED = sa.select(Batch).where(Batch.id == sa.bindparam("batch")).with_for_update()
_MOVED = (
    sa.update(table(Batch))
    .where(table(Batch).c.id == sa.bindparam("batch"))
    .values(active_at=sa.bindparam("at"))
)
_messages = table(Message).c
_WAITS = sa.or_(*(_messages.outcome == outcome for outcome in WAITING))


def _claim_of(chosen: sa.Select[str]) -> sa.Update:
    at = sa.bindparam("at", type_=_messages.due_at.type)
    slowdowns = table(Slowdown).c
    slow = sa.select(slowdowns.account_id).where(
        slowdowns.account_id == _messages.account_id,
        slowdowns.until > at,
        slowdowns.until <= sa.bindparam("slow_until", type_=slowdowns.until.type),
    )
    # Not by the index of what is due, which SQLite would prefer to the batch's own, and so read all
    # that is queued for each claim (of 20,000: 18 ms, measured).
    is_due = sa.func.coalesce(_messages.due_at, at) <= at
    due = chosen.where(_WAITS, is_due, ~slow.exists())
    lock = due.with_for_update(skip_locked=True, of=table(Message))
    return (
        sa.update(table(Message))
        # A scalar is looked for once; PostgreSQL may run an `IN (… LIMIT 1)` again and again.
        .where(_messages.id == lock.scalar_subquery(), _WAITS)
        .values(
            outcome=Outcome.SENDING,
            attempt=sa.bindparam("claimed_as"),
            wish="",
            sending_since=at,
            # None, or by a clock that was ahead: this is the first try.
            first_tried_at=sa.case(
                (_messages.first_tried_at <= at, _messages.first_tried_at), else_=at
            ),
            tries=_messages.tries + 1,
        )
        .returning(_messages.id)
    )


def _in_time() -> sa.ColumnElement[bool]:
    """A planned message counts from its own time; a queued one is late only if its batch has stood
    still, for a batch that moves sets its own pace."""
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
        execution_options={"populate_existing": True},
    )
    end_read()
    return found


def _may_go_on(session: Session, batch: Batch) -> bool:
    if batch.is_open:
        return True
    under_way = session.scalar(
        sa.select(sa.func.count())
        .select_from(Message)
        .where(Message.batch_id == batch.id, Message.outcome == Outcome.SENDING)
    )
    return (under_way or 0) + batch.unknowns_in_a_row < MAX_UNKNOWNS_IN_A_ROW
