"""A form whose message was erased is not taken again (F71), nor one that is too old to be known."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from itsdangerous import URLSafeSerializer

from tests.support.pages import Browser, Page
from tests.support.rows import stored_rows
from tests.support.worker import arrived
from webapp.database import transaction
from webapp.database.models import BrowserSession, Message
from webapp.jobs import retention
from webapp.simulator.server import Simulator

NUMBER, OWN = "+491713920050", "+491713920060"
Erase = Callable[[Flask], None]


def by_forget(app: Flask) -> None:
    for number in (NUMBER, OWN):
        result = app.test_cli_runner().invoke(args=["forget", "--number", number])
        assert result.exit_code == 0, result.output


def by_retention(app: Flask) -> None:
    with app.app_context():
        with transaction() as rows:
            long_ago = datetime.now(UTC) - timedelta(days=400)
            rows.execute(sa.update(Message).values(created_at=long_ago))
        retention.prune()


either_erasure = pytest.mark.parametrize("erase", [by_forget, by_retention])


def days_later(days: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=True)


@either_erasure
def test_f71_a_form_whose_message_was_erased_sends_nothing_and_gets_a_new_id(
    app: Flask, anna: Browser, sipgate: Simulator, erase: Erase
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    anna.post("/messages", form, status=303)
    erase(app)
    assert stored_rows(app)["messages"] == []
    page = anna.post("/messages", form, status=409)
    assert "This page was used on" in page.text
    assert "its message has been erased since" in page.text
    assert arrived(sipgate) == {NUMBER: 1}
    kept = page.fields("/messages")
    assert (kept["recipient"], kept["message"]) == (NUMBER, "Hello")
    assert kept["submission_id"] != form["submission_id"]
    assert "confirm" not in kept
    anna.post("/messages", kept, status=303)
    assert arrived(sipgate) == {NUMBER: 2}


def test_f71_with_other_words_the_form_of_an_erased_message_is_not_taken_either(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    anna.post("/messages", form, status=303)
    by_forget(app)
    anna.post("/messages", {**form, "message": "Changed"}, status=409)
    assert arrived(sipgate) == {NUMBER: 1}


@either_erasure
def test_f71_the_form_of_an_erased_batch_is_not_taken_again(
    app: Flask, anna: Browser, sipgate: Simulator, erase: Erase
) -> None:
    form = anna.compose(recipient=f"{NUMBER}\n{OWN}", message="Hello")
    question = anna.post("/messages", form, status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    asked = {**question.fields(), "confirm": str(button["value"])}
    batch = anna.post("/messages", asked, status=303)
    anna.press(anna.follow(batch), f"{batch.location}/stop")
    erase(app)
    if erase is by_retention:  # what is paused waits for a person, and is never erased
        assert len(stored_rows(app)["messages"]) == 2
        assert anna.post("/messages", asked, status=303).location == batch.location
        return
    assert stored_rows(app)["batches"] == []
    anna.post("/messages", asked, status=409)
    assert stored_rows(app)["messages"] == []


@either_erasure
def test_f71_a_test_to_oneself_that_was_erased_is_not_sent_again(
    app: Flask, anna: Browser, sipgate: Simulator, erase: Erase
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello", own_number=OWN)
    anna.post("/test-message", form, status=303)
    erase(app)
    page = anna.post("/test-message", form, status=409)
    assert "its message has been erased since" in page.text
    assert arrived(sipgate) == {OWN: 1}


def test_f71_nothing_of_the_message_stays_and_the_id_for_thirty_days(
    app: Flask, anna: Browser
) -> None:
    anna.send(NUMBER)
    by_forget(app)
    (kept,) = stored_rows(app)["submissions"]
    assert (kept["message_id"], kept["batch_id"], kept["content_hash"]) == (None, None, "")
    with app.app_context():
        for days, left in ((29, 1), (31, 0)):
            with days_later(days):
                retention.prune()
            assert len(stored_rows(app)["submissions"]) == left


@pytest.mark.parametrize("path", ["/messages", "/test-message"])
def test_f71_a_form_older_than_seven_days_sends_nothing_and_gets_a_new_id(
    app: Flask, anna: Browser, sipgate: Simulator, path: str
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello", own_number=OWN)
    with days_later(7.1):
        stay_signed_in(app)
        page = anna.post(path, form, status=409)
        assert "open for too long. Nothing was sent" in page.text
        assert arrived(sipgate) == {}
        anna.post(path, page.fields("/messages"), status=303)
    assert sum(arrived(sipgate).values()) == 1


def test_f71_a_form_of_six_days_is_taken(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    with days_later(6.9):
        stay_signed_in(app)
        anna.post("/messages", form, status=303)
    assert arrived(sipgate) == {NUMBER: 1}


def test_f71_an_old_form_that_was_taken_leads_to_its_message(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    taken = anna.post("/messages", form, status=303)
    with days_later(7.1):
        stay_signed_in(app)
        assert anna.post("/messages", form, status=303).location == taken.location
    assert arrived(sipgate) == {NUMBER: 1}


def test_f71_a_draft_does_not_make_its_form_younger(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello", own_number=OWN)
    with days_later(6.9):
        stay_signed_in(app)
        page = anna.follow(anna.post("/test-message", form, status=303))
    with days_later(7.1):
        stay_signed_in(app)
        again = anna.get(page.path).fields("/messages")
        assert "open for too long" in anna.post("/messages", again, status=409).text
    assert arrived(sipgate) == {OWN: 1}


def test_f71_a_form_of_a_version_that_signed_no_time_is_asked_for_once_more(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=NUMBER, message="Hello")
    serializer = URLSafeSerializer(list(app.config["SETTINGS"].secret_key), salt="submission")
    _ours, signed = serializer.loads_unsafe(form["submission_id"])  # by a key made from the secret
    form["submission_id"] = str(serializer.dumps(signed[:4]))
    page = anna.post("/messages", form, status=409)
    assert arrived(sipgate) == {}
    anna.post("/messages", page.fields("/messages"), status=303)
    assert arrived(sipgate) == {NUMBER: 1}


def test_f71_no_page_calls_an_erased_message_unsent(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    """Neither with an old page's form token, nor when the sign-in has ended."""
    form = anna.compose(recipient=NUMBER, message="Hello")
    anna.post("/messages", form, status=303)
    by_forget(app)
    pages: list[Page] = [anna.post("/messages", {**form, "csrf_token": "old"}, status=409)]
    sipgate.world.expire_access_tokens()
    with app.app_context(), transaction() as rows:
        rows.execute(sa.delete(BrowserSession))
    pages.append(anna.post("/messages", form, status=401))
    for page in pages:
        assert "its message has been erased since" in page.text
    assert stored_rows(app)["drafts"] == []
    assert arrived(sipgate) == {NUMBER: 1}


def stay_signed_in(app: Flask) -> None:
    """As if the browser had signed in anew meanwhile, in the same session."""
    at = datetime.now(UTC)
    with app.app_context(), transaction() as rows:
        values = {"created_at": at, "last_seen_at": at, "checked_at": at}
        rows.execute(sa.update(BrowserSession).values(values))
