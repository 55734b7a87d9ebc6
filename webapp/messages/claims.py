"""Claims: a waiting message becomes `sending`, for exactly one worker on exactly one host.

A claim is one conditional UPDATE, committed before the first byte leaves. Nothing is claimed while
the installation is on hold.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from webapp.database import DATABASE_ERRORS, connected, db, installation, look_again, table
from webapp.database.models import WAITS, Batch, Message, Slowdown, TokenSet
from webapp.messages import batches, transitions
from webapp.messages.timing import tolerance
from webapp.messages.transitions import COLUMNS, Claimed, ClaimedMessage
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now, steady_s
from webapp.signin import tokens
from webapp.signin.tokens import TokenSetCredentials

MAX_SLOWDOWN = timedelta(minutes=15)
"""No account is slowed down for longer. A longer slowdown was written by a clock that was ahead."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A message that is ours alone to send."""

    message: Claimed
    at: float
    """Since when, by `times.steady_s`. No request begins on an old claim."""
    credentials: TokenSetCredentials | None = None
    """What was read with it, to send it with at once."""
    batch_is_open: bool = False
    """Whether its batch had a clear answer before."""


class Attempt:
    """An id for a claim, and its age: both from before the transaction that makes it."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(16)
        self.at = steady_s()


def claim(message_id: str) -> Claim | None:
    """Claim a waiting message. Returns None if it is not due or somebody else has it."""

    def take(connection: sa.Connection, attempt: Attempt) -> Claim | None:
        if installation.is_on_hold(connection):
            return None
        message = _take(connection, _CLAIM, attempt, message=message_id)
        return Claim(message, attempt.at) if message else None

    return _commit_or_find(take)


def claim_next(batch_id: str) -> Claim | None:
    """Claim the batch's next message. Returns None if nothing is due or the batch may not go on."""

    def take(connection: sa.Connection, attempt: Attempt) -> Claim | None:
        batches.lock(connection, batch_id)
        batch = look_at(connection, batch_id)
        if batch is None or not batches.may_go_on(connection, batch_id, batch):
            return None
        claim = take_next(connection, batch_id, batch, attempt)
        if claim is not None:
            connection.execute(_MOVED, {"batch": batch_id, "at": now()})
        return claim

    return _commit_or_find(take)


def look_at(connection: sa.Connection, batch_id: str) -> sa.Row[Any] | None:
    """Of the batch what decides whether it may go on, and with it the hold, which stays as it is
    until the transaction ends, and the sign-in to send with."""
    return connection.execute(_LOOK, {"batch": batch_id}).one_or_none()


def take_next(
    connection: sa.Connection,
    batch_id: str,
    batch: sa.Row[Any],
    attempt: Attempt,
    before: Claim | None = None,
) -> Claim | None:
    """Claim the next message of a batch that may go on; none on hold.

    `before` is the claim that has just ended: its token need not be decrypted again.
    """
    if batch.hold_reason:
        return None
    moves = batch.active_at > now() - tolerance()
    message = _take(connection, _CLAIM_NEXT, attempt, batch=batch_id, moves=moves)
    if message is None:
        return None
    credentials = tokens.read_with_claim(batch, before.credentials if before else None)
    return Claim(message, attempt.at, credentials, batch.is_open)


def _commit_or_find(take: Callable[[sa.Connection, Attempt], Claim | None]) -> Claim | None:
    attempt = Attempt()
    try:
        with connected() as connection:
            return take(connection, attempt)
    except DATABASE_ERRORS:
        return find(attempt)


def find(attempt: Attempt) -> Claim | None:
    """After a failed transaction: what it claimed all the same, if anything."""
    message = look_again(lambda: _claimed_as(attempt.id))
    return Claim(message, attempt.at) if message else None


def _take(
    connection: sa.Connection, claim: sa.Update, attempt: Attempt, **chosen: object
) -> ClaimedMessage | None:
    """Claim what the statement chooses, if it is due and its account is not slowed down."""
    at = now()
    params = {"claimed_as": attempt.id, "at": at, "limit": at - tolerance(), **chosen}
    params["slow_until"] = at + MAX_SLOWDOWN
    taken = connection.execute(claim, params).one_or_none()
    return ClaimedMessage(*taken) if taken else None


# Built once, because making these statements anew took longer than running them; and from the
# tables' own columns, because SQLAlchemy takes three times as long with its models (both measured).
_batches = table(Batch).c
_around = (
    table(Batch)
    .outerjoin(installation.HOLD_TO_STAY, sa.true())
    .outerjoin(table(TokenSet), tokens.is_newest_of(_batches.member_id))
)
_LOOK = (
    sa.select(
        *(_batches.stop_reason, _batches.is_open, _batches.unknowns_in_a_row, _batches.active_at),
        sa.and_(_batches.filled_at.is_(None), _batches.list_id.is_not(None)).label("is_filling"),
        installation.HOLD_TO_STAY.c.hold_reason,
        *tokens.READ_WITH_CLAIM,
    )
    .select_from(_around)
    .where(_batches.id == sa.bindparam("batch"))
)
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
    has_meaning = sa.or_(_messages.not_after.is_(None), _messages.not_after > at)
    due = chosen.where(transitions.CAN_CLAIM, is_due, has_meaning, ~slow.exists())
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
        .returning(*COLUMNS)
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
    .where(_messages.batch_id == sa.bindparam("batch"), WAITS, _in_time())
    .order_by(_messages.position)
    .limit(1)
)


def _claimed_as(attempt: str) -> ClaimedMessage | None:
    query = sa.select(*COLUMNS).where(
        _messages.attempt == attempt, _messages.outcome == Outcome.SENDING
    )
    with db.engine.connect() as connection:
        found = connection.execute(query).one_or_none()
    return ClaimedMessage(*found) if found else None
