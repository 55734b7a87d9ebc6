"""What stands in the field "To": numbers, names of contacts, lines copied from a spreadsheet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from webapp.account import contacts
from webapp.config import settings
from webapp.database.models import Member
from webapp.rules.names import first_name
from webapp.rules.numbers import (
    RecipientProblem,
    RecipientRefused,
    number_cell,
    parse_recipient,
    recipient_rows,
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """One entry of the field."""

    typed: str
    """As it stands in the field; the cells of a table's line are divided by tabs."""
    number: str = ""
    """E.164; empty if it was refused."""
    name: str = ""
    """What the line says beside the number, or after `with_names` the contact's; may be empty."""
    first_name: str = ""
    """The contact's, only if that is sure; after `with_names`."""
    refused: RecipientRefused | None = None


def read(member: Member, typed: str, *, most: int) -> list[Recipient]:
    """The recipients in the field, in order. Of more than `most`, only that many are read.

    An entry that is exactly a contact's name stands for that contact's number, if there is one.
    """
    rows = recipient_rows(typed)[:most]
    named = contacts.numbers_named(member, {cells[0] for cells in rows if _may_be_name(cells[0])})
    return [one for cells in rows for one in _recipients(cells, named)]


def with_names(member: Member, found: list[Recipient]) -> list[Recipient]:
    """The same with what the contacts say of their numbers, for a page that shows them."""
    contacts.preload_names(member, [one.number for one in found if one.number])
    return [_with_name(member, one) for one in found]


def _recipients(cells: tuple[str, ...], named: Mapping[str, list[str]]) -> list[Recipient]:
    whole = "\t".join(cells)
    try:
        cell = number_cell(cells, settings.default_region)
        number = _number(cell, named)
    except RecipientRefused as refused:
        return [Recipient(whole, refused=refused)]
    if len(cells) == 2 and named.get(cells[0], [number]) != [number]:
        # `Emil Fischer; 0171 …` with another number than Emil's: these are two.
        return [one for cell in cells for one in _recipients((cell,), named)]
    words = " ".join(other for other in cells if other != cell and _has_letters(other))
    return [Recipient(whole, number, words)]


def _number(cell: str, named: Mapping[str, list[str]]) -> str:
    numbers = named.get(cell, [])
    if len(numbers) > 1:
        raise RecipientRefused(RecipientProblem.SEVERAL_CONTACTS, cell)
    return numbers[0] if numbers else parse_recipient(cell, settings.default_region)


def _with_name(member: Member, one: Recipient) -> Recipient:
    known = contacts.name_of(member, one.number) if one.number else ""
    return replace(one, name=known, first_name=first_name(known, one.number)) if known else one


def _may_be_name(cell: str) -> bool:
    return _has_letters(cell) and cell.isprintable()


def _has_letters(cell: str) -> bool:
    return any(map(str.isalpha, cell))
