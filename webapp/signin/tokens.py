"""Token sets: the tokens of each sign-in, refreshed by one caller at a time.

A refresh token can be used once, so a lease on the row lets one caller refresh, across threads and
processes, while the others wait. The new refresh token is saved before the new access token is
used. No transaction is open during HTTP.

On hold, no saved sign-in is used, refreshed or ended at sipgate: this database may be a copy, and a
refresh would end the sign-in of the original (F72 in docs/faults.md).
"""

import logging
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import (
    DATABASE_ERRORS,
    db,
    decrypted,
    detached,
    end_read,
    installation,
    rows_changed,
    table,
    transaction,
)
from webapp.database.models import IS_FILLING, Batch, Installation, Message, TokenSet
from webapp.rules.outcomes import WAITING, Outcome
from webapp.rules.times import now
from webapp.signin.calls import Credentials, SignInEnded
from webapp.sipgate import Authorization, login
from webapp.sipgate.login import Grant, GrantRefused, LoginUnavailable

log = logging.getLogger(__name__)

REFRESH_MARGIN = timedelta(seconds=30)
LEASE = timedelta(seconds=15)
"""Longer than a refresh can take: a lease expires only if its holder has died."""
LEASE_WAIT_S = 10.0
LEASE_POLL_S = 0.05
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
"""If the database takes no writes for a while, as in a failover. With the request before it that is
shorter than the lease."""
KEEP_ALIVE_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TokenSetCredentials:
    """The credentials of one sign-in, refreshed when needed."""

    token_set_id: int
    known: Authorization | None = None
    """What was read together with a claim, for the call that follows at once."""
    stored: bytes = field(default=b"", repr=False)
    """What `known` was decrypted from; every token is stored as other bytes."""

    def current(self) -> Authorization:
        return self.known or Authorization.bearer(_access_token(self.token_set_id))

    def renewed(self, refused: Authorization) -> Authorization:
        return Authorization.bearer(_access_token(self.token_set_id, refused=refused))

    def end(self) -> None:
        end_token_set(self.token_set_id)

    def scope(self) -> str:
        """The scopes that the login server granted; empty if it did not say."""
        return _read(self.token_set_id).scope


def new_token_set(member_id: int, grant: Grant) -> TokenSet:
    return TokenSet(
        member_id=member_id,
        access_token=grant.access_token,
        refresh_token=grant.refresh_token,
        expires_at=grant.expires_at,
        refresh_expires_at=grant.refresh_expires_at,
        scope=grant.scope,
    )


def newest_for(
    member_id: int, session: Session | None = None, *, tried: Collection[int] = ()
) -> TokenSetCredentials | None:
    """The newest active sign-in of a member, for the worker to send with. `session` is the caller's
    transaction, if one is open; `tried` are sign-ins that have proved dead."""
    query = _NEWEST.where(TokenSet.id.not_in(tried)) if tried else _NEWEST
    found = (session or db.session).scalar(query, {"of": member_id})
    return TokenSetCredentials(found) if found else None


_token_sets = table(TokenSet)
READ_WITH_CLAIM = (
    _token_sets.c.id,
    # As it is stored: `read_with_claim` decrypts it, if it must.
    sa.type_coerce(_token_sets.c.access_token, sa.LargeBinary).label("stored"),
    _token_sets.c.expires_at,
)


def is_newest_of(member_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a token set is a member's newest active one, for a query of `READ_WITH_CLAIM`."""
    other = table(TokenSet).alias()
    newest = sa.select(sa.func.max(other.c.id)).where(
        other.c.member_id == member_id, other.c.ended_at.is_(None)
    )
    return table(TokenSet).c.id == newest.scalar_subquery()


def read_with_claim(
    found: Any, before: TokenSetCredentials | None = None
) -> TokenSetCredentials | None:
    """The credentials, if the token needs no refresh. Not to be asked for on hold.

    `before`: those of the claim before; while the same token is stored, they are returned again.
    """
    if found.stored is None or found.expires_at <= now() + REFRESH_MARGIN:
        return None
    if before is not None and before.stored == found.stored:
        return before
    token = decrypted(found.stored)
    if token is None:
        return None
    return TokenSetCredentials(found.id, Authorization.bearer(token), found.stored)


def hold_and_credentials(
    connection: sa.Connection, credentials: Credentials
) -> tuple[bool, Credentials]:
    """Whether sending is on hold, which stays as it is until the transaction ends; and the
    credentials with their token, as it is now, for a call right after that."""
    if not isinstance(credentials, TokenSetCredentials):
        return installation.is_on_hold(connection), credentials
    params = {"token_set": credentials.token_set_id}
    found = connection.execute(_HOLD_AND_TOKEN, params).one_or_none()
    if found is None or found.hold_reason:
        return found is not None, credentials
    return False, read_with_claim(found) or credentials


# For every message that goes at once: one statement, because each has a price of its own.
_installation = table(Installation)
_this_one = sa.and_(_token_sets.c.id == sa.bindparam("token_set"), _token_sets.c.ended_at.is_(None))
_HOLD_AND_TOKEN = (
    sa.select(_installation.c.hold_reason, *READ_WITH_CLAIM)
    .select_from(_installation.outerjoin(_token_sets, _this_one))
    .where(_installation.c.id == 1)
    .with_for_update(read=True, of=_installation)
)


def last_end(member_id: int) -> datetime | None:
    """When the last of a member's active sign-ins ends; None if one has no known end, or if there
    is none."""
    query = sa.select(TokenSet.refresh_expires_at)
    ends = db.session.scalars(query.where(TokenSet.member_id == member_id, _is_active())).all()
    known = [end for end in ends if end]
    return max(known) if known and len(known) == len(ends) else None


def lacks_scope(credentials: Credentials, scope: str) -> bool:
    """Whether this sign-in was certainly not granted a permission; not every server tells."""
    if not isinstance(credentials, TokenSetCredentials):
        return False
    found = db.session.get(TokenSet, credentials.token_set_id)
    return found is not None and bool(found.scope) and scope not in found.scope.split()


def newest_with_scope(member_id: int, scope: str) -> TokenSetCredentials | None:
    """The newest active sign-in that was granted a permission."""
    query = sa.select(TokenSet).where(TokenSet.member_id == member_id, _is_active())
    found = db.session.scalars(query.order_by(TokenSet.id.desc())).all()
    return next((TokenSetCredentials(one.id) for one in found if scope in one.scope.split()), None)


def defer_logout(token_set_id: int) -> None:
    """The member signed out; the tokens stay for waiting messages, until `finished_logouts`."""
    with transaction() as session:
        rows_changed(
            session,
            sa.update(TokenSet).where(TokenSet.id == token_set_id).values(leaving_at=now()),
        )


def revoke_locally(token_set_id: int) -> str | None:
    """End a sign-in here and return the refresh token, to end it at sipgate, too.

    On hold it returns None, and the sign-in ends after the release (`finished_logouts`).
    """
    if installation.hold_state():
        defer_logout(token_set_id)
        return None
    refresh_token = _read(token_set_id).refresh_token
    end_token_set(token_set_id)
    return refresh_token


def revoke_upstream(refresh_token: str | None) -> None:
    """End a grant at sipgate; not on hold, when it may be the original's, too."""
    if not installation.hold_state():
        login.revoke(refresh_token)


def finished_logouts() -> list[int]:
    """Sign-ins whose member has signed out and has no more messages waiting; empty on hold."""
    if installation.hold_state():
        return []
    busy = sa.select(Message.member_id).where(Message.outcome.in_((*WAITING, Outcome.SENDING)))
    query = sa.select(TokenSet.id).where(
        TokenSet.leaving_at.is_not(None),
        _is_active(),
        TokenSet.member_id.not_in(busy),
        TokenSet.member_id.not_in(_filling()),
    )
    return list(db.session.scalars(query))


def keep_alive() -> None:
    """Refresh the sign-ins that waiting messages depend on, before they expire unused.

    At half of the refresh token's lifetime; once a day if its end is unknown.
    """
    if installation.hold_state():
        return
    waiting = sa.select(Message.member_id).where(Message.outcome.in_(WAITING)).distinct()
    needed = sa.or_(TokenSet.member_id.in_(waiting), TokenSet.member_id.in_(_filling()))
    depended_on = sa.select(TokenSet).where(_is_active(), needed)
    found = list(db.session.scalars(depended_on))
    for tokens in found:
        end = tokens.refresh_expires_at
        lifetime = end - tokens.refreshed_at if end else KEEP_ALIVE_EVERY * 2
        if tokens.access_token and now() > tokens.refreshed_at + lifetime / 2:
            try:
                _access_token(tokens.id, refused=Authorization.bearer(tokens.access_token))
            except (SignInEnded, LoginUnavailable):
                log.warning("token set %d could not be kept alive", tokens.id)


def _filling() -> sa.Select[int]:
    """The members for whom messages are being made from a list."""
    return sa.select(Batch.member_id).where(IS_FILLING)


def _is_active() -> sa.ColumnElement[bool]:
    return TokenSet.ended_at.is_(None)


# For every message; built once, as in `claims.py`.
_ONE = sa.select(TokenSet).where(TokenSet.id == sa.bindparam("wanted"))
_NEWEST = (
    sa.select(TokenSet.id)
    .where(TokenSet.member_id == sa.bindparam("of"), _is_active())
    .order_by(TokenSet.id.desc())
    .limit(1)
)


def end_token_set(token_set_id: int) -> None:
    """End a sign-in here: its sessions are signed out, its tokens erased."""
    with transaction() as session:
        session.execute(
            sa.update(TokenSet)
            .where(TokenSet.id == token_set_id, TokenSet.ended_at.is_(None))
            .values(ended_at=now(), access_token=None, refresh_token=None, lease=None)
        )


def _access_token(token_set_id: int, *, refused: Authorization | None = None) -> str:
    """The saved token while it is valid, otherwise a refreshed one.

    `refused` is what sipgate has just answered 401 to; a token that differs from it is newer.
    Raises `SignInEnded`, or `LoginUnavailable` (also on hold).
    """
    if installation.hold_state():
        raise LoginUnavailable
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
            raise LoginUnavailable
        time.sleep(LEASE_POLL_S)


def _read(token_set_id: int) -> TokenSet:
    found = db.session.scalars(
        _ONE, {"wanted": token_set_id}, execution_options={"populate_existing": True}
    )
    tokens = found.one()
    end_read()  # a caller who waits for another's refresh must see the new tokens
    return tokens


def _take_lease(tokens: TokenSet) -> str | None:
    """Take the lease to refresh this version of the token set; None if another caller has it."""
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
    """Refresh under the lease. `may_use_old`: the old token was not refused, it expires soon."""
    detached(tokens)
    if not tokens.refresh_token:
        return _old_token_or_end(tokens, lease, may_use_old)
    try:
        grant = login.ask_token_endpoint(lambda client, at: _refreshed(client, tokens, at))
    except GrantRefused as refused:
        log.warning("token set %d: refresh refused: %s", tokens.id, refused.code)
        if refused.code == "invalid_grant":
            return _after_invalid_grant(tokens, lease)
        _drop_lease(tokens, lease)
        # Our client is configured wrongly; the member's grant is still valid.
        raise LoginUnavailable from None
    except LoginUnavailable:
        _drop_lease(tokens, lease)
        if may_use_old and tokens.access_token and tokens.expires_at > now():
            return tokens.access_token
        raise
    if not _save(tokens, lease, grant):
        return _access_token(tokens.id)
    return grant.access_token


def _refreshed(client: Any, tokens: TokenSet, asked_at: datetime) -> Grant:
    # No scope is sent: requesting one that was not granted would end the sign-in for good.
    token = client.refresh_token(
        login.endpoint("token"), refresh_token=tokens.refresh_token, allow_redirects=False
    )
    return login.checked_grant(token, asked_at)


def _old_token_or_end(tokens: TokenSet, lease: str, may_use_old: bool) -> str:
    if may_use_old and tokens.access_token and tokens.expires_at > now():
        _drop_lease(tokens, lease)
        return tokens.access_token
    end_token_set(tokens.id)
    raise SignInEnded


def _after_invalid_grant(tokens: TokenSet, lease: str) -> str:
    """The grant is dead, unless another caller refreshed it after our lease expired: read again."""
    again = _read(tokens.id)
    if again.version != tokens.version and again.access_token:
        return again.access_token
    _drop_lease(tokens, lease)
    end_token_set(tokens.id)
    raise SignInEnded


def _save(tokens: TokenSet, lease: str, grant: Grant) -> bool:
    """Save new tokens, unless the lease is gone; again and again for a while if the database is
    away, because the old refresh token is used up."""
    change = (
        sa.update(TokenSet)
        .where(TokenSet.id == tokens.id, TokenSet.lease == lease)
        .values(
            access_token=grant.access_token,
            refresh_token=grant.refresh_token or tokens.refresh_token,
            expires_at=grant.expires_at,
            refresh_expires_at=grant.refresh_expires_at or tokens.refresh_expires_at,
            version=tokens.version + 1,
            refreshed_at=now(),
            lease=None,
            lease_until=None,
        )
    )
    for wait_s in SAVE_AGAIN_AFTER_S:
        try:
            return _changed(change)
        except DATABASE_ERRORS:
            log.warning("token set %d: the new tokens were not saved; trying again", tokens.id)
            time.sleep(wait_s)
    return _changed(change)


def _changed(change: sa.Update) -> bool:
    with transaction() as session:
        return rows_changed(session, change) == 1


def _drop_lease(tokens: TokenSet, lease: str) -> None:
    with transaction() as session:
        rows_changed(
            session,
            sa.update(TokenSet)
            .where(TokenSet.id == tokens.id, TokenSet.lease == lease)
            .values(lease=None, lease_until=None),
        )
