"""Times: what a `datetime-local` field means, also around a change of clocks."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.rules.times import (
    MAX_AHEAD,
    MIN_AHEAD,
    TimeProblem,
    TimeRefused,
    parse_send_at,
    zone_names,
    zones_to_offer,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BERLIN = "Europe/Berlin"

PROPERTY = settings(deadline=None, database=None)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def refusal(
    typed: str, zone_name: str = BERLIN, fold: str = "", now: datetime = NOW
) -> TimeRefused:
    with pytest.raises(TimeRefused) as refused:
        parse_send_at(typed, zone_name, fold, now)
    return refused.value


# --- Reading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "zone_name", "send_at"),
    [
        ("2026-11-24T08:00", BERLIN, "2026-11-24 07:00"),
        ("2026-11-24 08:00", BERLIN, "2026-11-24 07:00"),
        (" \t2026-11-24T08:00\n", BERLIN, "2026-11-24 07:00"),
        ("2026-11-24T08:00:30", BERLIN, "2026-11-24 07:00:30"),
        ("2026-11-24T08:00:30.999", BERLIN, "2026-11-24 07:00:30"),
        ("2026-11-24T08:00", "UTC", "2026-11-24 08:00"),
        ("2026-11-24T08:00", "Asia/Kolkata", "2026-11-24 02:30"),
        ("2026-11-24T00:30", "Pacific/Kiritimati", "2026-11-23 10:30"),
        ("2026-11-24T23:30", "America/Los_Angeles", "2026-11-25 07:30"),
    ],
)
def test_a_clock_time_becomes_utc(typed, zone_name, send_at):
    parsed = parse_send_at(typed, zone_name, "", NOW)
    assert parsed == utc(send_at)
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize(
    "typed",
    [
        *("", " ", "now", "tomorrow 8:00", "-1", "0", "1e20", "1792800000", "2026-11-24"),
        *("2026-02-30T08:00", "2026-13-01T08:00", "2026-11-00T08:00", "0000-01-01T00:00"),
        *("2026-11-24T24:00", "2026-11-24T23:60", "2026-11-24T23:59:60", "2026-11-24T8:00"),
        *("2026-11-24T08:00Z", "2026-11-24T08:00+01:00", "20261124T0800", "2026-W48-2T08:00"),
        *("2026-11-24T08:00:00.", "2026-11-24  08:00", "2026-11-24t08:00", "10000-01-01T00:00"),
        *("２０２６-11-24T08:00", "٢٠٢٦-11-24T08:00", "2026-11-24T08:00\x00", "24.11.2026 08:00"),
    ],
)
def test_what_is_no_clock_time_is_unreadable(typed):
    assert refusal(typed).problem is TimeProblem.UNREADABLE


@pytest.mark.parametrize(
    "zone_name",
    [
        *("", " ", "Berlin", "europe/berlin", "Europe/Berlin ", "CEST", "+01:00", "Factory"),
        *("localtime", "posixrules", "../..", "../../etc/localtime", "/etc/localtime"),
        *("Europe/../Europe/Berlin", "Europe", "Europe/", "tzdata", "\x00", "\ud800"),
    ],
)
def test_an_unknown_zone_is_refused(zone_name):
    assert refusal("2026-11-24T08:00", zone_name).problem is TimeProblem.UNKNOWN_ZONE


def test_a_megabyte_is_refused():
    assert refusal("9" * 1_000_000).problem is TimeProblem.UNREADABLE
    assert refusal("2026-11-24T08:00", "a" * 1_000_000).problem is TimeProblem.UNKNOWN_ZONE


# --- Changes of clocks --------------------------------------------------------------------------


@pytest.mark.parametrize("fold", ["", "0", "1"])
@pytest.mark.parametrize(
    ("typed", "zone_name"),
    [
        ("2027-03-28T02:00", BERLIN),
        ("2027-03-28T02:30", BERLIN),
        ("2027-03-28T02:59:59", BERLIN),
        ("2026-10-04T02:30", "Australia/Sydney"),
        ("2026-10-04T02:15", "Australia/Lord_Howe"),
        ("2027-03-14T02:30", "America/New_York"),
    ],
)
def test_a_time_that_the_clocks_skip_does_not_exist(typed, zone_name, fold):
    now = utc(typed) - timedelta(days=7)
    assert refusal(typed, zone_name, fold, now).problem is TimeProblem.DOES_NOT_EXIST


@pytest.mark.parametrize(
    ("typed", "zone_name", "first", "second"),
    [
        ("2026-10-25T02:00", BERLIN, "2026-10-25 00:00", "2026-10-25 01:00"),
        ("2026-10-25T02:30", BERLIN, "2026-10-25 00:30", "2026-10-25 01:30"),
        ("2027-04-04T02:30", "Australia/Sydney", "2027-04-03 15:30", "2027-04-03 16:30"),
        ("2027-04-04T01:45", "Australia/Lord_Howe", "2027-04-03 14:45", "2027-04-03 15:15"),
        ("2026-11-01T01:30", "America/New_York", "2026-11-01 05:30", "2026-11-01 06:30"),
    ],
)
def test_a_time_that_the_clocks_show_twice_is_asked_about(typed, zone_name, first, second):
    now = utc(typed) - timedelta(days=7)
    for unclear in ("", "2", "-1", "True", "0 ", "\u0661"):
        refused = refusal(typed, zone_name, unclear, now)
        assert refused.problem is TimeProblem.EXISTS_TWICE
        assert [choice.astimezone(UTC) for choice in refused.choices] == [utc(first), utc(second)]
        assert [choice.fold for choice in refused.choices] == [0, 1]
        assert {str(choice.tzinfo) for choice in refused.choices} == {zone_name}
    assert parse_send_at(typed, zone_name, "0", now) == utc(first)
    assert parse_send_at(typed, zone_name, "1", now) == utc(second)


@pytest.mark.parametrize(
    ("typed", "send_at"),
    [
        ("2027-03-28T01:59", "2027-03-28 00:59"),
        ("2027-03-28T03:00", "2027-03-28 01:00"),
        ("2026-10-25T01:59", "2026-10-24 23:59"),
        ("2026-10-25T03:00", "2026-10-25 02:00"),
    ],
)
@pytest.mark.parametrize("fold", ["", "0", "1", "nonsense"])
def test_beside_a_change_of_clocks_the_fold_means_nothing(typed, send_at, fold):
    now = utc(send_at) - timedelta(days=7)
    assert parse_send_at(typed, BERLIN, fold, now) == utc(send_at)


def test_only_a_doubled_time_offers_choices():
    assert refusal("2026-02-30T08:00").choices == ()


# --- How far ahead ------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [MIN_AHEAD, timedelta(hours=1), MAX_AHEAD])
def test_a_time_within_the_limits_is_taken(ahead):
    send_at = NOW + ahead
    assert parse_send_at(f"{send_at:%Y-%m-%dT%H:%M:%S}", "UTC", "", NOW) == send_at


@pytest.mark.parametrize(
    "typed",
    ["2026-11-22T12:00", "2026-11-22T12:01", "2026-11-22T12:01:59.9", "2026-11-21T12:00"]
    + ["1970-01-01T00:00", "0001-01-01T00:00"],
)
def test_a_time_less_than_two_minutes_ahead_is_too_soon(typed):
    assert refusal(typed, "UTC").problem is TimeProblem.TOO_SOON


@pytest.mark.parametrize(
    "typed", ["2026-12-22T12:01", "2026-12-23T12:00", "2038-01-20T00:00", "9999-12-31T23:59"]
)
def test_a_time_more_than_thirty_days_ahead_is_too_far(typed):
    assert refusal(typed, "UTC").problem is TimeProblem.TOO_FAR


@pytest.mark.parametrize("zone_name", ["Pacific/Kiritimati", "America/Los_Angeles", BERLIN])
def test_the_ends_of_the_calendar_are_refused_in_any_zone(zone_name):
    assert refusal("0001-01-01T00:00", zone_name).problem is TimeProblem.TOO_SOON
    assert refusal("9999-12-31T23:59:59", zone_name).problem is TimeProblem.TOO_FAR


def test_thirty_days_are_counted_in_hours_not_on_the_clock():
    now = utc("2026-10-01 10:00")
    assert parse_send_at("2026-10-31T11:00", BERLIN, "", now) == now + MAX_AHEAD
    assert refusal("2026-10-31T12:00", BERLIN, "", now).problem is TimeProblem.TOO_FAR


# --- Anything at all ----------------------------------------------------------------------------

CLOCK_LIKE_TEXT = st.one_of(
    st.text(max_size=40),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}\Z"),
)
ZONE_LIKE_TEXT = st.one_of(st.timezone_keys(), st.text(max_size=40))


@PROPERTY
@given(typed=CLOCK_LIKE_TEXT, zone_name=ZONE_LIKE_TEXT, fold=st.sampled_from(["", "0", "1", "x"]))
def test_any_text_gives_an_allowed_time_or_a_refusal(typed, zone_name, fold):
    try:
        send_at = parse_send_at(typed, zone_name, fold, NOW)
    except TimeRefused:
        return
    assert NOW + MIN_AHEAD <= send_at <= NOW + MAX_AHEAD


@PROPERTY
@given(
    send_at=st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 - hypothesis wants them naive
    zone_name=st.sampled_from([BERLIN, "Australia/Sydney", "Australia/Lord_Howe", "UTC"]),
)
def test_a_clock_time_read_from_a_real_moment_means_that_moment(send_at, zone_name):
    moment = send_at.replace(microsecond=0, tzinfo=UTC)
    local = moment.astimezone(zoneinfo.ZoneInfo(zone_name))
    typed = f"{local:%Y-%m-%dT%H:%M:%S}"
    now = moment - timedelta(days=1)
    assert parse_send_at(typed, zone_name, str(local.fold), now) == moment


# --- Zones to choose from -----------------------------------------------------------------------


def clocks(zone_name: str) -> tuple[timedelta | None, ...]:
    """What a zone's clocks show, day by day, for a year."""
    zone = zoneinfo.ZoneInfo(zone_name)
    return tuple((NOW + timedelta(days=day)).astimezone(zone).utcoffset() for day in range(366))


def test_whatever_a_clock_shows_anywhere_a_zone_with_it_is_offered():
    offered = {clocks(zone) for zone in zones_to_offer(BERLIN)}
    # Etc/GMT+12 and the like are for ships; some clocks of old ("WET") no place shows any more.
    places = [zone for zone in zone_names() if "/" in zone and not zone.startswith("Etc/")]
    assert len(places) > 400
    assert [zone for zone in places if clocks(zone) not in offered] == []


def test_every_clock_of_the_continent_is_offered_under_its_name_and_no_alias():
    offered = zones_to_offer(BERLIN)
    assert {BERLIN, "Europe/Vienna", "Europe/Zurich", "Europe/Madrid"} <= set(offered)
    assert not {"Europe/Kiev", "Europe/Belfast", "CET", "US/Eastern"} & set(offered)
    assert len(offered) == len(set(offered)) < 160


@pytest.mark.parametrize("home", ["UTC", "Pacific/Apia", "Etc/GMT+3", "CET"])
def test_zones_are_offered_wherever_home_is(home):
    assert {"UTC", "Asia/Tokyo", "America/New_York"} <= set(zones_to_offer(home)) <= zone_names()
