"""A spreadsheet, a CSV file or pasted cells, read into rows: nothing is checked or decided here.

The reading is done by `webapp/list_reader.py` in a process of its own, with limits: a hostile file
can end that process, not this one. Here its answer becomes rows, and headings and the number column
are guessed.
"""

import json
import signal
import subprocess  # noqa: S404 (starts our own script)
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from webapp.rules import columns
from webapp.rules.cells import (
    MAX_CELL_CHARACTERS,
    Cell,
    cell_text,
    decode_cell,
    number_text,
    with_cents,
)

MAX_BYTES = 5 * 2**20
MAX_ROWS = 20_000
ENCODINGS = (
    "utf-8",
    "cp1252",
    "cp850",
    "mac-roman",
    "cp1250",
    "iso8859-2",
    "cp1251",
    "koi8-r",
    "cp1253",
    "cp1254",
    "utf-16-le",
    "utf-16-be",
)
"""What a person may choose; "" is a guess."""

# -I: nothing of the environment or the current directory, whoever may write there.
_COMMAND = [sys.executable, "-I", str(Path(__file__).parents[2] / "list_reader.py")]
_AT_ONCE = 2
_WAIT_S = 10
_CLOCK_S = 30
_MAX_OUTPUT_BYTES = 40 * 10**6
_GUESSED_ROWS = 30

_turn = threading.BoundedSemaphore(_AT_ONCE)


class ListRefused(Exception):
    """The list cannot be read; `code` has a sentence, and the rest is what the sentence names.

    Its text holds no file name, which may be a person's.
    """

    def __init__(
        self, code: str, *, row: int | None = None, count: int | None = None, name: str = ""
    ) -> None:
        super().__init__(code)
        self.code = code
        self.row = row
        self.count = count
        self.name = name


@dataclass(frozen=True, slots=True)
class Question:
    """A guess that a person has to confirm at a field before anything is sent.

    Codes: `mojibake` (field `encoding`, value typed), `sheet` (field `sheet`), `number_column`
    (field `number`), `two_columns` (field `number`, values a, b, name).
    """

    code: str
    field: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that was done or seen and is told: `merged`, `hidden`, `hidden_columns`, `ragged`,
    each with how many (merged ranges, rows, columns, rows)."""

    code: str
    count: int


@dataclass(frozen=True, slots=True)
class Column:
    letter: str
    """The spreadsheet's own, "A"."""
    name: str
    """Its heading on one line; "" if it has none."""


@dataclass(frozen=True, slots=True)
class Row:
    number: int
    """The sheet's own; in a text file that of its first line."""
    cells: tuple[Cell, ...]
    """As many as there are columns, in their order."""
    is_hidden: bool = False
    is_ragged: bool = False
    """It has more cells than there are headings: a separator stands where it should not."""
    cut: frozenset[int] = frozenset()
    """Which of its cells were longer than 2,000 characters and are cut."""


@dataclass(frozen=True, slots=True)
class ReadList:
    format: str
    """`xlsx`, `ods`, `csv` or `cells`."""
    encoding: str
    """One of ENCODINGS; "" for spreadsheets."""
    separator: str
    sheet: str
    sheets: tuple[str, ...]
    """Those that can be chosen: neither hidden nor empty."""
    header: int
    """The number of the row with the headings, 0 for none."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    number: str
    """The letter of the column with the phone numbers, or ""."""
    questions: tuple[Question, ...]
    notices: tuple[Notice, ...]


def read(
    content: bytes,
    *,
    name: str = "",
    sheet: str = "",
    encoding: str = "",
    header: int | None = None,
    region: str = "DE",
) -> ReadList:
    """Read a file, or raise ListRefused. What is not given is guessed; what is, is no question.

    `region` is the country of numbers without one.
    """
    if len(content) > MAX_BYTES:
        raise ListRefused("too_large", name=name)
    options = {"sheet": sheet, "encoding": encoding, "is_pasted": False}
    return _read(content, options, name, header, region)


def read_cells(text: str, *, header: int | None = None, region: str = "DE") -> ReadList:
    """Read cells that were pasted from a spreadsheet, or raise ListRefused."""
    content = text.encode("utf-8", "replace")
    if len(content) > MAX_BYTES:
        raise ListRefused("too_large")
    options = {"sheet": "", "encoding": "utf-8", "is_pasted": True}
    return _read(content, options, "", header, region)


def _read(
    content: bytes, options: Mapping[str, Any], name: str, header: int | None, region: str
) -> ReadList:
    try:
        answer = _ask(content, options)
        lines = [_Line(*line) for line in answer["lines"]]
        header = _guess_header(lines, region) if header is None else header
        table = _table(answer, lines, header)
    except ListRefused as refused:
        refused.name = name
        raise
    return _with_guesses(table, answer, options, region)


# --- The child ----------------------------------------------------------------------------------


def _ask(content: bytes, options: Mapping[str, Any]) -> Any:
    """Return what the script found, or raise ListRefused: also where it did not come to its end."""
    with _own_turn():
        output, status = _run(json.dumps(options).encode() + b"\n" + content)
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        raise ListRefused("slow")
    if status != 0 or len(output) > _MAX_OUTPUT_BYTES:
        raise ListRefused("damaged")
    answer = json.loads(output)
    if code := answer.get("refused"):
        raise ListRefused(code, row=answer["row"], count=answer["count"])
    return answer


@contextmanager
def _own_turn() -> Iterator[None]:
    if not _turn.acquire(timeout=_WAIT_S):
        raise ListRefused("busy")
    try:
        yield
    finally:
        _turn.release()


def _run(stdin: bytes) -> tuple[bytes, int]:
    """Return what the script wrote, and its exit status, a signal's as a negative number."""
    with subprocess.Popen(  # noqa: S603 (our own script)
        _COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    ) as child:
        clock = threading.Timer(_CLOCK_S, child.kill)
        clock.start()
        try:
            output = _exchange(child, stdin)
        finally:
            clock.cancel()
            child.kill()
    return output, child.returncode


def _exchange(child: subprocess.Popen[bytes], stdin: bytes) -> bytes:
    """The script reads everything before it writes, so neither side can wait for the other."""
    if child.stdin is None or child.stdout is None:
        raise TypeError("both must be pipes")
    with suppress(BrokenPipeError), child.stdin:
        child.stdin.write(stdin)
    output = child.stdout.read(_MAX_OUTPUT_BYTES + 1)
    if len(output) <= _MAX_OUTPUT_BYTES:
        child.wait()
    return output


# --- Rows and columns ---------------------------------------------------------------------------


class _Line:
    """A row of the script's answer; its cells belong to the answer's columns."""

    __slots__ = ("cells", "field_count", "is_hidden", "number")

    def __init__(
        self, number: int, values: list[str | list[str]], is_hidden: bool, field_count: int
    ) -> None:
        self.number = number
        self.cells = [decode_cell(value) for value in values]
        self.is_hidden = is_hidden
        self.field_count = field_count

    def texts(self) -> list[str]:
        return [number_text(cell) for cell in self.cells]


def _guess_header(lines: list[_Line], region: str) -> int:
    first = [(line.number, line.texts()) for line in lines[:_GUESSED_ROWS]]
    header = columns.guess_header(first, region)
    has_phone = any(columns.is_phone(text, region) for _, texts in first for text in texts)
    if header == 0 and len(lines) == 1 and not has_phone:
        raise ListRefused("no_rows")
    return header


def _table(answer: Mapping[str, Any], lines: list[_Line], header: int) -> ReadList:
    """Return the list without guesses: the columns that can be chosen, and the rows below."""
    headings = next((line for line in lines if line.number == header), None)
    body = [line for line in lines if line.number > header]
    if not body:
        raise ListRefused("no_rows")
    if len(body) > MAX_ROWS:
        raise ListRefused("rows", count=len(body))
    used, beyond = _used_columns(answer["columns"], headings, body)
    rows = _rows(body, used, beyond)
    return ReadList(
        format=answer["format"],
        encoding=answer["encoding"],
        separator=answer["separator"],
        sheet=answer["sheet"],
        sheets=tuple(answer["sheets"]),
        header=header,
        columns=tuple(_column(headings, index, answer["columns"][index]) for index in used),
        rows=rows,
        number="",
        questions=(),
        notices=_notices(answer, rows),
    )


def _used_columns(
    places: list[int], headings: _Line | None, body: list[_Line]
) -> tuple[list[int], list[int]]:
    """Return the columns with a heading or something below, and those beyond all headings.

    What a text file has beyond its headings is no column: a separator stands where it should not.
    """
    lines = [headings, *body] if headings else body
    used = [i for i in range(len(places)) if any(line.cells[i] != "" for line in lines)]
    if headings is None or not headings.field_count:
        return used, []
    end = headings.field_count
    return [i for i in used if places[i] < end], [i for i in used if places[i] >= end]


def _column(headings: _Line | None, index: int, place: int) -> Column:
    name = cell_text(headings.cells[index]) if headings else ""
    return Column(columns.letter(place), columns.heading(name))


def _rows(body: list[_Line], used: list[int], beyond: list[int]) -> tuple[Row, ...]:
    settled = [with_cents([line.cells[index] for line in body]) for index in used]
    by_row = zip(*settled, strict=True) if settled else iter([()] * len(body))
    return tuple(
        Row(
            line.number,
            tuple(_short(cell) for cell in cells),
            is_hidden=line.is_hidden,
            is_ragged=any(line.cells[index] != "" for index in beyond),
            cut=frozenset(i for i, cell in enumerate(cells) if _is_too_long(cell)),
        )
        for line, cells in zip(body, by_row, strict=True)
    )


def _is_too_long(cell: Cell) -> bool:
    return isinstance(cell, str) and len(cell) > MAX_CELL_CHARACTERS


def _short(cell: Cell) -> Cell:
    return cell[:MAX_CELL_CHARACTERS] if isinstance(cell, str) else cell


def _notices(answer: Mapping[str, Any], rows: tuple[Row, ...]) -> tuple[Notice, ...]:
    counts = {
        "hidden": sum(row.is_hidden for row in rows),
        "hidden_columns": len(answer["hidden_columns"]),
        "merged": answer["merged"],
        "ragged": sum(row.is_ragged for row in rows),
    }
    return tuple(Notice(code, count) for code, count in counts.items() if count)


# --- Guesses ------------------------------------------------------------------------------------


def _with_guesses(
    table: ReadList, answer: Mapping[str, Any], options: Mapping[str, Any], region: str
) -> ReadList:
    guess = columns.guess_number_column(
        [column.name for column in table.columns],
        [[number_text(cell) for cell in row.cells] for row in table.rows[: columns.SAMPLE_ROWS]],
        region,
    )
    questions = []
    if answer["suspicious"] and not options["encoding"]:
        questions.append(Question("mojibake", "encoding", {"typed": answer["suspicious"]}))
    if len(table.sheets) > 1 and not options["sheet"]:
        questions.append(Question("sheet", "sheet", {}))
    questions += _number_questions(table.columns, guess)
    number = "" if guess.index is None else table.columns[guess.index].letter
    return replace(table, number=number, questions=tuple(questions))


def _number_questions(found: Sequence[Column], guess: columns.NumberColumn) -> list[Question]:
    if guess.index is None:
        return [Question("number_column", "number", {})]
    chosen = found[guess.index]
    key = columns.heading_key(chosen.name)
    rivals = [found[i] for i in guess.rivals if i != guess.index]
    for rival in rivals:
        if key and columns.heading_key(rival.name) == key:
            first, second = sorted((guess.index, found.index(rival)))
            values = {"a": found[first].letter, "b": found[second].letter, "name": chosen.name}
            return [Question("two_columns", "number", values)]
    return [Question("number_column", "number", {})] if rivals else []
