"""Who may see a message or a batch."""

import sqlalchemy as sa

from webapp.config import settings
from webapp.database.models import Batch, Member, Message


def may_see(member: Member, row: Message | Batch) -> bool:
    if row.account_id != member.account_id:
        return False
    return row.member_id == member.id or sees_account(member)


def sees_account(member: Member) -> bool:
    return member.is_admin or settings.history_visibility == "team"


def visible_messages(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that keeps to what the member may see."""
    if sees_account(member):
        return Message.account_id == member.account_id
    return Message.member_id == member.id
