"""A form becomes messages exactly once, however often and however parallel it arrives.

The messages and the form's one-time id are inserted in one transaction. A message for now is sent
at once, the others wait. "Send again" makes a new message, linked to the old one.
"""

import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from webapp.database import DATABASE_ERRORS, connected, db, insert, look_again, rows_changed, table
from webapp.database.audit import AuditEvent, record
from webapp.database.daily_limit import require_room
from webapp.database.idempotency import (
    ContentChanged,
    OnHold,
    SubmissionId,
    find_used,
    take_once,
)
from webapp.database.models import Batch, Draft, Member, Message, Submission
from webapp.messages import attention, batches, blocked, sending
from webapp.messages.claims import Claim
from webapp.messages.timing import handover_lead
from webapp.rules.outcomes import Outcome, first_outcome
from webapp.rules.text import segment
from webapp.rules.times import now, steady_s
from webapp.signin import Credentials, tokens
from webapp.sipgate import Extension
from webapp.telemetry import logs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A checked message: recipient in E.164, text normalised, `send_at` aware or None for now."""

    extension: Extension
    recipient: str
    text: str
    send_at: datetime | None
    time_zone: str
    template_id: str | None = None
    not_after: datetime | None = None
    """The appointment that it reminds of; None if it is no reminder."""

    @property
    def is_for_later(self) -> bool:
        """Whether it is held here. Closer to its time than the lead, it goes to sipgate at once."""
        return self.send_at is not None and self.send_at > now() + handover_lead()


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a form became: a message or a batch."""

    message_id: str | None
    batch_id: str | None = None


def find_submission(submission: SubmissionId, content_hash: str) -> Submitted | None:
    """What this form has become already, if anything. Raises `FormSpent` if it cannot be used."""
    used = find_used(submission, content_hash)
    if used is None:
        return None
    if used.outcome is not None:
        raise ContentChanged  # it asked for the code of an own number
    return Submitted(used.message_id, used.batch_id)


def submit(
    prepare: Callable[[], Sequence[NewMessage]],
    *,
    member: Member,
    submission: SubmissionId,
    content_hash: str,
    credentials: Credentials,
) -> Submitted:
    """Take a form exactly once: send its one message now, or let its messages wait.

    Of several calls with the same form one does it, and the others return the same. `prepare`
    checks the form and returns its messages; it is called for a new form only. Raises `FormSpent`,
    or `NotTaken` (`OnHold`, `NumbersBlocked`, also what `prepare` raises); nothing is sent then.
    """

    def take() -> Submitted:
        new = prepare()
        return _take(new, member, submission, content_hash, credentials)

    return take_once(lambda: find_submission(submission, content_hash), take)


def _take(
    new: Sequence[NewMessage],
    member: Member,
    submission: SubmissionId,
    content_hash: str,
    credentials: Credentials,
) -> Submitted:
    at = steady_s()
    batch = None
    if len(new) > 1:
        batch = Batch(member_id=member.id, account_id=member.account_id, total=len(new))
    taken_at = now()
    messages = [new_message(one, member, batch, place, taken_at) for place, one in enumerate(new)]
    messages[0].previous_id = submission.previous or None
    used = Submission(
        id=submission.id,
        member_id=member.id,
        content_hash=content_hash,
        message_id=None if batch else messages[0].id,
        batch_id=batch.id if batch else None,
    )
    known = _insert(member, batch, messages, used, credentials)
    for one in messages:
        logs.say(log, "message %s was taken as %s", one.id, one.outcome, message_id=one.id)
    if messages[0].outcome == Outcome.SENDING:
        sending.deliver(Claim(messages[0], at), known)
    return Submitted(used.message_id, used.batch_id)


def submit_from_command_line(new: NewMessage, *, member: Member, credentials: Credentials) -> str:
    """Send a message without a form, at once; returns its id."""
    at = steady_s()
    message = new_message(new, member, None, 0, now(), at_once=True)
    known = _insert(member, None, [message], None, credentials)
    sending.deliver(Claim(message, at), known)
    return message.id


def _insert(
    member: Member,
    batch: Batch | None,
    messages: list[Message],
    used: Submission | None,
    credentials: Credentials,
) -> Credentials:
    """Returns the credentials to send with: with their token, if it could be read as well."""

    def keep(session: sa.Connection) -> Credentials:
        blocked.require_none(session, member.account_id, {one.recipient for one in messages})
        is_on_hold, known = tokens.hold_and_credentials(session, credentials)
        if is_on_hold and messages[0].outcome == Outcome.SENDING:
            raise OnHold
        # First, because it locks the member's row: two forms of a member at the same time would
        # both find room below the limit.
        chosen = {"of": member.id, "extension": messages[0].extension_id}
        rows_changed(session, _LAST_EXTENSION, chosen)
        require_room(session, member, len(messages))
        _link(session, messages)
        if batch:
            insert(session, batch)
        insert(session, *messages)
        if used:
            insert(session, used)
            rows_changed(session, _DRAFT_GONE, {"form": used.id})
        for one in messages:
            if one.previous_id:
                attention.sent_again(session, one.previous_id, member)
        done = AuditEvent.SENT if messages[0].send_at is None else AuditEvent.PLANNED
        record(session, done, member, message=messages[0], batch_id=batch.id if batch else None)
        return known

    try:
        with connected() as connection:
            return keep(connection)
    except DATABASE_ERRORS:
        if look_again(lambda: _is_kept(messages[0])):
            return credentials
    raise OperationalError("insert", {}, ConnectionError("the form was not kept"))


def _is_kept(message: Message) -> bool:
    return db.session.scalar(sa.select(Message.id).where(Message.id == message.id)) is not None


def _link(session: sa.Connection, messages: list[Message]) -> None:
    """Link the first message to the one that the form named; or, if it named a batch, each message
    to that of the batch which failed to reach the same number. What was erased since the form was
    opened is left out."""
    named = messages[0].previous_id
    if named and not _is_there(session, named):
        failed = batches.failed_to(session, named, messages[0].member_id)
        for one in messages:
            one.previous_id = failed.get(one.recipient)
    for one in messages:
        if one.previous_id:
            one.not_after = _limit(session, one)


def _limit(session: sa.Connection, again: Message) -> datetime | None:
    """The appointment that the message before reminded of, if this one reminds the same person of
    it in time."""
    query = sa.select(Message.not_after).where(
        Message.id == again.previous_id,
        Message.recipient == again.recipient,
        Message.not_after > (again.send_at or now()),
    )
    return session.scalar(query)


def _is_there(session: sa.Connection, id_: str) -> bool:
    """Whether the message exists. It cannot be erased before this transaction ends."""
    query = sa.select(Message.id).where(Message.id == id_)
    return session.scalar(query.with_for_update(read=True, key_share=True)) is not None


# Built once, because they run for every message (see `claims.py`).
_LAST_EXTENSION = (
    sa.update(table(Member))
    .where(table(Member).c.id == sa.bindparam("of"))
    .values(last_extension_id=sa.bindparam("extension"))
)
_DRAFT_GONE = sa.delete(table(Draft)).where(table(Draft).c.submission == sa.bindparam("form"))


def new_message(
    new: NewMessage,
    member: Member,
    batch: Batch | None,
    place: int,
    taken_at: datetime,
    *,
    at_once: bool = False,
) -> Message:
    """The row of a new message, at its place in a batch: it waits, or is claimed by its insert."""
    for_later = new.is_for_later and not at_once
    waits = for_later or batch is not None
    outcome = (Outcome.HELD if new.send_at else Outcome.QUEUED) if waits else Outcome.SENDING
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
        segment_count=segment(new.text).segment_count,
        send_at=new.send_at,
        time_zone=new.time_zone,
        template_id=new.template_id,
        not_after=new.not_after,
        outcome=first_outcome(outcome),
        created_at=taken_at,
    )
    if waits:
        message.due_at = new.send_at - handover_lead() if for_later and new.send_at else now()
        message.expected_at = new.send_at or taken_at
    else:
        message.attempt = secrets.token_hex(16)
        message.sending_since = now()
    return message
