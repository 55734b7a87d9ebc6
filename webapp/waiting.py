"""Messages that wait: planned ones, queued ones, and those that wait for a person's click.

Every change is a conditional UPDATE on the outcome: withdrawing and sending cannot both win.
With `outbox.py`, `sending.py` and `settling.py` the only writer of outcomes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp import sending, sms, tokens
from webapp.claims import MAX_UNKNOWNS_IN_A_ROW, locked, tolerance
from webapp.database import AWAY, detached, forget, now, put, rows_changed, transaction
from webapp.extensions import db
from webapp.models import Batch, Member, Message, Slowdown, TokenSet
from webapp.outbox import NewMessage, handover_lead
from webapp.outcomes import STUCK, WAITING, Outcome, Reason
from webapp.record import Did, note
from webapp.sending import Result

log = logging.getLogger(__name__)

RETRY_FOR = timedelta(minutes=15)
FIRST_RETRY_S = 5
MAX_RETRY_S = 120
TOKEN_SET_RESERVE = timedelta(hours=24)
"""What is planned goes to sipgate this long before the token set that could send it ends."""
IDLE_BATCH = timedelta(seconds=20)
SWEEP_LIMIT = 1000
NOT_TRIED = (Reason.UNREACHABLE, Reason.LOGIN_AWAY, Reason.DATABASE_AWAY)
STOPS_BATCH = {
    Reason.BALANCE: Reason.BALANCE,
    Reason.NOT_ALLOWED: Reason.NOT_ALLOWED,
    Reason.SIGN_IN_ENDED: Reason.SIGN_IN_ENDED,
}


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep found to do: ids only."""

    message_ids: list[str]
    batch_ids: list[str]
    look_ids: list[str]


# --- The worker's side ----------------------------------------------------------------------------


def deliver_claimed(message: Message) -> bool:
    """Send a claimed message with the newest living sign-in of its member.

    Proof that nothing was sent puts it back, for a while; a sign-in that ended pauses it. Returns
    whether this was its batch's first clear answer: now more of it may go at the same time.
    """
    opened = False
    message = detached(message)

    def tell_batch(rows: Session) -> None:
        nonlocal opened
        opened = _tell_batch(rows, message, result)

    result = _attempt(message)
    if result.reason == Reason.SIGN_IN_ENDED:
        _pause_all_of(message)
    elif result.reason == Reason.RATE_LIMITED:
        _wait_until(message, result)
    elif result.reason in NOT_TRIED and _may_retry(message):
        _put_back(message, now() + _backoff(message))
    else:
        sending.settle(message, result, tell_batch)
    sending.tell(message, result)
    return opened


def sweep() -> Due:
    """Find what is due, stuck or forgotten. Idempotent: several may run at once."""
    sending.settle_stale()
    mark_missed()
    _hand_over_before_tokens_end()
    _pause_without_sign_in()
    at = now()
    due = (Message.outcome.in_(WAITING), Message.due_at <= at)
    # In a stopped batch, what waits was released by itself.
    alone = sa.or_(Message.batch_id.is_(None), Batch.stop_reason != "")
    singles = sa.select(Message.id).outerjoin(Batch, Batch.id == Message.batch_id)
    singles = singles.where(*due, alone)
    batches = (
        sa.select(Message.batch_id)
        .join(Batch, Batch.id == Message.batch_id)
        .where(*due, Batch.stop_reason == "")
        .where(sa.or_(Batch.active_at < at - IDLE_BATCH, Message.outcome == Outcome.HELD))
        .distinct()
    )
    looks = sa.select(Message.id).where(Message.outcome == Outcome.UNKNOWN, Message.look_at <= at)
    return Due(
        list(db.session.scalars(singles.order_by(Message.due_at).limit(SWEEP_LIMIT))),
        [id_ for id_ in db.session.scalars(batches.limit(SWEEP_LIMIT)) if id_],
        list(db.session.scalars(looks.limit(SWEEP_LIMIT))),
    )


def mark_missed() -> None:
    """What is later than the tolerance is not sent any more by itself, but asked about."""
    limit = now() - tolerance()
    stalled = sa.select(Batch.id).where(Batch.active_at < limit)
    late = sa.or_(
        sa.and_(
            Message.expected_at < limit,
            sa.or_(Message.batch_id.is_(None), Message.outcome == Outcome.HELD),
        ),
        sa.and_(Message.outcome == Outcome.QUEUED, Message.batch_id.in_(stalled)),
    )
    waiting = (Message.outcome.in_((*WAITING, Outcome.PAUSED)), late)
    if db.session.scalar(sa.select(Message.id).where(*waiting).limit(1)) is None:
        return
    with transaction() as rows:
        count = rows_changed(
            rows, sa.update(Message).where(*waiting).values(outcome=Outcome.MISSED)
        )
    log.warning("%d messages were missed: their time passed before they left", count)


def handover_at(message: Message) -> datetime | None:
    """When a planned message goes to sipgate and can no longer be recalled; None if it does not."""
    if message.outcome != Outcome.HELD or message.send_at is None:
        return None
    end = db.session.scalar(
        sa.select(TokenSet.refresh_expires_at)
        .where(TokenSet.member_id == message.member_id, TokenSet.ended_at.is_(None))
        .order_by(TokenSet.id.desc())
        .limit(1)
    )
    planned = message.due_at or message.send_at - handover_lead()
    return min(planned, end - TOKEN_SET_RESERVE) if end else planned


def waiting_count(member_id: int) -> int:
    return db.session.scalar(_WAITING_COUNT, {"of": member_id}) or 0


# For every page; built once, as in `claims.py`.
_WAITING_COUNT = (
    sa.select(sa.func.count())
    .select_from(Message)
    .where(Message.member_id == sa.bindparam("of"), Message.outcome.in_(WAITING))
)


def pause_waiting_of(member_id: int, reason: Reason) -> int:
    """Pause what waits for this member, and the batches it is in; returns how many."""
    with transaction() as rows:
        return pause(rows, Message.member_id == member_id, reason)


def hand_over_now(member_id: int) -> None:
    """What is planned goes to sipgate with the worker's next turn: its member is leaving."""
    with transaction() as rows:
        rows_changed(
            rows,
            sa.update(Message)
            .where(Message.member_id == member_id, Message.outcome == Outcome.HELD)
            .values(due_at=now()),
        )


# --- A person's clicks ----------------------------------------------------------------------------


def withdraw(message: Message, by: Member) -> bool:
    """Cancel a message that has not left; False if it is too late."""
    with transaction() as rows:
        done = _change(
            rows, message, (*WAITING, *STUCK), outcome=Outcome.CANCELLED, settled_at=now()
        )
        if done:
            note(rows, Did.WITHDREW, by, message=message)
    return done


def edit(message: Message, new: NewMessage, by: Member) -> bool:
    """Change a planned message; False if it has left meanwhile. Without a time it is due now."""
    at = now()
    values = {
        "extension_id": new.extension.id,
        "extension_alias": new.extension.alias,
        "caller_id": new.extension.caller_id,
        "recipient": new.recipient,
        "text": new.text,
        "segment_count": sms.segment(new.text).segment_count,
        **_when(new.send_at, new.time_zone, at),
    }
    with transaction() as rows:
        done = _change(rows, message, (Outcome.HELD,), **values)
        if done:
            note(rows, Did.CHANGED, by, message=message)
    return done


def reschedule(message: Message, send_at: datetime | None, zone: str, by: Member) -> bool:
    """Send a missed or paused message after all, now or at a new time; False if it has left."""
    again: dict[str, object] = {"reason": "", "done_at": None, "done_by_id": None}
    with transaction() as rows:
        done = _change(rows, message, STUCK, **again, **_when(send_at, zone, now()))
        if done:
            note(rows, Did.RESUMED, by, message=message)
    return done


# --- Underneath -----------------------------------------------------------------------------------


def _change(rows: Session, message: Message, while_in: Sequence[Outcome], **values: object) -> bool:
    where = (Message.id == message.id, Message.outcome.in_(while_in))
    return rows_changed(rows, sa.update(Message).where(*where).values(**values)) == 1


def _when(send_at: datetime | None, zone: str, at: datetime) -> dict[str, object]:
    """The columns that say when: held until its hand-over, or due now."""
    if send_at is None:
        return {
            "outcome": Outcome.QUEUED,
            "send_at": None,
            "time_zone": "",
            "due_at": at,
            "expected_at": at,
            "first_tried_at": None,
            "tries": 0,
        }
    return {
        "outcome": Outcome.HELD,
        "send_at": send_at,
        "time_zone": zone,
        "due_at": max(at, send_at - handover_lead()),
        "expected_at": send_at,
        "first_tried_at": None,
        "tries": 0,
    }


def _attempt(message: Message) -> Result:
    try:
        credentials = tokens.newest_for(message.member_id)
    except AWAY:
        forget()
        return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)
    if credentials is None:
        return Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    return sending.attempt(message, credentials)


def _may_retry(message: Message) -> bool:
    return (message.first_tried_at or now()) > now() - RETRY_FOR


def _backoff(message: Message) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** max(0, message.tries - 1), MAX_RETRY_S))


def _back_to(message: Message) -> Outcome:
    is_planned = message.send_at is not None and message.send_at > now()
    return Outcome.HELD if is_planned else Outcome.QUEUED


def _put_back(message: Message, due_at: datetime) -> None:
    sending.write(message, {"outcome": _back_to(message), "attempt": None, "due_at": due_at})


def _wait_until(message: Message, result: Result) -> None:
    """429: this one waits, and so does everything else of its account."""
    until = result.retry_at or now()

    def slow_down(rows: Session) -> None:
        put(rows, Slowdown, {"account_id": message.account_id}, {"until": until})

    values = {"outcome": _back_to(message), "attempt": None, "due_at": until}
    sending.write(message, values, slow_down)


def _pause_all_of(message: Message) -> None:
    """The sign-in has ended: pause this one, and if no other sign-in lives, all that waits."""

    def pause_rest(rows: Session) -> None:
        if tokens.newest_for(message.member_id, rows) is None:
            pause(rows, Message.member_id == message.member_id, Reason.SIGN_IN_ENDED)
        elif message.batch_id:
            pause(rows, Message.batch_id == message.batch_id, Reason.SIGN_IN_ENDED)

    values = {"outcome": Outcome.PAUSED, "reason": Reason.SIGN_IN_ENDED, "attempt": None}
    sending.write(message, values, pause_rest)


def pause(rows: Session, whose: sa.ColumnElement[bool], reason: Reason) -> int:
    """Pause what waits among `whose`, and the batches it is in; returns how many."""
    waiting = (whose, Message.outcome.in_(WAITING))
    batches = sa.select(Message.batch_id).where(*waiting, Message.batch_id.is_not(None))
    rows_changed(
        rows,
        sa.update(Batch)
        .where(Batch.id.in_(batches), Batch.stop_reason == "")
        .values(stop_reason=reason),
    )
    return rows_changed(
        rows, sa.update(Message).where(*waiting).values(outcome=Outcome.PAUSED, reason=reason)
    )


def _tell_batch(rows: Session, message: Message, result: Result) -> bool:
    """Three unknowns in a row, an empty balance or a missing right stop the rest of the batch.

    Returns whether it was the batch's first clear answer.
    """
    if message.batch_id is None:
        return False
    batch = locked(rows, message.batch_id)
    if batch is None:  # never: a batch with a message that is being sent is not erased
        return False
    is_first = not batch.is_open and result.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED)
    if result.outcome == Outcome.UNKNOWN:
        batch.unknowns_in_a_row += 1
    elif batch.unknowns_in_a_row:
        batch.unknowns_in_a_row = 0
    if is_first:
        batch.is_open = True
    rows.flush()
    reason = STOPS_BATCH.get(result.reason) if result.reason else None
    if batch.unknowns_in_a_row >= MAX_UNKNOWNS_IN_A_ROW:
        reason = Reason.UNKNOWNS
    if reason:
        pause(rows, Message.batch_id == batch.id, reason)
    return is_first


def _pause_without_sign_in() -> None:
    """Nobody can send for a member whose sign-ins have all ended: that waits for the member."""
    living = sa.select(TokenSet.member_id).where(TokenSet.ended_at.is_(None))
    lost = Message.member_id.not_in(living)
    waiting = (lost, Message.outcome.in_(WAITING))
    if db.session.scalar(sa.select(Message.id).where(*waiting).limit(1)) is not None:
        with transaction() as rows:
            pause(rows, lost, Reason.SIGN_IN_ENDED)


def _hand_over_before_tokens_end() -> None:
    """What could outlive the last sign-in that can send it goes to sipgate early."""
    newest = (
        sa.select(TokenSet.member_id)
        .where(TokenSet.ended_at.is_(None))
        .group_by(TokenSet.member_id)
        .having(sa.func.max(TokenSet.refresh_expires_at) < now() + TOKEN_SET_RESERVE)
    )
    endless = sa.select(TokenSet.member_id).where(
        TokenSet.ended_at.is_(None), TokenSet.refresh_expires_at.is_(None)
    )
    early = (
        Message.outcome == Outcome.HELD,
        Message.due_at > now(),
        Message.member_id.in_(newest),
        Message.member_id.not_in(endless),
    )
    if db.session.scalar(sa.select(Message.id).where(*early).limit(1)) is not None:
        with transaction() as rows:
            rows_changed(rows, sa.update(Message).where(*early).values(due_at=now()))
