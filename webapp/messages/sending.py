"""Handing one claimed message to sipgate, now or when it is due, and recording the outcome.

- A message is committed as `sending` before the first byte leaves: that is its claim.
- There is no second POST, except one after a 401 and its refresh.
- Anything but a clear answer makes it `unknown`, and it is never sent again by itself.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import DATABASE_ERRORS, detached, rollback, transaction, upsert
from webapp.database.models import Message, Slowdown
from webapp.messages import batches, transitions
from webapp.messages.claims import Claim
from webapp.rules.numbers import mask
from webapp.rules.outcomes import BY_WISH, Outcome, Reason
from webapp.rules.times import now
from webapp.signin import Credentials, Result, alarm_admins, outcome_of, tokens
from webapp.sipgate import SEND_DEADLINE_S, Authorization, client, must_begin_by
from webapp.telemetry import logs, metrics

log = logging.getLogger(__name__)

BEGIN_WITHIN_S = SEND_DEADLINE_S
"""After the claim. A request that would begin later, because the process was frozen, does not: by
then the claim may have been given up."""
AGAIN_WITHIN_S = 2 * SEND_DEADLINE_S
"""The same for the request after a 401, because the first one may have taken that long."""
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
FIRST_LOOK = timedelta(minutes=1)

InTransaction = Callable[[Session], object]
"""Something to do in the transaction that changes a claimed message, before or after the change."""


def deliver(claim: Claim, credentials: Credentials) -> None:
    """Hand a message that was claimed for now to sipgate, and record the outcome."""
    message = detached(claim.message)
    result = attempt(claim, credentials, BEGIN_WITHIN_S)
    log_result(message, result, record_result(message, result))


def attempt(claim: Claim, credentials: Credentials, within_s: float) -> Result:
    """Try to hand it over: one request, or two after a 401. The first one must begin within
    `within_s` of the claim."""
    with logs.about(claim.message.id):
        return outcome_of(
            credentials,
            partial(_post, claim, within_s),
            again=partial(_post, claim, AGAIN_WITHIN_S),
        )


def log_result(message: Message, result: Result, became: Outcome | None) -> None:
    """Log the outcome, and alarm the admins if the set-up is to blame.

    Call it after the outcome is committed: a failure here must not change it.
    """
    to = mask(message.recipient)
    how = (message.id, to, became or result.outcome, result.reason or "")
    logs.say(log, "message %s to %s: %s %s", *how, message_id=message.id)
    alarm_admins(result)


def record_result(
    message: Message,
    result: Result,
    *,
    before: InTransaction | None = None,
    after: InTransaction | None = None,
) -> Outcome | None:
    """Record how an attempt ended; returns the outcome that the message now has.

    That may be what was wished meanwhile. If the database stays away, the row stays `sending` and
    later becomes `unknown`; None is returned.
    """
    values = {
        "reason": result.reason or "",
        "detail": result.detail or None,
        "retry_at": result.retry_at,
        "settled_at": now(),
        "look_at": now() + FIRST_LOOK if result.outcome == Outcome.UNKNOWN else None,
    }
    change = _Change(result.outcome, values, result.took_nothing, before, after)
    became = _update_claimed(message, change)
    if became in (None, result.outcome):
        metrics.count_message(result.outcome)
    return became


def put_back(
    message: Message,
    outcome: Outcome,
    *,
    before: InTransaction | None = None,
    after: InTransaction | None = None,
    **values: object,
) -> Outcome | None:
    """Let a message that sipgate did not take wait again, unless something was wished meanwhile;
    returns the outcome that it now has."""
    values = {"reason": "", "settled_at": None, "attempt": None, **values}
    return _update_claimed(message, _Change(outcome, values, True, before, after))


@dataclass(frozen=True, slots=True)
class _Change:
    """What is to be written of a claimed message."""

    outcome: Outcome
    values: Mapping[str, object]
    follows_wish: bool
    before: InTransaction | None
    """Takes the locks that must be taken before the message's."""
    after: InTransaction | None


def _update_claimed(message: Message, change: _Change) -> Outcome | None:
    """Make the change, and try again for a while if the database is away. Returns None if it stays
    away or the claim is no longer ours."""
    for wait_s in (*SAVE_AGAIN_AFTER_S, None):
        try:
            with transaction() as session:
                return _update_once(session, message, change)
        except DATABASE_ERRORS:
            if wait_s is None:
                log.exception("message %s: %s was not saved", message.id, change.outcome)
                return None
            time.sleep(wait_s)
    return None


def _update_once(session: Session, message: Message, change: _Change) -> Outcome | None:
    if change.before:
        change.before(session)
    became = transitions.update_claimed(
        session, message, change.outcome, change.values, follows_wish=change.follows_wish
    )
    if became is not None:
        if change.after:
            change.after(session)
        return became
    # An earlier try may have been committed although its answer was lost.
    found = session.scalar(sa.select(Message.outcome).where(Message.id == message.id))
    if found == change.outcome or found in BY_WISH.values():
        return found
    log.error("message %s was settled by somebody else before", message.id)
    return None


def _post(claim: Claim, within_s: float, authorization: Authorization) -> Outcome:
    """One request to sipgate; it does not begin later than `within_s` after the claim."""
    message = claim.message
    # Late, but within the tolerance: it goes now, and its page says that it was late.
    is_ahead = message.send_at is not None and message.send_at > now()
    with must_begin_by(claim.at + within_s):
        client().send_sms(
            authorization,
            extension_id=message.extension_id,
            recipient=message.recipient,
            text=message.text,
            send_at=message.send_at if is_ahead else None,
        )
    return Outcome.SCHEDULED if is_ahead else Outcome.ACCEPTED


# --- The worker's side ----------------------------------------------------------------------------

RETRY_FOR = timedelta(minutes=15)
"""For queued messages. Planned ones are retried until they are missed."""
FIRST_RETRY_S = 5
MAX_RETRY_S = 120


def deliver_claimed(claim: Claim) -> bool:
    """Hand over a message that the worker has claimed, and record the outcome.

    If nothing was sent for sure, it waits again for a while; if its member's last sign-in has
    ended, it is paused. What was wished meanwhile comes before either. Returns whether this was its
    batch's first clear answer: then more of the batch may go at the same time.
    """
    opened = False
    message = detached(claim.message)

    def tell_batch(session: Session) -> None:
        nonlocal opened
        opened = batches.after_attempt(session, message, result)

    result = _try_each_sign_in(claim)
    if result.reason == Reason.SIGN_IN_ENDED:
        became = _pause_all_of(message)
    elif result.reason == Reason.RATE_LIMITED:
        became = _wait_until(message, result)
    elif result.outcome == Outcome.NOT_SENT and _may_retry(message):
        became = _put_back(message, now() + _backoff(message))
    else:
        lock_batch = partial(batches.lock_batch_of, message)
        became = record_result(message, result, before=lock_batch, after=tell_batch)
    log_result(message, result, became)
    return opened


def _try_each_sign_in(claim: Claim) -> Result:
    """Attempt it with its member's newest sign-in, and with the next if that has ended."""
    result = Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    tried: list[int] = []
    while result.reason == Reason.SIGN_IN_ENDED:
        try:
            credentials = tokens.newest_for(claim.message.member_id, tried=tried)
        except DATABASE_ERRORS:
            rollback()
            return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)
        if credentials is None:
            break
        within_s = AGAIN_WITHIN_S if tried else BEGIN_WITHIN_S
        result = attempt(claim, credentials, within_s)
        tried.append(credentials.token_set_id)
    return result


def _is_planned(message: Message) -> bool:
    """Whether it still goes at its planned time, not at once after a pause."""
    return message.send_at is not None and message.send_at == message.expected_at


def _may_retry(message: Message) -> bool:
    return _is_planned(message) or (message.first_tried_at or now()) > now() - RETRY_FOR


def _backoff(message: Message) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** max(0, message.tries - 1), MAX_RETRY_S))


def _put_back(
    message: Message, due_at: datetime, after: InTransaction | None = None
) -> Outcome | None:
    outcome = Outcome.HELD if _is_planned(message) else Outcome.QUEUED
    lock_batch = partial(batches.lock_batch_of, message)
    return put_back(message, outcome, before=lock_batch, after=after, due_at=due_at)


def _wait_until(message: Message, result: Result) -> Outcome | None:
    """After a 429, this message and everything else of its account waits."""
    until = result.retry_at or now()

    def slow_down(session: Session) -> None:
        upsert(session, Slowdown, {"account_id": message.account_id}, {"until": until})

    return _put_back(message, until, slow_down)


def _pause_all_of(message: Message) -> Outcome | None:
    """A sign-in has ended: pause this message and the rest of its batch, or if no other sign-in is
    left, everything that waits for its member."""

    def pause_rest(session: Session) -> None:
        if tokens.newest_for(message.member_id, session) is None:
            batches.pause(session, Message.member_id == message.member_id, Reason.SIGN_IN_ENDED)
        elif message.batch_id:
            batches.pause(session, Message.batch_id == message.batch_id, Reason.SIGN_IN_ENDED)

    lock_all = partial(batches.lock_all_of, message.member_id)
    ended = {"reason": Reason.SIGN_IN_ENDED}
    return put_back(message, Outcome.PAUSED, before=lock_all, after=pause_rest, **ended)
