"""Batches: stop, resume, cancel, release; and what stops a batch by itself.

The messages carry the outcomes; a batch only says whether the worker may go on with it. What is
asked of a batch whose messages are still being made from a list (`lists/fill.py`) is written on the
batch, too: the messages that follow obey it.

Locks are taken in one order, so that nobody waits in a circle: the member, lists, batches by id,
messages.
"""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import Session

from webapp.database import db, end_read, rows_changed, table, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import IS_FILLING, Batch, Member, Message
from webapp.messages import transitions
from webapp.messages.timing import tolerance
from webapp.messages.transitions import CAN_PAUSE, Claimed
from webapp.rules.outcomes import Actor, FillWish, Outcome, Reason, Wish
from webapp.rules.times import now
from webapp.signin import Result

MAX_UNKNOWNS_IN_A_ROW = 3
"""So many stop the rest of a batch."""
STOPS_BATCH = (Reason.BALANCE, Reason.NOT_ALLOWED, Reason.SIGN_IN_ENDED)
"""These stop it at once: they would refuse the rest as well."""


# --- What stops a batch ---------------------------------------------------------------------------


def stop(batch: Batch, by: Member) -> None:
    with transaction() as session:
        pause_batch(session, batch.id, Reason.STOPPED)
        record(session, AuditEvent.STOPPED, by, batch_id=batch.id)


def after_attempt(session: Session, message: Claimed, result: Result) -> bool:
    """Count the result, and stop the rest of the batch if it says so.

    Returns whether it was the batch's first clear answer.
    """
    if message.batch_id is None:
        return False
    batch = locked(session, message.batch_id)
    if batch is None:  # never: a batch with a message that is being sent is not erased
        return False
    is_first = not batch.is_open and result.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED)
    if result.outcome == Outcome.UNKNOWN:
        batch.unknowns_in_a_row += 1
    elif batch.unknowns_in_a_row:
        batch.unknowns_in_a_row = 0
    if is_first:
        batch.is_open = True
    session.flush()
    if batch.unknowns_in_a_row >= MAX_UNKNOWNS_IN_A_ROW:
        pause_batch(session, batch.id, Reason.UNKNOWNS)
    elif result.reason in STOPS_BATCH:
        pause_batch(session, batch.id, result.reason)
    return is_first


def pause_batch(session: Session, batch_id: str, reason: Reason) -> int:
    """Pause the waiting messages of a batch, and stop it; returns how many messages.

    Those that are being sent get the wish to pause: they must not wait again by themselves.
    """
    return _pause(session, Message.batch_id == batch_id, Batch.id == batch_id, reason)


def pause_all_of(session: Session, member_id: int, reason: Reason) -> int:
    """The same with everything that waits for a member."""
    return _pause(session, Message.member_id == member_id, Batch.member_id == member_id, reason)


def _pause(
    session: Session,
    messages: sa.ColumnElement[bool],
    its_batches: sa.ColumnElement[bool],
    reason: Reason,
) -> int:
    # The messages of a batch that is being filled are paused as they are made.
    is_filling = sa.and_(its_batches, IS_FILLING)
    lock_batches(session, messages, CAN_PAUSE, others=is_filling)
    theirs = sa.select(Message.batch_id).where(messages, CAN_PAUSE, Message.batch_id.is_not(None))
    waits = sa.or_(Batch.id.in_(theirs), is_filling)
    running = sa.update(Batch).where(waits, Batch.stop_reason == "")
    rows_changed(session, running.values(stop_reason=reason))
    return rows_changed(session, transitions.pause(reason).where(messages))


def may_go_on(connection: sa.Connection, batch_id: str, batch: sa.Row[Any]) -> bool:
    """Whether another message of a locked batch may be claimed.

    Until the first clear answer, at most three are under way or unknown at once: a sipgate that
    hangs from the start costs three unknowns, not a hundred.
    """
    if batch.stop_reason or batch.is_filling:
        return False
    if batch.is_open:
        return True
    under_way = connection.scalar(_UNDER_WAY, {"batch": batch_id})
    return (under_way or 0) + int(batch.unknowns_in_a_row) < MAX_UNKNOWNS_IN_A_ROW


def is_untroubled(batch: sa.Row[Any]) -> bool:
    """Whether a clear answer changes nothing of it: `after_attempt` would do nothing."""
    return bool(batch.is_open) and batch.unknowns_in_a_row == 0


def changes_no_batch(result: Result) -> bool:
    """Whether it is a clear answer that stops no batch."""
    is_answer = result.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.REFUSED)
    return is_answer and result.reason not in (*STOPS_BATCH, Reason.RATE_LIMITED)


# Built once, because making them anew took longer than running them (measured).
_UNDER_WAY = (
    sa.select(sa.func.count())
    .select_from(table(Message))
    .where(
        table(Message).c.batch_id == sa.bindparam("batch"),
        table(Message).c.outcome == Outcome.SENDING,
    )
)
_LOCK = (
    sa.select(table(Batch).c.id).where(table(Batch).c.id == sa.bindparam("batch")).with_for_update()
)
_LOCKED = sa.select(Batch).where(Batch.id == sa.bindparam("batch")).with_for_update()
_AS_IT_IS = {"populate_existing": True}


# --- Locks ----------------------------------------------------------------------------------------


def lock(connection: sa.Connection, batch_id: str) -> None:
    """Nobody else may change the batch until this transaction ends."""
    connection.execute(_LOCK, {"batch": batch_id})


def locked(session: Session, batch_id: str) -> Batch | None:
    """The batch as it is now; nobody else may change it until this transaction ends."""
    return session.scalar(_LOCKED, {"batch": batch_id}, execution_options=_AS_IT_IS)


def lock_batch_of(message: Claimed, session: Session) -> None:
    if message.batch_id:
        locked(session, message.batch_id)


def lock_all_of(member_id: int, session: Session) -> None:
    """To be called before all waiting messages of a member are paused."""
    mine = sa.select(Member.id).where(Member.id == member_id)
    session.execute(mine.with_for_update(key_share=True))
    is_filling = sa.and_(Batch.member_id == member_id, IS_FILLING)
    lock_batches(session, Message.member_id == member_id, CAN_PAUSE, others=is_filling)


def lock_batches(
    session: Session, *which: sa.ColumnElement[bool], others: sa.ColumnElement[bool] | None = None
) -> None:
    """To be called before many messages are changed: their batches, and `others`, in the common
    order."""
    theirs = Batch.id.in_(sa.select(Message.batch_id).where(*which, Message.batch_id.is_not(None)))
    query = sa.select(Batch.id).where(theirs if others is None else sa.or_(theirs, others))
    session.execute(query.order_by(Batch.id).with_for_update()).all()


# --- What a person does with the rest of a batch --------------------------------------------------


def resume(batch: Batch, by: Member) -> None:
    """Go on with the paused messages: planned again if their time is ahead, else due now."""
    with transaction() as session:
        _restart(session, [batch.id])
        _wait_again(session, Message.batch_id == batch.id)
        record(session, AuditEvent.RESUMED, by, batch_id=batch.id)


def missed(batch: Batch) -> list[Message]:
    """Its missed messages that nobody has dealt with, in their order; not those that remind of
    what is over."""
    query = sa.select(Message).where(*_missed(batch)).order_by(Message.position)
    return list(db.session.scalars(query))


def missed_count(batch: Batch) -> int:
    query = sa.select(sa.func.count()).select_from(Message).where(*_missed(batch))
    return db.session.scalar(query) or 0


def send_missed(batch: Batch, by: Member) -> int:
    """Send the missed messages after all, now; returns how many. The paused ones stay paused."""
    at = now()
    anew = {"reason": "", "send_at": None, "time_zone": "", "due_at": at, "expected_at": at}
    again = transitions.change_to(Outcome.QUEUED, Actor.PERSON, only_from=(Outcome.MISSED,))
    with transaction() as session:
        locked(session, batch.id)
        again = again.where(*_missed(batch)).values(**anew, first_tried_at=None, tries=0)
        count = rows_changed(session, again)
        if count:
            _restart(session, [batch.id])
            record(session, AuditEvent.RESUMED, by, batch_id=batch.id, detail=str(count))
    return count


def _missed(batch: Batch) -> tuple[sa.ColumnElement[bool], ...]:
    is_open = (Message.outcome == Outcome.MISSED, Message.done_at.is_(None))
    return (Message.batch_id == batch.id, *is_open, _has_meaning())


def cancel(batch: Batch, by: Member) -> Counter[Outcome]:
    """Withdraw every message that has not left; returns how many are now `cancelled`, and how many
    are still `sending` and have the wish.

    Those that are not made yet, of a list, will be made as `cancelled`.
    """
    with transaction() as session:
        locked(session, batch.id)
        filling = sa.update(Batch).where(Batch.id == batch.id, IS_FILLING)
        rows_changed(session, filling.values(wish=FillWish.CANCEL))
        counts = withdraw_all(session, Message.batch_id == batch.id)
        record(session, AuditEvent.WITHDREW, by, batch_id=batch.id, detail=str(counts.total()))
    return counts


def withdraw_all(
    session: Session, which: sa.ColumnElement[bool], reason: Reason | None = None
) -> Counter[Outcome]:
    """Withdraw these messages where they have not left; returns how many have which outcome now."""
    lock_batches(session, which, transitions.CAN_WITHDRAW)
    change = transitions.withdraw(reason).where(which).returning(Message.outcome)
    return Counter(session.scalars(change, execution_options=_UNLOADED))


_UNLOADED = {"synchronize_session": False}


def releasable(member: Member) -> list[Message]:
    """The member's own paused messages that are not too late; the others go on asking."""
    query = sa.select(Message).where(*_releasable(member)).order_by(Message.created_at)
    return list(db.session.scalars(query))


def has_releasable(member: Member) -> bool:
    query = sa.select(sa.literal(True)).where(*_releasable(member)).limit(1)
    return db.session.scalar(query) is not None


def release_all(member: Member) -> tuple[int, list[str]]:
    """Release these messages at their planned times, or now if there is none or it has just passed.

    Returns how many, and the batches that go on.
    """
    which = _releasable(member)
    with transaction() as session:
        found = session.scalars(sa.select(Message.batch_id).where(*which).distinct())
        batch_ids = sorted(id_ for id_ in found if id_)
        _restart(session, batch_ids)
        count = _wait_again(session, *which)
        if count:
            record(session, AuditEvent.RESUMED, member, detail=str(count))
    return count, batch_ids


def _releasable(member: Member) -> tuple[sa.ColumnElement[bool], ...]:
    in_time = sa.or_(Message.send_at.is_(None), Message.send_at > now() - tolerance())
    return (
        Message.member_id == member.id,
        Message.outcome == Outcome.PAUSED,
        in_time,
        _has_meaning(),
    )


def _has_meaning() -> sa.ColumnElement[bool]:
    """The condition on messages that they remind of nothing that is over."""
    return sa.or_(Message.not_after.is_(None), Message.not_after > now())


def _restart(session: Session, batch_ids: list[str]) -> None:
    """Let the worker go on with these batches, and take back the wishes to pause in them."""
    on = {"stop_reason": "", "unknowns_in_a_row": 0, "is_open": False, "active_at": now()}
    rows_changed(session, sa.update(Batch).where(Batch.id.in_(batch_ids)).values(**on))
    wished = (Message.batch_id.in_(batch_ids), Message.outcome == Outcome.SENDING)
    taken_back = sa.update(Message).where(*wished, Message.wish == Wish.PAUSE)
    rows_changed(session, taken_back.values(wish=Wish.NONE, reason=""))


def _wait_again(session: Session, *which: sa.ColumnElement[bool]) -> int:
    """Let paused messages wait again, as if they had not been tried; returns how many."""
    at = now()
    anew = {"reason": "", "first_tried_at": None, "tries": 0}
    paused = (Outcome.PAUSED,)
    planned = transitions.change_to(Outcome.HELD, Actor.PERSON, only_from=paused)
    planned = planned.where(*which, Message.send_at > at).values(expected_at=Message.send_at)
    count = rows_changed(session, planned.values(**anew))
    due = transitions.change_to(Outcome.QUEUED, Actor.PERSON, only_from=paused)
    due = due.where(*which, _has_meaning()).values(due_at=at, expected_at=at)
    return count + rows_changed(session, due.values(**anew))


# --- Counts ---------------------------------------------------------------------------------------


def failed(batch: Batch) -> list[Message]:
    """Its messages of which nothing was sent, and which have not been sent again; in their order.

    Only those with the text of the first such one: a form has one text.
    """
    query = sa.select(Message).where(*_failed(batch.id)).order_by(Message.position)
    found = list(db.session.scalars(query))
    return [one for one in found if one.text == found[0].text]


def failed_to(session: Session | sa.Connection, batch_id: str, member_id: int) -> dict[str, str]:
    """The ids of a member's such messages, by recipient. They cannot be erased before this
    transaction ends."""
    query = sa.select(Message.recipient, Message.id).where(*_failed(batch_id))
    locked = query.where(Message.member_id == member_id).with_for_update(read=True, key_share=True)
    return {recipient: id_ for recipient, id_ in session.execute(locked)}


def _failed(batch_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    again = orm.aliased(Message)
    return (
        Message.batch_id == batch_id,
        Message.outcome.in_((Outcome.REFUSED, Outcome.NOT_SENT)),
        ~sa.exists().where(again.previous_id == Message.id),
    )


def to_be_made(whose: sa.ColumnElement[bool]) -> sa.Select[int]:
    """How many messages will still be made for batches that are being filled."""
    made = sa.select(sa.func.count()).select_from(Message).where(Message.batch_id == Batch.id)
    left = sa.func.sum(Batch.total - made.correlate(Batch).scalar_subquery())
    is_on = (Batch.stop_reason == "", Batch.wish != FillWish.CANCEL)
    return sa.select(sa.func.coalesce(left, 0)).where(whose, IS_FILLING, *is_on)


def outcome_counts(batch_id: str) -> dict[Outcome, int]:
    query = (
        sa.select(Message.outcome, sa.func.count())
        .where(Message.batch_id == batch_id)
        .group_by(Message.outcome)
    )
    return {outcome: count for outcome, count in db.session.execute(query)}


def size(batch_id: str) -> int:
    """How many messages it has."""
    query = sa.select(sa.func.count()).where(Message.batch_id == batch_id)
    return db.session.scalar(query) or 0


def wish_counts(batch_id: str) -> Counter[Wish]:
    """What is wished of its messages that are `sending`."""
    query = (
        sa.select(Message.wish, sa.func.count())
        .where(Message.batch_id == batch_id, Message.outcome == Outcome.SENDING)
        .group_by(Message.wish)
    )
    return Counter({Wish(wish): count for wish, count in db.session.execute(query)})


def first(batch_id: str) -> Message | None:
    """Its first message, of those at its own time if there is one; None while none is made."""
    query = sa.select(Message).where(Message.batch_id == batch_id).order_by(Message.position)
    at_its_time = query.where(Message.entry_id == Message.batch_id)
    return db.session.scalar(at_its_time.limit(1)) or db.session.scalar(query.limit(1))


PACE_OVER = timedelta(minutes=1)


def time_left(batch: Batch, waiting: int) -> timedelta | None:
    """How long the rest takes at the pace of the last minute; None if nothing went then."""
    since = max(batch.created_at, now() - PACE_OVER)
    went = db.session.scalar(
        sa.select(sa.func.count())
        .select_from(Message)
        .where(Message.batch_id == batch.id, Message.settled_at > since)
    )
    return (now() - since) * waiting / went if went else None


def next_time(batch_id: str) -> datetime | None:
    """The planned time of the next message that waits; None if none is planned."""
    query = sa.select(sa.func.min(Message.send_at))
    waits = (Message.batch_id == batch_id, Message.outcome == Outcome.HELD)
    return db.session.scalar(query.where(*waits))


CHUNK = 500


def iter_chunks(batch_id: str) -> Iterator[list[Message]]:
    """All messages of a batch in the list's order. No transaction is open between two chunks."""
    last = -1
    while True:
        query = sa.select(Message).where(Message.batch_id == batch_id, Message.position > last)
        found = list(db.session.scalars(query.order_by(Message.position).limit(CHUNK)))
        yield found
        end_read()
        if len(found) < CHUNK:
            return
        last = found[-1].position
        db.session.expunge_all()
