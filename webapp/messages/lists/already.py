"""Who has had this text today already, and who heard from a colleague: by content, not by name.

So the same list, sent again with two new rows, reaches only those two.
"""

from collections.abc import Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from webapp.database import db
from webapp.database.models import Member, Message
from webapp.messages import visibility
from webapp.messages.lists import fill
from webapp.messages.lists.check import Reminder, key_of
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now

WITHIN = timedelta(hours=24)
HAD = (Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.UNKNOWN, Outcome.SENDING)
"""These may have got it."""
STILL_WAITING = (Outcome.HELD, Outcome.QUEUED, Outcome.PAUSED)
"""These will, or may: they are left out, too, and told apart."""
MAX_NAMED = 3


@dataclass(slots=True)
class Earlier:
    """What the account's messages of the last 24 hours say about a list."""

    had: set[str] = field(default_factory=set)
    """The keys (`check.key_of`) of texts that went out or may have."""
    waiting: dict[str, str] = field(default_factory=dict)
    """The keys of those that still wait, each with its batch's id, or ""."""
    last_at: datetime | None = None
    last_by: str = ""
    """When the last of these texts was taken, and from whom; "" where that is not to be told."""
    colleagues: dict[str, str] = field(default_factory=dict)
    """The numbers that a colleague wrote to today, each with the colleague's name, or ""."""

    @property
    def keys(self) -> Set[str]:
        return self.had | self.waiting.keys()


def earlier(member: Member, keys: Set[str], recipients: Set[str]) -> Earlier:
    """Compare a list with the account's messages of the last 24 hours.

    A member who may not see colleagues' messages is told nothing of their texts, names or times.
    """
    found = Earlier()
    sees_all = visibility.sees_account(member)
    rows = db.session.execute(_TODAY, {"account": member.account_id, "since": now() - WITHIN})
    for recipient, text, outcome, batch_id, created_at, member_id, name in rows:
        if recipient not in recipients or outcome not in (*HAD, *STILL_WAITING):
            continue
        is_mine = member_id == member.id
        if not is_mine:
            found.colleagues.setdefault(recipient, name if sees_all else "")
        if not (is_mine or sees_all) or (key := key_of(recipient, text)) not in keys:
            continue
        if outcome in HAD:
            found.had.add(key)
            found.last_at, found.last_by = created_at, name
        else:
            found.waiting[key] = batch_id or ""
    for one in fill.being_made(member.account_id):
        is_mine = one.member.id == member.id
        if not is_mine and one.recipient in recipients:
            found.colleagues.setdefault(one.recipient, one.member.name if sees_all else "")
        if (is_mine or sees_all) and (key := key_of(one.recipient, one.text)) in keys:
            found.waiting[key] = one.batch_id
    return found


def reminded(member: Member) -> frozenset[Reminder]:
    """Who has a reminder of an appointment ahead that went, will go, or may have gone.

    A member who may not see colleagues' messages is told nothing of their appointments.
    """
    sees_all, outcomes = visibility.sees_account(member), {*HAD, *STILL_WAITING}
    rows = db.session.execute(_AHEAD, {"account": member.account_id, "now": now()})
    found = {
        (recipient, limit)
        for recipient, limit, outcome, member_id in rows
        if outcome in outcomes and (sees_all or member_id == member.id)
    }
    for one in fill.being_made(member.account_id):
        if one.not_after and (sees_all or one.member.id == member.id):
            found.add((one.recipient, one.not_after))
    return frozenset(found)


# `shown_at` is never earlier than `created_at`, and has an index.
_TODAY = (
    sa.select(
        Message.recipient,
        Message.text,
        Message.outcome,
        Message.batch_id,
        Message.created_at,
        Message.member_id,
        Member.name,
    )
    .join(Member, Member.id == Message.member_id)
    .where(
        Message.account_id == sa.bindparam("account"),
        Message.shown_at > sa.bindparam("since"),
        Message.created_at > sa.bindparam("since"),
    )
    .order_by(Message.created_at)
)
_AHEAD = sa.select(Message.recipient, Message.not_after, Message.outcome, Message.member_id).where(
    Message.account_id == sa.bindparam("account"),
    Message.not_after.is_not(None),
    Message.not_after > sa.bindparam("now"),
)
