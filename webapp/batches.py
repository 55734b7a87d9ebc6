"""Batches: one submission to many recipients, and what a person can do with the rest of it.

The messages carry the outcomes; a batch only says whether the worker may go on.
"""

import sqlalchemy as sa

from webapp import waiting
from webapp.claims import tolerance
from webapp.database import now, rows_changed, transaction
from webapp.extensions import db
from webapp.models import Batch, Member, Message
from webapp.outcomes import STUCK, WAITING, Outcome, Reason
from webapp.record import Did, note


def stop(batch: Batch, by: Member) -> None:
    with transaction() as rows:
        waiting.pause(rows, Message.batch_id == batch.id, Reason.STOPPED)
        note(rows, Did.STOPPED, by, batch_id=batch.id)


def resume(batch: Batch, by: Member) -> None:
    """Go on with what is paused: planned again if its time is ahead, else due now."""
    at = now()
    paused = (Message.batch_id == batch.id, Message.outcome == Outcome.PAUSED)
    with transaction() as rows:
        # The batch first, as who stops it does: two that lock in turn never wait for each other.
        rows_changed(
            rows,
            sa.update(Batch)
            .where(Batch.id == batch.id)
            .values(stop_reason="", unknowns_in_a_row=0, is_open=False, active_at=at),
        )
        ahead = sa.update(Message).where(*paused, Message.send_at > at)
        rows_changed(
            rows,
            ahead.values(outcome=Outcome.HELD, reason="", expected_at=Message.send_at),
        )
        rows_changed(
            rows,
            sa.update(Message)
            .where(*paused)
            .values(outcome=Outcome.QUEUED, reason="", due_at=at, expected_at=at),
        )
        note(rows, Did.RESUMED, by, batch_id=batch.id)


def cancel(batch: Batch, by: Member) -> int:
    """Withdraw all that has not left; returns how many."""
    waits = (Message.batch_id == batch.id, Message.outcome.in_((*WAITING, *STUCK)))
    with transaction() as rows:
        count = rows_changed(
            rows,
            sa.update(Message).where(*waits).values(outcome=Outcome.CANCELLED, settled_at=now()),
        )
        note(rows, Did.WITHDREW, by, batch_id=batch.id, detail=str(count))
    return count


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
    with transaction() as rows:
        found = rows.scalars(sa.select(Message.batch_id).where(*paused).distinct())
        batch_ids = sorted(id_ for id_ in found if id_)
        # The batches first, as `resume` does.
        rows_changed(
            rows,
            sa.update(Batch)
            .where(Batch.id.in_(batch_ids))
            .values(stop_reason="", unknowns_in_a_row=0, is_open=False, active_at=at),
        )
        taken_back = (Message.batch_id.in_(batch_ids), Message.outcome == Outcome.SENDING)
        rows_changed(
            rows, sa.update(Message).where(*taken_back, Message.wish == "pause").values(wish="")
        )
        anew = {"reason": "", "first_tried_at": None, "tries": 0}
        ahead = sa.update(Message).where(*paused, Message.send_at > at)
        planned = {"outcome": Outcome.HELD, "expected_at": Message.send_at}
        count = rows_changed(rows, ahead.values(**anew, **planned))
        due = {"outcome": Outcome.QUEUED, "due_at": at, "expected_at": at}
        count += rows_changed(rows, sa.update(Message).where(*paused).values(**anew, **due))
        if count:
            note(rows, Did.RESUMED, member, detail=str(count))
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
