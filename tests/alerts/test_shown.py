"""What the operator sees of alerts: the page `/operator`, and `flask alert`."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.outlets import ADDRESS, Hook, Mailbox
from tests.support.pages import Browser
from webapp.alerts import telling
from webapp.simulator.server import Simulator

TOKEN = "a-word-that-only-the-webhook-knows"


@pytest.fixture
def app(make_app: MakeApp, mailbox: Mailbox, hook: Hook) -> Flask:
    return make_app(
        SMTP_URL=f"smtp://127.0.0.1:{mailbox.port}",
        ALERT_EMAIL=ADDRESS,
        ALERT_WEBHOOK=f"ntfy+http://127.0.0.1:{hook.port}/{TOKEN}",
    )


def look(app: Flask) -> None:
    with app.app_context():
        telling.look_and_tell(worker_is_silent=True)


# --- The page -------------------------------------------------------------------------------------


def test_the_operators_page_says_that_nobody_is_told(make_app: MakeApp, sipgate: Simulator) -> None:
    browser = Browser(make_app(), sipgate)
    browser.sign_in("anna")
    assert "Nobody is told when something goes wrong." in browser.get("/operator").text


def test_the_operators_page_says_who_is_told_and_when_last(
    app: Flask, anna: Browser, mailbox: Mailbox, hook: Hook
) -> None:
    page = anna.get("/operator")
    assert f"{ADDRESS}, smtp://127.0.0.1:{mailbox.port}" in page.text
    assert f"ntfy+http://127.0.0.1:{hook.port}/…" in page.text
    assert page.text.count("No alert so far") == 2
    look(app)
    page = anna.get("/operator")
    assert page.text.count("Last alert:") == 2
    assert "has failed" not in page.text
    assert TOKEN not in page.response.get_data(as_text=True)


def test_the_operators_page_says_what_fails_and_what_to_do(
    app: Flask, anna: Browser, mailbox: Mailbox, hook: Hook
) -> None:
    mailbox.whims.refused = (ADDRESS,)
    hook.status = 500
    look(app)
    text = anna.get("/operator").text
    assert "E-mail: The mail server refused an address. Check ALERT_EMAIL." in text
    assert "Webhook: It reported an internal error." in text
    assert text.count("It has failed 1 time. Next try:") == 2


# --- The command ----------------------------------------------------------------------------------

Run = Callable[..., Any]


@pytest.fixture
def alert(app: Flask) -> Run:
    def run(*arguments: str) -> Any:
        result = app.test_cli_runner().invoke(args=["alert", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert TOKEN not in result.output
        return result

    return run


def test_the_command_names_who_is_told(alert: Run, mailbox: Mailbox, hook: Hook) -> None:
    result = alert()
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        f"E-mail: {ADDRESS}, smtp://127.0.0.1:{mailbox.port}",
        f"Webhook: ntfy+http://127.0.0.1:{hook.port}/…",
    ]
    assert mailbox.mails == []


def test_a_test_is_sent_by_each_and_says_that_it_worked(
    alert: Run, mailbox: Mailbox, hook: Hook
) -> None:
    result = alert("--test")
    assert result.exit_code == 0
    assert result.output.count("the test was accepted. Look whether it has arrived.") == 2
    assert mailbox.mails[0]["Subject"] == "Team SMS: Test of the alerts / Test der Warnungen"
    assert "there is nothing to do" in mailbox.mails[0].get_content()
    assert len(hook.posts) == 1


def test_a_test_that_fails_says_what_to_do_and_exits_1(
    alert: Run, mailbox: Mailbox, hook: Hook
) -> None:
    hook.status = 403
    result = alert("--test")
    assert result.exit_code == 1
    mail, webhook = result.output.splitlines()
    assert "the test was accepted" in mail
    assert "It refused the sign-in." in webhook


def test_a_test_to_nobody_says_what_to_set(make_app: MakeApp) -> None:
    result = make_app().test_cli_runner().invoke(args=["alert", "--test"])
    assert result.exit_code == 1
    assert "set ALERT_EMAIL and SMTP_URL, or ALERT_WEBHOOK" in result.output
