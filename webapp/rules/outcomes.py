"""What becomes of a message: its outcomes, the changes allowed between them, and the reasons.

Codes only; the sentences for them are in `webapp/i18n/sentences.py`.
"""

import enum
from collections.abc import Mapping, Set


class Outcome(enum.StrEnum):
    """Where a message is in its life."""

    HELD = "held"  # planned, still with us
    QUEUED = "queued"  # waits for its turn
    PAUSED = "paused"  # waits for a person's click
    SENDING = "sending"  # claimed; the request is under way
    ACCEPTED = "accepted"  # sipgate took it
    SCHEDULED = "scheduled"  # sipgate took it with a later time
    REFUSED = "refused"  # sipgate said no
    NOT_SENT = "not_sent"  # it provably never left us
    UNKNOWN = "unknown"  # it may have gone out; never sent again by itself
    CANCELLED = "cancelled"  # withdrawn before it left
    MISSED = "missed"  # its time passed before it left


class Actor(enum.StrEnum):
    """Who changes an outcome."""

    WORKER = "worker"  # the app by itself: claims, marks what is late, stops batches
    CLAIMANT = "claimant"  # the process that made the request for a message it had claimed
    HISTORY = "history"  # a unique match in sipgate's history
    PERSON = "person"  # a click, or the command line


FIRST_OUTCOMES = frozenset(
    {Outcome.HELD, Outcome.QUEUED, Outcome.SENDING, Outcome.PAUSED, Outcome.CANCELLED}
)
"""A new message waits, or is inserted as `sending`: for a message for now, the insert is its claim.
Those of a list that was stopped or withdrawn while they were made begin as paused or cancelled."""

MAY_BECOME: Mapping[Outcome, Mapping[Actor, Set[Outcome]]] = {
    Outcome.HELD: {
        Actor.WORKER: {Outcome.SENDING, Outcome.PAUSED, Outcome.MISSED},
        Actor.PERSON: {Outcome.QUEUED, Outcome.PAUSED, Outcome.CANCELLED},
    },
    Outcome.QUEUED: {
        Actor.WORKER: {Outcome.SENDING, Outcome.PAUSED, Outcome.MISSED},
        Actor.PERSON: {Outcome.PAUSED, Outcome.CANCELLED},
    },
    Outcome.PAUSED: {
        Actor.WORKER: {Outcome.MISSED},
        Actor.PERSON: {Outcome.HELD, Outcome.QUEUED, Outcome.CANCELLED},
    },
    Outcome.SENDING: {
        Actor.CLAIMANT: {
            # sipgate's answer, or none
            Outcome.ACCEPTED,
            Outcome.SCHEDULED,
            Outcome.REFUSED,
            Outcome.NOT_SENT,
            Outcome.UNKNOWN,
            # only on proof that sipgate took nothing
            Outcome.HELD,
            Outcome.QUEUED,
            Outcome.PAUSED,
            Outcome.CANCELLED,
        },
        # The claimant died. Most of these were really sent, so they never wait again.
        Actor.WORKER: {Outcome.UNKNOWN},
    },
    Outcome.UNKNOWN: {
        Actor.HISTORY: {Outcome.ACCEPTED, Outcome.SCHEDULED},
        Actor.PERSON: {Outcome.ACCEPTED, Outcome.NOT_SENT},
    },
    Outcome.MISSED: {
        Actor.PERSON: {Outcome.HELD, Outcome.QUEUED, Outcome.CANCELLED},
    },
    Outcome.ACCEPTED: {},
    Outcome.SCHEDULED: {},
    Outcome.REFUSED: {},
    Outcome.NOT_SENT: {},
    Outcome.CANCELLED: {},
}
"""Every change there is. `webapp/messages/transitions.py` makes them, and no others."""


class Wish(enum.StrEnum):
    """What was asked of a message while it was `sending`, when nobody could do it yet."""

    NONE = ""
    CANCEL = "cancel"
    PAUSE = "pause"


class FillWish(enum.StrEnum):
    """What was asked of a batch while its messages were still being made from a list: those that
    follow obey it. `Batch.wish`; a stop stands in its `stop_reason`."""

    NONE = ""
    CANCEL = "cancel"
    HAND_OVER = "handover"  # planned ones go to sipgate at once: their member signed out


BY_WISH: Mapping[Wish, Outcome] = {
    Wish.CANCEL: Outcome.CANCELLED,
    Wish.PAUSE: Outcome.PAUSED,
}
"""What a `sending` message becomes if sipgate provably took nothing and something was asked
meanwhile. Any other answer stands. A later wish to cancel replaces one to pause, never the other
way round; resuming takes back a pause."""


def allowed_from(new: Outcome, by: Actor) -> tuple[Outcome, ...]:
    """The outcomes that `by` may change to `new`."""
    return tuple(old for old in Outcome if new in MAY_BECOME[old].get(by, ()))


def require_allowed(old: Outcome, new: Outcome, by: Actor) -> None:
    """Raise `ValueError` for a change that is not in the table."""
    if new not in MAY_BECOME[old].get(by, ()):
        raise ValueError(f"{old} does not become {new} by {by}")


def first_outcome(outcome: Outcome) -> Outcome:
    """`outcome`, if a new message may have it; else raises `ValueError`."""
    if outcome not in FIRST_OUTCOMES:
        raise ValueError(f"no message begins as {outcome}")
    return outcome


class Reason(enum.StrEnum):
    """Why a message has its outcome. Stored with it; empty where no reason is needed."""

    # sipgate said no: nothing was sent.
    REJECTED = "rejected"  # 400
    SIGN_IN_ENDED = "sign_in_ended"  # 401 after the one refresh, or no token to try with
    BALANCE = "balance"  # 402
    NOT_ALLOWED = "not_allowed"  # 403
    MISUNDERSTOOD = "misunderstood"  # 404, 405, 415
    RATE_LIMITED = "rate_limited"  # 429
    REFUSED = "refused"  # any other 4xx

    # It provably never left us.
    UNREACHABLE = "unreachable"  # no connection
    UNTRUSTED = "untrusted"  # TLS: the other side could not prove that it is sipgate
    LOGIN_AWAY = "login_away"  # the login server did not answer, and the token had run out
    DATABASE_AWAY = "database_away"  # ours failed after the claim and before the request
    NOT_IN_TIME = "not_in_time"  # so long after the claim that the request did not begin

    # It may have gone out.
    NO_ANSWER = "no_answer"  # time ran out, or the line broke, after the request had begun
    SERVER_ERROR = "server_error"  # 408, 5xx
    ODD_ANSWER = "odd_answer"  # an HTML page instead of an answer, a status nobody defined
    REDIRECTED = "redirected"  # 3xx, never followed
    INTERRUPTED = "interrupted"  # the process ended while the request was under way

    # It waits for a click.
    SIGNED_OUT = "signed_out"  # its member chose to pause when signing out
    STOPPED = "stopped"  # somebody stopped the batch
    UNKNOWNS = "unknowns"  # three unknown outcomes in a row stopped the batch

    # Its time passed.
    APPOINTMENT_PASSED = "appointment_passed"  # it reminds of something that is over

    # It was withdrawn.
    BLOCKED = "blocked"  # its recipient wants no more texts


BILLED = (Outcome.ACCEPTED, Outcome.SCHEDULED, Outcome.UNKNOWN)
"""sipgate took the message, or may have."""

WAITING = (Outcome.HELD, Outcome.QUEUED)
"""Still with us, and sent without a further click."""

NEEDS_RESUME = (Outcome.PAUSED, Outcome.MISSED)
"""Still with us, and sent only after somebody's click."""

MAX_COUNT = 1000
"""Counting stops here; pages say "999+"."""
