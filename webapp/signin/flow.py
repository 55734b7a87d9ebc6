"""Signing in at sipgate: from the redirect to the callback's grant.

A sign-in is a row, bound to the browser that began it and used exactly once, before the code is
exchanged: if a code is used twice, Keycloak revokes the whole grant.
Sources: RFC 6749, 7636, 9207, 9700.
"""

import hashlib
import logging
import secrets
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from werkzeug.datastructures import MultiDict

from webapp.config import settings
from webapp.database import transaction
from webapp.database.models import SignIn
from webapp.rules.times import now
from webapp.sipgate import login
from webapp.sipgate.login import Grant, GrantRefused, LoginUnavailable

log = logging.getLogger(__name__)

SIGN_IN_LIFETIME = timedelta(minutes=10)
MAX_PARAMETER_CHARACTERS = 4096


FURTHER_SCOPES = {"senders": ("sms:callerid:read", "sms:callerid:write")}
"""Scopes that a sign-in requests besides the usual ones, by the purpose that its link names."""


class SignInProblem(StrEnum):
    """Why a callback did not become a sign-in."""

    DECLINED = "declined"
    NOT_OURS = "not_ours"
    LOGIN_AWAY = "login_away"
    LOGIN_ODD = "login_odd"
    CODE_REFUSED = "code_refused"
    IDENTITY_UNKNOWN = "identity_unknown"
    NOT_ADMITTED = "not_admitted"


class SignInFailed(Exception):
    """The callback signs nobody in.

    `detail` is the account id for NOT_ADMITTED, the path to go on to for DECLINED, otherwise empty.
    """

    def __init__(self, problem: SignInProblem, detail: str = "") -> None:
        self.problem = problem
        self.detail = detail
        super().__init__(problem)


def begin_sign_in(browser_id: str, next_path: str, purpose: str = "") -> str:
    """Save a new sign-in for this browser and return the address at sipgate to go to.

    `purpose` is a key of `FURTHER_SCOPES`; any other text requests no further scopes.
    """
    scopes = dict.fromkeys((*settings.scopes, *FURTHER_SCOPES.get(purpose, ())))
    state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
    with transaction() as session:
        session.execute(sa.delete(SignIn).where(SignIn.created_at < now() - SIGN_IN_LIFETIME))
        session.add(
            SignIn(
                state_hash=hashed(state),
                browser_hash=hashed(browser_id),
                verifier=verifier,
                next_path=next_path,
            )
        )
    with login.client(scope=" ".join(scopes)) as client:
        url: str = client.create_authorization_url(
            login.endpoint("auth"), state=state, code_verifier=verifier
        )[0]
    return url


def finish_sign_in(browser_id: str, arguments: MultiDict[str, str]) -> tuple[Grant, str]:
    """Turn a callback into a grant and the path to go on to; raises `SignInFailed`.

    Nothing in the callback is trusted until its state is known to be ours, for this browser, and
    unused.
    """
    sign_in = _take_sign_in(browser_id, _single(arguments, "state"))
    if arguments.get("iss", settings.sipgate_issuer) != settings.sipgate_issuer:
        raise SignInFailed(SignInProblem.NOT_OURS)  # RFC 9207: another server's answer
    if "error" in arguments:
        if arguments["error"] == "access_denied":
            raise SignInFailed(SignInProblem.DECLINED, sign_in.next_path)
        raise SignInFailed(SignInProblem.LOGIN_ODD)
    code = _single(arguments, "code")
    if not code:
        raise SignInFailed(SignInProblem.LOGIN_ODD)
    return _exchange_code(code, sign_in.verifier), sign_in.next_path


def _take_sign_in(browser_id: str, state: str) -> SignIn:
    """The pending sign-in, deleted by the same statement, so that it is used once."""
    with transaction() as session:
        sign_in: SignIn | None = session.scalar(
            sa.delete(SignIn)
            .where(
                SignIn.state_hash == hashed(state),
                SignIn.browser_hash == hashed(browser_id),
                SignIn.created_at > now() - SIGN_IN_LIFETIME,
            )
            .returning(SignIn)
        )
        if sign_in is not None:
            session.expunge(sign_in)
    if sign_in is None or sign_in.verifier is None:
        raise SignInFailed(SignInProblem.NOT_OURS)
    return sign_in


def _exchange_code(code: str, verifier: str) -> Grant:
    def fetch(client: Any, asked_at: datetime) -> Grant:
        token = client.fetch_token(
            login.endpoint("token"),
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            allow_redirects=False,
        )
        return login.checked_grant(token, asked_at)

    try:
        return login.ask_token_endpoint(fetch)
    except GrantRefused as refused:
        log.warning("the login server refused a code: %s", refused.code)
        raise SignInFailed(SignInProblem.CODE_REFUSED) from None
    except LoginUnavailable:
        raise SignInFailed(SignInProblem.LOGIN_AWAY) from None


def _single(arguments: MultiDict[str, str], name: str) -> str:
    """The value of a callback's parameter; one that is repeated or far too long is not ours."""
    values = arguments.getlist(name)
    if len(values) > 1 or any(len(value) > MAX_PARAMETER_CHARACTERS for value in values):
        raise SignInFailed(SignInProblem.NOT_OURS)
    return values[0] if values else ""


def hashed(secret: str) -> str:
    """The form in which the database keeps a random secret that only a browser has."""
    return hashlib.sha256(secret.encode()).hexdigest()
