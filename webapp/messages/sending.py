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

from webapp.database import DATABASE_ERRORS, connected, detached, rollback, transaction, upsert
from webapp.database.models import Message, Slowdown
from webapp.messages import batches, claims, transitions
from webapp.messages.claims import Claim
from webapp.messages.transitions import Claimed
from webapp.rules.numbers import mask
from webapp.rules.outcomes import BY_WISH, Outcome, Reason
from webapp.rules.times import now, steady_s
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
    message = claim.message
    if isinstance(message, Message):
        detached(message)
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


def log_result(message: Claimed, result: Result, became: Outcome | None) -> None:
    """Log the outcome, and alarm the admins if the set-up is to blame.

    Call it after the outcome is committed: a failure here must not change it.
    """
    to = mask(message.recipient)
    how = (message.id, to, became or result.outcome, result.reason or "")
    logs.say(log, "message %s to %s: %s %s", *how, message_id=message.id)
    alarm_admins(result)


def record_result(
    message: Claimed,
    result: Result,
    *,
    before: InTransaction | None = None,
    after: InTransaction | None = None,
) -> Outcome | None:
    """Record how an attempt ended; returns the outcome that the message now has.

    That may be what was wished meanwhile. If the database stays away, the row stays `sending` and
    later becomes `unknown`; None is returned.
    """
    change = _Change(result.outcome, _settled(result), result.took_nothing, before, after)
    became = _update_claimed(message, change)
    _count(result, became)
    return became


def _settled(result: Result) -> dict[str, object]:
    at = now()
    return {
        "reason": result.reason or "",
        "detail": result.detail or None,
        "retry_at": result.retry_at,
        "settled_at": at,
        "look_at": at + FIRST_LOOK if result.outcome == Outcome.UNKNOWN else None,
    }


def _count(result: Result, became: Outcome | None) -> None:
    if became in (None, result.outcome):
        metrics.count_message(result.outcome)


def put_back(
    message: Claimed,
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


def _update_claimed(message: Claimed, change: _Change) -> Outcome | None:
    """Make the change, and try again for a while if the database is away. Returns None if it stays
    away or the claim is no longer ours."""
    for wait_s in (*SAVE_AGAIN_AFTER_S, None):
        try:
            return _update_once(message, change)
        except DATABASE_ERRORS:
            if wait_s is None:
                log.exception("message %s: %s was not saved", message.id, change.outcome)
                return None
            time.sleep(wait_s)
    return None


def _update_once(message: Claimed, change: _Change) -> Outcome | None:
    if change.before is None and change.after is None:
        with connected() as connection:
            return _write(connection, message, change) or _found(connection, message, change)
    with transaction() as session:
        if change.before:
            change.before(session)
        became = _write(session, message, change)
        if became is None:
            return _found(session, message, change)
        if change.after:
            change.after(session)
        return became


def _write(session: Session | sa.Connection, message: Claimed, change: _Change) -> Outcome | None:
    return transitions.update_claimed(
        session, message, change.outcome, change.values, follows_wish=change.follows_wish
    )


def _found(session: Session | sa.Connection, message: Claimed, change: _Change) -> Outcome | None:
    """An earlier try may have been committed although its answer was lost."""
    found = session.scalar(sa.select(Message.outcome).where(Message.id == message.id))
    if found == change.outcome or found in BY_WISH.values():
        return found
    log.error("message %s was settled by somebody else before", message.id)
    return None


def _post(claim: Claim, within_s: float, authorization: Authorization) -> Outcome:
    """One request to sipgate; it does not begin later than `within_s` after the claim, nor after
    the appointment that the message reminds of."""
    message = claim.message
    begin_by = claim.at + within_s
    if message.not_after is not None:
        begin_by = min(begin_by, steady_s() + (message.not_after - now()).total_seconds())
    # Late, but within the tolerance: it goes now, and its page says that it was late.
    is_ahead = message.send_at is not None and message.send_at > now()
    with must_begin_by(begin_by):
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


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the worker does next."""

    opened: bool = False
    """It was its batch's first clear answer: more of the batch may go at the same time."""
    has_asked: bool = False
    """The batch's next message was asked for as well: it is `next`, or there is none."""
    next: Claim | None = None


def deliver_claimed(claim: Claim, *, and_claim_next: bool = False) -> Delivered:
    """Hand over a message that the worker has claimed, and record the outcome.

    If nothing was sent for sure, it waits again for a while; if its member's last sign-in has
    ended, it is paused. What was wished meanwhile comes before either. With `and_claim_next`, the
    transaction that records a clear answer claims the next message of its batch, too.
    """
    message = claim.message
    result = _try_each_sign_in(claim)
    if not (and_claim_next and claim.batch_is_open and batches.changes_no_batch(result)):
        return Delivered(_record_alone(message, result))
    next_one = claims.Attempt()
    try:
        done = _record_and_claim_next(claim, result, next_one)
    except Exception:  # whatever it was, the outcome must not be lost with the next claim
        log.exception("message %s: the next one is claimed apart", message.id)
        opened = _record_alone(message, result)
        following = claims.find(next_one)
        return Delivered(opened, following is not None, following)
    if done is None:
        return Delivered(_record_alone(message, result))
    became, following = done
    _count(result, became)
    log_result(message, result, became)
    return Delivered(has_asked=True, next=following)


def _record_and_claim_next(
    claim: Claim, result: Result, next_one: claims.Attempt
) -> tuple[Outcome, Claim | None] | None:
    """Record a clear answer and claim the next message of the batch, in one transaction.

    Returns the outcome and the claim, if there was anything to claim. Nothing is done and None
    returned where the answer changes the batch, or the claim is no longer ours.

    It does not lock the batch, so lanes do not wait for each other's commits: whatever stops the
    batch changes its waiting messages too, and the two meet at the message.
    """
    message = claim.message
    batch_id = str(message.batch_id)
    with connected() as connection:
        batch = claims.look_at(connection, batch_id)
        if batch is None or not batches.is_untroubled(batch):
            return None
        became = transitions.update_claimed(
            connection,
            message,
            result.outcome,
            _settled(result),
            follows_wish=result.took_nothing,
        )
        if became is None:
            return None
        following = None
        if not batch.stop_reason and not batch.is_filling:
            following = claims.take_next(connection, batch_id, batch, next_one, claim)
        return became, following


def _record_alone(message: Claimed, result: Result) -> bool:
    """Returns whether it was its batch's first clear answer."""
    opened = False

    def tell_batch(session: Session) -> None:
        nonlocal opened
        opened = batches.after_attempt(session, message, result)

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
            credentials = None if tried else claim.credentials
            if credentials is None:
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


def _is_planned(message: Claimed) -> bool:
    """Whether it still goes at its planned time, not at once after a pause."""
    return message.send_at is not None and message.send_at == message.expected_at


def _may_retry(message: Claimed) -> bool:
    return _is_planned(message) or (message.first_tried_at or now()) > now() - RETRY_FOR


def _backoff(message: Claimed) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** max(0, message.tries - 1), MAX_RETRY_S))


def _put_back(
    message: Claimed, due_at: datetime, after: InTransaction | None = None
) -> Outcome | None:
    outcome = Outcome.HELD if _is_planned(message) else Outcome.QUEUED
    lock_batch = partial(batches.lock_batch_of, message)
    return put_back(message, outcome, before=lock_batch, after=after, due_at=due_at)


def _wait_until(message: Claimed, result: Result) -> Outcome | None:
    """After a 429, this message and everything else of its account waits."""
    until = result.retry_at or now()

    def slow_down(session: Session) -> None:
        upsert(session, Slowdown, {"account_id": message.account_id}, {"until": until})

    return _put_back(message, until, slow_down)


def _pause_all_of(message: Claimed) -> Outcome | None:
    """A sign-in has ended: pause this message and the rest of its batch, or if no other sign-in is
    left, everything that waits for its member."""

    def pause_rest(session: Session) -> None:
        if tokens.newest_for(message.member_id, session) is None:
            batches.pause_all_of(session, message.member_id, Reason.SIGN_IN_ENDED)
        elif message.batch_id:
            batches.pause_batch(session, message.batch_id, Reason.SIGN_IN_ENDED)

    lock_all = partial(batches.lock_all_of, message.member_id)
    ended = {"reason": Reason.SIGN_IN_ENDED}
    return put_back(message, Outcome.PAUSED, before=lock_all, after=pause_rest, **ended)
