"""Planned times: which exist, which exist twice, how far ahead one may plan. And the clocks."""

import enum
import re
import time as clock
import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from importlib import resources

_STEADY = getattr(clock, "CLOCK_BOOTTIME", clock.CLOCK_MONOTONIC)
MIN_AHEAD = timedelta(minutes=2)
MAX_AHEAD = timedelta(days=30)
"""The limit of sipgate's own library."""

_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?", re.ASCII)
# Names without a place: the server's own zone, and "not yet set".
_PLACELESS_ZONES = frozenset({"localtime", "Factory"})


class TimeProblem(enum.StrEnum):
    UNREADABLE = "unreadable"
    UNKNOWN_ZONE = "unknown_zone"
    DOES_NOT_EXIST = "does_not_exist"
    EXISTS_TWICE = "exists_twice"
    TOO_SOON = "too_soon"
    TOO_FAR = "too_far"


class TimeRefused(ValueError):
    """`choices`, for EXISTS_TWICE only: the first and the second such time, aware, in the zone."""

    def __init__(self, problem: TimeProblem, choices: tuple[datetime, ...] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.choices = choices


def parse_send_at(typed: str, zone_name: str, fold: str, now: datetime) -> datetime:
    """Return the UTC second that a `datetime-local` field means, or raise TimeRefused.

    `fold` is "0" or "1", the first or second of two equal clock times; anything else makes such a
    time a question. `now` is aware.
    """
    if zone_name not in zone_names():
        raise TimeRefused(TimeProblem.UNKNOWN_ZONE)
    local = _resolved(_clock_time(typed), zoneinfo.ZoneInfo(zone_name), fold)
    try:
        send_at = local.astimezone(UTC)
    except OverflowError:
        # On the first or the last day of the calendar.
        problem = TimeProblem.TOO_SOON if local.year < now.year else TimeProblem.TOO_FAR
        raise TimeRefused(problem) from None
    if send_at < now + MIN_AHEAD:
        raise TimeRefused(TimeProblem.TOO_SOON)
    if send_at > now + MAX_AHEAD:
        raise TimeRefused(TimeProblem.TOO_FAR)
    return send_at


def is_within(moment: time, span: tuple[time, time]) -> bool:
    """Whether a time of day lies in a span, which may pass midnight and excludes its end."""
    start, end = span
    if start <= end:
        return start <= moment < end
    return moment >= start or moment < end


@cache
def zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - _PLACELESS_ZONES


def zones_to_offer(home: str) -> list[str]:
    """The zones for a list, UTC first: on the home continent all that have differed since 1970,
    elsewhere all that differ from now on (tzdb's `zone1970.tab` and `zonenow.tab`). No aliases.
    """
    continent = home.partition("/")[0] + "/"
    near = {zone for zone in _listed("zone1970.tab") if zone.startswith(continent)}
    return ["UTC", *sorted((near | _listed("zonenow.tab")) & zone_names())]


@cache
def _listed(table: str) -> frozenset[str]:
    """The third column of one of tzdb's tables: its zones."""
    text = resources.files("tzdata").joinpath("zoneinfo", table).read_text("utf-8")
    rows = (line.split("\t") for line in text.splitlines() if line[:1] not in ("", "#"))
    return frozenset(row[2] for row in rows)


def _clock_time(typed: str) -> datetime:
    text = typed.strip()
    if not _LOCAL_TIME.fullmatch(text):
        raise TimeRefused(TimeProblem.UNREADABLE)
    try:
        return datetime.fromisoformat(text).replace(microsecond=0)
    except ValueError:
        raise TimeRefused(TimeProblem.UNREADABLE) from None


def _resolved(clock_time: datetime, zone: zoneinfo.ZoneInfo, fold: str) -> datetime:
    """Return the one time meant; around a change of clocks the two folds differ (PEP 495)."""
    first = clock_time.replace(tzinfo=zone, fold=0)
    second = clock_time.replace(tzinfo=zone, fold=1)
    if _offset(first) < _offset(second):
        raise TimeRefused(TimeProblem.DOES_NOT_EXIST)
    if _offset(first) > _offset(second) and fold not in {"0", "1"}:
        raise TimeRefused(TimeProblem.EXISTS_TWICE, (first, second))
    return second if fold == "1" else first


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)


def day_begins(day: date, zone_name: str) -> datetime:
    """The first moment of a day in a zone, aware."""
    return datetime.combine(day, time(), zoneinfo.ZoneInfo(zone_name))


def now() -> datetime:
    """The one clock: aware, UTC."""
    return datetime.now(UTC)


def steady_s() -> float:
    """Seconds of a clock that is never set. Where there is one, it also counts suspended time."""
    return clock.clock_gettime(_STEADY)
