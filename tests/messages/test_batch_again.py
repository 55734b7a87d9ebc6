"""Sending again to those of a batch to whom nothing was sent."""

import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.worker import counts, send_to_many, work
from webapp.database import db
from webapp.database.models import Message
from webapp.simulator import Fault
from webapp.simulator.server import Simulator


def half_failed(app: Flask, browser: Browser) -> Page:
    """A batch of five of which sipgate refused two."""
    page = send_to_many(browser, 5, "Closed on Friday")
    for _ in range(2):
        browser.sipgate.fail_next("send", Fault(400))
    work(app)
    assert counts(browser, page) == {"refused": 2, "accepted": 3}
    return browser.get(page.path)


def link_to_again(page: Page) -> str:
    links = [str(a["href"]) for a in page.soup.select("main a") if "that failed" in a.get_text()]
    return links[0] if links else ""


def repeated(app: Flask) -> dict[str, str]:
    """The recipients of new messages, and the outcomes of those that they repeat."""
    with app.app_context():
        old, new = sa.orm.aliased(Message), sa.orm.aliased(Message)
        query = sa.select(new.recipient, old.outcome).join(old, old.id == new.previous_id)
        found = {number: str(outcome.value) for number, outcome in db.session.execute(query)}
        db.session.rollback()
    return found


def test_a_form_is_filled_for_those_that_failed_and_its_messages_repeat_them(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url)
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = half_failed(app, anna)
    assert "Send again to the 2 that failed" in page.text
    assert anna.get("/attention").json == {"count": 1}
    form = anna.get(link_to_again(page)).fields("/messages")
    failed = form["recipient"].split()
    assert form["message"] == "Closed on Friday"
    question = anna.post("/messages", form, status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields("/messages"), "confirm": str(button["value"])}
    new = anna.follow(anna.post("/messages", data, status=303))
    work(app)
    assert counts(anna, new) == {"accepted": 2}
    assert repeated(app) == dict.fromkeys(failed, "refused")
    # They are dealt with, and nothing is left to send again.
    assert anna.get("/attention").json == {"count": 0}
    assert link_to_again(anna.get(page.path)) == ""
    anna.get(f"{page.path}/again", status=404)
    assert [one.accepted for one in sipgate.world.arrivals].count(True) == 5


def test_somebody_elses_batch_cannot_be_sent_again(app: Flask, sipgate: Simulator) -> None:
    ben, anna = Browser(app, sipgate), Browser(app, sipgate)
    ben.sign_in("ben")
    anna.sign_in("anna")
    page = half_failed(app, ben)
    assert link_to_again(anna.get(page.path)) == ""
    anna.get(f"{page.path}/again", status=404)
