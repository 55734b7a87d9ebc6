"""The account's groups: people to whom it writes again and again.

Every member may use and change them; the audit trail says who did. A name changes in the version
that the page showed, or not at all. A deleted group can be restored for 30 days. Whoever writes to
a group makes a list of it (`lists/`), so checks, duplicates and blocks are those of every list.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import db, end_read, insert_missing, locks, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Group, GroupPerson, Member
from webapp.messages.lists.reading import Column, ListRefused, ReadList, Row
from webapp.messages.lists.uploads import is_number
from webapp.rules.columns import letter
from webapp.rules.times import now

KEPT_AFTER_DELETION = timedelta(days=30)
UNUSED_AFTER = timedelta(days=365)
"""After that its page asks whether it is still needed."""
MAX_NAME_CHARACTERS = 80
MAX_PEOPLE = 5_000
MAX_GROUPS = 100
MAX_COLUMNS = 20
CHUNK = 500

People = Mapping[str, Mapping[str, str]]
"""By number (E.164), what is known of each by the names of columns."""


class TooMany(Exception):
    """The account has as many groups, or the group as many people, as there may be."""


class Gone(Exception):
    """A colleague has deleted the group in the meantime."""


# --- Finding ----------------------------------------------------------------------------------


def active(member: Member) -> list[tuple[Group, int]]:
    """The account's groups by name, each with how many people it has."""
    return _with_counts(member, Group.deleted_at.is_(None))


def deleted(member: Member) -> list[tuple[Group, int]]:
    """Those that can still be restored."""
    return _with_counts(member, Group.deleted_at > now() - KEPT_AFTER_DELETION)


def _with_counts(member: Member, which: sa.ColumnElement[bool]) -> list[tuple[Group, int]]:
    count = sa.select(sa.func.count()).where(GroupPerson.group_id == Group.id).scalar_subquery()
    query = sa.select(Group, count).where(Group.account_id == member.account_id, which)
    rows = db.session.execute(query.order_by(Group.name, Group.id))
    return [(group, number) for group, number in rows]


def find(member: Member, id_: str) -> Group | None:
    """One of the member's account, deleted or not."""
    found = db.session.get(Group, id_, populate_existing=True) if id_ else None
    return found if found and found.account_id == member.account_id else None


def size(group: Group) -> int:
    query = sa.select(sa.func.count()).where(GroupPerson.group_id == group.id)
    return db.session.scalar(query) or 0


def people(group: Group, *, after: str = "", limit: int) -> list[GroupPerson]:
    """The first by number, or those after this one."""
    query = sa.select(GroupPerson).where(
        GroupPerson.group_id == group.id, GroupPerson.number > after
    )
    return list(db.session.scalars(query.order_by(GroupPerson.number).limit(limit)))


def iter_chunks(group: Group) -> Iterator[list[GroupPerson]]:
    """All of its people. No transaction is open between two chunks."""
    last = ""
    while found := people(group, after=last, limit=CHUNK):
        last = found[-1].number
        yield found
        end_read()


# --- Changing ---------------------------------------------------------------------------------


def make(member: Member, name: str, people: People) -> Group:
    """Raises `TooMany`."""
    group = Group(account_id=member.account_id, name=name, columns=[], changed_by_id=member.id)
    with transaction() as session:
        _require_room(session, member)
        session.add(group)
        session.flush()
        _add(session, group, people)
        record(session, AuditEvent.GROUP_MADE, member, detail=group.id)
    return group


def rename(group: Group, member: Member, name: str, version: int) -> bool:
    """Returns False if somebody has changed it since this version."""
    as_shown = Group.version == version
    with transaction() as session:
        return _write(session, group, member, AuditEvent.GROUP_CHANGED, as_shown, name=name)


def add(group: Group, member: Member, people: People) -> int:
    """Add people; of those that are in it, what is known is filled in. Returns how many are new.
    Raises `TooMany` or `Gone`."""
    with transaction() as session:
        locked = _locked(session, group)
        count = _add(session, locked, people)
        _changed(session, locked, member)
    return count


def remove(group: Group, member: Member, numbers: Iterable[str]) -> int:
    """Returns how many were in it. Raises `Gone`."""
    which = (GroupPerson.group_id == group.id, GroupPerson.number.in_(list(numbers)))
    with transaction() as session:
        locked = _locked(session, group)
        count = rows_changed(session, sa.delete(GroupPerson).where(*which))
        if count:
            _changed(session, locked, member)
    return count


def delete(group: Group, member: Member) -> None:
    """It can be restored for a while."""
    is_there = Group.deleted_at.is_(None)
    with transaction() as session:
        _write(session, group, member, AuditEvent.GROUP_DELETED, is_there, deleted_at=now())


def restore(group: Group, member: Member) -> None:
    """Raises `TooMany`."""
    with transaction() as session:
        _require_room(session, member)
        back = {"deleted_at": None, "used_at": now()}
        is_deleted = Group.deleted_at.is_not(None)
        _write(session, group, member, AuditEvent.GROUP_RESTORED, is_deleted, **back)


def still_needed(group: Group) -> None:
    """Somebody said so, or wrote to it: its page asks no more for a year."""
    with transaction() as session:
        this = sa.update(Group).where(Group.id == group.id)
        rows_changed(session, this.values(used_at=now()))


def _add(session: Session, group: Group, people: People) -> int:
    known = set(
        session.scalars(sa.select(GroupPerson.number).where(GroupPerson.group_id == group.id))
    )
    new = [number for number in people if number not in known]
    if len(known) + len(new) > MAX_PEOPLE:
        raise TooMany
    named = dict.fromkeys(name for cells in people.values() for name in cells)
    group.columns = list(dict.fromkeys([*group.columns, *named]))[:MAX_COLUMNS]
    rows = [
        GroupPerson(group_id=group.id, number=number, cells=dict(people[number])) for number in new
    ]
    for start in range(0, len(rows), CHUNK):
        insert_missing(session, rows[start : start + CHUNK], ["group_id", "number"])
    for number in known & people.keys():
        if any(people[number].values()):
            person = session.get_one(GroupPerson, (group.id, number))
            person.cells = {**person.cells, **people[number]}
    return len(new)


def _changed(session: Session, group: Group, member: Member) -> None:
    group.version += 1
    group.changed_at, group.changed_by_id = now(), member.id
    record(session, AuditEvent.GROUP_CHANGED, member, detail=group.id)


def _require_room(session: Session, member: Member) -> None:
    """Raises `TooMany`. Deleted groups do not count."""
    # Two at once would both find room.
    locks.have_alone(session, f"groups of {member.account_id}")
    mine = (Group.account_id == member.account_id, Group.deleted_at.is_(None))
    count = session.scalar(sa.select(sa.func.count()).select_from(Group).where(*mine))
    if (count or 0) >= MAX_GROUPS:
        raise TooMany


def _locked(session: Session, group: Group) -> Group:
    """The group as it is now; nobody else may change it until this transaction ends."""
    this = sa.select(Group).where(Group.id == group.id, Group.deleted_at.is_(None))
    found = session.scalar(this.with_for_update(), execution_options={"populate_existing": True})
    if found is None:
        raise Gone
    return found


def _write(
    session: Session,
    group: Group,
    member: Member,
    did: AuditEvent,
    if_: sa.ColumnElement[bool],
    **values: object,
) -> bool:
    """Change the group's row, unless `if_` is true of it no longer; returns whether it was."""
    change = {"version": Group.version + 1, "changed_at": now(), "changed_by_id": member.id}
    statement = sa.update(Group).where(Group.id == group.id, if_).values(**values, **change)
    done = rows_changed(session, statement) == 1
    if done:
        record(session, did, member, detail=group.id)
    return done


# --- As a list --------------------------------------------------------------------------------


def as_list(group: Group, number_name: str) -> ReadList:
    """The group as what was read from a spreadsheet: its numbers stand in column A under
    `number_name`. Raises `ListRefused` if it has nobody."""
    rows = [
        Row(place, (person.number, *(str(person.cells.get(name, "")) for name in group.columns)))
        for place, person in enumerate(
            (one for chunk in iter_chunks(group) for one in chunk), start=1
        )
    ]
    if not rows:
        raise ListRefused("empty", name=group.name)
    heads: Sequence[str] = (number_name, *group.columns)
    return ReadList(
        format="group",
        encoding="",
        separator="",
        sheet="",
        sheets=(),
        header=0,
        columns=tuple(Column(letter(place), name) for place, name in enumerate(heads)),
        rows=tuple(rows),
        number=letter(0),
        questions=(),
        notices=(),
    )


# --- What is erased ---------------------------------------------------------------------------


def erase_deleted(session: Session) -> None:
    """Erase those that can no longer be restored, with their people."""
    gone = sa.select(Group.id).where(Group.deleted_at < now() - KEPT_AFTER_DELETION)
    ids = list(session.scalars(gone))
    rows_changed(session, sa.delete(GroupPerson).where(GroupPerson.group_id.in_(ids)))
    rows_changed(session, sa.delete(Group).where(Group.id.in_(ids)))


def forget_number(session: Session, number: str) -> None:
    """Remove the person with this number from every group, and whoever has it in another cell."""
    rows_changed(session, sa.delete(GroupPerson).where(GroupPerson.number == number))
    for person in session.scalars(sa.select(GroupPerson)).all():
        if any(is_number(str(cell), number) for cell in person.cells.values()):
            session.delete(person)
