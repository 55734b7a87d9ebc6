"""A wish waits with the row: what is asked of a message while its request is under way.

Nobody can take a message back that is `sending`, and nobody knows yet whether sipgate takes it. So
withdrawing and pausing are written on its row at once, and decide what becomes of it if sipgate
provably took nothing. A yes, a clear no and no clear answer stay what they are. Each change is one
statement: a wish and the claimant's last word never pass each other.
"""

from enum import StrEnum
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import rows_changed, table
from webapp.database.models import Batch, Member, Message
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, Outcome, Reason
from webapp.rules.times import now

_messages = table(Message).c
_is_sending = _messages.outcome == Outcome.SENDING


class Wish(StrEnum):
    """What stands in `messages.wish` while a message is `sending`."""

    NONE = ""
    CANCEL = "cancel"
    PAUSE = "pause"


CAN_WITHDRAW = _messages.outcome.in_((*WAITING, *NEEDS_RESUME, Outcome.SENDING))
# A message for now is never paused: whoever sent it looks at its page. Only it is never due.
CAN_PAUSE = sa.or_(
    _messages.outcome.in_(WAITING), sa.and_(_is_sending, _messages.due_at.is_not(None))
)


def withdrawn() -> dict[str, Any]:
    """Columns of what `CAN_WITHDRAW`: cancelled, or while it is being sent the wish. It beats a
    wish to pause."""
    return {
        "outcome": _unless_sending(_messages.outcome, Outcome.CANCELLED),
        "wish": sa.case((_is_sending, Wish.CANCEL.value), else_=Wish.NONE.value),
        "settled_at": _unless_sending(_messages.settled_at, now()),
    }


def paused(reason: Reason) -> dict[str, Any]:
    """Columns of what `CAN_PAUSE`: paused, or while it is being sent the wish, with its reason."""
    is_free = sa.and_(_is_sending, _messages.wish == Wish.NONE.value)
    has_wish = sa.and_(_is_sending, _messages.wish != Wish.NONE.value)
    return {
        "outcome": _unless_sending(_messages.outcome, Outcome.PAUSED),
        "wish": sa.case((is_free, Wish.PAUSE.value), else_=_messages.wish),
        "reason": sa.case((has_wish, _messages.reason), else_=reason.value),
    }


@lru_cache
def granted(names: frozenset[str]) -> dict[str, Any]:
    """Columns for the claimant whose message sipgate did not take: the wish, else what it says.

    What it says comes as `new_outcome`…; `names` must hold the outcome, its reason and its time.
    """
    is_cancelled = _messages.wish == Wish.CANCEL.value
    is_paused = _messages.wish == Wish.PAUSE.value
    params = {name: sa.bindparam(f"new_{name}", type_=_messages[name].type) for name in names}
    nothing = sa.null()
    by_wish: dict[str, Any] = {
        name: sa.case((_messages.wish == Wish.NONE.value, value), else_=nothing)
        for name, value in params.items()
    }
    outcomes = {Outcome.CANCELLED: is_cancelled, Outcome.PAUSED: is_paused}
    return {
        **by_wish,
        "outcome": sa.case(
            *((wished, _as_outcome(outcome)) for outcome, wished in outcomes.items()),
            else_=params["outcome"],
        ),
        "reason": sa.case(
            (is_cancelled, ""), (is_paused, _messages.reason), else_=params["reason"]
        ),
        "settled_at": sa.case(
            (is_cancelled, sa.bindparam("wished_at", type_=_messages.settled_at.type)),
            (is_paused, nothing),
            else_=params["settled_at"],
        ),
        # What is paused goes on from where it was.
        **({"due_at": params["due_at"]} if "due_at" in names else {}),
        "wish": Wish.NONE.value,
    }


def pause(session: Session, whose: sa.ColumnElement[bool], reason: Reason) -> int:
    """Pause what waits among `whose`, and the batches it is in; returns how many. Of what is being
    sent it is wished: it must not wait again by itself."""
    touched = (whose, CAN_PAUSE)
    _lock_batches(session, *touched)
    batches = sa.select(Message.batch_id).where(*touched, Message.batch_id.is_not(None))
    rows_changed(
        session,
        sa.update(Batch)
        .where(Batch.id.in_(batches), Batch.stop_reason == "")
        .values(stop_reason=reason),
    )
    return rows_changed(session, sa.update(Message).where(*touched).values(paused(reason)))


# Whoever changes several messages, or one and then others, locks in this order: the member, batches
# by their ids, messages. So nobody waits for somebody who waits for them.


def lock_all_of(member_id: int, session: Session) -> None:
    """Before all that waits for a member is paused."""
    mine = sa.select(Member.id).where(Member.id == member_id)
    session.execute(mine.with_for_update(key_share=True))
    _lock_batches(session, Message.member_id == member_id, CAN_PAUSE)


def _lock_batches(session: Session, *of: sa.ColumnElement[bool]) -> None:
    theirs = sa.select(Message.batch_id).where(*of, Message.batch_id.is_not(None))
    query = sa.select(Batch.id).where(Batch.id.in_(theirs)).order_by(Batch.id)
    session.execute(query.with_for_update()).all()


def _unless_sending(column: sa.Column[Any], value: object) -> sa.Case[Any]:
    return sa.case((_is_sending, column), else_=sa.literal(value, column.type))


def _as_outcome(outcome: Outcome) -> sa.BindParameter[Any]:
    return sa.literal(outcome, _messages.outcome.type)
