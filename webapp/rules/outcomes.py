"""The words for what became of a message: outcomes, the changes allowed between them, reasons.

Codes only; the sentences people read are in `words.py`. Pure, so that both the client that learns
an outcome and the tables that keep it can speak of it.
"""

import enum


class Outcome(enum.StrEnum):
    """What became of a message. `architecture.md` of the project has the full table."""

    HELD = "held"
    QUEUED = "queued"
    PAUSED = "paused"
    SENDING = "sending"
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    MISSED = "missed"


class Reason(enum.StrEnum):
    """Why a message is where it is. Kept with the message; empty text means no reason is needed."""

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
    INTERRUPTED = "interrupted"  # this app stopped while the request was under way

    # It waits for a person.
    SIGNED_OUT = "signed_out"  # its member signed out and chose to pause
    STOPPED = "stopped"  # somebody stopped the batch
    UNKNOWNS = "unknowns"  # three unknown outcomes in a row stopped the batch


WAITING = (Outcome.HELD, Outcome.QUEUED)
"""Still with us, and sent without a further click."""

NEEDS_RESUME = (Outcome.PAUSED, Outcome.MISSED)
"""Still with us, and waiting for somebody's click."""
MAX_COUNT = 1000
"""A page says "999+" from here; no further is counted."""
