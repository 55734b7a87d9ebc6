"""How many texts a member may still send today: messages, tests, and codes for own numbers."""

from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database.idempotency import NotTaken
from webapp.database.models import Member, Message, Submission
from webapp.rules.times import now


class DailyLimitReached(NotTaken):
    """The member may send no more today."""


def require_room(session: Session, member: Member, count: int) -> None:
    """Raise `DailyLimitReached` if `count` more texts exceed the member's limit for today.

    The caller must hold a lock on the member's row.
    """
    zone = ZoneInfo(settings.default_time_zone)
    day = now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    sent = session.scalar(_SENT_SINCE, {"member": member.id, "day": day}) or 0
    if sent + count > settings.daily_limit:
        raise DailyLimitReached


# For every message. Building it takes longer than running it (measured), so it is built once.
_SENT_SINCE = sa.select(
    sa.select(sa.func.count())
    .select_from(Message)
    .where(Message.member_id == sa.bindparam("member"), Message.created_at >= sa.bindparam("day"))
    .scalar_subquery()
    + sa.select(sa.func.count())
    .select_from(Submission)
    .where(
        Submission.member_id == sa.bindparam("member"),
        Submission.outcome.is_not(None),
        Submission.created_at >= sa.bindparam("day"),
    )
    .scalar_subquery()
)
