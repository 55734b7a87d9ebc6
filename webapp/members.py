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
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from webapp import login_server, oauth, security, sipgate, tokens
from webapp.answers import Refused, SipgateError
from webapp.database import AWAY, now, put, rows_changed, transaction
from webapp.extensions import csrf, db, settings
from webapp.login_server import Grant, LoginAway
from webapp.models import Batch, BrowserSession, Member, Message, TokenSet
from webapp.oauth import SignInFailed, SignInProblem
from webapp.outcomes import Reason
from webapp.record import Did, note
from webapp.sipgate import Authorization, Identity, Person
from webapp.tokens import SignInEnded

log = logging.getLogger(__name__)

IDLE_LIMIT = timedelta(hours=12)
ABSOLUTE_LIMIT = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=1)
LOOK_EVERY = timedelta(minutes=15)
LOOK_AGAIN_AFTER = timedelta(minutes=1)
"""When sipgate was away at the look, so that not every page waits for it."""
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
        tokens.revoke(grant.refresh_token)
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
                id_hash=oauth.hashed(sid),
                member_id=member.id,
                token_set_id=token_set.id,
                device=request.user_agent.string[:MAX_NAME_CHARACTERS],
            )
        )
        note(rows, Did.SIGNED_IN, member)
    # A new id and a new CSRF secret; the browser's id stays, so that other tabs may finish.
    kept = {key: session[key] for key in ("browser", "locale") if key in session}
    session.clear()
    session.update(kept, sid=sid)
    g.pop("browser_session", None)
    log.info("member %d signed in", member.id)
    return member


def end_session() -> int | None:
    """End this browser's session at once; returns its token set, for the caller to end."""
    found = _current_session()
    if found is None:
        return None
    with transaction() as rows:
        _delete_session(rows)
        note(rows, Did.SIGNED_OUT, found.member)
    session.pop("sid", None)
    session.pop("csrf_token", None)
    g.pop("browser_session", None)
    log.info("member %d signed out", found.member_id)
    return found.token_set_id


def sessions_of(member: Member) -> list[BrowserSession]:
    """The browsers this member is signed in with, the latest used first."""
    query = sa.select(BrowserSession).where(BrowserSession.member_id == member.id, *_is_alive())
    return list(db.session.scalars(query.order_by(BrowserSession.last_seen_at.desc())).unique())


def end_other_session(member: Member, public_id: str) -> None:
    """End one of one's own sessions and its grant; 404 if it is not one's own."""
    found = db.session.scalar(
        sa.select(BrowserSession).where(
            BrowserSession.member_id == member.id, BrowserSession.public_id == public_id
        )
    )
    if found is None:
        abort(404)
    with transaction() as rows:
        rows.execute(sa.delete(BrowserSession).where(BrowserSession.id_hash == found.id_hash))
        note(rows, Did.SIGNED_OUT, member)
    login_server.revoke(tokens.take_for_ending(found.token_set_id))


def is_this_browser(found: BrowserSession) -> bool:
    current = _current_session()
    return current is not None and current.id_hash == found.id_hash


def current_member() -> Member | None:
    found = _current_session()
    return found.member if found else None


def rate_key() -> str:
    """Whose requests are counted together."""
    member = current_member()
    return f"member {member.id}" if member else request.remote_addr or ""


def credentials() -> tokens.TokenSetCredentials:
    """What authorises calls for the signed-in member; only where sign-in is required."""
    found = _current_session()
    if found is None:
        abort(401)
    return tokens.TokenSetCredentials(found.token_set_id)


Row = TypeVar("Row", Message, Batch)


def own_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """The member's own; somebody else's is as missing as one that never was."""
    found = visible_or_404(kind, id_, member)
    if found.member_id != member.id:
        abort(404)
    return found


def visible_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """One that the member may see: their own, or their account's where the setting says so."""
    found = db.session.get(kind, id_, populate_existing=True)
    if found is None or not may_see(member, found):
        abort(404)
    return found


def managed_or_404(kind: type[Row], id_: str, member: Member) -> Row:
    """One that the member may withdraw or stop: their own, or as an admin their account's."""
    found = visible_or_404(kind, id_, member)
    if found.member_id != member.id and not member.is_admin:
        abort(404)
    return found


def may_see(member: Member, row: Message | Batch) -> bool:
    if row.account_id != member.account_id:
        return False
    return row.member_id == member.id or sees_account(member)


def sees_account(member: Member) -> bool:
    return member.is_admin or settings.history_visibility == "team"


def visible_messages(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that keeps to what the member may see."""
    if sees_account(member):
        return Message.account_id == member.account_id
    return Message.member_id == member.id


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
    g.member_id = found.member_id if found else None  # for the log
    if found is None and not is_public(current_app.view_functions[str(request.endpoint)]):
        if request.method in ("GET", "HEAD") and not wants_json():
            return redirect(url_for("auth.login", next=asked_path()))
        abort(401)
    if request.method in UNSAFE_METHODS:
        if _comes_from_another_site():
            abort(403)
        if found:
            # A stranger has nothing to protect, and must get no cookie: one that answers a second
            # callback would put out the session that the first has just opened.
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
    if not isinstance(sid := session.get("sid"), str):
        return None
    at = now()
    said = {"hash": oauth.hashed(sid), "seen": at - IDLE_LIMIT, "begun": at - ABSOLUTE_LIMIT}
    found = db.session.scalar(_OPEN_SESSION, said)
    if found is None or security.is_poll():
        return found
    if found.checked_at < at - LOOK_EVERY and not _is_still_welcome(found):
        return None
    if found.last_seen_at < at - SEEN_EVERY:
        _note_use(found, at)
    return found


# For every request; built once, for making it anew takes longer than running it (measured).
_OPEN_SESSION = (
    sa.select(BrowserSession)
    .join(TokenSet, TokenSet.id == BrowserSession.token_set_id)
    .where(
        BrowserSession.id_hash == sa.bindparam("hash"),
        BrowserSession.last_seen_at > sa.bindparam("seen"),
        BrowserSession.created_at > sa.bindparam("begun"),
        TokenSet.ended_at.is_(None),
    )
)


def _note_use(found: BrowserSession, at: datetime) -> None:
    """A busy database must not keep anybody from a page that only reads."""
    try:
        _change_session(found, last_seen_at=at)
    except AWAY:
        log.warning("the use of a session could not be noted: the database is busy")


def _change_session(found: BrowserSession, **values: datetime) -> None:
    """By a statement of its own: a session that another request has ended stays ended."""
    with transaction() as rows:
        mine = BrowserSession.id_hash == found.id_hash
        rows_changed(rows, sa.update(BrowserSession).where(mine).values(**values))


def _is_alive() -> tuple[sa.ColumnElement[bool], ...]:
    at = now()
    return (
        BrowserSession.last_seen_at > at - IDLE_LIMIT,
        BrowserSession.created_at > at - ABSOLUTE_LIMIT,
    )


def _is_still_welcome(found: BrowserSession) -> bool:
    """Look again at who this is. An ended sign-in or a removed account ends all sessions of the
    member; a sipgate that is away ends nothing."""
    own = tokens.TokenSetCredentials(found.token_set_id)
    try:
        identity = tokens.with_one_refresh(own, sipgate.client().identity)
        person = _person(own.current(), identity.sub, found.member)
    except SignInEnded:
        end_all_sessions(found.member)
        return False
    except (SipgateError, LoginAway):
        _change_session(found, checked_at=now() - LOOK_EVERY + LOOK_AGAIN_AFTER)
        return True
    if not settings.admits(identity.account_id):
        end_all_sessions(found.member)
        return False
    _change_session(found, checked_at=now())
    remember(identity, person)
    return True


def end_all_sessions(member: Member) -> None:
    """End every sign-in of a member, here and at sipgate. What waits pauses when it is tried."""
    query = sa.select(TokenSet.id).where(
        TokenSet.member_id == member.id, TokenSet.ended_at.is_(None)
    )
    taken = [tokens.take_for_ending(one) for one in list(db.session.scalars(query))]
    with transaction() as rows:
        rows.execute(sa.delete(BrowserSession).where(BrowserSession.member_id == member.id))
    for refresh_token in taken:  # sipgate may be slow; here, all have ended already
        login_server.revoke(refresh_token)


def _person(authorization: Authorization, sub: str, known: Member | None = None) -> Person:
    """Name and role; where sipgate does not say, what is known, else the id and no admin.

    A 403 means that the role which allowed the question is gone.
    """
    try:
        return sipgate.client().person(authorization, sub)
    except SipgateError as error:
        is_refused = isinstance(error, Refused) and error.reason == Reason.NOT_ALLOWED
        was_admin = known is not None and known.is_admin
        return Person(known.name if known else sub, was_admin and not is_refused)


def _delete_session(rows: Any) -> None:
    if isinstance(sid := session.get("sid"), str):
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
    return identity, _person(authorization, identity.sub)


def _remember(rows: Any, identity: Identity, person: Person) -> Member:
    key = {"account_id": identity.account_id, "sub": identity.sub}
    values = {"name": person.name[:MAX_NAME_CHARACTERS], "is_admin": person.is_admin}
    put(rows, Member, key, values, created_at=now())
    query = sa.select(Member).filter_by(**key)
    found: Member = rows.scalars(query, execution_options={"populate_existing": True}).one()
    return found
