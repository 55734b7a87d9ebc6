"""How often somebody may do something: one count for all processes and hosts.

A span begins with the first request, and lasts as long as the limit says; a request in it is let in
while fewer than the limit were, and the first one after it begins the next. Who comes is kept as a
keyed hash, and no longer than the span.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database.models import RateCount
from webapp.database.session import db, table, transaction
from webapp.database.types import UTCDateTime
from webapp.rules.keys import Purpose, derived
from webapp.rules.times import now

CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two hosts may be apart, or somebody have waited for the other's write."""
PERIODS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Limit:
    """So many requests in a span."""

    count: int
    span: timedelta

    @classmethod
    def parse(cls, text: str) -> "Limit":
        """`30/minute`."""
        count, _, period = text.partition("/")
        return cls(int(count), timedelta(seconds=PERIODS[period]))


class TooOften(Exception):
    """The request is not let in, and was not counted."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        """After so many it may be tried again."""


def let_in(kind: str, who: str, limit: Limit) -> None:
    """Count a request; raise `TooOften` where `who` has had as many as the limit allows."""
    at, key = now(), {"of": kind, "by": _hashed(who)}
    # Who comes too often must not take the writers' turn as often.
    for count, ends_at in db.session.execute(_FIND, key):
        if count >= limit.count and at < ends_at <= at + limit.span + CLOCKS_APART:
            raise TooOften(min(ends_at - at, limit.span).total_seconds())
    ends = {"end": at + limit.span, "latest": at + limit.span + CLOCKS_APART}
    with transaction() as session:
        said = {**key, **ends, "at": at, "limit": limit.count}
        if session.scalar(_counting(session.get_bind().dialect.name), said) is None:
            raise TooOften(limit.span.total_seconds())  # somebody took the last place meanwhile


def forget_ended(session: Session) -> None:
    session.execute(sa.delete(RateCount).where(RateCount.ends_at <= now()))


_FIND = sa.select(RateCount.count, RateCount.ends_at).where(
    RateCount.kind == sa.bindparam("of"), RateCount.who == sa.bindparam("by")
)


@cache
def _counting(dialect: str) -> sa.Executable:
    """One statement, so that two requests are never counted as one; no row where there is no room.

    A span that ends much later than one begun now was begun by a clock that was ahead: it counts
    as ended.
    """
    at, end, latest = (sa.bindparam(one, type_=UTCDateTime) for one in ("at", "end", "latest"))
    new = {"kind": sa.bindparam("of"), "who": sa.bindparam("by"), "count": 1, "ends_at": end}
    counts = table(RateCount).c
    has_ended = sa.or_(counts.ends_at <= at, counts.ends_at > latest)
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table(RateCount))
    counting: sa.Executable = (
        insert.values(new)
        .on_conflict_do_update(
            index_elements=["kind", "who"],
            set_={
                "count": sa.case((has_ended, 1), else_=counts["count"] + 1),
                "ends_at": sa.case((has_ended, end), else_=counts.ends_at),
            },
            where=sa.or_(has_ended, counts["count"] < sa.bindparam("limit", type_=sa.Integer)),
        )
        .returning(counts["count"])
    )
    return counting


def _hashed(who: str) -> str:
    key = derived(settings.secret_key, Purpose.RATE)[0]
    return hmac.new(key.encode(), who.encode(), hashlib.sha256).hexdigest()
