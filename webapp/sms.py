"""The rules of text messages: what may be sent, to which numbers, at which times.

Pure functions over strings and times. Refusals carry a reason, never a sentence: `words.py` has
those. Warnings, prices and everything that needs the database or sipgate belong elsewhere.
"""

import enum
import re
import unicodedata
import zoneinfo
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType, ValidationResult

# --- Text ---------------------------------------------------------------------------------------

MAX_SEGMENTS = 10
"""Longer texts are refused; the limit is ours, not sipgate's."""

_ESCAPE = "\x1b"
GSM7_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ" + _ESCAPE + "ÆæßÉ"
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""The default alphabet, each character at its code (3GPP TS 23.038, 6.2.1). The escape at 0x1B
introduces the extension table and is not a character that a text can hold."""
GSM7_EXTENSION = "\f^{}\\[~]|€"
"""The extension table (3GPP TS 23.038, 6.2.1.1): each costs two septets, the escape included."""

_GSM7_CHARACTERS = frozenset(GSM7_BASIC + GSM7_EXTENSION) - {_ESCAPE}

# 140 octets hold 160 septets or 70 UTF-16 units. In a text of several segments, 6 octets of each
# go to the header that puts them together again (3GPP TS 23.040, 9.2.3.24.1).
GSM7_SINGLE_SEPTETS = 160
GSM7_PART_SEPTETS = 153
UCS2_SINGLE_UNITS = 70
UCS2_PART_UNITS = 67

# No run of more than four characters composes to one under NFC, so that no longer text can fit.
_MAX_CHARACTERS_TO_COMPOSE = 4 * MAX_SEGMENTS * GSM7_PART_SEPTETS

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORBIDDEN_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_BLANK_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Shown as nothing although Unicode calls them letters, marks or symbols: the grapheme joiner, the
# Hangul fillers, the empty Braille pattern, the variation selectors of text and emoji.
_BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0")


class Encoding(enum.StrEnum):
    GSM7 = "GSM-7"
    UCS2 = "UCS-2"


@dataclass(frozen=True, slots=True)
class Segmentation:
    """How a text is cut into billed segments."""

    encoding: Encoding
    segment_count: int
    unit_count: int
    """Septets (GSM-7) or UTF-16 units (UCS-2) of the whole text."""
    units_left: int
    """Room in the last segment, in the same units."""
    starts: tuple[int, ...]
    """The index of the character with which each segment begins."""
    forcing: tuple[str, ...]
    """The distinct characters that GSM-7 lacks, in the order of the text."""


class TextProblem(enum.StrEnum):
    EMPTY = "empty"
    TOO_LONG = "too_long"
    CONTROL_CHARACTER = "control_character"
    LONE_SURROGATE = "lone_surrogate"


class TextRefused(ValueError):
    """`detail` is the segment count ("11") or the code point ("U+0000"), else empty."""

    def __init__(self, problem: TextProblem, detail: str = "") -> None:
        super().__init__(problem, detail)
        self.problem = problem
        self.detail = detail


def counter_table() -> dict[str, object]:
    """Return what a live counter needs to agree with `segment`, ready for JSON."""
    return {
        "basic": GSM7_BASIC.replace(_ESCAPE, ""),
        "extension": GSM7_EXTENSION,
        "gsm7_single": GSM7_SINGLE_SEPTETS,
        "gsm7_part": GSM7_PART_SEPTETS,
        "ucs2_single": UCS2_SINGLE_UNITS,
        "ucs2_part": UCS2_PART_UNITS,
        "max_segments": MAX_SEGMENTS,
    }


def segment(text: str) -> Segmentation:
    """Cut `text` into segments; the empty text has none.

    GSM-7: 160, then 153 septets; else UCS-2: 70, then 67 UTF-16 units (3GPP TS 23.038, 23.040).
    Neither an extension character nor a surrogate pair straddles a border.
    """
    forcing = tuple(dict.fromkeys(c for c in text if c not in _GSM7_CHARACTERS))
    if forcing:
        encoding, single, part = Encoding.UCS2, UCS2_SINGLE_UNITS, UCS2_PART_UNITS
        widths = [2 if c > "\uffff" else 1 for c in text]
    else:
        encoding, single, part = Encoding.GSM7, GSM7_SINGLE_SEPTETS, GSM7_PART_SEPTETS
        widths = [2 if c in GSM7_EXTENSION else 1 for c in text]
    unit_count = sum(widths)
    room = single if unit_count <= single else part
    starts, used = _pack(widths, room)
    return Segmentation(encoding, len(starts), unit_count, room - used, tuple(starts), forcing)


def _pack(widths: Iterable[int], room: int) -> tuple[list[int], int]:
    """Return the index at which each segment begins, and the units used in the last one."""
    starts: list[int] = []
    used = room
    for index, width in enumerate(widths):
        if used + width > room:
            starts.append(index)
            used = 0
        used += width
    return starts, used if starts else 0


def normalise_text(typed: str) -> str:
    """Return `typed` with LF for CRLF and CR, and composed (NFC): "u" + diaeresis is not GSM-7.

    A text that is too long in any form stays as it is otherwise: composing takes quadratic time
    on a run of combining marks.
    """
    text = typed.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > _MAX_CHARACTERS_TO_COMPOSE:
        return text
    return unicodedata.normalize("NFC", text)


def check_text(text: str) -> Segmentation:
    """Return the segments of a normalised text, or raise TextRefused."""
    if lone := _SURROGATE.search(text):
        raise TextRefused(TextProblem.LONE_SURROGATE, _code_point(lone[0]))
    if control := _FORBIDDEN_CONTROL.search(text):
        raise TextRefused(TextProblem.CONTROL_CHARACTER, _code_point(control[0]))
    if _is_blank(text):
        raise TextRefused(TextProblem.EMPTY)
    segmentation = segment(text)
    if segmentation.segment_count > MAX_SEGMENTS:
        raise TextRefused(TextProblem.TOO_LONG, str(segmentation.segment_count))
    return segmentation


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def _is_blank(text: str) -> bool:
    return all(unicodedata.category(c) in _BLANK_CATEGORIES or c in _BLANK_CHARACTERS for c in text)


# --- Recipients ---------------------------------------------------------------------------------

_E164_MIN_DIGITS = 7
_E164_MAX_DIGITS = 15
SENDABLE = re.compile(r"\A\+[1-9][0-9]{6,14}\Z", re.ASCII)
"""ITU-T E.164 allows 15 digits with the country code; the shortest numbers in use have 7."""

# The longest honest spelling stays far below; a pasted megabyte is not looked at.
_MAX_TYPED_CHARACTERS = 250
_GERMANY = 49
_SEPARATOR_CATEGORIES = frozenset({"Cf", "Pd", "Zs"})
_SEPARATORS = frozenset("\t./[]\u00b7\u2212")
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
# Pandas and spreadsheets write a number column as 491712345678.0; without its dot that would be
# another person's number.
_DECIMAL_FRACTION = re.compile(r"\+?[0-9]{7,}\.0+", re.ASCII)
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


_REFUSED_TYPES = {
    PhoneNumberType.PREMIUM_RATE: RecipientProblem.PREMIUM,
    PhoneNumberType.SHARED_COST: RecipientProblem.SHARED_COST,
    PhoneNumberType.UAN: RecipientProblem.COMPANY_WIDE,
    PhoneNumberType.PAGER: RecipientProblem.PAGER,
    PhoneNumberType.VOICEMAIL: RecipientProblem.VOICEMAIL,
}
# Bundesnetzagentur, number ranges. phonenumbers divides 0137 by tariff, and knows none of them
# when digits are missing.
_GERMAN_SERVICES = {
    "137": RecipientProblem.MASS_CALL,
    "180": RecipientProblem.SHARED_COST,
    "900": RecipientProblem.PREMIUM,
}
_LENGTH_PROBLEMS = {
    ValidationResult.TOO_SHORT: RecipientProblem.TOO_SHORT,
    ValidationResult.TOO_LONG: RecipientProblem.TOO_LONG,
}


class RecipientRefused(ValueError):
    """`typed` stays out of the exception's text: that may be logged, numbers may not."""

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
    # North America does not tell the two apart.
    PhoneNumberType.FIXED_LINE_OR_MOBILE: NumberKind.MOBILE,
    PhoneNumberType.FIXED_LINE: NumberKind.LANDLINE,
    PhoneNumberType.TOLL_FREE: NumberKind.FREEPHONE,
}


def split_recipients(typed: str) -> list[str]:
    """Return the entries between commas, semicolons and line breaks, in order, without blanks."""
    return [part.strip() for part in re.split(r"[,;\r\n]", typed) if not _is_blank(part)]


def parse_recipient(typed: str, region: str) -> str:
    """Return the E.164 form of one number as people write it, or raise RecipientRefused.

    `region` (such as "DE") gives the country of numbers typed without one. Decimal digits of any
    script, full-width ones too, become ASCII.
    """
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
    return e164


def is_sendable(number: str) -> bool:
    """Tell whether `number` has the only form that may reach the wire: the last check before it."""
    return SENDABLE.match(number) is not None


def number_kind(e164: str) -> NumberKind:
    number = _parsed(e164, None)
    if number is None:
        return NumberKind.OTHER
    return _KINDS.get(phonenumbers.number_type(number), NumberKind.OTHER)


def country_of(e164: str) -> str | None:
    """Return the region code ("DE"), or None for numbers of no single country, such as +800."""
    number = _parsed(e164, None)
    region = phonenumbers.region_code_for_number(number) if number else None
    return None if region == phonenumbers.REGION_CODE_FOR_NON_GEO_ENTITY else region


def mask(number: str) -> str:
    """Return what logs may show of a number."""
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

    "(0)" stays at first: phonenumbers drops it where it is a trunk prefix (+49), and Italian
    numbers need it. Where neither holds (+45), it is dropped here.
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
    # Without a trunk prefix (Denmark: 45) a national number, too, may begin like this.
    has_trunk_prefix = phonenumbers.ndd_prefix_for_region(region, True) is not None
    return ["+" + digits] if has_trunk_prefix else ["+" + digits, digits]


def _parsed(number: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return None


def _service_problem(number: PhoneNumber) -> RecipientProblem | None:
    """Return which dear or deaf service a number belongs to, even if it lacks digits."""
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
    """Measure against mobile numbers: as a landline, almost any length is possible in Germany."""
    result = phonenumbers.is_possible_number_for_type_with_reason(number, PhoneNumberType.MOBILE)
    return _LENGTH_PROBLEMS.get(result, RecipientProblem.NOT_A_NUMBER)


# --- Times --------------------------------------------------------------------------------------

MIN_AHEAD = timedelta(minutes=2)
MAX_AHEAD = timedelta(days=30)
"""sipgate's own library takes no time further ahead."""

_LOCAL_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?", re.ASCII)
# Names that say nothing about where somebody is: the server's own zone, and "not yet set".
_PLACELESS_ZONES = frozenset({"localtime", "Factory"})


class TimeProblem(enum.StrEnum):
    UNREADABLE = "unreadable"
    UNKNOWN_ZONE = "unknown_zone"
    DOES_NOT_EXIST = "does_not_exist"
    EXISTS_TWICE = "exists_twice"
    TOO_SOON = "too_soon"
    TOO_FAR = "too_far"


class TimeRefused(ValueError):
    """`choices`, for EXISTS_TWICE only: the first and the second such time, aware, in the zone."""

    def __init__(self, problem: TimeProblem, choices: tuple[datetime, ...] = ()) -> None:
        super().__init__(problem)
        self.problem = problem
        self.choices = choices


def parse_send_at(typed: str, zone_name: str, fold: str, now: datetime) -> datetime:
    """Return the UTC second that a `datetime-local` field means, or raise TimeRefused.

    `fold` is "0" or "1", the first or second of two equal clock times; anything else makes such a
    time a question. `now` is aware.
    """
    if zone_name not in _zone_names():
        raise TimeRefused(TimeProblem.UNKNOWN_ZONE)
    local = _resolved(_clock_time(typed), zoneinfo.ZoneInfo(zone_name), fold)
    try:
        send_at = local.astimezone(UTC)
    except OverflowError:
        # The first or the last day of the calendar.
        problem = TimeProblem.TOO_SOON if local.year < now.year else TimeProblem.TOO_FAR
        raise TimeRefused(problem) from None
    if send_at < now + MIN_AHEAD:
        raise TimeRefused(TimeProblem.TOO_SOON)
    if send_at > now + MAX_AHEAD:
        raise TimeRefused(TimeProblem.TOO_FAR)
    return send_at


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - _PLACELESS_ZONES


def _clock_time(typed: str) -> datetime:
    text = typed.strip()
    if not _LOCAL_TIME.fullmatch(text):
        raise TimeRefused(TimeProblem.UNREADABLE)
    try:
        return datetime.fromisoformat(text).replace(microsecond=0)
    except ValueError:
        raise TimeRefused(TimeProblem.UNREADABLE) from None


def _resolved(clock_time: datetime, zone: zoneinfo.ZoneInfo, fold: str) -> datetime:
    """Return the one time meant; around a change of clocks the two folds differ (PEP 495)."""
    first = clock_time.replace(tzinfo=zone, fold=0)
    second = clock_time.replace(tzinfo=zone, fold=1)
    if _offset(first) < _offset(second):
        raise TimeRefused(TimeProblem.DOES_NOT_EXIST)
    if _offset(first) > _offset(second) and fold not in {"0", "1"}:
        raise TimeRefused(TimeProblem.EXISTS_TWICE, (first, second))
    return second if fold == "1" else first


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta(0)
