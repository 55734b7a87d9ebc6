"""Reminders: a list's rows, each with a time of its own from its appointment.

When one goes is decided in `webapp/rules/reminders.py`; here that rule meets the cells of a list.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from webapp.messages.lists.check import Checked, CheckedRow, Problem, Timing
from webapp.messages.lists.reading import Column, Row
from webapp.rules import reminders
from webapp.rules.cells import Cell, cell_text
from webapp.rules.columns import SAMPLE_ROWS, heading_key
from webapp.rules.reminders import (
    Order,
    Planned,
    ReminderProblem,
    ReminderRefused,
    Rule,
    Unit,
)
from webapp.rules.times import MAX_AHEAD, now

MAX_TYPED_CHARACTERS = 60
_IS_SUCH_COLUMN = 0.5
_APPOINTMENT = re.compile(r"termin|appointment|datum|date|\b(tag|day)\b")
_BIRTHDAYS = ("geburtstag", "geburtsdatum", "gebdatum", "birthday", "dateofbirth", "dob")


@dataclass(frozen=True, slots=True)
class ListRule:
    """What was chosen on page 3: the columns with the appointment, and when its reminder goes."""

    day_column: str
    time_column: str
    """"": the time stands beside the day, or there is none."""
    order: Order | None
    """What comes first in days with slashes, if somebody said so."""
    rule: Rule

    @property
    def as_json(self) -> dict[str, Any]:
        rule = self.rule
        return {
            "day_column": self.day_column,
            "time_column": self.time_column,
            "order": self.order and self.order.value,
            "before": rule.before,
            "unit": rule.unit.value,
            "at": f"{rule.at:%H:%M}" if rule.at else "",
            "time_zone": rule.zone,
            "sundays": rule.sundays,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "ListRule":
        at = time.fromisoformat(kept["at"]) if kept["at"] else None
        return cls(
            kept["day_column"],
            kept["time_column"],
            Order(kept["order"]) if kept["order"] else None,
            Rule(kept["before"], Unit(kept["unit"]), at, kept["time_zone"], kept["sundays"]),
        )


# --- Columns ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TimeColumns:
    """The letters of the columns that hold a day, and of those that hold a clock time alone."""

    days: tuple[str, ...]
    clocks: tuple[str, ...]

    @property
    def all(self) -> set[str]:
        return {*self.days, *self.clocks}


def time_columns(columns: Sequence[Column], rows: Sequence[Row]) -> TimeColumns:
    """Those in which at least half of the first filled cells are such. Nobody is reminded of a
    birthday, going by its name."""
    found: dict[str, list[str]] = {"days": [], "clocks": []}
    for place, column in enumerate(columns):
        cells = [row.cells[place] for row in rows[:SAMPLE_ROWS] if row.cells[place] != ""]
        if heading_key(column.name) in _BIRTHDAYS:
            continue
        for kind, is_such in (("days", reminders.is_day), ("clocks", reminders.is_clock)):
            if cells and sum(map(is_such, cells)) >= _IS_SUCH_COLUMN * len(cells):
                found[kind].append(column.letter)
    return TimeColumns(tuple(found["days"]), tuple(found["clocks"]))


def guess(columns: Sequence[Column], rows: Sequence[Row]) -> tuple[str, str]:
    """The letters of the columns with the appointment's day and time: of those with days the first
    that is called so. Each may be "": there is none, or the time stands beside the day."""
    found = time_columns(columns, rows)
    named = [one.letter for one in columns if _APPOINTMENT.search(one.name.casefold())]
    day = next((one for one in found.days if one in named), next(iter(found.days), ""))
    cells = _cells(day, columns, rows)
    is_beside = any(_read(cell, "", Order.DAY_MONTH) for cell in cells)
    return day, "" if is_beside or not day else next(iter(found.clocks), "")


def needs_order(rule: ListRule, columns: Sequence[Column], rows: Iterable[Row]) -> bool:
    """Whether somebody has to say what comes first in the days."""
    return rule.order is None and reminders.needs_order(_cells(rule.day_column, columns, rows))


def has_times(rule: ListRule, columns: Sequence[Column], rows: Iterable[Row]) -> bool:
    """Whether any row says at what time its appointment is."""
    return any(
        _read(*cells, rule.order or Order.DAY_MONTH) for cells in _pairs(rule, columns, rows)
    )


def _read(day: Cell, clock: Cell, order: Order) -> time | None:
    try:
        return reminders.read_appointment(day, clock, order).clock
    except ReminderRefused:
        return None


def _cells(letter: str, columns: Sequence[Column], rows: Iterable[Row]) -> list[Cell]:
    places = [place for place, column in enumerate(columns) if column.letter == letter]
    return [row.cells[places[0]] for row in rows] if places else []


def _pairs(
    rule: ListRule, columns: Sequence[Column], rows: Iterable[Row]
) -> Iterable[tuple[Cell, Cell]]:
    """The cells of day and time of each row."""
    each = list(rows)
    days = _cells(rule.day_column, columns, each)
    has_own = rule.time_column not in ("", rule.day_column)
    clocks = _cells(rule.time_column, columns, each) if has_own else [""] * len(each)
    return zip(days, clocks, strict=True)


# --- Each row ---------------------------------------------------------------------------------


def with_times(
    checked: Checked,
    rule: ListRule,
    columns: Sequence[Column],
    rows: Sequence[Row],
    *,
    quiet: tuple[time, time] | None,
) -> Checked:
    """The rows with when each goes, or with what is wrong with its appointment.

    A row's answer depends on no other row, except that all of the column tell what comes first in a
    day with slashes.
    """
    look = _Look(rule, columns, rows, quiet)
    cells = {row.number: pair for row, pair in zip(rows, _pairs(rule, columns, rows), strict=True)}
    return replace(
        checked, rows=tuple(look.at(row, *cells.get(row.number, ("", ""))) for row in checked.rows)
    )


class _Look:
    """Decides about each pair of cells once."""

    def __init__(
        self,
        rule: ListRule,
        columns: Sequence[Column],
        rows: Sequence[Row],
        quiet: tuple[time, time] | None,
    ) -> None:
        self._rule = rule
        self._order = rule.order or reminders.order_of(_cells(rule.day_column, columns, rows))
        self._quiet = quiet
        self._now = now()
        self._name = next(
            (one.name or one.letter for one in columns if one.letter == rule.day_column), ""
        )
        self._known: dict[tuple[Cell, Cell], Timing | Problem] = {}

    def at(self, row: CheckedRow, day: Cell, clock: Cell) -> CheckedRow:
        if (day, clock) not in self._known:
            self._known[day, clock] = self._decide(day, clock)
        found = self._known[day, clock]
        if isinstance(found, Problem):
            return replace(row, problem=row.problem or found)
        return replace(row, when=found)

    def _decide(self, day: Cell, clock: Cell) -> Timing | Problem:
        if day == "":
            return Problem("missing", self._rule.day_column, detail=self._name)
        rule = self._rule.rule
        try:
            appointment = reminders.read_appointment(day, clock, self._order)
            planned = reminders.plan(appointment, rule, now=self._now, quiet=self._quiet)
        except ReminderRefused as refused:
            return self._refused(refused, day, clock)
        return Timing(planned.send_at, planned.not_after, planned.moved)

    def _refused(self, refused: ReminderRefused, day: Cell, clock: Cell) -> Timing | Problem:
        planned = refused.planned
        if refused.problem == ReminderProblem.TOO_FAR:
            return _too_far(planned)
        if refused.problem == ReminderProblem.ALREADY_DUE and planned:
            can_go = reminders.can_go_now(
                planned.not_after, self._rule.rule, now=self._now, quiet=self._quiet
            )
            return Timing(None, planned.not_after, reason="late", can_go=can_go)
        is_time = refused.problem == ReminderProblem.TIME_UNREADABLE
        column = self._rule.time_column if is_time else ""
        typed = cell_text(clock if is_time and clock != "" else day)
        return Problem(
            refused.problem.value, column or self._rule.day_column, typed[:MAX_TYPED_CHARACTERS]
        )


def _too_far(planned: Planned | None) -> Timing:
    if planned is None:
        return Timing(None, None, reason="too_far", can_go=False)
    return Timing(planned.send_at, planned.not_after, reason="too_far", can_go=False)


# --- All together -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DayOfSending:
    day: date
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Summary:
    """When the reminders of a list go."""

    days: tuple[DayOfSending, ...]
    now_count: int
    """How many go at once."""
    moved: Mapping[str, int]
    """How many go earlier, because of the night or a Sunday."""
    too_far_from: date | None
    """From when on the first of those that are too far away can be planned."""

    @property
    def first_at(self) -> datetime | None:
        return min((one.first for one in self.days), default=None)

    @property
    def last_at(self) -> datetime | None:
        return max((one.last for one in self.days), default=None)


def summary(
    sendable: Iterable[CheckedRow], left_out: Iterable[tuple[CheckedRow, str]], zone: str
) -> Summary:
    """`zone`: that of the days."""
    timings = [row.when for row in sendable if row.when]
    days: dict[date, list[datetime]] = {}
    home = ZoneInfo(zone)
    for one in timings:
        if one.send_at:
            days.setdefault(one.send_at.astimezone(home).date(), []).append(one.send_at)
    far = [
        row.when.send_at
        for row, reason in left_out
        if reason == "too_far" and row.when and row.when.send_at
    ]
    return Summary(
        tuple(DayOfSending(day, len(at), min(at), max(at)) for day, at in sorted(days.items())),
        sum(one.send_at is None for one in timings),
        Counter(one.moved.value for one in timings if one.moved),
        (min(far) - MAX_AHEAD).astimezone(home).date() if far else None,
    )
