"""The worker, one step at a time: what huey's consumer would do, in the test's own thread."""

from flask import Flask

from tests.pages import Browser, Page
from webapp import tasks
from webapp.database import release
from webapp.extensions import queue
from webapp.sipgate import Sipgate


def work(app: Flask, *, sweep: bool = True) -> int:
    """Do all that is due (found by a sweep first) and return how many tasks ran."""
    queue.app = app
    tasks.setup_queue(app)
    if sweep:
        tasks.sweep.call_local()
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
        before_waiting=release,
    )


def send_to_many(browser: Browser, count: int, text: str = "Hello") -> Page:
    """Send to `count` fictional numbers, answer the question, and open the batch's page."""
    numbers = [f"+4917604069{n:03d}" for n in range(count)]
    question = browser.send("\n".join(numbers), text, status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(), "confirm": str(button["value"])}
    return browser.follow(browser.post("/messages", data, status=303))
