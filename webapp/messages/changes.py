"""What a person does with a message: withdraw, edit, reschedule, pause, hand over now.

Each is a conditional UPDATE, so that withdrawing and sending cannot both win.
"""

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import IS_FILLING, Batch, Member, Message
from webapp.messages import batches, blocked, transitions
from webapp.messages.history import Entry
from webapp.messages.submit import NewMessage
from webapp.messages.timing import TOKEN_SET_RESERVE, handover_lead
from webapp.rules.outcomes import (
    NEEDS_RESUME,
    WAITING,
    Actor,
    FillWish,
    Outcome,
    Reason,
    Wish,
    allowed_from,
)
from webapp.rules.text import segment
from webapp.rules.times import now
from webapp.signin import tokens


def handover_at(message: Message) -> datetime | None:
    """When a planned message goes to sipgate and can no longer be recalled; else None."""
    if message.outcome != Outcome.HELD or message.send_at is None:
        return None
    planned = message.due_at or message.send_at - handover_lead()
    return _before_sign_in_ends(planned, tokens.last_end(message.member_id))


def changeable_until(entries: Iterable[Entry]) -> dict[str, datetime]:
    """Until when all that is shown of an entry can be changed, by its id. An entry of which
    something can no longer be changed is left out."""
    held = [one.message for one in entries if one.outcomes == {Outcome.HELD}]
    ends = {member_id: tokens.last_end(member_id) for member_id in {one.member_id for one in held}}
    at, lead = now(), handover_lead()
    found = {
        one.entry_id: _before_sign_in_ends(one.shown_at - lead, ends[one.member_id]) for one in held
    }
    return {entry_id: until for entry_id, until in found.items() if until > at}


def _before_sign_in_ends(planned: datetime, end: datetime | None) -> datetime:
    """The time of the hand-over, while a token set that could send it is still good."""
    return min(planned, end - TOKEN_SET_RESERVE) if end else planned


def waiting_count(member_id: int) -> int:
    """How many messages wait, those that are still to be made from a list among them."""
    return db.session.scalar(WAITING_COUNT, {"member": member_id}) or 0


# Built once, because it runs for every page (see `claims.py`).
WAITING_COUNT = sa.select(
    sa.select(sa.func.count())
    .select_from(Message)
    .where(Message.member_id == sa.bindparam("member"), Message.outcome.in_(WAITING))
    .scalar_subquery()
    + batches.to_be_made(Batch.member_id == sa.bindparam("member")).scalar_subquery()
)


def pause_waiting_of(member_id: int, reason: Reason) -> int:
    """Pause the member's waiting messages, and stop their batches; returns how many messages."""
    with transaction() as session:
        batches.lock_all_of(member_id, session)
        return batches.pause_all_of(session, member_id, reason)


def hand_over_now(member_id: int) -> None:
    """Let the worker hand over the planned messages of a member who signs out, also those that are
    still to be made from a list."""
    with transaction() as session:
        # First, so that a piece that is being made now is there before the messages are changed.
        filling = (Batch.member_id == member_id, IS_FILLING, Batch.stop_reason == "")
        change = sa.update(Batch).where(*filling, Batch.wish == FillWish.NONE)
        rows_changed(session, change.values(wish=FillWish.HAND_OVER))
        rows_changed(
            session,
            sa.update(Message)
            .where(Message.member_id == member_id, Message.outcome == Outcome.HELD)
            .values(due_at=now()),
        )


def withdraw(message: Message, by: Member) -> Outcome | None:
    """Cancel a message that has not left; returns its outcome, or None if it is too late.

    While it is being sent, the outcome stays `sending` and the row has the wish.
    """
    change = transitions.withdraw().where(Message.id == message.id)
    options = {"synchronize_session": False}
    with transaction() as session:
        became = session.scalar(change.returning(Message.outcome), execution_options=options)
        if became:
            record(session, AuditEvent.WITHDREW, by, message=message)
    return became


def can_withdraw(message: Message) -> bool:
    """Whether it would change anything."""
    if message.outcome == Outcome.SENDING:
        return message.wish != Wish.CANCEL
    return message.outcome in allowed_from(Outcome.CANCELLED, Actor.PERSON)


def edit(message: Message, new: NewMessage, by: Member) -> bool:
    """Change a planned message. Without a time it is due now. Returns False if it is planned no
    longer; raises `NumbersBlocked`."""
    values = {
        "extension_id": new.extension.id,
        "extension_alias": new.extension.alias,
        "caller_id": new.extension.caller_id,
        "recipient": new.recipient,
        "text": new.text,
        "segment_count": segment(new.text).segment_count,
        **_when(new.send_at, new.time_zone),
    }
    change = _change_to_waiting((Outcome.HELD,), new.send_at).where(Message.id == message.id)
    with transaction() as session:
        blocked.require_none(session, message.account_id, (new.recipient,))
        done = rows_changed(session, change.values(values)) == 1
        if done:
            record(session, AuditEvent.CHANGED, by, message=message)
    return done


def reschedule(message: Message, send_at: datetime | None, zone: str, by: Member) -> bool:
    """Send a missed or paused message after all, now or at a new time. Returns False if it is
    neither any longer."""
    values = {"reason": "", "done_at": None, "done_by_id": None, **_when(send_at, zone)}
    change = _change_to_waiting(NEEDS_RESUME, send_at).where(Message.id == message.id)
    with transaction() as session:
        done = rows_changed(session, change.values(values)) == 1
        if done:
            record(session, AuditEvent.RESUMED, by, message=message)
    return done


def _change_to_waiting(only_from: tuple[Outcome, ...], send_at: datetime | None) -> sa.Update:
    new = Outcome.QUEUED if send_at is None else Outcome.HELD
    return transitions.change_to(new, Actor.PERSON, only_from=only_from)


def _when(send_at: datetime | None, zone: str) -> dict[str, object]:
    """The columns that say when it goes. In the list, a batch's message that gets another time
    leaves its batch and stands there by itself. A reminder that a person sends after its
    appointment is none any longer."""
    at = now()
    is_same = Message.send_at == send_at
    in_list = sa.literal(send_at or at, Message.shown_at.type)
    is_reminder = Message.not_after >= in_list
    return {
        "send_at": send_at,
        "time_zone": zone if send_at else "",
        "due_at": max(at, send_at - handover_lead()) if send_at else at,
        "expected_at": send_at or at,
        "not_after": sa.case((is_reminder, Message.not_after), else_=sa.null()),
        "shown_at": sa.case((is_same, Message.shown_at), else_=in_list),
        "entry_id": sa.case((is_same, Message.entry_id), else_=Message.id),
        "first_tried_at": None,
        "tries": 0,
    }
