"""Finding messages that a member may see: one, a page of them, counts, all for the export.

Every query begins with `visibility.visible_messages` and is answered from an index: a page costs
the same with a million messages behind it. Only a search by words reads on until a page is full.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from webapp.database import db, end_read
from webapp.database.models import Batch, Member, Message
from webapp.messages import attention, sweep, visibility
from webapp.rules.numbers import digits_of
from webapp.rules.outcomes import MAX_COUNT, NEEDS_RESUME, WAITING, Outcome
from webapp.rules.times import now

COUNTED_DAYS = 7
AHEAD_LIMIT = 20
MAX_AHEAD = timedelta(days=31)
EXPORT_CHUNK = 500
STILL_HERE = (*WAITING, *NEEDS_RESUME)


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages are shown. An empty field excludes none."""

    outcomes: tuple[Outcome, ...] = ()
    by: str = ""
    """The `sub` (`w0`) of the account's member who wrote it."""
    words: str = ""
    """Looked for in the text, the number, the contact's and the member's name."""
    numbers_meant: tuple[str, ...] = ()
    """In E.164: the reader's contacts whose names contain `words`."""
    number: str = ""
    """The one recipient, in E.164."""
    needs_attention: bool = False

    @property
    def is_all(self) -> bool:
        return self == MessageFilter()


Row = TypeVar("Row", Message, Batch)


def find(kind: type[Row], id_: str, member: Member) -> Row | None:
    """The message or batch as it is now; None if the member may not see it."""
    sweep.settle_stale()
    found = db.session.get(kind, id_, populate_existing=True)
    return found if found is not None and visibility.may_see(member, found) else None


def page(
    which: MessageFilter, member: Member, *, before: Message | None, limit: int
) -> list[Message]:
    """The newest of the chosen messages, or those older than `before`."""
    sweep.settle_stale()
    return _page(which, member, before, limit)


def _page(
    which: MessageFilter, member: Member, before: Message | None, limit: int
) -> list[Message]:
    if len(which.outcomes) > 1:
        # One query for each outcome: an index has the newest of one, not of several.
        parts = [replace(which, outcomes=(one,)) for one in which.outcomes]
        found = [one for part in parts for one in _page(part, member, before, limit)]
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)[:limit]
    query = _query(which, member)
    if before is not None:
        query = query.where(
            sa.tuple_(Message.created_at, Message.id) < sa.tuple_(before.created_at, before.id)
        )
    return list(db.session.scalars(query.limit(limit)))


def iter_chunks(which: MessageFilter, member: Member) -> Iterator[list[Message]]:
    """All chosen messages, newest first. No transaction is open between two chunks."""
    last: Message | None = None
    while True:
        found = page(which, member, before=last, limit=EXPORT_CHUNK)
        yield found
        end_read()
        if len(found) < EXPORT_CHUNK:
            return
        last = found[-1]
        db.session.expunge_all()


def upcoming(member: Member, number: str = "") -> list[Message]:
    """Messages that have not gone yet or are planned at sipgate, the next one first; at most 20."""
    at = now()
    still = Message.outcome.in_(STILL_HERE)
    planned = sa.and_(
        Message.outcome == Outcome.SCHEDULED,
        # sipgate plans no further ahead, so older rows need not be read.
        Message.created_at > at - MAX_AHEAD,
        Message.send_at > at,
    )
    time = sa.func.coalesce(Message.send_at, Message.created_at)
    found: list[Message] = []
    # Two queries, because each has an index and both together have none.
    for either in (still, planned):
        query = sa.select(Message).where(visibility.visible_messages(member), either)
        if number:
            query = query.where(
                Message.account_id == member.account_id, Message.recipient == number
            )
        found += db.session.scalars(query.order_by(time, Message.id).limit(AHEAD_LIMIT))
    return sorted(found, key=lambda one: one.send_at or one.created_at)[:AHEAD_LIMIT]


def counts(member: Member) -> Mapping[Outcome, int]:
    """How many of each outcome, 1,000 at most: all that are still here, the others of 7 days."""
    since = now() - timedelta(days=COUNTED_DAYS)

    def count(outcome: Outcome) -> sa.ScalarSelect[Any]:
        rows = sa.select(sa.literal(1)).where(
            visibility.visible_messages(member), Message.outcome == outcome
        )
        if outcome not in STILL_HERE:
            rows = rows.where(Message.created_at > since)
        capped = rows.limit(MAX_COUNT).subquery()
        return sa.select(sa.func.count()).select_from(capped).scalar_subquery()

    found = db.session.execute(sa.select(*(count(outcome) for outcome in Outcome))).one()
    return dict(zip(Outcome, found, strict=True))


def writers(member: Member) -> list[Member]:
    """The members to filter by; empty if there is no choice."""
    if not visibility.sees_account(member):
        return []
    query = sa.select(Member).where(Member.account_id == member.account_id)
    found = list(db.session.scalars(query.order_by(Member.name)))
    return found if len(found) > 1 else []


def _query(which: MessageFilter, member: Member) -> sa.Select[Message]:
    query = sa.select(Message).where(visibility.visible_messages(member))
    if which.needs_attention:
        query = query.where(attention.needs(member))
    if which.outcomes:
        query = query.where(Message.outcome.in_(which.outcomes))
    if which.number:
        # With the account, because the index begins with it.
        query = query.where(
            Message.account_id == member.account_id, Message.recipient == which.number
        )
    if which.by:
        query = query.where(Message.member_id.in_(_members_of(member, Member.sub == which.by)))
    if which.words:
        query = query.where(_mentions(which, member))
    return query.order_by(Message.created_at.desc(), Message.id.desc())


def _mentions(which: MessageFilter, member: Member) -> sa.ColumnElement[bool]:
    called = Member.name.icontains(which.words, autoescape=True)
    found = [
        _has(Message.text, which.words),
        Message.member_id.in_(_members_of(member, called)),
    ]
    if digits := digits_of(which.words):
        found.append(Message.recipient.contains(digits))
    if which.numbers_meant:
        found.append(Message.recipient.in_(which.numbers_meant))
    return sa.or_(*found)


def _has(column: Any, words: str) -> sa.ColumnElement[bool]:
    """Whether a text contains the words, in upper or lower case."""
    # SQLite's LIKE ignores the case of ASCII, and is much faster than `lower` on both sides.
    is_plain = words.isascii() and db.engine.dialect.name == "sqlite"
    contains = column.contains if is_plain else column.icontains
    found: sa.ColumnElement[bool] = contains(words, autoescape=True)
    return found


def _members_of(member: Member, which: sa.ColumnElement[bool]) -> sa.Select[int]:
    return sa.select(Member.id).where(Member.account_id == member.account_id, which)
