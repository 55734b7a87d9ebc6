"""A test to oneself: one's own number is asked for once, and the form goes on as it was."""

from collections.abc import Callable

import pytest

from tests.support.pages import Browser, Page
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

OWN, OTHER = "+491713920060", "+491713920050"


def send_test(browser: Browser, status: int = 303, **fields: str) -> Page:
    data = browser.compose(message="Hello", recipient=OTHER, **fields)
    return browser.post("/test-message", data, status=status)


def test_a_test_goes_to_oneself_and_the_form_is_still_there(
    anna: Browser, sipgate: Simulator
) -> None:
    page = anna.follow(send_test(anna, own_number="0171 3920060"))
    assert [(one.recipient, one.text) for one in sipgate.world.arrivals] == [(OWN, "Hello")]
    assert "Test to +49 171 3920060: Accepted" in page.text
    form = page.fields("/messages")
    assert (form["recipient"], form["message"]) == (OTHER, "Hello")
    anna.post("/messages", form, status=303)
    assert [one.recipient for one in sipgate.world.arrivals] == [OWN, OTHER]


def test_the_number_is_remembered_for_its_member_alone(
    anna: Browser, new_browser: Callable[[], Browser]
) -> None:
    send_test(anna, own_number="0171 3920060")
    assert anna.get("/").fields("/messages")["own_number"] == OWN
    ben = new_browser()
    ben.sign_in("ben")
    assert ben.get("/").fields("/messages")["own_number"] == ""


def test_pressed_twice_it_is_one_test(anna: Browser, sipgate: Simulator) -> None:
    data = anna.compose(message="Hello", recipient=OTHER, own_number=OWN)
    first = anna.post("/test-message", data, status=303)
    again = anna.post("/test-message", {**data, "recipient": ""}, status=303)
    assert first.location == again.location
    assert len(sipgate.world.arrivals) == 1
    anna.post("/test-message", {**data, "message": "Changed"}, status=303)
    assert [one.text for one in sipgate.world.arrivals] == ["Hello", "Changed"]


@pytest.mark.parametrize("typed", ["", "abc", "110", "0171 3920060, 0171 3920061", "+"])
def test_a_number_that_is_none_is_asked_for_at_its_field(
    anna: Browser, sipgate: Simulator, typed: str
) -> None:
    page = send_test(anna, status=422, own_number=typed)
    assert page.error_at("own_number")
    assert page.fields("/messages")["message"] == "Hello"
    assert sipgate.world.arrivals == []


def test_an_empty_text_is_not_tested(anna: Browser, sipgate: Simulator) -> None:
    data = anna.compose(message=" ", own_number=OWN)
    page = anna.post("/test-message", data, status=422)
    assert page.error_at("message")
    assert sipgate.world.arrivals == []


def test_sending_to_others_needs_no_own_number(anna: Browser, sipgate: Simulator) -> None:
    anna.send(OTHER, own_number="nonsense")
    assert [one.recipient for one in sipgate.world.arrivals] == [OTHER]


def test_an_unknown_outcome_of_a_test_is_told_and_never_repeated(
    anna: Browser, sipgate: Simulator
) -> None:
    sipgate.fail_next("send", Fault(500))
    data = anna.compose(message="Hello", own_number=OWN)
    page = anna.follow(anna.post("/test-message", data, status=303))
    assert "Unknown" in page.text
    anna.post("/test-message", data, status=303)
    assert len(sipgate.world.arrivals) == 1


def test_somebody_elses_form_is_refused(
    anna: Browser, new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    foreign = anna.get("/").fields("/messages")["submission_id"]
    data = ben.compose(message="Hello", own_number=OWN, submission_id=foreign)
    ben.post("/test-message", data, status=422)
    assert sipgate.world.arrivals == []


def test_the_first_button_of_the_form_still_sends(anna: Browser) -> None:
    buttons = anna.get("/").soup.select("main form.compose button[type=submit]")
    assert buttons[0].get_text(strip=True).startswith("Send")
    assert not buttons[0].has_attr("formaction")


def test_a_sign_in_that_ended_keeps_the_text(anna: Browser, sipgate: Simulator) -> None:
    data = anna.compose(message="Hello", recipient=OTHER, own_number=OWN)
    anna.client = anna.app.test_client()  # without its cookies
    page = anna.post("/test-message", data, status=401)
    assert "Sign in again" in page.text
    assert sipgate.world.arrivals == []
