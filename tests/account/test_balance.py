"""The balance, where it may be seen, and a word before it does not suffice."""

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from tests.support.worker import impatient, work
from tests.web.test_questions import answer
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

ONE = "+491713920050"


@pytest.fixture
def app(keep_app: MakeApp) -> Flask:
    return keep_app(SIPGATE_OPTIONAL_SCOPES="balance:read", SEGMENT_PRICE="0.075")


def menu(browser: Browser) -> str:
    found = browser.get("/").soup.select_one("#menu")
    assert found is not None
    return found.get_text(" ", strip=True)


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(123_400, "€12.34"), (0, "€0.00"), (-5_000, "-€0.50"), (98_765_400, "€9,876.54")],
)
def test_the_menu_shows_the_balance(
    app: Flask, anna: Browser, sipgate: Simulator, amount: int, shown: str
) -> None:
    sipgate.world.set_balance("1234567", amount)
    work(app)
    assert f"Balance {shown}" in menu(anna)


def test_a_page_never_waits_for_the_balance(anna: Browser, sipgate: Simulator) -> None:
    assert "Balance" not in menu(anna)
    assert sipgate.world.calls["balance"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        Fault(403),
        Fault(503),
        Fault(200, body=b"<html>"),
        Fault(200, body=b'{"amount": "12", "currency": "EUR"}'),
        Fault(200, body=b'{"amount": true, "currency": "EUR"}'),
        Fault(200, body=b"{}"),
        Fault(mode="hang"),
    ],
)
def test_a_balance_that_cannot_be_had_is_hidden_and_blocks_nothing(
    app: Flask, anna: Browser, sipgate: Simulator, fault: Fault
) -> None:
    impatient(app)
    sipgate.world.fail_always("balance", fault)
    work(app)
    assert "Balance" not in menu(anna)
    anna.send(ONE)
    assert len(sipgate.world.arrivals) == 1


def test_without_the_permission_nobody_asks(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app()
    anna = Browser(app, sipgate)
    anna.sign_in()
    work(app)
    assert sipgate.world.calls["balance"] == 0
    assert "Balance" not in menu(anna)


def test_too_little_is_asked_about_before_it_is_tried(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    sipgate.world.set_balance("1234567", 1_000)
    work(app)
    anna.send(ONE, "One segment is paid for")
    question = anna.send("+491713920051", "x" * 161, status=409)
    assert "costs about €0.15, and the account's balance is €0.10" in question.text
    assert len(sipgate.world.arrivals) == 1
    # A balance that was topped up meanwhile must not stand in the way.
    sipgate.world.set_balance("1234567", 100_000)
    answer(anna, question)
    assert len(sipgate.world.arrivals) == 2


def test_the_question_before_a_batch_names_its_cost(anna: Browser) -> None:
    question = anna.send(f"{ONE}, +491713920051", "x" * 161, status=409)
    assert "4 parts in total. It costs about €0.30." in question.text


def test_without_a_price_there_is_no_such_question(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app(SIPGATE_OPTIONAL_SCOPES="balance:read")
    anna = Browser(app, sipgate)
    anna.sign_in()
    sipgate.world.set_balance("1234567", 0)
    work(app)
    assert anna.send(ONE).status == 303
