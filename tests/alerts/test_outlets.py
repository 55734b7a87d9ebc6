"""How a mail and a POST leave: TLS, sign-in, slow and broken servers, and no secret in any word."""

import logging
import time
from email.header import decode_header, make_header
from typing import Any
from urllib.parse import quote

import pytest
import requests.adapters
from flask import Flask

from tests.conftest import MakeApp
from tests.support.outlets import ADDRESS, NAME, PASSWORD, Certificates, Hook, Mailbox
from webapp.alerts import outlets
from webapp.alerts.outlets import OutletFailed
from webapp.config import settings
from webapp.rules.alerts import Outlet, OutletProblem

SECRET_PATH = "a-word-that-only-the-webhook-knows"
LOGIN = f"{quote(NAME, safe='')}:{quote(PASSWORD, safe='')}@"
BODY = "Grüße.\n\nhttp://localhost/messages\n"
LINK = "http://localhost/operator"


def mail_to(mailbox: Mailbox, scheme: str = "smtp", login: str = "") -> dict[str, str]:
    host = "localhost" if mailbox.whims.tls else "127.0.0.1"
    return {"SMTP_URL": f"{scheme}://{login}{host}:{mailbox.port}", "ALERT_EMAIL": ADDRESS}


def post_to(hook: Hook, scheme: str = "http") -> dict[str, str]:
    return {"ALERT_WEBHOOK": f"{scheme}://127.0.0.1:{hook.port}/{SECRET_PATH}"}


def send(app: Flask, outlet: Outlet) -> OutletProblem | None:
    with app.app_context():
        return outlets.send(outlet, "Team SMS: Grüße", BODY, LINK)


def failure(app: Flask, outlet: Outlet) -> OutletFailed:
    with pytest.raises(OutletFailed) as caught:
        send(app, outlet)
    said = str(caught.value) + repr(caught.value)
    assert SECRET_PATH not in said
    assert PASSWORD not in said
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine trusts the authority of the servers."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(certificates.authority))


@pytest.fixture(autouse=True)
def no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO)
    yield
    assert SECRET_PATH not in caplog.text
    assert PASSWORD not in caplog.text


# --- Mail -----------------------------------------------------------------------------------------


def test_a_mail_on_this_machine_needs_no_tls(make_app: MakeApp, mailbox: Mailbox) -> None:
    assert send(make_app(**mail_to(mailbox)), Outlet.MAIL) is None
    (mail,) = mailbox.mails
    assert mail["Subject"] == "Team SMS: Grüße"
    assert mail["To"] == mail["From"] == ADDRESS
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"]
    assert mail["Message-ID"]
    assert mail.get_content().replace("\r\n", "\n") == BODY
    assert "STARTTLS" not in mailbox.commands


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("always", "smtps")])
def test_a_mail_goes_by_checked_tls_with_name_and_password(
    make_app: MakeApp, mailbox: Mailbox, tls: str, scheme: str
) -> None:
    mailbox.whims.tls = tls
    send(make_app(**mail_to(mailbox, scheme, LOGIN)), Outlet.MAIL)
    assert mailbox.logins == [(NAME, PASSWORD)]
    assert mailbox.mails[0]["From"] == NAME
    assert mailbox.recipients == [[ADDRESS]]


@pytest.mark.parametrize(("tls", "scheme"), [("starttls", "smtp"), ("always", "smtps")])
def test_a_password_is_not_told_to_a_server_that_cannot_prove_its_name(
    make_app: MakeApp, mailbox: Mailbox, tls: str, scheme: str
) -> None:
    mailbox.whims.tls = tls
    app = make_app(**mail_to(mailbox, scheme, LOGIN))
    assert failure(app, Outlet.MAIL).problem == OutletProblem.UNTRUSTED
    assert mailbox.logins == []
    assert mailbox.mails == []


def test_a_password_never_travels_readable(make_app: MakeApp, mailbox: Mailbox) -> None:
    app = make_app(**mail_to(mailbox, login=LOGIN))
    assert failure(app, Outlet.MAIL).problem == OutletProblem.NO_TLS
    assert mailbox.logins == []


@pytest.mark.usefixtures("trusted")
def test_a_refused_sign_in_says_so_without_what_the_server_repeats(
    make_app: MakeApp, mailbox: Mailbox
) -> None:
    mailbox.whims.tls, mailbox.whims.accepts_login = "starttls", False
    app = make_app(**mail_to(mailbox, login=LOGIN))
    failed = failure(app, Outlet.MAIL)
    assert (failed.problem, failed.may_have_arrived) == (OutletProblem.LOGIN, False)


def test_one_refused_address_of_two_keeps_the_mail_from_nobody_else(
    make_app: MakeApp, mailbox: Mailbox
) -> None:
    mailbox.whims.refused = ("gone@practice.example",)
    values = {**mail_to(mailbox), "ALERT_EMAIL": f"gone@practice.example, {ADDRESS}"}
    assert send(make_app(**values), Outlet.MAIL) == OutletProblem.RECIPIENT
    assert mailbox.recipients == [[ADDRESS]]


def test_where_all_addresses_are_refused_nothing_was_told(
    make_app: MakeApp, mailbox: Mailbox
) -> None:
    mailbox.whims.refused = (ADDRESS,)
    failed = failure(make_app(**mail_to(mailbox)), Outlet.MAIL)
    assert (failed.problem, failed.may_have_arrived) == (OutletProblem.RECIPIENT, False)


def test_a_mail_that_is_refused_was_not_taken(make_app: MakeApp, mailbox: Mailbox) -> None:
    mailbox.whims.answer_to_data = "554 looks like advertising"
    failed = failure(make_app(**mail_to(mailbox)), Outlet.MAIL)
    assert (failed.problem, failed.may_have_arrived) == (OutletProblem.REFUSED, False)


def test_a_line_that_breaks_after_the_mail_leaves_open_whether_it_was_taken(
    make_app: MakeApp, mailbox: Mailbox
) -> None:
    mailbox.whims.cuts_after_data = True
    failed = failure(make_app(**mail_to(mailbox)), Outlet.MAIL)
    assert (failed.problem, failed.may_have_arrived) == (OutletProblem.NO_ANSWER, True)


@pytest.mark.parametrize("whim", ["drips", "hangs_after_data"])
def test_a_server_that_is_slow_for_ever_is_left_after_a_time(
    make_app: MakeApp, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, whim: str
) -> None:
    monkeypatch.setattr(outlets, "MAIL_S", 1.0)
    setattr(mailbox.whims, whim, True)
    began = time.monotonic()
    failed = failure(make_app(**mail_to(mailbox)), Outlet.MAIL)
    assert time.monotonic() - began < 8
    assert failed.may_have_arrived == (whim == "hangs_after_data")


def test_no_mail_server_is_unreachable(make_app: MakeApp, mailbox: Mailbox) -> None:
    values = mail_to(mailbox)
    mailbox.shutdown()
    mailbox.server_close()
    assert failure(make_app(**values), Outlet.MAIL).problem == OutletProblem.UNREACHABLE


# --- Webhook --------------------------------------------------------------------------------------


def test_a_webhook_gets_title_message_and_address_as_json(make_app: MakeApp, hook: Hook) -> None:
    send(make_app(**post_to(hook)), Outlet.WEBHOOK)
    assert hook.told == [{"title": "Team SMS: Grüße", "message": BODY, "url": LINK}]
    path, headers, _ = hook.posts[0]
    assert path == f"/{SECRET_PATH}"
    assert headers["Content-Type"] == "application/json"


def test_ntfy_gets_plain_text_with_its_own_headers(make_app: MakeApp, hook: Hook) -> None:
    send(make_app(**post_to(hook, "ntfy+http")), Outlet.WEBHOOK)
    _, headers, body = hook.posts[0]
    assert body.decode() == BODY
    assert str(make_header(decode_header(headers["Title"]))) == "Team SMS: Grüße"
    assert headers["Title"].isascii()
    assert headers["Click"] == LINK


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (500, OutletProblem.SERVER_ERROR),
        (503, OutletProblem.SERVER_ERROR),
        (401, OutletProblem.LOGIN),
        (403, OutletProblem.LOGIN),
        (404, OutletProblem.REFUSED),
        (429, OutletProblem.REFUSED),
        (302, OutletProblem.REFUSED),
    ],
)
def test_only_a_yes_of_the_webhook_is_a_yes(
    make_app: MakeApp, hook: Hook, status: int, problem: OutletProblem
) -> None:
    hook.status = status
    assert failure(make_app(**post_to(hook)), Outlet.WEBHOOK).problem == problem
    assert len(hook.posts) == 1, "a redirect is not followed"


def test_a_webhook_that_drips_is_left_after_a_time(
    make_app: MakeApp, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlets, "WEBHOOK_S", 0.5)
    hook.drips = True
    began = time.monotonic()
    failure(make_app(**post_to(hook)), Outlet.WEBHOOK)
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("is_trusted", [True, False])
def test_a_webhook_must_prove_its_name(
    make_app: MakeApp,
    hook: Hook,
    certificates: Certificates,
    request: pytest.FixtureRequest,
    is_trusted: bool,
) -> None:
    hook.socket = certificates.context.wrap_socket(hook.socket, server_side=True)
    app = make_app(ALERT_WEBHOOK=f"https://localhost:{hook.port}/{SECRET_PATH}")
    if is_trusted:
        request.getfixturevalue("trusted")
        send(app, Outlet.WEBHOOK)
        assert len(hook.posts) == 1
    else:
        assert failure(app, Outlet.WEBHOOK).problem == OutletProblem.UNTRUSTED
        assert hook.posts == []


def test_no_webhook_is_unreachable(make_app: MakeApp, hook: Hook) -> None:
    values = post_to(hook)
    hook.shutdown()
    hook.server_close()
    assert failure(make_app(**values), Outlet.WEBHOOK).problem == OutletProblem.UNREACHABLE


# --- What is shown --------------------------------------------------------------------------------


def test_the_settings_as_shown_hold_no_secret(
    make_app: MakeApp, mailbox: Mailbox, hook: Hook
) -> None:
    app = make_app(**mail_to(mailbox, login=LOGIN), **post_to(hook, "ntfy+http"))
    with app.app_context():
        shown = settings.shown()
        assert shown["SMTP_URL"] == f"smtp://127.0.0.1:{mailbox.port}"
        assert shown["ALERT_WEBHOOK"] == f"ntfy+http://127.0.0.1:{hook.port}/…"
        assert shown["ALERT_EMAIL"] == ADDRESS
        assert [outlets.place(outlet) for outlet in outlets.active()] == [
            f"{ADDRESS}, smtp://127.0.0.1:{mailbox.port}",
            f"ntfy+http://127.0.0.1:{hook.port}/…",
        ]
        assert SECRET_PATH not in repr(app.config["SETTINGS"])
        assert quote(PASSWORD, safe="") not in repr(app.config["SETTINGS"])
