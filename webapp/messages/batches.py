"""Batches: one submission to many recipients, and what a person can do with the rest of it.

The messages carry the outcomes; a batch only says whether the worker may go on.
"""

from collections import Counter

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Batch, Member, Message
from webapp.messages import claims, wishes
from webapp.messages.claims import MAX_UNKNOWNS_IN_A_ROW, locked, tolerance
from webapp.messages.wishes import Wish
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.times import now
from webapp.signin import Result


def stop(batch: Batch, by: Member) -> None:
    with transaction() as session:
        wishes.pause(session, Message.batch_id == batch.id, Reason.STOPPED)
        record(session, AuditEvent.STOPPED, by, batch_id=batch.id)


def resume(batch: Batch, by: Member) -> None:
    """Go on with what is paused: planned again if its time is ahead, else due now."""
    at = now()
    again = {"reason": "", "first_tried_at": None, "tries": 0}
    paused = (Message.batch_id == batch.id, Message.outcome == Outcome.PAUSED)
    with transaction() as session:
        # The batch first, as who stops it does: two that lock in turn never wait for each other.
        rows_changed(
            session,
            sa.update(Batch)
            .where(Batch.id == batch.id)
            .values(stop_reason="", unknowns_in_a_row=0, is_open=False, active_at=at),
        )
        asked = (Message.batch_id == batch.id, Message.wish == Wish.PAUSE)
        rows_changed(session, sa.update(Message).where(*asked).values(wish=Wish.NONE, reason=""))
        ahead = sa.update(Message).where(*paused, Message.send_at > at)
        rows_changed(
            session,
            ahead.values(outcome=Outcome.HELD, expected_at=Message.send_at, **again),
        )
        rows_changed(
            session,
            sa.update(Message)
            .where(*paused)
            .values(outcome=Outcome.QUEUED, due_at=at, expected_at=at, **again),
        )
        record(session, AuditEvent.RESUMED, by, batch_id=batch.id)


def cancel(batch: Batch, by: Member) -> Counter[Outcome]:
    """Withdraw all that has not left; returns how many are cancelled, and of how many that are
    `sending` it is wished."""
    waits = (Message.batch_id == batch.id, wishes.CAN_WITHDRAW)
    change = sa.update(Message).where(*waits).values(wishes.withdrawn())
    with transaction() as session:
        claims.locked(session, batch.id)
        became = session.scalars(change.returning(Message.outcome), execution_options=_UNLOADED)
        counts = Counter(became)
        record(session, AuditEvent.WITHDREW, by, batch_id=batch.id, detail=str(counts.total()))
    return counts


_UNLOADED = {"synchronize_session": False}


def wish_counts(batch_id: str) -> Counter[Wish]:
    """What is wished of its messages that are `sending`."""
    query = (
        sa.select(Message.wish, sa.func.count())
        .where(Message.batch_id == batch_id, Message.outcome == Outcome.SENDING)
        .group_by(Message.wish)
    )
    return Counter({Wish(wish): count for wish, count in db.session.execute(query)})


def releasable(member: Member) -> list[Message]:
    """The member's own paused messages that are not too late; the others go on asking."""
    query = sa.select(Message).where(*_releasable(member)).order_by(Message.created_at)
    return list(db.session.scalars(query))


def has_releasable(member: Member) -> bool:
    query = sa.select(sa.literal(True)).where(*_releasable(member)).limit(1)
    return db.session.scalar(query) is not None


def release_all(member: Member) -> tuple[int, list[str]]:
    """Release them at their planned times, what has none or has just passed now; returns how many,
    and the batches that go on."""
    at = now()
    paused = _releasable(member)
    with transaction() as session:
        found = session.scalars(sa.select(Message.batch_id).where(*paused).distinct())
        batch_ids = sorted(id_ for id_ in found if id_)
        # The batches first, as `resume` does.
        rows_changed(
            session,
            sa.update(Batch)
            .where(Batch.id.in_(batch_ids))
            .values(stop_reason="", unknowns_in_a_row=0, is_open=False, active_at=at),
        )
        taken_back = (Message.batch_id.in_(batch_ids), Message.outcome == Outcome.SENDING)
        rows_changed(
            session, sa.update(Message).where(*taken_back, Message.wish == "pause").values(wish="")
        )
        anew = {"reason": "", "first_tried_at": None, "tries": 0}
        ahead = sa.update(Message).where(*paused, Message.send_at > at)
        planned = {"outcome": Outcome.HELD, "expected_at": Message.send_at}
        count = rows_changed(session, ahead.values(**anew, **planned))
        due = {"outcome": Outcome.QUEUED, "due_at": at, "expected_at": at}
        count += rows_changed(session, sa.update(Message).where(*paused).values(**anew, **due))
        if count:
            record(session, AuditEvent.RESUMED, member, detail=str(count))
    return count, batch_ids


def _releasable(member: Member) -> tuple[sa.ColumnElement[bool], ...]:
    in_time = sa.or_(Message.send_at.is_(None), Message.send_at > now() - tolerance())
    return (Message.member_id == member.id, Message.outcome == Outcome.PAUSED, in_time)


def outcome_counts(batch_id: str) -> dict[Outcome, int]:
    query = (
        sa.select(Message.outcome, sa.func.count())
        .where(Message.batch_id == batch_id)
        .group_by(Message.outcome)
    )
    return {outcome: count for outcome, count in db.session.execute(query)}


STOPS_BATCH = {
    Reason.BALANCE: Reason.BALANCE,
    Reason.NOT_ALLOWED: Reason.NOT_ALLOWED,
    Reason.SIGN_IN_ENDED: Reason.SIGN_IN_ENDED,
}


def lock_batch_of(message: Message, session: Session) -> None:
    if message.batch_id:
        locked(session, message.batch_id)


def after_attempt(session: Session, message: Message, result: Result) -> bool:
    """Three unknowns in a row, an empty balance or a missing right stop the rest of the batch.

    Returns whether it was the batch's first clear answer.
    """
    if message.batch_id is None:
        return False
    batch = locked(session, message.batch_id)
    if batch is None:  # never: a batch with a message that is being sent is not erased
        return False
    is_first = not batch.is_open and result.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED)
    if result.outcome == Outcome.UNKNOWN:
        batch.unknowns_in_a_row += 1
    elif batch.unknowns_in_a_row:
        batch.unknowns_in_a_row = 0
    if is_first:
        batch.is_open = True
    session.flush()
    reason = STOPS_BATCH.get(result.reason) if result.reason else None
    if batch.unknowns_in_a_row >= MAX_UNKNOWNS_IN_A_ROW:
        reason = Reason.UNKNOWNS
    if reason:
        wishes.pause(session, Message.batch_id == batch.id, reason)
    return is_first
