"""Sending: the only writer of outcomes.

The rules of the house, each of which a fault has taught somebody:
- a message is committed as `sending` before the first byte leaves; that row is its claim;
- there is no second POST, except one after a 401 and its refresh;
- whatever is no clear answer makes the outcome `unknown`, which is never sent again by itself;
- a `sending` row whose process has died becomes `unknown`, never waiting again;
- "send again" is a new message, linked to the old one.
"""

import logging
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from webapp import recipients, sipgate, sms
from webapp.database import now, release, rows_changed, transaction
from webapp.extensions import db
from webapp.login_server import LoginAway
from webapp.models import Draft, Member, Message, Submission, new_id
from webapp.outcomes import Outcome, Reason
from webapp.sipgate import (
    Authorization,
    Extension,
    OutcomeUnknown,
    Refused,
    Unauthorized,
    Unreachable,
)
from webapp.submissions import SubmissionId
from webapp.tokens import Credentials, SignInEnded

log = logging.getLogger(__name__)

STALE_AFTER = timedelta(seconds=80)
"""Longer than any send can take: 20 s, a refresh with its waiting, 20 s again, and saving it."""
SAVE_TRIES = 5
SAVE_PAUSE_S = 0.5
DEFAULT_RETRY_AFTER_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A checked message: recipient in E.164, text normalised, `send_at` aware or None for now."""

    extension: Extension
    recipient: str
    text: str
    send_at: datetime | None
    time_zone: str


@dataclass(frozen=True, slots=True)
class _Result:
    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime | None = None


class ContentChanged(Exception):
    """The form's id was used before, for something else. Nothing was sent."""


def find_submission(submission: SubmissionId, content_hash: str) -> str | None:
    """The message that this form already became, if it did; raises `ContentChanged`."""
    used = db.session.get(Submission, submission.id)
    if used is None:
        return None
    if used.content_hash != content_hash or used.member_id != submission.member_id:
        raise ContentChanged
    return used.message_id


def submit(
    new: NewMessage,
    *,
    member: Member,
    submission: SubmissionId,
    content_hash: str,
    credentials: Credentials,
) -> str:
    """Send a form's message exactly once and return its id.

    However often and however parallel the same form arrives, one call sends; the others return the
    same id. Raises `ContentChanged` when the form's id was used for other content.
    """
    message = _claimed(new, member, previous_id=submission.previous or None)
    used = Submission(
        id=submission.id, member_id=member.id, content_hash=content_hash, message_id=message.id
    )
    try:
        with transaction() as rows:
            rows.add(message)
            rows.flush()
            rows.add(used)
            rows.execute(sa.delete(Draft).where(Draft.submission == submission.id))
            rows.execute(
                sa.update(Member)
                .where(Member.id == member.id)
                .values(last_extension_id=new.extension.id)
            )
    except IntegrityError:
        earlier = find_submission(submission, content_hash)
        if earlier is None:
            raise
        return earlier
    _deliver(message, credentials)
    return message.id


def submit_from_command_line(new: NewMessage, *, member: Member, credentials: Credentials) -> str:
    """Send a message that no form asked for, and return its id."""
    message = _claimed(new, member)
    with transaction() as rows:
        rows.add(message)
    _deliver(message, credentials)
    return message.id


def settle_stale() -> None:
    """Rows whose process died while sending become unknown: most of them were really sent."""
    stale = (Message.outcome == Outcome.SENDING, Message.sending_since < now() - STALE_AFTER)
    if db.session.scalar(sa.select(Message.id).where(*stale).limit(1)) is None:
        release()
        return
    with transaction() as rows:
        settled = rows_changed(
            rows,
            sa.update(Message)
            .where(*stale)
            .values(outcome=Outcome.UNKNOWN, reason=Reason.INTERRUPTED, settled_at=now()),
        )
    log.warning("%d messages were interrupted while sending: unknown", settled)


def _claimed(new: NewMessage, member: Member, previous_id: str | None = None) -> Message:
    """A message born as `sending`: inserting it is its claim."""
    return Message(
        id=new_id(),
        member_id=member.id,
        account_id=member.account_id,
        extension_id=new.extension.id,
        extension_alias=new.extension.alias,
        caller_id=new.extension.caller_id,
        recipient=new.recipient,
        text=new.text,
        segment_count=sms.segment(new.text).segment_count,
        send_at=new.send_at,
        time_zone=new.time_zone,
        outcome=Outcome.SENDING,
        attempt=secrets.token_hex(16),
        sending_since=now(),
        previous_id=previous_id,
    )


def _deliver(message: Message, credentials: Credentials) -> None:
    """Hand a claimed message to sipgate and write down what became of it."""
    started = time.monotonic()
    result = _attempt(message, credentials)
    duration_ms = (time.monotonic() - started) * 1000
    log.info(
        "message %s to %s: %s %s, %d ms",
        message.id,
        recipients.mask(message.recipient),
        result.outcome,
        result.reason or "",
        duration_ms,
    )
    _settle(message, result)


def _attempt(message: Message, credentials: Credentials) -> _Result:
    try:
        authorization = credentials.current()
    except SignInEnded:
        return _Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return _Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    try:
        return _post(message, authorization)
    except Unauthorized:
        return _second_post(message, credentials, authorization)


def _second_post(message: Message, credentials: Credentials, refused: Authorization) -> _Result:
    """sipgate answered 401, so nothing was sent: the one case for another try."""
    try:
        return _post(message, credentials.renewed(refused))
    except SignInEnded:
        return _Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return _Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except Unauthorized:
        credentials.end()
        return _Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)


def _post(message: Message, authorization: Authorization) -> _Result:
    """One request to sipgate; `Unauthorized` is the caller's."""
    release()
    try:
        sipgate.client().send_sms(
            authorization,
            extension_id=message.extension_id,
            recipient=message.recipient,
            text=message.text,
            send_at=message.send_at,
        )
    except Refused as refused:
        return _Result(Outcome.REFUSED, refused.reason, refused.detail, _retry_at(refused))
    except Unreachable as error:
        return _Result(Outcome.NOT_SENT, error.reason)
    except OutcomeUnknown as error:
        return _Result(Outcome.UNKNOWN, error.reason)
    return _Result(Outcome.SCHEDULED if message.send_at else Outcome.ACCEPTED)


def _retry_at(refused: Refused) -> datetime | None:
    if refused.reason != Reason.RATE_LIMITED:
        return None
    wait_s = refused.retry_after_s
    return now() + timedelta(seconds=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s)


def _settle(message: Message, result: _Result) -> None:
    """Write the outcome down. A database in trouble is tried again for a while; if it stays away,
    the row stays `sending` and becomes `unknown`, which is what we then know."""
    for tries_left in reversed(range(SAVE_TRIES)):
        try:
            _write(message, result)
            return
        except OperationalError:
            db.session.rollback()
            if not tries_left:
                log.exception("message %s: %s could not be saved", message.id, result.outcome)
                return
            time.sleep(SAVE_PAUSE_S)


def _write(message: Message, result: _Result) -> None:
    with transaction() as rows:
        written = rows_changed(
            rows,
            sa.update(Message)
            .where(
                Message.id == message.id,
                Message.outcome == Outcome.SENDING,
                Message.attempt == message.attempt,
            )
            .values(
                outcome=result.outcome,
                reason=result.reason or "",
                detail=result.detail or None,
                retry_at=result.retry_at,
                settled_at=now(),
            ),
        )
    if written != 1:
        log.error("message %s was settled by somebody else before %s", message.id, result.outcome)
