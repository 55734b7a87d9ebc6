"""Lists as their member keeps them: what was uploaded, chosen and found, until it is sent.

Everything is encrypted, and only its member's: no admin sees it. A list is deleted by its member,
24 hours after it was last touched, or once its batch is filled; its row stays for a week with
nothing in it, so that its address can say what became of it. Whoever changes a list names the
version that they saw.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from webapp.config import settings
from webapp.database import db, rows_changed, transaction
from webapp.database.models import Member, UploadedList
from webapp.messages.lists import check, reminders
from webapp.messages.lists.check import Checked
from webapp.messages.lists.mapping import Mapped, used_columns
from webapp.messages.lists.reading import Column, Notice, Question, ReadList, Row
from webapp.rules.cells import decode_cell, encode_cell, number_text
from webapp.rules.numbers import RecipientRefused, parse_listed
from webapp.rules.times import now

log = logging.getLogger(__name__)

LIFETIME = timedelta(hours=24)
"""After it was last touched."""
ADDRESS_LIFETIME = timedelta(days=7)
MAX_OPEN = 10
"""Per member; the one touched longest ago is deleted."""
NOTHING: dict[str, Any] = dict.fromkeys(
    ("name", "original", "content", "look", "mapping", "result", "plan", "choices")
)
"""What a deleted list holds."""
_TAIL_DIGITS = 6


class ListChanged(Exception):
    """It is no longer as its page showed it, or no longer there."""


# --- Finding ----------------------------------------------------------------------------------


def find(id_: str, member: Member) -> UploadedList | None:
    """The member's own, with all it holds; also one that was deleted."""
    query = sa.select(UploadedList).where(
        UploadedList.id == id_, UploadedList.member_id == member.id
    )
    return db.session.scalar(
        query.options(undefer("*")), execution_options={"populate_existing": True}
    )


def open_lists(member: Member) -> list[UploadedList]:
    """Those that the member has not sent yet, the newest first."""
    query = sa.select(UploadedList).where(UploadedList.member_id == member.id, *_IS_OPEN)
    return list(db.session.scalars(query.order_by(UploadedList.touched_at.desc())))


def makes_way(member: Member) -> UploadedList | None:
    """The list that is deleted if the member chooses another; None while there is room."""
    return next(iter(open_lists(member)[MAX_OPEN - 1 :]), None)


_IS_OPEN = (UploadedList.deleted_at.is_(None), UploadedList.batch_id.is_(None))


def columns_of(kept: UploadedList) -> list[Column]:
    return [Column(*column) for column in (kept.content or {}).get("columns", ())]


def row_count(kept: UploadedList) -> int:
    return len(_rows(kept))


def rows_of(kept: UploadedList, limit: int | None = None) -> list[Row]:
    """The rows, or the first ones."""
    return [_read_row(row) for row in _rows(kept)[:limit]]


def row_of(kept: UploadedList, number: int) -> Row | None:
    """The row with this number of its own."""
    return next((_read_row(row) for row in _rows(kept) if row[0] == number), None)


def _rows(kept: UploadedList) -> list[Any]:
    return list((kept.content or {}).get("rows", ()))


def _read_row(row: Sequence[Any]) -> Row:
    number, cells, is_hidden, is_ragged, cut = row
    return Row(
        number,
        tuple(decode_cell(cell) for cell in cells),
        is_hidden=bool(is_hidden),
        is_ragged=bool(is_ragged),
        cut=frozenset(cut),
    )


def mapped_of(kept: UploadedList) -> Mapped | None:
    """What was chosen on page 2; None until it was saved."""
    return Mapped.from_json(kept.mapping) if kept.mapping and "slots" in kept.mapping else None


def checked_of(kept: UploadedList) -> Checked | None:
    return check.from_json(kept.result) if kept.result else None


def questions_of(kept: UploadedList) -> list[Question]:
    """What is still asked about how it was read."""
    answered = (kept.mapping or {}).get("answered", ())
    found = [Question(**one) for one in (kept.look or {}).get("questions", ())]
    return [one for one in found if one.code not in answered]


def notices_of(kept: UploadedList) -> list[Notice]:
    return [Notice(**one) for one in (kept.look or {}).get("notices", ())]


# --- Changing ---------------------------------------------------------------------------------


def keep(
    member: Member,
    *,
    source: str,
    name: str,
    original: bytes | None,
    read: ReadList,
    template_id: str,
) -> UploadedList:
    """Keep a new list, and delete the member's oldest beyond `MAX_OPEN`."""
    kept = UploadedList(
        account_id=member.account_id,
        member_id=member.id,
        source=source,
        template_id=template_id or None,
        name=name,
        original=original,
        content=_content(read),
        look=_look(read),
    )
    with transaction() as session:
        # One list of a member at a time: two at once would both find room.
        session.execute(sa.select(Member.id).where(Member.id == member.id).with_for_update())
        newest = (
            sa.select(UploadedList.id)
            .where(UploadedList.member_id == member.id, *_IS_OPEN)
            .order_by(UploadedList.touched_at.desc(), UploadedList.id)
        )
        for id_ in session.scalars(newest.offset(MAX_OPEN - 1)).all():
            empty(session, UploadedList.id == id_)
        session.add(kept)
    return kept


def save_reading(
    kept: UploadedList, read: ReadList, version: int, draft: Mapping[str, str]
) -> None:
    """Replace what was read by another reading of the same, and keep what page 2 held. Raises
    `ListChanged`."""
    values = {"content": _content(read), "look": _look(read), "mapping": {"draft": dict(draft)}}
    _save(kept, version, **values, result=None)


def save_mapping(
    kept: UploadedList,
    mapped: Mapped,
    checked: Checked,
    version: int,
    asked: Iterable[Question] = (),
) -> None:
    """Save page 2, what the check found, and what is asked about page 2. Raises `ListChanged`.

    Once nothing is asked any more, what nothing needs is dropped: the file, and all columns but
    those that the texts use, and those with days and times, which reminders may use.
    """
    read = [one for one in kept.look["questions"] if not one["field"].startswith("column-")]
    look = {**kept.look, "questions": [*read, *map(_question_json, asked)]}
    values: dict[str, Any] = {"mapping": mapped.as_json, "result": check.as_json(checked)}
    if not {one["code"] for one in look["questions"]} - set(mapped.answered):
        values |= {"original": None, "content": _only_used(kept, mapped)}
    _save(kept, version, **values, look=look)


def save_result(kept: UploadedList, checked: Checked) -> None:
    """Keep the check of a list that was changed from elsewhere, unless it was changed again."""
    this = (UploadedList.id == kept.id, UploadedList.version == kept.version, *_IS_OPEN)
    with transaction() as session:
        change = sa.update(UploadedList).where(*this)
        rows_changed(session, change.values(result=check.as_json(checked)))


def save_choices(kept: UploadedList, without: Iterable[str], version: int) -> None:
    """Save which rows are left out. Raises `ListChanged`."""
    _save(kept, version, choices={**(kept.choices or {}), "without": sorted(without)})


def save_rule(kept: UploadedList, rule: Mapping[str, Any] | None) -> None:
    """Keep what page 3 says of reminders, for when it is opened again. What is sent stands in the
    form that sends it, so this is no other version of the list."""
    if (kept.choices or {}).get("rule") == rule:
        return
    kept_rule = {**(kept.choices or {"without": sorted(check.PRESET)}), "rule": rule}
    this = (UploadedList.id == kept.id, UploadedList.version == kept.version, *_IS_OPEN)
    with transaction() as session:
        rows_changed(session, sa.update(UploadedList).where(*this).values(choices=kept_rule))


def touch(kept: UploadedList) -> None:
    """Somebody looks at it: it is kept for another day."""
    if kept.touched_at > now() - timedelta(minutes=10):
        return
    with transaction() as session:
        this = sa.update(UploadedList).where(UploadedList.id == kept.id, *_IS_OPEN)
        rows_changed(session, this.values(touched_at=now()))


def delete(kept: UploadedList) -> bool:
    """Returns False if it is being sent: then it is deleted once its messages are made."""
    with transaction() as session:
        return empty(session, UploadedList.id == kept.id) == 1


def empty(session: Session, which: sa.ColumnElement[bool], *, is_sent: bool = False) -> int:
    """Delete what these lists hold; returns how many. One that is being sent is left alone, unless
    `is_sent`: its messages are all there."""
    change = sa.update(UploadedList).where(which, UploadedList.deleted_at.is_(None))
    if not is_sent:
        change = change.where(UploadedList.batch_id.is_(None))
    return rows_changed(session, change.values(**NOTHING, deleted_at=now()))


def _save(kept: UploadedList, version: int, **values: Any) -> None:
    this = (UploadedList.id == kept.id, UploadedList.version == version, *_IS_OPEN)
    change = sa.update(UploadedList).where(*this)
    with transaction() as session:
        saved = rows_changed(
            session, change.values(**values, version=version + 1, touched_at=now())
        )
        if not saved:
            raise ListChanged


def _content(read: ReadList) -> dict[str, Any]:
    return {
        "columns": [[column.letter, column.name] for column in read.columns],
        "rows": [_row(row) for row in read.rows],
    }


def _row(row: Row) -> list[Any]:
    cells = [encode_cell(cell) for cell in row.cells]
    return [row.number, cells, int(row.is_hidden), int(row.is_ragged), sorted(row.cut)]


def _look(read: ReadList) -> dict[str, Any]:
    plain = ("format", "encoding", "separator", "sheet", "header", "number")
    return {
        **{name: getattr(read, name) for name in plain},
        "sheets": list(read.sheets),
        "questions": [_question_json(one) for one in read.questions],
        "notices": [asdict(one) for one in read.notices],
    }


def _question_json(asked: Question) -> dict[str, Any]:
    return {"code": asked.code, "field": asked.field, "values": dict(asked.values)}


def _only_used(kept: UploadedList, mapped: Mapped) -> dict[str, Any]:
    found = columns_of(kept)
    used = used_columns(mapped, found) | reminders.time_columns(found, rows_of(kept)).all
    places = [place for place, column in enumerate(found) if column.letter in used]
    return {
        "columns": [[found[place].letter, found[place].name] for place in places],
        "rows": [
            [number, [cells[place] for place in places], is_hidden, is_ragged]
            + [[places.index(place) for place in cut if place in places]]
            for number, cells, is_hidden, is_ragged, cut in kept.content["rows"]
        ],
    }


# --- What is deleted by itself ----------------------------------------------------------------


def delete_untouched() -> None:
    """Delete the lists that nobody touched for a day, and forget the addresses of old ones."""
    old = sa.and_(UploadedList.touched_at < now() - LIFETIME, *_IS_OPEN)
    gone = UploadedList.deleted_at < now() - ADDRESS_LIFETIME
    found = sa.select(UploadedList.id).where(sa.or_(old, gone)).limit(1)
    if db.session.scalar(found) is None:
        return
    with transaction() as session:
        count = empty(session, old)
        session.execute(sa.delete(UploadedList).where(gone))
    if count:
        log.info("%d lists were deleted: nobody touched them for a day", count)


def forget_number(session: Session, number: str) -> None:
    """Drop the rows with this number from every list, also from those that are being sent."""
    query = sa.select(UploadedList).where(UploadedList.deleted_at.is_(None))
    for kept in session.scalars(query.options(undefer("*")).with_for_update()):
        _drop(kept, number)


def _drop(kept: UploadedList, number: str) -> None:
    rows = (kept.content or {}).get("rows", ())
    stay = [row for row in rows if not _names(row[1], number)]
    if len(stay) == len(rows):
        return
    kept.content = {**kept.content, "rows": stay}
    kept.original = None
    kept.result = None
    kept.version += 1
    if kept.plan:
        kept.plan = {
            **kept.plan,
            "rows": [row for row in kept.plan["rows"] if row[1] != number],
        }


def _names(cells: Sequence[Any], number: str) -> bool:
    return any(is_number(number_text(decode_cell(cell)), number) for cell in cells)


def is_number(typed: str, number: str) -> bool:
    """Whether a cell's text is this number (E.164), however it is spelt."""
    if number[-_TAIL_DIGITS:] not in "".join(filter(str.isdecimal, typed)):
        return False  # most cells: reading a number takes much longer
    try:
        return parse_listed(typed, settings.default_region).number == number
    except RecipientRefused:
        return False
