"""Tables for spreadsheet programs: CSV whose cells are text, never formulas."""

import csv
import io
import re
from collections.abc import Iterable

from flask_babel import get_locale

_CELL_BEGINS = r"(?:\A|[;,\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029])"
_SKIPPED = r"[\s\"\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]*"
"""What programs may skip at the beginning of a cell: blanks, quotes, characters without width."""
_BEGINNING = re.compile(rf"({_CELL_BEGINS}{_SKIPPED})([=+\-@＝＋－＠﹦﹢﹣﹫−])?")


def csv_text(rows: Iterable[list[str]], *, first: bool = False) -> str:
    """Lines of a CSV file. `first`: with the mark without which Excel takes UTF-8 for something
    else."""
    buffer = io.StringIO()
    # Spreadsheets in German expect a semicolon.
    writer = csv.writer(buffer, delimiter=";" if str(get_locale()) == "de" else ",")
    writer.writerows([_cell(value) for value in row] for row in rows)
    return ("\ufeff" if first else "") + buffer.getvalue()


def _cell(value: str) -> str:
    """The value, with an apostrophe before what a spreadsheet would take for a formula.

    Programs may split cells at other separators, or at line breaks inside quotes, so this is done
    wherever a cell could begin.
    """
    safe = _BEGINNING.sub(lambda found: f"{found[1]}'{found[2]}" if found[2] else found[1], value)
    return f"'{safe}" if safe.startswith(("\t", "\r", "\n")) else safe
