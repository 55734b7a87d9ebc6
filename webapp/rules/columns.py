"""Guesses about a table: which row holds the headings, which column the mobile numbers.

A guess is shown and can be changed; where it is not safe, it is a question.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from webapp.rules.numbers import (
    NumberKind,
    RecipientProblem,
    RecipientRefused,
    parse_listed,
)

MAX_HEADER_ROW = 10
SAMPLE_ROWS = 200
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{2,4}.*", re.ASCII | re.DOTALL)
# The first names a mobile number for certain.
_HEADINGS = (
    re.compile(r"handy|mobil|\b(cell|sms|whatsapp)"),
    re.compile(r"telefon|phone|rufnummer|\btel\b"),
    re.compile(r"\A(nummer|number|nr\.?)\Z"),
)
_IS_MOBILE_COLUMN = 0.5


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """The guess, as an index of the table's columns, or None; and those that are as likely."""

    index: int | None
    rivals: tuple[int, ...] = ()


def letter(index: int) -> str:
    """0 is A, 25 is Z, 26 is AA."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def heading(text: str) -> str:
    """A heading on one line: a line break in it becomes a space."""
    return " ".join(text.split())


def heading_key(name: str) -> str:
    """Names are the same without case, spaces, "_" and "-"."""
    return re.sub(r"[\s_-]", "", name).casefold()


def guess_header(rows: Sequence[tuple[int, Sequence[str]]], region: str) -> int:
    """Return the number of the row with the headings, or 0 for none.

    `rows` are the first filled rows, each with its number and its cells' texts. Headings are the
    first row within 10 of which at least half the cells are filled, none is a phone number, and
    after which more rows follow. Below somebody's number there are none.
    """
    width = len({i for _, texts in rows for i, text in enumerate(texts) if text})
    candidates = []
    for number, texts in rows[:-1]:
        if number > MAX_HEADER_ROW or any(is_phone(text, region) for text in texts):
            break
        filled = len({text for text in texts if text})
        if 2 * filled >= width:
            candidates.append((number, filled))
    if not candidates:
        return 0
    first, filled = candidates[0]
    # A single cell above a fuller row is a title.
    fuller = [number for number, count in candidates if count > 1]
    return fuller[0] if filled == 1 and fuller else first


def is_phone(text: str, region: str) -> bool:
    """Whether this is somebody's number, or one that a spreadsheet has cut."""
    if sum(map(str.isdecimal, text)) < 5 or _DATE.fullmatch(text):
        return False
    try:
        parse_listed(text, region)
    except RecipientRefused as refused:
        return refused.problem is RecipientProblem.DIGITS_LOST
    return True


def guess_number_column(
    names: Sequence[str], rows: Sequence[Sequence[str]], region: str
) -> NumberColumn:
    """Choose by content, then by heading; `rows` are the texts below the headings.

    Columns with the same name as the chosen one are its rivals, too, whatever they hold: a person
    has to say which is meant.
    """
    sample = rows[:SAMPLE_ROWS]
    shares = [_mobile_share([row[i] for row in sample], region) for i in range(len(names))]
    ranks = [_heading_rank(name) for name in names]
    by_content = [i for i, share in enumerate(shares) if share >= _IS_MOBILE_COLUMN]
    by_heading = [i for i, rank in enumerate(ranks) if rank]
    candidates = by_content or by_heading
    if not candidates:
        return NumberColumn(None)
    best = max(candidates, key=lambda i: (ranks[i], shares[i], -i))
    if not by_content:
        candidates = [i for i in candidates if ranks[i] == ranks[best]]
    key = heading_key(names[best])
    namesakes = [i for i, name in enumerate(names) if key and heading_key(name) == key]
    rivals = sorted({*candidates, *namesakes})
    return NumberColumn(best, tuple(rivals) if len(rivals) > 1 else ())


def _mobile_share(texts: Sequence[str], region: str) -> float:
    filled = [text for text in texts if text]
    return sum(_is_mobile(text, region) for text in filled) / len(filled) if filled else 0.0


def _is_mobile(text: str, region: str) -> bool:
    if sum(map(str.isdecimal, text)) < 7 or _DATE.fullmatch(text):
        return False
    try:
        return parse_listed(text, region).kind is NumberKind.MOBILE
    except RecipientRefused:
        return False


def _heading_rank(name: str) -> int:
    """3 for a mobile number's name, 2 for a phone number's, 1 for a number, 0 for others."""
    words = heading(re.sub(r"[_-]", " ", name)).casefold()
    return next((3 - rank for rank, one in enumerate(_HEADINGS) if one.search(words)), 0)
