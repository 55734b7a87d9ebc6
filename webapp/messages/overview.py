"""How many messages there were on each day, by outcome, member, extension, template and reason.

A day is one of `DEFAULT_TIME_ZONE`, and a message belongs to the day at which it stands in the
list, so that every figure is one that the list shows under a filter.

A million messages cannot be counted while somebody waits (2.2 s for a year, measured). Counters
kept up to date with each message would be one more write on the path of every send, and with 16
lanes on PostgreSQL a row that all of them wait for. So days are counted whole, once each, after
they have ended; today, and a day not counted yet, is counted from the messages through an index.

A count is never false, because it is gone before its day differs: triggers drop the day in the
transaction that adds, changes or erases one of its messages (`webapp/database/triggers.py`). The
counting itself lets nobody change a message between its look and its commit: SQLite has one writer,
and on PostgreSQL it locks the table for the milliseconds that one day takes. It gives up at once if
it must wait for that; the day is counted from its messages until a later minute.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database import (
    DATABASE_ERRORS,
    begin_snapshot,
    db,
    end_read,
    insert,
    transaction,
    triggers,
)
from webapp.database.models import CountedDay, DayCount, Member, Message
from webapp.messages import sweep, visibility
from webapp.rules.outcomes import BILLED, Outcome
from webapp.rules.times import day_begins, now

EVERYBODY = 0
"""The `member_id` of an account's counts."""
MAX_DAYS = 366
"""That are shown at once."""
COUNTING_S = 5.0
"""How long the days of before are counted for, each minute."""
WRITING_S = 0.02
"""How long nobody else can write, unless a single day takes longer."""
PATIENCE_MS = 100
"""How long counting waits for a lock, for which every sender would have to wait behind it."""
ONE_DAY = timedelta(days=1)

log = logging.getLogger(__name__)


class By(StrEnum):
    """What messages are counted by."""

    OUTCOME = Message.outcome.key
    MEMBER = "member"
    EXTENSION = "extension"
    TEMPLATE = "template"
    REASON = "reason"


@dataclass(slots=True)
class Tally:
    """Messages, and of those that sipgate took or may have taken, the segments."""

    messages: int = 0
    segments: int = 0

    def add(self, messages: int, segments: int) -> None:
        self.messages += messages
        self.segments += segments


Tallies = dict[str, Tally]


@dataclass(slots=True)
class Figures:
    """Counts of a day or of several, by each of `By`. A key is an outcome, a reason or an id; a
    message without a template or a reason is in neither."""

    by: dict[By, Tallies] = field(default_factory=lambda: {by: defaultdict(Tally) for by in By})

    def add(self, other: "Figures") -> None:
        for by, tallies in other.by.items():
            for key, tally in tallies.items():
                self.by[by][key].add(tally.messages, tally.segments)

    def of(self, *outcomes: Outcome) -> Tally:
        """Of all messages with one of these outcomes, or with any if none is given."""
        found = Tally()
        for outcome, tally in self.by[By.OUTCOME].items():
            if not outcomes or outcome in outcomes:
                found.add(tally.messages, tally.segments)
        return found

    def stored(self) -> dict[str, Any]:
        """As JSON holds it; `read` is the way back."""
        return {
            by.value: {key: [one.messages, one.segments] for key, one in tallies.items()}
            for by, tallies in self.by.items()
        }

    @classmethod
    def read(cls, stored: dict[str, Any]) -> "Figures":
        found = cls()
        for by, tallies in stored.items():
            found.by[By(by)].update((key, Tally(*tally)) for key, tally in tallies.items())
        return found


@dataclass(frozen=True, slots=True)
class Day:
    """A day of the deployment's zone and what was counted on it."""

    on: date
    figures: Figures
    is_counted: bool
    """Whether it stood counted; else its messages were counted just now."""


Bounds = tuple[datetime, datetime]


def today() -> date:
    return now().astimezone(ZoneInfo(settings.default_time_zone)).date()


def bounds_of(day: date) -> Bounds:
    """Its first moment, and that of the next day."""
    zone = settings.default_time_zone
    # In UTC: around a change of clocks, equal times of two zones do not compare as equal (PEP 495).
    begins = (day_begins(one, zone).astimezone(UTC) for one in (day, day + ONE_DAY))
    return next(begins), next(begins)


def total(days: Iterable[Day]) -> Figures:
    found = Figures()
    for day in days:
        found.add(day.figures)
    return found


def days(member: Member, first: date, last: date) -> list[Day]:
    """Each day from `first` to `last`, of the messages that the member may see, all as they are at
    one moment."""
    sweep.settle_stale()
    whose = EVERYBODY if visibility.sees_account(member) else member.id
    begin_snapshot()
    counted = _counted(member.account_id, whose, bounds_of(first)[0], bounds_of(last)[1])
    found = [_day(day, member, whose, counted) for day in _from_to(first, last)]
    end_read()
    return found


def count_ended_days() -> None:
    """Count the days that have ended and do not stand counted, the latest first, for a while.

    Also forgets days that are too old to be shown.
    """
    ends_at = time.monotonic() + COUNTING_S
    last = today() - ONE_DAY
    first = last - min(settings.retention_days, MAX_DAYS) * ONE_DAY
    accounts = list(db.session.scalars(sa.select(Member.account_id).distinct()))
    for account_id in accounts:
        left = _uncounted(account_id, first, last)
        while left:
            count = 0 if time.monotonic() > ends_at else _count_some(account_id, left)
            if not count:
                return
            left = left[count:]
    _forget_before(bounds_of(first)[0])


def _from_to(first: date, last: date) -> Iterator[date]:
    return (first + n * ONE_DAY for n in range((last - first).days + 1))


def _day(day: date, member: Member, whose: int, counted: dict[Bounds, Any]) -> Day:
    bounds = bounds_of(day)
    if bounds in counted:
        return Day(day, Figures.read(counted[bounds] or {}), True)
    rows = _grouped(visibility.visible_messages(member), bounds)
    return Day(day, _figures(rows), False)


def _counted(account_id: str, whose: int, since: datetime, until: datetime) -> dict[Bounds, Any]:
    """The counts that stand, by the bounds of their day; None for a day without a message."""
    day, count = CountedDay, DayCount
    is_of_day = sa.and_(
        count.account_id == day.account_id,
        count.member_id == whose,
        count.until == day.until,
        count.since == day.since,
    )
    query = (
        sa.select(day.since, day.until, count.counts)
        .join(count, is_of_day, isouter=True)
        .where(day.account_id == account_id, day.until > since, day.until <= until)
    )
    return {(begin, end): counts for begin, end, counts in db.session.execute(query)}


def _grouped(whose: sa.ColumnElement[bool], bounds: Bounds) -> list[Any]:
    """Member, extension, template, reason, outcome, how many messages, how many segments."""
    columns = (
        Message.member_id,
        Message.extension_id,
        Message.template_id,
        Message.reason,
        Message.outcome,
    )
    since, until = bounds
    query = (
        sa.select(*columns, sa.func.count(), sa.func.sum(Message.segment_count))
        .where(whose, Message.shown_at >= since, Message.shown_at < until)
        .group_by(*columns)
    )
    return list(db.session.execute(query))


def _figures(rows: Iterable[Any]) -> Figures:
    found = Figures()
    for member_id, extension_id, template_id, reason, outcome, messages, segments in rows:
        billed = segments if outcome in BILLED else 0
        keys = {
            By.OUTCOME: outcome.value,
            By.MEMBER: str(member_id),
            By.EXTENSION: extension_id,
            By.TEMPLATE: template_id,
            By.REASON: reason,
        }
        for by, key in keys.items():
            if key:
                found.by[by][key].add(messages, billed)
    return found


# --- Counting days that have ended ----------------------------------------------------------------


def _uncounted(account_id: str, first: date, last: date) -> list[Bounds]:
    """The days on which the account may have messages and that do not stand counted."""
    since, until = bounds_of(first)[0], bounds_of(last)[1]
    begun = db.session.scalar(
        sa.select(sa.func.min(Message.shown_at)).where(
            Message.account_id == account_id, Message.shown_at >= since
        )
    )
    counted = _counted(account_id, EVERYBODY, since, until)
    end_read()
    if begun is None:
        return []
    ended = (bounds_of(day) for day in reversed(list(_from_to(first, last))))
    return [bounds for bounds in ended if bounds[1] > begun and bounds not in counted]


def _count_some(account_id: str, left: list[Bounds]) -> int:
    """Count the first of these days, as many as `WRITING_S` allows; returns how many. None of
    them if somebody is changing messages just now and does not make way."""
    try:
        with transaction() as session:
            _let_nobody_change(session)
            triggers.expect_counts(session, max(until for _, until in left))
            ends_at = time.monotonic() + WRITING_S
            count = 0
            while count < len(left) and (not count or time.monotonic() < ends_at):
                rows = _grouped(Message.account_id == account_id, left[count])
                _store(session, account_id, left[count], rows)
                count += 1
    except DATABASE_ERRORS:
        log.info("no day was counted: the database is busy")
        return 0
    return count


def _let_nobody_change(session: Session) -> None:
    """Until the commit. On SQLite, a transaction that writes has seen to it already."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(sa.text(f"SET LOCAL lock_timeout = {PATIENCE_MS}"))
        session.execute(sa.text("LOCK TABLE messages IN SHARE ROW EXCLUSIVE MODE"))


def _store(session: Session, account_id: str, bounds: Bounds, rows: list[Any]) -> None:
    since, until = bounds
    day: dict[str, Any] = {"account_id": account_id, "since": since, "until": until}
    for kind in (CountedDay, DayCount):
        session.execute(sa.delete(kind).filter_by(**day))
    counts = {EVERYBODY: _figures(rows)}
    for member_id in {row[0] for row in rows}:
        counts[member_id] = _figures(row for row in rows if row[0] == member_id)
    insert(session, CountedDay(**day))
    insert(
        session,
        *(DayCount(**day, member_id=one, counts=found.stored()) for one, found in counts.items()),
    )


def _forget_before(moment: datetime) -> None:
    """What cannot be asked for any more."""
    is_there = db.session.scalar(sa.select(sa.exists().where(DayCount.until <= moment)))
    if not is_there:
        end_read()
        return
    with transaction() as session:
        for kind in (CountedDay, DayCount):
            session.execute(sa.delete(kind).where(kind.until <= moment))
