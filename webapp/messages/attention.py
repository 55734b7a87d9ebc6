"""Which messages need attention: those that did not go, until a person has dealt with each.

A message that was planned or in a batch fails unseen. One sent at a click does not: its page said
so at once, and it does not count if sipgate refuses it.
"""

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import NEEDS_ATTENTION, Batch, Member, Message
from webapp.messages import visibility
from webapp.rules.outcomes import MAX_COUNT, Outcome
from webapp.rules.times import MIN_AHEAD, now

TO_BE_DONE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.MISSED)
"""What can be marked done. Unknown messages are settled; paused ones are released or withdrawn."""


def needs(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that need this member's attention."""
    return sa.and_(visibility.managed_messages(member), NEEDS_ATTENTION)


def count(member: Member) -> int:
    """How many need this member's attention, a batch as one; at most `MAX_COUNT`."""
    of_account = visibility.manages_account(member)
    found = db.session.scalar(counting(of_account), params(member))
    return min(found or 0, MAX_COUNT)


def params(member: Member) -> dict[str, str | int]:
    """Of whom `counting` counts."""
    return {"of": member.account_id if visibility.manages_account(member) else member.id}


def counting(of_account: bool) -> sa.Select[int]:
    """The query behind `count`, of the whole account or of one member; it may go above the most."""
    return _COUNT_OF_ACCOUNT if of_account else _COUNT_OF_MEMBER


def can_be_done(message: Message) -> bool:
    """Whether it needs attention and can be marked done."""
    failed_unseen = message.batch_id or message.send_at or message.expected_at
    is_open = message.done_at is None and message.outcome in TO_BE_DONE
    return is_open and (message.outcome == Outcome.MISSED or failed_unseen is not None)


def is_time_ahead(message: Message) -> bool:
    """Whether a message can still go at its planned time."""
    return message.send_at is not None and message.send_at > now() + MIN_AHEAD


def open_counts(batch_id: str) -> dict[Outcome, int]:
    """How many of a batch's messages can be marked done, by outcome."""
    query = (
        sa.select(Message.outcome, sa.func.count())
        .where(Message.batch_id == batch_id, Message.outcome.in_(TO_BE_DONE))
        .where(Message.done_at.is_(None))
        .group_by(Message.outcome)
    )
    return {outcome: count for outcome, count in db.session.execute(query)}


def mark_done(message: Message, by: Member) -> bool:
    """Returns False if it cannot be marked done, or was already."""
    with transaction() as session:
        done = _mark_done(session, Message.id == message.id, TO_BE_DONE, by) == 1
        if done:
            record(session, AuditEvent.DONE, by, message=message)
    return done


def mark_batch_done(batch: Batch, outcome: Outcome, by: Member) -> int:
    """Mark all messages of a batch with this outcome; returns how many."""
    with transaction() as session:
        count = _mark_done(session, Message.batch_id == batch.id, (outcome,), by)
        if count:
            record(session, AuditEvent.DONE, by, batch_id=batch.id, detail=f"{outcome} {count}")
    return count


def sent_again(session: Session | sa.Connection, message_id: str, by: Member) -> None:
    """Mark the message that a new one replaces, in the new one's transaction. An unknown message
    stays unknown. A paused one is not marked: it could still go."""
    _mark_done(session, Message.id == message_id, (*TO_BE_DONE, Outcome.UNKNOWN), by)


def _mark_done(
    session: Session | sa.Connection,
    which: sa.ColumnElement[bool],
    outcomes: Collection[Outcome],
    by: Member,
) -> int:
    open_ = (which, Message.outcome.in_(outcomes), Message.done_at.is_(None))
    done = {"done_at": now(), "done_by_id": by.id}
    return rows_changed(session, sa.update(Message).where(*open_).values(**done))


def _count_of(whose: sa.ColumnElement[bool]) -> sa.Select[int]:
    entries = sa.select(Message.shown_at, Message.entry_id).where(whose, NEEDS_ATTENTION)
    counted = entries.distinct().limit(MAX_COUNT).subquery()
    return sa.select(sa.func.count()).select_from(counted)


# Built once, because they run for every page (see `claims.py`).
_COUNT_OF_MEMBER = _count_of(Message.member_id == sa.bindparam("of"))
_COUNT_OF_ACCOUNT = _count_of(Message.account_id == sa.bindparam("of"))
