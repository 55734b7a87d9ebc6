"""The senders that an extension may show: list, add, verify, make default and remove at sipgate.

The default is shared by everybody who sends with the extension, so it changes only by a person's
click, never for a send. Adding a number costs an SMS, so each form does it at most once. No change
is tried twice, except after a 401.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.account import cache
from webapp.account.cache import Trouble
from webapp.config import settings
from webapp.database import (
    DATABASE_ERRORS,
    insert,
    installation,
    rollback,
    rows_changed,
    transaction,
    upsert,
)
from webapp.database.audit import AuditEvent, record
from webapp.database.daily_limit import require_room
from webapp.database.idempotency import (
    ContentChanged,
    OnHold,
    SubmissionId,
    find_used,
    take_once,
)
from webapp.database.models import GUESSES, KeptAnswer, Member, Submission
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.times import now
from webapp.signin import (
    Credentials,
    Result,
    SignInEnded,
    alarm_admins,
    outcome_of,
    with_one_refresh,
)
from webapp.sipgate import CallerId, Refused, SipgateError, client
from webapp.sipgate.login import LoginUnavailable

log = logging.getLogger(__name__)

TEXT_SENDER_ID = 0
"""The word `sipgate`, which every extension has and nobody can remove."""
CHANGING_SCOPES = frozenset({"sms:callerid:write", "sms:write", "all"})

MAX_GUESSES = 5
"""How many codes may be tried for a number before it needs a new one."""


class TooManyGuesses(Exception):
    """The number needs a new code: too many wrong ones were tried. Nothing was asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderContext:
    """One extension of one member, and what authorises calls for it."""

    member: Member
    extension_id: str
    credentials: Credentials

    def read(self) -> tuple[CallerId, ...]:
        """Ask sipgate for the extension's caller IDs."""
        return with_one_refresh(
            self.credentials, lambda auth: client().caller_ids(auth, **self._about)
        )

    def change(self, call: Callable[..., None], **params: Any) -> Result:
        """Call one of the client's functions that change them; not tried twice, except after a 401.

        Raises `SignInEnded`; nothing was done then.
        """
        result = outcome_of(self.credentials, partial(call, **self._about, **params))
        alarm_admins(result)
        if result.reason == Reason.SIGN_IN_ENDED:
            raise SignInEnded
        return result

    @property
    def _about(self) -> dict[str, str]:
        return {"sub": self.member.sub, "extension_id": self.extension_id}


@dataclass(frozen=True, slots=True)
class Senders:
    """The senders of an extension as sipgate lists them now; empty if there is trouble."""

    items: tuple[CallerId, ...]
    trouble: Trouble = Trouble.NONE

    def find(self, caller_id: int) -> CallerId | None:
        return next((item for item in self.items if item.id == caller_id), None)

    @property
    def default(self) -> CallerId | None:
        return next((item for item in self.items if item.is_default), None)

    def has_number(self, number: str) -> bool:
        """Whether an E.164 number is listed, in any of sipgate's spellings."""
        return number in (f"+{one.number.lstrip('+').removeprefix('00')}" for one in self.items)


def may_change(scope: str) -> bool:
    """Whether to offer changes: unless the granted scopes are known and do not include them."""
    granted = set(scope.split())
    is_told = not granted.isdisjoint(settings.scopes)
    return not is_told or not granted.isdisjoint(CHANGING_SCOPES)


def listed(place: SenderContext) -> Senders:
    """Ask sipgate for the senders. Raises `SignInEnded` only."""
    try:
        return Senders(place.read())
    except Refused as refused:
        is_no = refused.reason in (Reason.NOT_ALLOWED, Reason.MISUNDERSTOOD)
        return Senders((), Trouble.NOT_ALLOWED if is_no else Trouble.AWAY)
    except (SipgateError, LoginUnavailable):
        return Senders((), Trouble.AWAY)


def add(
    prepare: Callable[[], str],
    *,
    place: SenderContext,
    submission: SubmissionId,
    content_hash: str,
) -> Result:
    """Have sipgate send a verification code to a number, at most once for each form.

    However often and however parallel the same form arrives, one call asks; the others return what
    is known by then: `unknown` while the request is under way, and for good if it was interrupted.
    `prepare` checks the form and returns its number (E.164), and is called for a new form only.
    Raises `FormSpent`, `NotTaken` (also from `prepare`) or `SignInEnded`; nothing is sent then.
    """

    def take() -> Result:
        number = prepare()
        _use_form(place, submission, content_hash)
        return _ask_for_code(number, place, submission)

    return take_once(lambda: _find_result(submission, content_hash), take)


def _find_result(submission: SubmissionId, content_hash: str) -> Result | None:
    used = find_used(submission, content_hash)
    if used is None:
        return None
    if used.outcome is None:
        raise ContentChanged  # it became a message
    return Result(Outcome(used.outcome), Reason(used.reason) if used.reason else None)


def _use_form(place: SenderContext, submission: SubmissionId, content_hash: str) -> None:
    """Keep the form's id before anything is asked.

    If the database fails at the commit, nobody looks whether the form was kept, for a parallel
    arrival of the same form may have kept it and be asking already.
    """
    used = Submission(
        id=submission.id,
        member_id=place.member.id,
        content_hash=content_hash,
        outcome=Outcome.UNKNOWN,
        reason=Reason.INTERRUPTED,
    )
    with transaction() as session:
        if installation.is_on_hold(session):
            raise OnHold
        _lock(session, place.member)
        require_room(session, place.member, 1)
        insert(session, used)
        record(session, AuditEvent.SENDER_ASKED_FOR, place.member, detail=place.extension_id)


def _ask_for_code(number: str, place: SenderContext, submission: SubmissionId) -> Result:
    try:
        result = place.change(client().add_caller_id, number=number)
    except SignInEnded:
        _save(submission, Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED))
        raise
    _save(submission, result)
    return result


def _save(submission: SubmissionId, result: Result) -> None:
    """Save what became of a form. If that fails it stays `unknown`."""
    values = {"outcome": result.outcome, "reason": result.reason}
    mine = Submission.id == submission.id
    try:
        with transaction() as session:
            rows_changed(session, sa.update(Submission).where(mine).values(values))
    except DATABASE_ERRORS:
        rollback()
        log.exception("member %d: what became of a sender was not saved", submission.member_id)


def verify(caller_id: int, code: str, *, place: SenderContext) -> Result:
    """Verify a number with the code that came by SMS. Raises `TooManyGuesses` or `SignInEnded`."""
    call = partial(client().verify_caller_id, code=code)
    _count_guess(caller_id, place)
    try:
        result = _change(
            AuditEvent.SENDER_PROVED,
            caller_id,
            place,
            call,
            lambda one: one is not None and one.is_verified,
        )
    except SignInEnded:
        _count_guess(caller_id, place, by=-1)
        raise
    if result.outcome == Outcome.ACCEPTED:
        _forget_guesses(caller_id, place)
    elif result.outcome == Outcome.NOT_SENT or result.reason == Reason.RATE_LIMITED:
        _count_guess(caller_id, place, by=-1)
    return result


def make_default(caller_id: int, *, place: SenderContext) -> Result:
    """Make it the default of its extension, for everybody. Raises `SignInEnded`."""
    call = client().make_default
    return _change(
        AuditEvent.SENDER_CHOSEN,
        caller_id,
        place,
        call,
        lambda one: one is not None and one.is_default,
    )


def remove(caller_id: int, *, place: SenderContext) -> Result:
    """Remove a number for everybody. Raises `SignInEnded`."""
    call = client().delete_caller_id
    result = _change(AuditEvent.SENDER_REMOVED, caller_id, place, call, lambda one: one is None)
    if result.outcome == Outcome.ACCEPTED:
        _forget_guesses(caller_id, place)  # its code cannot be used any more
    return result


def _change(
    event: AuditEvent,
    caller_id: int,
    place: SenderContext,
    call: Callable[..., None],
    is_done: Callable[[CallerId | None], bool],
) -> Result:
    """Ask once; if the answer is not a clear yes, check whether it is done all the same.

    If a browser sends a form twice, sipgate refuses the second although the change was made.
    """
    result = place.change(call, caller_id=caller_id)
    if result.outcome != Outcome.NOT_SENT:
        cache.expire_extensions(place.member.account_id)
    if result.outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
        found = listed(place)
        if found.trouble == Trouble.NONE and is_done(found.find(caller_id)):
            result = Result(Outcome.ACCEPTED)
    if result.outcome in (Outcome.ACCEPTED, Outcome.UNKNOWN):
        with transaction() as session:
            what = f"{place.extension_id}/{caller_id} {result.outcome}"
            record(session, event, place.member, detail=what)
    return result


def _count_guess(caller_id: int, place: SenderContext, by: int = 1) -> None:
    """Count a code before it is tried, or uncount one that was not. Raises `TooManyGuesses`.

    Before, because of twenty that arrive at once no more than five may be tried.
    """
    kind = _guesses(caller_id, place)
    with transaction() as session:
        _lock(session, place.member)
        kept = session.get(KeptAnswer, (place.member.id, kind), populate_existing=True)
        count = (kept.value or {}).get("count", 0) if kept else 0
        if count + by > MAX_GUESSES:
            raise TooManyGuesses
        values = {"value": {"count": max(0, count + by)}, "asked_at": now()}
        upsert(session, KeptAnswer, {"member_id": place.member.id, "kind": kind}, values)


def _forget_guesses(caller_id: int, place: SenderContext) -> None:
    mine = (KeptAnswer.member_id == place.member.id, KeptAnswer.kind == _guesses(caller_id, place))
    with transaction() as session:
        rows_changed(session, sa.delete(KeptAnswer).where(*mine))


def _guesses(caller_id: int, place: SenderContext) -> str:
    params = f"{place.extension_id}/{caller_id}".encode()
    return f"{GUESSES}{hashlib.sha256(params).hexdigest()[:32]}"


def _lock(session: Session, member: Member) -> None:
    """Make other transactions that count for this member wait until this one ends."""
    session.execute(sa.select(Member.id).where(Member.id == member.id).with_for_update())
