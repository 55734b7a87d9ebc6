"""What a cell of a list may hold, and the text that it becomes in a message.

Dates, numbers and truth values stay what they are until a person has chosen how they are written.
"""

from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal

from babel.dates import format_date

MAX_CELL_CHARACTERS = 2_000

DATE_FORMS = ("d.m.y", "weekday-d.m.", "weekday-d.-month", "d-mon-y")
"""24.11.2026 · Di 24.11. · Dienstag, 24. November · 24. Nov. 2026"""

_CENTS = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Percent:
    """A number in a cell that is formatted as percent: 19 for what is stored as 0.19."""

    value: Decimal


Cell = str | bool | Decimal | Percent | date | datetime | time


def encode_cell(cell: Cell) -> str | list[str]:
    """Return a cell as JSON: its text, or its kind and how it is written."""
    match cell:
        case str():
            return cell
        case bool():
            return ["boolean", "true" if cell else ""]
        case Decimal():
            return ["number", format(cell, "f")]
        case Percent():
            return ["percent", format(cell.value, "f")]
        case datetime():
            return ["datetime", cell.isoformat()]
        case date():
            return ["date", cell.isoformat()]
        case time():
            return ["time", cell.isoformat()]


def decode_cell(encoded: str | list[str]) -> Cell:
    """The reverse of `encode_cell`. An error that a spreadsheet shows is nothing."""
    if isinstance(encoded, str):
        return encoded
    kind, written = encoded
    match kind:
        case "error":
            return ""
        case "boolean":
            return bool(written)
        case "number":
            return Decimal(written)
        case "percent":
            return Percent(Decimal(written))
        case "datetime":
            return datetime.fromisoformat(written)
        case "date":
            return date.fromisoformat(written)
        case "time":
            return time.fromisoformat(written)
    raise ValueError(kind)


def cell_text(cell: Cell, *, dates: str = "d.m.y", language: str = "de") -> str:
    """Return what stands in a message for this cell. `dates` is one of DATE_FORMS."""
    match cell:
        case str():
            return cell
        case bool():
            yes, no = ("ja", "nein") if language == "de" else ("yes", "no")
            return yes if cell else no
        case Decimal():
            return _number_text(cell, language)
        case Percent():
            return _number_text(cell.value, language) + (" %" if language == "de" else "%")
        case datetime():
            return f"{_date_text(cell.date(), dates, language)} {_time_text(cell.time())}"
        case date():
            return _date_text(cell, dates, language)
        case time():
            return _time_text(cell)


def number_text(cell: Cell) -> str:
    """Return a cell of the column with the phone numbers as it was typed."""
    if isinstance(cell, Decimal) and cell == cell.to_integral_value():
        return format(cell.to_integral_value(), "f")
    return cell_text(cell)


_STANDS_FOR_NOTHING = frozenset(
    ("-", "--", "–", "—", "?", "n/a", "n. a.", "n.a.", "k. a.", "k.a.", "tba", "tbd", "null", "nan")
    + ("none", "unbekannt", "unknown", "keine angabe")
)


def stands_for_nothing(text: str) -> bool:
    """Whether people write this into a cell for which they have nothing: "-", "n/a", "k. A."."""
    return text.strip().casefold() in _STANDS_FOR_NOTHING


def with_cents(column: list[Cell]) -> list[Cell]:
    """Give a column of amounts two decimals: 12.5 becomes 12.50, and 12 becomes 12.00.

    Spreadsheets store no formats with their numbers. A column without fractions, or with longer
    ones, stays as it is.
    """
    places = {_places(cell) for cell in column if isinstance(cell, Decimal)}
    if not places or not 0 < max(places) <= 2:
        return column
    return [cell.quantize(_CENTS) if isinstance(cell, Decimal) else cell for cell in column]


def _places(number: Decimal) -> int:
    return max(0, -int(number.as_tuple().exponent))


def _number_text(number: Decimal, language: str) -> str:
    written = format(number, "f")
    return written.replace(".", ",") if language == "de" else written


_PATTERNS = {
    ("weekday-d.m.", "de"): "EEEEEE dd.MM.",
    ("weekday-d.m.", "en"): "EEE d MMM",
    ("weekday-d.-month", "de"): "EEEE, d. MMMM",
    ("weekday-d.-month", "en"): "EEEE, d MMMM",
    ("d-mon-y", "de"): "d. MMM yyyy",
    ("d-mon-y", "en"): "d MMM yyyy",
}


def _date_text(day: date, form: str, language: str) -> str:
    pattern = _PATTERNS.get((form, "de" if language == "de" else "en"))
    if pattern is None:
        return f"{day:%d.%m.}{day.year:04}"
    # The shortest weekday, as in "Di 24.11.", has a point that belongs after a word only.
    return format_date(day, pattern, locale=language).replace(". ", " ", pattern.count("EEEEEE"))


def _time_text(moment: time) -> str:
    return moment.strftime("%H:%M:%S" if moment.second else "%H:%M")
