"""The fields of the check page that say when each row's reminder goes."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flask_babel import gettext as _
from flask_babel import ngettext

from webapp.database.models import UploadedList
from webapp.i18n import sentences
from webapp.i18n.formats import day_title, when
from webapp.messages.lists import reminders, uploads
from webapp.messages.lists.check import Division
from webapp.messages.lists.reading import Column, Row
from webapp.messages.lists.reminders import ListRule, Summary
from webapp.rules.columns import SAMPLE_ROWS
from webapp.rules.reminders import MAX_BEFORE, Moved, Order, Rule, Unit
from webapp.rules.times import TimeProblem, TimeRefused, zone_names

FIELDS = ("rule", "day_column", "time_column", "order", "before", "unit", "at", "sundays")
DEFAULT_AT = "18:00"


@dataclass(slots=True)
class ReminderFields:
    """What the page shows, or was sent; right or wrong."""

    is_on: bool
    can_be_on: bool
    """Whether the list has a column with days."""
    day_column: str
    time_column: str
    order: str
    before: str
    unit: str
    at: str
    sundays: bool
    time_zone: str
    asks_order: bool = False
    """Whether somebody has to say what comes first in days with slashes."""
    rule: ListRule | None = None
    """What the fields mean, once they are checked."""
    errors: dict[str, str] = field(default_factory=dict)
    """By the id of the field."""


def saved_rule(kept: UploadedList) -> ListRule | None:
    """What was said of reminders when the list was last looked at; None if its column is gone."""
    saved = (kept.choices or {}).get("rule")
    letters = {column.letter for column in uploads.columns_of(kept)}
    if not saved or not {saved["day_column"], saved["time_column"]} <= letters | {""}:
        return None
    return ListRule.from_json(saved)


def saved_fields(kept: UploadedList) -> ReminderFields:
    """The fields as they were saved, or as they are guessed."""
    columns, rule = uploads.columns_of(kept), saved_rule(kept)
    if rule is None:
        day, clock = reminders.guess(columns, uploads.rows_of(kept, SAMPLE_ROWS))
        return ReminderFields(
            is_on=False,
            can_be_on=bool(day),
            day_column=day,
            time_column=clock,
            order="",
            before="1",
            unit=Unit.DAYS,
            at=DEFAULT_AT,
            sundays=False,
            time_zone="",
        )
    saved = rule.as_json
    return ReminderFields(
        is_on=True,
        can_be_on=True,
        day_column=rule.day_column,
        time_column=rule.time_column,
        order=saved["order"] or "",
        before=str(saved["before"]),
        unit=saved["unit"],
        at=saved["at"],
        sundays=saved["sundays"],
        time_zone=saved["time_zone"],
        asks_order=bool(rule.order),
        rule=rule,
    )


def typed_fields(kept: UploadedList, form: Mapping[str, str]) -> ReminderFields:
    """The fields as a form has them. One without `rule=column` asks for no reminders."""
    if form.get("rule") != "column":
        fields = saved_fields(kept)
        fields.is_on, fields.rule = False, None
        return fields
    fields = ReminderFields(
        is_on=True,
        can_be_on=True,
        day_column=form.get("day_column", ""),
        time_column=form.get("time_column", ""),
        order=form.get("order", ""),
        before=form.get("before", "").strip(),
        unit=form.get("unit", Unit.DAYS),
        at=form.get("at", "").strip(),
        sundays=bool(form.get("sundays")),
        time_zone=form.get("time_zone", ""),
    )
    _check(fields, uploads.columns_of(kept), uploads.rows_of(kept))
    return fields


def _check(fields: ReminderFields, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Fill in `rule`, or `errors`."""
    _check_each(fields, {column.letter for column in columns})
    if fields.errors:
        return
    found = _meant(fields)
    is_needed = reminders.needs_order(found, columns, rows)
    fields.asks_order = is_needed or found.order is not None
    if is_needed:
        fields.errors["order"] = _("Say what comes first in these days: the day or the month.")
    if found.rule.at is None and not reminders.has_times(found, columns, rows):
        _ask_for_time(fields, found)
    if not fields.errors:
        fields.rule = found


def _check_each(fields: ReminderFields, letters: Set[str]) -> None:
    if fields.day_column not in letters:
        fields.errors["day_column"] = _("Choose the column with the day of the appointment.")
    if fields.time_column not in letters | {""}:
        fields.errors["time_column"] = _("Choose the column with the time of the appointment.")
    if _number(fields.before) is None:
        fields.errors["before"] = _("Enter how many days or hours before: 0 to 30.")
    if fields.unit not in set(Unit):
        fields.errors["unit"] = _("Choose days or hours.")
    if fields.at and _clock(fields.at) is None:
        fields.errors["at"] = _("Enter a time, such as 18:00.")
    if fields.time_zone not in zone_names():
        unknown = TimeRefused(TimeProblem.UNKNOWN_ZONE)
        fields.errors["time_zone"] = sentences.time_problem(unknown)


def _meant(fields: ReminderFields) -> ListRule:
    unit = Unit(fields.unit)
    rule = Rule(
        before=_number(fields.before) or 0,
        unit=unit,
        at=_clock(fields.at) if unit == Unit.DAYS else None,
        zone=fields.time_zone,
        sundays=fields.sundays,
    )
    order = Order(fields.order) if fields.order in set(Order) else None
    return ListRule(fields.day_column, fields.time_column, order, rule)


def _ask_for_time(fields: ReminderFields, found: ListRule) -> None:
    if found.rule.unit == Unit.DAYS:
        fields.errors["at"] = _("Enter at what time they go: the list has no times.")
    else:
        fields.errors["time_column"] = _("Choose the column with the time of the appointment.")


def _number(typed: str) -> int | None:
    """Days or hours; None for what is none, or too many."""
    is_number = typed.isascii() and typed.isdecimal() and len(typed) < 3
    return int(typed) if is_number and int(typed) <= MAX_BEFORE else None


def _clock(typed: str) -> time | None:
    """`18:00`, as a browser's field for a time sends it, or a person types it."""
    hours, _colon, minutes = typed.partition(":")
    is_plain = hours.isdecimal() and minutes[:2].isdecimal() and len(hours) < 3
    if not is_plain or len(minutes) not in (2, 5):
        return None
    try:
        return time.fromisoformat(f"{int(hours):02}:{minutes}").replace(second=0)
    except ValueError:
        return None


# --- What is told -----------------------------------------------------------------------------


def shown(fields: ReminderFields, division: Division) -> dict[str, Any]:
    """What the page shows of the reminders: when they go, and what was moved."""
    if fields.rule is None:
        return {"times": None, "days": [], "time_notes": []}
    found = reminders.summary(division.sendable, division.left_out, fields.rule.rule.zone)
    home = ZoneInfo(fields.rule.rule.zone)
    days = [
        (one.day, one.count, *(f"{at.astimezone(home):%H:%M}" for at in (one.first, one.last)))
        for one in found.days
    ]
    return {"times": found, "days": days, "time_notes": _notes(found)}


def _notes(found: Summary) -> list[str]:
    notes = []
    if night := found.moved.get(Moved.NIGHT):
        notes.append(
            ngettext(
                "%(num)s goes earlier, so as not to wake anybody.",
                "%(num)s go earlier, so as not to wake anybody.",
                night,
            )
        )
    if sunday := found.moved.get(Moved.SUNDAY):
        notes.append(
            ngettext(
                "%(num)s goes on a Saturday instead of the Sunday.",
                "%(num)s go on a Saturday instead of the Sunday.",
                sunday,
            )
        )
    if found.too_far_from:
        notes.append(
            _(
                "Send the list again from %(day)s on: then more of them can be planned.",
                day=day_title(found.too_far_from),
            )
        )
    return notes


def appointment(not_after: datetime, zone: str) -> str:
    """The appointment that a reminder is for: without a clock time, its day."""
    local = not_after.astimezone(ZoneInfo(zone))
    if local.time() == time():
        return day_title(local.date() - timedelta(days=1))
    return when(not_after, zone)


def sentence(found: Summary, zone: str) -> str:
    """In one sentence: when the first goes, and the last."""
    parts = []
    if found.now_count:
        parts.append(ngettext("%(num)s goes at once.", "%(num)s go at once.", found.now_count))
    if found.first_at and found.last_at and found.first_at != found.last_at:
        parts.append(
            _(
                "The first reminder goes on %(first)s, the last on %(last)s.",
                first=when(found.first_at, zone),
                last=when(found.last_at, zone),
            )
        )
    elif found.first_at:
        parts.append(_("The reminders go on %(at)s.", at=when(found.first_at, zone)))
    return " ".join(parts)
