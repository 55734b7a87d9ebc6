"""What is asked before sending, and that a yes answers exactly what was asked."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from webapp.simulator.server import Simulator

ONE = "+491713920050"


def answer(browser: Browser, question: Page) -> Page:
    """Press the one control that says yes."""
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(), "confirm": str(button["value"])}
    return browser.post("/messages", data, status=303)


def test_f40_the_same_text_to_the_same_number_is_asked_about(
    anna: Browser, sipgate: Simulator
) -> None:
    anna.send(ONE, "Hello")
    question = anna.send(ONE, "Hello", status=409)
    assert "The same text went to" in question.text
    assert len(sipgate.world.arrivals) == 1
    answer(anna, question)
    assert len(sipgate.world.arrivals) == 2


def test_f40_another_text_or_ten_minutes_later_is_not_asked_about(anna: Browser) -> None:
    anna.send(ONE, "Hello")
    anna.send(ONE, "Hello again")
    with time_machine.travel(datetime.now(UTC).timestamp() + 11 * 60, tick=True):
        anna.send(ONE, "Hello")


def test_a_yes_to_one_question_does_not_answer_another(anna: Browser, sipgate: Simulator) -> None:
    question = anna.send(f"{ONE}, +491713920051", status=409)
    data = {**question.fields(), "confirm": "many-3-3"}
    anna.post("/messages", data, status=409)
    anna.post("/messages", {**data, "confirm": "yes"}, status=409)
    assert sipgate.world.arrivals == []


def test_a_landline_is_asked_about(anna: Browser, sipgate: Simulator) -> None:
    question = anna.send("030 23125000", status=409)
    assert "landline" in question.text
    answer(anna, question)
    assert len(sipgate.world.arrivals) == 1


def test_ones_own_sender_number_is_asked_about(anna: Browser) -> None:
    assert "your own sender number" in anna.send("+491713920090", status=409).text


def test_a_colleagues_messages_to_the_number_are_told_of_without_name_time_or_text(
    new_browser: Callable[[], Browser], anna: Browser
) -> None:
    anna.send(ONE, "From Anna, in confidence")
    answer(anna, anna.send(ONE, "From Anna, in confidence", status=409))
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    anna.send(ONE, "Planned by Anna", send_at=send_at, time_zone="UTC")
    ben = new_browser()
    ben.sign_in("ben")
    question = ben.send(ONE, "From Ben", status=409)
    listed = [one.get_text(" ", strip=True) for one in question.soup.select("main li")]
    told = [one for one in listed if "Someone" in one]
    assert told == [
        "Someone in your team has planned a message to +49 171 3920050.",
        "Someone in your team wrote to +49 171 3920050 today.",
    ]
    for secret in ("Anna", "in confidence", "Planned by"):
        assert secret not in str(question.soup.select_one("main"))


def test_nobody_learns_by_trying_what_a_colleague_wrote(
    new_browser: Callable[[], Browser], anna: Browser
) -> None:
    anna.send(ONE, "The exact words")
    ben = new_browser()
    ben.sign_in("ben")
    tried = [ben.send(ONE, text, status=409) for text in ("The exact words", "Other words")]
    asked = [str(page.soup.select_one("main button[name=confirm]")) for page in tried]
    assert asked[0] == asked[1]
    assert "same text" not in tried[0].text


def test_a_team_that_sees_everything_is_told_names_times_and_the_same_text(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(HISTORY_VISIBILITY="team")
    anna, ben = Browser(app, sipgate), Browser(app, sipgate)
    anna.sign_in("anna")
    ben.sign_in("ben")
    anna.send(ONE, "The exact words")
    question = ben.send(ONE, "The exact words", status=409)
    assert "Anna Sommer wrote to +49 171 3920050 on" in question.text
    assert "The same text went to" in question.text


def test_the_pages_say_what_the_team_is_told(make_app: MakeApp, sipgate: Simulator) -> None:
    for shown, sentence in (("own", "not who or when"), ("team", "everyone in your account")):
        about = Browser(make_app(HISTORY_VISIBILITY=shown), sipgate).get("/about").text
        assert sentence in about


def test_an_admin_also_reads_the_colleagues_text(
    new_browser: Callable[[], Browser], anna: Browser
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    ben.send(ONE, "From Ben")
    assert "From Ben" in anna.send(ONE, "From Anna", status=409).text


def test_another_accounts_message_is_never_named(
    new_browser: Callable[[], Browser], anna: Browser
) -> None:
    karl = new_browser()
    karl.sign_in("karl")
    karl.send(ONE, "From Karl")
    anna.send(ONE, "From Anna")


def test_a_sender_that_changed_since_the_page_was_opened_is_asked_about(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=ONE, message="Hello")
    sipgate.world.set_caller_id("anna", "s0", "+491713920077")
    with time_machine.travel(datetime.now(UTC).timestamp() + 61, tick=True):
        question = anna.post("/messages", form, status=409)
        assert "The sender has changed" in question.text
        assert sipgate.world.arrivals == []
        answer(anna, question)
    assert len(sipgate.world.arrivals) == 1


@pytest.mark.parametrize(
    ("number", "hour_utc", "asked"),
    [
        (ONE, 12, False),
        (ONE, 22, True),
        ("+14155550132", 22, False),  # noon to afternoon in all of the United States but the isles
        ("+14155550132", 12, True),  # 4 at night in California, morning in New York
    ],
)
def test_night_at_the_recipients_place_is_asked_about(
    make_app: MakeApp, sipgate: Simulator, number: str, hour_utc: int, asked: bool
) -> None:
    with time_machine.travel(datetime(2026, 12, 1, hour_utc, tzinfo=UTC), tick=True):
        anna = Browser(make_app(QUIET_HOURS="22:00-07:00"), sipgate)
        anna.sign_in()
        page = anna.post("/messages", anna.compose(recipient=number, message="Hello"))
    assert page.status == (409 if asked else 303)
