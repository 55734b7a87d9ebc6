"""The worker's threads: what their own process enqueues, they begin at once."""

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from tests.support.raw_servers import wait_until
from tests.support.worker import arrived, counts, send_to_many
from webapp.database import db
from webapp.database.models import Message
from webapp.jobs import consumer, tasks
from webapp.jobs.storage import storage_for
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

POLL_S = 60.0
"""Nobody finds a task by polling before the test ends."""
SOON_S = 20


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url, SEND_CONCURRENCY="6")


@pytest.fixture
def lanes(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[consumer.WokenConsumer]:
    """Threads that have looked for a task once, and now wait."""
    monkeypatch.setattr(consumer, "FIRST_POLL_S", POLL_S)
    monkeypatch.setattr(consumer, "LAST_POLL_S", POLL_S)
    monkeypatch.setattr(consumer.WokenConsumer, "_set_signal_handlers", lambda _self: None)
    lanes = consumer.WokenConsumer(app)
    lanes.periodic = False
    lanes.start()
    time.sleep(1)
    yield lanes
    lanes.stop(graceful=True)


def test_a_batch_goes_at_once(
    anna: Browser, sipgate: Simulator, lanes: consumer.WokenConsumer
) -> None:
    page = send_to_many(anna, 20)
    wait_until(lambda: counts(anna, page) == {"accepted": 20}, seconds=SOON_S)
    assert set(arrived(sipgate).values()) == {1}


def test_who_finds_a_task_of_another_process_wakes_the_next(
    app: Flask, anna: Browser, sipgate: Simulator, request: pytest.FixtureRequest
) -> None:
    sipgate.world.fail_always("send", Fault(delay_s=3, deliver=True))
    send_to_many(anna, 6)
    tasks.queue.storage.flush_queue()
    with app.app_context():
        ids = db.session.scalars(sa.select(Message.id)).all()
        db.session.rollback()
    request.getfixturevalue("lanes")
    began = time.monotonic()
    others = storage_for(app, tasks.queue.name)
    for message_id in ids:
        others.enqueue(tasks.queue.serialize_task(tasks.deliver.s(message_id)))
    others.close()
    tasks.enqueue_message("none")
    wait_until(lambda: len(arrived(sipgate)) == 6, seconds=SOON_S)
    assert time.monotonic() - began < 4 * 3, "one thread sent them all"


def test_waiting_threads_end_at_once(lanes: consumer.WokenConsumer) -> None:
    began = time.monotonic()
    lanes.stop(graceful=True)
    assert time.monotonic() - began < SOON_S
    assert not any(thread.is_alive() for _, thread in lanes.worker_threads)
