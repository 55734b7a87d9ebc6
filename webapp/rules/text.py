"""The text of a message: which characters it may have, and how many segments it needs.

Refusals carry a reason; the sentences for them are in `webapp/i18n/sentences.py`.
"""

import enum
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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

LOOK_ALIKES = (
    dict.fromkeys("„“”‟«»", '"')
    | dict.fromkeys("‚‘’‛‹›`´", "'")
    | dict.fromkeys("‐‑‒–—―−", "-")
    | dict.fromkeys("\t\u00a0\u2007\u2009\u202f", " ")
    | {"…": "..."}
)
"""What word processors insert and GSM-7 lacks, and what GSM-7 has instead. The page offers to
replace these; nothing is replaced without being asked."""

_GSM7_CHARACTERS = frozenset(GSM7_BASIC + GSM7_EXTENSION) - {_ESCAPE}

# 140 octets hold 160 septets or 70 UTF-16 units. In a text of several segments, 6 octets of each
# go to the header that puts them together again (3GPP TS 23.040, 9.2.3.24.1).
GSM7_SINGLE_SEPTETS = 160
GSM7_PART_SEPTETS = 153
UCS2_SINGLE_UNITS = 70
UCS2_PART_UNITS = 67

# At most four characters compose to one under NFC, so no longer text can fit.
_MAX_CHARACTERS_TO_COMPOSE = 4 * MAX_SEGMENTS * GSM7_PART_SEPTETS

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORBIDDEN_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PLACEHOLDER = re.compile(r"\(\(([^()\n]{1,40})\)\)")
_BLANK_CATEGORIES = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Invisible although Unicode calls them letters, marks or symbols: the grapheme joiner, the Hangul
# fillers, the empty Braille pattern, the variation selectors of text and emoji.
_BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u2800\u3164\ufe0e\ufe0f\uffa0")

_JOINER = "\u200d"
# Part of the character before, like combining marks: joiners, skin tones, and the tags of regional
# flags (Unicode Standard Annex 29).
_EXTENDING = frozenset(
    map(chr, (0x200C, 0x200D, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)))
)


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
    """The characters that GSM-7 lacks, each once, in the order of the text."""


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
    """What the counter in the browser needs to agree with `segment`, ready for JSON."""
    return {
        "basic": GSM7_BASIC.replace(_ESCAPE, ""),
        "extension": GSM7_EXTENSION,
        "gsm7": (GSM7_SINGLE_SEPTETS, GSM7_PART_SEPTETS),
        "ucs2": (UCS2_SINGLE_UNITS, UCS2_PART_UNITS),
        "max_segments": MAX_SEGMENTS,
        "look_alikes": LOOK_ALIKES,
    }


def segment(text: str) -> Segmentation:
    """Cut `text` into segments; the empty text has none.

    GSM-7: 160, then 153 septets; else UCS-2: 70, then 67 UTF-16 units (3GPP TS 23.038, 23.040).
    Neither an extension character nor a surrogate pair straddles a border.
    """
    is_gsm7 = _GSM7_CHARACTERS.issuperset(text)
    if not is_gsm7:
        encoding, single, part = Encoding.UCS2, UCS2_SINGLE_UNITS, UCS2_PART_UNITS
        widths = [2 if c > "\uffff" else 1 for c in text]
    else:
        encoding, single, part = Encoding.GSM7, GSM7_SINGLE_SEPTETS, GSM7_PART_SEPTETS
        widths = [2 if c in GSM7_EXTENSION else 1 for c in text]
    unit_count = sum(widths)
    room = single if unit_count <= single else part
    starts, used = _pack(widths, room)
    # Splitting is slow, and not needed for a text that is too long in any form.
    seen = _graphemes(text) if len(text) <= _MAX_CHARACTERS_TO_COMPOSE else text
    dear = () if is_gsm7 else (one for one in seen if not _GSM7_CHARACTERS.issuperset(one))
    forcing = tuple(dict.fromkeys(dear))
    return Segmentation(encoding, len(starts), unit_count, room - used, tuple(starts), forcing)


def _graphemes(text: str) -> Iterator[str]:
    """Split into what a reader sees as one character: an emoji and its skin tone are one."""
    start, half_a_flag = 0, False
    for i, c in enumerate(text):
        ends_flag = half_a_flag and "\U0001f1e6" <= c <= "\U0001f1ff"
        if i and not ends_flag and not _extends(c, text[i - 1]):
            yield text[start:i]
            start = i
        half_a_flag = "\U0001f1e6" <= c <= "\U0001f1ff" and not ends_flag
    yield text[start:]


def _extends(c: str, before: str) -> bool:
    category = unicodedata.category(c)
    is_part = category.startswith("M") or c in _EXTENDING
    return before != "\n" and (is_part or (before == _JOINER and category == "So"))


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

    A text that is too long in any form is not composed: that takes quadratic time on a run of
    combining marks.
    """
    text = typed.replace("\r\n", "\n").replace("\r", "\n")
    if len(text) > _MAX_CHARACTERS_TO_COMPOSE:
        return text
    return unicodedata.normalize("NFC", text)


def check_text(text: str) -> Segmentation:
    """Return the segments of a normalised text, or raise TextRefused."""
    check_characters(text)
    if is_blank(text):
        raise TextRefused(TextProblem.EMPTY)
    segmentation = segment(text)
    if segmentation.segment_count > MAX_SEGMENTS:
        raise TextRefused(TextProblem.TOO_LONG, str(segmentation.segment_count))
    return segmentation


def check_characters(text: str) -> None:
    """Raise TextRefused for a character that no text may contain."""
    if lone := _SURROGATE.search(text):
        raise TextRefused(TextProblem.LONE_SURROGATE, _code_point(lone[0]))
    if control := _FORBIDDEN_CONTROL.search(text):
        raise TextRefused(TextProblem.CONTROL_CHARACTER, _code_point(control[0]))


def placeholders(text: str) -> tuple[str, ...]:
    """The names in placeholders such as `((first name))`, each once, in the order of the text."""
    return tuple(dict.fromkeys(name.strip() for name in _PLACEHOLDER.findall(text)))


def check_unfilled(text: str) -> None:
    """Raise TextRefused for a text that cannot be sent, whatever its placeholders become."""
    check_characters(text)
    if len(text) > _MAX_CHARACTERS_TO_COMPOSE:
        raise TextRefused(TextProblem.TOO_LONG, str(len(text) // GSM7_PART_SEPTETS))


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace each placeholder whose whole name is in `values`. Values are inserted as they are."""
    return _PLACEHOLDER.sub(lambda found: values.get(found[1].strip(), found[0]), text)


def filled(text: str, values: Mapping[str, str]) -> str:
    """`fill_placeholders`, normalised. Raises TextRefused before it makes a text that is far too
    long: a name that occurs 300 times multiplies each typed character by 300."""
    length = sum(len(values.get(name.strip(), name)) for name in _PLACEHOLDER.findall(text))
    if length > _MAX_CHARACTERS_TO_COMPOSE:
        raise TextRefused(TextProblem.TOO_LONG, str(length // GSM7_PART_SEPTETS))
    return normalise_text(fill_placeholders(text, values))


def joined(typed: str, template: str, templates: Iterable[str]) -> str:
    """The text after a template was chosen: what was typed stays, and the template follows it.

    Only a text that is one of the templates, untouched, gives way to the new one.
    """
    before = normalise_text(typed)
    if is_blank(before) or before in templates:
        return template
    return f"{before}\n{template}"


def _code_point(character: str) -> str:
    return f"U+{ord(character):04X}"


def is_blank(text: str) -> bool:
    """Whether nothing of it is visible."""
    return all(unicodedata.category(c) in _BLANK_CATEGORIES or c in _BLANK_CHARACTERS for c in text)
