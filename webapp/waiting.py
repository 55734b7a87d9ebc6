"""Messages that wait: planned ones, queued ones, and those that wait for a person's click.

Every change is a conditional UPDATE on the outcome: withdrawing and sending cannot both win.
With `outbox.py`, `sending.py` and `settling.py` the only writer of outcomes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp import sending, sms, tokens, wishes
from webapp.claims import MAX_SLOWDOWN, MAX_UNKNOWNS_IN_A_ROW, Claim, locked, tolerance
from webapp.database import AWAY, detached, forget, now, put, rows_changed, transaction
from webapp.extensions import db
from webapp.models import Batch, Member, Message, Slowdown, TokenSet
from webapp.outbox import NewMessage, handover_lead
from webapp.outcomes import STUCK, WAITING, Outcome, Reason
from webapp.record import Did, note
from webapp.sending import Result, Step
from webapp.wishes import Wish

log = logging.getLogger(__name__)

RETRY_FOR = timedelta(minutes=15)
"""What is queued. What is planned is tried until it is missed."""
FIRST_RETRY_S = 5
MAX_RETRY_S = 120
TOKEN_SET_RESERVE = timedelta(hours=24)
"""What is planned goes to sipgate this long before the token set that could send it ends."""
IDLE_BATCH = timedelta(seconds=20)
SWEEP_LIMIT = 1000
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


def deliver_claimed(claim: Claim) -> bool:
    """Send a claimed message with a living sign-in of its member.

    Proof that nothing was sent puts it back, for a while; when the last sign-in has ended it is
    paused; what was wished meanwhile comes before either. Returns whether this was its batch's
    first clear answer: now more of it may go at the same time.
    """
    opened = False
    message = detached(claim.message)

    def tell_batch(rows: Session) -> None:
        nonlocal opened
        opened = _tell_batch(rows, message, result)

    result = _attempt_with_each_sign_in(claim)
    if result.reason == Reason.SIGN_IN_ENDED:
        became = _pause_all_of(message)
    elif result.reason == Reason.RATE_LIMITED:
        became = _wait_until(message, result)
    elif result.outcome == Outcome.NOT_SENT and _may_retry(message):
        became = _put_back(message, now() + _backoff(message))
    else:
        first = partial(_lock_batch_of, message)
        became = sending.settle(message, result, first=first, more=tell_batch)
    sending.tell(message, result, became)
    return opened


def sweep() -> Due:
    """Find what is due, stuck or forgotten. Idempotent: several may run at once."""
    sending.settle_stale()
    mark_missed()
    _hand_over_before_tokens_end()
    _pause_without_sign_in()
    _end_what_is_put_off_too_far()
    at = now()
    due = (Message.outcome.in_(WAITING), Message.due_at <= at)
    is_held = Message.outcome == Outcome.HELD
    # In a stopped batch, what waits was released by itself.
    alone = sa.or_(Message.batch_id.is_(None), Batch.stop_reason != "")
    singles = sa.select(Message.id).outerjoin(Batch, Batch.id == Message.batch_id)
    singles = singles.where(*due, alone)
    batches = (
        sa.select(Message.batch_id)
        .join(Batch, Batch.id == Message.batch_id)
        .where(*due, Batch.stop_reason == "")
        .where(sa.or_(~Batch.active_at.between(at - IDLE_BATCH, at + IDLE_BATCH), is_held))
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
    end = tokens.last_end(message.member_id)
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
        wishes.lock_all_of(member_id, rows)
        return wishes.pause(rows, Message.member_id == member_id, reason)


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


def withdraw(message: Message, by: Member) -> Outcome | None:
    """Cancel a message that has not left; `sending` if that is now wished of one that is being
    sent; None if it is too late."""
    change = sa.update(Message).where(Message.id == message.id, wishes.CAN_WITHDRAW)
    change = change.values(wishes.withdrawn())
    options = {"synchronize_session": False}
    with transaction() as rows:
        became = rows.scalar(change.returning(Message.outcome), execution_options=options)
        if became:
            note(rows, Did.WITHDREW, by, message=message)
    return became


def can_withdraw(message: Message) -> bool:
    """Whether there is still something to withdraw, or to wish."""
    if message.outcome == Outcome.SENDING:
        return message.wish != Wish.CANCEL
    return message.outcome in (*WAITING, *STUCK)


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


def _attempt_with_each_sign_in(claim: Claim) -> Result:
    """With the newest living sign-in of its member; where that has ended, with the next."""
    result = Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED)
    tried: list[int] = []
    while result.reason == Reason.SIGN_IN_ENDED:
        try:
            credentials = tokens.newest_for(claim.message.member_id, tried=tried)
        except AWAY:
            forget()
            return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)
        if credentials is None:
            break
        within_s = sending.AGAIN_WITHIN_S if tried else sending.BEGIN_WITHIN_S
        result = sending.attempt(claim, credentials, within_s)
        tried.append(credentials.token_set_id)
    return result


def _is_planned(message: Message) -> bool:
    """Whether it has its time still; what was paused and is due at once has another."""
    return message.send_at is not None and message.send_at == message.expected_at


def _may_retry(message: Message) -> bool:
    """A planned one always: past its time and the tolerance it is missed, and asked about."""
    return _is_planned(message) or (message.first_tried_at or now()) > now() - RETRY_FOR


def _backoff(message: Message) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_S * 2 ** max(0, message.tries - 1), MAX_RETRY_S))


def _put_back(message: Message, due_at: datetime, more: Step | None = None) -> Outcome | None:
    outcome = Outcome.HELD if _is_planned(message) else Outcome.QUEUED
    first = partial(_lock_batch_of, message)
    return sending.put_back(message, first=first, more=more, outcome=outcome, due_at=due_at)


def _wait_until(message: Message, result: Result) -> Outcome | None:
    """429: this one waits, and so does everything else of its account."""
    until = result.retry_at or now()

    def slow_down(rows: Session) -> None:
        put(rows, Slowdown, {"account_id": message.account_id}, {"until": until})

    return _put_back(message, until, slow_down)


def _pause_all_of(message: Message) -> Outcome | None:
    """The sign-in has ended: pause this one, and if no other sign-in lives, all that waits."""

    def pause_rest(rows: Session) -> None:
        if tokens.newest_for(message.member_id, rows) is None:
            wishes.pause(rows, Message.member_id == message.member_id, Reason.SIGN_IN_ENDED)
        elif message.batch_id:
            wishes.pause(rows, Message.batch_id == message.batch_id, Reason.SIGN_IN_ENDED)

    first = partial(wishes.lock_all_of, message.member_id)
    how = {"outcome": Outcome.PAUSED, "reason": Reason.SIGN_IN_ENDED}
    return sending.put_back(message, first=first, more=pause_rest, **how)


def _lock_batch_of(message: Message, rows: Session) -> None:
    if message.batch_id:
        locked(rows, message.batch_id)


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
        wishes.pause(rows, Message.batch_id == batch.id, reason)
    return is_first


def _pause_without_sign_in() -> None:
    """Nobody can send for a member whose sign-ins have all ended: that waits for the member."""
    living = sa.select(TokenSet.member_id).where(TokenSet.ended_at.is_(None))
    waiting = (Message.member_id.not_in(living), Message.outcome.in_(WAITING))
    lost = sa.select(Message.member_id).where(*waiting).distinct()
    for member_id in db.session.scalars(lost).all():
        with transaction() as rows:
            wishes.lock_all_of(member_id, rows)
            if tokens.newest_for(member_id, rows) is None:
                wishes.pause(rows, Message.member_id == member_id, Reason.SIGN_IN_ENDED)


def _end_what_is_put_off_too_far() -> None:
    """What is queued, or was tried, is put off for so long only by a clock that was ahead."""
    at = now()
    over = Slowdown.until > at + MAX_SLOWDOWN
    if db.session.scalar(sa.select(Slowdown.account_id).where(over).limit(1)) is not None:
        with transaction() as rows:
            rows_changed(rows, sa.delete(Slowdown).where(over))
    is_tried = sa.and_(Message.outcome == Outcome.HELD, Message.tries > 0)
    is_so = sa.or_(Message.outcome == Outcome.QUEUED, is_tried)
    far = (is_so, Message.due_at > at + MAX_SLOWDOWN)
    for message in db.session.scalars(sa.select(Message).where(*far).limit(SWEEP_LIMIT)).all():
        planned = message.send_at - handover_lead() if message.send_at else at
        due_at = max(at, planned) if message.outcome == Outcome.HELD else at
        same = (Message.id == message.id, Message.due_at == message.due_at, is_so)
        with transaction() as rows:
            rows_changed(rows, sa.update(Message).where(*same).values(due_at=due_at, tries=0))


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
