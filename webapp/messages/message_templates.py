"""The account's message templates: texts to start from, with placeholders such as `((first name))`.

Every member may change them; the audit record says who did, and when. A change applies to the
version that the page showed, or not at all. A deleted template can be restored for 30 days.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Event, Member, MessageTemplate
from webapp.rules.times import now

KEPT_AFTER_DELETION = timedelta(days=30)
MAX_NAME_CHARACTERS = 80
MAX_TEMPLATES = 500
MAX_DELETED = 100
"""That can be restored; the one deleted first is erased."""
SHOWN_CHANGES = 10
CHANGES = (
    AuditEvent.TEMPLATE_MADE,
    AuditEvent.TEMPLATE_CHANGED,
    AuditEvent.TEMPLATE_DELETED,
    AuditEvent.TEMPLATE_RESTORED,
)


class TooMany(Exception):
    """The account has as many templates as it may."""


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of a template's history."""

    did: AuditEvent
    by: str
    at: datetime


def active(member: Member) -> list[MessageTemplate]:
    """The account's templates by name."""
    return list(db.session.scalars(_ACTIVE, {"of": member.account_id}))


def deleted(member: Member) -> list[MessageTemplate]:
    """Those that can still be restored."""
    which = MessageTemplate.deleted_at > now() - KEPT_AFTER_DELETION
    return list(db.session.scalars(_OF_ACCOUNT.where(which), {"of": member.account_id}))


def find(member: Member, id_: str) -> MessageTemplate | None:
    """One of the member's account, deleted or not."""
    found = db.session.get(MessageTemplate, id_, populate_existing=True) if id_ else None
    return found if found and found.account_id == member.account_id else None


def make(member: Member, *, name: str, text: str) -> MessageTemplate:
    """Raises `TooMany`."""
    template = MessageTemplate(
        account_id=member.account_id, name=name, text=text, changed_by_id=member.id
    )
    with transaction() as session:
        _require_room(session, member)
        session.add(template)
        session.flush()
        _note(session, AuditEvent.TEMPLATE_MADE, member, template)
    return template


def change(
    template: MessageTemplate, member: Member, *, name: str, text: str, version: int
) -> bool:
    """Returns False if somebody has changed it since this version."""
    values: dict[str, object] = {"name": name, "text": text}
    as_shown = MessageTemplate.version == version
    return _write(template, member, AuditEvent.TEMPLATE_CHANGED, values, as_shown)


def delete(template: MessageTemplate, member: Member) -> None:
    """It can be restored for a while, until `MAX_DELETED` others have been deleted."""
    is_there = MessageTemplate.deleted_at.is_(None)
    _write(template, member, AuditEvent.TEMPLATE_DELETED, {"deleted_at": now()}, is_there)
    with transaction() as session:
        kept = _deleted_of(member).order_by(MessageTemplate.deleted_at.desc(), MessageTemplate.id)
        too_old = list(session.scalars(kept.offset(MAX_DELETED)))
        rows_changed(session, sa.delete(MessageTemplate).where(MessageTemplate.id.in_(too_old)))


def restore(template: MessageTemplate, member: Member) -> None:
    """Raises `TooMany`."""
    with transaction() as session:
        _require_room(session, member)
    is_deleted = MessageTemplate.deleted_at.is_not(None)
    _write(template, member, AuditEvent.TEMPLATE_RESTORED, {"deleted_at": None}, is_deleted)


def changes(template: MessageTemplate) -> list[Change]:
    """Who changed it, the latest first."""
    query = (
        sa.select(Event.kind, Member.name, Event.at)
        .join(Member, Member.id == Event.member_id)
        .where(
            Event.account_id == template.account_id,
            Event.kind.in_(CHANGES),
            Event.note == template.id,
        )
        .order_by(Event.at.desc(), Event.id.desc())
    )
    found = db.session.execute(query.limit(SHOWN_CHANGES))
    return [Change(AuditEvent(kind), name, at) for kind, name, at in found]


def erase_deleted(session: Session) -> None:
    """Erase those that can no longer be restored."""
    gone = MessageTemplate.deleted_at < now() - KEPT_AFTER_DELETION
    rows_changed(session, sa.delete(MessageTemplate).where(gone))


def _require_room(session: Session, member: Member) -> None:
    """Raises `TooMany`. Deleted templates do not count."""
    mine = (MessageTemplate.account_id == member.account_id, MessageTemplate.deleted_at.is_(None))
    count = session.scalar(sa.select(sa.func.count()).select_from(MessageTemplate).where(*mine))
    if (count or 0) >= MAX_TEMPLATES:
        raise TooMany


def _deleted_of(member: Member) -> sa.Select[str]:
    mine = (
        MessageTemplate.account_id == member.account_id,
        MessageTemplate.deleted_at.is_not(None),
    )
    return sa.select(MessageTemplate.id).where(*mine)


_OF_ACCOUNT = (
    sa.select(MessageTemplate)
    .where(MessageTemplate.account_id == sa.bindparam("of"))
    .order_by(MessageTemplate.name, MessageTemplate.id)
)
# For every form, so built once (see `claims.py`).
_ACTIVE = _OF_ACCOUNT.where(MessageTemplate.deleted_at.is_(None))


def _write(
    template: MessageTemplate,
    member: Member,
    did: AuditEvent,
    values: dict[str, object],
    if_: sa.ColumnElement[bool],
) -> bool:
    """Change the template's row, unless `if_` is true of it no longer; returns whether it was."""
    with transaction() as session:
        this = (MessageTemplate.id == template.id, if_)
        statement = sa.update(MessageTemplate).where(*this)
        changed = rows_changed(
            session,
            statement.values(
                **values,
                version=MessageTemplate.version + 1,
                changed_at=now(),
                changed_by_id=member.id,
            ),
        )
        if changed:
            _note(session, did, member, template)
    return changed == 1


def _note(session: Session, did: AuditEvent, member: Member, template: MessageTemplate) -> None:
    record(session, did, member, detail=template.id)
