"""A checked list becomes a batch, exactly once, and its messages are made in pieces.

A form that sends a list writes one short transaction: the batch, the form's one-time id, and on the
list what is sent to whom. The worker makes the messages afterwards, `PIECE` at a time, each in a
transaction of its own that goes on behind the highest place there is; so it may be killed anywhere,
and several may do it at once. Nothing is claimed before the last message is there. What is asked
meanwhile stands on the batch, and every piece reads it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, undefer

from webapp.database import (
    commit_or_find,
    db,
    insert,
    insert_missing,
    installation,
    locks,
    rows_changed,
    table,
    transaction,
)
from webapp.database.audit import AuditEvent, record
from webapp.database.daily_limit import require_room
from webapp.database.idempotency import NotTaken, OnHold, SubmissionId, take_once
from webapp.database.models import IS_FILLING, Batch, Member, Message, Submission, UploadedList
from webapp.messages import batches, blocked
from webapp.messages.lists import uploads
from webapp.messages.lists.check import CheckedRow, Division
from webapp.messages.lists.mapping import Mapped, text_of
from webapp.messages.lists.reading import Column, Row
from webapp.messages.submit import NewMessage, Submitted, find_submission, new_message
from webapp.messages.timing import tolerance
from webapp.rules.outcomes import FillWish, Outcome, Reason, first_outcome
from webapp.rules.times import now
from webapp.sipgate import Extension
from webapp.telemetry import logs

log = logging.getLogger(__name__)

PIECE = 500
"""Messages in a transaction: 0.3 s of SQLite's only lock (measured)."""
ANALYZE_FROM = 2_000
"""So many new rows mislead PostgreSQL until it has statistics: a claim took 77 ms, then 5."""


class ListTaken(NotTaken):
    """The list has changed since it was looked at, or is being sent already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a form sends: a list as it was checked, divided and confirmed."""

    kept: UploadedList
    division: Division
    extension: Extension
    send_at: datetime | None
    """Of all; of reminders, each row has a time of its own."""
    time_zone: str
    looked_at: datetime
    """When it was compared with what was sent before."""
    rule: dict[str, Any] | None = None
    """Of reminders, as the batch keeps it."""


# --- Taking -----------------------------------------------------------------------------------


def send(
    prepare: Callable[[], Order], *, member: Member, submission: SubmissionId, content_hash: str
) -> Submitted:
    """Take a list exactly once. `prepare` checks it, and is called for a new form only.

    Raises `FormSpent` or `NotTaken`, also from `prepare`; nothing is sent then.
    """
    return take_once(
        lambda: find_submission(submission, content_hash),
        lambda: _take(prepare(), member, submission, content_hash),
    )


def _take(order: Order, member: Member, submission: SubmissionId, content_hash: str) -> Submitted:
    division = order.division
    batch = Batch(
        member_id=member.id,
        account_id=member.account_id,
        total=len(division.sendable),
        filled_at=None,
        list_id=order.kept.id,
        name=order.kept.name,
        template_id=order.kept.template_id,
        left_out=[[row.number, row.typed, _reason(row, why)] for row, why in division.left_out],
        left_out_counts=_counted(division),
        rule=order.rule,
    )
    used = Submission(
        id=submission.id, member_id=member.id, content_hash=content_hash, batch_id=batch.id
    )

    def keep(session: Session) -> bool:
        # One list of the account at a time: two equal ones at once would both reach everybody.
        locks.have_alone(session, f"lists of {member.account_id}")
        if installation.is_on_hold(session):
            raise OnHold
        # First, because it locks the member's row, as for every form.
        mine = sa.update(table(Member)).where(table(Member).c.id == member.id)
        rows_changed(session, mine.values(last_extension_id=order.extension.id))
        require_room(session, member, batch.total)
        if _has_newer_list(session, member, order.looked_at):
            raise ListTaken
        _mark_taken(session, order, batch)
        insert(session, batch)
        insert(session, used)
        is_planned = order.send_at or order.rule
        done = AuditEvent.PLANNED if is_planned else AuditEvent.SENT
        record(session, done, member, batch_id=batch.id, detail=str(batch.total))
        return True

    kept = commit_or_find(keep, lambda: _is_kept(batch.id))
    if not kept:
        raise OperationalError("insert", {}, ConnectionError("the list was not taken"))
    logs.say(log, "batch %s: a list of %d was taken", batch.id, batch.total)
    return Submitted(None, batch.id)


def _reason(row: Any, why: str) -> str:
    return row.problem.code if why == "errors" and row.problem else why


def _counted(division: Division) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _, why in division.left_out:
        counts[why] = counts.get(why, 0) + 1
    return counts


def _mark_taken(session: Session, order: Order, batch: Batch) -> None:
    """From now on the list belongs to this batch, and to no other."""
    kept = order.kept
    plan = {
        "rows": [_planned_row(row) for row in order.division.sendable],
        "extension": asdict(order.extension),
        "send_at": order.send_at.isoformat() if order.send_at else None,
        "time_zone": order.time_zone,
    }
    free = (
        UploadedList.id == kept.id,
        UploadedList.version == kept.version,
        UploadedList.batch_id.is_(None),
        UploadedList.deleted_at.is_(None),
    )
    values = {"batch_id": batch.id, "plan": plan, "version": kept.version + 1, "original": None}
    change = sa.update(UploadedList).where(*free)
    if not rows_changed(session, change.values(**values, touched_at=now())):
        raise ListTaken


def _planned_row(row: CheckedRow) -> list[Any]:
    """The row's number and recipient; of a reminder, when it goes and until when."""
    if row.when is None:
        return [row.number, row.recipient]
    times = (row.when.send_at, row.when.not_after)
    return [row.number, row.recipient, *(one.isoformat() if one else None for one in times)]


def _has_newer_list(session: Session, member: Member, looked_at: datetime) -> bool:
    """Whether somebody of the account has sent another list since this one was compared with all
    others: it may hold the same. The caller lets no other list be taken meanwhile."""
    query = sa.select(Batch.id).where(
        Batch.account_id == member.account_id,
        Batch.list_id.is_not(None),
        Batch.created_at >= looked_at,
    )
    return session.scalar(query.limit(1)) is not None


def _is_kept(batch_id: str) -> bool:
    return db.session.scalar(sa.select(Batch.id).where(Batch.id == batch_id)) is not None


@dataclass(frozen=True, slots=True)
class BeingMade:
    """A message that is still to be made."""

    recipient: str
    text: str
    batch_id: str
    member: Member
    not_after: datetime | None


def being_made(account_id: str) -> Iterator[BeingMade]:
    """The messages of the account's lists that are not made yet: nobody finds them elsewhere."""
    query = sa.select(Batch.id).where(
        Batch.account_id == account_id, IS_FILLING, Batch.wish != FillWish.CANCEL
    )
    for batch_id in db.session.scalars(query).all():
        source = _source(batch_id)
        if source is None or not source.is_readable:
            continue
        last = db.session.scalar(_LAST, {"batch": batch_id})
        for number, recipient in source.recipients.items():
            if last is None or number > last:
                _, not_after = source.times.get(number, (None, None))
                text = _text(source, number)
                yield BeingMade(recipient, text, batch_id, source.member, not_after)


# --- Filling ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """What the messages of a batch are made from, as of one version of its list."""

    list_id: str
    version: int
    is_readable: bool
    member: Member
    recipients: Mapping[int, str]
    """By the row's own number, in the list's order."""
    times: Mapping[int, tuple[datetime | None, datetime | None]]
    """Of reminders, by the row's own number: when each goes, and until when."""
    rows: Mapping[int, Row]
    columns: Sequence[Column]
    mapped: Mapped | None
    extension: Extension | None
    send_at: datetime | None
    time_zone: str

    @cached_property
    def first_at(self) -> datetime | None:
        """Of reminders: when the first goes; None if that is at once."""
        goes = [send_at for send_at, _ in self.times.values()]
        return None if None in goes else min((at for at in goes if at), default=None)


def fill(batch_id: str, *, is_stopping: Callable[[], bool] = lambda: False) -> bool:
    """Make the messages of a batch that are not there yet. Returns whether it may be sent now.

    Of several calls at once each goes on where the others are.
    """
    source: _Source | None = None
    while not is_stopping():
        source = source or _source(batch_id)
        if source is None:
            return False
        state = _make_piece(batch_id, source)
        if state == "done":
            _analyze(len(source.recipients))
            return True
        if state == "changed":
            source = None
        elif state == "gone":
            return False
    return False


def _source(batch_id: str) -> _Source | None:
    """Read the batch's list; None if there is nothing to do."""
    batch = db.session.get(Batch, batch_id, populate_existing=True)
    if batch is None or not batch.is_filling or batch.list_id is None:
        return None
    query = sa.select(UploadedList).where(UploadedList.id == batch.list_id)
    kept = db.session.scalar(
        query.options(undefer("*")), execution_options={"populate_existing": True}
    )
    plan = kept.plan if kept else None
    mapped = uploads.mapped_of(kept) if kept else None
    is_readable = bool(kept and kept.content and plan and mapped)
    if not is_readable:
        log.error("batch %s: its list cannot be read any more", batch_id)
    plan = plan or {"rows": [], "extension": None, "send_at": None, "time_zone": ""}
    return _Source(
        list_id=batch.list_id,
        version=kept.version if kept else 0,
        is_readable=is_readable,
        member=db.session.get_one(Member, batch.member_id),
        recipients={row[0]: row[1] for row in plan["rows"]},
        times={row[0]: (_time(row[2]), _time(row[3])) for row in plan["rows"] if len(row) > 2},
        rows={row.number: row for row in uploads.rows_of(kept)} if kept and is_readable else {},
        columns=uploads.columns_of(kept) if kept and is_readable else (),
        mapped=mapped,
        extension=Extension(**plan["extension"]) if plan["extension"] else None,
        send_at=_time(plan["send_at"]),
        time_zone=plan["time_zone"],
    )


def _time(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written) if written else None


def _make_piece(batch_id: str, source: _Source) -> str:
    """One transaction: `more`, `done`, `changed` (the list is another now) or `gone`."""
    with transaction() as session:
        blocked.keep(session, source.member.account_id)
        # The list's row before the batch's: see the order of locks in `batches.py`.
        list_row = sa.select(UploadedList.version).where(UploadedList.id == source.list_id)
        version = session.scalar(list_row.with_for_update())
        batch = batches.locked(session, batch_id)
        if batch is None or not batch.is_filling:
            return "gone"
        if version is not None and version != source.version:
            return "changed"
        last = session.scalar(_LAST, {"batch": batch_id})
        left = [n for n in source.recipients if last is None or n > last]
        if source.is_readable and left:
            _insert(session, batch, source, left[:PIECE])
        else:
            _finish(session, batch, source)
        if batch.active_at > now() - tolerance():
            # Otherwise it has stood still for so long that its messages are asked about.
            batch.active_at = now()
        made = len(source.recipients) - max(0, len(left) - PIECE)
    logs.say(log, "batch %s: %d of %d messages made", batch_id, made, batch.total)
    return "more" if batch.is_filling else "done"


_LAST = sa.select(sa.func.max(Message.position)).where(Message.batch_id == sa.bindparam("batch"))
"""The highest place in a batch."""


def _insert(session: Session, batch: Batch, source: _Source, numbers: Sequence[int]) -> None:
    recipients = {source.recipients[number] for number in numbers}
    wants_none = blocked.among(session, batch.account_id, recipients)
    made = [_message(batch, source, number) for number in numbers]
    for message in made:
        if message.recipient in wants_none:
            message.outcome = first_outcome(Outcome.CANCELLED)
            message.reason, message.settled_at = Reason.BLOCKED, now()
    insert_missing(session, made, ["batch_id", "position"])


def _message(batch: Batch, source: _Source, number: int) -> Message:
    if source.extension is None:
        raise LookupError("only for a list that can be read")
    send_at, not_after = source.times.get(number, (source.send_at, None))
    new = NewMessage(
        extension=source.extension,
        recipient=source.recipients[number],
        text=_text(source, number),
        send_at=send_at,
        time_zone=source.time_zone,
        template_id=batch.template_id,
        not_after=not_after,
    )
    message = new_message(new, source.member, batch, number, batch.created_at)
    if source.times:  # a batch stands in the list once: at the time of its first message
        message.shown_at = source.first_at or batch.created_at
    if batch.wish == FillWish.CANCEL:
        message.outcome = first_outcome(Outcome.CANCELLED)
        message.settled_at = now()
    elif batch.stop_reason:
        message.outcome = first_outcome(Outcome.PAUSED)
        message.reason = batch.stop_reason
    if batch.wish == FillWish.HAND_OVER:
        message.due_at = now()
    return message


def _text(source: _Source, number: int) -> str:
    if source.mapped is None:
        raise LookupError("only for a list that can be read")
    letters = (column.letter for column in source.columns)
    cells = dict(zip(letters, source.rows[number].cells, strict=True))
    text = text_of(source.mapped, source.columns, cells)
    if not isinstance(text, str):
        raise LookupError(f"row {number} lacks what it had when it was checked")
    return text


def _finish(session: Session, batch: Batch, source: _Source) -> None:
    """All messages are there: the batch may be sent, and the list is deleted."""
    batch.filled_at = now()
    batch.wish = FillWish.NONE
    if source.is_readable:
        batch.total = len(source.recipients)
    uploads.empty(session, UploadedList.id == source.list_id, is_sent=True)


def _analyze(count: int) -> None:
    if count >= ANALYZE_FROM and db.engine.dialect.name == "postgresql":
        with transaction() as session:
            session.execute(sa.text("ANALYZE messages"))
