"""When a reminder goes: so long before its appointment, never at night, never after it.

Pure: the same appointment under the same rule at the same moment has the same answer, whatever
stands around it. Nothing about a day or a clock time is guessed: what is unclear is refused.
"""

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from webapp.rules.cells import Cell
from webapp.rules.times import MAX_AHEAD, MIN_AHEAD, is_within

MAX_BEFORE = 30
"""Days or hours before the appointment."""
NOW_UNTIL = timedelta(hours=1)
"""A reminder whose time has passed may still go at once if its appointment is so far ahead."""
BEFORE_NIGHT = timedelta(minutes=15)
"""What would go at night goes so long before the night begins."""

_SUNDAY = 6
_FAR_OFF = timedelta(days=MAX_BEFORE) + MAX_AHEAD + timedelta(days=2)


class Unit(enum.StrEnum):
    DAYS = "days"
    """By the calendar: the same clock time, also where the clocks change in between."""
    HOURS = "hours"
    """By elapsed time."""


class Order(enum.StrEnum):
    """What comes first in a day that is written with slashes."""

    DAY_MONTH = "dm"
    MONTH_DAY = "md"


class Moved(enum.StrEnum):
    """Why a reminder goes earlier than its rule says."""

    NOT = ""
    NIGHT = "night"
    SUNDAY = "sunday"


class ReminderProblem(enum.StrEnum):
    DATE_UNREADABLE = "date_unreadable"
    DATE_ORDER = "date_order"  # nobody can tell, or what was said does not fit
    NO_SUCH_DAY = "no_such_day"
    TIME_UNREADABLE = "time_unreadable"  # or there is none, and the rule needs one
    DOES_NOT_EXIST = "does_not_exist"  # the clocks skip it
    APPOINTMENT_PAST = "appointment_past"
    AFTER_APPOINTMENT = "after_appointment"
    ALREADY_DUE = "already_due"
    TOO_FAR = "too_far"


@dataclass(frozen=True, slots=True)
class Rule:
    before: int
    unit: Unit
    at: time | None
    """For days only: the clock time; None: that of the appointment."""
    zone: str
    """Of the appointments and of `at`; an IANA name."""
    sundays: bool = False
    """Whether days may fall on a Sunday. If not, it is the Saturday before."""


@dataclass(frozen=True, slots=True)
class Appointment:
    day: date
    clock: time | None
    """None: some time on that day."""


@dataclass(frozen=True, slots=True)
class Planned:
    """When a reminder goes, and when it has no meaning any more; both aware, UTC."""

    send_at: datetime
    not_after: datetime
    """The appointment, or without a clock time the end of its day."""
    moved: Moved = Moved.NOT


class ReminderRefused(ValueError):
    """`planned`, for ALREADY_DUE and TOO_FAR only: when it would go."""

    def __init__(self, problem: ReminderProblem, planned: Planned | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.planned = planned


# --- When it goes -------------------------------------------------------------------------------


def plan(
    appointment: Appointment, rule: Rule, *, now: datetime, quiet: tuple[time, time] | None
) -> Planned:
    """Return when the reminder of an appointment goes, or raise ReminderRefused. `now` is aware.

    `quiet`: the hours in which nothing may go, by the clocks of the rule's zone.
    """
    _require_near(appointment.day, now)
    zone = ZoneInfo(rule.zone)
    not_after = _end_of(appointment, zone)
    if not_after <= now:
        raise ReminderRefused(ReminderProblem.APPOINTMENT_PAST)
    if appointment.clock and _is_skipped(
        datetime.combine(appointment.day, appointment.clock), zone
    ):
        raise ReminderRefused(ReminderProblem.DOES_NOT_EXIST)
    send_at, moved = _awake(_by_rule(appointment, rule, not_after, zone), rule, zone, quiet)
    if send_at > not_after:
        raise ReminderRefused(ReminderProblem.AFTER_APPOINTMENT)
    planned = Planned(send_at, not_after, moved)
    if send_at < now + MIN_AHEAD:
        raise ReminderRefused(ReminderProblem.ALREADY_DUE, planned)
    if send_at > now + MAX_AHEAD:
        raise ReminderRefused(ReminderProblem.TOO_FAR, planned)
    return planned


def can_go_now(
    not_after: datetime, rule: Rule, *, now: datetime, quiet: tuple[time, time] | None
) -> bool:
    """Whether a reminder whose time has passed may go at once: not at night, and the appointment
    is `NOW_UNTIL` ahead."""
    is_night = quiet is not None and is_within(now.astimezone(ZoneInfo(rule.zone)).time(), quiet)
    return not is_night and not_after >= now + NOW_UNTIL


def _require_near(day: date, now: datetime) -> None:
    """Refuse days that are far away before anything is computed: the calendar has ends."""
    today = now.date()
    if day < today - timedelta(days=2):
        raise ReminderRefused(ReminderProblem.APPOINTMENT_PAST)
    if day > today + _FAR_OFF:
        raise ReminderRefused(ReminderProblem.TOO_FAR)


def _end_of(appointment: Appointment, zone: ZoneInfo) -> datetime:
    if appointment.clock is None:
        return _instant(datetime.combine(appointment.day + timedelta(days=1), time()), zone)
    return _instant(datetime.combine(appointment.day, appointment.clock), zone)


def _by_rule(appointment: Appointment, rule: Rule, not_after: datetime, zone: ZoneInfo) -> datetime:
    clock = appointment.clock if rule.unit == Unit.HOURS else rule.at or appointment.clock
    if clock is None:
        raise ReminderRefused(ReminderProblem.TIME_UNREADABLE)
    if rule.unit == Unit.HOURS:
        return not_after - timedelta(hours=rule.before)
    return _instant(datetime.combine(appointment.day - timedelta(days=rule.before), clock), zone)


def _awake(
    moment: datetime, rule: Rule, zone: ZoneInfo, quiet: tuple[time, time] | None
) -> tuple[datetime, Moved]:
    """The same moment, or one before the night, or before the Sunday."""
    found = _before_night(moment, zone, quiet)
    local = found.astimezone(zone)
    if rule.unit == Unit.DAYS and not rule.sundays and local.weekday() == _SUNDAY:
        saturday = local.replace(tzinfo=None) - timedelta(days=1)
        return _before_night(_instant(saturday, zone), zone, quiet), Moved.SUNDAY
    return found, Moved.NOT if found == moment else Moved.NIGHT


def _before_night(moment: datetime, zone: ZoneInfo, quiet: tuple[time, time] | None) -> datetime:
    """`BEFORE_NIGHT` before the quiet hours that the moment lies in, else the moment itself."""
    if quiet is None or not _is_quiet(moment, zone, quiet):
        return moment
    local, begins = moment.astimezone(zone), quiet[0]
    day = local.date() if local.time() >= begins else local.date() - timedelta(days=1)
    found = _instant(datetime.combine(day, begins) - BEFORE_NIGHT, zone)
    while _is_quiet(found, zone, quiet):  # quiet hours that begin where the clocks change
        found -= timedelta(minutes=1)
    return found


def _is_quiet(moment: datetime, zone: ZoneInfo, quiet: tuple[time, time]) -> bool:
    return is_within(moment.astimezone(zone).time(), quiet)


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which a clock shows this time: of two, the first; one that is skipped moves on
    by what is skipped (PEP 495)."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def _is_skipped(wall: datetime, zone: ZoneInfo) -> bool:
    return _instant(wall, zone).astimezone(zone).replace(tzinfo=None, fold=0) != wall


# --- What a cell says ---------------------------------------------------------------------------

_DOTS = r"(?P<d>\d{1,2})\. ?(?P<m>\d{1,2})\. ?(?P<y>\d{4}|\d{2})"
_YEAR_FIRST = r"(?P<y>\d{4})([-/])(?P<m>\d{1,2})\2(?P<d>\d{1,2})"
_SLASHES = re.compile(r"(?P<one>\d{1,2})/(?P<two>\d{1,2})/(?P<y>\d{4}|\d{2})(?!\d)", re.ASCII)
_DAYS = tuple(re.compile(pattern + r"(?!\d)", re.ASCII) for pattern in (_DOTS, _YEAR_FIRST))
_BETWEEN = re.compile(r"\A(T|,? ?(um|at) |,? )", re.ASCII | re.IGNORECASE)
_CLOCK = re.compile(
    r"(?P<h>\d{1,2})([:.](?P<m>\d{2})(:(?P<s>\d{2}))?)? ?(?P<mark>uhr|h|am|pm|a\.m\.|p\.m\.)?",
    re.ASCII | re.IGNORECASE,
)


def read_appointment(day: Cell, clock: Cell = "", order: Order | None = None) -> Appointment:
    """Return what two cells say, or raise ReminderRefused. The day's cell may hold the time, too;
    the other one counts where it is filled."""
    found = _read_day(day, order)
    if clock == "":
        return found
    return Appointment(found.day, _read_clock_cell(clock))


def order_of(cells: Iterable[Cell]) -> Order | None:
    """What comes first in the days with slashes among these; None if they do not tell."""
    pairs = [pair for pair in map(_slashed, cells) if pair]
    is_day_first = any(one > 12 for one, _ in pairs)
    is_month_first = any(two > 12 for _, two in pairs)
    if is_day_first == is_month_first:
        return None
    return Order.DAY_MONTH if is_day_first else Order.MONTH_DAY


def needs_order(cells: Iterable[Cell]) -> bool:
    """Whether somebody has to say what comes first: there are such days, and they do not tell."""
    found = list(cells)
    is_open = any(pair and pair[0] != pair[1] for pair in map(_slashed, found))
    return is_open and order_of(found) is None


def is_day(cell: Cell) -> bool:
    """Whether the cell holds a day, in whatever order it is written."""
    try:
        _read_day(cell, Order.DAY_MONTH)
    except ReminderRefused as refused:
        return refused.problem not in (
            ReminderProblem.DATE_UNREADABLE,
            ReminderProblem.TIME_UNREADABLE,
        )
    return True


def is_clock(cell: Cell) -> bool:
    """Whether the cell holds a clock time and no day."""
    try:
        _read_clock_cell(cell)
    except ReminderRefused:
        return False
    return True


def _slashed(cell: Cell) -> tuple[int, int] | None:
    found = _SLASHES.match(_plain(cell)) if isinstance(cell, str) else None
    return (int(found["one"]), int(found["two"])) if found else None


def _plain(text: str) -> str:
    return " ".join(text.split())


def _read_day(cell: Cell, order: Order | None) -> Appointment:
    match cell:
        case datetime():
            return Appointment(cell.date(), cell.time())
        case date():
            return Appointment(cell, None)
        case str():
            return _read_day_text(_plain(cell), order)
    raise ReminderRefused(ReminderProblem.DATE_UNREADABLE)


def _read_day_text(text: str, order: Order | None) -> Appointment:
    found = next(filter(None, (pattern.match(text) for pattern in _DAYS)), None)
    if found:
        day, month = int(found["d"]), int(found["m"])
    elif found := _SLASHES.match(text):
        day, month = _in_order(int(found["one"]), int(found["two"]), order)
    else:
        raise ReminderRefused(ReminderProblem.DATE_UNREADABLE)
    year = int(found["y"]) + (2000 if len(found["y"]) == 2 else 0)
    try:
        read = date(year, month, day)
    except ValueError:
        raise ReminderRefused(ReminderProblem.NO_SUCH_DAY) from None
    rest = text[found.end() :]
    if not rest:
        return Appointment(read, None)
    between = _BETWEEN.match(rest)
    if between is None:
        raise ReminderRefused(ReminderProblem.DATE_UNREADABLE)
    return Appointment(read, _read_clock(rest[between.end() :]))


def _in_order(one: int, two: int, order: Order | None) -> tuple[int, int]:
    """(day, month)"""
    if one == two:
        return one, two
    if order is None:
        raise ReminderRefused(ReminderProblem.DATE_ORDER)
    day, month = (one, two) if order == Order.DAY_MONTH else (two, one)
    if month > 12 >= day:
        raise ReminderRefused(ReminderProblem.DATE_ORDER)
    return day, month


def _read_clock_cell(cell: Cell) -> time:
    match cell:
        case datetime():
            return cell.time()
        case time():
            return cell
        case str():
            return _read_clock(_plain(cell))
    raise ReminderRefused(ReminderProblem.TIME_UNREADABLE)


def _read_clock(text: str) -> time:
    """`14:30`, `14.30 Uhr`, `9 Uhr`, `2:30 PM`. A number alone is no clock time."""
    found = _CLOCK.fullmatch(text)
    if found is None or not (found["m"] or found["mark"]):
        raise ReminderRefused(ReminderProblem.TIME_UNREADABLE)
    hour, half = int(found["h"]), (found["mark"] or "")[:1].casefold()
    if half in ("a", "p"):
        if not 1 <= hour <= 12:
            raise ReminderRefused(ReminderProblem.TIME_UNREADABLE)
        hour = hour % 12 + (12 if half == "p" else 0)
    try:
        return time(hour, int(found["m"] or 0), int(found["s"] or 0))
    except ValueError:
        raise ReminderRefused(ReminderProblem.TIME_UNREADABLE) from None
