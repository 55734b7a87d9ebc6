"""How a mail or a POST leaves, with limits on time and without words that hold a secret.

Both addresses may hold passwords, and the libraries repeat them in their errors: nothing of an
error is passed on but its kind.
"""

import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from email.header import Header
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import requests

from webapp.config import is_loopback, settings
from webapp.config.values import NTFY, show_server
from webapp.database import end_read
from webapp.rules.alerts import Outlet, OutletProblem
from webapp.sipgate import transport

STEP_S = 10.0
"""How long one step of a conversation with a mail server may take."""
MAIL_S = 30.0
WEBHOOK_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024
PORTS = {"smtp": 587, "smtps": 465}


class OutletFailed(Exception):
    """It was not told, or nobody knows whether it was."""

    def __init__(self, problem: OutletProblem, *, may_have_arrived: bool = False) -> None:
        self.problem = problem
        self.may_have_arrived = may_have_arrived
        super().__init__(problem)


def active() -> list[Outlet]:
    """The outlets that the settings name."""
    are_set = {
        Outlet.MAIL: bool(settings.alert_email and settings.smtp_url),
        Outlet.WEBHOOK: bool(settings.alert_webhook),
    }
    return [outlet for outlet, is_set in are_set.items() if is_set]


def place(outlet: Outlet) -> str:
    """Where it tells, without what is secret of the address."""
    server = show_server(settings.smtp_url if outlet == Outlet.MAIL else settings.alert_webhook)
    if outlet == Outlet.WEBHOOK:
        return server
    return f"{', '.join(settings.alert_email)}, {server}"


def send(outlet: Outlet, subject: str, body: str, link: str) -> OutletProblem | None:
    """Tell it. Raises `OutletFailed`. Returns a problem if not all who should know were told."""
    end_read()
    if outlet == Outlet.MAIL:
        return _mail(subject, body)
    _post(subject, body, link)
    return None


def try_mail_server() -> None:
    """Sign in to it, and send nothing. Raises `OutletFailed`."""
    server = urlsplit(settings.smtp_url)
    connection = _tried(lambda: _connected(server), OutletProblem.UNREACHABLE)
    try:
        _tried(lambda: _admitted(connection, server), OutletProblem.NO_ANSWER)
    finally:
        _leave(connection)


# --- Mail -----------------------------------------------------------------------------------------


class _Limited:
    """Ends the whole conversation after a time. smtplib waits anew for each byte it reads."""

    sock: socket.socket | None
    _watch: threading.Timer | None = None

    def connect(self, *args: Any, **kwargs: Any) -> Any:
        self._watch = threading.Timer(MAIL_S, self._cut)
        self._watch.daemon = True
        self._watch.start()
        return super().connect(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        if self._watch:
            self._watch.cancel()
        super().close()  # type: ignore[misc]

    def _cut(self) -> None:
        if self.sock:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Plain(_Limited, smtplib.SMTP):
    pass


class _Encrypted(_Limited, smtplib.SMTP_SSL):
    pass


def _mail(subject: str, body: str) -> OutletProblem | None:
    server = urlsplit(settings.smtp_url)
    connection = _tried(lambda: _connected(server), OutletProblem.UNREACHABLE)
    try:
        _tried(lambda: _admitted(connection, server), OutletProblem.NO_ANSWER)
        message = _message(server, subject, body)
        refused = _tried(
            lambda: connection.send_message(message),
            OutletProblem.NO_ANSWER,
            may_have_arrived=True,
        )
        return OutletProblem.RECIPIENT if refused else None
    finally:
        _leave(connection)


def _leave(connection: smtplib.SMTP) -> None:
    with suppress(smtplib.SMTPException, OSError):
        connection.quit()
    connection.close()


def _connected(server: SplitResult) -> smtplib.SMTP:
    host, port = server.hostname or "", server.port or PORTS[server.scheme]
    options: dict[str, Any] = {"timeout": STEP_S, "local_hostname": settings.hostname}
    if server.scheme == "smtps":
        return _Encrypted(host, port, context=ssl.create_default_context(), **options)
    return _Plain(host, port, **options)


def _admitted(connection: smtplib.SMTP, server: SplitResult) -> None:
    """With TLS, except on this machine without a password; then with name and password, if any."""
    if server.scheme == "smtp" and (server.username or not is_loopback(server.hostname or "")):
        connection.starttls(context=ssl.create_default_context())
    if server.username:
        try:
            connection.login(unquote(server.username), unquote(server.password or ""))
        except (smtplib.SMTPNotSupportedError, UnicodeError):
            raise OutletFailed(OutletProblem.LOGIN) from None


def _message(server: SplitResult, subject: str, body: str) -> EmailMessage:
    name = unquote(server.username or "")
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = name if "@" in name and name.isascii() else settings.alert_email[0]
    message["To"] = ", ".join(settings.alert_email)
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(domain=settings.hostname)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body, cte="quoted-printable")
    return message


def _tried(
    step: Callable[[], Any], otherwise: OutletProblem, *, may_have_arrived: bool = False
) -> Any:
    """Do a step of the conversation. Raises `OutletFailed`."""
    try:
        return step()
    except OutletFailed:
        raise
    except ssl.SSLError:
        problem = OutletProblem.UNTRUSTED
    except smtplib.SMTPNotSupportedError:
        problem = OutletProblem.NO_TLS
    except smtplib.SMTPAuthenticationError:
        problem = OutletProblem.LOGIN
    except smtplib.SMTPRecipientsRefused:
        problem = OutletProblem.RECIPIENT
    except smtplib.SMTPServerDisconnected:
        raise OutletFailed(otherwise, may_have_arrived=may_have_arrived) from None
    except (smtplib.SMTPResponseException, smtplib.SMTPHeloError):
        problem = OutletProblem.REFUSED
    except Exception:  # the library raises more than it documents
        raise OutletFailed(otherwise, may_have_arrived=may_have_arrived) from None
    raise OutletFailed(problem) from None


# --- Webhook --------------------------------------------------------------------------------------


def _post(title: str, message: str, link: str) -> None:
    url = settings.alert_webhook.removeprefix(NTFY)
    if url == settings.alert_webhook:
        headers = {"Content-Type": "application/json"}
        body = json.dumps({"title": title, "message": message, "url": link}).encode()
    else:
        # ntfy reads headers that are encoded like those of a mail.
        headers = {"Title": Header(title, "utf-8", maxlinelen=1000).encode(), "Click": link}
        body = message.encode()
    with transport.deadline(WEBHOOK_S, MAX_ANSWER_BYTES) as exchange, requests.Session() as session:
        transport.prepare(session, transport.DeadlineAdapter(1))
        try:
            with session.post(
                url, data=body, headers=headers, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except Exception as error:  # the libraries raise more than they document
            if exchange.status is None:
                raise _unanswered(error, began=exchange.request_began) from None
            status = exchange.status
    if not 200 <= status < 300:
        raise OutletFailed(_problem(status))


def _unanswered(error: Exception, *, began: bool) -> OutletFailed:
    if began:
        return OutletFailed(OutletProblem.NO_ANSWER, may_have_arrived=True)
    untrusted = isinstance(error, requests.exceptions.SSLError)
    return OutletFailed(OutletProblem.UNTRUSTED if untrusted else OutletProblem.UNREACHABLE)


def _problem(status: int) -> OutletProblem:
    if status in (401, 403):
        return OutletProblem.LOGIN
    return OutletProblem.SERVER_ERROR if status >= 500 else OutletProblem.REFUSED
