"""Who is signed in in this browser, and what is theirs.

The cookie holds one opaque id, the database its hash: a copied cookie is worthless after sign-out.
This module alone knows the session's keys. Sign-in is required of every view unless it is marked
`@public`; a view that is not receives `member`.
"""

import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from webapp import login_server, oauth, sipgate, tokens
from webapp.database import now, release, transaction
from webapp.extensions import csrf, db, settings
from webapp.login_server import Grant
from webapp.models import BrowserSession, Member, Message, TokenSet
from webapp.oauth import SignInFailed, SignInProblem
from webapp.sipgate import Authorization, Identity, Person, SipgateError

log = logging.getLogger(__name__)

IDLE_LIMIT = timedelta(hours=12)
ABSOLUTE_LIMIT = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=1)
MAX_NEXT_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 200
UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")

View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """Mark a view as open to strangers."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def is_public(view: Callable[..., Any]) -> bool:
    return getattr(view, "is_public", False)


def setup_members(app: Flask) -> None:
    app.before_request(_require_sign_in)
    app.context_processor(lambda: {"member": current_member()})


def browser_id() -> str:
    """The random id that ties sign-ins to this browser; made on first use."""
    if "browser" not in session:
        session["browser"] = secrets.token_urlsafe(16)
    return str(session["browser"])


def sign_in(grant: Grant) -> Member:
    """Open a session for the person this grant belongs to; raises `SignInFailed`.

    A grant that leads to no session is ended at sipgate again.
    """
    try:
        identity, person = _who_is(grant)
    except SignInFailed:
        login_server.revoke(grant.refresh_token)
        raise
    sid = secrets.token_urlsafe(32)
    with transaction() as rows:
        _delete_session(rows)
        member = _remember(rows, identity, person)
        token_set = tokens.new_token_set(member.id, grant)
        rows.add(token_set)
        rows.flush()
        rows.add(
            BrowserSession(
                id_hash=oauth.hashed(sid), member_id=member.id, token_set_id=token_set.id
            )
        )
    # A new id and a new CSRF secret; the browser's id stays, so that other tabs may finish.
    kept = {key: session[key] for key in ("browser", "locale") if key in session}
    session.clear()
    session.update(kept, sid=sid)
    g.pop("browser_session", None)
    log.info("member %d signed in", member.id)
    return member


def sign_out() -> None:
    """End this browser's session at once, then its grant at sipgate."""
    found = _current_session()
    if found is None:
        return
    refresh_token = db.session.get_one(TokenSet, found.token_set_id).refresh_token
    with transaction() as rows:
        _delete_session(rows)
    session.pop("sid", None)
    session.pop("csrf_token", None)
    g.pop("browser_session", None)
    tokens.end_token_set(found.token_set_id)
    login_server.revoke(refresh_token)
    log.info("member %d signed out", found.member_id)


def current_member() -> Member | None:
    found = _current_session()
    return found.member if found else None


def credentials() -> tokens.TokenSetCredentials:
    """What authorises calls for the signed-in member; only where sign-in is required."""
    found = _current_session()
    if found is None:
        abort(401)
    return tokens.TokenSetCredentials(found.token_set_id)


def own_or_404(message_id: str, member: Member) -> Message:
    """The member's own message; somebody else's is as missing as one that never was."""
    message = db.session.get(Message, message_id, populate_existing=True)
    if message is None or message.member_id != member.id:
        abort(404)
    return message


def safe_next(value: str | None) -> str:
    """A path of this app's own pages, or the start page. Never leads to another site."""
    path = value or ""
    strange = not path.isprintable() or "\\" in path or not path.isascii()
    if strange or len(path) > MAX_NEXT_CHARACTERS or path[:1] != "/" or path[:2] == "//":
        return "/"
    parts = urlsplit(path)
    if parts.scheme or parts.netloc:
        return "/"
    try:
        current_app.url_map.bind("").match(parts.path, method="GET")
    except (HTTPException, RequestRedirect):
        return "/"
    return path


def remember(identity: Identity, person: Person) -> Member:
    """The member that these are, made or brought up to date (for the command line)."""
    with transaction() as rows:
        return _remember(rows, identity, person)


def _require_sign_in() -> ResponseReturnValue | None:
    if request.routing_exception is not None or request.endpoint in (None, "static"):
        return None
    found = _current_session()
    if found is None and not is_public(current_app.view_functions[str(request.endpoint)]):
        if request.method in ("GET", "HEAD") and not wants_json():
            return redirect(url_for("auth.login", next=asked_path()))
        abort(401)
    if request.method in UNSAFE_METHODS:
        if _comes_from_another_site():
            abort(403)
        csrf.protect()
    if found and not is_public(current_app.view_functions[str(request.endpoint)]):
        request.view_args = {**(request.view_args or {}), "member": found.member}
    return None


def _comes_from_another_site() -> bool:
    """By the browser's own word: Fetch Metadata, where an older one lacks it `Origin`."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "cross-site"
    origin = request.headers.get("Origin", settings.public_url)
    return origin not in (settings.public_url, request.host_url.rstrip("/"))


def wants_json() -> bool:
    """Whether the caller prefers the JSON twin of a page."""
    best = request.accept_mimetypes.best_match(["text/html", "application/json"])
    return best == "application/json"


def asked_path() -> str:
    """The path of this request, with its query if it has one."""
    return request.full_path if request.query_string else request.path


def _current_session() -> BrowserSession | None:
    if "browser_session" not in g:
        g.browser_session = _load_session()
    found: BrowserSession | None = g.browser_session
    return found


def do_without_session() -> None:
    """For a page that must be shown without the database: nobody counts as signed in."""
    g.browser_session = None


def _load_session() -> BrowserSession | None:
    sid = session.get("sid")
    if not isinstance(sid, str):
        return None
    at = now()
    found = db.session.scalar(
        sa.select(BrowserSession)
        .join(TokenSet, TokenSet.id == BrowserSession.token_set_id)
        .where(
            BrowserSession.id_hash == oauth.hashed(sid),
            BrowserSession.last_seen_at > at - IDLE_LIMIT,
            BrowserSession.created_at > at - ABSOLUTE_LIMIT,
            TokenSet.ended_at.is_(None),
        )
    )
    release()
    if found is not None and found.last_seen_at < at - SEEN_EVERY:
        _note_use(found, at)
    return found


def _note_use(found: BrowserSession, at: datetime) -> None:
    """A busy database must not keep anybody from a page that only reads."""
    try:
        with transaction():
            found.last_seen_at = at
    except OperationalError:
        log.warning("the use of a session could not be noted: the database is busy")


def _delete_session(rows: Any) -> None:
    sid = session.get("sid")
    if isinstance(sid, str):
        rows.execute(sa.delete(BrowserSession).where(BrowserSession.id_hash == oauth.hashed(sid)))


def _who_is(grant: Grant) -> tuple[Identity, Person]:
    """Ask sipgate whose grant this is. Without a name, the id is the name."""
    authorization = Authorization.bearer(grant.access_token)
    try:
        identity = sipgate.client().identity(authorization)
    except SipgateError as error:
        log.warning("nobody could say whose sign-in this is: %s", type(error).__name__)
        raise SignInFailed(SignInProblem.IDENTITY_UNKNOWN) from None
    if not settings.admits(identity.account_id):
        log.warning("sign-in from account %s, which SIPGATE_ACCOUNTS omits", identity.account_id)
        raise SignInFailed(SignInProblem.NOT_ADMITTED, identity.account_id)
    try:
        person = sipgate.client().person(authorization, identity.sub)
    except SipgateError:
        person = Person(name=identity.sub, is_admin=False)
    return identity, person


def _remember(rows: Any, identity: Identity, person: Person) -> Member:
    member = rows.scalar(
        sa.select(Member).where(
            Member.account_id == identity.account_id, Member.sub == identity.sub
        )
    )
    if member is None:
        member = Member(account_id=identity.account_id, sub=identity.sub, name=person.name)
        rows.add(member)
    member.name = person.name[:MAX_NAME_CHARACTERS]
    member.is_admin = person.is_admin
    rows.flush()
    found: Member = member
    return found
