"""Sending: taking a form, handing a message to sipgate, writing down what became of it.

With `waiting.py` and `settling.py` the only writer of outcomes. The rules of the house, each of
which a fault has taught somebody:
- a message is committed as `sending` before the first byte leaves; that is its claim;
- there is no second POST, except one after a 401 and its refresh;
- whatever is no clear answer makes the outcome `unknown`, which is never sent again by itself;
- a `sending` row whose process has died becomes `unknown`, never waiting again;
- "send again" is a new message, linked to the old one.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from webapp import installation, logs, metrics, recipients, sipgate, sms
from webapp.answers import OutcomeUnknown, Refused, Unauthorized, Unreachable
from webapp.claims import surely
from webapp.database import AWAY, detached, forget, now, release, rows_changed, transaction
from webapp.extensions import db, settings
from webapp.login_server import LoginAway
from webapp.models import Batch, Draft, Member, Message, Submission
from webapp.outcomes import Outcome, Reason
from webapp.record import AlarmKind, Did, alarm, note
from webapp.sipgate import Authorization, Extension
from webapp.submissions import SubmissionId
from webapp.tokens import Credentials, SignInEnded

log = logging.getLogger(__name__)

STALE_AFTER = timedelta(seconds=80)
"""Longer than any send can take: 20 s, a refresh with its waiting, 20 s again, and saving it."""
SAVE_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0)
DEFAULT_RETRY_AFTER_S = 60
FIRST_LOOK = timedelta(minutes=1)
ALARMS = {Reason.UNTRUSTED: AlarmKind.UNTRUSTED, Reason.REDIRECTED: AlarmKind.REDIRECTED}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A checked message: recipient in E.164, text normalised, `send_at` aware or None for now."""

    extension: Extension
    recipient: str
    text: str
    send_at: datetime | None
    time_zone: str

    @property
    def is_for_later(self) -> bool:
        """Whether we keep it: closer than the hand-over time it goes to sipgate at once."""
        return self.send_at is not None and self.send_at > now() + handover_lead()


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a form became: one message, or a batch."""

    message_id: str | None
    batch_id: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime | None = None


class ContentChanged(Exception):
    """The form's id was used before, for something else. Nothing was sent."""


class DailyLimitReached(Exception):
    """The member may send no more today. Nothing was sent."""


class OnHold(Exception):
    """The operator has put sending on hold. Nothing was sent."""


def handover_lead() -> timedelta:
    return timedelta(minutes=settings.schedule_handover_minutes)


def find_submission(submission: SubmissionId, content_hash: str) -> Submitted | None:
    """What this form already became, if it did; raises `ContentChanged`."""
    used = db.session.get(Submission, submission.id)
    release()
    if used is None:
        return None
    if used.content_hash != content_hash or used.member_id != submission.member_id:
        raise ContentChanged
    return Submitted(used.message_id, used.batch_id)


def submit(
    new: Sequence[NewMessage],
    *,
    member: Member,
    submission: SubmissionId,
    content_hash: str,
    credentials: Credentials,
) -> Submitted:
    """Take a form exactly once: send its one message now, or keep what is for later or for many.

    However often and however parallel the same form arrives, one call does it; the others return
    the same. Raises `ContentChanged`, `DailyLimitReached` or `OnHold`; nothing is sent then.
    """
    batch = None if len(new) == 1 else Batch(member_id=member.id, account_id=member.account_id)
    messages = [_message(one, member, batch, place) for place, one in enumerate(new)]
    messages[0].previous_id = submission.previous or None
    used = Submission(
        id=submission.id,
        member_id=member.id,
        content_hash=content_hash,
        message_id=None if batch else messages[0].id,
        batch_id=batch.id if batch else None,
    )
    try:
        _insert(member, batch, messages, used)
    except IntegrityError:
        earlier = find_submission(submission, content_hash)
        if earlier is None:
            raise
        return earlier
    for one in messages:
        logs.say(log, "message %s was taken as %s", one.id, one.outcome, message_id=one.id)
    if messages[0].outcome == Outcome.SENDING:
        deliver(messages[0], credentials)
    return Submitted(used.message_id, used.batch_id)


def submit_from_command_line(new: NewMessage, *, member: Member, credentials: Credentials) -> str:
    """Send a message that no form asked for, and return its id. It goes to sipgate at once."""
    message = _message(new, member, None, 0, at_once=True)
    _insert(member, None, [message], None)
    deliver(message, credentials)
    return message.id


def deliver(message: Message, credentials: Credentials) -> Result:
    """Hand a claimed message to sipgate and write down what became of it, finally."""
    message = detached(message)
    result = attempt(message, credentials)
    settle(message, result)
    tell(message, result)
    return result


def attempt(message: Message, credentials: Credentials) -> Result:
    """Try to hand it over: one request, or two after a 401.

    Our own database failing before the request is proof that nothing was sent.
    """
    with logs.about(message.id):
        return _attempt(message, credentials)


def _attempt(message: Message, credentials: Credentials) -> Result:
    try:
        authorization = credentials.current()
    except SignInEnded:
        return Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except AWAY:
        forget()
        return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)
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
    mine = (
        Message.id == message.id,
        Message.outcome == Outcome.SENDING,
        Message.attempt == message.attempt,
    )

    def change(rows: Session) -> None:
        if rows_changed(rows, sa.update(Message).where(*mine).values(**values)) == 1:
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
    release()
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


def _insert(
    member: Member, batch: Batch | None, messages: list[Message], used: Submission | None
) -> None:
    def insert(rows: Session) -> bool:
        if installation.is_on_hold(rows) and messages[0].outcome == Outcome.SENDING:
            raise OnHold
        # One form of a member at a time, or two at once would both find room below the limit.
        mine = sa.select(Member.id).where(Member.id == member.id)
        rows.execute(mine.with_for_update(key_share=True))
        if _sent_today(rows, member) + len(messages) > settings.daily_limit:
            raise DailyLimitReached
        if batch:
            rows.add(batch)
            rows.flush()
        rows.add_all(messages)
        rows.flush()
        if used:
            rows.add(used)
            rows.execute(sa.delete(Draft).where(Draft.submission == used.id))
        rows.execute(
            sa.update(Member)
            .where(Member.id == member.id)
            .values(last_extension_id=messages[0].extension_id)
        )
        done = Did.SENT if messages[0].send_at is None else Did.PLANNED
        note(rows, done, member, message=messages[0], batch_id=batch.id if batch else None)
        return True

    kept = surely(insert, lambda: _is_kept(messages[0]))
    if not kept:
        raise OperationalError("insert", {}, ConnectionError("the form was not kept"))


def _is_kept(message: Message) -> bool:
    return db.session.scalar(sa.select(Message.id).where(Message.id == message.id)) is not None


def _sent_today(rows: Session, member: Member) -> int:
    zone = ZoneInfo(settings.default_time_zone)
    day = now().astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    query = sa.select(sa.func.count()).select_from(Message)
    return rows.scalar(query.where(Message.member_id == member.id, Message.created_at >= day)) or 0


def _message(
    new: NewMessage, member: Member, batch: Batch | None, place: int, *, at_once: bool = False
) -> Message:
    """A message for now is born as `sending`: inserting it is its claim. Others wait."""
    message = Message(
        member_id=member.id,
        account_id=member.account_id,
        batch_id=batch.id if batch else None,
        position=place,
        extension_id=new.extension.id,
        extension_alias=new.extension.alias,
        caller_id=new.extension.caller_id,
        recipient=new.recipient,
        text=new.text,
        segment_count=sms.segment(new.text).segment_count,
        send_at=new.send_at,
        time_zone=new.time_zone,
        outcome=Outcome.SENDING,
    )
    if new.is_for_later and new.send_at and not at_once:
        message.outcome = Outcome.HELD
        message.due_at = new.send_at - handover_lead()
        message.expected_at = new.send_at
    elif batch:
        message.outcome = Outcome.HELD if new.send_at else Outcome.QUEUED
        message.due_at = now()
        message.expected_at = new.send_at or now()
    else:
        message.attempt = secrets.token_hex(16)
        message.sending_since = now()
    return message


def _second_post(message: Message, credentials: Credentials, refused: Authorization) -> Result:
    """sipgate answered 401, so nothing was sent: the one case for another try."""
    try:
        return _post(message, credentials.renewed(refused))
    except SignInEnded:
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)
    except LoginAway:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except AWAY:
        forget()
        return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)
    except Unauthorized:
        with suppress(*AWAY):  # the next call finds it out again; what this one learnt is kept
            credentials.end()
        return Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)


def _post(message: Message, authorization: Authorization) -> Result:
    """One request to sipgate; `Unauthorized` is the caller's."""
    release()
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
