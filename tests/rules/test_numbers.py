"""Recipients: how people write numbers, and which numbers are refused and why."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webapp.rules.numbers import (
    NumberKind,
    RecipientProblem,
    RecipientRefused,
    country_of,
    is_sendable,
    mask,
    number_cell,
    number_kind,
    parse_listed,
    parse_recipient,
    recipient_rows,
    split_recipients,
)

# A number that the Bundesnetzagentur keeps free for films and books.
E164 = "+491713920000"

PHONE_LIKE_TEXT = st.text(alphabet="0123456789+-/.() ;,extl:=#*\n\u00a0\u200e٠０＋", max_size=40)
PROPERTY = settings(deadline=None, database=None)


def refusal(typed: str, region: str = "DE") -> RecipientRefused:
    with pytest.raises(RecipientRefused) as refused:
        parse_recipient(typed, region)
    return refused.value


# --- Spellings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        "+491713920000",
        "00491713920000",
        "01713920000",
        "491713920000",
        "1713920000",
        "0171 3920000",
        "0171/3920000",
        "0171.392.00.00",
        "0171-3920000",
        "0171\u20113920000",
        "0171 – 3920000",
        "0171\u22123920000",
        "(0171) 3920000",
        "[0171] 3920000",
        "+49 171 3920000",
        "(+49) 171 3920000",
        "+49 (0)171 3920000",
        "+49 ( 0 ) 171 3920000",
        "+49 (0171) 3920000",
        "+49 0171 3920000",
        "0049 (0) 171 3920000",
        "49 (0) 171 3920000",
        "00 49 / 171 / 392 - 0000",
        "+49\u00a0171\u202f392\u20090000",
        "\t0171 3920000\n",
        "0171\t3920000",
        "\ufeff01713920000",
        "\u200e+49\u200b171\u2060392\u202c0000\u200f",
        "\u202d+49 171 3920000\u202c",
        "01\u00ad71 3920000",
        "tel:+491713920000",
        "TEL:0171-3920000",
        " Tel: 0171 3920000",
        "\ufefftel:\u00a00171 3920000",
        "＋４９（０）１７１　３９２００００",
        "０１７１－３９２００００",
        "٠١٧١٣٩٢٠٠٠٠",
        "०१७१३९२००००",
    ],
)
def test_a_number_is_understood_as_people_write_it(typed):
    assert parse_recipient(typed, "DE") == E164


@pytest.mark.parametrize(
    ("typed", "region", "e164"),
    [
        ("+39 06 12345678", "DE", "+390612345678"),
        ("+39 (0)6 12345678", "DE", "+390612345678"),
        ("+45 (0)20 12 34 56", "DE", "+4520123456"),
        ("+44 (0) 7911 123456", "DE", "+447911123456"),
        ("0043 664 1234567", "DE", "+436641234567"),
        ("+41 79 123 45 67", "DE", "+41791234567"),
        ("0664 1234567", "AT", "+436641234567"),
        ("436641234567", "AT", "+436641234567"),
        ("45 67 89 01", "DK", "+4545678901"),
        ("45 20 12 34 56", "DK", "+4520123456"),
        ("393 123 4567", "IT", "+393931234567"),
        ("(415) 555-2671", "US", "+14155552671"),
        ("1 415 555 2671", "US", "+14155552671"),
        ("+491713920000", "US", E164),
    ],
)
def test_other_countries_keep_their_own_habits(typed, region, e164):
    assert parse_recipient(typed, region) == e164


@pytest.mark.parametrize(
    "prefix",
    [
        *("0150", "0151", "0152", "0155", "0156", "0157", "0159"),
        *("0160", "0162", "0163"),
        *(f"017{digit}" for digit in range(10)),
    ],
)
def test_every_german_mobile_prefix_is_accepted(prefix):
    digits = "23456789" if prefix.startswith("015") else "2345678"
    e164 = parse_recipient(prefix + digits, "DE")
    assert e164 == "+49" + prefix[1:] + digits
    assert number_kind(e164) is NumberKind.MOBILE


@pytest.mark.parametrize("first", [491713920000, 4917604069000])
def test_the_numbers_kept_free_for_fiction_are_accepted(first):
    numbers = [f"+{first + offset}" for offset in range(100)]
    assert [parse_recipient(number, "DE") for number in numbers] == numbers


# --- Refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("", RecipientProblem.EMPTY),
        (" \u00a0\t\n", RecipientProblem.EMPTY),
        ("\u200b\ufeff", RecipientProblem.EMPTY),
        ("---", RecipientProblem.EMPTY),
        ("( )", RecipientProblem.EMPTY),
        ("tel:", RecipientProblem.EMPTY),
        ("../", RecipientProblem.EMPTY),
        ("Anna", RecipientProblem.LETTERS),
        ("Tel. 0151 23456789", RecipientProblem.LETTERS),
        ("0171 392O000", RecipientProblem.LETTERS),
        ("0800 FLOWERS", RecipientProblem.LETTERS),
        ("4.91714E+11", RecipientProblem.LETTERS),
        ("0171 3920000 (privat)", RecipientProblem.LETTERS),
        ("0171 3920000 电话", RecipientProblem.LETTERS),
        ("'; DROP TABLE messages", RecipientProblem.LETTERS),
        ("+491713920000\r\nX-Header: 1", RecipientProblem.LETTERS),
        ("=+491713920000", RecipientProblem.STRANGE_CHARACTER),
        ("+491713920000'", RecipientProblem.STRANGE_CHARACTER),
        ('"}', RecipientProblem.STRANGE_CHARACTER),
        ("{{7*7}}", RecipientProblem.STRANGE_CHARACTER),
        ("0171 392?000", RecipientProblem.STRANGE_CHARACTER),
        ("*100#", RecipientProblem.STRANGE_CHARACTER),
        ("0171 3920000²", RecipientProblem.STRANGE_CHARACTER),
        ("0171 3920000\x00", RecipientProblem.STRANGE_CHARACTER),
        ("0171 3920000\ud800", RecipientProblem.STRANGE_CHARACTER),
        ("491713920000.0", RecipientProblem.STRANGE_CHARACTER),
        ("++491713920000", RecipientProblem.PLUS_INSIDE),
        ("+49+1713920000", RecipientProblem.PLUS_INSIDE),
        ("01713920000+", RecipientProblem.PLUS_INSIDE),
        ("+491713920000 +491713920001", RecipientProblem.PLUS_INSIDE),
        ("01713920000, 01713920001", RecipientProblem.SEVERAL),
        ("01713920000;01713920001", RecipientProblem.SEVERAL),
        ("0171392\n0000", RecipientProblem.SEVERAL),
        ("+491713920000;ext=12", RecipientProblem.EXTENSION),
        ("tel:+491713920000;EXT=12", RecipientProblem.EXTENSION),
        ("0171 3920000 ext. 12", RecipientProblem.EXTENSION),
        ("0171 3920000 x12", RecipientProblem.EXTENSION),
        ("0171 3920000 #12", RecipientProblem.EXTENSION),
        ("ext=12", RecipientProblem.EXTENSION),
        ("+", RecipientProblem.TOO_SHORT),
        ("7", RecipientProblem.TOO_SHORT),
        ("12", RecipientProblem.TOO_SHORT),
        ("0171", RecipientProblem.TOO_SHORT),
        ("+49151", RecipientProblem.TOO_SHORT),
        ("0171 39200", RecipientProblem.TOO_SHORT),
        ("0171 392000012", RecipientProblem.TOO_LONG),
        ("1" * 16, RecipientProblem.TOO_LONG),
        ("+" + "4" * 16, RecipientProblem.TOO_LONG),
        ("0171 3920000 / 0171 3920001", RecipientProblem.TOO_LONG),
        ("+999 123456789", RecipientProblem.UNKNOWN_COUNTRY),
        ("+0171 3920000", RecipientProblem.UNKNOWN_COUNTRY),
        ("0151 2345678", RecipientProblem.NOT_A_NUMBER),
        ("491511234567", RecipientProblem.NOT_A_NUMBER),
        ("+49 153 23456789", RecipientProblem.NOT_A_NUMBER),
        ("+43 11234", RecipientProblem.TOO_SHORT),
    ],
)
def test_what_is_no_number_is_refused_with_its_reason(typed, problem):
    refused = refusal(typed)
    assert refused.problem is problem
    assert refused.typed == typed


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("110", RecipientProblem.EMERGENCY),
        ("112", RecipientProblem.EMERGENCY),
        ("1 1 0", RecipientProblem.EMERGENCY),
        ("+49110", RecipientProblem.EMERGENCY),
        ("+49 (0) 112", RecipientProblem.EMERGENCY),
        ("0049112", RecipientProblem.EMERGENCY),
        ("49110", RecipientProblem.EMERGENCY),
        ("+44 999", RecipientProblem.EMERGENCY),
        ("115", RecipientProblem.SHORT_CODE),
        ("22000", RecipientProblem.SHORT_CODE),
        ("116117", RecipientProblem.SHORT_CODE),
        ("+49 116117", RecipientProblem.SHORT_CODE),
        ("11833", RecipientProblem.SHORT_CODE),
        ("0900 1 234567", RecipientProblem.PREMIUM),
        ("+49 900 3 123456", RecipientProblem.PREMIUM),
        ("0900 12", RecipientProblem.PREMIUM),
        ("+1 900 555 1234", RecipientProblem.PREMIUM),
        ("0137 1234567", RecipientProblem.MASS_CALL),
        ("01377 123456", RecipientProblem.MASS_CALL),
        ("0137 123", RecipientProblem.MASS_CALL),
        ("01805 123456", RecipientProblem.SHARED_COST),
        ("01801 123456", RecipientProblem.SHARED_COST),
        ("+41 840 123456", RecipientProblem.SHARED_COST),
        ("+44 55 1234 5678", RecipientProblem.COMPANY_WIDE),
        ("0168 1234567", RecipientProblem.PAGER),
        ("0164 1234567", RecipientProblem.PAGER),
        ("0177 99 1234567", RecipientProblem.VOICEMAIL),
    ],
)
def test_a_service_that_no_text_may_go_to_is_refused_with_its_reason(typed, problem):
    assert refusal(typed).problem is problem


@pytest.mark.parametrize("typed", ["112", "911", "+1 911"])
def test_emergency_numbers_are_those_of_the_region(typed):
    assert refusal(typed, "US").problem is RecipientProblem.EMERGENCY


def test_an_unknown_region_still_reads_international_numbers():
    assert parse_recipient(E164, "XX") == E164
    assert refusal("01713920000", "XX").problem is RecipientProblem.UNKNOWN_COUNTRY


def test_a_refusal_keeps_the_number_out_of_its_text():
    assert "392" not in repr(refusal("0171 392O000"))


@pytest.mark.parametrize(
    "unit", ["0", "+", "(", "(0)", " ", "\u200b", "a", "x1", ";ext=", ".0", "٠"]
)
def test_a_megabyte_is_refused_at_once(unit):
    typed = unit * (1_000_000 // len(unit))
    began_s = time.perf_counter()
    refusal(typed)
    split_recipients(typed)
    assert time.perf_counter() - began_s < 5


@PROPERTY
@given(st.one_of(st.text(max_size=60), PHONE_LIKE_TEXT), st.sampled_from(["DE", "IT", "DK", "US"]))
@example("+49171392000\u0660", "DE")
@example("(+)", "DE")
@example(")(", "US")
def test_any_text_gives_a_sendable_number_or_a_refusal(typed, region):
    try:
        e164 = parse_recipient(typed, region)
    except RecipientRefused:
        return
    assert is_sendable(e164)
    assert parse_recipient(e164, region) == e164


# --- The last check -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["+491713920000", "+6834002", "+123456789012345"])
def test_plain_e164_may_reach_the_wire(number):
    assert is_sendable(number)


@pytest.mark.parametrize(
    "number",
    [
        *("", "+", "491713920000", "01713920000", "+049171392", "+123456", "+1234567890123456"),
        *("+491713920000\n", " +491713920000", "+49 1713920000", "+49171392000a"),
        *("+49171392000\u0660", "＋491713920000", "+49171392000０"),
    ],
)
def test_nothing_else_may_reach_the_wire(number):
    assert not is_sendable(number)


# --- Several in one field -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("", []),
        (" ,;\r\n\u200b", []),
        ("0171 1", ["0171 1"]),
        ("a, b;c\nd\r\ne\rf", ["a", "b", "c", "d", "e", "f"]),
        (" \u00a0a ,, b; ", ["a", "b"]),
        ("b,a,b", ["b", "a", "b"]),
        ("Name", ["Name"]),
        ("Mobile\n0171 1\n0171 2", ["0171 1", "0171 2"]),
        ("Anna, 0171 3920012", ["Anna", "0171 3920012"]),
        ("0171 3920012; 0171 3920013", ["0171 3920012", "0171 3920013"]),
    ],
)
def test_recipients_are_split_at_commas_semicolons_and_line_ends(typed, parts):
    assert recipient_rows(typed) == [(part,) for part in parts]


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        ("Müller\t0171 3920012", [("Müller", "0171 3920012")]),
        ("\tMüller\t\t0171 3920012\t\n", [("Müller", "0171 3920012")]),
        ("Müller;Anna;0171 3920012", [("Müller", "Anna", "0171 3920012")]),
        (
            "Name\tHandy-Nr.\r\nMüller\t0171 3920012\r\nMeier\t0171 3920013",
            [("Müller", "0171 3920012"), ("Meier", "0171 3920013")],
        ),
        ("Vorname;Mobil\nAnna;0171 3920012", [("Anna", "0171 3920012")]),
        # No word of a head: somebody whose number is missing is not left out.
        ("Meier\tHans\nMüller\t0171 3920012", [("Meier", "Hans"), ("Müller", "0171 3920012")]),
    ],
)
def test_a_line_of_a_spreadsheet_is_one_recipient(typed, rows):
    assert recipient_rows(typed) == rows


@pytest.mark.parametrize(
    ("cells", "number"),
    [
        (("0171 12",), "0171 12"),
        (("Müller", "0171 3920012"), "0171 3920012"),
        (("Müller", "030 1234567", "0171 3920012", "10115"), "0171 3920012"),
        (("Müller", "171 3920012"), "171 3920012"),
        (("Müller", "030 1234567"), "030 1234567"),
        (("Müller", "0171 3920012", "+49 171 3920012"), "+49 171 3920012"),
        (("Müller", "0171 12", "7"), "0171 12"),
        (("Meier", "Hans"), "Meier"),
    ],
)
def test_of_a_line_the_mobile_number_counts(cells, number):
    assert number_cell(cells, "DE") == number


def test_two_mobile_numbers_in_a_line_are_asked_about():
    with pytest.raises(RecipientRefused) as refused:
        number_cell(("Müller", "0171 3920012", "0171 3920013"), "DE")
    assert refused.value.problem is RecipientProblem.SEVERAL


def test_a_megabyte_of_cells_is_read_at_once():
    began_s = time.perf_counter()
    [row] = recipient_rows("Müller" + "\t01713920012" * 80_000)
    number_cell(row, "DE")
    assert time.perf_counter() - began_s < 2


# --- What a number is ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("e164", "kind", "country"),
    [
        ("+491713920000", NumberKind.MOBILE, "DE"),
        ("+493023125000", NumberKind.LANDLINE, "DE"),
        ("+498001234567", NumberKind.FREEPHONE, "DE"),
        ("+4970012345678", NumberKind.OTHER, "DE"),
        ("+14155552671", NumberKind.MOBILE, "US"),
        ("+41791234567", NumberKind.MOBILE, "CH"),
        ("+80012345678", NumberKind.FREEPHONE, None),
        ("+999123456789", NumberKind.OTHER, None),
        ("not a number", NumberKind.OTHER, None),
    ],
)
def test_kind_and_country_are_read_from_the_number(e164, kind, country):
    assert number_kind(e164) is kind
    assert country_of(e164) == country


@pytest.mark.parametrize(
    ("number", "masked"), [(E164, "…000"), ("+491713920042", "…042"), ("", "…")]
)
def test_logs_show_the_last_three_digits(number, masked):
    assert mask(number) == masked


# --- Numbers that have been through a spreadsheet -----------------------------------------------


@pytest.mark.parametrize(
    ("typed", "is_repaired"),
    [
        ("0171 3920000", False),
        ("491713920000", False),
        ("0049 171 3920000", False),
        ('="01713920000"', False),
        ("=+491713920000", False),
        ("'01713920000", False),
        ("'0171 3920000'", False),
        ("1713920000", True),
        ("17 13 92 00 00", True),
        ("491713920000,0", True),
        ("491713920000.00", True),
        ("1713920000.0", True),
    ],
)
def test_a_spreadsheets_damage_is_undone(typed: str, is_repaired: bool) -> None:
    listed = parse_listed(typed, "DE")
    assert (listed.number, listed.is_repaired) == (E164, is_repaired)


@pytest.mark.parametrize("typed", ["4.91713920014E+11", "4,91713920014e11", '="4.91713920014E+11"'])
def test_an_exponent_that_has_all_digits_is_undone(typed: str) -> None:
    listed = parse_listed(typed, "DE")
    assert (listed.number, listed.is_repaired) == ("+491713920014", True)


@pytest.mark.parametrize("typed", ["4,91714E+11", "4.92E+11", "4E+11", "1,71392E+09"])
def test_a_number_that_lost_digits_is_somebody_elses(typed: str) -> None:
    with pytest.raises(RecipientRefused) as refused:
        parse_listed(typed, "DE")
    assert refused.value.problem is RecipientProblem.DIGITS_LOST
    assert refused.value.typed == typed


@pytest.mark.parametrize("typed", ["0", "", "12,50", "491713920000,5"])
def test_other_numbers_in_cells_stay_refused(typed: str) -> None:
    with pytest.raises(RecipientRefused):
        parse_listed(typed, "DE")
