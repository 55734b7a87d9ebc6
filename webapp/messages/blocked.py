"""Numbers that want no more texts from an account: noting one, lifting it, and asking.

The rule is kept where messages are made or readdressed (`require_none`, in their transaction), and
noting a number withdraws what waits for it already. One lock for each account keeps the two apart:
whoever makes messages shares it, whoever notes a number has it alone. So no message slips between
them, and claiming one needs no look of its own.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session, joinedload

from webapp.database import (
    db,
    end_read,
    insert,
    installation,
    locks,
    rows_changed,
    table,
    transaction,
)
from webapp.database.audit import AuditEvent, record
from webapp.database.idempotency import NotTaken
from webapp.database.models import BlockedNumber, Member, Message
from webapp.messages import batches, visibility
from webapp.rules.numbers import digits_of
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.times import now

LEAST_DIGITS = 3
EXPORT_CHUNK = 500
LOOKED_UP_AT_ONCE = 5000
"""A statement takes no more values than this on any database."""


class How(StrEnum):
    """How somebody said that they want no more texts. No free text: health data creeps in."""

    PHONE = "phone"
    LETTER = "letter"
    MAIL = "mail"
    IN_PERSON = "in_person"
    TEXT = "text"
    OTHER = "other"


class NumbersBlocked(NotTaken):
    """Some of the recipients want no more texts."""

    def __init__(self, found: Collection[BlockedNumber], numbers: Collection[str]) -> None:
        super().__init__()
        self.found = tuple(found)
        self.numbers = tuple(numbers)
        """In E.164, in the order of `found`."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What noting a number did."""

    is_new: bool
    withdrawn: int
    """Messages that waited and will not be sent."""
    being_sent: int
    """Messages under way: cancelled if sipgate does not take them."""
    at_sipgate: int
    """Planned messages that sipgate has already and that nobody can recall."""


def require_none(
    session: Session | sa.Connection, account_id: str, numbers: Collection[str]
) -> None:
    """Raise `NumbersBlocked` if the account noted one of these numbers (E.164).

    To be called first in the transaction that makes or readdresses messages.
    """
    keep(session, account_id)
    found = among(session, account_id, numbers)
    if found:
        raise NumbersBlocked(found.values(), found)


def keep(session: Session | sa.Connection, account_id: str) -> None:
    """No number is noted before this transaction ends. To be called first in it."""
    locks.share(session, _list_of(account_id))


def among(
    session: Session | sa.Connection, account_id: str, numbers: Collection[str]
) -> dict[str, BlockedNumber]:
    """Those of these numbers (E.164) that the account noted."""
    key = session.scalar(_KEY_IF_ANY, {"of": account_id})
    if not key:
        return {}
    numbers_of = {_hash(key, number): number for number in numbers}
    rows = session if isinstance(session, Session) else Session(session)
    found: dict[str, BlockedNumber] = {}
    hashes = list(numbers_of)
    for start in range(0, len(hashes), LOOKED_UP_AT_ONCE):
        some = hashes[start : start + LOOKED_UP_AT_ONCE]
        query = sa.select(BlockedNumber).where(
            BlockedNumber.account_id == account_id, BlockedNumber.number_hash.in_(some)
        )
        query = query.options(joinedload(BlockedNumber.noted_by))
        found |= {numbers_of[row.number_hash]: row for row in rows.scalars(query)}
    return found


# Asked twice for every message, so built once (see `claims.py`).
_KEY_IF_ANY = installation.NUMBER_KEY.where(
    sa.select(sa.literal(1)).where(table(BlockedNumber).c.account_id == sa.bindparam("of")).exists()
)


def noted(member: Member, number: str) -> BlockedNumber | None:
    """What the member's account noted about a number, if anything."""
    return among(db.session, member.account_id, (number,)).get(number)


def note(numbers: Collection[str], how: How, by: Member) -> Noted:
    """Send nothing more to these numbers (E.164), and withdraw what waits for them."""
    if not installation.number_key(db.session):
        installation.register_location()  # which makes it
    to_them = sa.and_(Message.account_id == by.account_id, Message.recipient.in_(list(numbers)))
    with transaction() as session:
        locks.have_alone(session, _list_of(by.account_id))
        before = among(session, by.account_id, numbers)
        key = installation.number_key(session)
        for number in numbers:
            if number not in before:
                insert(session, _new(key, number, how, by))
            elif before[number].number is None:
                before[number].number = number  # erased, and now entered again
        became = batches.withdraw_all(session, to_them, Reason.BLOCKED)
        if len(before) < len(numbers):
            record(session, AuditEvent.BLOCKED, by, detail=f"{how} {len(numbers) - len(before)}")
        beyond = session.scalar(
            sa.select(sa.func.count())
            .select_from(Message)
            .where(to_them, Message.outcome == Outcome.SCHEDULED, Message.send_at > now())
        )
    return Noted(
        is_new=len(before) < len(numbers),
        withdrawn=became[Outcome.CANCELLED],
        being_sent=became[Outcome.SENDING],
        at_sipgate=beyond or 0,
    )


def may_lift(row: BlockedNumber, member: Member) -> bool:
    """Who noted it, or an administrator of the account."""
    return row.account_id == member.account_id and (
        row.noted_by_id == member.id or visibility.manages_account(member)
    )


def find(id_: str, member: Member) -> BlockedNumber | None:
    """The entry, if it is the account's."""
    row = db.session.get(BlockedNumber, id_)
    return row if row and row.account_id == member.account_id else None


def lift(row: BlockedNumber, by: Member) -> bool:
    """Texts may be sent there again. Returns False if it was lifted already."""
    with transaction() as session:
        done = rows_changed(session, sa.delete(BlockedNumber).where(BlockedNumber.id == row.id))
        if done:
            record(session, AuditEvent.UNBLOCKED, by)
    return done == 1


def page(
    member: Member, words: str = "", *, before: BlockedNumber | None = None, limit: int
) -> list[BlockedNumber]:
    """The account's newest entries, or those older than `before`; by digits of the number, or by
    the name of who noted it."""
    at, id_ = BlockedNumber.noted_at, BlockedNumber.id
    query = sa.select(BlockedNumber).where(BlockedNumber.account_id == member.account_id)
    if words:
        digits = digits_of(words)
        by_name = sa.select(Member.id).where(
            Member.account_id == member.account_id, Member.name.icontains(words, autoescape=True)
        )
        fits: sa.ColumnElement[bool] = BlockedNumber.noted_by_id.in_(by_name)
        if len(digits) >= LEAST_DIGITS:
            fits = sa.or_(fits, BlockedNumber.number.contains(digits, autoescape=True))
        query = query.where(fits)
    if before is not None:
        query = query.where(sa.tuple_(at, id_) < sa.tuple_(before.noted_at, before.id))
    return list(db.session.scalars(query.order_by(at.desc(), id_.desc()).limit(limit)))


def iter_chunks(member: Member) -> Iterator[list[BlockedNumber]]:
    """All of the account's entries, newest first. No transaction is open between two chunks."""
    last: BlockedNumber | None = None
    while found := page(member, before=last, limit=EXPORT_CHUNK):
        last = found[-1]
        yield found
        end_read()


def _new(key: str, number: str, how: How, by: Member) -> BlockedNumber:
    return BlockedNumber(
        account_id=by.account_id,
        number_hash=_hash(key, number),
        number=number,
        how=how,
        noted_by_id=by.id,
    )


def _list_of(account_id: str) -> str:
    return f"blocked numbers of {account_id}"


def _hash(key: str, number: str) -> str:
    return hmac.new(bytes.fromhex(key), number.encode(), hashlib.sha256).hexdigest()
