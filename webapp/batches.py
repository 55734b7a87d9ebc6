"""Batches: one submission to many recipients, and what a person can do with the rest of it.

The messages carry the outcomes; a batch only says whether the worker may go on.
"""

import sqlalchemy as sa

from webapp import waiting
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


def outcome_counts(batch_id: str) -> dict[Outcome, int]:
    query = (
        sa.select(Message.outcome, sa.func.count())
        .where(Message.batch_id == batch_id)
        .group_by(Message.outcome)
    )
    return {outcome: count for outcome, count in db.session.execute(query)}
