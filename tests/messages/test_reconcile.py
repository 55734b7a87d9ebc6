"""Unknown outcomes, settled: by a unique find in sipgate's history, or by a person's word."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import impatient, work
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

LOST = Fault(mode="close", deliver=True)
NEVER_ARRIVED = Fault(mode="close")


@pytest.fixture
def app(keep_app: MakeApp) -> Flask:
    app = keep_app(SIPGATE_OPTIONAL_SCOPES="history:read")
    impatient(app)
    return app


def send_into_the_void(browser: Browser, fault: Fault = LOST, text: str = "Hello") -> Page:
    browser.sipgate.fail_next("send", fault)
    page = browser.send_and_look(text=text)
    assert browser.twin(page)["outcome"] == "unknown"
    return page


def two_minutes_later() -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(minutes=2), tick=True)


def test_f07_a_unique_find_in_the_history_settles_it(app: Flask, anna: Browser) -> None:
    page = send_into_the_void(anna)
    with two_minutes_later():
        work(app)
        assert anna.twin(page)["outcome"] == "accepted"
        assert "found in sipgate's history" in anna.get(page.path).text


def test_absence_from_the_history_settles_nothing(app: Flask, anna: Browser) -> None:
    page = send_into_the_void(anna, NEVER_ARRIVED)
    for minutes in (2, 6, 16, 61, 90):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
            work(app)
    assert anna.twin(page)["outcome"] == "unknown"


def test_the_worker_stops_looking_after_an_hour(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    send_into_the_void(anna, NEVER_ARRIVED)
    for minutes in (2, 6, 16, 61, 90, 120):
        with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True):
            work(app)
    assert sipgate.world.calls["history"] == 4


def test_two_equal_texts_cannot_be_told_apart(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    anna.send_and_look()
    sipgate.fail_next("send", NEVER_ARRIVED)
    question = anna.send(status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(), "confirm": str(button["value"])}
    page = anna.follow(anna.post("/messages", data, status=303))
    with two_minutes_later():
        work(app)
    assert anna.twin(page)["outcome"] == "unknown"


def test_a_person_may_look_and_is_shown_what_fits(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_into_the_void(anna, NEVER_ARRIVED)
    found = anna.press(page, f"{page.path}/look", status=200)
    assert "No matching entry yet" in found.text


@pytest.mark.parametrize(
    ("said", "sentence"),
    [("accepted", "marked it as sent"), ("not_sent", "marked it as not sent")],
)
def test_a_persons_word_settles_it_and_is_kept_with_the_name(
    app: Flask, anna: Browser, said: str, sentence: str
) -> None:
    page = send_into_the_void(anna)
    fields = page.fields(f"{page.path}/settle")
    anna.post(f"{page.path}/settle", {**fields, "outcome": said}, status=303)
    assert anna.twin(page)["outcome"] == said
    text = anna.get(page.path).text
    assert sentence in text
    assert "Anna Sommer" in text


@pytest.mark.parametrize("said", ["", "scheduled", "unknown", "held", "nonsense"])
def test_only_a_final_outcome_can_be_said(app: Flask, anna: Browser, said: str) -> None:
    page = send_into_the_void(anna)
    fields = page.fields(f"{page.path}/settle")
    anna.post(f"{page.path}/settle", {**fields, "outcome": said}, status=422)
    assert anna.twin(page)["outcome"] == "unknown"


def test_nobody_elses_word_counts(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser]
) -> None:
    page = send_into_the_void(anna)
    ben = new_browser()
    ben.sign_in("ben")
    token = ben.get("/").fields()["csrf_token"]
    data = {"csrf_token": token, "outcome": "accepted"}
    ben.post(f"{page.path}/settle", data, status=404)
    assert anna.twin(page)["outcome"] == "unknown"


def test_without_the_permission_nothing_is_looked_up(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app()
    impatient(app)
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_into_the_void(anna)
    assert "Check sipgate's history" not in page.text
    with two_minutes_later():
        work(app)
    assert sipgate.world.calls["history"] == 0


@pytest.mark.parametrize("fault", [Fault(500), Fault(403), Fault(200, body=b'{"items": null}')])
def test_f24_a_history_that_cannot_be_read_changes_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, fault: Fault
) -> None:
    page = send_into_the_void(anna)
    sipgate.fail_next("history", fault)
    assert "No matching entry yet" in anna.press(page, f"{page.path}/look", status=200).text
    assert anna.twin(page)["outcome"] == "unknown"
