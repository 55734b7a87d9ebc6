"""Files that are made to exhaust whoever reads them, and files that are damaged at random.

Each is one of our codes, quickly and with little memory, and the process that asked lives on.
"""

import json
import os
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.lists import made
from webapp import list_reader
from webapp.messages.lists import reading
from webapp.messages.lists.reading import ListRefused, read

FILES = Path(__file__).parent / "files"
MAX_MEMORY_KIB = 64 * 1024
MAX_S = 2.0
MUTANTS = int(os.environ.get("LIST_MUTANTS", "40"))
"""`make list-mutants` takes 2,000."""

# Between the tests, whose memory a child would inherit, and the script that is measured.
MEASURE = """
import json, resource, subprocess, sys, time
started = time.monotonic()
done = subprocess.run([sys.executable, "-I", sys.argv[1]], input=sys.stdin.buffer.read(),
                      capture_output=True, env={}, cwd="/")
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([done.returncode, done.stdout[:300].decode("utf-8", "replace"), usage.ru_maxrss,
                  usage.ru_utime + usage.ru_stime]))
"""


def far_cell(reference: str) -> bytes:
    return made.xlsx(made.HEADINGS + made.person(2) + made.row(3, made.text(reference, "x")))


def long_sheet(count: int) -> bytes:
    return made.xlsx("".join(f"<row><c><v>{n}</v></c></row>" for n in range(count)))


def filled_last_column() -> bytes:
    cells = (made.row(n, made.number(f"XFD{n}", n)) for n in range(1, 20_001))
    return made.xlsx("".join(cells))


def strings(attributes: str) -> bytes:
    table = f'<sst xmlns="{made.MAIN}" {attributes}><si><t>Handy</t></si></sst>'
    return made.xlsx(made.HEADINGS + made.person(2), strings=table)


def billion_laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE s [<!ENTITY l0 "lol">{entities}]>'
    return made.xlsx(sheet=doctype + made.sheet(made.row(1, made.text("A1", "&l9;"))))


def outer_entity() -> bytes:
    doctype = '<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    return made.xlsx(sheet=doctype + made.sheet(made.row(1, made.text("A1", "&x;"))))


def lying_sizes() -> bytes:
    """200 MB of spaces that the directory calls 5 bytes."""
    whole = made.xlsx(sheet=made.sheet("", before=" " * 200_000_000))
    size = (len(made.sheet("")) + 200_000_000).to_bytes(4, "little")
    return whole.replace(size, (5).to_bytes(4, "little"))


def merged_over_and_over() -> bytes:
    merges = '<mergeCell ref="A1:XFD1048576"/>' * 50_000
    after = f"<mergeCells>{merges}</mergeCells>"
    people = "".join(map(made.person, range(2, 5_000)))
    return made.xlsx(sheet=made.sheet(made.HEADINGS + people, after=after))


def deep() -> bytes:
    return made.xlsx(sheet=made.sheet("<x>" * 1_000_000))


def ods_repeated(attributes: str, cell_attributes: str = "") -> bytes:
    cells = made.ods_cell("0171 3920010", cell_attributes), made.ods_cell("Anne")
    return made.ods(made.ODS_HEADINGS + made.ods_row(*cells, attributes=attributes))


BOMBS: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "far cell": (lambda: far_cell("XFD1048576"), {"too_big_inside"}),
    "far row": (lambda: far_cell("C1048576"), {"too_big_inside"}),
    "beyond the sheet": (lambda: far_cell("ZZZZZZ999999999"), {"too_big_inside"}),
    "last column": (filled_last_column, {"too_big_inside"}),
    "many rows": (lambda: long_sheet(300_000), {"rows"}),
    "spaces": (
        lambda: made.xlsx(sheet=made.sheet("", before=" " * 200_000_000)),
        {"too_big_inside"},
    ),
    "spaces beside": (
        lambda: made.zipped(made.xlsx_parts(made.HEADINGS) | {"xl/x.bin": b" " * 100_000_000}),
        {"too_big_inside"},
    ),
    "spaces in a cell": (
        lambda: made.xlsx(made.row(1, made.text("A1", " " * 100_000_000))),
        {"too_big_inside"},
    ),
    "lying sizes": (lying_sizes, {"too_big_inside", "damaged"}),
    "another compression": (
        lambda: made.xlsx(made.row(1, made.text("A1", " " * 100_000_000)), zipfile.ZIP_BZIP2),
        {"damaged"},
    ),
    "many entries": (
        lambda: made.zipped(made.xlsx_parts() | {f"xl/{n}.xml": b"" for n in range(20_000)}),
        {"too_big_inside"},
    ),
    "4 billion texts": (lambda: strings('uniqueCount="4294967296"'), {"too_big_inside"}),
    "4 billion uses": (lambda: strings('count="4294967296"'), {"too_big_inside"}),
    "no number of texts": (lambda: strings('count="many"'), {"damaged"}),
    "billion laughs": (billion_laughs, {"damaged"}),
    "outer entity": (outer_entity, {"damaged"}),
    "deep": (deep, {"damaged"}),
    "row number of 5,000 digits": (
        lambda: made.xlsx(f'<row r="{"9" * 5_000}"><c><v>1</v></c></row>'),
        {"damaged"},
    ),
    "merged over and over": (merged_over_and_over, {"too_big_inside"}),
    "ODS rows": (
        lambda: ods_repeated('table:number-rows-repeated="1048576"'),
        {"rows", "too_big_inside"},
    ),
    "ODS columns": (
        lambda: ods_repeated("", 'table:number-columns-repeated="4294967295"'),
        {"columns", "too_big_inside"},
    ),
    "ODS both": (
        lambda: ods_repeated(
            'table:number-rows-repeated="19999"', 'table:number-columns-repeated="16384"'
        ),
        {"columns", "too_big_inside"},
    ),
    "lines": (lambda: b"\n" * reading.MAX_BYTES, {"empty"}),
    "separators": (lambda: b"0171 3920010" + b";" * 5_000_000, {"too_big_inside"}),
    "cells": (lambda: b"1;" * 2_500_000, {"too_big_inside"}),
    "wide rows": (lambda: (b"1;" * 20_000 + b"\n") * 100, {"columns"}),
    "quotes": (lambda: b'a;"' + b'""' * 2_600_000, {"too_big_inside"}),
    "quoted lines": (lambda: b'a;"' + b"\n1;2" * 1_300_000, {"quote"}),
    "rows of text": (lambda: b"1;2\n" * 1_300_000, {"rows"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    make, codes = BOMBS[name]
    content = make()
    assert len(content) <= reading.MAX_BYTES
    status, output, memory_kib, cpu_s = measured(content)
    assert status == 0
    assert json.loads(output)["refused"] in codes
    assert memory_kib < MAX_MEMORY_KIB
    assert cpu_s < MAX_S


def measured(content: bytes) -> tuple[int, str, int, float]:
    """Return the script's exit status, the beginning of its answer, its memory and CPU time."""
    options = json.dumps({"sheet": "", "encoding": "", "is_pasted": False}).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-c", MEASURE, list_reader.__file__],
        input=options + b"\n" + content,
        capture_output=True,
        check=True,
    )
    status, output, memory_kib, cpu_s = json.loads(done.stdout)
    return status, output, memory_kib, cpu_s


def full_xlsx() -> bytes:
    """20,000 rows of 6 columns."""
    rows = (
        made.row(
            n,
            made.text(f"A{n}", f"0171 392{n % 10_000:04}"),
            *(made.text(f"{column}{n}", f"{column} Öhler {n}") for column in "BCD"),
            *(made.number(f"{column}{n}", 46350 + n / 100) for column in "EF"),
        )
        for n in range(1, 20_001)
    )
    return made.xlsx("".join(rows))


def full_csv() -> bytes:
    rows = (f"0171 392{n % 10_000:04};Anne {n};Öhler;24.11.2026;14:30;12,50" for n in range(20_000))
    return "\r\n".join(rows).encode("cp1252")


@pytest.mark.parametrize("make", [full_xlsx, full_csv])
def test_20_000_rows_take_two_seconds(make: Callable[[], bytes]) -> None:
    content = make()
    assert len(read(content).rows) == 20_000
    status, _, memory_kib, cpu_s = measured(content)
    assert status == 0
    assert memory_kib < 128 * 1024
    assert cpu_s < MAX_S


# --- Damage at random ---------------------------------------------------------------------------

CODES = {
    *("too_large", "not_a_list", "old_excel", "password", "damaged", "too_big_inside", "rows"),
    *("columns", "broken_character", "quote", "swallowed", "empty", "no_rows", "vcard", "web_page"),
}
SEEDS = ("60-plain.xlsx", "61-types.xlsx", "62-hidden-row-and-column.xlsx", "lo-60-plain.xlsx")
ODS_SEEDS = ("lo-60-plain.ods", "lo-63-several-sheets-first-hidden.ods")
NUMBER = re.compile(rb'"[0-9]+"|>[0-9]+<')
HUGE = (b"-1", b"0", b"4294967295", b"4294967296", b"99999999999999999999", b"1048576", b"16384")
WORDS = (
    b"",
    b"x",
    b"s",
    b"hidden",
    b"<c>",
    b"</c>",
    b"&amp;",
    b"&#0;",
    b"\xff",
    b'"',
    b"A1:XFD1048576",
)


def mutant(seed: int) -> bytes:
    """A spreadsheet with one to four faults: in its zip, or in the XML of a zip that is whole."""
    chance = random.Random(seed)
    content = (FILES / chance.choice(SEEDS + ODS_SEEDS)).read_bytes()
    if chance.random() < 0.3:
        return scrambled(content, chance)
    with zipfile.ZipFile(BytesIO(content)) as source:
        parts = {name: source.read(name) for name in source.namelist()}
    names = [name for name in parts if name.endswith((".xml", ".rels"))]
    for _ in range(chance.randint(1, 4)):
        name = chance.choice(names)
        parts[name] = rewritten(parts[name], chance)
        if chance.random() < 0.05:
            del parts[name]
            names.remove(name)
    return made.zipped(parts)


def scrambled(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randint(1, 20)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.choice((len(changed), chance.randrange(1, len(changed)))) :])


def rewritten(xml: bytes, chance: random.Random) -> bytes:
    numbers = list(NUMBER.finditer(xml))
    if numbers and chance.random() < 0.6:
        found = chance.choice(numbers)
        first, last = found[0][:1], found[0][-1:]
        return xml[: found.start()] + first + chance.choice(HUGE) + last + xml[found.end() :]
    start = chance.randrange(len(xml) + 1)
    end = start + chance.choice((0, 1, 5, 50))
    return xml[:start] + chance.choice(WORDS) + xml[end:]


def outcome(content: bytes) -> str:
    try:
        read(content, name="list.xlsx")
    except ListRefused as refused:
        return refused.code
    return "read"


def test_a_damaged_file_is_read_or_refused_and_nothing_else() -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(MUTANTS):
        outcomes[outcome(mutant(seed))] += 1
    assert set(outcomes) <= {"read", *CODES}
    assert outcomes["read"] > MUTANTS / 20
    assert outcomes["damaged"] > MUTANTS / 20


def test_what_the_look_does_not_know_ends_the_reader_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the child stands between calamine and the web process."""
    killer = "import os; os.read(0, 1); os.abort()"
    monkeypatch.setattr(reading, "_COMMAND", [sys.executable, "-I", "-c", killer])
    with pytest.raises(ListRefused, match="damaged"):
        read(b"0171 3920010")
