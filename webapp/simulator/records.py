"""What the simulator records: arrivals at the API, texts on phones, events of the history.

Values only; `World` stores them. All times are seconds since the epoch on the world's clock.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

_E164 = re.compile(r"\A(?:\+|00)?([1-9][0-9]{6,14})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One POST to `/sessions/sms` that arrived, whatever became of it."""

    number: int
    """1 for the first since the last reset."""
    at: float
    person: str
    """Key of who was signed in; "" when nobody was."""
    sms_id: str
    recipient: str
    """As it was sent; "" when the body was not read."""
    text: str
    send_at: Any
    """As it came: sipgate's samples send whole numbers, fractions and strings."""
    status: int | None
    """The status of the answer; None when there was none (a hang, a reset)."""
    accepted: bool
    """True when the text is (or will be) on the recipient's phone."""


@dataclass(frozen=True, slots=True)
class PhoneText:
    """A text on a phone. `recipient` is E.164 with `+`; `due_at` is when it shows."""

    recipient: str
    sender: str
    text: str
    sent_at: float
    due_at: float
    person: str
    sms_id: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One event of an account, in sipgate's words."""

    account_id: str
    person: str
    type: str
    direction: str
    source: str
    target: str
    connection_id: str
    created_at: float
    text: str | None = None
    scheduled_at: float | None = None
    id: str = field(default_factory=lambda: str(uuid4()))

    def to_json(self) -> dict[str, object]:
        created = iso(self.created_at)
        endpoint_type = "PHONELINE" if self.type == "CALL" else self.type
        return {
            "id": self.id,
            "source": self.source,
            "target": self.target,
            "sourceAlias": self.type,
            "targetAlias": self.target,
            "type": self.type,
            "created": created,
            "lastModified": created,
            "direction": self.direction,
            "incoming": False,  # sipgate's own mock of an incoming text says so, too
            "status": "PICKUP",
            "connectionIds": [self.connection_id],
            "read": True,
            "archived": False,
            "note": None,
            "endpoints": [
                {
                    "type": "ROUTED",
                    "endpoint": {"extension": self.connection_id, "type": endpoint_type},
                }
            ],
            "starred": False,
            "labels": [],
            "smsContent": self.text,
            "scheduled": None if self.scheduled_at is None else iso(self.scheduled_at),
        }


@dataclass(frozen=True, slots=True)
class Paging:
    """How a list is cut into pages. It was seen that sipgate clamps them."""

    at_most: int | None = None
    """Of one page, silently, whatever was asked for."""
    knows_offset: bool = True
    counts: bool = True
    """Whether `totalCount` is told."""


USUAL_PAGING = Paging()


def iso(at: float) -> str:
    """`2026-11-22T10:00:00Z`."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def e164(recipient: str) -> str | None:
    """With `+`, from `+49…`, `49…` or `0049…`; None for anything else, also national numbers."""
    match = _E164.match(recipient)
    return f"+{match[1]}" if match else None
