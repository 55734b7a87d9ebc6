"""Who may see, change or manage a message or a batch."""

import sqlalchemy as sa

from webapp.config import settings
from webapp.database.models import Batch, Member, Message
from webapp.signin import tokens


def owns(member: Member, row: Message | Batch) -> bool:
    """Only its owner may edit, release or resume it."""
    return row.member_id == member.id


def may_see(member: Member, row: Message | Batch) -> bool:
    if row.account_id != member.account_id:
        return False
    return owns(member, row) or sees_account(member)


def may_manage(member: Member, row: Message | Batch) -> bool:
    """Whether they may withdraw it, stop it, or mark it done."""
    if row.account_id != member.account_id:
        return False
    return owns(member, row) or manages_account(member)


def may_settle(member: Member, message: Message) -> bool:
    """Whether their word counts on an unknown message: an admin's only while its owner has no
    sign-in, because the owner knows best."""
    if owns(member, message):
        return True
    return may_manage(member, message) and tokens.newest_for(message.member_id) is None


def sees_account(member: Member) -> bool:
    return member.is_admin or settings.history_visibility == "team"


def manages_account(member: Member) -> bool:
    return member.is_admin


def visible_messages(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that the member may see them."""
    return _own_or_account(member, sees_account(member))


def managed_messages(member: Member) -> sa.ColumnElement[bool]:
    """The condition on messages that the member may manage them."""
    return _own_or_account(member, manages_account(member))


def _own_or_account(member: Member, is_account: bool) -> sa.ColumnElement[bool]:
    if is_account:
        return Message.account_id == member.account_id
    return Message.member_id == member.id
