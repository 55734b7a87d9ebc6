"""Messages that wait: planned, queued, withdrawn, handed over."""

from datetime import UTC, datetime, timedelta

import time_machine
from flask import Flask

from tests.support.pages import Browser
from tests.support.worker import work
from webapp.simulator.server import Simulator


def in_hours(hours: float) -> str:
    """A local time for the form, in UTC."""
    return f"{datetime.now(UTC) + timedelta(hours=hours):%Y-%m-%dT%H:%M}"


def test_a_message_for_tomorrow_is_held_and_then_handed_to_sipgate(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = anna.send_and_look(send_at=in_hours(24), time_zone="UTC")
    assert anna.twin(page)["outcome"] == "held"
    work(app)
    assert sipgate.world.arrivals == []
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=23, minutes=1), tick=True):
        work(app)
        anna.sign_in()  # the session has ended meanwhile; the message went all the same
        assert anna.twin(page)["outcome"] == "scheduled"
    [arrival] = sipgate.world.arrivals
    assert arrival.send_at is not None


def test_several_recipients_are_asked_about_and_become_a_batch(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    numbers = "\n".join(f"+4917139200{n}" for n in range(50, 62))
    question = anna.send(numbers, status=409)
    assert "12 recipients" in question.text
    data = {**question.fields(), "confirm": "many-12-12"}
    page = anna.follow(anna.post("/messages", data, status=303))
    assert "12 messages" in page.h1
    work(app)
    twin = anna.get(page.path, headers={"Accept": "application/json"}).json
    assert twin["counts"]["accepted"] == 12
    assert len(sipgate.world.arrivals) == 12


def test_a_held_message_can_be_changed_and_withdrawn(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = anna.send_and_look(send_at=in_hours(24), time_zone="UTC")
    form = anna.get(f"{page.path}/edit")
    data = {**form.fields(), "message": "Changed"}
    page = anna.follow(anna.post(form.path, data, status=303))
    assert anna.twin(page)["message"] == "Changed"
    anna.press(page, f"{page.path}/cancel")
    assert anna.twin(page)["outcome"] == "cancelled"
    work(app)
    assert sipgate.world.arrivals == []
