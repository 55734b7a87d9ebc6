"""What is due, late, stale, or must go before a sign-in ends. The worker asks every minute."""

import logging
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from webapp.database import db, rows_changed, transaction
from webapp.database.models import IS_FILLED, IS_FILLING, Batch, Message, Slowdown, TokenSet
from webapp.messages import batches, transitions
from webapp.messages.claims import MAX_SLOWDOWN
from webapp.messages.timing import TOKEN_SET_RESERVE, handover_lead, tolerance
from webapp.rules.outcomes import WAITING, Actor, Outcome, Reason, allowed_from
from webapp.rules.times import now
from webapp.signin import tokens
from webapp.telemetry import metrics

log = logging.getLogger(__name__)
IDLE_BATCH = timedelta(seconds=20)
"""A batch that claimed a message more recently has lanes at work and is not woken again."""
SWEEP_LIMIT = 1000
STALE_AFTER = timedelta(seconds=80)
"""Longer than any send can take: 40 s until the last request begins, 20 s for it, and saving it."""


@dataclass(frozen=True, slots=True)
class FoundWork:
    """The ids of what a sweep found to do."""

    message_ids: list[str]
    batch_ids: list[str]
    fill_ids: list[str]
    """Batches whose messages are to be made."""
    look_ids: list[str]


def sweep() -> FoundWork:
    """Mark what is stale, missed or without a sign-in, and find what is due. Several sweeps may run
    at once."""
    settle_stale()
    mark_missed()
    _hand_over_before_tokens_end()
    _pause_without_sign_in()
    _undo_clock_ahead()
    at = now()
    due = (Message.outcome.in_(WAITING), Message.due_at <= at)
    is_held = Message.outcome == Outcome.HELD
    is_idle = ~Batch.active_at.between(at - IDLE_BATCH, at + IDLE_BATCH)
    # A message that waits in a stopped batch was released without the others.
    alone = sa.or_(Message.batch_id.is_(None), Batch.stop_reason != "")
    singles = sa.select(Message.id).outerjoin(Batch, Batch.id == Message.batch_id)
    singles = singles.where(*due, alone)
    batches = (
        sa.select(Message.batch_id)
        .join(Batch, Batch.id == Message.batch_id)
        .where(*due, Batch.stop_reason == "", IS_FILLED)
        .where(sa.or_(is_idle, is_held))
        .distinct()
    )
    fills = sa.select(Batch.id).where(IS_FILLING, is_idle).order_by(Batch.created_at)
    looks = sa.select(Message.id).where(Message.outcome == Outcome.UNKNOWN, Message.look_at <= at)
    return FoundWork(
        list(db.session.scalars(singles.order_by(Message.due_at).limit(SWEEP_LIMIT))),
        [id_ for id_ in db.session.scalars(batches.limit(SWEEP_LIMIT)) if id_],
        list(db.session.scalars(fills.limit(SWEEP_LIMIT))),
        list(db.session.scalars(looks.limit(SWEEP_LIMIT))),
    )


def mark_missed() -> None:
    """Mark what is later than the tolerance, or than the appointment that it reminds of: it is
    asked about, and not sent by itself."""
    limit = now() - tolerance()
    stalled = sa.select(Batch.id).where(Batch.active_at < limit)
    # What is queued in a batch that moves waits for its turn; one released alone has its own time.
    stands_still = sa.and_(Message.outcome == Outcome.QUEUED, Message.batch_id.in_(stalled))
    alone = Message.batch_id.is_(None)
    too_late = sa.and_(
        Message.expected_at < limit,
        sa.or_(alone, Message.outcome == Outcome.HELD, stands_still),
    )
    is_over = Message.not_after <= now()
    late = sa.or_(is_over, too_late)
    waiting = Message.outcome.in_(allowed_from(Outcome.MISSED, Actor.WORKER))
    if db.session.scalar(sa.select(Message.id).where(waiting, late).limit(1)) is None:
        return
    why = sa.case((is_over, Reason.APPOINTMENT_PASSED.value), else_=Message.reason)
    change = transitions.change_to(Outcome.MISSED, Actor.WORKER).where(late).values(reason=why)
    with transaction() as session:
        batches.lock_batches(session, waiting, late)
        count = rows_changed(session, change)
    log.warning("%d messages were missed: their time passed before they left", count)


def _pause_without_sign_in() -> None:
    """Pause the messages of members whose sign-ins have all ended."""
    living = sa.select(TokenSet.member_id).where(TokenSet.ended_at.is_(None))
    waiting = sa.select(Message.member_id).where(
        Message.member_id.not_in(living), Message.outcome.in_(WAITING)
    )
    filling = sa.select(Batch.member_id).where(
        Batch.member_id.not_in(living), IS_FILLING, Batch.stop_reason == ""
    )
    for member_id in db.session.scalars(waiting.union(filling)).all():
        with transaction() as session:
            batches.lock_all_of(member_id, session)
            if tokens.newest_for(member_id, session) is None:
                batches.pause_all_of(session, member_id, Reason.SIGN_IN_ENDED)


def _undo_clock_ahead() -> None:
    """Put right what our clock wrote while it was ahead: slowdowns and retry times that are too far
    away, and claims of the future, which would not become stale."""
    at = now()
    claimed = sa.and_(Message.outcome == Outcome.SENDING, Message.sending_since > at + STALE_AFTER)
    if db.session.scalar(sa.select(Message.id).where(claimed).limit(1)) is not None:
        with transaction() as session:
            # From now, not at once: whoever has claimed it may still be sending it.
            rows_changed(session, sa.update(Message).where(claimed).values(sending_since=at))
    over = Slowdown.until > at + MAX_SLOWDOWN
    if db.session.scalar(sa.select(Slowdown.account_id).where(over).limit(1)) is not None:
        with transaction() as session:
            rows_changed(session, sa.delete(Slowdown).where(over))
    is_tried = sa.and_(Message.outcome == Outcome.HELD, Message.tries > 0)
    is_so = sa.or_(Message.outcome == Outcome.QUEUED, is_tried)
    far = (is_so, Message.due_at > at + MAX_SLOWDOWN)
    for message in db.session.scalars(sa.select(Message).where(*far).limit(SWEEP_LIMIT)).all():
        planned = message.send_at - handover_lead() if message.send_at else at
        due_at = max(at, planned) if message.outcome == Outcome.HELD else at
        same = (Message.id == message.id, Message.due_at == message.due_at, is_so)
        with transaction() as session:
            rows_changed(session, sa.update(Message).where(*same).values(due_at=due_at, tries=0))


def _hand_over_before_tokens_end() -> None:
    """Let planned messages go early if their member's last sign-in ends before their time."""
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
        with transaction() as session:
            rows_changed(session, sa.update(Message).where(*early).values(due_at=now()))


def settle_stale() -> None:
    """Mark messages as unknown whose process died while it was sending them."""
    stale = Message.sending_since < now() - STALE_AFTER
    sending = Message.outcome == Outcome.SENDING
    if db.session.scalar(sa.select(Message.id).where(sending, stale).limit(1)) is None:
        return
    change = transitions.change_to(Outcome.UNKNOWN, Actor.WORKER).where(stale)
    values = {"reason": Reason.INTERRUPTED, "wish": "", "settled_at": now(), "look_at": now()}
    with transaction() as session:
        settled = rows_changed(session, change.values(values))
    log.warning("%d messages were interrupted while sending: unknown", settled)
    metrics.count_message(Outcome.UNKNOWN, settled)
