"""Texts: encoding, segments, and what may not be sent."""

import json
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.rules.text import (
    GSM7_BASIC,
    GSM7_EXTENSION,
    LOOK_ALIKES,
    MAX_SEGMENTS,
    Encoding,
    TextProblem,
    TextRefused,
    check_text,
    counter_table,
    normalise_text,
    segment,
)

# The default alphabet by code, written down a second time from 3GPP TS 23.038, 6.2.1.
BASIC_CODE_POINTS = [
    *[0x40, 0xA3, 0x24, 0xA5, 0xE8, 0xE9, 0xF9, 0xEC, 0xF2, 0xC7, 0x0A, 0xD8, 0xF8, 0x0D, 0xC5],
    *[0xE5, 0x394, 0x5F, 0x3A6, 0x393, 0x39B, 0x3A9, 0x3A0, 0x3A8, 0x3A3, 0x398, 0x39E, 0x1B],
    *[0xC6, 0xE6, 0xDF, 0xC9, 0x20, 0x21, 0x22, 0x23, 0xA4, *range(0x25, 0x40), 0xA1],
    *[*range(0x41, 0x5B), 0xC4, 0xD6, 0xD1, 0xDC, 0xA7, 0xBF, *range(0x61, 0x7B)],
    *[0xE4, 0xF6, 0xF1, 0xFC, 0xE0],
]
EXTENSION_CODE_POINTS = [0x0C, 0x5E, 0x7B, 0x7D, 0x5C, 0x5B, 0x7E, 0x5D, 0x7C, 0x20AC]
ESCAPE = 0x1B

FAMILY = "👨\u200d👩\u200d👧"
THUMB_WITH_SKIN_TONE = "👍🏽"
FLAG = "🇩🇪"

TRICKY_CHARACTERS = GSM7_BASIC + GSM7_EXTENSION + "ç`\t\u00a0„“–…’ẞ\u2126😀👍🏽🇩🇪\u200d\u0308\ud800"
TEXTS = st.one_of(
    st.text(alphabet=GSM7_BASIC.replace("\x1b", "") + GSM7_EXTENSION, max_size=700),
    st.text(alphabet=TRICKY_CHARACTERS, max_size=400),
    st.text(max_size=400),
)
# The time limit per example would measure the machine.
PROPERTY = settings(deadline=None, database=None)


def wire_units(text: str) -> list[int]:
    """Encode `text` as a phone network would: septets, or the 16-bit units of UTF-16."""
    alphabet = {point: [code] for code, point in enumerate(BASIC_CODE_POINTS) if point != ESCAPE}
    alphabet |= {point: [ESCAPE, point] for point in EXTENSION_CODE_POINTS}
    if all(ord(character) in alphabet for character in text):
        return [septet for character in text for septet in alphabet[ord(character)]]
    octets = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(octets[i : i + 2]) for i in range(0, len(octets), 2)]


def slow_segments(text: str) -> list[str]:
    """Cut `text` by taking, again and again, the longest beginning that still fits."""
    is_gsm7 = all(ord(c) in {*BASIC_CODE_POINTS, *EXTENSION_CODE_POINTS} - {ESCAPE} for c in text)
    single, part = (160, 153) if is_gsm7 else (70, 67)
    # One character that needs UCS-2 keeps each beginning in the encoding of the whole.
    forcing, cost = ("", 0) if is_gsm7 else ("ç", 1)
    room = (single if len(wire_units(text)) <= single else part) + cost
    segments = []
    while text:
        size = min(len(text), room)
        while len(wire_units(text[:size] + forcing)) > room:
            size -= 1
        segments.append(text[:size])
        text = text[size:]
    return segments


def refusal(text: str) -> TextRefused:
    with pytest.raises(TextRefused) as refused:
        check_text(text)
    return refused.value


# --- The alphabet -------------------------------------------------------------------------------


def test_the_basic_alphabet_has_each_character_at_its_code():
    assert [ord(character) for character in GSM7_BASIC] == BASIC_CODE_POINTS
    assert len(GSM7_BASIC) == 128


def test_the_extension_table_is_complete():
    assert sorted(map(ord, GSM7_EXTENSION)) == sorted(EXTENSION_CODE_POINTS)


@pytest.mark.parametrize("character", GSM7_BASIC.replace("\x1b", ""))
def test_a_basic_character_costs_one_septet(character):
    segmentation = segment(character)
    assert (segmentation.encoding, segmentation.unit_count) == (Encoding.GSM7, 1)


@pytest.mark.parametrize("character", GSM7_EXTENSION)
def test_an_extension_character_costs_two_septets(character):
    segmentation = segment(character)
    assert (segmentation.encoding, segmentation.unit_count) == (Encoding.GSM7, 2)


@pytest.mark.parametrize(
    "character", ["ç", "`", "\t", "\u00a0", *"„“”–—…’‘", "ẞ", "\u2126", "\x1b", "ő", "а", "中"]
)
def test_a_character_that_gsm7_lacks_forces_ucs2(character):
    segmentation = segment("Guten Tag" + character)
    assert segmentation.encoding is Encoding.UCS2
    assert segmentation.forcing == (character,)


def test_capital_c_with_cedilla_is_in_gsm7_and_the_small_one_is_not():
    assert segment("Ç").encoding is Encoding.GSM7
    assert segment("ç").encoding is Encoding.UCS2


def test_forcing_characters_are_named_once_in_the_order_of_the_text():
    assert segment("a–b…c–d„").forcing == ("–", "…", "„")


@pytest.mark.parametrize(
    "seen_as_one",
    [THUMB_WITH_SKIN_TONE, FAMILY, FLAG, "❤\ufe0f", "1\u20e3", "x\u0308", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "👩🏽\u200d🔬"],
)
def test_what_a_reader_takes_for_one_character_is_named_whole(seen_as_one):
    assert segment(f"a{seen_as_one}–{FLAG}{FLAG}😀").forcing == tuple(
        dict.fromkeys((seen_as_one, "–", FLAG, "😀"))
    )


@pytest.mark.parametrize(
    ("emoji", "unit_count"),
    [("😀", 2), (THUMB_WITH_SKIN_TONE, 4), (FAMILY, 8), (FLAG, 4), ("❤\ufe0f", 2), ("1\u20e3", 2)],
)
def test_an_emoji_costs_its_utf16_units(emoji, unit_count):
    assert segment(emoji).unit_count == unit_count


# --- Segments -----------------------------------------------------------------------------------


def test_the_empty_text_has_no_segment():
    segmentation = segment("")
    assert (segmentation.segment_count, segmentation.unit_count) == (0, 0)
    assert (segmentation.starts, segmentation.units_left) == ((), 160)


@pytest.mark.parametrize(
    ("text", "segment_count", "units_left", "starts"),
    [
        ("a", 1, 159, (0,)),
        ("a" * 160, 1, 0, (0,)),
        ("a" * 161, 2, 145, (0, 153)),
        ("a" * 306, 2, 0, (0, 153)),
        ("a" * 307, 3, 152, (0, 153, 306)),
        ("a" * 1530, 10, 0, tuple(range(0, 1530, 153))),
        ("a" * 158 + "€", 1, 0, (0,)),
        ("a" * 159 + "€", 2, 145, (0, 153)),
        ("€" * 80, 1, 0, (0,)),
        ("€" * 81, 2, 143, (0, 76)),
        ("a" * 152 + "€" + "a" * 10, 2, 141, (0, 152)),
        ("a" * 152 + "\f" + "a" * 10, 2, 141, (0, 152)),
        ("a" * 151 + "€" + "a" * 10, 2, 143, (0, 152)),
        ("ç", 1, 69, (0,)),
        ("ç" * 70, 1, 0, (0,)),
        ("ç" * 71, 2, 63, (0, 67)),
        ("ç" * 134, 2, 0, (0, 67)),
        ("ç" * 135, 3, 66, (0, 67, 134)),
        ("ç" * 670, 10, 0, tuple(range(0, 670, 67))),
        ("😀" * 35, 1, 0, (0,)),
        ("😀" * 36, 2, 61, (0, 33)),
        ("ç" * 66 + "😀" * 3, 2, 61, (0, 66)),
        ("ç" * 66 + FLAG + "ç", 2, 62, (0, 66)),
        ("€" * 36 + "ç", 1, 33, (0,)),
    ],
)
def test_segments_begin_where_the_standard_says(text, segment_count, units_left, starts):
    segmentation = segment(text)
    assert segmentation.segment_count == segment_count
    assert segmentation.units_left == units_left
    assert segmentation.starts == starts


@PROPERTY
@given(TEXTS)
def test_segments_agree_with_a_slow_and_independent_count(text):
    segmentation = segment(text)
    bounds = [*segmentation.starts, len(text)]
    segments = [text[bounds[i] : bounds[i + 1]] for i in range(segmentation.segment_count)]
    assert segments == slow_segments(text)
    assert segmentation.unit_count == len(wire_units(text))
    assert (segmentation.encoding is Encoding.UCS2) == bool(segmentation.forcing)


def test_the_counter_gets_the_same_table_as_json():
    table = json.loads(json.dumps(counter_table()))
    assert len(table["basic"]) == 127
    assert table["extension"] == GSM7_EXTENSION
    assert table["gsm7"] == [160, 153]
    assert table["ucs2"] == [70, 67]
    assert table["max_segments"] == MAX_SEGMENTS


@pytest.mark.parametrize("character", LOOK_ALIKES)
def test_a_look_alike_replaces_a_dear_character_by_a_cheap_one(character):
    assert segment(character).encoding is Encoding.UCS2
    assert segment(LOOK_ALIKES[character]).encoding is Encoding.GSM7


# --- Normalising --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "normalised"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("\r\r\n\n", "\n\n\n"),
        ("fu\u0308r", "für"),
        ("\u2126", "Ω"),
        ("  two blanks stay  ", "  two blanks stay  "),
        ("{0:>1000000} %s ${x} {{7*7}} <script>", "{0:>1000000} %s ${x} {{7*7}} <script>"),
        ("ﬁ², …", "ﬁ², …"),
    ],
)
def test_line_ends_and_composition_are_all_that_changes(typed, normalised):
    assert normalise_text(typed) == normalised


def test_a_decomposed_umlaut_is_gsm7_once_normalised():
    assert segment("u\u0308").encoding is Encoding.UCS2
    assert segment(normalise_text("u\u0308")).encoding is Encoding.GSM7


def test_every_text_that_fits_once_composed_is_composed():
    longest = unicodedata.normalize("NFD", "\u1f82") * 670
    assert check_text(normalise_text(longest)).segment_count == 10


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\t ", "\u00a0", "\u200b\u2060\ufeff", "\u3164", "\u2800", "\u2028", "\ufe0f"],
)
def test_a_text_that_shows_nothing_is_refused(text):
    assert refusal(text).problem is TextProblem.EMPTY


@pytest.mark.parametrize("text", [".", "0", " a ", "\u200b1", "😀", "\ufffd"])
def test_a_text_that_shows_anything_is_not_empty(text):
    assert check_text(text).segment_count == 1


@pytest.mark.parametrize(("unit", "count"), [("a", 1530), ("ç", 670), ("😀", 330), ("€", 760)])
def test_ten_full_segments_are_taken(unit, count):
    assert check_text(unit * count).segment_count == MAX_SEGMENTS


@pytest.mark.parametrize(
    ("unit", "count", "segment_count"),
    [("a", 1531, "11"), ("ç", 671, "11"), ("😀", 331, "11"), ("€", 761, "11"), ("a", 10**5, "654")],
)
def test_more_than_ten_segments_are_refused_with_their_count(unit, count, segment_count):
    refused = refusal(unit * count)
    assert (refused.problem, refused.detail) == (TextProblem.TOO_LONG, segment_count)


@pytest.mark.parametrize(
    ("character", "code_point"),
    [
        ("\x00", "U+0000"),
        ("\x08", "U+0008"),
        ("\x0b", "U+000B"),
        ("\f", "U+000C"),
        ("\r", "U+000D"),
        ("\x1b", "U+001B"),
        ("\x7f", "U+007F"),
        ("\x85", "U+0085"),
    ],
)
def test_a_control_character_is_refused_by_its_code_point(character, code_point):
    refused = refusal("Hello" + character)
    assert (refused.problem, refused.detail) == (TextProblem.CONTROL_CHARACTER, code_point)


def test_line_feed_and_tab_are_taken():
    assert check_text("a\nb\tc").segment_count == 1


@pytest.mark.parametrize("text", ["\ud83d", "Hello \ude00", "\ud83d\ude00"])
def test_a_lone_surrogate_is_refused(text):
    refused = refusal(text)
    assert refused.problem is TextProblem.LONE_SURROGATE
    assert refused.detail == f"U+{ord(next(c for c in text if c > chr(0xD7FF))):04X}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\x00\ud800", TextProblem.LONE_SURROGATE),
        ("\x00", TextProblem.CONTROL_CHARACTER),
        ("\x00" * 2000, TextProblem.CONTROL_CHARACTER),
        (" " * 2000, TextProblem.EMPTY),
    ],
)
def test_the_more_basic_problem_is_named_first(text, problem):
    assert refusal(text).problem is problem


@pytest.mark.parametrize("unit", ["a", "€", "😀", "\u0301\u0316", "\r\n", " ", "\u200b", "u\u0308"])
def test_a_megabyte_is_refused_at_once(unit):
    text = unit * (1_000_000 // len(unit))
    began_s = time.perf_counter()
    refusal(normalise_text(text))
    assert time.perf_counter() - began_s < 5
