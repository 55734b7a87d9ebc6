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
from datetime import datetime, timedelta
from functools import lru_cache, partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import DATABASE_ERRORS, detached, rollback, table, transaction, upsert
from webapp.database.models import Message, Slowdown
from webapp.messages import wishes
from webapp.messages.batches import after_attempt, lock_batch_of
from webapp.messages.claims import Claim
from webapp.rules.numbers import mask
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.times import now
from webapp.signin import Credentials, Result, alarm_admins, outcome_of, tokens
from webapp.sipgate import SEND_DEADLINE_S, Authorization, client, must_begin_by
from webapp.telemetry import logs, metrics

log = logging.getLogger(__name__)

BEGIN_WITHIN_S = SEND_DEADLINE_S
"""Of its claim: a request that would begin later (the process was frozen) does not begin, for its
claim may be given up by then."""
AGAIN_WITHIN_S = 2 * SEND_DEADLINE_S
"""The same for a request after a 401, whose answer alone may have taken that long."""
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
FIRST_LOOK = timedelta(minutes=1)


Step = Callable[[Session], object]
"""Something to do inside the transaction that changes a claimed message."""


def deliver(claim: Claim, credentials: Credentials) -> None:
    """Hand a claimed message to sipgate and write down what became of it, finally."""
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
    """Log how it ended, and alarm the admins where the set-up is to blame.

    Only after the outcome is written: whatever fails here changes nothing of it.
    """
    to = mask(message.recipient)
    how = (message.id, to, became or result.outcome, result.reason or "")
    logs.say(log, "message %s to %s: %s %s", *how, message_id=message.id)
    alarm_admins(result)


def record_result(
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
    params = {f"new_{name}": value for name, value in values.items()}
    params |= {"claimed": message.id, "claimed_as": message.attempt, "wished_at": now()}
    change_once = partial(_change_once, message, change, params, first, more)
    for wait_s in (*SAVE_AGAIN_AFTER_S, None):
        try:
            with transaction() as session:
                return change_once(session)
        except DATABASE_ERRORS:
            if wait_s is None:
                log.exception("message %s: %s was not saved", message.id, values["outcome"])
                return None
            time.sleep(wait_s)
    return None


def _change_once(
    message: Message,
    change: sa.Update,
    params: Mapping[str, object],
    first: Step | None,
    more: Step | None,
    session: Session,
) -> Outcome | None:
    if first:
        first(session)
    became: Outcome | None = session.scalar(change, params)
    if became is not None:
        if more:
            more(session)
        return became
    # An earlier try may have been kept, whose answer was lost.
    found = session.scalar(sa.select(Message.outcome).where(Message.id == message.id))
    if found == params["new_outcome"] or found in (Outcome.CANCELLED, Outcome.PAUSED):
        return found
    log.error("message %s was settled by somebody else before", message.id)
    return None


@lru_cache
def _change_of(names: frozenset[str]) -> sa.Update:
    """A change of these columns, by the claimant: the columns' values come as `new_outcome`…"""
    params: dict[str, object] = {name: sa.bindparam(f"new_{name}") for name in names}
    return _claimants().values({**params, "wish": ""})


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


RETRY_FOR = timedelta(minutes=15)
"""What is queued. What is planned is tried until it is missed."""
FIRST_RETRY_S = 5
MAX_RETRY_S = 120


# --- The worker's side ----------------------------------------------------------------------------


def deliver_claimed(claim: Claim) -> bool:
    """Send a claimed message with a living sign-in of its member.

    Proof that nothing was sent puts it back, for a while; when the last sign-in has ended it is
    paused; what was wished meanwhile comes before either. Returns whether this was its batch's
    first clear answer: now more of it may go at the same time.
    """
    opened = False
    message = detached(claim.message)

    def tell_batch(session: Session) -> None:
        nonlocal opened
        opened = after_attempt(session, message, result)

    result = _attempt_with_each_sign_in(claim)
    if result.reason == Reason.SIGN_IN_ENDED:
        became = _pause_all_of(message)
    elif result.reason == Reason.RATE_LIMITED:
        became = _wait_until(message, result)
    elif result.outcome == Outcome.NOT_SENT and _may_retry(message):
        became = _put_back(message, now() + _backoff(message))
    else:
        first = partial(lock_batch_of, message)
        became = record_result(message, result, first=first, more=tell_batch)
    log_result(message, result, became)
    return opened


def _attempt_with_each_sign_in(claim: Claim) -> Result:
    """With the newest living sign-in of its member; where that has ended, with the next."""
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
    """Whether it has its time still; what was paused and is due at once has another."""
    return message.send_at is not None and message.send_at == message.expected_at


def _may_retry(message: Message) -> bool:
    """A planned one always: past its time and the tolerance it is missed, and asked about."""
    return _is_planned(message) or (message.first_tried_at or now()) > now() - RETRY_FOR


def _backoff(message: Message) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** max(0, message.tries - 1), MAX_RETRY_S))


def _put_back(message: Message, due_at: datetime, more: Step | None = None) -> Outcome | None:
    outcome = Outcome.HELD if _is_planned(message) else Outcome.QUEUED
    first = partial(lock_batch_of, message)
    return put_back(message, first=first, more=more, outcome=outcome, due_at=due_at)


def _wait_until(message: Message, result: Result) -> Outcome | None:
    """429: this one waits, and so does everything else of its account."""
    until = result.retry_at or now()

    def slow_down(session: Session) -> None:
        upsert(session, Slowdown, {"account_id": message.account_id}, {"until": until})

    return _put_back(message, until, slow_down)


def _pause_all_of(message: Message) -> Outcome | None:
    """The sign-in has ended: pause this one, and if no other sign-in lives, all that waits."""

    def pause_rest(session: Session) -> None:
        if tokens.newest_for(message.member_id, session) is None:
            wishes.pause(session, Message.member_id == message.member_id, Reason.SIGN_IN_ENDED)
        elif message.batch_id:
            wishes.pause(session, Message.batch_id == message.batch_id, Reason.SIGN_IN_ENDED)

    first = partial(wishes.lock_all_of, message.member_id)
    how = {"outcome": Outcome.PAUSED, "reason": Reason.SIGN_IN_ENDED}
    return put_back(message, first=first, more=pause_rest, **how)
