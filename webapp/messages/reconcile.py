"""Settling unknown outcomes, by a unique match in sipgate's history or by a person's word.

Absence from the history proves nothing, and two equal texts cannot be told apart. So the history
decides only if exactly one entry fits and no other message of ours could own it. Otherwise the page
shows the entries that fit, and a person decides.
"""

import logging
from datetime import timedelta

import sqlalchemy as sa

from webapp.database import db, rows_changed, transaction
from webapp.database.audit import AuditEvent, record
from webapp.database.models import Member, Message
from webapp.messages import transitions
from webapp.rules.outcomes import MAY_BECOME, Actor, Outcome
from webapp.rules.text import normalise_text
from webapp.rules.times import now
from webapp.signin import SignInEnded, tokens, with_one_refresh
from webapp.sipgate import HistoryEntry, SipgateError, client
from webapp.sipgate.login import LoginUnavailable

log = logging.getLogger(__name__)

SPAN = timedelta(minutes=10)
"""How far an entry's time may be from ours: sending takes a while, and clocks differ."""
NEXT_LOOKS = (timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=60))
SCOPE = "history:read"
EVENT_LIST_URL = "https://app.sipgate.com/history"
"""Where a person looks; the page of sipgate's web app."""
BY_HISTORY, BY_PERSON = "history", "person"
COULD_OWN = (Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.UNKNOWN)
A_PERSON_MAY_SAY = MAY_BECOME[Outcome.UNKNOWN][Actor.PERSON]


def can_check_history(member: Member) -> bool:
    """Whether a sign-in of this member may read the history."""
    return tokens.newest_with_scope(member.id, SCOPE) is not None


def check_history(message: Message, by: Member | None = None) -> tuple[HistoryEntry, ...]:
    """Look in sipgate's history and settle the message if that is certain; returns the entries that
    fit.

    Uses the sign-in of `by`, or else of the message's member. Without the permission, or with
    sipgate away, nothing fits.
    """
    if message.outcome != Outcome.UNKNOWN:
        return ()
    fitting = _fitting_entries(message, by.id if by else message.member_id)
    if len(fitting) == 1 and not _has_rival(message):
        _settle(message, Outcome.SCHEDULED if message.send_at else Outcome.ACCEPTED)
    else:
        _plan_next_look(message)
    return fitting


def settle_by_member(message: Message, outcome: Outcome, by: Member) -> bool:
    """Settle an unknown message by a person's word. Returns False if it is no longer unknown."""
    if outcome not in A_PERSON_MAY_SAY:
        raise ValueError(f"nobody may say that it was {outcome}")
    return _settle(message, outcome, by)


def _fitting_entries(message: Message, asks_id: int) -> tuple[HistoryEntry, ...]:
    credentials = tokens.newest_with_scope(asks_id, SCOPE)
    sent_at = message.sending_since or message.created_at
    if credentials is None:
        return ()
    try:
        entries = with_one_refresh(
            credentials,
            lambda auth: client().sent_texts(
                auth,
                extension_id=message.extension_id,
                since=sent_at - SPAN,
                until=sent_at + SPAN,
            ),
        )
    except (SipgateError, SignInEnded, LoginUnavailable) as error:
        log.info("message %s: no look into the history: %s", message.id, type(error).__name__)
        return ()
    return tuple(entry for entry in entries if _fits(message, entry))


def _fits(message: Message, entry: HistoryEntry) -> bool:
    sent_at = message.sending_since or message.created_at
    return (
        message.extension_id in entry.extension_ids
        and _digits(entry.target) == _digits(message.recipient)
        and normalise_text(entry.text) == message.text
        and abs(entry.created_at - sent_at) <= SPAN
    )


def _digits(number: str) -> str:
    """sipgate writes numbers as `+49…`, `49…`, `0049…`: compare what they have in common."""
    return "".join(c for c in number if c.isascii() and c.isdigit()).removeprefix("00")


def _has_rival(message: Message) -> bool:
    """Whether another message of ours could own the same entry."""
    sent_at = message.sending_since or message.created_at
    rival = db.session.scalar(
        sa.select(Message.id)
        .where(
            Message.id != message.id,
            Message.account_id == message.account_id,
            Message.extension_id == message.extension_id,
            Message.recipient == message.recipient,
            Message.text == message.text,
            Message.outcome.in_((*COULD_OWN, Outcome.SENDING)),
            Message.sending_since > sent_at - 2 * SPAN,
            Message.sending_since < sent_at + 2 * SPAN,
        )
        .limit(1)
    )
    return rival is not None


def _settle(message: Message, outcome: Outcome, by: Member | None = None) -> bool:
    values = {
        "settled_at": now(),
        "settled_how": BY_PERSON if by else BY_HISTORY,
        "settled_by_id": by.id if by else None,
        "look_at": None,
    }
    if by:
        values |= {"done_at": now(), "done_by_id": by.id}
    actor = Actor.PERSON if by else Actor.HISTORY
    change = transitions.change_to(outcome, actor, only_from=(Outcome.UNKNOWN,))
    change = change.where(Message.id == message.id).values(**values)
    with transaction() as session:
        done = rows_changed(session, change) == 1
        if done:
            record(session, AuditEvent.SETTLED, by, message=message, detail=outcome)
    return done


def _plan_next_look(message: Message) -> None:
    """After 1, 5, 15 and 60 minutes; then only when somebody asks."""
    sent_at = message.sending_since or message.created_at
    later = (sent_at + wait for wait in NEXT_LOOKS if sent_at + wait > now())
    unknown = (Message.id == message.id, Message.outcome == Outcome.UNKNOWN)
    with transaction() as session:
        rows_changed(
            session,
            sa.update(Message)
            .where(*unknown)
            .values(look_at=next(later, None), looks=Message.looks + 1),
        )
