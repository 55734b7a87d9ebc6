"""How many texts a member may still send today: messages, tests, and codes for own numbers."""

from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database.idempotency import NotTaken
from webapp.database.models import IS_FILLING, Batch, Member, Message, Submission
from webapp.rules.outcomes import FillWish, Outcome
from webapp.rules.times import now


class DailyLimitReached(NotTaken):
    """The member may send no more today."""

    def __init__(self, left: int = 0) -> None:
        super().__init__()
        self.left = left
        """How many more would still fit."""


def require_room(session: Session | sa.Connection, member: Member, count: int) -> None:
    """Raise `DailyLimitReached` if `count` more texts exceed the member's limit for today.

    What was withdrawn before it left does not count. The caller must hold a lock on the member's
    row.
    """
    left = room_left(session, member)
    if count > left:
        raise DailyLimitReached(max(0, left))


def room_left(session: Session | sa.Connection, member: Member) -> int:
    """How many more the member may send today."""
    zone = ZoneInfo(settings.default_time_zone)
    day = now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    sent = session.scalar(_SENT_SINCE, {"member": member.id, "day": day}) or 0
    return settings.daily_limit - sent


def _messages(*which: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    query = sa.select(sa.func.count()).select_from(Message)
    mine = (Message.member_id == sa.bindparam("member"), Message.created_at >= sa.bindparam("day"))
    return query.where(*mine, *which).scalar_subquery()


def _to_be_made() -> sa.ScalarSelect[int]:
    """The messages of today's lists that are not in the table yet."""
    made = sa.select(sa.func.count()).select_from(Message).where(Message.batch_id == Batch.id)
    left = sa.func.sum(Batch.total - made.correlate(Batch).scalar_subquery())
    query = sa.select(sa.func.coalesce(left, 0)).where(
        Batch.member_id == sa.bindparam("member"),
        Batch.created_at >= sa.bindparam("day"),
        IS_FILLING,
        Batch.wish != FillWish.CANCEL,
    )
    return query.scalar_subquery()


# For every message. Building it takes longer than running it (measured), so it is built once.
_SENT_SINCE = sa.select(
    _messages()
    # Counted apart, because each has its own index.
    - _messages(
        Message.outcome == Outcome.CANCELLED,
        Message.shown_at >= sa.bindparam("day"),  # never earlier than `created_at`
    )
    + _to_be_made()
    + sa.select(sa.func.count())
    .select_from(Submission)
    .where(
        Submission.member_id == sa.bindparam("member"),
        Submission.outcome.is_not(None),
        Submission.created_at >= sa.bindparam("day"),
    )
    .scalar_subquery()
)
