"""What is erased, and when: rows past their time, everything about a number, left sign-ins."""

import logging
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session, undefer

from webapp.alerts import telling
from webapp.config import settings
from webapp.database import limits, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.idempotency import USED_ID_KEPT_FOR
from webapp.database.models import (
    GUESSES,
    IS_FILLED,
    Batch,
    BlockedNumber,
    BrowserSession,
    Contact,
    Draft,
    Event,
    KeptAnswer,
    Member,
    Message,
    SignIn,
    Slowdown,
    Submission,
    TokenSet,
)
from webapp.messages import batches, groups, message_templates
from webapp.messages.lists import uploads
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, Outcome
from webapp.rules.times import now
from webapp.signin import tokens
from webapp.signin.flow import SIGN_IN_LIFETIME
from webapp.signin.sessions import ABSOLUTE_LIMIT
from webapp.sipgate import login

log = logging.getLogger(__name__)

DRAFT_LIFETIME = timedelta(days=7)
ENDED_TOKEN_SET_LIFETIME = timedelta(days=7)
GUESSES_LIFETIME = timedelta(days=365)
CONTACTS_LIFETIME = timedelta(days=30)
LEFT_OUT_LIFETIME = timedelta(days=7)
LIST_NAME_LIFETIME = timedelta(days=30)
ALERT_LIFETIME = timedelta(days=30)


def end_left_sign_ins() -> None:
    """Revoke the token sets of members who signed out and whose last message has gone."""
    for token_set_id in tokens.finished_logouts():
        login.revoke(tokens.revoke_locally(token_set_id))


def forget_counts() -> None:
    """How often somebody came is of no use once it no longer limits anything."""
    with transaction() as session:
        limits.forget_ended(session)


def prune() -> int:
    """Erase what is past its time; returns how many messages. One that waits is never erased."""
    old = now() - timedelta(days=settings.retention_days)
    settled = Message.outcome.not_in((*WAITING, *NEEDS_RESUME, Outcome.SENDING))
    with transaction() as session:
        count = _erase(session, sa.and_(Message.created_at < old, settled))
        session.execute(sa.delete(Event).where(Event.at < old))
        session.execute(sa.delete(SignIn).where(SignIn.created_at < now() - SIGN_IN_LIFETIME))
        session.execute(sa.delete(Draft).where(Draft.created_at < now() - DRAFT_LIFETIME))
        _delete_used_forms(session)
        old_guesses = (
            KeptAnswer.kind.startswith(GUESSES),
            KeptAnswer.asked_at < now() - GUESSES_LIFETIME,
        )
        session.execute(sa.delete(KeptAnswer).where(*old_guesses))
        session.execute(sa.delete(Slowdown).where(Slowdown.until < now()))
        ended = BrowserSession.created_at < now() - ABSOLUTE_LIMIT
        session.execute(sa.delete(BrowserSession).where(ended))
        _delete_ended_token_sets(session)
        _delete_left_contacts(session)
        message_templates.erase_deleted(session)
        groups.erase_deleted(session)
        _erase_of_lists(session)
    telling.delete_old(now() - ALERT_LIFETIME)
    log.info("%d messages were erased after %d days", count, settings.retention_days)
    return count


def forget_number(number: str) -> int:
    """Withdraw what waits for a number and erase all else to it; returns how many messages.

    If the number wants no more texts, that stays in force, but nobody can read the number.
    """
    with transaction() as session:
        # First, so that no list that is being sent makes another message to it.
        uploads.forget_number(session, number)
        groups.forget_number(session, number)
        _forget_left_out(session, number)
        batches.withdraw_all(session, Message.recipient == number)
        count = _erase(
            session, sa.and_(Message.recipient == number, Message.outcome != Outcome.SENDING)
        )
        session.execute(sa.delete(Contact).where(Contact.number == number))
        session.execute(sa.update(Member).where(Member.own_number == number).values(own_number=""))
        # The hash stays: what honours an objection may be kept (Art. 17(3) and 21(3) GDPR).
        noted = sa.update(BlockedNumber).where(BlockedNumber.number == number)
        rows_changed(session, noted.values(number=None))
        record(session, AuditEvent.ERASED, detail=str(count))
    return count


def _erase(session: Session, which: sa.ColumnElement[bool]) -> int:
    ids = sa.select(Message.id).where(which)
    _empty_submissions(session, Submission.message_id.in_(ids))
    rows_changed(
        session, sa.update(Message).where(Message.previous_id.in_(ids)).values(previous_id=None)
    )
    count = rows_changed(session, sa.delete(Message).where(which))
    empty = sa.select(Batch.id).where(~sa.exists().where(Message.batch_id == Batch.id), IS_FILLED)
    _empty_submissions(session, Submission.batch_id.in_(empty))
    rows_changed(session, sa.delete(Batch).where(Batch.id.in_(empty)))
    return count


def _empty_submissions(session: Session, which: sa.ColumnElement[bool]) -> None:
    """Erase what forms became. Their ids stay for a while, or they could be sent again (F71)."""
    erased = {"message_id": None, "batch_id": None, "content_hash": "", "erased_at": now()}
    rows_changed(session, sa.update(Submission).where(which).values(erased))


def _delete_used_forms(session: Session) -> None:
    """Delete what is known of forms that are too old to be taken again. A form that asked for a
    code has no message to be erased: its time counts from its use."""
    old = now() - USED_ID_KEPT_FOR
    asked_for_a_code = sa.and_(Submission.outcome.is_not(None), Submission.created_at < old)
    gone = sa.or_(Submission.erased_at < old, asked_for_a_code)
    session.execute(sa.delete(Submission).where(gone))


def _erase_of_lists(session: Session) -> None:
    """Erase what batches still know of their lists."""
    old_rows = Batch.created_at < now() - LEFT_OUT_LIFETIME
    had_rows = sa.update(Batch).where(old_rows, Batch.left_out.is_not(None))
    rows_changed(session, had_rows.values(left_out=None))
    old_name = Batch.created_at < now() - LIST_NAME_LIFETIME
    had_name = sa.update(Batch).where(old_name, Batch.name.is_not(None))
    rows_changed(session, had_name.values(name=None))


def _forget_left_out(session: Session, number: str) -> None:
    """Drop a number from the rows that batches left out."""
    found = sa.select(Batch).where(Batch.left_out.is_not(None)).options(undefer(Batch.left_out))
    for batch in session.scalars(found.order_by(Batch.id).with_for_update()):
        rows = batch.left_out or []
        stay = [row for row in rows if not uploads.is_number(row[1], number)]
        if len(stay) < len(rows):
            batch.left_out = stay


def _delete_ended_token_sets(session: Session) -> None:
    ended = sa.select(TokenSet.id).where(TokenSet.ended_at < now() - ENDED_TOKEN_SET_LIFETIME)
    session.execute(sa.delete(BrowserSession).where(BrowserSession.token_set_id.in_(ended)))
    rows_changed(session, sa.delete(TokenSet).where(TokenSet.id.in_(ended)))


def _delete_left_contacts(session: Session) -> None:
    """Delete contacts not read for long. They are read again when their member signs in."""
    old = KeptAnswer.kind == "contacts", KeptAnswer.asked_at < now() - CONTACTS_LIFETIME
    left = sa.select(KeptAnswer.member_id).where(*old)
    session.execute(sa.delete(Contact).where(Contact.member_id.in_(left)))
    rows_changed(session, sa.delete(KeptAnswer).where(*old))
