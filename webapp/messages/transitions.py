"""The UPDATEs that change a message's outcome, each only from where `rules/outcomes.py` allows it.

No other module writes the column. A caller adds which messages (`.where`) and further columns
(`.values`), and runs the statement in its own transaction. Each change is one statement, so that a
wish and the result of the attempt never pass each other.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from webapp.database import table
from webapp.database.models import Message
from webapp.rules.outcomes import (
    BY_WISH,
    Actor,
    Outcome,
    Reason,
    Wish,
    allowed_from,
    require_allowed,
)
from webapp.rules.times import now

_messages = table(Message).c
_is_sending = _messages.outcome == Outcome.SENDING
_has_no_wish = _messages.wish == Wish.NONE.value


def change_to(new: Outcome, by: Actor, *, only_from: Collection[Outcome] = ()) -> sa.Update:
    """The change to `new`, by default from every outcome that `by` may change to it.

    Raises `ValueError` if `only_from` has one that they may not. Rewriting the outcome that a
    message has already is no change.
    """
    for old in only_from:
        if old != new:
            require_allowed(old, new, by)
    changeable = Message.outcome.in_(only_from or allowed_from(new, by))
    return sa.update(Message).where(changeable).values(outcome=new)


# --- The claim, and what its holder makes of it ---------------------------------------------------

# Spelt as equals: a list would be written out anew at each use of the statement.
CAN_CLAIM = sa.or_(
    *(_messages.outcome == old for old in allowed_from(Outcome.SENDING, Actor.WORKER))
)


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """What the worker reads of a message that it claims, by the names of its columns."""

    id: str
    member_id: int
    account_id: str
    batch_id: str | None
    extension_id: str
    recipient: str
    text: str
    send_at: datetime | None
    not_after: datetime | None
    attempt: str | None
    expected_at: datetime | None
    first_tried_at: datetime | None
    tries: int


Claimed = Message | ClaimedMessage
COLUMNS = tuple(_messages[field.name] for field in fields(ClaimedMessage))


def claim() -> sa.Update:
    """The change of a waiting message to `sending`."""
    change = sa.update(table(Message)).where(CAN_CLAIM)
    return change.values(outcome=Outcome.SENDING, wish=Wish.NONE.value)


def update_claimed(
    session: Session | sa.Connection,
    message: Claimed,
    new: Outcome,
    values: Mapping[str, object],
    *,
    follows_wish: bool,
) -> Outcome | None:
    """Give a claimed message its outcome and `values`; returns the outcome it now has.

    `follows_wish`: sipgate provably took nothing, so a wish decides instead. Returns None if the
    row no longer carries this claim. `values` must hold `reason` and `settled_at`.
    """
    require_allowed(Outcome.SENDING, new, Actor.CLAIMANT)
    columns = frozenset({"outcome", *values})
    change = _change_by_wish(columns) if follows_wish else _change_by_result(columns)
    params = {f"new_{name}": value for name, value in values.items()}
    params |= {"new_outcome": new, "claimed": message.id, "claimed_as": message.attempt}
    became: Outcome | None = session.scalar(change, {**params, "wished_at": now()})
    return became


# Built once for each set of columns: making these statements took longer than running them.


@lru_cache
def _change_by_result(columns: frozenset[str]) -> sa.Update:
    return _change_of_claimed().values({**_params(columns), "wish": Wish.NONE.value})


@lru_cache
def _change_by_wish(columns: frozenset[str]) -> sa.Update:
    """The wish first, else the result. What is paused gets its due time, too: it may be resumed."""
    params = _params(columns)
    is_cancelled = _messages.wish == Wish.CANCEL.value
    is_paused = _messages.wish == Wish.PAUSE.value
    nothing = sa.null()
    values: dict[str, Any] = {
        name: sa.case((_has_no_wish, param), else_=nothing) for name, param in params.items()
    }
    by_wish = [(_messages.wish == wish.value, _literal(new)) for wish, new in BY_WISH.items()]
    values["outcome"] = sa.case(*by_wish, else_=params["outcome"])
    values["reason"] = sa.case(
        (sa.or_(is_cancelled, is_paused), _messages.reason), else_=params["reason"]
    )
    values["settled_at"] = sa.case(
        (is_cancelled, sa.bindparam("wished_at", type_=_messages.settled_at.type)),
        (is_paused, nothing),
        else_=params["settled_at"],
    )
    if "due_at" in columns:
        values["due_at"] = params["due_at"]
    return _change_of_claimed().values({**values, "wish": Wish.NONE.value})


def _change_of_claimed() -> sa.Update:
    return (
        sa.update(table(Message))
        .where(
            _messages.id == sa.bindparam("claimed"),
            _is_sending,
            _messages.attempt == sa.bindparam("claimed_as"),
        )
        .returning(_messages.outcome)
    )


def _params(columns: frozenset[str]) -> dict[str, sa.BindParameter[Any]]:
    return {name: sa.bindparam(f"new_{name}", type_=_messages[name].type) for name in columns}


def _literal(outcome: Outcome) -> sa.BindParameter[Any]:
    return sa.literal(outcome, _messages.outcome.type)


# --- Changes that become a wish while a message is being sent -------------------------------------

CAN_WITHDRAW = sa.or_(
    _messages.outcome.in_(allowed_from(Outcome.CANCELLED, Actor.PERSON)), _is_sending
)
# A message for now is never paused: its sender is looking at its page. Only such a message is never
# due.
CAN_PAUSE = sa.or_(
    _messages.outcome.in_(allowed_from(Outcome.PAUSED, Actor.WORKER)),
    sa.and_(_is_sending, _messages.due_at.is_not(None)),
)


def withdraw(reason: Reason | None = None) -> sa.Update:
    """Cancel; of a message that is being sent, note the wish to. It replaces a wish to pause.

    `reason`: why, if it was not a click on this message.
    """
    why = reason.value if reason else ""
    values = {
        "reason": sa.case((_is_sending, why), else_=why or _messages.reason),
        "outcome": _unless_sending(_messages.outcome, Outcome.CANCELLED),
        "wish": sa.case((_is_sending, Wish.CANCEL.value), else_=Wish.NONE.value),
        "settled_at": _unless_sending(_messages.settled_at, now()),
    }
    return sa.update(Message).where(CAN_WITHDRAW).values(values)


def pause(reason: Reason) -> sa.Update:
    """Pause; of a message that is being sent, note the wish to, unless it has one already."""
    is_free = sa.and_(_is_sending, _has_no_wish)
    has_wish = sa.and_(_is_sending, ~_has_no_wish)
    values = {
        "outcome": _unless_sending(_messages.outcome, Outcome.PAUSED),
        "wish": sa.case((is_free, Wish.PAUSE.value), else_=_messages.wish),
        "reason": sa.case((has_wish, _messages.reason), else_=reason.value),
    }
    return sa.update(Message).where(CAN_PAUSE).values(values)


def _unless_sending(column: sa.Column[Any], value: object) -> sa.Case[Any]:
    return sa.case((_is_sending, column), else_=sa.literal(value, column.type))
