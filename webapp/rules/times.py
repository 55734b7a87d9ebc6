"""The rules of planned times: which exist, which exist twice, and how far ahead one may plan.

Pure functions over strings and aware times.
"""

import enum
import re
import time as clock
import zoneinfo
from datetime import UTC, datetime, time, timedelta
from functools import cache
from importlib import resources

_STEADY = getattr(clock, "CLOCK_BOOTTIME", clock.CLOCK_MONOTONIC)
MIN_AHEAD = timedelta(minutes=2)
MAX_AHEAD = timedelta(days=30)
"""sipgate's own library takes no time further ahead."""

_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?", re.ASCII)
# Names that say nothing about where somebody is: the server's own zone, and "not yet set".
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
        # The first or the last day of the calendar.
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
    """The zones worth a place in a list: near home each clock since 1970, elsewhere each of now.

    Aliases are left out, and so are zones of other continents that show the same time from now on
    as a better known one (tzdb's own `zone1970.tab` and `zonenow.tab`). UTC comes first.
    """
    continent = home.partition("/")[0] + "/"
    near = {zone for zone in _listed("zone1970.tab") if zone.startswith(continent)}
    return ["UTC", *sorted((near | _listed("zonenow.tab")) & zone_names())]


@cache
def _listed(table: str) -> frozenset[str]:
    """The zones that one of tzdb's tables names, in its third column."""
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


def now() -> datetime:
    """The one clock: aware, UTC."""
    return datetime.now(UTC)


def steady_s() -> float:
    """A clock in seconds that nobody sets, and that goes on while the machine is suspended, where
    there is one."""
    return clock.clock_gettime(_STEADY)
