"""What needs somebody: messages that did not go, until a person has dealt with each.

The one home of the question which these are. A message sent at the click is told of at once, and
does not count when sipgate refuses it; one that was planned or in a batch would fail in silence.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import NEEDS_ATTENTION, Batch, Member, Message
from webapp.rules.outcomes import MAX_COUNT, Outcome
from webapp.rules.times import MIN_AHEAD, now

TO_BE_DONE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.MISSED)
"""What a person may call done. An unknown one is settled, a paused one released or withdrawn."""


def of(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that leaves those which need this member: their own, or for an
    admin the account's."""
    return sa.and_(_whose(member), NEEDS_ATTENTION)


def count(member: Member) -> int:
    """How many there are, a batch as one; at most `MAX_COUNT`."""
    scope = _OF_ACCOUNT if member.is_admin else _OF_MEMBER
    return min(db.session.scalar(scope, {"of": _key(member)}) or 0, MAX_COUNT)


def can_be_done(message: Message) -> bool:
    """Whether this one counts, and a person may call it done."""
    would_be_silent = message.batch_id or message.send_at or message.expected_at
    is_open = message.done_at is None and message.outcome in TO_BE_DONE
    return is_open and (message.outcome == Outcome.MISSED or would_be_silent is not None)


def is_time_ahead(message: Message) -> bool:
    """Whether a message can still go at its planned time."""
    return message.send_at is not None and message.send_at > now() + MIN_AHEAD


def open_counts(batch_id: str) -> dict[Outcome, int]:
    """How many of a batch's messages a person may call done, by outcome."""
    query = (
        sa.select(Message.outcome, sa.func.count())
        .where(Message.batch_id == batch_id, Message.outcome.in_(TO_BE_DONE))
        .where(Message.done_at.is_(None))
        .group_by(Message.outcome)
    )
    return {outcome: count for outcome, count in db.session.execute(query)}


def mark_done(message: Message, by: Member) -> bool:
    """Somebody has dealt with a message that did not go; False if it is none of these."""
    with transaction() as session:
        done = _done(session, Message.id == message.id, TO_BE_DONE, by) == 1
        if done:
            record(session, AuditEvent.DONE, by, message=message)
    return done


def mark_batch_done(batch: Batch, outcome: Outcome, by: Member) -> int:
    """The same for all messages of a batch with this outcome; returns how many."""
    with transaction() as session:
        count = _done(session, Message.batch_id == batch.id, (outcome,), by)
        if count:
            record(session, AuditEvent.DONE, by, batch_id=batch.id, detail=f"{outcome} {count}")
    return count


def sent_again(session: Session, message_id: str, by: Member) -> None:
    """A message that is sent again needs nobody, in the transaction that takes the new one. An
    unknown one stays unknown; a paused one could still go itself, and is not dealt with."""
    _done(session, Message.id == message_id, (*TO_BE_DONE, Outcome.UNKNOWN), by)


def _done(
    session: Session, which: sa.ColumnElement[bool], outcomes: Collection[Outcome], by: Member
) -> int:
    open_ = (which, Message.outcome.in_(outcomes), Message.done_at.is_(None))
    done = {"done_at": now(), "done_by_id": by.id}
    return rows_changed(session, sa.update(Message).where(*open_).values(**done))


def _whose(member: Member) -> sa.ColumnElement[bool]:
    return (Message.account_id if member.is_admin else Message.member_id) == _key(member)


def _key(member: Member) -> str | int:
    return member.account_id if member.is_admin else member.id


def _count_of(whose: sa.ColumnElement[bool]) -> sa.Select[int]:
    needed = sa.select(sa.literal(1)).where(whose, NEEDS_ATTENTION)
    batch = sa.func.coalesce(Message.batch_id, "")  # not by the index of batches: it has all ones
    singles = needed.where(batch == "").limit(MAX_COUNT).subquery()
    batches = (
        sa.select(batch)
        .where(whose, NEEDS_ATTENTION, batch != "")
        .distinct()
        .limit(MAX_COUNT)
        .subquery()
    )
    return sa.select(
        sa.select(sa.func.count()).select_from(singles).scalar_subquery()
        + sa.select(sa.func.count()).select_from(batches).scalar_subquery()
    )


# For every page; built once, as in `claims.py`.
_OF_MEMBER = _count_of(Message.member_id == sa.bindparam("of"))
_OF_ACCOUNT = _count_of(Message.account_id == sa.bindparam("of"))
