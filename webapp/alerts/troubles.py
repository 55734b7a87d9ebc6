"""What is wrong now, derived from the state of the database.

What somebody did on purpose (pausing a batch, signing out) is no trouble, nor is what the page said
at the click that caused it.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database.models import IS_FILLED, NEEDS_ATTENTION, Batch, Installation, Message
from webapp.rules.alerts import AlertKind
from webapp.rules.outcomes import WAITING, Outcome, Reason
from webapp.rules.times import now

SOON = timedelta(hours=24)
"""A sign-in that ended is told of if something waits for it within this time."""
ON_PURPOSE = (Reason.STOPPED, Reason.SIGNED_OUT)
OUTCOMES = {
    Outcome.MISSED: AlertKind.MISSED,
    Outcome.REFUSED: AlertKind.NOT_SENT,
    Outcome.NOT_SENT: AlertKind.NOT_SENT,
    Outcome.UNKNOWN: AlertKind.UNKNOWN,
}

Key = tuple[AlertKind, str]
"""A kind, and the id of what it is about."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`count`: how many messages it concerns. `mark`: what distinguishes this episode from the one
    before, where the database knows it."""

    count: int
    mark: str = ""


def present(session: Session, *, worker_is_silent: bool | None) -> dict[Key, Trouble]:
    """All there is. Whether the worker is silent is seen by the caller; None: not known yet."""
    found = dict(_of_messages(session))
    held = sa.select(Installation.held_at).where(Installation.hold_reason != "")
    for held_at in session.scalars(held):
        mark = held_at.isoformat() if held_at else ""
        found[AlertKind.HOLD, ""] = Trouble(_waiting(session), mark)
    if worker_is_silent:
        found[AlertKind.WORKER, ""] = Trouble(_waiting(session))
    return found


def _waiting(session: Session) -> int:
    query = sa.select(sa.func.count()).where(Message.outcome.in_(WAITING))
    return session.scalar(query) or 0


def _of_messages(session: Session) -> Iterator[tuple[Key, Trouble]]:
    """A message is about itself, those of a batch are about their batch, and those that wait for a
    sign-in are about its member."""
    counts: dict[Key, int] = defaultdict(int)
    marks: dict[Key, str] = {}
    for row in session.execute(_unattended()):
        key = _key(row)
        count = row.soon if key[0] == AlertKind.SIGN_IN else row.number
        if count:
            counts[key] += count
            if key[0] == AlertKind.BATCH and row.active_at:
                marks[key] = row.active_at.isoformat()
    for key, count in counts.items():
        yield key, Trouble(count, marks.get(key, ""))


def _unattended() -> sa.Select[tuple[Outcome, str, str, int, str | None, int, int]]:
    """How many messages that failed unseen have which outcome and reason, by entry of the list."""
    unseen = sa.or_(
        Message.batch_id.is_not(None),
        Message.send_at.is_not(None),
        Message.expected_at.is_not(None),
    )
    is_soon = sa.or_(Message.send_at.is_(None), Message.send_at < now() + SOON)
    soon = sa.func.sum(sa.case((is_soon, 1), else_=0))
    what = (Message.outcome, Message.reason, Message.entry_id, Message.member_id, Message.batch_id)
    # While a batch is being filled, its time moves on.
    stopped_at = sa.case((IS_FILLED, Batch.active_at)).label("active_at")
    on_purpose = sa.and_(Message.outcome == Outcome.PAUSED, Message.reason.in_(ON_PURPOSE))
    number = sa.func.count().label("number")
    return (
        sa.select(*what, stopped_at, soon.label("soon"), number)
        .outerjoin(Batch, Batch.id == Message.batch_id)
        .where(NEEDS_ATTENTION, unseen, ~on_purpose)
        .group_by(*what, Batch.active_at, Batch.filled_at, Batch.list_id)
    )


def _key(row: sa.Row[tuple[Outcome, str, str, int, str | None, int, int]]) -> Key:
    if row.outcome != Outcome.PAUSED:
        return OUTCOMES[row.outcome], row.entry_id
    if row.reason == Reason.SIGN_IN_ENDED:
        return AlertKind.SIGN_IN, str(row.member_id)
    return (AlertKind.BATCH, row.batch_id) if row.batch_id else (AlertKind.PAUSED, row.entry_id)
