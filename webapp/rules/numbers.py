"""Recipients: from what people type to the one number that is sent to.

Refusals carry a reason and what was typed, which stays out of logs.
"""

import enum
import re
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType, ValidationResult

from webapp.rules.text import is_blank

_E164_MIN_DIGITS = 7
_E164_MAX_DIGITS = 15
SENDABLE = re.compile(r"\A\+[1-9][0-9]{6,14}\Z", re.ASCII)
"""ITU-T E.164 allows 15 digits with the country code; the shortest numbers in use have 7."""

# Far more than any real spelling needs; a pasted megabyte is not parsed.
_MAX_TYPED_CHARACTERS = 250
_GERMANY = 49
_SEPARATOR_CATEGORIES = frozenset({"Cf", "Pd", "Zs"})
_SEPARATORS = frozenset("\t./[]\u00b7\u2212")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
# Pandas and spreadsheets write a number column as 491712345678.0, which would be somebody else's
# number without its dot.
_DECIMAL_FRACTION = re.compile(r"\+?[0-9]{7,}\.0+", re.ASCII)
# What spreadsheets write around a number so that it stays text, and what they make of one: decimals
# and an exponent.
_WRAPPED = (
    re.compile(r'=\s*"(.*)"', re.DOTALL),
    re.compile(r"=\s*(\+?[0-9 ].*)", re.DOTALL),
    re.compile(r"'(.*?)'?", re.DOTALL),
)
_DECIMALS = re.compile(r"(\+?[0-9]{7,})[.,]0+", re.ASCII)
_EXPONENT = re.compile(r"\+?([0-9])(?:[.,]([0-9]+))?E\+?([0-9]{1,2})", re.ASCII | re.IGNORECASE)
_EXTENSION = re.compile(r"(?:ext|x|#)[.:=]*[0-9]{1,6}\Z", re.ASCII | re.IGNORECASE)
_BRACKETED_TRUNK_ZERO = re.compile(r"(?<=[0-9])\(0\)")


class RecipientProblem(enum.StrEnum):
    EMPTY = "empty"
    LETTERS = "letters"
    STRANGE_CHARACTER = "strange_character"
    PLUS_INSIDE = "plus_inside"
    SEVERAL = "several"
    EXTENSION = "extension"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    UNKNOWN_COUNTRY = "unknown_country"
    NOT_A_NUMBER = "not_a_number"
    EMERGENCY = "emergency"
    SHORT_CODE = "short_code"
    PREMIUM = "premium"
    MASS_CALL = "mass_call"
    SHARED_COST = "shared_cost"
    COMPANY_WIDE = "company_wide"
    PAGER = "pager"
    VOICEMAIL = "voicemail"
    DIGITS_LOST = "digits_lost"
    SEVERAL_CONTACTS = "several_contacts"


_REFUSED_TYPES = {
    PhoneNumberType.PREMIUM_RATE: RecipientProblem.PREMIUM,
    PhoneNumberType.SHARED_COST: RecipientProblem.SHARED_COST,
    PhoneNumberType.UAN: RecipientProblem.COMPANY_WIDE,
    PhoneNumberType.PAGER: RecipientProblem.PAGER,
    PhoneNumberType.VOICEMAIL: RecipientProblem.VOICEMAIL,
}
# Source: the Bundesnetzagentur's number ranges. phonenumbers divides 0137 by tariff, and recognises
# none of these if digits are missing.
_GERMAN_SERVICES = {
    "137": RecipientProblem.MASS_CALL,
    "180": RecipientProblem.SHARED_COST,
    "900": RecipientProblem.PREMIUM,
}
_MAX_CELLS = 30
"""Of a line; a spreadsheet's number does not stand further right."""
_HEAD_WORDS = frozenset(
    (
        "name, vorname, nachname, handy, handynummer, handynr, mobil, mobilnummer, mobilnr, "
        "mobiltelefon, telefon, telefonnummer, telefonnr, tel, telnr, nummer, rufnummer, "
        "first name, last name, surname, mobile, mobile number, mobile phone, cell, cell phone, "
        "phone, phone number, telephone, number"
    )
    .replace(" ", "")
    .split(",")
)
"""What columns are called."""
_NUMBER_LIKE = re.compile(r"[\s\d+()/.-]*")
_LENGTH_PROBLEMS = {
    ValidationResult.TOO_SHORT: RecipientProblem.TOO_SHORT,
    ValidationResult.TOO_LONG: RecipientProblem.TOO_LONG,
}


class RecipientRefused(ValueError):
    """Its text may be logged, so it does not contain the number; `typed` does."""

    def __init__(self, problem: RecipientProblem, typed: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.typed = typed


class NumberKind(enum.StrEnum):
    MOBILE = "mobile"
    LANDLINE = "landline"
    FREEPHONE = "freephone"
    OTHER = "other"


_KINDS = {
    PhoneNumberType.MOBILE: NumberKind.MOBILE,
    # North America does not distinguish the two.
    PhoneNumberType.FIXED_LINE_OR_MOBILE: NumberKind.MOBILE,
    PhoneNumberType.FIXED_LINE: NumberKind.LANDLINE,
    PhoneNumberType.TOLL_FREE: NumberKind.FREEPHONE,
}


def split_recipients(typed: str) -> list[str]:
    """Return the entries between commas, semicolons and line breaks, in order, without blanks."""
    return [part.strip() for part in re.split(r"[,;\r\n]", typed) if not is_blank(part)]


def recipient_rows(typed: str) -> list[tuple[str, ...]]:
    """Return the recipients that somebody typed or pasted, in order, each as its cells.

    Commas, semicolons and line breaks stand between recipients of one cell. A line that was copied
    from a spreadsheet is one recipient of several cells: they stand between tabs, or between
    semicolons if the first says who it is (`Müller;0171 3920012`). Its head line (`Name;Mobile`) is
    left out.
    """
    lines = [line for line in re.split(r"[\r\n]", typed) if not is_blank(line)]
    rows = [cells for line in lines for cells in _rows_of(line)]
    has_head = len(rows) > 1 and len(lines) > 1 and _is_head(lines[0])
    return rows[len(_rows_of(lines[0])) :] if has_head else rows


def number_cell(cells: tuple[str, ...], region: str) -> str:
    """Return the cell that holds the recipient's number: of several numbers, the mobile one.

    Raises RecipientRefused if that is none of them, or more than one.
    """
    if len(cells) == 1:
        return cells[0]
    found: dict[str, str] = {}
    for cell in cells[:_MAX_CELLS]:
        with suppress(RecipientRefused):
            found[parse_recipient(cell, region)] = cell
    mobile = {e164: cell for e164, cell in found.items() if number_kind(e164) is NumberKind.MOBILE}
    numbers = list((mobile or found).values())
    if len(numbers) > 1:
        raise RecipientRefused(RecipientProblem.SEVERAL, " ".join(cells))
    return numbers[0] if numbers else max(cells, key=_digit_count)


def _rows_of(line: str) -> list[tuple[str, ...]]:
    if "\t" in line.strip():
        return [_cells(line, "\t")]
    columns = _cells(line, ";")
    if "," not in line and len(columns) > 1 and _is_labelled(columns):
        return [columns]
    return [(cell,) for cell in _cells(line, "[,;]")]


def _cells(line: str, divider: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in re.split(divider, line) if not is_blank(cell))


def _is_labelled(cells: tuple[str, ...]) -> bool:
    """Whether this says who it is and then has something like a number."""
    rest = cells[1:_MAX_CELLS]
    return not _digit_count(cells[0]) and any(
        _digit_count(cell) >= _E164_MIN_DIGITS and is_like_a_number(cell) for cell in rest
    )


def _is_head(line: str) -> bool:
    """Whether this names columns: nobody is called so, and no digit is in it."""
    cells = re.split(r"[\t;,]", line)
    words = {"".join(filter(str.isalpha, cell)).casefold() for cell in cells[:_MAX_CELLS]}
    return not _digit_count(line) and not words.isdisjoint(_HEAD_WORDS)


def _digit_count(cell: str) -> int:
    return sum(map(str.isdecimal, cell))


def parse_recipient(typed: str, region: str) -> str:
    """Return the E.164 form of a number that somebody typed, or raise RecipientRefused.

    `region` (such as "DE") gives the country of numbers typed without one. Decimal digits of any
    script, full-width ones too, become ASCII.
    """
    e164, _ = _recognised(typed, region)
    return e164


def _recognised(typed: str, region: str) -> tuple[str, PhoneNumber]:
    dialled = _dialled(typed)
    candidates = [
        number for reading in _readings(dialled, region) if (number := _parsed(reading, region))
    ]
    number = next(filter(phonenumbers.is_valid_number, candidates), None)
    if number is None:
        raise RecipientRefused(_why_not_valid(dialled, candidates, region), typed)
    if problem := _service_problem(number):
        raise RecipientRefused(problem, typed)
    e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    if not is_sendable(e164):
        raise RecipientRefused(RecipientProblem.NOT_A_NUMBER, typed)
    return e164, number


@dataclass(frozen=True, slots=True)
class ListedNumber:
    """The E.164 number of a list's cell, and whether the spreadsheet's damage had to be undone."""

    number: str
    kind: NumberKind
    is_repaired: bool


def parse_listed(typed: str, region: str) -> ListedNumber:
    """Return the number of a cell that may have been through a spreadsheet, or RecipientRefused.

    Undone are the leading zero that was dropped, decimals that were added, and an exponent that
    still has all digits. One that lost some is refused as DIGITS_LOST: they are somebody else's.
    """
    plain = unwrapped(typed)
    whole = _without_decimals(plain, typed)
    e164, number = _recognised(whole, region)
    is_repaired = whole != plain or _lacks_trunk_zero(plain, region)
    return ListedNumber(e164, _kind(number), is_repaired)


def unwrapped(typed: str) -> str:
    """Return `typed` without `="…"`, `=…` or `'…`, which keep a number as text."""
    text = typed.strip()
    found = next((match for one in _WRAPPED if (match := one.fullmatch(text))), None)
    return found[1].strip() if found else text


def _without_decimals(plain: str, typed: str) -> str:
    if found := _DECIMALS.fullmatch(plain):
        return found[1]
    if found := _EXPONENT.fullmatch(plain):
        first, others, exponent = found[1], (found[2] or "").rstrip("0"), int(found[3])
        if len(others) == exponent >= _E164_MIN_DIGITS - 1:
            return first + others
        raise RecipientRefused(RecipientProblem.DIGITS_LOST, typed)
    return plain


def _lacks_trunk_zero(plain: str, region: str) -> bool:
    """Whether a zero before the national number is missing, which a spreadsheet drops."""
    dialled = _dialled(plain)
    prefix = phonenumbers.ndd_prefix_for_region(region, True)
    country_code = str(phonenumbers.country_code_for_region(region))
    return prefix == "0" and dialled[0] in "123456789" and not dialled.startswith(country_code)


def is_sendable(number: str) -> bool:
    """The last check before a number is sent to sipgate, which takes only this form."""
    return SENDABLE.match(number) is not None


def number_kind(e164: str) -> NumberKind:
    number = _parsed(e164, None)
    return _kind(number) if number else NumberKind.OTHER


def _kind(number: PhoneNumber) -> NumberKind:
    return _KINDS.get(phonenumbers.number_type(number), NumberKind.OTHER)


def country_of(e164: str) -> str | None:
    """Return the region code ("DE"), or None for numbers of no single country, such as +800."""
    number = _parsed(e164, None)
    region = phonenumbers.region_code_for_number(number) if number else None
    return None if region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY else region


def mask(number: str) -> str:
    """The part of a number that logs may contain."""
    return "…" + number[-3:]


def _dialled(typed: str) -> str:
    """Return `typed` without separators: digits, an optional "+" before them, and "(0)"."""
    text = typed.strip()
    if len(text) > _MAX_TYPED_CHARACTERS:
        raise RecipientRefused(RecipientProblem.TOO_LONG, typed)
    plain = "".join(map(_plain_character, text))
    if plain[:4].lower() == "tel:":
        plain = plain[4:]
    if problem := _spelling_problem(text, plain):
        raise RecipientRefused(problem, typed)
    return plain


@lru_cache
def _plain_character(typed: str) -> str:
    """Return the ASCII spelling of one character, nothing for a separator."""
    character = typed.translate(_FULL_WIDTH)
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category in _SEPARATOR_CATEGORIES or character in _SEPARATORS:
        return ""
    return character


def _spelling_problem(text: str, plain: str) -> RecipientProblem | None:
    if not plain.strip("()"):
        return RecipientProblem.EMPTY
    if _EXTENSION.search(plain):
        return RecipientProblem.EXTENSION
    if any(character.isalpha() for character in plain):
        return RecipientProblem.LETTERS
    if any(character in ",;\r\n" for character in plain):
        return RecipientProblem.SEVERAL
    if _DECIMAL_FRACTION.fullmatch(text) or plain.strip("+()0123456789"):
        return RecipientProblem.STRANGE_CHARACTER
    if "+" in plain.lstrip("(")[1:]:
        return RecipientProblem.PLUS_INSIDE
    return None


def _readings(dialled: str, region: str) -> list[str]:
    """Return what `dialled` may mean, the first choice first.

    First with "(0)": phonenumbers drops it where it is a trunk prefix (+49), and Italian numbers
    need it. Then without it, for the other countries (+45).
    """
    spellings = dict.fromkeys([dialled, _BRACKETED_TRUNK_ZERO.sub("", dialled)])
    return [
        reading
        for spelling in spellings
        for reading in _with_country(re.sub(r"[()]", "", spelling), region)
    ]


def _with_country(digits: str, region: str) -> list[str]:
    if digits.startswith("00"):
        return ["+" + digits[2:]]
    country_code = str(phonenumbers.country_code_for_region(region))
    if digits[0] in "+0" or not digits.startswith(country_code):
        return [digits]
    # Without a trunk prefix (Denmark), a national number may begin with these digits, too.
    has_trunk_prefix = phonenumbers.ndd_prefix_for_region(region, True) is not None
    return ["+" + digits] if has_trunk_prefix else ["+" + digits, digits]


def _parsed(number: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None


def _service_problem(number: PhoneNumber) -> RecipientProblem | None:
    """Return why a service number is refused, even if it lacks digits."""
    if number.country_code == _GERMANY:
        prefix = phonenumbers.national_significant_number(number)[:3]
        if prefix in _GERMAN_SERVICES:
            return _GERMAN_SERVICES[prefix]
    return _REFUSED_TYPES.get(phonenumbers.number_type(number))


def _why_not_valid(dialled: str, candidates: list[PhoneNumber], region: str) -> RecipientProblem:
    digits = re.sub(r"[+()]", "", dialled)
    if phonenumbers.is_emergency_number(digits, region) or any(map(_is_emergency, candidates)):
        return RecipientProblem.EMERGENCY
    if any(map(phonenumbers.is_valid_short_number, candidates)):
        return RecipientProblem.SHORT_CODE
    if 3 <= len(digits) <= 6 and dialled[0] not in "+0":
        return RecipientProblem.SHORT_CODE
    if candidates:
        return _service_problem(candidates[0]) or _length_problem(candidates[0])
    if len(digits) > _E164_MAX_DIGITS:
        return RecipientProblem.TOO_LONG
    is_short = len(digits) < _E164_MIN_DIGITS
    return RecipientProblem.TOO_SHORT if is_short else RecipientProblem.UNKNOWN_COUNTRY


def _is_emergency(number: PhoneNumber) -> bool:
    national = phonenumbers.national_significant_number(number)
    region = phonenumbers.region_code_for_country_code(number.country_code or 0)
    return phonenumbers.is_emergency_number(national, region)


def _length_problem(number: PhoneNumber) -> RecipientProblem:
    """Compare with mobile numbers: German landlines may have almost any length."""
    result = phonenumbers.is_possible_number_for_type_with_reason(number, PhoneNumberType.MOBILE)
    return _LENGTH_PROBLEMS.get(result, RecipientProblem.NOT_A_NUMBER)


@lru_cache
def phone(number: str) -> str:
    """E.164 with spaces, `+49 171 3920000`; anything else unchanged."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    pretty: str = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return pretty


def is_like_a_number(words: str) -> bool:
    """Whether this could be part of a typed number."""
    return _NUMBER_LIKE.fullmatch(words) is not None


def digits_of(words: str) -> str:
    """The digits that a typed part of a number shares with E.164: `0171 39` gives `17139`."""
    if not is_like_a_number(words):
        return ""
    digits = "".join(c for c in words if c.isdecimal() and c.isascii())
    return digits.lstrip("0") if len(digits) > 2 else ""
