"""Numbers that want no more texts: no form takes them, what waits is cancelled, none slips by."""

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.jobs.test_operations import OWNER
from tests.support.pages import Browser, Page
from tests.support.raw_servers import another_tab
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import arrived, counts, send_to_many, work
from webapp.database import transaction
from webapp.database.models import Message
from webapp.messages import sending, submit
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

ONE = "+491713920050"
TYPED = "0171 3920050"
WHY = "noted on"


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url, SEND_CONCURRENCY="1")


@pytest.fixture
def ben(new_browser: Callable[[], Browser]) -> Browser:
    browser = new_browser()
    browser.sign_in("ben")
    return browser


def block(browser: Browser, number: str = TYPED, how: str = "phone", *, status: int = 303) -> Page:
    fields = {**browser.get("/blocked").fields("/blocked"), "number": number, "how": how}
    return browser.post("/blocked", fields, status=status)


def lift(browser: Browser) -> Page:
    """Press "Lift" at the newest entry, and mean it."""
    page = browser.get("/blocked")
    action = str(page.soup.select_one("main form[action$='/lift']")["action"])  # type: ignore[index]
    question = browser.press(page, action, status=409)
    return browser.follow(browser.press(question, action, confirm="lift"))


def plan(browser: Browser, to: str = ONE) -> Page:
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(to, send_at=send_at, time_zone="UTC")


def test_no_form_of_the_account_takes_the_number(
    app: Flask, anna: Browser, ben: Browser, sipgate: Simulator
) -> None:
    block(ben)
    for browser in (anna, ben):
        page = browser.send(f"{TYPED}\n+491713920051", status=422)
        assert WHY in page.error_at("recipient")
        assert "Ben" in page.error_at("recipient")
    own = anna.compose(message="A test", own_number=TYPED)
    assert WHY in anna.post("/test-message", own, status=422).error_at("own_number")
    assert not sipgate.world.arrivals
    anna.send("+491713920051")
    assert arrived(sipgate) == {"+491713920051": 1}


def test_another_account_may_still_write_there(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    block(anna)
    karl = new_browser()
    karl.sign_in("karl")
    karl.send(TYPED)
    assert arrived(sipgate) == {ONE: 1}
    assert "0171 3920050" not in karl.get("/blocked").text


def test_what_waits_is_cancelled_whoever_planned_it(
    app: Flask, anna: Browser, ben: Browser, sipgate: Simulator
) -> None:
    planned = plan(ben)
    page = anna.follow(block(anna))
    assert "1 waiting message was cancelled." in anna.get("/blocked").text + page.text
    twin = ben.twin(ben.get(planned.path))
    assert (twin["outcome"], twin["reason"]) == ("cancelled", "blocked")
    assert "wants no more texts" in ben.get(planned.path).text
    assert WHY in ben.get(planned.path).text
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(due_at=now()))
    work(app)
    assert not sipgate.world.arrivals


def test_a_planned_message_cannot_be_changed_to_the_number(app: Flask, anna: Browser) -> None:
    planned = plan(anna, "+491713920051")
    block(anna)
    fields = {**anna.get(f"{planned.path}/edit").fields(), "recipient": TYPED}
    page = anna.post(f"{planned.path}/edit", fields, status=422)
    assert WHY in page.error_at("recipient")
    assert anna.twin(planned)["recipient"] == "+491713920051"


def test_in_the_middle_of_a_batch_it_gets_nothing_more(
    app: Flask, anna: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = send_to_many(anna, 4)
    last = "+4917604069003"
    record, noted = sending.record_result, []

    def block_after_first(*args: object, **kwargs: object) -> object:
        if not noted:
            noted.append(block(another_tab(anna), last))
        return record(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sending, "record_result", block_after_first)
    work(app)
    assert noted, "the batch was not sent through record_result"
    assert last not in arrived(sipgate)
    assert counts(anna, page) == {"accepted": 3, "cancelled": 1}


def test_while_its_message_is_being_sent_it_is_cancelled_unless_sipgate_takes_it(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    planned = plan(anna)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(due_at=now()))
    sipgate.fail_next("send", Fault(429, (("Retry-After", "5"),), delay_s=1.5))
    sender = Thread(target=lambda: work(app))
    sender.start()
    while stored_rows(app)["messages"][0]["outcome"] != "sending":
        pass
    tab = another_tab(anna)
    assert "just being sent" in tab.follow(block(tab)).text
    sender.join()
    twin = anna.twin(anna.get(planned.path))
    assert (twin["outcome"], twin["reason"]) == ("cancelled", "blocked")


def test_a_form_that_is_being_taken_does_not_slip_by(
    app: Flask, anna: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The form has looked and not yet committed: noting the number waits, then sees its message."""
    has_looked, go_on = Event(), Event()
    require_room = submit.require_room

    def slowly(*args: object) -> None:
        has_looked.set()
        go_on.wait(5)
        require_room(*args)  # type: ignore[arg-type]

    fields = anna.compose(
        recipient=TYPED,
        message="Hello",
        send_at=f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}",
        time_zone="UTC",
    )
    form = anna.get("/blocked").fields("/blocked")
    monkeypatch.setattr(submit, "require_room", slowly)
    sender = Thread(target=lambda: another_tab(anna).post("/messages", fields, status=303))
    sender.start()
    assert has_looked.wait(5)
    blocker = Thread(
        target=lambda: another_tab(anna).post("/blocked", {**form, "number": TYPED}, status=303)
    )
    blocker.start()
    blocker.join(0.5)
    go_on.set()
    sender.join()
    blocker.join()
    assert [row["outcome"] for row in stored_rows(app)["messages"]] == ["cancelled"]


def test_who_noted_it_or_an_admin_lifts_it_after_a_question(
    app: Flask, anna: Browser, ben: Browser, sipgate: Simulator
) -> None:
    block(ben)
    assert "Lifted." in lift(ben).text
    block(anna)
    assert not ben.get("/blocked").soup.select("main form[action$='/lift']")
    block(ben, "0171 3920051")
    lift(anna)
    lift(anna)
    anna.send(TYPED)
    kinds = [row["kind"] for row in stored_rows(app)["events"]]
    assert (kinds.count("blocked"), kinds.count("unblocked")) == (3, 3)


def test_noting_it_twice_changes_nothing(app: Flask, anna: Browser, ben: Browser) -> None:
    block(ben, how="letter")
    assert "noted already" in anna.follow(block(anna)).text
    rows = stored_rows(app)["blocked_numbers"]
    assert [(row["how"], row["number"]) for row in rows] == [("letter", ONE)]


def test_several_numbers_at_once_and_wrong_ones_are_named(app: Flask, anna: Browser) -> None:
    page = block(anna, "0171 3920050\nhello", status=422)
    assert "hello" in page.error_at("number")
    assert not stored_rows(app)["blocked_numbers"]
    block(anna, "0171 3920050; 0171 3920051\n0171 3920050")
    assert len(stored_rows(app)["blocked_numbers"]) == 2


def test_it_stays_blocked_after_forget_and_the_number_is_nowhere(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    anna.send(TYPED)
    block(anna)
    result = app.test_cli_runner().invoke(args=["forget", "--number", ONE])
    assert result.exit_code == 0, result.output
    assert b"1713920050" not in stored_bytes(app)
    page = anna.send(TYPED, status=422)
    assert WHY in page.error_at("recipient")
    assert "Erased number" in anna.get("/blocked").text


def test_another_secret_key_unblocks_nobody(
    make_app: MakeApp, either_url: str, anna: Browser, sipgate: Simulator
) -> None:
    block(anna)
    other = make_app(DATABASE_URL=either_url, SECRET_KEY="another-key-0123456789-abcdefghijklmn")
    browser = Browser(other, sipgate)
    browser.sign_in("anna")
    assert WHY in browser.send(TYPED, status=422).error_at("recipient")


def test_the_list_is_searched_by_digits_and_colleagues(
    app: Flask, anna: Browser, ben: Browser
) -> None:
    block(anna, "0171 3920050")
    block(ben, "0171 3920051")
    assert "0051" not in anna.get("/blocked?q=3920050").text
    found = anna.get("/blocked?q=Ben").text
    assert "3920051" in found.replace(" ", "")
    assert "3920050" not in found.replace(" ", "")
    assert "No matching numbers" in anna.get("/blocked?q=9999").text


def test_admins_export_it(app: Flask, anna: Browser, ben: Browser) -> None:
    block(ben)
    ben.get("/blocked.csv", status=404)
    text = anna.get("/blocked.csv").response.get_data(as_text=True)
    rows = list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))
    assert rows[0][0] == "Number"
    assert rows[1][0] == f"'{ONE}"


def test_it_is_noted_from_the_page_of_a_message(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = anna.send_and_look(TYPED)
    back = anna.press(page, "/blocked", how="in_person")
    assert back.location.endswith(page.path)
    assert "(in person)" in anna.follow(back).text


def test_the_command_line_keeps_to_it(
    make_app: MakeApp, either_url: str, anna: Browser, sipgate: Simulator
) -> None:
    block(anna)
    app = make_app(DATABASE_URL=either_url, **OWNER)
    send = ["sms", "send", "--from", "s0", "--to", ONE, "--text", "Hello"]
    result = app.test_cli_runner().invoke(args=send)
    assert result.exit_code == 2
    assert WHY in result.output
    assert not sipgate.world.arrivals
