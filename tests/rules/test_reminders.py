"""Reminders: when one goes, and what a cell says of an appointment."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from webapp.rules.reminders import (
    NOW_UNTIL,
    Appointment,
    Moved,
    Order,
    Planned,
    ReminderProblem,
    ReminderRefused,
    Rule,
    Unit,
    can_go_now,
    is_clock,
    is_day,
    needs_order,
    order_of,
    plan,
    read_appointment,
)
from webapp.rules.times import MAX_AHEAD, MIN_AHEAD, is_within

NIGHT = (time(22), time(7))
BERLIN = "Europe/Berlin"
ZONES = (
    BERLIN,
    "America/New_York",
    "America/Santiago",  # the clocks change at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kolkata",  # never
    "America/Havana",  # at midnight, and at one
)
PROPERTY = settings(
    deadline=None,
    database=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.filter_too_much],
)


def at(text: str, zone: str = BERLIN) -> datetime:
    """The moment at which clocks show this, the first of two."""
    return datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone)).astimezone(UTC)


def rule(before: int, unit: str = "days", clock: str = "", **others: object) -> Rule:
    when = time.fromisoformat(clock) if clock else None
    return Rule(before, Unit(unit), when, **{"zone": BERLIN, **others})  # type: ignore[arg-type]


def appointment(text: str) -> Appointment:
    day, _, clock = text.partition(" ")
    return Appointment(date.fromisoformat(day), time.fromisoformat(clock) if clock else None)


def planned(when: str, chosen: Rule, now: str, quiet: tuple[time, time] | None = NIGHT) -> Planned:
    return plan(appointment(when), chosen, now=at(now), quiet=quiet)


def refusal(
    when: str, chosen: Rule, now: str, quiet: tuple[time, time] | None = NIGHT
) -> ReminderRefused:
    with pytest.raises(ReminderRefused) as refused:
        planned(when, chosen, now, quiet)
    return refused.value


# --- When it goes -------------------------------------------------------------------------------

TABLE = [
    # the rule, the appointment, when it goes
    (rule(1, clock="18:00"), "2026-11-24 14:30", "2026-11-23 18:00"),
    (rule(1), "2026-11-24 14:30", "2026-11-23 14:30"),
    (rule(24, "hours"), "2026-11-24 14:30", "2026-11-23 14:30"),
    (rule(0, clock="08:00"), "2026-11-24 14:30", "2026-11-24 08:00"),
    (rule(2, "hours"), "2026-11-24 14:30", "2026-11-24 12:30"),
    (rule(1, clock="18:00"), "2026-11-24", "2026-11-23 18:00"),
    (rule(0, clock="18:00"), "2026-11-24", "2026-11-24 18:00"),
    # at night: the evening before, a quarter of an hour before it is late
    (rule(3, "hours"), "2026-11-24 08:00", "2026-11-23 21:45"),
    (rule(1, clock="23:30"), "2026-11-24 14:30", "2026-11-23 21:45"),
    (rule(1, clock="06:59"), "2026-11-24 14:30", "2026-11-22 21:45", {"sundays": True}),
    (rule(1, clock="07:00"), "2026-11-24 14:30", "2026-11-23 07:00"),
    (rule(0, clock="22:00"), "2026-11-24 21:50", "2026-11-24 21:45"),
    # on a Sunday: the Saturday
    (rule(1, clock="18:00"), "2026-11-23 14:30", "2026-11-21 18:00"),
    (rule(1, clock="18:00"), "2026-11-23 14:30", "2026-11-22 18:00", {"sundays": True}),
    (rule(1, clock="06:00"), "2026-11-24 14:30", "2026-11-21 21:45"),
    (rule(24, "hours"), "2026-11-23 14:30", "2026-11-22 14:30"),
]


@pytest.mark.parametrize("row", TABLE)
def test_when_a_reminder_goes(row):
    chosen, when, goes, *others = row
    if others:
        chosen = Rule(chosen.before, chosen.unit, chosen.at, chosen.zone, **others[0])
    found = planned(when, chosen, "2026-11-18 12:00")
    assert found.send_at == at(goes)
    end = at(when) if " " in when else at(f"{when} 00:00") + timedelta(days=1)
    assert found.not_after == end


CLOCK_CHANGES = [
    # Berlin skips 02:00 to 03:00 on 28 March 2027, and has it twice on 25 October 2026.
    (rule(1), "2027-03-28 10:00", "2027-03-27 10:00", "2027-03-20 12:00"),
    (rule(24, "hours"), "2027-03-28 10:00", "2027-03-27 09:00", "2027-03-20 12:00"),
    (rule(1), "2026-10-25 10:00", "2026-10-24 10:00", "2026-10-20 12:00"),
    (rule(24, "hours"), "2026-10-25 10:00", "2026-10-24 11:00", "2026-10-20 12:00"),
    (rule(1, clock="02:30"), "2027-03-29 10:00", "2027-03-28 03:30", "2027-03-20 12:00"),
    (rule(0), "2026-10-25 02:30", "2026-10-25 02:30", "2026-10-20 12:00"),
]


@pytest.mark.parametrize(("chosen", "when", "goes", "now"), CLOCK_CHANGES)
def test_days_are_of_the_calendar_and_hours_of_the_clock_where_clocks_change(
    chosen, when, goes, now
):
    chosen = Rule(chosen.before, chosen.unit, chosen.at, chosen.zone, sundays=True)
    assert planned(when, chosen, now, quiet=None).send_at == at(goes)


def test_an_appointment_at_a_time_that_the_clocks_skip_is_refused():
    refused = refusal("2027-03-28 02:30", rule(1, clock="18:00"), "2027-03-20 12:00")
    assert refused.problem == ReminderProblem.DOES_NOT_EXIST


@pytest.mark.parametrize(
    ("when", "chosen", "problem"),
    [
        ("2026-11-24 12:00", rule(1, clock="18:00"), ReminderProblem.APPOINTMENT_PAST),
        ("2026-11-23", rule(1, clock="18:00"), ReminderProblem.APPOINTMENT_PAST),
        ("0001-01-01", rule(30), ReminderProblem.APPOINTMENT_PAST),
        ("2026-11-24 14:30", rule(0, clock="18:00"), ReminderProblem.AFTER_APPOINTMENT),
        ("2026-11-25 10:00", rule(1, clock="11:30"), ReminderProblem.ALREADY_DUE),
        ("2026-11-24 14:00", rule(24, "hours"), ReminderProblem.ALREADY_DUE),
        ("2026-11-25", rule(24, "hours"), ReminderProblem.TIME_UNREADABLE),
        ("2026-11-25", rule(1), ReminderProblem.TIME_UNREADABLE),
        ("2026-12-26 10:00", rule(1, clock="18:00"), ReminderProblem.TOO_FAR),
        ("9999-12-31 23:59", rule(1), ReminderProblem.TOO_FAR),
    ],
)
def test_what_cannot_be_planned_says_why(when, chosen, problem):
    assert refusal(when, chosen, "2026-11-24 12:00").problem == problem


def test_thirty_days_ahead_can_be_planned_and_a_minute_more_cannot():
    edge = rule(0, clock="12:00", sundays=True)
    assert planned("2026-12-24 13:00", edge, "2026-11-24 12:00").send_at == at("2026-12-24 12:00")
    later = rule(0, clock="12:01", sundays=True)
    assert refusal("2026-12-24 13:00", later, "2026-11-24 12:00").problem == "too_far"


@pytest.mark.parametrize(
    ("now", "when", "can"),
    [
        ("2026-11-24 12:00", "2026-11-24 13:00", True),
        ("2026-11-24 12:00", "2026-11-24 12:59", False),
        ("2026-11-24 23:00", "2026-11-25 12:00", False),
        ("2026-11-24 06:59", "2026-11-24 12:00", False),
        ("2026-11-24 07:00", "2026-11-24 12:00", True),
    ],
)
def test_one_whose_time_has_passed_goes_at_once_only_by_day_and_an_hour_before(now, when, can):
    assert can_go_now(at(when), rule(1), now=at(now), quiet=NIGHT) == can


# --- Invariants ---------------------------------------------------------------------------------

clocks = st.times(min_value=time(0), max_value=time(23, 59)).map(
    lambda one: one.replace(second=0, microsecond=0)
)
nights = st.one_of(
    st.just(NIGHT),
    st.none(),
    st.tuples(clocks, clocks).filter(lambda span: span[0] != span[1]),
)
rules = st.builds(
    Rule,
    before=st.integers(0, 30),
    unit=st.sampled_from(Unit),
    at=st.none() | clocks,
    zone=st.sampled_from(ZONES),
    sundays=st.booleans(),
)
changes = {
    "Europe/Berlin": ("2026-10-25", "2027-03-28"),
    "America/New_York": ("2026-11-01", "2027-03-14"),
    "America/Santiago": ("2026-09-06", "2027-04-04"),
    "Australia/Lord_Howe": ("2026-10-04", "2027-04-04"),
    "Asia/Kolkata": ("2026-10-25", "2027-03-28"),
    "America/Havana": ("2026-11-01", "2027-03-14"),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Appointment, Rule, datetime, tuple[time, time] | None]:
    """Appointments within a few weeks of a change of clocks, and of the moment itself."""
    chosen = draw(rules)
    around = date.fromisoformat(draw(st.sampled_from(changes[chosen.zone])))
    day = around + timedelta(days=draw(st.integers(-2, 2) | st.integers(-70, 70)))
    unit = timedelta(days=1) if chosen.unit == Unit.DAYS else timedelta(hours=1)
    ahead = timedelta(minutes=draw(st.integers(-1500, 31 * 1440)))
    now = datetime.combine(day, time(12), UTC) - chosen.before * unit - ahead
    clock = draw(st.none() | clocks | st.sampled_from([time(0), time(2, 30), time(2, 15)]))
    return Appointment(day, clock), chosen, now, draw(nights)


def outcome(case):
    when, chosen, now, quiet = case
    try:
        return plan(when, chosen, now=now, quiet=quiet)
    except ReminderRefused as refused:
        return refused.problem, refused.planned


@PROPERTY
@given(cases())
def test_what_is_planned_is_never_at_night_late_too_far_or_on_an_unwanted_sunday(case):
    when, chosen, now, quiet = case
    found = outcome(case)
    if not isinstance(found, Planned):
        reject()
    assert found.send_at <= found.not_after
    assert now + MIN_AHEAD <= found.send_at <= now + MAX_AHEAD
    local = found.send_at.astimezone(zoneinfo.ZoneInfo(chosen.zone))
    assert quiet is None or not is_within(local.time(), quiet)
    if chosen.unit == Unit.DAYS and not chosen.sundays:
        assert local.weekday() != 6
    assert found.send_at.tzinfo is UTC


@PROPERTY
@given(cases())
def test_the_appointment_is_the_limit_and_quiet_hours_only_ever_make_it_earlier(case):
    when, chosen, now, quiet = case
    found = outcome(case)
    if not isinstance(found, Planned):
        reject()
    zone = zoneinfo.ZoneInfo(chosen.zone)
    if when.clock:
        local = found.not_after.astimezone(zone)
        assert (local.date(), local.time(), local.fold) == (when.day, when.clock, 0)
    else:
        assert (found.not_after - timedelta(seconds=1)).astimezone(zone).date() == when.day
    awake = outcome(
        (when, Rule(chosen.before, chosen.unit, chosen.at, chosen.zone, True), now, None)
    )
    if isinstance(awake, Planned):
        assert found.send_at <= awake.send_at
        assert (found.moved == Moved.NOT) == (found.send_at == awake.send_at)
        assert awake.send_at - found.send_at < timedelta(days=2, hours=26)


@PROPERTY
@given(st.lists(cases(), max_size=4), st.randoms())
def test_the_answer_for_a_row_depends_on_no_other_row(found, random):
    """Whatever order they come in, and however often they are asked about."""
    each = {id(case): outcome(case) for case in found}
    shuffled = list(found) * 2
    random.shuffle(shuffled)
    assert [outcome(case) for case in shuffled] == [each[id(case)] for case in shuffled]


@PROPERTY
@given(cases())
def test_what_may_go_at_once_is_by_day_and_has_an_hour(case):
    when, chosen, now, quiet = case
    found = outcome(case)
    if isinstance(found, Planned) or found[0] != ReminderProblem.ALREADY_DUE:
        reject()
    late = found[1]
    assert late.send_at < now + MIN_AHEAD
    if can_go_now(late.not_after, chosen, now=now, quiet=quiet):
        local = now.astimezone(zoneinfo.ZoneInfo(chosen.zone))
        assert late.not_after - now >= NOW_UNTIL
        assert quiet is None or not is_within(local.time(), quiet)


# --- What a cell says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "clock", "says"),
    [
        ("24.11.2026", "", "2026-11-24"),
        ("24.11.26", "", "2026-11-24"),
        ("1.2.2027", "", "2027-02-01"),
        ("24. 11. 2026", "", "2026-11-24"),
        ("2026-11-24", "", "2026-11-24"),
        ("2026/11/24", "", "2026-11-24"),
        ("24.11.2026 14:30", "", "2026-11-24 14:30"),
        ("24.11.2026, 14:30 Uhr", "", "2026-11-24 14:30"),
        ("24.11.2026 um 14.30 Uhr", "", "2026-11-24 14:30"),
        ("24.11.2026\u00a09 Uhr", "", "2026-11-24 09:00"),
        ("2026-11-24T14:30:00", "", "2026-11-24 14:30"),
        ("2026-11-24 2:30 PM", "", "2026-11-24 14:30"),
        ("2026-11-24", "12 am", "2026-11-24 00:00"),
        ("2026-11-24", "12:15 p.m.", "2026-11-24 12:15"),
        ("24.11.2026", "14.30", "2026-11-24 14:30"),
        ("24.11.2026 08:00", "14:30", "2026-11-24 14:30"),
        ("11/11/2026", "", "2026-11-11"),
        (date(2026, 11, 24), "", "2026-11-24"),
        (date(2026, 11, 24), time(14, 30), "2026-11-24 14:30"),
        (datetime(2026, 11, 24, 14, 30), "", "2026-11-24 14:30"),  # noqa: DTZ001 (a cell's)
        (date(2026, 11, 24), datetime(1899, 12, 31, 14, 30), "2026-11-24 14:30"),  # noqa: DTZ001
    ],
)
def test_days_and_clock_times_that_people_write(day, clock, says):
    assert read_appointment(day, clock) == appointment(says)


@pytest.mark.parametrize(
    ("day", "clock", "problem"),
    [
        ("morgen", "", ReminderProblem.DATE_UNREADABLE),
        ("", "", ReminderProblem.DATE_UNREADABLE),
        ("24.11.", "", ReminderProblem.DATE_UNREADABLE),
        ("24.11.20261", "", ReminderProblem.DATE_UNREADABLE),
        ("24.11.2026-25.11.2026", "", ReminderProblem.DATE_UNREADABLE),
        ("46350", "", ReminderProblem.DATE_UNREADABLE),
        (Decimal(46350), "", ReminderProblem.DATE_UNREADABLE),
        (True, "", ReminderProblem.DATE_UNREADABLE),
        (time(14, 30), "", ReminderProblem.DATE_UNREADABLE),
        ("31.11.2026", "", ReminderProblem.NO_SUCH_DAY),
        ("2026-13-01", "", ReminderProblem.NO_SUCH_DAY),
        ("29.02.2027", "", ReminderProblem.NO_SUCH_DAY),
        ("0.1.2027", "", ReminderProblem.NO_SUCH_DAY),
        ("11/12/2026", "", ReminderProblem.DATE_ORDER),
        ("24.11.2026 24:00", "", ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026 14", "", ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026 14:30 MEZ", "", ReminderProblem.TIME_UNREADABLE),
        ("2026-11-24T14:30:00Z", "", ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026", "nachmittags", ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026", "13 pm", ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026", Decimal("14.3"), ReminderProblem.TIME_UNREADABLE),
        ("24.11.2026", date(2026, 11, 24), ReminderProblem.TIME_UNREADABLE),
    ],
)
def test_what_is_no_day_or_clock_time_is_not_guessed(day, clock, problem):
    with pytest.raises(ReminderRefused) as refused:
        read_appointment(day, clock)
    assert refused.value.problem == problem


def orders() -> Iterator[tuple[list[str], Order | None, bool]]:
    yield ["24/11/2026", "01/02/2027"], Order.DAY_MONTH, False
    yield ["11/24/2026", "01/02/2027"], Order.MONTH_DAY, False
    yield ["01/02/2027", "03/04/2027"], None, True
    yield ["24/11/2026", "11/24/2026"], None, True
    yield ["05/05/2027"], None, False
    yield ["24.11.2026", ""], None, False


@pytest.mark.parametrize(("cells", "order", "is_asked"), orders())
def test_the_order_of_slashed_days_is_told_by_the_column_or_asked(cells, order, is_asked):
    assert order_of(cells) == order_of(reversed(cells)) == order
    assert needs_order(cells) == is_asked


def test_an_order_that_was_said_is_followed_and_what_does_not_fit_is_refused():
    assert read_appointment("01/02/2027", order=Order.DAY_MONTH).day == date(2027, 2, 1)
    assert read_appointment("01/02/2027", order=Order.MONTH_DAY).day == date(2027, 1, 2)
    with pytest.raises(ReminderRefused, match="date_order"):
        read_appointment("11/24/2026", order=Order.DAY_MONTH)
    with pytest.raises(ReminderRefused, match="no_such_day"):
        read_appointment("31/02/2027", order=Order.DAY_MONTH)


@pytest.mark.parametrize(
    ("cell", "day", "clock"),
    [
        ("24.11.2026", True, False),
        ("31.11.2026", True, False),
        ("01/02/2027", True, False),
        ("24.11.2026 14:30", True, False),
        ("14:30", False, True),
        (time(14, 30), False, True),
        ("Anna", False, False),
        ("", False, False),
        ("0171 3920050", False, False),
        (Decimal(12), False, False),
    ],
)
def test_which_cells_look_like_days_and_which_like_clock_times(cell, day, clock):
    assert (is_day(cell), is_clock(cell)) == (day, clock)
