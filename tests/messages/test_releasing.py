"""Releasing what was paused or missed: at its planned time or now, never by surprise, and asked
about as a new message would be."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import arrived, counts, work
from webapp.simulator.server import Simulator

ONE, TWO = "+491713920050", "+491713920051"
AT = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clock() -> object:
    with time_machine.travel(AT, tick=True) as found:
        yield found


def minutes_after(minutes: float) -> time_machine.travel:
    return time_machine.travel(AT + timedelta(minutes=minutes), tick=True)


def paused(browser: Browser, *texts: str, to: str = ONE, hours: float = 30) -> list[Page]:
    """Plan messages, and pause them by signing out; the member is signed in again."""
    send_at = f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M}"
    pages = [
        browser.send_and_look(to, text, send_at=send_at, time_zone="UTC")
        for text in texts or ("Hello",)
    ]
    pause(browser)
    for page in pages:
        assert browser.twin(page)["outcome"] == "paused"
    return pages


def pause(browser: Browser, person: str = "anna") -> None:
    token = browser.get("/").fields()["csrf_token"]
    browser.post("/logout", {"csrf_token": token, "waiting": "pause"}, status=303)
    browser.sign_in(person)


def release(browser: Browser, page: Page, *, status: int = 303, **fields: str) -> Page:
    page = browser.get(page.path)
    return browser.press(page, f"{page.path}/reschedule", status=status, **fields)


def answer(browser: Browser, question: Page, action: str) -> Page:
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(action), "confirm": str(button["value"])}
    return browser.post(action, data, status=303)


# --- One ------------------------------------------------------------------------------------------


def test_f81_the_form_holds_the_planned_time_and_has_two_buttons(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    [page] = paused(anna)
    planned = anna.twin(page)["send_at"]
    page = anna.get(page.path)
    form = page.form(f"{page.path}/reschedule")
    fields = page.fields(f"{page.path}/reschedule")
    assert (fields["send_at"], fields["time_zone"]) == ("2026-12-02T18:00", "UTC")
    buttons = [(one.get("value"), one.get_text(strip=True)) for one in form.select("button")]
    assert buttons == [("planned", "Send at the planned time"), ("now", "Send now")]
    assert all(one.get("name") == "when" for one in form.select("button"))
    release(anna, page, when="planned")
    assert anna.twin(page)["outcome"] == "held"
    assert anna.twin(page)["send_at"] == planned
    work(app)
    assert arrived(sipgate) == {}, "it left before its time"


def test_f81_send_now_means_now_whatever_stands_in_the_field(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    [page] = paused(anna)
    release(anna, page, when="now")
    assert anna.twin(page)["outcome"] == "queued"
    work(app)
    [arrival] = sipgate.world.arrivals
    assert arrival.send_at is None
    assert anna.twin(page)["outcome"] == "accepted"


@pytest.mark.parametrize(
    ("fields", "status", "outcome"),
    [
        ({}, 303, "held"),  # without a button: as the form stands
        ({"send_at": "2026-12-03T09:00"}, 303, "held"),
        ({"send_at": ""}, 422, "paused"),  # a planned message does not go at once by omission
        ({"when": "planned", "send_at": ""}, 422, "paused"),
        ({"when": "planned", "send_at": "2026-12-01T11:00"}, 422, "paused"),
        ({"when": "planned", "time_zone": "Nowhere/Town"}, 422, "paused"),
        ({"when": "sometime", "send_at": ""}, 422, "paused"),
    ],
)
def test_f81_nothing_goes_at_once_unless_that_was_said(
    app: Flask,
    anna: Browser,
    sipgate: Simulator,
    fields: dict[str, str],
    status: int,
    outcome: str,
) -> None:
    [page] = paused(anna)
    answered = release(anna, page, status=status, **fields)
    assert anna.twin(page)["outcome"] == outcome
    if status == 422:
        assert answered.error_at("send_at") or "zone" in answered.text
    work(app)
    assert arrived(sipgate) == {}


def test_f81_a_form_without_any_time_field_keeps_the_planned_time(anna: Browser) -> None:
    [page] = paused(anna)
    token = {"csrf_token": anna.get("/").fields()["csrf_token"]}
    planned = anna.twin(page)["send_at"]
    anna.post(f"{page.path}/reschedule", token, status=303)
    assert (anna.twin(page)["outcome"], anna.twin(page)["send_at"]) == ("held", planned)


def test_f81_a_time_that_is_over_is_said_and_not_offered(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    [page] = paused(anna, hours=2)
    with minutes_after(300):
        work(app)
        page = anna.get(page.path)
        assert anna.twin(page)["outcome"] == "missed"
        assert page.fields(f"{page.path}/reschedule")["send_at"] == ""
        assert "that time has passed" in page.text
        refused = release(anna, page, status=422, when="planned")
        assert refused.error_at("send_at") == "Choose a time, or send it now."
        release(anna, page, when="planned", send_at="2026-12-01T20:00")
        assert anna.twin(page)["send_at"] == "2026-12-01T20:00:00+00:00"


def test_f81_the_second_of_two_equal_clock_times_stays_the_second(
    app: Flask, anna: Browser
) -> None:
    with time_machine.travel(datetime(2026, 10, 24, 12, tzinfo=UTC), tick=True):
        anna.sign_in()
        when = {"send_at": "2026-10-25T02:30", "time_zone": "Europe/Berlin", "fold": "1"}
        page = anna.send_and_look(**when)
        pause(anna)
        planned = anna.twin(page)["send_at"]
        release(anna, page, when="planned")
        assert anna.twin(page)["send_at"] == planned
        pause(anna)
        # Another such time is asked about.
        question = release(anna, page, status=422, when="planned", send_at="2026-10-25T02:45")
        assert question.soup.select("main fieldset.fold input")


@pytest.mark.parametrize("when", ["planned", "now"])
def test_f81_night_is_asked_about(make_app: MakeApp, sipgate: Simulator, when: str) -> None:
    anna = Browser(make_app(), sipgate)
    anna.sign_in()
    [page] = paused(anna)
    anna.client.application = make_app(QUIET_HOURS="10:00-20:00")  # both times are within
    question = release(anna, page, status=409, when=when)
    assert "be night" in question.text
    assert anna.twin(page)["outcome"] == "paused"
    answer(anna, question, f"{page.path}/reschedule")
    assert anna.twin(page)["outcome"] == ("held" if when == "planned" else "queued")


def test_f81_the_same_text_a_colleague_and_a_new_sender_are_asked_about(
    new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    anna, ben = new_browser(), new_browser()
    anna.sign_in("anna")
    ben.sign_in("ben")
    [page] = paused(anna)
    answer(ben, ben.send(ONE, "Hello", status=409), "/messages")
    sipgate.world.set_caller_id("anna", "s0", "+491713920077")
    with minutes_after(2):
        question = release(anna, page, status=409, when="now")
        for sentence in ("same text", "Ben", "The sender has changed since the message"):
            assert sentence in question.text
        assert anna.twin(page)["outcome"] == "paused"
        # What was answered for now is not an answer to another question.
        answer(anna, question, f"{page.path}/reschedule")
        assert anna.twin(page)["outcome"] == "queued"


def test_f81_a_message_is_not_its_own_repetition(anna: Browser) -> None:
    [page] = paused(anna)
    release(anna, page, when="now")


def test_f81_a_missed_or_paused_one_is_released_by_nobody_else(
    new_browser: Callable[[], Browser],
) -> None:
    anna, ben = new_browser(), new_browser()
    ben.sign_in("ben")
    anna.sign_in("anna")
    send_at = f"{AT + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    page = ben.send_and_look(send_at=send_at, time_zone="UTC")
    pause(ben, "ben")
    token = {"csrf_token": anna.get("/").fields()["csrf_token"]}
    anna.post(f"{page.path}/reschedule", {**token, "when": "now"}, status=404)
    anna.post("/messages/release", token, status=303)
    assert ben.twin(page)["outcome"] == "paused"
    anna.post(f"{page.path}/cancel", token, status=303)  # that an admin may


# --- All of them ----------------------------------------------------------------------------------


def press_release(browser: Browser, *, status: int) -> Page:
    page = browser.get("/messages?tab=attention")
    return browser.press(page, "/messages/release", status=status)


@pytest.fixture
def either(make_app: MakeApp, either_url: str, sipgate: Simulator) -> Browser:
    browser = Browser(make_app(DATABASE_URL=either_url), sipgate)
    browser.sign_in()
    return browser


def test_f81_all_paused_ones_are_released_at_their_planned_times(
    either: Browser, sipgate: Simulator
) -> None:
    anna, app = either, either.app
    pages = paused(anna, "one", "two", "three")
    before = [anna.twin(page)["send_at"] for page in pages]
    question = press_release(anna, status=409)
    assert "This releases 3 messages, 3 parts in total: 3 at their planned times" in (question.text)
    assert {anna.twin(page)["outcome"] for page in pages} == {"paused"}
    done = answer(anna, question, "/messages/release")
    assert "3 messages were released." in anna.follow(done).text
    assert {anna.twin(page)["outcome"] for page in pages} == {"held"}
    assert [anna.twin(page)["send_at"] for page in pages] == before
    work(app)
    assert arrived(sipgate) == {}
    assert anna.get("/attention").json == {"count": 0}
    with time_machine.travel(AT + timedelta(hours=29, minutes=30), tick=True):
        anna.sign_in()
        work(app)
        work(app)
    assert sum(arrived(sipgate).values()) == 3


def test_f81_one_paused_message_is_released_without_a_count(anna: Browser) -> None:
    [page] = paused(anna)
    press_release(anna, status=303)
    assert anna.twin(page)["outcome"] == "held"


def test_f81_a_new_paused_one_is_asked_about_anew(anna: Browser) -> None:
    paused(anna, "one", "two")
    question = press_release(anna, status=409)
    paused(anna, "three", to=TWO)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields("/messages/release"), "confirm": str(button["value"])}
    data["csrf_token"] = anna.get("/").fields()["csrf_token"]
    again = anna.post("/messages/release", data, status=409)
    assert "This releases 3 messages" in again.text


def test_f81_a_batch_goes_on_at_its_planned_time_and_one_without_a_time_now(
    either: Browser, sipgate: Simulator
) -> None:
    anna, app = either, either.app
    later = {"send_at": "2026-12-02T18:00", "time_zone": "UTC"}
    planned = batch(anna, "planned", "+4917604069{}", **later)
    now = batch(anna, "now", "+4917604068{}")
    pause(anna)
    assert counts(anna, planned) == counts(anna, now) == {"paused": 3}
    question = press_release(anna, status=409)
    assert "This releases 6 messages, 6 parts in total: 3 at" in question.text
    answer(anna, question, "/messages/release")
    work(app)
    assert counts(anna, planned) == {"held": 3}
    assert counts(anna, now) == {"accepted": 3}
    assert "stopped" not in anna.get(planned.path).text
    assert sum(arrived(sipgate).values()) == 3


def test_f81_what_is_too_late_goes_on_asking(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    [late] = paused(anna, hours=2)
    old = batch(anna, "old", "+4917604069{}", send_at="2026-12-01T15:00", time_zone="UTC")
    pause(anna)
    with minutes_after(400):
        assert "Release paused messages" not in anna.get("/messages?tab=attention").text
        token = {"csrf_token": anna.get("/").fields()["csrf_token"]}
        anna.post("/messages/release", token, status=303)
        work(app)
        assert anna.twin(late)["outcome"] == "missed"
        assert counts(anna, old)["paused"] + counts(anna, old)["missed"] == 3
        assert anna.get("/attention").json == {"count": 2}
    assert arrived(sipgate) == {}


def test_f81_one_of_a_batch_that_has_long_stood_still_is_not_late_when_released(
    either: Browser, sipgate: Simulator
) -> None:
    anna, app = either, either.app
    old = batch(anna, "old", "+4917604069{}")
    pause(anna)
    with minutes_after(400):
        anna.sign_in()
        link = anna.get(old.path).soup.select_one("main a[href^='/messages/']")
        assert link is not None
        release(anna, anna.get(str(link["href"])), when="now")
        work(app)
        assert counts(anna, old) == {"accepted": 1, "paused": 2}
    assert sum(arrived(sipgate).values()) == 1


def test_f81_the_questions_of_many_are_counted(make_app: MakeApp, sipgate: Simulator) -> None:
    anna = Browser(make_app(), sipgate)
    anna.sign_in()
    landline = "+4921163553355"
    send_at = {"send_at": "2026-12-02T18:00", "time_zone": "UTC"}
    question = anna.send(landline, "read aloud", status=409, **send_at)
    answer(anna, question, "/messages")
    paused(anna, "same", "other")
    paused(anna, "third", to=TWO)
    answer(anna, anna.send(ONE, "same", status=409), "/messages")
    anna.client.application = make_app(QUIET_HOURS="17:00-20:00")  # 19:00 in Berlin
    sipgate.world.set_caller_id("anna", "s0", "+491713920077")
    with minutes_after(2):
        question = press_release(anna, status=409)
    for sentence in (
        "This releases 4 messages",
        "4 of them may arrive at night.",
        "1 of them repeats a text to the same number.",
        "1 of them goes to a number that is not a mobile number.",
        "4 of them now have a different sender",
    ):
        assert sentence in question.text


def batch(browser: Browser, text: str, numbers: str, **fields: str) -> Page:
    to = "\n".join(numbers.format(f"{n:03d}") for n in range(3))
    question = browser.send(to, text, status=409, **fields)
    return browser.follow(answer(browser, question, "/messages"))
