"""Reminders from a list: each at its own time, before its appointment, or not at all."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support import lists
from tests.support.lists import JSON
from tests.support.pages import Browser, Page
from tests.support.rows import stored_rows
from tests.support.worker import arrived, counts, work
from webapp.database import transaction
from webapp.database.models import Message
from webapp.jobs import tasks
from webapp.messages import claims, sending
from webapp.simulator import Fault, Simulator

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = "22:00-07:00"
MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=BERLIN)
TEXT = "Hallo ((Vorname)), Ihr Termin: ((Termin))"
RULE = {
    "rule": "column",
    "day_column": "C",
    "time_column": "",
    "before": "1",
    "unit": "days",
    "at": "18:00",
    "time_zone": "Europe/Berlin",
    "sundays": "",
}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """The clock of app and simulator, on a Monday morning in winter; it ticks."""
    with time_machine.travel(MONDAY.astimezone(UTC)) as found:
        yield found


@pytest.fixture
def app(request: pytest.FixtureRequest, clock: time_machine.Traveller, make_app: MakeApp) -> Flask:
    """On both databases where a test asks for `either_url`."""
    if "either_url" in request.fixturenames:
        return make_app(DATABASE_URL=request.getfixturevalue("either_url"), QUIET_HOURS=NIGHT)
    return make_app(QUIET_HOURS=NIGHT)


def patients(*appointments: str, first: int = 0) -> str:
    """A list with an appointment for each."""
    rows = zip(lists.numbers(len(appointments), first), appointments, strict=True)
    found = ((number, f"Person{n}", when) for n, (number, when) in enumerate(rows, first))
    return lists.csv_of(found, "Handy;Vorname;Termin")


def planned(browser: Browser, check: Page, **others: str) -> Page:
    """Page 3 with the rule looked at, before anything is sent."""
    action = check.path.partition("?")[0].replace("/check", "/reminders")
    form = {**check.fields("/batches"), **RULE, **others}
    return browser.follow(browser.post(action, form, status=303))


def sent(browser: Browser, check: Page, **others: str) -> Page:
    return lists.send(browser, check, **{**RULE, **others})


def row(browser: Browser, check: Page, number: int) -> dict[str, object]:
    path = f"{check.path.partition('?')[0]}?row={number}"
    found: dict[str, object] = browser.get(path, headers=JSON).json
    return found


def at(text: str) -> str:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC).isoformat()


def outcomes(app: Flask) -> Counter[str]:
    return Counter(one["outcome"] for one in stored_rows(app)["messages"])


# --- Before anything is sent --------------------------------------------------------------------

SOME = patients(
    "25.11.2026 14:30",  # Tuesday 18:00
    "25.11.2026 08:00",
    "30.11.2026 10:00",  # a Monday: on the Saturday
    "24.11.2026 14:30",  # today at 18:00
    "23.11.2026 14:30",  # was due yesterday; in five hours
    "23.11.2026 09:30",  # in half an hour
    "28.12.2026 10:00",  # the day before is more than 30 days away
    "20.11.2026 10:00",  # over
    "31.11.2026 10:00",
    "irgendwann",
)


def test_it_says_before_sending_when_each_goes_and_which_cannot(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    check = planned(anna, lists.checked(anna, SOME, TEXT))
    twin = lists.twin(anna, check)
    assert (twin["rows"], twin["sendable"]) == (10, 4)
    names = ("errors", "late", "too_far", "already_planned")
    assert {name: twin["counts"][name] for name in names} == {
        "errors": 3,
        "late": 2,
        "too_far": 1,
        "already_planned": 0,
    }
    assert twin["first_at"] == at("2026-11-23 18:00")
    assert twin["last_at"] == at("2026-11-28 18:00")
    codes = {one["row"]: one["code"] for one in twin["problems"]}
    assert codes == {
        6: "already_due",
        7: "already_due",
        8: "too_far",
        9: "appointment_past",
        10: "no_such_day",
        11: "date_unreadable",
    }
    assert row(anna, check, 2)["send_at"] == at("2026-11-24 18:00")
    assert row(anna, check, 6)["code"] == "already_due"
    table = [
        tuple(cell.get_text() for cell in line.select("th, td"))
        for line in check.soup.select("#times tbody tr")
    ]
    assert [(line[1], line[2], line[3]) for line in table] == [
        ("1", "18:00", "18:00"),
        ("2", "18:00", "18:00"),
        ("1", "18:00", "18:00"),
    ]
    assert "1 goes on a Saturday instead of the Sunday." in check.text
    assert "Send the list again from" in check.text
    assert "Correct the day in row 10" in check.text
    assert check.soup.select_one("button:-soup-contains('Schedule')") is None, "3 rows are wrong"
    assert not stored_rows(app)["batches"]


def test_what_is_already_due_goes_at_once_if_somebody_says_so(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    check = planned(anna, lists.checked(anna, SOME, TEXT))
    check = lists.leave_out(anna, check, "errors")
    twin = lists.twin(anna, check)
    assert (twin["sendable"], twin["left_out"]) == (5, 5), "half an hour before is too late"
    assert "At once" in check.soup.select_one("#times").get_text()
    batch = lists.send(anna, check)
    work(app)
    assert arrived(sipgate) == {"+4917604070004": 1}
    assert counts(anna, batch) == {"accepted": 1, "held": 4}
    report = anna.get(f"{batch.path}/left-out.csv").response.get_data(as_text=True)
    assert [line.split(",")[0] for line in report.splitlines()[1:]] == ["7", "8", "9", "10", "11"]


def test_a_rule_whose_times_change_is_asked_about_again(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, patients("25.11.2026 14:30", "26.11.2026 09:00"), TEXT)
    form = lists.confirmed(anna, check, **RULE)
    page = anna.post("/batches", {**form, "at": "17:00"}, status=409)
    assert "17:00" in page.text
    assert not stored_rows(app)["batches"]
    anna.post("/batches", form, status=303)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"day_column": "Z"}, "day_column"),
        ({"time_column": "Z"}, "time_column"),
        ({"before": "31"}, "before"),
        ({"before": "one"}, "before"),
        ({"before": ""}, "before"),
        ({"at": "25:00"}, "at"),
        ({"at": "half past"}, "at"),
        ({"unit": "weeks"}, "unit"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
    ],
)
def test_what_is_wrong_with_the_rule_is_said_at_its_field(
    app: Flask, anna: Browser, wrong: dict[str, str], field: str
) -> None:
    check = lists.checked(anna, patients("25.11.2026 14:30", "26.11.2026 09:00"), TEXT)
    form = {**check.fields("/batches"), **RULE, **wrong}
    page = anna.post("/batches", form, status=422)
    assert page.soup.select_one(f"#{field}-error"), page.text
    anna.post(check.path.replace("/check", "/reminders"), form, status=422)
    assert not stored_rows(app)["batches"]


def test_days_without_times_need_one_from_the_form(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, patients("25.11.2026", "26.11.2026"), TEXT)
    for wrong, field in (({"at": ""}, "at"), ({"unit": "hours"}, "time_column")):
        page = anna.post("/batches", {**check.fields("/batches"), **RULE, **wrong}, status=422)
        assert page.soup.select_one(f"#{field}-error")
    assert lists.twin(anna, planned(anna, check))["sendable"] == 2


def test_days_with_slashes_are_asked_about_if_nobody_can_tell(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, patients("12/01/2026 14:30", "12/02/2026 09:00"), TEXT)
    page = anna.post("/batches", {**check.fields("/batches"), **RULE}, status=422)
    assert page.soup.select_one("#order-error")
    assert page.soup.select_one("input[name=order][value=md]")
    twin = lists.twin(anna, planned(anna, check, order="md"))
    assert twin["first_at"] == at("2026-11-30 18:00")
    twin = lists.twin(anna, planned(anna, check, order="dm"))
    assert twin["counts"]["errors"] == 2, "12 January and 12 February are over"


def test_the_time_may_stand_in_a_column_of_its_own_and_is_kept(app: Flask, anna: Browser) -> None:
    rows = [
        ("0176 04070001", "Ann", "25.11.2026", "14:30"),
        ("0176 04070002", "Bo", "26.11.2026", ""),
    ]
    check = lists.checked(
        anna, lists.csv_of(rows, "Handy;Vorname;Datum;Uhrzeit"), "Hallo ((Vorname))"
    )
    fields = check.fields("/batches")
    assert (fields["day_column"], fields["time_column"]) == ("C", "D")
    check = planned(anna, check, time_column="D", unit="hours", before="3", at="")
    assert row(anna, check, 2)["send_at"] == at("2026-11-25 11:30")
    assert row(anna, check, 3)["code"] == "time_unreadable"


def test_a_list_without_days_is_not_offered_reminders(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, lists.people(2))
    assert check.soup.select_one("[name=rule]") is None
    page = anna.post("/batches", {**check.fields("/batches"), **RULE}, status=422)
    assert page.soup.select_one("#day_column-error") or "Choose the column" in page.text


def test_two_appointments_of_one_person_are_two_reminders(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    rows = [("0176 04070001", "Ann", f"{day}.11.2026 10:00") for day in (26, 27, 26)]
    check = lists.checked(anna, lists.csv_of(rows, "Handy;Vorname;Termin"), TEXT)
    twin = lists.twin(anna, planned(anna, check))
    assert (twin["sendable"], twin["counts"]["duplicates"]) == (2, 1)


# --- Sending ------------------------------------------------------------------------------------


def test_forty_reminders_over_three_days(
    either_url: str, app: Flask, anna: Browser, sipgate: Simulator, clock: time_machine.Traveller
) -> None:
    """Each goes in its time, once, with a worker that looks every quarter of an hour."""
    days = [f"{24 + n % 4}.11.2026 {7 + n % 12:02}:{n % 4 * 15:02}" for n in range(40)]
    check = lists.checked(anna, patients(*days), TEXT)
    chosen = {"before": "3", "unit": "hours", "at": ""}
    twin = lists.twin(anna, planned(anna, check, **chosen))
    assert twin["sendable"] == 40
    batch = sent(anna, check, **chosen)
    work(app)
    assert outcomes(app) == {"held": 40}
    went: dict[str, datetime] = {}
    while clock_now() < MONDAY + timedelta(days=4, hours=9):
        clock.shift(timedelta(minutes=15))
        work(app)
        for number in arrived(sipgate):
            went.setdefault(number, clock_now())
    assert set(arrived(sipgate).values()) == {1}
    assert len(went) == 40
    anna.sign_in("anna")
    assert counts(anna, batch) == {"scheduled": 40}
    for place, when in enumerate(days):
        appointment = datetime.strptime(when, "%d.%m.%Y %H:%M").replace(tzinfo=BERLIN)
        handed_over = went[f"+491760407{place:04d}"]
        assert handed_over < appointment - timedelta(hours=2)
    for one in sipgate.world.arrivals:
        if one.send_at is not None:
            local = datetime.fromtimestamp(one.send_at, BERLIN)
            assert 7 <= local.hour < 22


def clock_now() -> datetime:
    return datetime.now(BERLIN)


def test_the_next_days_list_leaves_out_who_is_planned_already(
    either_url: str, app: Flask, anna: Browser, sipgate: Simulator, clock: time_machine.Traveller
) -> None:
    days = ["25.11.2026 14:30", "26.11.2026 09:00", "27.11.2026 10:00"]
    sent(anna, lists.checked(anna, patients(*days), TEXT))
    work(app)
    clock.shift(timedelta(hours=25))
    work(app)
    anna.sign_in("anna")
    again = lists.checked(anna, patients(*days, "27.11.2026 11:00"), "Anders: ((Termin))")
    check = planned(anna, again)
    twin = lists.twin(anna, check)
    assert (twin["sendable"], twin["left_out"]) == (1, 3)
    assert twin["counts"]["already_planned"] == twin["counts"]["already_sent"] == 3
    assert "3 of these people have a reminder of the same appointment already" in check.text
    batch = lists.send(anna, check)
    report = anna.get(f"{batch.path}/left-out.csv").response.get_data(as_text=True)
    assert report.count("had a reminder of this appointment already") == 3


def test_while_the_first_list_is_still_made_the_second_knows_its_reminders(
    either_url: str, app: Flask, anna: Browser
) -> None:
    check = lists.checked(anna, patients("25.11.2026 14:30", "26.11.2026 09:00"), TEXT)
    sent(anna, check)
    tasks.queue.flush()
    again = planned(anna, lists.checked(anna, patients("25.11.2026 14:30"), "Anders ((Termin))"))
    assert lists.twin(anna, again)["counts"]["already_planned"] == 1


def test_of_a_moved_appointment_the_old_reminder_is_pointed_out(app: Flask, anna: Browser) -> None:
    sent(anna, lists.checked(anna, patients("25.11.2026 14:30", "26.11.2026 09:00"), TEXT))
    again = planned(anna, lists.checked(anna, patients("27.11.2026 14:30"), TEXT))
    page = anna.post("/batches", again.fields("/batches"), status=409)
    assert "1 of these people has a reminder of another appointment, too." in page.text


def test_a_withdrawn_reminder_may_be_planned_again(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, patients("25.11.2026 14:30", "26.11.2026 09:00"), TEXT)
    batch = sent(anna, check)
    work(app)
    anna.press(anna.get(batch.path), f"{batch.path}/cancel")
    again = planned(anna, lists.checked(anna, patients("25.11.2026 14:30"), TEXT))
    assert lists.twin(anna, again)["counts"]["already_planned"] == 0


def test_a_batch_of_reminders_stands_once_in_the_list_and_says_each_time(
    app: Flask, anna: Browser
) -> None:
    check = lists.checked(anna, patients("25.11.2026 14:30", "27.11.2026 09:00"), TEXT)
    batch = sent(anna, check)
    work(app)
    entries = {(one["shown_at"], one["entry_id"]) for one in stored_rows(app)["messages"]}
    assert len(entries) == 1
    page = anna.get(batch.path)
    assert "Reminders: 1 day before each appointment, at 18:00" in page.text
    assert "Thu 26 Nov 2026, 18:00" in page.text
    assert len(anna.get("/messages?tab=planned").soup.select("[data-outcome], tbody tr")) >= 1


# --- Never late ---------------------------------------------------------------------------------


@pytest.fixture
def held(app: Flask, anna: Browser, sipgate: Simulator) -> Page:
    """Two reminders that wait: two hours before appointments on Wednesday at 14:30."""
    check = lists.checked(anna, patients("25.11.2026 14:30", "25.11.2026 14:30"), TEXT)
    batch = sent(anna, check, before="2", unit="hours", at="")
    work(app)
    assert outcomes(app) == {"held": 2}
    return batch


JUST_BEFORE = datetime(2026, 11, 25, 14, 29, tzinfo=BERLIN).astimezone(UTC)
AFTERWARDS = JUST_BEFORE + timedelta(minutes=2)


def missed(app: Flask) -> Counter[tuple[str, str]]:
    return Counter((one["outcome"], one["reason"]) for one in stored_rows(app)["messages"])


def test_after_an_outage_nobody_is_reminded_of_what_is_over(
    either_url: str,
    app: Flask,
    anna: Browser,
    sipgate: Simulator,
    held: Page,
    clock: time_machine.Traveller,
) -> None:
    with app.app_context(), transaction() as session:  # a tolerance of a day
        session.execute(sa.update(Message).values(expected_at=JUST_BEFORE + timedelta(days=1)))
    clock.move_to(AFTERWARDS)
    tasks.start_batch(held.path.rpartition("/")[2])
    work(app, sweep=False)
    assert not arrived(sipgate), "not even before the sweep"
    assert {one["tries"] for one in stored_rows(app)["messages"]} == {0}, "nobody claimed it"
    work(app)
    assert missed(app) == {("missed", "appointment_passed"): 2}
    assert not arrived(sipgate)
    anna.sign_in("anna")
    id_ = stored_rows(app)["messages"][0]["id"]
    assert "what it reminds of was over" in anna.get(f"/messages/{id_}").text


@pytest.mark.parametrize("by", ["resume", "release"])
def test_paused_ones_are_not_released_after_their_appointment(
    app: Flask,
    anna: Browser,
    sipgate: Simulator,
    held: Page,
    clock: time_machine.Traveller,
    by: str,
) -> None:
    anna.press(anna.get(held.path), f"{held.path}/stop")
    page = anna.get(held.path)
    clock.move_to(AFTERWARDS)
    anna.sign_in("anna")
    if by == "resume":
        form = anna.get(held.path).fields(f"{held.path}/resume")
        anna.post(f"{held.path}/resume", form, status=303)
    else:
        anna.post("/messages/release", page.fields(f"{held.path}/resume"), status=None)
    assert outcomes(app) == {"paused": 2}
    work(app)
    assert missed(app) == {("missed", "appointment_passed"): 2}
    assert not arrived(sipgate)


def test_sent_after_its_appointment_only_by_a_person_who_was_told(
    app: Flask, anna: Browser, sipgate: Simulator, held: Page, clock: time_machine.Traveller
) -> None:
    clock.move_to(AFTERWARDS)
    work(app)
    anna.sign_in("anna")
    path = f"/messages/{stored_rows(app)['messages'][0]['id']}"
    form = {**anna.get(path).fields(f"{path}/reschedule"), "send_at": "", "when": "now"}
    page = anna.post(f"{path}/reschedule", form, status=409)
    assert "appointment that is over by then" in page.text
    button = page.soup.select_one("main button[name=confirm]")
    assert button is not None
    anna.post(f"{path}/reschedule", {**form, "confirm": str(button["value"])}, status=303)
    work(app, sweep=False)
    assert sum(arrived(sipgate).values()) == 1


def test_it_cannot_be_moved_behind_its_appointment(
    app: Flask, anna: Browser, sipgate: Simulator, held: Page, clock: time_machine.Traveller
) -> None:
    path = f"/messages/{stored_rows(app)['messages'][0]['id']}"
    form = anna.get(f"{path}/edit").fields(f"{path}/edit")
    page = anna.post(f"{path}/edit", {**form, "send_at": "2026-11-25T14:31"}, status=422)
    assert "Choose a time before the appointment" in page.text
    anna.post(f"{path}/edit", {**form, "send_at": "2026-11-25T10:00"}, status=303)
    twin = anna.get(path, headers=JSON).json
    assert twin["not_after"] == at("2026-11-25 14:30")


def test_what_sipgate_does_not_take_in_time_is_not_sent_later(
    app: Flask, anna: Browser, sipgate: Simulator, held: Page, clock: time_machine.Traveller
) -> None:
    """It asks to slow down until the appointment is over."""
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(expected_at=JUST_BEFORE + timedelta(days=1)))
    clock.move_to(JUST_BEFORE)
    sipgate.fail_next("send", Fault(status=429, headers=(("Retry-After", "120"),)))
    work(app)
    clock.shift(timedelta(minutes=3))
    work(app)
    work(app)
    assert not [one for one in outcomes(app) if one in ("held", "queued")]


def test_a_claim_from_before_the_appointment_does_not_begin_after_it(
    app: Flask, anna: Browser, sipgate: Simulator, held: Page, clock: time_machine.Traveller
) -> None:
    clock.move_to(JUST_BEFORE - timedelta(hours=2, minutes=30))
    with app.app_context():
        found = claims.claim_next(held.path.rpartition("/")[2])
        assert found is not None
        clock.move_to(AFTERWARDS)
        sending.deliver_claimed(found)
    assert not arrived(sipgate)
    work(app)
    assert missed(app) == {("missed", "appointment_passed"): 2}
