"""A worker in the test's own thread, one step at a time, and batches for it to send."""

from collections import Counter
from datetime import timedelta

import sqlalchemy as sa
from flask import Flask

from tests.support.pages import Browser, Page
from webapp.database import transaction
from webapp.database.models import Batch, Message
from webapp.jobs import tasks
from webapp.jobs.tasks import queue
from webapp.rules.times import now
from webapp.simulator import Simulator
from webapp.sipgate import Sipgate


def work(app: Flask, *, sweep: bool = True) -> int:
    """Run a sweep, then all tasks; returns how many ran."""
    queue.app = app
    tasks.setup_queue(app)
    if sweep:
        tasks.every_minute.call_local()
    count = 0
    while (task := queue.dequeue()) is not None:
        queue.execute(task)
        count += 1
    return count


def impatient(app: Flask, deadline_s: float = 0.5) -> None:
    """A client whose limits are short, so that a fault costs a test no 20 seconds."""
    settings = app.config["SETTINGS"]
    app.extensions["sipgate"] = Sipgate(
        settings.sipgate_api_url,
        pool_size=8,
        send_deadline_s=deadline_s,
        read_deadline_s=deadline_s,
    )


def send_to_many(browser: Browser, count: int, text: str = "Hello", **fields: str) -> Page:
    """Send to `count` fictional numbers, answer the question, and open the batch's page."""
    numbers = [f"+4917604069{n:03d}" for n in range(count)]
    question = browser.send("\n".join(numbers), text, status=409, **fields)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(), "confirm": str(button["value"])}
    return browser.follow(browser.post("/messages", data, status=303))


def counts(browser: Browser, page: Page) -> Counter[str]:
    """A batch's outcomes, by its JSON twin."""
    twin = browser.get(page.path, headers={"Accept": "application/json"}).json
    return Counter({outcome: count for outcome, count in twin["counts"].items() if count})


def arrived(sipgate: Simulator) -> Counter[str]:
    """Texts that arrived, by recipient."""
    return Counter(arrival.recipient for arrival in sipgate.world.arrivals if arrival.accepted)


def put_clocks_back(app: Flask) -> None:
    """As if two minutes had passed: messages being sent are stale, batches are idle."""
    past = now() - timedelta(minutes=2)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(sending_since=past, due_at=past))
        session.execute(sa.update(Batch).values(active_at=past))
