"""What sipgate knows of a member, kept per member so that a page does not wait for it.

A kept answer serves for a minute. After that sipgate is asked again; if it is away or talks
nonsense, the kept answer serves on, and it is left in peace for half a minute.
"""

from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum

from webapp import sipgate, tokens
from webapp.answers import Refused, SipgateError
from webapp.database import now, put, release, transaction
from webapp.extensions import db
from webapp.login_server import LoginAway
from webapp.models import KeptAnswer, Member
from webapp.outcomes import Reason
from webapp.sipgate import Extension
from webapp.tokens import Credentials

FRESH = timedelta(minutes=1)
ASK_AGAIN_AFTER = timedelta(seconds=30)


class Trouble(StrEnum):
    """Why the list of extensions may be old or empty; empty text when all is well."""

    NONE = ""
    AWAY = "away"
    NOT_ALLOWED = "not_allowed"


@dataclass(frozen=True, slots=True)
class Extensions:
    """A member's Web SMS extensions as last known."""

    items: tuple[Extension, ...]
    trouble: Trouble = Trouble.NONE

    def find(self, extension_id: str) -> Extension | None:
        return next((item for item in self.items if item.id == extension_id), None)


def extensions(member: Member, credentials: Credentials) -> Extensions:
    """The member's extensions; raises `tokens.SignInEnded` only."""
    kept = _kept(member, "extensions")
    at = now()
    if kept and kept.fetched_at and kept.fetched_at > at - FRESH:
        return _from_kept(kept)
    if kept and kept.asked_at > at - ASK_AGAIN_AFTER and kept.fetched_at != kept.asked_at:
        return _from_kept(kept, Trouble.AWAY)
    try:
        found = tokens.with_one_refresh(
            credentials, lambda auth: sipgate.client().extensions(auth, member.sub)
        )
    except Refused as refused:
        # 403 and 404 mean that the person has no Web SMS; anything else is no answer to that.
        if refused.reason in (Reason.NOT_ALLOWED, Reason.MISUNDERSTOOD):
            _keep(member, (), is_answer=True, trouble=Trouble.NOT_ALLOWED)
            return Extensions((), Trouble.NOT_ALLOWED)
        return _still_kept(member, kept)
    except (SipgateError, LoginAway):
        return _still_kept(member, kept)
    _keep(member, found, is_answer=True)
    return Extensions(found)


def _still_kept(member: Member, kept: KeptAnswer | None) -> Extensions:
    _keep(member, (), is_answer=False)
    return _from_kept(kept, Trouble.AWAY) if kept else Extensions((), Trouble.AWAY)


def _kept(member: Member, kind: str) -> KeptAnswer | None:
    kept = db.session.get(KeptAnswer, (member.id, kind), populate_existing=True)
    release()
    return kept


def _from_kept(kept: KeptAnswer, trouble: Trouble | None = None) -> Extensions:
    value = kept.value or {"items": [], "trouble": Trouble.AWAY}
    items = tuple(Extension(**item) for item in value["items"])
    return Extensions(items, Trouble(value["trouble"]) if trouble is None else trouble)


def _keep(
    member: Member,
    items: tuple[Extension, ...],
    *,
    is_answer: bool,
    trouble: Trouble = Trouble.NONE,
) -> None:
    """Note that sipgate was asked, and what it said if it said something."""
    at = now()
    values: dict[str, object] = {"asked_at": at}
    if is_answer:
        value = {"items": [asdict(item) for item in items], "trouble": trouble}
        values.update(value=value, fetched_at=at)
    with transaction() as rows:
        put(rows, KeptAnswer, {"member_id": member.id, "kind": "extensions"}, values)
