"""A person's clicks on a message: withdraw, edit, reschedule, pause, hand over now.

Each is a conditional UPDATE on the outcome: withdrawing and sending cannot both win.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Member, Message
from webapp.messages import wishes
from webapp.messages.submit import NewMessage, handover_lead
from webapp.messages.wishes import Wish
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, Outcome, Reason
from webapp.rules.text import segment
from webapp.rules.times import now
from webapp.signin import tokens

TOKEN_SET_RESERVE = timedelta(hours=24)
"""What is planned goes to sipgate this long before the token set that could send it ends."""


def handover_at(message: Message) -> datetime | None:
    """When a planned message goes to sipgate and can no longer be recalled; None if it does not."""
    if message.outcome != Outcome.HELD or message.send_at is None:
        return None
    end = tokens.last_end(message.member_id)
    planned = message.due_at or message.send_at - handover_lead()
    return min(planned, end - TOKEN_SET_RESERVE) if end else planned


def waiting_count(member_id: int) -> int:
    return db.session.scalar(_WAITING_COUNT, {"of": member_id}) or 0


# For every page; built once, as in `claims.py`.
_WAITING_COUNT = (
    sa.select(sa.func.count())
    .select_from(Message)
    .where(Message.member_id == sa.bindparam("of"), Message.outcome.in_(WAITING))
)


def pause_waiting_of(member_id: int, reason: Reason) -> int:
    """Pause what waits for this member, and the batches it is in; returns how many."""
    with transaction() as session:
        wishes.lock_all_of(member_id, session)
        return wishes.pause(session, Message.member_id == member_id, reason)


def hand_over_now(member_id: int) -> None:
    """What is planned goes to sipgate with the worker's next turn: its member is leaving."""
    with transaction() as session:
        rows_changed(
            session,
            sa.update(Message)
            .where(Message.member_id == member_id, Message.outcome == Outcome.HELD)
            .values(due_at=now()),
        )


# --- A person's clicks ----------------------------------------------------------------------------


def withdraw(message: Message, by: Member) -> Outcome | None:
    """Cancel a message that has not left; `sending` if that is now wished of one that is being
    sent; None if it is too late."""
    change = sa.update(Message).where(Message.id == message.id, wishes.CAN_WITHDRAW)
    change = change.values(wishes.withdrawn())
    options = {"synchronize_session": False}
    with transaction() as session:
        became = session.scalar(change.returning(Message.outcome), execution_options=options)
        if became:
            record(session, AuditEvent.WITHDREW, by, message=message)
    return became


def can_withdraw(message: Message) -> bool:
    """Whether there is still something to withdraw, or to wish."""
    if message.outcome == Outcome.SENDING:
        return message.wish != Wish.CANCEL
    return message.outcome in (*WAITING, *NEEDS_RESUME)


def edit(message: Message, new: NewMessage, by: Member) -> bool:
    """Change a planned message; False if it has left meanwhile. Without a time it is due now."""
    at = now()
    values = {
        "extension_id": new.extension.id,
        "extension_alias": new.extension.alias,
        "caller_id": new.extension.caller_id,
        "recipient": new.recipient,
        "text": new.text,
        "segment_count": segment(new.text).segment_count,
        **_when(new.send_at, new.time_zone, at),
    }
    with transaction() as session:
        done = _change(session, message, (Outcome.HELD,), **values)
        if done:
            record(session, AuditEvent.CHANGED, by, message=message)
    return done


def reschedule(message: Message, send_at: datetime | None, zone: str, by: Member) -> bool:
    """Send a missed or paused message after all, now or at a new time; False if it has left."""
    again: dict[str, object] = {"reason": "", "done_at": None, "done_by_id": None}
    with transaction() as session:
        done = _change(session, message, NEEDS_RESUME, **again, **_when(send_at, zone, now()))
        if done:
            record(session, AuditEvent.RESUMED, by, message=message)
    return done


# --- Underneath -----------------------------------------------------------------------------------


def _change(
    session: Session, message: Message, while_in: Sequence[Outcome], **values: object
) -> bool:
    where = (Message.id == message.id, Message.outcome.in_(while_in))
    return rows_changed(session, sa.update(Message).where(*where).values(**values)) == 1


def _when(send_at: datetime | None, zone: str, at: datetime) -> dict[str, object]:
    """The columns that say when: held until its hand-over, or due now."""
    if send_at is None:
        return {
            "outcome": Outcome.QUEUED,
            "send_at": None,
            "time_zone": "",
            "due_at": at,
            "expected_at": at,
            "first_tried_at": None,
            "tries": 0,
        }
    return {
        "outcome": Outcome.HELD,
        "send_at": send_at,
        "time_zone": zone,
        "due_at": max(at, send_at - handover_lead()),
        "expected_at": send_at,
        "first_tried_at": None,
        "tries": 0,
    }
