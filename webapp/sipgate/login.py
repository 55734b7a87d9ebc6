"""sipgate's login server (Keycloak): its addresses, our OAuth client, and what its answers mean.

A grant returned from here has been checked. A clear no is `GrantRefused`; everything else is
`LoginUnavailable`. Sources: RFC 6749, 7636.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, current_app

from webapp.config import settings
from webapp.rules.times import now
from webapp.sipgate import transport
from webapp.telemetry import metrics

log = logging.getLogger(__name__)

DEFAULT_LIFETIME_S = 300
TOKEN_DEADLINE_S = 5.0
LOGOUT_DEADLINE_S = 3.0
MAX_ANSWER_BYTES = 64 * 1024


class LoginUnavailable(Exception):
    """The login server gave no usable answer. Nothing has ended; the same may work later."""


class GrantRefused(Exception):
    """The login server refused to grant a token. `code` is its error code, safe to log."""

    def __init__(self, code: str) -> None:
        self.code = code
        super().__init__(code)


@dataclass(frozen=True, slots=True)
class Grant:
    """A checked token response. Lifetimes count from the time of the request."""

    access_token: str
    refresh_token: str | None
    expires_at: datetime
    refresh_expires_at: datetime | None
    scope: str

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at})"


def setup_login_server(app: Flask) -> None:
    # At DEBUG, Authlib logs the code verifier.
    logging.getLogger("authlib").setLevel(logging.INFO)
    app.extensions["login_transport"] = transport.DeadlineAdapter(
        app.config["SETTINGS"].web_threads
    )


def endpoint(name: str) -> str:
    return f"{settings.sipgate_issuer}/protocol/openid-connect/{name}"


def client(**options: Any) -> Any:
    client = OAuth2Session(
        settings.sipgate_client_id,
        settings.sipgate_client_secret,
        token_endpoint_auth_method="client_secret_post",  # noqa: S106 (a method's name)
        redirect_uri=settings.redirect_uri,
        code_challenge_method="S256",
        **options,
    )
    transport.prepare(client, current_app.extensions["login_transport"])
    for hook in ("access_token_response", "refresh_token_response"):
        client.register_compliance_hook(hook, _checked_answer)
    return client


def ask_token_endpoint(ask: Callable[[Any, datetime], Grant]) -> Grant:
    """Make one request to the token endpoint. Raises `GrantRefused` or `LoginUnavailable`."""
    with (
        metrics.upstream("token") as answered,
        transport.deadline(TOKEN_DEADLINE_S, MAX_ANSWER_BYTES) as exchange,
        client() as asker,
    ):
        try:
            return ask(asker, now())
        except LoginUnavailable:
            raise
        except OAuthError as error:
            raise GrantRefused(_error_code(error)) from None
        except Exception as error:
            # Authlib and the libraries below it raise anything on odd answers ("300.5" seconds).
            log.warning("the login server could not be used: %s", type(error).__name__)
            raise LoginUnavailable from None
        finally:
            if exchange.status:
                answered.append(exchange.status)


def accepts_client() -> bool:
    """Whether the login server knows our client and its secret: then it refuses a token that was
    made up, and not us. Raises `LoginUnavailable`."""
    made_up = {"refresh_token": "made-up", "allow_redirects": False}
    try:
        ask_token_endpoint(
            lambda client, at: checked_grant(client.refresh_token(endpoint("token"), **made_up), at)
        )
    except GrantRefused as refused:
        return refused.code == "invalid_grant"
    return True


def _checked_answer(response: requests.Response) -> requests.Response:
    """Pass on only usable JSON: Authlib accepts `{}` as a token and raises on HTML."""
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        answer = None
    usable = isinstance(answer, dict) and (
        isinstance(answer.get("error"), str) or (response.ok and "access_token" in answer)
    )
    if not usable or response.status_code >= 500 or response.status_code == 429:
        log.warning("the login server answered %d without a token", response.status_code)
        raise LoginUnavailable
    if "expires_in" in answer and _seconds(answer["expires_in"]) is None:
        raise LoginUnavailable
    return response


def checked_grant(token: dict[str, Any], asked_at: datetime) -> Grant:
    access_token = token.get("access_token")
    kind = token.get("token_type", "Bearer")
    if not _is_token(access_token) or str(kind).lower() != "bearer":
        raise LoginUnavailable
    refresh_token = token.get("refresh_token")
    lifetime_s = _seconds(token.get("expires_in")) or DEFAULT_LIFETIME_S
    refresh_lifetime_s = _seconds(token.get("refresh_expires_in"))
    return Grant(
        access_token=str(access_token),
        refresh_token=str(refresh_token) if _is_token(refresh_token) else None,
        expires_at=asked_at + timedelta(seconds=lifetime_s),
        # Missing and 0 both mean that no end is known.
        refresh_expires_at=(
            asked_at + timedelta(seconds=refresh_lifetime_s) if refresh_lifetime_s else None
        ),
        scope=str(token.get("scope") or ""),
    )


def _is_token(value: Any) -> bool:
    """Whether it can go into a header: printable ASCII, no blanks around it."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value != ""
        and value == value.strip()
    )


def _seconds(value: Any) -> int | None:
    """A lifetime, given as a number or as text; at most ten years. None if it is neither."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number) or number < 0:
        return None
    return min(int(number), 10 * 365 * 86_400)


def _error_code(error: OAuthError) -> str:
    """The error's code, if it is safe to log; a login server's free text is not."""
    code = str(error.error or "")
    return code[:40] if code.replace("_", "").isalnum() else "unreadable"


def revoke(refresh_token: str | None) -> None:
    """End a grant at sipgate. It has ended here already, so a failure is only logged."""
    if not refresh_token:
        return
    form = {
        "client_id": settings.sipgate_client_id,
        "client_secret": settings.sipgate_client_secret,
        "refresh_token": refresh_token,
    }
    with transport.deadline(LOGOUT_DEADLINE_S, MAX_ANSWER_BYTES), requests.Session() as session:
        transport.prepare(session, current_app.extensions["login_transport"])
        try:
            with metrics.upstream("logout") as answered:
                answer = session.post(endpoint("logout"), data=form, allow_redirects=False)
                answered.append(answer.status_code)
        except Exception as error:  # the answer would change nothing here
            kind = type(error).__name__
            log.warning("sipgate's logout was not answered (%s); its session will run out", kind)
            return
    if not answer.ok:
        log.warning("sipgate's logout answered %d; its session will run out", answer.status_code)
