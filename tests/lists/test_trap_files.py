"""Files that people really have, and what each must give: `EXPECTED.tsv`, beside them.

How many can be sent is for the check of a list to say; here it is how many rows are read, which are
hidden, and what is asked or refused.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from webapp.messages.lists.reading import ListRefused, ReadList, read, read_cells

FOLDER = Path(__file__).parent / "files"
EXPECTED = Path(__file__).parent / "EXPECTED.tsv"
ROWS_ELSEWHERE = {
    "45-same-person-many-spellings.csv": 4,
    "52-terms-dst-past.csv": 9,
    "61-types.xlsx": 9,
    "lo-61-types.xlsx": 9,
    "lo-63-several-sheets-first-hidden.ods": 3,
    "lo-63-several-sheets-first-hidden.xlsx": 3,
}
"""Where the sendable ones say nothing of the rows, or another file is named."""


def expectations() -> Iterator[tuple[str, str]]:
    for line in EXPECTED.read_text().splitlines()[1:]:
        name, expected, *_ = line.split("\t")
        yield name, expected


@cache
def from_file(name: str) -> ReadList | ListRefused:
    try:
        return read((FOLDER / name).read_bytes(), name=name)
    except ListRefused as refused:
        return refused


def found(name: str) -> ReadList:
    read = from_file(name)
    assert isinstance(read, ReadList)
    return read


REFUSED = [(name, code[8:]) for name, code in expectations() if code.startswith("refused:")]
READ = [(name, what) for name, what in expectations() if not what.startswith("refused:")]


@pytest.mark.parametrize(("name", "code"), REFUSED)
def test_what_cannot_be_read_has_a_code_of_its_own(name: str, code: str) -> None:
    refused = from_file(name)
    assert isinstance(refused, ListRefused)
    row = "" if refused.row is None else f"@{refused.row}"
    assert refused.code + row == code
    assert refused.name == name


@pytest.mark.parametrize(("name", "expected"), READ)
def test_every_row_is_read(name: str, expected: str) -> None:
    table = found(name)
    counts = dict(re.findall(r"(ok|bad|hidden):(\d+)", expected))
    rows = ROWS_ELSEWHERE.get(name) or sum(map(int, counts.values()))
    assert len(table.rows) == rows
    assert sum(row.is_hidden for row in table.rows) == int(counts.get("hidden", 0))


@pytest.mark.parametrize(("name", "expected"), READ)
def test_only_what_cannot_be_known_is_asked(name: str, expected: str) -> None:
    is_question = "question" in expected or expected == "as 63"
    assert bool(found(name).questions) == is_question


def test_there_are_62_files_and_none_is_forgotten() -> None:
    assert sorted(name for name, _ in expectations()) == sorted(p.name for p in FOLDER.iterdir())


def test_pasted_cells_go_the_same_way() -> None:
    pasted = read_cells((FOLDER / "44-pasted-cells.txt").read_text())
    assert pasted.format == "cells"
    assert pasted.rows == found("44-pasted-cells.txt").rows
