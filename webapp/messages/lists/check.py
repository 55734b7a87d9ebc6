"""What can be sent of a list: each row looked at once, and then divided by what is left out.

Pure: what is known of numbers, such as who got this text today, is passed in. No row is ever lost:
each is sent, left out for one reason, or an error that stands.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from webapp.messages.lists.mapping import Mapped, hollow_value, is_chosen, text_of, used_columns
from webapp.messages.lists.reading import Column, Row
from webapp.rules.cells import Cell, number_text
from webapp.rules.numbers import (
    NumberKind,
    RecipientProblem,
    RecipientRefused,
    country_of,
    parse_listed,
)
from webapp.rules.reminders import Moved
from webapp.rules.text import Encoding, Segmentation, TextProblem, TextRefused, check_text, segment

CHOICES = (
    *("not_chosen", "errors", "duplicates", "hidden", "blocked", "already_sent"),
    *("late", "too_far"),
)
"""Why a row can be left out, in the order in which they are told."""
PRESET = ("duplicates", "hidden", "already_sent", "late")
ALWAYS = frozenset(("not_chosen", "blocked", "too_far"))
"""These are left out whatever is chosen."""
CHOICE_OF = {"already_planned": "already_sent"}
"""Of a reason that has no choice of its own, the one that it goes with."""
Reminder = tuple[str, datetime | None]
"""A number (E.164) and its appointment; None if it is no reminder."""
_NUMBER_CODES = {
    RecipientProblem.EMPTY: "missing",
    RecipientProblem.TOO_LONG: "number_too_long",
}
_TEXT_CODES = {
    TextProblem.TOO_LONG: "too_long",
    TextProblem.EMPTY: "empty_text",
}
MAX_TYPED_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a row cannot be sent."""

    code: str
    column: str
    """The letter of the column, or "" for the whole row."""
    typed: str = ""
    detail: str = ""
    """The name of what is missing, or a count of segments."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When a row's reminder goes."""

    send_at: datetime | None
    """None: at once."""
    not_after: datetime | None
    """The appointment; None for one that is so far away that nobody computed it."""
    moved: Moved = Moved.NOT
    reason: str = ""
    """`late` or `too_far`, if it cannot go at its time."""
    can_go: bool = True
    """Whether one that is late may go at once."""


@dataclass(frozen=True, slots=True)
class CheckedRow:
    number: int
    """The row's own."""
    typed: str
    """The phone number as it stands in the list."""
    recipient: str = ""
    """In E.164; "" if it has none."""
    segments: int = 0
    key: str = ""
    """The same for the same text to the same number."""
    is_mobile: bool = True
    country: str = ""
    is_hidden: bool = False
    is_repaired: bool = False
    is_chosen: bool = True
    hollow: str = ""
    """A value of its text that stands for nothing, such as "-"; it can be sent all the same."""
    problem: Problem | None = None
    when: Timing | None = None
    """Of a reminder: when it goes, or would go."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What the check found, for each row in the list's order."""

    rows: tuple[CheckedRow, ...]
    dear_count: int = 0
    """How many texts need more segments because of characters in their values."""
    dear_characters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Division:
    """Each row of a list in one of three places."""

    sendable: tuple[CheckedRow, ...]
    left_out: tuple[tuple[CheckedRow, str], ...]
    """With the reason: one of `CHOICES`, or of `CHOICE_OF`."""
    standing: tuple[CheckedRow, ...]
    """Errors that are not left out: nothing is sent while there are some."""
    counts: Mapping[str, int]
    """How many rows each reason is about, left out or not; a choice counts all that it stands
    for."""

    @property
    def segments(self) -> int:
        return sum(row.segments for row in self.sendable)


# --- Each row ---------------------------------------------------------------------------------


def check(
    mapped: Mapped, columns: Sequence[Column], rows: Iterable[Row], *, region: str
) -> Checked:
    """Look at each row: its number and its text."""
    letters = [column.letter for column in columns]
    look = _Look(mapped, columns, region)
    return Checked(
        rows=tuple(look.at(row, dict(zip(letters, row.cells, strict=True))) for row in rows),
        dear_count=look.dear_count,
        dear_characters=tuple(look.dear)[:4],
    )


class _Look:
    """The check of one list, which asks about each spelling of a number once."""

    def __init__(self, mapped: Mapped, columns: Sequence[Column], region: str) -> None:
        self._mapped = mapped
        self._columns = columns
        self._region = region
        self._used = used_columns(mapped, columns)
        self._places = {column.letter: place for place, column in enumerate(columns)}
        self._numbers: dict[str, CheckedRow | RecipientProblem] = {}
        self._is_plain_text = segment(mapped.text).encoding == Encoding.GSM7
        self.dear_count = 0
        self.dear: dict[str, None] = {}

    def at(self, row: Row, cells: Mapping[str, Cell]) -> CheckedRow:
        typed = number_text(cells.get(self._mapped.number, "")).strip()
        found = self._number(typed)
        text: str | None = None
        problem = self._shape(row)
        if isinstance(found, RecipientProblem):
            problem = problem or self._number_problem(found, typed)
            found = CheckedRow(row.number, typed)
        segments, key, chosen = 0, "", is_chosen(self._mapped, cells)
        try:
            text = self._text(cells)
        except _RowRefused as refused:
            problem = problem or refused.problem
        if text is not None:
            segmentation, text_problem = _segments(text)
            problem = problem or text_problem
            segments = segmentation.segment_count if segmentation else 0
            key = key_of(found.recipient, text)
            if chosen:
                self._note_dear(segmentation)
        return CheckedRow(
            number=row.number,
            typed=typed[:MAX_TYPED_CHARACTERS],
            recipient=found.recipient,
            segments=segments,
            key=key,
            is_mobile=found.is_mobile,
            country=found.country,
            is_hidden=row.is_hidden,
            is_repaired=found.is_repaired,
            is_chosen=chosen,
            hollow=hollow_value(self._mapped, cells)[:MAX_TYPED_CHARACTERS],
            problem=problem,
        )

    def _number(self, typed: str) -> CheckedRow | RecipientProblem:
        if typed not in self._numbers:
            self._numbers[typed] = _parsed(typed, self._region)
        return self._numbers[typed]

    def _number_problem(self, problem: RecipientProblem, typed: str) -> Problem:
        code = _NUMBER_CODES.get(problem, problem.value)
        name = next(c.name or c.letter for c in self._columns if c.letter == self._mapped.number)
        return Problem(code, self._mapped.number, typed[:MAX_TYPED_CHARACTERS], name)

    def _shape(self, row: Row) -> Problem | None:
        if row.is_ragged:
            return Problem("ragged", "")
        for letter in self._used:
            if self._places.get(letter) in row.cut:
                return Problem("cell_too_long", letter, detail=letter)
        return None

    def _text(self, cells: Mapping[str, Cell]) -> str:
        try:
            text = text_of(self._mapped, self._columns, cells)
        except TextRefused as refused:
            raise _RowRefused(Problem("too_long", "", detail=refused.detail)) from None
        if isinstance(text, list):
            first = text[0]
            column = first.column if len(first.column) < 4 else ""
            raise _RowRefused(Problem("missing", column, detail=first.name))
        return text

    def _note_dear(self, found: Segmentation | None) -> None:
        if found and self._is_plain_text and found.encoding == Encoding.UCS2:
            self.dear_count += 1
            self.dear |= dict.fromkeys(found.forcing)


class _RowRefused(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def _parsed(typed: str, region: str) -> CheckedRow | RecipientProblem:
    try:
        found = parse_listed(typed, region)
    except RecipientRefused as refused:
        return refused.problem
    german = found.number.startswith("+49")
    return CheckedRow(
        number=0,
        typed=typed,
        recipient=found.number,
        is_mobile=found.kind is NumberKind.MOBILE,
        country="DE" if german else country_of(found.number) or "",
        is_repaired=found.is_repaired,
    )


def _segments(text: str) -> tuple[Segmentation | None, Problem | None]:
    try:
        return check_text(text), None
    except TextRefused as refused:
        code = _TEXT_CODES.get(refused.problem, "control_character")
        return None, Problem(code, "", detail=refused.detail)


def key_of(recipient: str, text: str) -> str:
    """The same for the same text to the same number, and of no use to a reader without both."""
    return hashlib.sha256(f"{recipient}\n{text}".encode(errors="replace")).hexdigest()[:20]


# --- All together -----------------------------------------------------------------------------


def divide(
    checked: Checked,
    without: Set[str],
    *,
    had: Set[str] = frozenset(),
    blocked: Set[str] = frozenset(),
    planned: Set[Reminder] = frozenset(),
) -> Division:
    """Put each row where it belongs. `had`: the keys of texts that were sent already; `blocked`:
    numbers that want no texts; `planned`: who is reminded of which appointment already.

    Of several rows with one number the first that can be sent counts; of reminders, of several with
    one number and one appointment.
    """
    without = without | ALWAYS
    counts = Counter[str](dict.fromkeys((*CHOICES, *CHOICE_OF), 0))
    sendable: list[CheckedRow] = []
    left_out: list[tuple[CheckedRow, str]] = []
    standing: list[CheckedRow] = []
    seen: set[Reminder] = set()
    for row in checked.rows:
        person = (row.recipient, row.when.not_after if row.when else None)
        known = {
            "blocked": row.recipient in blocked,
            "duplicates": person in seen,
            "already_sent": row.key in had,
            "already_planned": person in planned,
        }
        reason, told = _reason(row, known, without)
        counts.update(told)
        if reason:
            left_out.append((row, reason))
        elif row.problem is not None:
            standing.append(row)
        else:
            sendable.append(row)
        if row.problem is None and reason in ("", "already_sent", "already_planned"):
            seen.add(person)
    return Division(tuple(sendable), tuple(left_out), tuple(standing), counts)


def _reason(
    row: CheckedRow, known: Mapping[str, bool], without: Set[str]
) -> tuple[str, Iterable[str]]:
    """Why the row is left out, or ""; and what it counts for."""
    timing = row.when.reason if row.when else ""
    each = {
        "not_chosen": not row.is_chosen,
        "hidden": row.is_hidden,
        "errors": row.problem is not None,
        "blocked": known["blocked"],
        "too_far": timing == "too_far",
        **known,
        "late": timing == "late",
    }
    reasons = [reason for reason, is_so in each.items() if is_so]
    if row.when and not row.when.can_go:
        without = without | {"late"}
    reason = next((one for one in reasons if CHOICE_OF.get(one, one) in without), "")
    # What comes behind the reason for which it is left out is of no interest.
    told = reasons[: reasons.index(reason) + 1] if reason else reasons
    return reason, {*told, *(CHOICE_OF[one] for one in told if one in CHOICE_OF)}


# --- As it is kept ----------------------------------------------------------------------------


def as_json(checked: Checked) -> dict[str, Any]:
    rows = [
        [
            *(row.number, row.typed, row.recipient, row.segments, row.key),
            *(int(row.is_mobile), row.country, int(row.is_hidden), int(row.is_repaired)),
            row.problem
            and [row.problem.code, row.problem.column, row.problem.typed, row.problem.detail],
        ]
        for row in checked.rows
    ]
    return {
        "rows": rows,
        "dear": [checked.dear_count, list(checked.dear_characters)],
        # The numbers of the few rows that need them.
        "not_chosen": [row.number for row in checked.rows if not row.is_chosen],
        "hollow": [[row.number, row.hollow] for row in checked.rows if row.hollow],
    }


def from_json(kept: Mapping[str, Any]) -> Checked:
    not_chosen, hollow = frozenset(kept.get("not_chosen", ())), dict(kept.get("hollow", ()))
    rows = tuple(
        CheckedRow(
            number=row[0],
            typed=row[1],
            recipient=row[2],
            segments=row[3],
            key=row[4],
            is_mobile=bool(row[5]),
            country=row[6],
            is_hidden=bool(row[7]),
            is_repaired=bool(row[8]),
            is_chosen=row[0] not in not_chosen,
            hollow=hollow.get(row[0], ""),
            problem=Problem(*row[9]) if row[9] else None,
        )
        for row in kept["rows"]
    )
    count, characters = kept["dear"]
    return Checked(rows, count, tuple(characters))
