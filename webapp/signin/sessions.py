"""Browser sessions and members as rows: opened, revalidated every 15 minutes, ended.

Cookies and requests are the business of `web/guard.py`.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.config import settings
from webapp.database import DATABASE_ERRORS, db, rows_changed, table, transaction, upsert
from webapp.database.audit import AuditEvent, record
from webapp.database.models import BrowserSession, Member, TokenSet
from webapp.rules.outcomes import Reason
from webapp.rules.times import now
from webapp.signin import calls, tokens
from webapp.signin.calls import SignInEnded
from webapp.signin.flow import SignInFailed, SignInProblem
from webapp.sipgate import Authorization, Identity, Person, Refused, SipgateError, client, login
from webapp.sipgate.login import Grant, LoginUnavailable

log = logging.getLogger(__name__)


IDLE_LIMIT = timedelta(hours=12)
ABSOLUTE_LIMIT = timedelta(days=7)
SEEN_EVERY = timedelta(minutes=1)
LOOK_EVERY = timedelta(minutes=15)
LOOK_AGAIN_AFTER = timedelta(minutes=1)
"""If sipgate could not be reached, so that not every page waits for it."""
MAX_NAME_CHARACTERS = 200


def open_session(
    identity: Identity,
    person: Person,
    grant: Grant,
    *,
    id_hash: str,
    device: str,
    replaces: str | None,
) -> Member:
    """Open a session with its own token set; it replaces the one that the browser had."""
    with transaction() as session:
        if replaces:
            session.execute(sa.delete(BrowserSession).where(BrowserSession.id_hash == replaces))
        member = _save_member(session, identity, person)
        token_set = tokens.new_token_set(member.id, grant)
        session.add(token_set)
        session.flush()
        session.add(
            BrowserSession(
                id_hash=id_hash,
                member_id=member.id,
                token_set_id=token_set.id,
                device=device[:MAX_NAME_CHARACTERS],
            )
        )
        _note_presence(session, member.id, now())
        record(session, AuditEvent.SIGNED_IN, member)
    return member


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A row of `sessions`, as far as every request needs it."""

    member: Member
    id_hash: str
    token_set_id: int
    last_seen_at: datetime
    checked_at: datetime

    @property
    def member_id(self) -> int:
        return self.member.id


def close_session(found: OpenSession | BrowserSession) -> None:
    """End a session here; the caller ends its token set."""
    with transaction() as session:
        session.execute(sa.delete(BrowserSession).where(BrowserSession.id_hash == found.id_hash))
        record(session, AuditEvent.SIGNED_OUT, found.member)


def find_open(id_hash: str) -> OpenSession | None:
    """The session with this id, unless it or its token set has ended."""
    at = now()
    params = {"hash": id_hash, "seen": at - IDLE_LIMIT, "begun": at - ABSOLUTE_LIMIT}
    found = db.session.execute(_OPEN_SESSION, params).one_or_none()
    return OpenSession(*found) if found else None


def is_still_good(found: OpenSession) -> bool:
    """Record that the session is used; every 15 minutes, revalidate it at sipgate."""
    at = now()
    if found.checked_at < at - LOOK_EVERY and not _revalidate(found):
        return False
    if found.last_seen_at < at - SEEN_EVERY:
        _note_use(found, at)
    return True


def session_of(member: Member, public_id: str) -> BrowserSession | None:
    """One of the member's own sessions, by the id that its page shows."""
    mine = (BrowserSession.member_id == member.id, BrowserSession.public_id == public_id)
    return db.session.scalar(sa.select(BrowserSession).where(*mine))


def sessions_of(member: Member) -> list[BrowserSession]:
    """The member's sessions, the most recently used first."""
    query = sa.select(BrowserSession).where(BrowserSession.member_id == member.id, *_is_alive())
    return list(db.session.scalars(query.order_by(BrowserSession.last_seen_at.desc())).unique())


def save_member(identity: Identity, person: Person) -> Member:
    """Create or update the member (for the command line)."""
    with transaction() as session:
        return _save_member(session, identity, person)


_sessions = table(BrowserSession).c
# For every request; built once, because building it takes longer than running it (measured).
_OPEN_SESSION = (
    sa.select(
        Member,
        _sessions.id_hash,
        _sessions.token_set_id,
        _sessions.last_seen_at,
        _sessions.checked_at,
    )
    .join(table(BrowserSession), _sessions.member_id == Member.id)
    .join(table(TokenSet), table(TokenSet).c.id == _sessions.token_set_id)
    .where(
        _sessions.id_hash == sa.bindparam("hash"),
        _sessions.last_seen_at > sa.bindparam("seen"),
        _sessions.created_at > sa.bindparam("begun"),
        table(TokenSet).c.ended_at.is_(None),
    )
)


def _note_use(found: OpenSession, at: datetime) -> None:
    """Record the use; a busy database must not keep anybody from a page that only reads."""
    try:
        with transaction() as session:
            mine = BrowserSession.id_hash == found.id_hash
            rows_changed(session, sa.update(BrowserSession).where(mine).values(last_seen_at=at))
            _note_presence(session, found.member_id, at)
    except DATABASE_ERRORS:
        log.warning("the use of a session could not be noted: the database is busy")


def _change_session(found: OpenSession, **values: datetime) -> None:
    """Change by UPDATE: a session that another request has ended stays ended."""
    with transaction() as session:
        mine = BrowserSession.id_hash == found.id_hash
        rows_changed(session, sa.update(BrowserSession).where(mine).values(**values))


def _note_presence(session: Session, member_id: int, at: datetime) -> None:
    """The session will be erased; when its member was last here stays."""
    change = sa.update(Member).where(Member.id == member_id)
    rows_changed(session, change.values(last_seen_at=at))


def _is_alive() -> tuple[sa.ColumnElement[bool], ...]:
    at = now()
    return (
        BrowserSession.last_seen_at > at - IDLE_LIMIT,
        BrowserSession.created_at > at - ABSOLUTE_LIMIT,
    )


def _revalidate(found: OpenSession) -> bool:
    """Ask sipgate again who this is. If the sign-in has ended or the account is not admitted, all
    sessions of the member end; if sipgate cannot be reached, none does."""
    own = tokens.TokenSetCredentials(found.token_set_id)
    try:
        identity = calls.with_one_refresh(own, client().identity)
        person = _person_of(own.current(), identity.sub, found.member)
    except SignInEnded:
        end_all_sessions(found.member)
        return False
    except (SipgateError, LoginUnavailable):
        _change_session(found, checked_at=now() - LOOK_EVERY + LOOK_AGAIN_AFTER)
        return True
    if not settings.admits(identity.account_id):
        end_all_sessions(found.member)
        return False
    _change_session(found, checked_at=now())
    save_member(identity, person)
    return True


def end_all_sessions(member: Member) -> None:
    """End all sign-ins of a member, here and at sipgate. Waiting messages pause when tried."""
    query = sa.select(TokenSet.id).where(
        TokenSet.member_id == member.id, TokenSet.ended_at.is_(None)
    )
    taken = [tokens.revoke_locally(one) for one in list(db.session.scalars(query))]
    with transaction() as session:
        session.execute(sa.delete(BrowserSession).where(BrowserSession.member_id == member.id))
    for refresh_token in taken:  # last, because sipgate may be slow
        login.revoke(refresh_token)


def end_sign_ins(member: Member, by: Member) -> None:
    """An administrator ends all sign-ins of a member, who can sign in again."""
    with transaction() as session:
        session.execute(sa.delete(BrowserSession).where(BrowserSession.member_id == member.id))
        record(session, AuditEvent.ENDED_SIGN_INS, by, detail=member.sub)
    end_all_sessions(member)


def _person_of(authorization: Authorization, sub: str, known: Member | None = None) -> Person:
    """Name and role. If sipgate does not tell: what is known, otherwise the id and no admin.

    A 403 means that the role which permitted the question is gone.
    """
    try:
        return client().person(authorization, sub)
    except SipgateError as error:
        is_refused = isinstance(error, Refused) and error.reason == Reason.NOT_ALLOWED
        was_admin = known is not None and known.is_admin
        return Person(known.name if known else sub, was_admin and not is_refused)


def who_is(grant: Grant) -> tuple[Identity, Person]:
    """Ask sipgate whose grant this is. Raises `SignInFailed`."""
    authorization = Authorization.bearer(grant.access_token)
    try:
        identity = client().identity(authorization)
    except SipgateError as error:
        log.warning("nobody could say whose sign-in this is: %s", type(error).__name__)
        raise SignInFailed(SignInProblem.IDENTITY_UNKNOWN) from None
    if not settings.admits(identity.account_id):
        log.warning("sign-in from account %s, which SIPGATE_ACCOUNTS omits", identity.account_id)
        raise SignInFailed(SignInProblem.NOT_ADMITTED, identity.account_id)
    return identity, _person_of(authorization, identity.sub)


def _save_member(session: Any, identity: Identity, person: Person) -> Member:
    key = {"account_id": identity.account_id, "sub": identity.sub}
    values = {"name": person.name[:MAX_NAME_CHARACTERS], "is_admin": person.is_admin}
    upsert(session, Member, key, values, created_at=now())
    query = sa.select(Member).filter_by(**key)
    found: Member = session.scalars(query, execution_options={"populate_existing": True}).one()
    return found
