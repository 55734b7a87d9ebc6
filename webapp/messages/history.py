"""Finding messages that a member may see: pages of the list, one number's, all for the export.

The list has an entry for each message sent to one, and one for each batch. The messages of a batch
stand at the same time under the same `entry_id`, so entries are the distinct pairs of these two,
and every condition has an index in their order: a page costs the same with a million messages
behind it. Only a search by words reads on until a page is full. A message of a batch that alone
got another time is an entry of its own there, and no longer counted in the one of its batch.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from webapp.database import db, end_read
from webapp.database.models import (
    HAS_REASON,
    HAS_TEMPLATE,
    NEEDS_ATTENTION,
    Batch,
    Member,
    Message,
)
from webapp.messages import sweep, visibility
from webapp.rules.numbers import digits_of
from webapp.rules.outcomes import MAX_COUNT, Outcome, Reason
from webapp.rules.times import now

EXPORT_CHUNK = 500
PLANNED = (Outcome.HELD, Outcome.SCHEDULED)

Key = tuple[datetime, str]
"""An entry's place in the list: `shown_at` and `entry_id`."""


class Tab(StrEnum):
    ALL = "all"
    PLANNED = "planned"
    """What is sent later, the next one first."""
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages are shown. An empty field excludes none."""

    tab: Tab = Tab.ALL
    outcomes: tuple[Outcome, ...] = ()
    by: str = ""
    """The `sub` (`w0`) of the account's member who wrote it."""
    extension: str = ""
    template: str = ""
    """The id of the message template that it was written from."""
    reason: Reason | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""
    words: str = ""
    """Looked for in the text, the number, the contact's and the member's name."""
    numbers_meant: tuple[str, ...] = ()
    """In E.164: the reader's contacts whose names contain `words`."""
    number: str = ""
    """The one recipient, in E.164."""

    @property
    def is_all(self) -> bool:
        return self == MessageFilter()


@dataclass(frozen=True, slots=True)
class Entry:
    """A message that stands by itself, or a batch with those of its messages that stand at its time
    and that the filter shows."""

    message: Message
    """The message; of a batch, the first one shown."""
    counts: Mapping[Outcome, int] = field(default_factory=dict)
    """Of a batch: how many of those shown have which outcome."""
    total: int = 1
    """How many messages the batch has."""

    @property
    def outcomes(self) -> set[Outcome]:
        """Those of all that is shown of it."""
        return set(self.counts) or {self.message.outcome}

    @property
    def shown(self) -> int:
        """How many of them the filter shows."""
        return sum(self.counts.values()) or 1


Row = TypeVar("Row", Message, Batch)


def find(kind: type[Row], id_: str, member: Member) -> Row | None:
    """The message or batch as it is now; None if the member may not see it."""
    sweep.settle_stale()
    found = db.session.get(kind, id_, populate_existing=True)
    return found if found is not None and visibility.may_see(member, found) else None


def page(
    which: MessageFilter, member: Member, *, before: Message | None, limit: int
) -> list[Entry]:
    """The first of the chosen entries, or those after the one of the message `before`."""
    sweep.settle_stale()
    is_planned = which.tab == Tab.PLANNED
    last = (before.shown_at, before.entry_id) if before else None
    found = {key for part in _parts(which) for key in _keys(which, member, part, last, limit)}
    return _entries(sorted(found, reverse=not is_planned)[:limit], which, member)


def messages(
    which: MessageFilter, member: Member, *, before: Message | None, limit: int
) -> list[Message]:
    """The newest of the chosen messages, each by itself, or those older than `before`."""
    sweep.settle_stale()
    order = (Message.shown_at, Message.entry_id, Message.id)
    found: list[Message] = []
    for part in _parts(which):
        query = sa.select(Message).where(*_whose(which, member), *_fits(which, member), part)
        if before is not None:
            last = (before.shown_at, before.entry_id, before.id)
            query = query.where(sa.tuple_(*order) < sa.tuple_(*last))
        found += db.session.scalars(query.order_by(*(one.desc() for one in order)).limit(limit))
    found.sort(key=lambda one: (one.shown_at, one.entry_id, one.id), reverse=True)
    return found[:limit]


def iter_chunks(which: MessageFilter, member: Member) -> Iterator[list[Message]]:
    """All chosen messages, newest first. No transaction is open between two chunks."""
    last: Message | None = None
    while True:
        found = messages(which, member, before=last, limit=EXPORT_CHUNK)
        yield found
        end_read()
        if len(found) < EXPORT_CHUNK:
            return
        last = found[-1]
        db.session.expunge_all()


def planned_count(member: Member) -> int:
    """How many entries the tab of planned ones has; at most `MAX_COUNT`."""
    which = MessageFilter(tab=Tab.PLANNED)
    parts = [_keys_query(which, member, part, None, MAX_COUNT) for part in _parts(which)]
    both = sa.union(*(sa.select(part.subquery()) for part in parts)).subquery()
    found = db.session.scalar(sa.select(sa.func.count()).select_from(both)) or 0
    return min(found, MAX_COUNT)


def writers(member: Member) -> list[Member]:
    """The members to filter by; empty if there is no choice."""
    if not visibility.sees_account(member):
        return []
    found = colleagues(member)
    return found if len(found) > 1 else []


def colleagues(member: Member) -> list[Member]:
    """All members of the account by name, the member among them."""
    query = sa.select(Member).where(Member.account_id == member.account_id)
    return list(db.session.scalars(query.order_by(Member.name, Member.id)))


def _keys(
    which: MessageFilter, member: Member, part: sa.ColumnElement[bool], last: Key | None, limit: int
) -> list[Key]:
    rows = db.session.execute(_keys_query(which, member, part, last, limit))
    return [(shown_at, entry_id) for shown_at, entry_id in rows]


def _keys_query(
    which: MessageFilter, member: Member, part: sa.ColumnElement[bool], last: Key | None, limit: int
) -> sa.Select[datetime, str]:
    """The places of the first entries after `last`."""
    key = (Message.shown_at, Message.entry_id)
    query = sa.select(*key).where(*_whose(which, member), *_fits(which, member), part)
    is_planned = which.tab == Tab.PLANNED
    if last is not None:
        here, there = sa.tuple_(*key), sa.tuple_(*last)
        query = query.where(here > there if is_planned else here < there)
    order = key if is_planned else [one.desc() for one in key]
    return query.distinct().order_by(*order).limit(limit)


def _parts(which: MessageFilter) -> list[sa.ColumnElement[bool]]:
    """Conditions of which one must hold. An index has the newest of one outcome, not of several, so
    that each is a query of its own."""
    is_planned = which.tab == Tab.PLANNED
    chosen = which.outcomes or (PLANNED if is_planned else ())
    if not chosen:
        return [sa.true()]
    if not is_planned:
        return [Message.outcome == outcome for outcome in chosen]
    ahead = (Message.outcome == Outcome.SCHEDULED, Message.shown_at > now())
    conditions = {Outcome.HELD: Message.outcome == Outcome.HELD, Outcome.SCHEDULED: sa.and_(*ahead)}
    return [conditions.get(outcome, sa.false()) for outcome in chosen]


def _whose(which: MessageFilter, member: Member) -> list[sa.ColumnElement[bool]]:
    """Conditions that hold for all messages of an entry, or for none."""
    found = [_by(which.by, member) if which.by else visibility.visible_messages(member)]
    if which.tab == Tab.ATTENTION:
        found.append(visibility.managed_messages(member))
    if which.number or which.extension or which.template:
        found.append(Message.account_id == member.account_id)  # the index begins with it
    if which.since:
        found.append(Message.shown_at >= which.since)
    if which.until:
        found.append(Message.shown_at < which.until)
    return found


def _by(sub: str, member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that a member of the account wrote them. It alone: beside one on
    the account, a database might choose an index of the whole account's."""
    whose = Member.account_id == member.account_id, Member.sub == sub
    writer_id = db.session.scalar(sa.select(Member.id).where(*whose))
    may_see = writer_id == member.id or visibility.sees_account(member)
    return Message.member_id == writer_id if writer_id and may_see else sa.false()


def _fits(which: MessageFilter, member: Member) -> list[sa.ColumnElement[bool]]:
    """Conditions that may hold for some messages of a batch."""
    found: list[sa.ColumnElement[bool]] = []
    if which.tab == Tab.ATTENTION:
        found.append(sa.and_(NEEDS_ATTENTION))
    if which.extension:
        found.append(Message.extension_id == which.extension)
    if which.template:
        found.append(sa.and_(Message.template_id == which.template, HAS_TEMPLATE))
    if which.reason:
        found.append(sa.and_(Message.reason == which.reason, HAS_REASON))
    if which.number:
        found.append(Message.recipient == which.number)
    if which.words:
        found.append(_mentions(which, member))
    return found


def _entries(keys: list[Key], which: MessageFilter, member: Member) -> list[Entry]:
    """What stands in the list under these keys, in their order."""
    ids = [entry_id for _, entry_id in keys]
    # By the id alone: with a condition on the batch, SQLite would read all that have none. A batch
    # has no message's id.
    single = sa.select(Message).where(Message.id.in_(ids))
    found = {one.id: Entry(one) for one in db.session.scalars(single)}
    found |= _batches([id_ for id_ in ids if id_ not in found], which, member)
    return [found[id_] for id_ in ids if id_ in found]


def _batches(ids: list[str], which: MessageFilter, member: Member) -> dict[str, Entry]:
    """The batches with what the filter shows of each. All of a batch have one writer, so that only
    conditions on single messages are asked for again."""
    if not ids:
        return {}
    fits = () if which.is_all else (*_fits(which, member), sa.or_(*_parts(which)))
    counts: dict[str, Counter[Outcome]] = {id_: Counter() for id_ in ids}
    totals: Counter[str] = Counter()
    first: dict[str, tuple[int, Outcome]] = {}
    for id_, outcome, is_at_its_time, count, position in _grouped(ids, fits):
        totals[id_] += count
        if is_at_its_time:
            counts[id_][outcome] = count
            first[id_] = min(first.get(id_, (position, outcome)), (position, outcome))
    if fits:
        totals = _totals(ids)
    leads = [
        sa.and_(Message.batch_id == id_, Message.outcome == outcome, Message.position == position)
        for id_, (position, outcome) in first.items()
    ]
    return {
        one.entry_id: Entry(one, counts[one.entry_id], totals[one.entry_id])
        for one in db.session.scalars(sa.select(Message).where(sa.or_(sa.false(), *leads)))
    }


def _totals(ids: list[str]) -> Counter[str]:
    query = sa.select(Message.batch_id, sa.func.count()).where(Message.batch_id.in_(ids))
    found = db.session.execute(query.group_by(Message.batch_id))
    return Counter({id_ or "": count for id_, count in found})


def _grouped(
    ids: list[str], fits: Collection[sa.ColumnElement[bool]]
) -> Iterator[tuple[str, Outcome, bool, int, int]]:
    """Batch, outcome, whether they stand at its time, how many of its messages are so, and the
    first position of these."""
    columns = (Message.batch_id, Message.outcome, Message.entry_id == Message.batch_id)
    query = sa.select(*columns, sa.func.count(), sa.func.min(Message.position))
    found = db.session.execute(query.where(Message.batch_id.in_(ids), *fits).group_by(*columns))
    return ((row[0] or "", row[1], row[2], row[3], row[4]) for row in found)


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
