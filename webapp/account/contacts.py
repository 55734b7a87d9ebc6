"""A member's contacts at sipgate: fetched in the background, saved per member, searched.

Shared contacts are saved per member, too: what sipgate shows to one may be hidden from another. No
page waits for them, except the contacts page itself.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import g
from sqlalchemy.orm import Session

from webapp.account import cache
from webapp.account.cache import Cached, Trouble
from webapp.config import settings
from webapp.database import db, rows_changed, table, transaction
from webapp.database.models import Contact, Member
from webapp.rules.keys import Purpose, derived
from webapp.rules.numbers import (
    RecipientRefused,
    digits_of,
    is_like_a_number,
    parse_recipient,
    phone,
)
from webapp.signin import Credentials, tokens
from webapp.sipgate import MAX_CONTACTS, AddressBook, Authorization, ContactEntry, Lack, client

SCOPE = "contacts:read"
KIND = "contacts"
FRESH = timedelta(minutes=10)
MAX_NUMBERS_FOR_A_NAME = 200


def read(member: Member, credentials: Credentials, *, again: bool = False) -> Cached:
    """Fetch the member's contacts if the saved ones are older than 10 minutes, or if `again`.

    If sipgate refuses or is away, the saved ones stay; the returned `trouble` says so. Raises
    `SignInEnded` only.
    """
    if tokens.lacks_scope(credentials, SCOPE):
        return Cached(None, Trouble.NOT_GRANTED)

    def call(auth: Authorization) -> _Read:
        return _parse(member, client().contacts(auth))

    def store(session: Session, value: _Read) -> dict[str, str]:
        _replace(session, member, value)
        return {"lack": value.lack}

    fresh = timedelta() if again else FRESH
    known = cache.fetch(member, credentials, KIND, call, fresh=fresh, store=store)
    # Earlier versions saved only how many there were.
    lack = Lack(known.value["lack"]) if isinstance(known.value, dict) else Lack.NONE
    return replace(known, trouble=known.trouble or _TROUBLES.get(lack, Trouble.NONE))


def find(member: Member, words: str, *, after: str = "", limit: int) -> list[Contact]:
    """The member's contacts whose name, organization or number contains the words, by name.

    `after` is the id of the last one on the previous page.
    """
    query = sa.select(Contact).where(Contact.member_id == member.id)
    for word in [words] if is_like_a_number(words) else words.split():
        query = query.where(_matches(word))
    # Of several numbers the smallest first: German mobile numbers precede landlines.
    order = (Contact.name, sa.func.coalesce(Contact.number, Contact.typed), Contact.id)
    last = find_one(member, after)
    if last:
        there = (last.name, last.number or last.typed, last.id)
        query = query.where(sa.tuple_(*order) > sa.tuple_(*there))
    return list(db.session.scalars(query.order_by(*order).limit(limit)))


def find_one(member: Member, id_: str) -> Contact | None:
    found = db.session.get(Contact, id_) if id_ else None
    return found if found and found.member_id == member.id else None


def count(member: Member) -> int:
    query = sa.select(sa.func.count()).select_from(Contact)
    return db.session.scalar(query.where(Contact.member_id == member.id)) or 0


def numbers_called(member: Member, words: str) -> list[str]:
    """The numbers of the contacts whose name contains the words."""
    query = sa.select(Contact.number).where(
        Contact.member_id == member.id,
        Contact.number.is_not(None),
        Contact.name.icontains(words, autoescape=True),
    )
    found = db.session.scalars(query.limit(MAX_NUMBERS_FOR_A_NAME))
    return [number for number in found if number]


def preload_names(member: Member, numbers: Iterable[str]) -> None:
    """Look up the names of a page's numbers with one query, for `name_of`."""
    names = _names()
    missing = {number for number in numbers if number not in names}
    if not missing:
        return
    names.update(dict.fromkeys(missing, ""))
    query = sa.select(Contact.number, Contact.name).where(
        Contact.member_id == member.id, Contact.number.in_(missing)
    )
    # The last one wins, so the first in the alphabet stands.
    for number, name in db.session.execute(query.order_by(Contact.name.desc())):
        names[str(number)] = name


def name_of(member: Member | None, number: str) -> str:
    """The name of a number in the member's contacts; empty if it is not there."""
    if member is None:
        return ""
    if number not in _names():
        preload_names(member, [number])
    return _names()[number]


def numbers_named(member: Member, names: Collection[str]) -> dict[str, list[str]]:
    """The numbers of the contacts with exactly these names; names of nobody are left out."""
    if not names:
        return {}
    query = sa.select(Contact.name, Contact.number).where(
        Contact.member_id == member.id, Contact.name.in_(names), Contact.number.is_not(None)
    )
    found: dict[str, list[str]] = {}
    for name, number in db.session.execute(query.order_by(Contact.number).distinct()):
        found.setdefault(name, []).append(str(number))
    return found


def display_name(member: Member, number: str) -> str:
    """`Emil Fischer (+49 171 3920020)`, or the number alone."""
    name = name_of(member, number)
    return f"{name} ({phone(number)})" if name else phone(number)


def keep_own_number(member: Member, number: str) -> None:
    """Save the number that this member's tests go to (E.164)."""
    if member.own_number != number:
        with transaction() as session:
            session.execute(
                sa.update(Member).where(Member.id == member.id).values(own_number=number)
            )


def _names() -> dict[str, str]:
    """The names already looked up for this page."""
    if "contact_names" not in g:
        g.contact_names = {}
    names: dict[str, str] = g.contact_names
    return names


def _matches(word: str) -> sa.ColumnElement[bool]:
    found = sa.or_(
        Contact.name.icontains(word, autoescape=True),
        Contact.organization.icontains(word, autoescape=True),
        Contact.typed.contains(word, autoescape=True),
    )
    digits = digits_of(word)
    return sa.or_(found, Contact.number.contains(digits)) if digits else found


@dataclass(frozen=True, slots=True)
class _Read:
    """New rows by their ids, ready to be inserted, and why some may be missing."""

    rows: dict[str, dict[str, Any]]
    lack: Lack


_TROUBLES = {
    Lack.REFUSED: Trouble.ONLY_COLLEAGUES,
    Lack.UNTOLD: Trouble.INCOMPLETE,
    Lack.BROKEN: Trouble.INCOMPLETE,
    Lack.CUT: Trouble.CUT,
}


def _parse(member: Member, book: AddressBook) -> _Read:
    """Parse before the transaction: 20,000 numbers take seconds."""
    found: dict[str, dict[str, Any]] = {}
    for entry in book.entries:
        for typed in entry.numbers:
            if len(found) == MAX_CONTACTS:
                return _Read(found, book.lack or Lack.CUT)
            contact = _contact(member, entry, typed)
            found[contact["id"]] = contact
    return _Read(found, book.lack)


def _replace(session: Session, member: Member, read: _Read) -> None:
    """Replace the saved contacts. If reading broke off, those it did not reach stay."""
    old = sa.delete(Contact).where(Contact.member_id == member.id)
    if read.lack == Lack.BROKEN:
        old = old.where(Contact.id.in_(read.rows))
    rows_changed(session, old)
    if read.rows:
        session.execute(table(Contact).insert(), list(read.rows.values()))


def _contact(member: Member, entry: ContactEntry, typed: str) -> dict[str, Any]:
    try:
        number = parse_recipient(typed, settings.default_region)
    except RecipientRefused:
        number = None
    key = derived(settings.secret_key, Purpose.CONTACT)[-1]
    params = f"{member.id} {entry.id} {number or typed}".encode()
    return dict(
        id=hmac.new(key.encode(), params, hashlib.sha256).hexdigest()[:32],
        member_id=member.id,
        name=entry.name,
        organization=entry.organization,
        typed=typed,
        number=number,
        is_private=entry.is_private,
    )
