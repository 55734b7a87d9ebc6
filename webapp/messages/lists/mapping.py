"""Which column each placeholder of the text takes, and the text that a row becomes.

A value is data: a placeholder inside a cell is never filled. Nothing is guessed where two columns
fit: that is a question.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from webapp.messages.lists.reading import Column
from webapp.rules.cells import Cell, cell_text, stands_for_nothing
from webapp.rules.columns import heading_key
from webapp.rules.text import LOOK_ALIKES, filled

SALUTATION = "salutation"
"""Instead of a column's letter: the salutation is made from several."""
_SALUTATION_NAMES = ("briefanrede", "salutation")
_TITLE, _FIRST, _LAST = (
    ("anrede", "title", "geschlecht"),
    ("vorname", "firstname", "givenname"),
    ("nachname", "familienname", "lastname", "surname", "name"),
)
_PLAIN = str.maketrans(LOOK_ALIKES)


@dataclass(frozen=True, slots=True)
class Slot:
    """What one placeholder takes."""

    name: str
    """As the text spells it."""
    column: str
    """A column's letter, `SALUTATION`, or "" for none."""
    empty: str = ""
    """What stands there if the cell is empty or there is no column; "" stops the row."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """What was chosen on page 2."""

    number: str
    """The letter of the column with the phone numbers."""
    text: str
    extension_id: str
    slots: tuple[Slot, ...]
    dates: str
    language: str
    is_plain: bool = False
    """Whether quotes and dashes become those that make no text dearer."""
    answered: tuple[str, ...] = ()
    """The codes of the questions that were answered."""
    only_column: str = ""
    """The letter of a column that says which rows are meant; "" if all are."""
    only_value: str = ""
    """What stands there in those rows."""

    @property
    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Mapped":
        slots = tuple(Slot(**slot) for slot in kept["slots"])
        return cls(**{**kept, "slots": slots, "answered": tuple(kept["answered"])})


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that has no value where one is needed."""

    column: str
    name: str


def guess_slot(name: str, columns: Sequence[Column]) -> Slot:
    """What a placeholder takes: the first column that has its name."""
    fits = columns_called(name, columns)
    if fits:
        return Slot(name, fits[0].letter)
    if can_be_salutation(name, columns):
        return Slot(name, SALUTATION)
    return Slot(name, "")


def columns_called(name: str, columns: Sequence[Column]) -> list[Column]:
    """The columns with a placeholder's name, without case, spaces, "_" and "-"."""
    key = heading_key(name)
    return [column for column in columns if heading_key(column.name) == key]


def can_be_salutation(name: str, columns: Sequence[Column]) -> bool:
    """Whether the placeholder asks for a salutation, no column has one, and it can be made."""
    is_asked = heading_key(name) in _SALUTATION_NAMES
    return is_asked and not columns_called(name, columns) and bool(_column(_LAST, columns))


def used_columns(mapped: Mapped, columns: Sequence[Column]) -> set[str]:
    """The letters of the columns that the texts, the numbers and the choice of rows need."""
    used = {mapped.number, mapped.only_column} | {slot.column for slot in mapped.slots}
    if SALUTATION in used:
        used |= {_column(names, columns) for names in (_TITLE, _FIRST, _LAST)}
    return used - {"", SALUTATION}


def is_chosen(mapped: Mapped, cells: Mapping[str, Cell]) -> bool:
    """Whether the row is one of those that are meant, without regard to case and spaces."""
    if not mapped.only_column:
        return True
    return _plain(_cell_text(mapped, cells, mapped.only_column)) == _plain(mapped.only_value)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def hollow_value(mapped: Mapped, cells: Mapping[str, Cell]) -> str:
    """The first value of the text that stands for nothing, such as "-"; "" if none does."""
    values = (_cell_text(mapped, cells, slot.column) for slot in mapped.slots)
    return next((value.strip() for value in values if stands_for_nothing(value)), "")


def text_of(
    mapped: Mapped, columns: Sequence[Column], cells: Mapping[str, Cell]
) -> str | list[Missing]:
    """The text of a row, whose cells are given by the letters of their columns; or what is missing.

    Raises `TextRefused` for a text that is far too long.
    """
    values: dict[str, str] = {}
    missing: list[Missing] = []
    for slot in mapped.slots:
        value = _value(slot, mapped, columns, cells)
        if value:
            values[slot.name] = value
        else:
            missing.append(Missing(slot.column, slot.name))
    if missing:
        return missing
    text = filled(mapped.text, values)
    return text.translate(_PLAIN) if mapped.is_plain else text


def _value(slot: Slot, mapped: Mapped, columns: Sequence[Column], cells: Mapping[str, Cell]) -> str:
    if slot.column == SALUTATION:
        return _salutation_of(mapped, columns, cells) or slot.empty
    return _cell_text(mapped, cells, slot.column).strip() or slot.empty


def _cell_text(mapped: Mapped, cells: Mapping[str, Cell], letter: str) -> str:
    return cell_text(cells.get(letter, ""), dates=mapped.dates, language=mapped.language)


def _salutation_of(mapped: Mapped, columns: Sequence[Column], cells: Mapping[str, Cell]) -> str:
    title, first, last = (
        cell_text(cells.get(_column(names, columns), "")).strip()
        for names in (_TITLE, _FIRST, _LAST)
    )
    return salutation(title, first, last, language=mapped.language)


def salutation(title: str, first: str, last: str, *, language: str) -> str:
    """`Sehr geehrter Herr Kaya`; without a title that is known, by the whole name. Empty if there
    is no name."""
    known = _TITLES.get(title.strip(" .").casefold())
    if known and last:
        german, english = known
        return f"{german} {last}" if language == "de" else f"Dear {english} {last}"
    name = f"{first} {last}".strip()
    if not name:
        return ""
    return f"Guten Tag {name}" if language == "de" else f"Dear {name}"


_TITLES = {
    **dict.fromkeys(("herr", "herrn", "hr", "m", "mr", "männlich"), ("Sehr geehrter Herr", "Mr")),
    **dict.fromkeys(("frau", "fr", "w", "f", "mrs", "ms", "weiblich"), ("Sehr geehrte Frau", "Ms")),
}


def _column(names: Iterable[str], columns: Sequence[Column]) -> str:
    """The letter of the first column with one of these names, or ""."""
    for name in names:
        for column in columns:
            if heading_key(column.name) == name:
                return column.letter
    return ""
