"""The audit trail: who did what, and alarms about the set-up. Neither holds a text or a number."""

from datetime import timedelta
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database.models import Alarm, Event, Member, Message
from webapp.database.session import db, insert, transaction, upsert
from webapp.rules.times import now

ALARM_SHOWN_FOR = timedelta(days=1)


class AuditEvent(StrEnum):
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"
    ENDED_SIGN_INS = "ended_sign_ins"
    SENT = "sent"
    PLANNED = "planned"
    CHANGED = "changed"
    WITHDREW = "withdrew"
    DONE = "done"
    RESUMED = "resumed"
    STOPPED = "stopped"
    SETTLED = "settled"
    HELD = "held"
    RELEASED = "released"
    ERASED = "erased"
    TEMPLATE_MADE = "template_made"
    TEMPLATE_CHANGED = "template_changed"
    TEMPLATE_DELETED = "template_deleted"
    TEMPLATE_RESTORED = "template_restored"
    GROUP_MADE = "group_made"
    GROUP_CHANGED = "group_changed"
    GROUP_DELETED = "group_deleted"
    GROUP_RESTORED = "group_restored"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    SENDER_ASKED_FOR = "sender_asked_for"
    SENDER_PROVED = "sender_proved"
    SENDER_CHOSEN = "sender_chosen"
    SENDER_REMOVED = "sender_removed"


class AlarmKind(StrEnum):
    UNTRUSTED = "untrusted"  # TLS to sipgate failed
    REDIRECTED = "redirected"  # the API answered with a redirect


def record(
    session: Session | sa.Connection,
    kind: AuditEvent,
    member: Member | None = None,
    *,
    message: Message | None = None,
    batch_id: str | None = None,
    detail: str = "",
) -> None:
    """Add an event in the caller's transaction, so that what was undone is not recorded."""
    event = Event(
        kind=kind,
        account_id=member.account_id if member else "",
        member_id=member.id if member else None,
        message_id=message.id if message else None,
        batch_id=batch_id,
        note=detail[:100],
    )
    insert(session, event)


def alarm(kind: AlarmKind) -> None:
    """Show it to the admins for a day after it last happened."""
    with transaction() as session:
        upsert(session, Alarm, {"kind": kind}, {"last_at": now()})


def alarms() -> list[AlarmKind]:
    query = sa.select(Alarm.kind).where(Alarm.last_at > now() - ALARM_SHOWN_FOR)
    return [AlarmKind(kind) for kind in db.session.scalars(query.order_by(Alarm.kind))]
