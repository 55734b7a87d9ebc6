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
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp import logs, metrics, recipients, sipgate
from webapp.answers import OutcomeUnknown, Refused, Unauthorized, Unreachable
from webapp.database import AWAY, detached, forget, now, rows_changed, table, transaction
from webapp.extensions import db
from webapp.login_server import LoginAway
from webapp.models import Message
from webapp.outcomes import Outcome, Reason
from webapp.record import AlarmKind, alarm
from webapp.sipgate import Authorization
from webapp.tokens import Credentials, SignInEnded

log = logging.getLogger(__name__)

STALE_AFTER = timedelta(seconds=80)
"""Longer than any send can take: 20 s, a refresh with its waiting, 20 s again, and saving it."""
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


def deliver(message: Message, credentials: Credentials) -> Result:
    """Hand a claimed message to sipgate and write down what became of it, finally."""
    message = detached(message)
    result = attempt(message, credentials)
    settle(message, result)
    tell(message, result)
    return result


def attempt(message: Message, credentials: Credentials) -> Result:
    """Try to hand it over: one request, or two after a 401.

    Our own database failing on the way is proof that nothing was sent: it is used before a request
    only, or after a 401.
    """
    with logs.about(message.id):
        try:
            return _attempt(message, credentials)
        except AWAY:
            forget()
            return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)


def _attempt(message: Message, credentials: Credentials) -> Result:
    try:
        authorization = credentials.current()
    except SignInEnded:
        return Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    try:
        return _post(message, authorization)
    except Unauthorized:
        return _second_post(message, credentials, authorization)


def tell(message: Message, result: Result) -> None:
    """Log how it ended, and alarm the admins where the set-up is to blame.

    Only after the outcome is written: whatever fails here changes nothing of it.
    """
    how = (message.id, recipients.mask(message.recipient), result.outcome, result.reason or "")
    logs.say(log, "message %s to %s: %s %s", *how, message_id=message.id)
    if result.reason in ALARMS:
        try:
            alarm(ALARMS[result.reason])
        except AWAY:
            log.exception("an alarm was not kept: %s", result.reason)


def settle(message: Message, result: Result, more: Callable[[Session], None] | None = None) -> None:
    """Write the outcome down, and in the same transaction what else follows (`more`).

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
    write(message, values, more)
    metrics.count_message(result.outcome)


def write(
    message: Message,
    values: Mapping[str, object],
    more: Callable[[Session], None] | None = None,
) -> None:
    """Change a claimed message, as its claimant only."""
    said = {f"new_{name}": value for name, value in values.items()}
    said |= {"claimed": message.id, "claimed_as": message.attempt}

    def change(rows: Session) -> None:
        if rows_changed(rows, _change_of(frozenset(values)), said) == 1:
            if more:
                more(rows)
        elif not _is_written(rows, message, values):
            log.error("message %s was settled by somebody else before", message.id)

    for wait_s in (*SAVE_AGAIN_AFTER_S, None):
        try:
            with transaction() as rows:
                change(rows)
            return
        except AWAY:
            if wait_s is None:
                log.exception("message %s: %s was not saved", message.id, values["outcome"])
                return
            time.sleep(wait_s)


def _is_written(rows: Session, message: Message, values: Mapping[str, object]) -> bool:
    """Whether an earlier try was kept, whose answer was lost."""
    found = rows.scalar(sa.select(Message.outcome).where(Message.id == message.id))
    return found == values["outcome"]


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
                settled_at=now(),
                look_at=now(),
            ),
        )
    log.warning("%d messages were interrupted while sending: unknown", settled)
    metrics.count_message(Outcome.UNKNOWN, settled)


@lru_cache
def _change_of(names: frozenset[str]) -> sa.Update:
    """A change of these columns, by the claimant: the columns' values come as `new_outcome`…"""
    mine = table(Message).c
    return (
        sa.update(table(Message))
        .where(
            mine.id == sa.bindparam("claimed"),
            mine.outcome == Outcome.SENDING,
            mine.attempt == sa.bindparam("claimed_as"),
        )
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )


def _second_post(message: Message, credentials: Credentials, refused: Authorization) -> Result:
    """sipgate answered 401, so nothing was sent: the one case for another try."""
    try:
        return _post(message, credentials.renewed(refused))
    except SignInEnded:
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except Unauthorized:
        with suppress(*AWAY):  # the next call finds it out again; what this one learnt is kept
            credentials.end()
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)


def _post(message: Message, authorization: Authorization) -> Result:
    """One request to sipgate; `Unauthorized` is the caller's."""
    # Late, but within the tolerance: it goes now, and its page says that it was late.
    is_ahead = message.send_at is not None and message.send_at > now()
    try:
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
