"""Signing in at sipgate and the token sets it grants.

A sign-in is a row of ours, bound to the browser that began it and taken exactly once, before the
code is exchanged: a code used twice makes Keycloak drop the whole grant. A token set is refreshed
by one caller at a time, across threads and processes, because a refresh token is good for one use;
the new one is saved before the new access token is used. No transaction is open during HTTP.

Sources: RFC 6749, 7636, 9207, 9700; Keycloak's behaviour as noted in the project's facts.
"""

import hashlib
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import requests
import sqlalchemy as sa
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, current_app
from werkzeug.datastructures import MultiDict

from webapp import wire
from webapp.database import now, release, rows_changed, transaction
from webapp.extensions import db, settings
from webapp.models import SignIn, TokenSet
from webapp.sipgate import Authorization, Unauthorized

log = logging.getLogger(__name__)

SIGN_IN_LIFETIME = timedelta(minutes=10)
REFRESH_MARGIN = timedelta(seconds=30)
DEFAULT_LIFETIME_S = 300
TOKEN_DEADLINE_S = 5.0
LOGOUT_DEADLINE_S = 3.0
LEASE = timedelta(seconds=15)
"""Longer than a refresh can take, so that a lease runs out only when its holder has died."""
LEASE_WAIT_S = 10.0
LEASE_POLL_S = 0.05
MAX_PARAMETER_CHARACTERS = 4096
MAX_ANSWER_BYTES = 64 * 1024

T = TypeVar("T")


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
    """The person is not signed in. `detail` is the account id for NOT_ADMITTED, else empty."""

    def __init__(self, problem: SignInProblem, detail: str = "") -> None:
        self.problem = problem
        self.detail = detail
        super().__init__(problem)


class SignInEnded(Exception):
    """The token set is gone for good; its member must sign in again."""


class LoginAway(Exception):
    """The login server gave no usable answer. Nothing has ended; the same may work later."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A token answer that was checked. Lifetimes count from when it was asked for."""

    access_token: str
    refresh_token: str | None
    expires_at: datetime
    refresh_expires_at: datetime | None
    scope: str

    def __repr__(self) -> str:
        return f"Grant(expires_at={self.expires_at})"


class Credentials(Protocol):
    """Something that can authorise calls for one person."""

    def current(self) -> Authorization:
        """An authorisation to try with; raises `SignInEnded` or `LoginAway`."""
        ...

    def renewed(self, refused: Authorization) -> Authorization:
        """Another one after a 401; raises the same."""
        ...

    def end(self) -> None:
        """sipgate takes none of it any more: whoever holds it must sign in again."""
        ...


def with_one_refresh(credentials: Credentials, call: Callable[[Authorization], T]) -> T:
    """Make a call, and once more with a renewed token after a 401.

    Raises `SignInEnded` (also when the renewed token is refused), `LoginAway`, or what `call` does.
    """
    authorization = credentials.current()
    try:
        return call(authorization)
    except Unauthorized:
        renewed = credentials.renewed(authorization)
    try:
        return call(renewed)
    except Unauthorized:
        credentials.end()
        raise SignInEnded from None


# --- Signing in -----------------------------------------------------------------------------------


def begin_sign_in(browser_id: str, next_path: str) -> str:
    """Keep a new sign-in for this browser and return sipgate's address to go to."""
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
    with _client(scope=" ".join(settings.scopes)) as client:
        url: str = client.create_authorization_url(
            _endpoint("auth"), state=state, code_verifier=verifier
        )[0]
    return url


def finish_sign_in(browser_id: str, arguments: MultiDict[str, str]) -> tuple[Grant, str]:
    """Turn a callback into a grant and the path to go on to; raises `SignInFailed`.

    Nothing in the callback is believed before its state was found to be ours, for this browser,
    and unused.
    """
    sign_in = _take_sign_in(browser_id, _single(arguments, "state"))
    if arguments.get("iss", settings.sipgate_issuer) != settings.sipgate_issuer:
        raise SignInFailed(SignInProblem.NOT_OURS)  # RFC 9207: another server's answer
    if "error" in arguments:
        declined = arguments["error"] == "access_denied"
        raise SignInFailed(SignInProblem.DECLINED if declined else SignInProblem.LOGIN_ODD)
    code = _single(arguments, "code")
    if not code:
        raise SignInFailed(SignInProblem.LOGIN_ODD)
    return _exchange_code(code, sign_in.verifier), sign_in.next_path


def _take_sign_in(browser_id: str, state: str) -> SignIn:
    """The waiting sign-in, removed in the same statement: nobody else can take it."""
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
            _endpoint("token"),
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            allow_redirects=False,
        )
        return _checked_grant(token, asked_at)

    try:
        return _ask_token_endpoint(fetch)
    except OAuthError as error:
        log.warning("the login server refused a code: %s", _error_code(error))
        raise SignInFailed(SignInProblem.CODE_REFUSED) from None
    except LoginAway:
        raise SignInFailed(SignInProblem.LOGIN_AWAY) from None


def _single(arguments: MultiDict[str, str], name: str) -> str:
    """The one value of a callback's parameter; twice, or longer than any real one, is not ours."""
    values = arguments.getlist(name)
    if len(values) > 1 or any(len(value) > MAX_PARAMETER_CHARACTERS for value in values):
        raise SignInFailed(SignInProblem.NOT_OURS)
    return values[0] if values else ""


# --- Token sets -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenSetCredentials:
    """The credentials of one sign-in, refreshed when needed."""

    token_set_id: int

    def current(self) -> Authorization:
        return Authorization.bearer(_access_token(self.token_set_id))

    def renewed(self, refused: Authorization) -> Authorization:
        return Authorization.bearer(_access_token(self.token_set_id, refused=refused))

    def end(self) -> None:
        end_token_set(self.token_set_id)


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A personal access token (command line only). It cannot be renewed."""

    token_id: str
    token: str

    def current(self) -> Authorization:
        return Authorization.personal(self.token_id, self.token)

    def renewed(self, refused: Authorization) -> Authorization:
        raise SignInEnded

    def end(self) -> None:
        """Only sipgate's console can end it."""

    def __repr__(self) -> str:
        return f"PersonalToken({self.token_id})"


def new_token_set(member_id: int, grant: Grant) -> TokenSet:
    return TokenSet(
        member_id=member_id,
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        expires_at=grant.expires_at,
        refresh_expires_at=grant.refresh_expires_at,
        scope=grant.scope,
    )


def end_token_set(token_set_id: int) -> None:
    """End a sign-in here: its sessions count as signed out from now on, its tokens are erased."""
    with transaction() as session:
        session.execute(
            sa.update(TokenSet)
            .where(TokenSet.id == token_set_id, TokenSet.ended_at.is_(None))
            .values(ended_at=now(), access_token=None, refresh_token=None, lease=None)
        )


def revoke(refresh_token: str | None) -> None:
    """End a grant at sipgate, server to server. It has ended here already: a failure is logged."""
    if not refresh_token:
        return
    form = {
        "client_id": settings.sipgate_client_id,
        "client_secret": settings.sipgate_client_secret,
        "refresh_token": refresh_token,
    }
    with wire.exchange(LOGOUT_DEADLINE_S, MAX_ANSWER_BYTES), requests.Session() as session:
        wire.prepare(session, current_app.extensions["oauth_transport"])
        try:
            answer = session.post(_endpoint("logout"), data=form, allow_redirects=False)
        except requests.RequestException:
            log.warning("sipgate's logout could not be reached; its session will run out")
            return
    if not answer.ok:
        log.warning("sipgate's logout answered %d; its session will run out", answer.status_code)


def _access_token(token_set_id: int, *, refused: Authorization | None = None) -> str:
    """A token to try with: the kept one while it lives, else a refreshed one.

    `refused` is what sipgate has just answered 401 to; a token that differs from it is newer.
    Raises `SignInEnded` or `LoginAway`.
    """
    give_up_at = time.monotonic() + LEASE_WAIT_S
    while True:
        tokens = _read(token_set_id)
        token = tokens.access_token
        if tokens.ended_at is not None or token is None:
            raise SignInEnded
        was_refused = refused is not None and refused == Authorization.bearer(token)
        if not was_refused and tokens.expires_at > now() + REFRESH_MARGIN:
            return token
        lease = _take_lease(tokens)
        if lease:
            return _refresh(tokens, lease, may_use_old=not was_refused)
        if time.monotonic() > give_up_at:
            raise LoginAway
        time.sleep(LEASE_POLL_S)


def _read(token_set_id: int) -> TokenSet:
    query = sa.select(TokenSet).where(TokenSet.id == token_set_id)
    tokens = db.session.scalars(query, execution_options={"populate_existing": True}).one()
    release()
    return tokens


def _take_lease(tokens: TokenSet) -> str | None:
    """Become the one who refreshes this version of the token set, or None if somebody else is."""
    lease = secrets.token_hex(16)
    with transaction() as session:
        taken = rows_changed(
            session,
            sa.update(TokenSet)
            .where(
                TokenSet.id == tokens.id,
                TokenSet.version == tokens.version,
                TokenSet.ended_at.is_(None),
                sa.or_(TokenSet.lease.is_(None), TokenSet.lease_until < now()),
            )
            .values(lease=lease, lease_until=now() + LEASE),
        )
    return lease if taken == 1 else None


def _refresh(tokens: TokenSet, lease: str, *, may_use_old: bool) -> str:
    """Refresh under the lease. `may_use_old`: the old token was not refused, only runs out soon."""
    if not tokens.refresh_token:
        return _old_token_or_end(tokens, lease, may_use_old)
    try:
        grant = _ask_token_endpoint(lambda client, at: _refreshed(client, tokens, at))
    except OAuthError as error:
        log.warning("token set %d: refresh refused: %s", tokens.id, _error_code(error))
        if _error_code(error) == "invalid_grant":
            return _after_invalid_grant(tokens, lease)
        _drop_lease(tokens, lease)
        raise LoginAway from None  # our client is set up wrongly: the member's grant still lives
    except LoginAway:
        _drop_lease(tokens, lease)
        if may_use_old and tokens.access_token and tokens.expires_at > now():
            return tokens.access_token
        raise
    if not _save(tokens, lease, grant):
        return _access_token(tokens.id)
    return grant.access_token


def _refreshed(client: Any, tokens: TokenSet, asked_at: datetime) -> Grant:
    # No scope is sent: naming one that was not granted would end the sign-in for good.
    token = client.refresh_token(
        _endpoint("token"), refresh_token=tokens.refresh_token, allow_redirects=False
    )
    return _checked_grant(token, asked_at)


def _old_token_or_end(tokens: TokenSet, lease: str, may_use_old: bool) -> str:
    if may_use_old and tokens.access_token and tokens.expires_at > now():
        _drop_lease(tokens, lease)
        return tokens.access_token
    end_token_set(tokens.id)
    raise SignInEnded


def _after_invalid_grant(tokens: TokenSet, lease: str) -> str:
    """The grant is dead, unless somebody refreshed it while our lease had run out: read again."""
    again = _read(tokens.id)
    if again.version != tokens.version and again.access_token:
        return again.access_token
    _drop_lease(tokens, lease)
    end_token_set(tokens.id)
    raise SignInEnded


def _save(tokens: TokenSet, lease: str, grant: Grant) -> bool:
    with transaction() as session:
        saved = rows_changed(
            session,
            sa.update(TokenSet)
            .where(TokenSet.id == tokens.id, TokenSet.lease == lease)
            .values(
                access_token=grant.access_token,
                refresh_token=grant.refresh_token or tokens.refresh_token,
                expires_at=grant.expires_at,
                refresh_expires_at=grant.refresh_expires_at or tokens.refresh_expires_at,
                version=tokens.version + 1,
                lease=None,
                lease_until=None,
            ),
        )
    return saved == 1


def _drop_lease(tokens: TokenSet, lease: str) -> None:
    with transaction() as session:
        rows_changed(
            session,
            sa.update(TokenSet)
            .where(TokenSet.id == tokens.id, TokenSet.lease == lease)
            .values(lease=None, lease_until=None),
        )


# --- The login server -----------------------------------------------------------------------------


def setup_oauth(app: Flask) -> None:
    # At DEBUG, Authlib logs the code verifier.
    logging.getLogger("authlib").setLevel(logging.INFO)
    app.extensions["oauth_transport"] = wire.DeadlineAdapter(app.config["SETTINGS"].web_threads)


def hashed(secret: str) -> str:
    """What the database keeps of a random secret that only a browser holds."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _endpoint(name: str) -> str:
    return f"{settings.sipgate_issuer}/protocol/openid-connect/{name}"


def _client(**options: Any) -> Any:
    client = OAuth2Session(
        settings.sipgate_client_id,
        settings.sipgate_client_secret,
        token_endpoint_auth_method="client_secret_post",  # noqa: S106 (a method's name)
        redirect_uri=settings.redirect_uri,
        code_challenge_method="S256",
        **options,
    )
    wire.prepare(client, current_app.extensions["oauth_transport"])
    for hook in ("access_token_response", "refresh_token_response"):
        client.register_compliance_hook(hook, _checked_answer)
    return client


def _ask_token_endpoint(ask: Callable[[Any, datetime], Grant]) -> Grant:
    """One request to the token endpoint. `OAuthError` is its no; `LoginAway` is everything odd."""
    release()
    with wire.exchange(TOKEN_DEADLINE_S, MAX_ANSWER_BYTES), _client() as client:
        try:
            return ask(client, now())
        except requests.RequestException as error:
            log.warning("the login server could not be used: %s", type(error).__name__)
            raise LoginAway from None


def _checked_answer(response: requests.Response) -> requests.Response:
    """Authlib accepts `{}` and raises on HTML: let only a JSON object of ours reach it."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    usable = isinstance(answer, dict) and (
        isinstance(answer.get("error"), str) or (response.ok and "access_token" in answer)
    )
    if not usable or response.status_code >= 500 or response.status_code == 429:
        log.warning("the login server answered %d without a token", response.status_code)
        raise LoginAway
    if "expires_in" in answer and _seconds(answer["expires_in"]) is None:
        raise LoginAway
    return response


def _checked_grant(token: dict[str, Any], asked_at: datetime) -> Grant:
    access_token = token.get("access_token")
    kind = token.get("token_type", "Bearer")
    if not _is_token(access_token) or str(kind).lower() != "bearer":
        raise LoginAway
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
    """Printable ASCII without blanks: what may stand in a header."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value.strip() == (value) != ""
    )


def _seconds(value: Any) -> int | None:
    """A lifetime from a number or a string of one, at most ten years; None if it is neither."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number) or number < 0:
        return None
    return min(int(number), 10 * 365 * 86_400)


def _error_code(error: OAuthError) -> str:
    """The error's code, safe to log: a login server's free text is not."""
    code = str(error.error or "")
    return code[:40] if code.replace("_", "").isalnum() else "unreadable"
