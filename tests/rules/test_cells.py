"""What a cell becomes in a text, and which column of a table holds what."""

from datetime import date, datetime, time
from decimal import Decimal

import pytest

from webapp.rules.cells import (
    Cell,
    Percent,
    cell_text,
    decode_cell,
    encode_cell,
    number_text,
    with_cents,
)
from webapp.rules.columns import heading_key, letter

DAY = date(2026, 11, 24)
MOMENT = datetime.fromisoformat("2026-11-24T14:30")


@pytest.mark.parametrize(
    ("cell", "german", "english"),
    [
        ("Anne", "Anne", "Anne"),
        ("", "", ""),
        (True, "ja", "yes"),
        (False, "nein", "no"),
        (Decimal(1713920010), "1713920010", "1713920010"),
        (Decimal("12.50"), "12,50", "12.50"),
        (Decimal("-1234.5"), "-1234,5", "-1234.5"),
        (Percent(Decimal(19)), "19 %", "19%"),
        (Percent(Decimal("19.5")), "19,5 %", "19.5%"),
        (DAY, "24.11.2026", "24.11.2026"),
        (MOMENT, "24.11.2026 14:30", "24.11.2026 14:30"),
        (time(8, 5), "08:05", "08:05"),
        (time(8, 5, 9), "08:05:09", "08:05:09"),
    ],
)
def test_what_a_cell_becomes(cell: Cell, german: str, english: str) -> None:
    assert cell_text(cell, language="de") == german
    assert cell_text(cell, language="en") == english
    assert decode_cell(encode_cell(cell)) == cell
    assert type(decode_cell(encode_cell(cell))) is type(cell)


@pytest.mark.parametrize(
    ("form", "german", "english"),
    [
        ("d.m.y", "24.11.2026", "24.11.2026"),
        ("weekday-d.m.", "Di 24.11.", "Tue 24 Nov"),
        ("weekday-d.-month", "Dienstag, 24. November", "Tuesday, 24 November"),
        ("d-mon-y", "24. Nov. 2026", "24 Nov 2026"),
    ],
)
def test_dates_are_written_as_chosen(form: str, german: str, english: str) -> None:
    assert cell_text(DAY, dates=form, language="de") == german
    assert cell_text(DAY, dates=form, language="en") == english
    assert cell_text(MOMENT, dates=form, language="en") == f"{english} 14:30"


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (["12.5", "12"], ["12.50", "12.00"]),
        (["12", "13"], ["12", "13"]),
        (["12.5", "12.345"], ["12.5", "12.345"]),
        (["0.05", "0.1"], ["0.05", "0.10"]),
    ],
)
def test_a_column_of_amounts_has_two_decimals(column: list[str], texts: list[str]) -> None:
    settled = with_cents(["x", *map(Decimal, column)])
    assert [cell_text(cell, language="en") for cell in settled] == ["x", *texts]


def test_a_number_in_a_column_of_amounts_is_whole_again() -> None:
    assert number_text(Decimal("1713920010.00")) == "1713920010"
    assert number_text(Decimal("1.5")) == "1,5"


@pytest.mark.parametrize(
    ("index", "name"), [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA")]
)
def test_columns_have_the_letters_of_spreadsheets(index: int, name: str) -> None:
    assert letter(index) == name


def test_names_of_columns_match_without_case_and_separators() -> None:
    assert {heading_key(name) for name in ("Handy-Nummer", "handy nummer", "HANDY_NUMMER")} == {
        "handynummer"
    }
