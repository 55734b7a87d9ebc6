"""The record of who did what, for the administrators of an account; and its people.

It reads the events that every change writes in its own transaction (`webapp/database/audit.py`),
the latest first, in pages by keyset: each filter has an index.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from webapp.database import db, end_read
from webapp.database.audit import AuditEvent
from webapp.database.models import Batch, BrowserSession, Event, Member, Message, TokenSet
from webapp.messages import history, visibility
from webapp.rules.outcomes import WAITING

EXPORT_CHUNK = 500
MAX_DIGITS = 10
"""That an id of a member may have, so that the database's integers hold it."""
Key = tuple[datetime, int]
"""An entry's place: when, and its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFilter:
    """Which entries are shown. An empty field excludes none."""

    by: str = ""
    """The `sub` (`w0`) of the member who did it."""
    kinds: tuple[AuditEvent, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Somebody did something."""

    id: int
    at: datetime
    kind: AuditEvent
    by: str
    """Their name."""
    note: str
    message_id: str | None
    batch_id: str | None
    is_there: bool
    """Whether the batch, or else the message, can still be shown."""

    @property
    def key(self) -> str:
        """Its place, as in addresses."""
        return f"{self.at.isoformat()}~{self.id}"


@dataclass(frozen=True, slots=True)
class Person:
    """A member of the account who has signed in."""

    member: Member
    sign_ins: int
    """How many devices they are signed in on."""
    waiting: int
    """How many of their messages wait."""

    @property
    def manages_account(self) -> bool:
        return visibility.manages_account(self.member)


def page(which: RecordFilter, member: Member, *, before: Key | None, limit: int) -> list[Entry]:
    """The latest entries, or those before a place."""
    query = (
        sa.select(Event, Member.name)
        .join(Member, Member.id == Event.member_id)
        .where(*_fits(which, member))
        .order_by(Event.at.desc(), Event.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(sa.tuple_(Event.at, Event.id) < sa.tuple_(*before))
    found = [(event, name) for event, name in db.session.execute(query)]
    kept = _still_there([event for event, _ in found])
    return [_entry(event, name, kept) for event, name in found]


def iter_chunks(which: RecordFilter, member: Member) -> Iterator[list[Entry]]:
    """All chosen entries, the latest first. No transaction is open between two chunks."""
    last: Key | None = None
    while True:
        found = page(which, member, before=last, limit=EXPORT_CHUNK)
        yield found
        end_read()
        if len(found) < EXPORT_CHUNK:
            return
        last = (found[-1].at, found[-1].id)
        db.session.expunge_all()


def people(member: Member) -> list[Person]:
    """Everybody of the account who has signed in, by name."""
    sign_ins = _counts(
        sa.select(BrowserSession.member_id, sa.func.count())
        .join(TokenSet, TokenSet.id == BrowserSession.token_set_id)
        .where(TokenSet.ended_at.is_(None))
        .group_by(BrowserSession.member_id)
    )
    waiting = _counts(
        sa.select(Message.member_id, sa.func.count())
        .where(Message.account_id == member.account_id, Message.outcome.in_(WAITING))
        .group_by(Message.member_id)
    )
    return [
        Person(one, sign_ins.get(one.id, 0), waiting.get(one.id, 0))
        for one in history.colleagues(member)
    ]


def find_person(member: Member, id_: str) -> Member | None:
    """A member of the same account, by the id in an address."""
    is_number = id_.isascii() and id_.isdigit() and len(id_) < MAX_DIGITS
    found = db.session.get(Member, int(id_), populate_existing=True) if is_number else None
    return found if found and found.account_id == member.account_id else None


def _fits(which: RecordFilter, member: Member) -> list[sa.ColumnElement[bool]]:
    found = [Event.account_id == member.account_id]
    if which.by:
        whose = Member.account_id == member.account_id, Member.sub == which.by
        writer_id = db.session.scalar(sa.select(Member.id).where(*whose))
        found.append(Event.member_id == (writer_id or 0))
    if which.kinds:
        found.append(Event.kind.in_(which.kinds))
    if which.since:
        found.append(Event.at >= which.since)
    if which.until:
        found.append(Event.at < which.until)
    return found


def _still_there(events: Collection[Event]) -> set[str]:
    """The ids of their messages and batches that were not erased."""
    messages = sa.select(Message.id).where(Message.id.in_({one.message_id for one in events}))
    batches = sa.select(Batch.id).where(Batch.id.in_({one.batch_id for one in events}))
    return set(db.session.scalars(messages)) | set(db.session.scalars(batches))


def _entry(event: Event, name: str, kept: Collection[str]) -> Entry:
    is_there = (event.batch_id or event.message_id) in kept
    return Entry(
        id=event.id,
        at=event.at,
        kind=AuditEvent(event.kind),
        by=name,
        note=event.note,
        message_id=event.message_id,
        batch_id=event.batch_id,
        is_there=is_there,
    )


def _counts(query: sa.Select[int, int]) -> dict[int, int]:
    return {member_id: count for member_id, count in db.session.execute(query)}
