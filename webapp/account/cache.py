"""A cache per member of what sipgate knows of them, so that pages do not wait for sipgate.

A cached answer is fresh for a minute; then sipgate is asked again. If it is away or its answer
makes no sense, the cached one is used on, and sipgate is not asked for half a minute.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction, upsert
from webapp.database.models import BrowserSession, KeptAnswer, Member
from webapp.rules.outcomes import Reason
from webapp.rules.times import now
from webapp.signin import Credentials, with_one_refresh
from webapp.sipgate import Authorization, Balance, Extension, Refused, SipgateError, client
from webapp.sipgate.login import LoginUnavailable

FRESH = timedelta(minutes=1)
ASK_AGAIN_AFTER = timedelta(seconds=30)
BALANCE_SCOPE = "balance:read"
BALANCE_SHOWN_FOR = timedelta(minutes=15)
READ_EVERY = timedelta(minutes=5)
HERE_SINCE = timedelta(minutes=10)
"""A member whose browser asked for a page within this time counts as being at work."""


class Trouble(StrEnum):
    """Why the cached answer may be old or missing."""

    NONE = ""
    AWAY = "away"
    NOT_ALLOWED = "not_allowed"
    NOT_GRANTED = "not_granted"
    ONLY_COLLEAGUES = "only_colleagues"
    INCOMPLETE = "incomplete"
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class Extensions:
    """A member's Web SMS extensions, as last known."""

    items: tuple[Extension, ...]
    trouble: Trouble = Trouble.NONE

    def find(self, extension_id: str) -> Extension | None:
        return next((item for item in self.items if item.id == extension_id), None)


@dataclass(frozen=True, slots=True)
class Cached:
    """The last answer, and what is wrong with it."""

    value: Any
    trouble: Trouble = Trouble.NONE
    fetched_at: datetime | None = None
    asked_at: datetime | None = None


def extensions(member: Member, credentials: Credentials) -> Extensions:
    """The member's extensions. Raises `SignInEnded` only."""
    known = fetch(
        member,
        credentials,
        "extensions",
        lambda auth: [asdict(item) for item in client().extensions(auth, member.sub)],
    )
    return Extensions(_extensions(known), known.trouble)


def known_extensions(member_ids: Collection[int]) -> list[Extension]:
    """The extensions of these members as last known, by id. Never asks sipgate."""
    query = sa.select(KeptAnswer.value).where(
        KeptAnswer.member_id.in_(member_ids), KeptAnswer.kind == "extensions"
    )
    values = [(params or {}).get("value") or () for params in db.session.scalars(query)]
    found = {item["id"]: Extension(**item) for value in values for item in value}
    return [found[id_] for id_ in sorted(found)]


def _extensions(known: Cached) -> tuple[Extension, ...]:
    return tuple(Extension(**item) for item in known.value or ())


def read_balance(member: Member, credentials: Credentials) -> None:
    """Fetch the account's balance into the cache."""

    def call(auth: Authorization) -> Any:
        found = client().balance(auth)
        return {"amount": str(found.amount), "currency": found.currency}

    fetch(member, credentials, "balance", call)


def balance(member: Member) -> Balance | None:
    """The cached balance, unless it is old. Never asks sipgate."""
    known = cached(member, "balance")
    if not known.value or known.fetched_at is None:
        return None
    if known.fetched_at < now() - BALANCE_SHOWN_FOR:
        return None
    return Balance(Decimal(known.value["amount"]), known.value["currency"])


def members_to_read_for() -> list[int]:
    """Members at work whose balance and contacts have not been fetched lately."""
    at = now()
    asked = sa.exists().where(
        KeptAnswer.member_id == BrowserSession.member_id,
        KeptAnswer.kind.in_(("balance", "contacts")),
        KeptAnswer.asked_at > at - READ_EVERY,
    )
    query = sa.select(BrowserSession.member_id).where(
        BrowserSession.last_seen_at > at - HERE_SINCE, ~asked
    )
    return list(db.session.scalars(query.distinct()))


def fetch(
    member: Member,
    credentials: Credentials,
    kind: str,
    call: Callable[[Authorization], Any],
    *,
    fresh: timedelta = FRESH,
    store: Callable[[Session, Any], Any] | None = None,
) -> Cached:
    """The cached answer of a kind while it is fresh, otherwise what `call` returns (JSON values).

    `store` saves a new answer elsewhere, in the same transaction, and returns what to cache.
    Raises `SignInEnded` only.
    """
    known = cached(member, kind)
    at = now()
    if known.fetched_at and known.fetched_at > at - fresh:
        return known
    was_just_asked = known.asked_at and known.asked_at > at - ASK_AGAIN_AFTER
    if known.trouble == Trouble.AWAY and was_just_asked:
        return known
    try:
        value = with_one_refresh(credentials, call)
    except Refused as refused:
        # 403 and 404 mean that the person does not have this; other refusals say nothing about it.
        if refused.reason in (Reason.NOT_ALLOWED, Reason.MISUNDERSTOOD):
            return _keep(member, kind, None, trouble=Trouble.NOT_ALLOWED)
        return _still_kept(member, kind)
    except (SipgateError, LoginUnavailable):
        return _still_kept(member, kind)
    return _keep(member, kind, value, store=store)


def cached(member: Member, kind: str) -> Cached:
    """The last answer of a kind. Never asks sipgate."""
    found = db.session.execute(_KEPT, {"of": member.id, "what": kind}).first()
    if found is None:
        return Cached(None)
    params, fetched_at, asked_at = found
    value = params or {"value": None, "trouble": Trouble.AWAY}
    trouble = Trouble.AWAY if fetched_at != asked_at else Trouble(value["trouble"])
    return Cached(value.get("value"), trouble, fetched_at, asked_at)


# For every page; built once, as in `claims.py`.
_KEPT = sa.select(KeptAnswer.value, KeptAnswer.fetched_at, KeptAnswer.asked_at).where(
    KeptAnswer.member_id == sa.bindparam("of"), KeptAnswer.kind == sa.bindparam("what")
)


def expire_extensions(account_id: str) -> None:
    """Have sipgate asked again for the extensions of everybody in the account: a sender changed.

    The cached ones are still used while sipgate is away.
    """
    colleagues = sa.select(Member.id).where(Member.account_id == account_id)
    old = now() - FRESH
    with transaction() as session:
        rows_changed(
            session,
            sa.update(KeptAnswer)
            .where(KeptAnswer.kind == "extensions", KeptAnswer.member_id.in_(colleagues))
            .values(fetched_at=old, asked_at=old),
        )


def _still_kept(member: Member, kind: str) -> Cached:
    with transaction() as session:
        upsert(session, KeptAnswer, {"member_id": member.id, "kind": kind}, {"asked_at": now()})
    return Cached(cached(member, kind).value, Trouble.AWAY)


def _keep(
    member: Member,
    kind: str,
    value: Any,
    *,
    trouble: Trouble = Trouble.NONE,
    store: Callable[[Session, Any], Any] | None = None,
) -> Cached:
    at = now()
    row = {"member_id": member.id, "kind": kind}
    with transaction() as session:
        if store and value is not None:
            # Writing the row first makes others wait who would store theirs at the same time.
            upsert(session, KeptAnswer, row, {"asked_at": at})
            value = store(session, value)
        params = {"value": value, "trouble": trouble}
        upsert(session, KeptAnswer, row, {"value": params, "asked_at": at, "fetched_at": at})
    return cached(member, kind)
