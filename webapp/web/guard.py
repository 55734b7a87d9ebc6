"""What stands between a request and a view: sign-in, origin, CSRF, and whose rows may be loaded.

Every view requires sign-in and receives `member`, unless it is marked `@public`. The cookie holds a
random id, and the database its hash, so a copied cookie is worthless after sign-out. Only this
module knows the cookie's keys.
"""

import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from flask import Flask, abort, current_app, g, redirect, request, session, url_for
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from webapp.config import settings
from webapp.database.models import Batch, BrowserSession, Member, Message
from webapp.messages import history, visibility
from webapp.signin import flow, sessions, tokens
from webapp.signin.flow import SignInFailed
from webapp.signin.sessions import OpenSession
from webapp.sipgate import login
from webapp.sipgate.login import Grant
from webapp.web import security

csrf = CSRFProtect()

log = logging.getLogger(__name__)
MAX_NEXT_CHARACTERS = 2000
UNSAFE_METHODS = ("POST", "PUT", "PATCH", "DELETE")

View = TypeVar("View", bound=Callable[..., Any])


def public(view: View) -> View:
    """Mark a view as open to strangers."""
    view.is_public = True  # type: ignore[attr-defined]
    return view


def is_public(view: Callable[..., Any]) -> bool:
    return getattr(view, "is_public", False)


def setup_guard(app: Flask) -> None:
    app.before_request(_require_sign_in)
    app.context_processor(lambda: {"member": current_member()})


def browser_id() -> str:
    """The random id that ties sign-ins to this browser; made on first use."""
    if "browser" not in session:
        session["browser"] = secrets.token_urlsafe(16)
    return str(session["browser"])


def sign_in(grant: Grant) -> Member:
    """Open a session for the person this grant belongs to; raises `SignInFailed`.

    A grant that opens no session is revoked at sipgate.
    """
    try:
        identity, person = sessions.who_is(grant)
    except SignInFailed:
        tokens.revoke_upstream(grant.refresh_token)
        raise
    sid = secrets.token_urlsafe(32)
    member = sessions.open_session(
        identity,
        person,
        grant,
        id_hash=flow.hashed(sid),
        device=request.user_agent.string,
        replaces=_id_hash(),
    )
    # A new id and a new CSRF secret. The browser's id stays, so that other tabs can finish.
    kept = {key: session[key] for key in ("browser", "locale") if key in session}
    session.clear()
    session.update(kept, sid=sid)
    g.pop("browser_session", None)
    log.info("member %d signed in", member.id)
    return member


def end_session() -> int | None:
    """End this browser's session at once; returns its token set, for the caller to revoke."""
    found = _current_session()
    if found is None:
        return None
    sessions.close_session(found)
    session.pop("sid", None)
    session.pop("csrf_token", None)
    g.pop("browser_session", None)
    log.info("member %d signed out", found.member_id)
    return found.token_set_id


def end_other_session(member: Member, public_id: str) -> None:
    """End one of the member's sessions, and revoke its grant; 404 if it is not theirs."""
    found = sessions.session_of(member, public_id)
    if found is None:
        abort(404)
    sessions.close_session(found)
    login.revoke(tokens.revoke_locally(found.token_set_id))


def end_all_sessions(member: Member) -> None:
    end_session()
    sessions.end_all_sessions(member)


def sessions_of(member: Member) -> list[tuple[BrowserSession, bool]]:
    """The member's sessions, and whether each is this browser's."""
    current = _id_hash()
    return [(found, found.id_hash == current) for found in sessions.sessions_of(member)]


def current_member() -> Member | None:
    found = _current_session()
    return found.member if found else None


def rate_key() -> str:
    """Requests with the same key count together."""
    member = current_member()
    return f"member {member.id}" if member else request.remote_addr or ""


def credentials() -> tokens.TokenSetCredentials:
    """What authorises calls for the signed-in member. For views that require sign-in."""
    found = _current_session()
    if found is None:
        abort(401)
    return tokens.TokenSetCredentials(found.token_set_id)


Row = TypeVar("Row", Message, Batch)


def own_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """The member's own, else 404: as for an id that does not exist."""
    found = visible_or_404(kind, id_, member)
    if not visibility.owns(member, found):
        abort(404)
    return found


def visible_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """One that the member may see."""
    found = history.find(kind, id_, member)
    if found is None:
        abort(404)
    return found


def managed_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """One that the member may withdraw, stop or mark done."""
    found = visible_or_404(kind, id_, member)
    if not visibility.may_manage(member, found):
        abort(404)
    return found


def safe_next(value: str | None) -> str:
    """The path if it is one of our own pages, else the start page. Never leads to another site."""
    path = value or ""
    is_odd = not path.isprintable() or "\\" in path or not path.isascii()
    if is_odd or len(path) > MAX_NEXT_CHARACTERS or path[:1] != "/" or path[:2] == "//":
        return "/"
    parts = urlsplit(path)
    if parts.scheme or parts.netloc:
        return "/"
    try:
        current_app.url_map.bind("").match(parts.path, method="GET")
    except (HTTPException, RequestRedirect):
        return "/"
    return path


def _require_sign_in() -> ResponseReturnValue | None:
    if request.routing_exception is not None or request.endpoint in (None, "static"):
        return None
    found = _current_session()
    g.member_id = found.member_id if found else None  # for the log
    if found is None and not is_public(current_app.view_functions[str(request.endpoint)]):
        if request.method in ("GET", "HEAD") and not wants_json():
            return redirect(url_for("signin.login", next=asked_path()))
        abort(401)
    if request.method in UNSAFE_METHODS:
        if _comes_from_another_site():
            abort(403)
        if found:
            # A stranger has nothing to protect, and must get no cookie: in the answer to a second
            # callback, it would overwrite the session that the first has just opened.
            csrf.protect()
    if found and not is_public(current_app.view_functions[str(request.endpoint)]):
        request.view_args = {**(request.view_args or {}), "member": found.member}
    return None


def _comes_from_another_site() -> bool:
    """By Fetch Metadata, or by `Origin` if the browser is too old for that."""
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


def _current_session() -> OpenSession | None:
    if "browser_session" not in g:
        g.browser_session = _load_session()
    found: OpenSession | None = g.browser_session
    return found


def ignore_session() -> None:
    """For a page that must be shown without the database: nobody is signed in on it."""
    g.browser_session = None


def _load_session() -> OpenSession | None:
    id_hash = _id_hash()
    found = sessions.find_open(id_hash) if id_hash else None
    if found is None or security.is_poll():
        return found
    return found if sessions.is_still_good(found) else None


def _id_hash() -> str | None:
    sid = session.get("sid")
    return flow.hashed(sid) if isinstance(sid, str) else None
