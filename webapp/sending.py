"""Sending: handing a message to sipgate, and writing down what became of it.

With `outbox.py`, `waiting.py` and `settling.py` the only writer of outcomes. The rules of the
house, each of which a fault has taught somebody:
- a message is committed as `sending` before the first byte leaves; that is its claim;
- there is no second POST, except one after a 401 and its refresh;
- whatever is no clear answer makes the outcome `unknown`, which is never sent again by itself;
- a `sending` row whose process has died becomes `unknown`, never waiting again.
"""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache, partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp import logs, metrics, recipients, sipgate, wire, wishes
from webapp.answers import OutcomeUnknown, Refused, Unauthorized, Unreachable
from webapp.claims import Claim
from webapp.database import AWAY, detached, forget, now, rows_changed, table, transaction
from webapp.extensions import db
from webapp.login_server import LoginAway
from webapp.models import Message
from webapp.outcomes import Outcome, Reason
from webapp.record import AlarmKind, alarm
from webapp.sipgate import Authorization
from webapp.tokens import Credentials, SignInEnded

log = logging.getLogger(__name__)

BEGIN_WITHIN_S = sipgate.SEND_DEADLINE_S
"""Of its claim: a request that would begin later (the process was frozen) does not begin, for its
claim may be given up by then."""
AGAIN_WITHIN_S = 2 * sipgate.SEND_DEADLINE_S
"""The same for a request after a 401, whose answer alone may have taken that long."""
STALE_AFTER = timedelta(seconds=80)
"""Longer than any send can take: 40 s until the last request begins, 20 s for it, and saving it."""
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
DEFAULT_RETRY_AFTER_S = 60
FIRST_LOOK = timedelta(minutes=1)
ALARMS = {Reason.UNTRUSTED: AlarmKind.UNTRUSTED, Reason.REDIRECTED: AlarmKind.REDIRECTED}


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime | None = None

    @property
    def took_nothing(self) -> bool:
        """Whether it is as if nothing had been tried: what was wished meanwhile can be done."""
        not_now = self.reason in (Reason.SIGN_IN_ENDED, Reason.RATE_LIMITED)
        return self.outcome == Outcome.NOT_SENT or not_now


Step = Callable[[Session], object]
"""Something to do inside the transaction that changes a claimed message."""


def deliver(claim: Claim, credentials: Credentials) -> None:
    """Hand a claimed message to sipgate and write down what became of it, finally."""
    message = detached(claim.message)
    result = attempt(claim, credentials, BEGIN_WITHIN_S)
    tell(message, result, settle(message, result))


def attempt(claim: Claim, credentials: Credentials, within_s: float) -> Result:
    """Try to hand it over: one request, or two after a 401. `within_s` of the claim it must begin.

    Our own database failing on the way is proof that nothing was sent: it is used before a request
    only, or after a 401.
    """
    with logs.about(claim.message.id):
        try:
            return _attempt(claim, credentials, within_s)
        except AWAY:
            forget()
            return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)


def _attempt(claim: Claim, credentials: Credentials, within_s: float) -> Result:
    try:
        authorization = credentials.current()
    except SignInEnded:
        return Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    try:
        return _post(claim, authorization, within_s)
    except Unauthorized:
        return _second_post(claim, credentials, authorization)


def tell(message: Message, result: Result, became: Outcome | None) -> None:
    """Log how it ended, and alarm the admins where the set-up is to blame.

    Only after the outcome is written: whatever fails here changes nothing of it.
    """
    to = recipients.mask(message.recipient)
    how = (message.id, to, became or result.outcome, result.reason or "")
    logs.say(log, "message %s to %s: %s %s", *how, message_id=message.id)
    if result.reason in ALARMS:
        try:
            alarm(ALARMS[result.reason])
        except AWAY:
            log.exception("an alarm was not kept: %s", result.reason)


def settle(
    message: Message, result: Result, *, first: Step | None = None, more: Step | None = None
) -> Outcome | None:
    """Write the outcome down and return it, or what was wished instead; `first` and `more` as in
    `write`.

    A database in trouble is tried again for a while; if it stays away, the row stays `sending` and
    becomes `unknown`, which is what we then know.
    """
    values = {
        "outcome": result.outcome,
        "reason": result.reason or "",
        "detail": result.detail or None,
        "retry_at": result.retry_at,
        "settled_at": now(),
        "look_at": now() + FIRST_LOOK if result.outcome == Outcome.UNKNOWN else None,
    }
    change = _wished_change_of if result.took_nothing else _change_of
    became = _write(message, change(frozenset(values)), values, first, more)
    if became in (None, result.outcome):
        metrics.count_message(result.outcome)
    return became


def put_back(
    message: Message, *, first: Step | None = None, more: Step | None = None, **values: object
) -> Outcome | None:
    """sipgate took nothing: the message waits as `values` say, unless something was wished
    meanwhile. Returns what became of it."""
    values = {"reason": "", "settled_at": None, "attempt": None, **values}
    return _write(message, _wished_change_of(frozenset(values)), values, first, more)


def _write(
    message: Message,
    change: sa.Update,
    values: Mapping[str, object],
    first: Step | None,
    more: Step | None,
) -> Outcome | None:
    """Change a claimed message, as its claimant only; None if that was not possible.

    `first`: what the same transaction locks before the message. `more`: what follows the change.
    """
    said = {f"new_{name}": value for name, value in values.items()}
    said |= {"claimed": message.id, "claimed_as": message.attempt, "wished_at": now()}
    change_once = partial(_change_once, message, change, said, first, more)
    for wait_s in (*SAVE_AGAIN_AFTER_S, None):
        try:
            with transaction() as rows:
                return change_once(rows)
        except AWAY:
            if wait_s is None:
                log.exception("message %s: %s was not saved", message.id, values["outcome"])
                return None
            time.sleep(wait_s)
    return None


def _change_once(
    message: Message,
    change: sa.Update,
    said: Mapping[str, object],
    first: Step | None,
    more: Step | None,
    rows: Session,
) -> Outcome | None:
    if first:
        first(rows)
    became: Outcome | None = rows.scalar(change, said)
    if became is not None:
        if more:
            more(rows)
        return became
    # An earlier try may have been kept, whose answer was lost.
    found = rows.scalar(sa.select(Message.outcome).where(Message.id == message.id))
    if found == said["new_outcome"] or found in (Outcome.CANCELLED, Outcome.PAUSED):
        return found
    log.error("message %s was settled by somebody else before", message.id)
    return None


def settle_stale() -> None:
    """Rows whose process died while sending become unknown: most of them were really sent."""
    stale = (Message.outcome == Outcome.SENDING, Message.sending_since < now() - STALE_AFTER)
    found = db.session.scalar(sa.select(Message.id).where(*stale).limit(1))
    if found is None:
        return
    with transaction() as rows:
        settled = rows_changed(
            rows,
            sa.update(Message)
            .where(*stale)
            .values(
                outcome=Outcome.UNKNOWN,
                reason=Reason.INTERRUPTED,
                wish="",
                settled_at=now(),
                look_at=now(),
            ),
        )
    log.warning("%d messages were interrupted while sending: unknown", settled)
    metrics.count_message(Outcome.UNKNOWN, settled)


@lru_cache
def _change_of(names: frozenset[str]) -> sa.Update:
    """A change of these columns, by the claimant: the columns' values come as `new_outcome`…"""
    said: dict[str, object] = {name: sa.bindparam(f"new_{name}") for name in names}
    return _claimants().values({**said, "wish": ""})


@lru_cache
def _wished_change_of(names: frozenset[str]) -> sa.Update:
    """The same where sipgate took nothing: what was wished meanwhile comes first."""
    return _claimants().values(wishes.granted(names))


def _claimants() -> sa.Update:
    mine = table(Message).c
    return (
        sa.update(table(Message))
        .where(
            mine.id == sa.bindparam("claimed"),
            mine.outcome == Outcome.SENDING,
            mine.attempt == sa.bindparam("claimed_as"),
        )
        .returning(mine.outcome)
    )


def _second_post(claim: Claim, credentials: Credentials, refused: Authorization) -> Result:
    """sipgate answered 401, so nothing was sent: the one case for another try."""
    try:
        return _post(claim, credentials.renewed(refused), AGAIN_WITHIN_S)
    except SignInEnded:
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except Unauthorized:
        with suppress(*AWAY):  # the next call finds it out again; what this one learnt is kept
            credentials.end()
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)


def _post(claim: Claim, authorization: Authorization, within_s: float) -> Result:
    """One request to sipgate; `Unauthorized` is the caller's."""
    message = claim.message
    # Late, but within the tolerance: it goes now, and its page says that it was late.
    is_ahead = message.send_at is not None and message.send_at > now()
    try:
        with wire.must_begin_by(claim.at + within_s):
            sipgate.client().send_sms(
                authorization,
                extension_id=message.extension_id,
                recipient=message.recipient,
                text=message.text,
                send_at=message.send_at if is_ahead else None,
            )
    except Refused as refused:
        return Result(Outcome.REFUSED, refused.reason, refused.detail, _retry_at(refused))
    except Unreachable as error:
        return Result(Outcome.NOT_SENT, error.reason)
    except OutcomeUnknown as error:
        return Result(Outcome.UNKNOWN, error.reason)
    return Result(Outcome.SCHEDULED if is_ahead else Outcome.ACCEPTED)


def _retry_at(refused: Refused) -> datetime | None:
    if refused.reason != Reason.RATE_LIMITED:
        return None
    wait_s = refused.retry_after_s
    return now() + timedelta(seconds=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s)
