"""Messages made from a list: whatever happens between two pieces, each is made and sent once."""

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support import lists
from tests.support.pages import Browser, Page
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import arrived, counts, put_clocks_back, work
from webapp.database import db, transaction
from webapp.database.models import Batch, Message, TokenSet, UploadedList
from webapp.jobs import tasks
from webapp.messages.lists import fill
from webapp.rules.times import now
from webapp.simulator import Simulator

PEOPLE = 7


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two messages in a piece, so that seven people need four."""
    monkeypatch.setattr(fill, "PIECE", 2)


@pytest.fixture
def batch(anna: Browser) -> Page:
    """A batch whose messages are still to be made."""
    tasks.queue.flush()
    found = lists.send(anna, lists.checked(anna, lists.people(PEOPLE)))
    tasks.queue.flush()
    return found


def id_of(batch: Page) -> str:
    return batch.path.rpartition("/")[2]


def fill_some(app: Flask, batch: Page, pieces: int) -> bool:
    """Make so many pieces, as if the worker was told to stop then."""
    left = iter(range(pieces))
    with app.app_context():
        return fill.fill(id_of(batch), is_stopping=lambda: next(left, None) is None)


def press(browser: Browser, batch: Page, what: str) -> None:
    action = f"{batch.path}/{what}"
    browser.post(action, browser.get(batch.path).fields(action), status=303)


def finish(app: Flask, times: int = 3) -> None:
    for _ in range(times):
        put_clocks_back(app)
        work(app)


def made(app: Flask) -> Counter[str]:
    return Counter(row["outcome"] for row in stored_rows(app)["messages"])


def all_went_once(sipgate: Simulator) -> bool:
    return len(arrived(sipgate)) == PEOPLE and set(arrived(sipgate).values()) == {1}


@pytest.mark.parametrize("pieces", range(6))
def test_a_fill_that_ends_anywhere_goes_on_where_it_was(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page, pieces: int
) -> None:
    is_done = fill_some(app, batch, pieces)
    assert is_done == (pieces > 4)
    assert sum(made(app).values()) == min(PEOPLE, 2 * pieces)
    if not is_done:
        assert "Preparing" in anna.get(batch.path).text
        work(app, sweep=False)
        assert not arrived(sipgate), "nothing is sent before all are there"
    finish(app)
    assert all_went_once(sipgate)
    assert counts(anna, batch) == {"accepted": PEOPLE}


def test_two_at_once_make_each_message_once(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    calls = iter(range(100))

    def let_another_go_first() -> bool:
        if next(calls) == 1:
            fill_some(app, batch, 2)
        return False

    with app.app_context():
        fill.fill(id_of(batch), is_stopping=let_another_go_first)
    finish(app)
    assert len(stored_rows(app)["messages"]) == PEOPLE
    assert all_went_once(sipgate)


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_paused_between_two_pieces_nothing_goes_until_it_is_resumed(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page, pieces: int
) -> None:
    fill_some(app, batch, pieces)
    press(anna, batch, "stop")
    finish(app)
    assert made(app) == {"paused": PEOPLE}
    assert not arrived(sipgate)
    press(anna, batch, "resume")
    finish(app)
    assert all_went_once(sipgate)


def test_resumed_while_it_is_still_filled_it_goes_on_as_if_nothing_was(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    press(anna, batch, "stop")
    fill_some(app, batch, 1)
    press(anna, batch, "resume")
    finish(app)
    assert all_went_once(sipgate)


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_cancelled_between_two_pieces_nobody_gets_anything(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page, pieces: int
) -> None:
    fill_some(app, batch, pieces)
    press(anna, batch, "cancel")
    finish(app)
    assert made(app) == {"cancelled": PEOPLE}
    assert not arrived(sipgate)
    row = stored_rows(app)["batches"][0]
    assert row["filled_at"] is not None
    assert row["wish"] == ""


def sign_out(browser: Browser, waiting: str) -> None:
    page = browser.get("/logout")
    assert "7" in page.text, "it says how many wait, also those that are not made yet"
    browser.post("/logout", {**page.fields("/logout"), "waiting": waiting}, status=303)


def test_signed_out_with_a_pause_nothing_goes_until_it_is_released(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    sign_out(anna, "pause")
    finish(app)
    assert made(app) == {"paused": PEOPLE}
    anna.sign_in()
    press(anna, batch, "resume")
    finish(app)
    assert all_went_once(sipgate)


def test_signed_out_with_a_handover_it_is_finished_and_then_the_sign_in_ends(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    sign_out(anna, "hand_over")
    finish(app)
    assert all_went_once(sipgate)
    assert stored_rows(app)["token_sets"][0]["ended_at"] is not None


@pytest.mark.parametrize("pieces", [0, 1, 3])
def test_signed_out_with_a_handover_a_planned_list_goes_to_sipgate_whole(
    app: Flask, anna: Browser, pieces: int
) -> None:
    later = f"{now() + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    check = lists.checked(anna, lists.people(PEOPLE))
    batch = lists.send(anna, check, send_at=later, time_zone="UTC")
    tasks.queue.flush()
    fill_some(app, batch, pieces)
    sign_out(anna, "hand_over")
    tasks.queue.flush()
    fill_some(app, batch, 10)
    work(app)
    assert made(app) == {"scheduled": PEOPLE}
    work(app)
    assert stored_rows(app)["token_sets"][0]["ended_at"] is not None


def test_of_a_planned_list_cancelled_after_a_handover_nothing_more_goes(
    app: Flask, anna: Browser
) -> None:
    later = f"{now() + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    check = lists.checked(anna, lists.people(PEOPLE))
    batch = lists.send(anna, check, send_at=later, time_zone="UTC")
    tasks.queue.flush()
    fill_some(app, batch, 1)
    sign_out(anna, "hand_over")
    tasks.queue.flush()
    anna.sign_in()
    press(anna, batch, "cancel")
    fill_some(app, batch, 10)
    work(app)
    assert made(app) == {"cancelled": PEOPLE}


@pytest.mark.parametrize("pieces", [0, 2])
def test_once_the_last_sign_in_has_ended_it_waits_for_its_member(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page, pieces: int
) -> None:
    fill_some(app, batch, pieces)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(TokenSet).values(ended_at=now(), access_token=None))
    finish(app)
    assert made(app) == {"paused": PEOPLE}
    assert {row["reason"] for row in stored_rows(app)["messages"]} == {"sign_in_ended"}
    anna.sign_in()
    press(anna, batch, "resume")
    finish(app)
    assert all_went_once(sipgate)


def run(app: Flask, *command: str) -> None:
    done = app.test_cli_runner().invoke(args=command)
    assert done.exit_code == 0, done.output


def test_on_hold_it_is_made_but_not_sent(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    run(app, "hold")
    finish(app)
    assert made(app) == {"queued": PEOPLE}
    assert not arrived(sipgate)
    run(app, "release")
    finish(app)
    assert all_went_once(sipgate)


def test_who_wants_no_more_texts_meanwhile_gets_none(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    fields = anna.get("/blocked").fields("/blocked")
    for number in ("0176 04070000", "0176 04070005"):  # made already, and not yet
        anna.post("/blocked", {**fields, "number": number, "how": "phone"}, status=303)
    finish(app)
    assert made(app) == {"accepted": PEOPLE - 2, "cancelled": 2}
    assert not {"+4917604070000", "+4917604070005"} & arrived(sipgate).keys()
    reasons = {row["reason"] for row in stored_rows(app)["messages"]} - {""}
    assert reasons == {"blocked"}


@pytest.mark.parametrize("number", ["+4917604070000", "+4917604070001", "+4917604070006"])
def test_a_forgotten_number_is_not_made_again(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page, number: str
) -> None:
    fill_some(app, batch, 1)
    run(app, "forget", "--number", number)
    finish(app)
    assert len(stored_rows(app)["messages"]) == PEOPLE - 1
    assert number not in arrived(sipgate)
    assert number[3:].encode() not in stored_bytes(app)
    twin = lists.twin(anna, batch)
    assert twin["total"] == twin["made"] == PEOPLE - 1


def test_a_list_that_is_being_sent_is_deleted_by_nobody(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    id_ = stored_rows(app)["lists"][0]["id"]
    anna.get(f"/lists/{id_}", status=409)
    data = anna.get("/batches/new").fields("/batches/new")
    anna.post(f"/lists/{id_}/delete", data, status=409)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(UploadedList).values(touched_at=now() - timedelta(days=2)))
    finish(app)
    assert all_went_once(sipgate)


def test_after_a_long_outage_its_messages_are_asked_about(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    past = now() - timedelta(hours=2)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Batch).values(created_at=past))
    fill_some(app, batch, 1)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Batch).values(active_at=past))
    work(app)
    work(app)
    work(app)
    assert made(app) == {"missed": PEOPLE}
    assert not arrived(sipgate)
    question = answer_to(anna, batch, "missed", status=409)
    assert "This releases 7 messages, 7 parts in total: 0 at their planned times, 7 now." in (
        question.text
    )
    assert made(app) == {"missed": PEOPLE}
    action = f"{batch.path}/missed"
    form = {**question.fields(action), "confirm": confirm_of(question)}
    anna.post(action, form, status=303)
    finish(app)
    assert all_went_once(sipgate)
    page = anna.post(action, form, status=409)  # pressed twice
    assert "is missed any more" in page.text
    finish(app)
    assert all_went_once(sipgate)


def answer_to(browser: Browser, batch: Page, what: str, *, status: int) -> Page:
    action = f"{batch.path}/{what}"
    return browser.post(action, browser.get(batch.path).fields(action), status=status)


def test_of_missed_ones_those_marked_done_and_those_paused_stay(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 10)
    first = Message.position.in_([2, 3])
    last = Message.position == 8
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).where(first).values(outcome="missed", done_at=now()))
        session.execute(sa.update(Message).where(last).values(outcome="paused", reason="stopped"))
        rest = sa.not_(sa.or_(first, last))
        session.execute(sa.update(Message).where(rest).values(outcome="missed"))
        over = Message.position == 4
        session.execute(sa.update(Message).where(over).values(not_after=now()))
        session.execute(sa.update(Batch).values(stop_reason="stopped"))
    assert "Send the 3 missed ones now" in anna.get(batch.path).text
    question = answer_to(anna, batch, "missed", status=409)
    assert "This releases 3 messages" in question.text
    anna.press(question, f"{batch.path}/missed", confirm=confirm_of(question))
    finish(app)
    assert made(app) == {"accepted": 3, "missed": 3, "paused": 1}


def confirm_of(page: Page) -> str:
    button = page.soup.select_one("main button[name=confirm]")
    assert button is not None
    return str(button["value"])


def test_a_planned_list_waits_for_its_time(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    later = f"{now() + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    check = lists.checked(anna, lists.people(3))
    lists.send(anna, check, send_at=later, time_zone="UTC")
    work(app)
    assert made(app) == {"held": 3}
    assert not arrived(sipgate)


def test_a_list_that_nobody_can_read_any_more_is_said_so(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    with app.app_context(), transaction() as session:
        session.execute(sa.text("UPDATE lists SET content = NULL"))
    finish(app)
    assert sum(arrived(sipgate).values()) == 2
    assert "5 messages could not be made" in anna.get(batch.path).text


def test_a_list_is_gone_a_day_after_it_was_last_touched(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, lists.people(2))
    with app.app_context(), transaction() as session:
        session.execute(sa.update(UploadedList).values(touched_at=now() - timedelta(hours=25)))
    work(app)
    page = anna.get(check.path, status=410)
    assert "This list was deleted on" in page.h1
    row = stored_rows(app)["lists"][0]
    assert row["content"] is row["original"] is row["name"] is row["mapping"] is None
    with app.app_context(), transaction() as session:
        session.execute(sa.update(UploadedList).values(deleted_at=now() - timedelta(days=8)))
    work(app)
    anna.get(check.path, status=404)


@pytest.mark.sqlite
def test_of_an_erased_list_not_even_the_encrypted_bytes_are_in_the_file(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app()
    browser = Browser(app, sipgate)
    browser.sign_in("anna")
    lists.checked(browser, lists.people(400))
    rows = stored_rows(app)["lists"][0]
    pieces = [str(rows[name])[-90:-50].encode() for name in ("content", "result")]
    assert all(len(piece) == 40 and piece in file_of(app) for piece in pieces)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(UploadedList).values(touched_at=now() - timedelta(hours=25)))
    work(app)
    assert not any(piece in file_of(app) for piece in pieces)


def file_of(app: Flask) -> bytes:
    """The SQLite file and what is written ahead of it, after a checkpoint."""
    with app.app_context():
        path = Path(db.engine.url.database or "")
    with closing(sqlite3.connect(path)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert not busy
    found = (path, path.with_name(f"{path.name}-wal"))
    return b"".join(one.read_bytes() for one in found if one.exists())


def test_rows_are_sent_left_out_or_errors_everywhere(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    rows = [(number, f"P{n}") for n, number in enumerate(lists.numbers(6))]
    rows += [("0176", "short"), (lists.numbers(1)[0], "again"), ("", ""), ("0176 04070099", "")]
    check = lists.checked(anna, lists.csv_of(rows))
    twin = lists.twin(anna, check)
    check = lists.leave_out(anna, check, "errors", "duplicates")
    after = lists.twin(anna, check)
    batch = lists.send(anna, check)
    finish(app)
    sent = lists.twin(anna, batch)
    report = anna.get(f"{batch.path}/report.csv").response.get_data(as_text=True).splitlines()
    left = anna.get(f"{batch.path}/left-out.csv").response.get_data(as_text=True).splitlines()
    assert twin["rows"] == after["rows"] == sent["rows"] == len(rows) - 1, "a blank row is none"
    assert after["sendable"] == sent["total"] == sent["made"] == len(report) - 1 == 6
    assert after["left_out"] == sum(sent["left_out"].values()) == len(left) - 1 == 3
    assert sum(arrived(sipgate).values()) == 6
    assert sorted(line.split(",")[0] for line in report[1:]) == ["2", "3", "4", "5", "6", "7"]
    assert [line.split(",")[0] for line in left[1:]] == ["8", "9", "11"]


def test_the_same_list_again_while_the_first_is_still_made_reaches_nobody_twice(
    app: Flask, anna: Browser, sipgate: Simulator, batch: Page
) -> None:
    fill_some(app, batch, 1)
    check = lists.checked(anna, lists.people(PEOPLE + 1))
    twin = lists.twin(anna, check)
    assert (twin["counts"]["already_sent"], twin["sendable"]) == (PEOPLE, 1)
    anna.post("/batches", check.fields("/batches"), status=303)
    finish(app)
    assert set(arrived(sipgate).values()) == {1}
    assert len(arrived(sipgate)) == PEOPLE + 1


@pytest.mark.parametrize("other", ["anna", "ben"])
def test_two_equal_lists_compared_at_the_same_moment_are_not_both_taken(
    app: Flask, anna: Browser, sipgate: Simulator, other: str
) -> None:
    colleague = Browser(app, sipgate)
    colleague.sign_in(other)
    form = lists.confirmed(anna, lists.checked(anna, lists.people(PEOPLE)))
    with app.app_context():
        ahead = now() + timedelta(minutes=1)
    lists.send(colleague, lists.checked(colleague, lists.people(PEOPLE)))
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Batch).values(created_at=ahead, wish="cancel"))
    page = anna.post("/batches", form, status=409)  # as if it came while this one was compared
    assert "the list has changed" in page.text
    assert len(stored_rows(app)["batches"]) == 1
