"""What people are told of unasked, and why telling failed: codes only.

The sentences for them are in `webapp/i18n/alerts.py`.
"""

import enum


class AlertKind(enum.StrEnum):
    """What needs somebody who may not be looking. In the order in which a mail has them."""

    HOLD = "hold"  # nothing is sent until `flask release`
    WORKER = "worker"  # no worker gives a sign of life
    SIGN_IN = "sign_in"  # a member's sign-in ended, and something waits for the next day
    BATCH = "batch"  # a batch was paused by itself
    PAUSED = "paused"  # a planned message was
    MISSED = "missed"
    NOT_SENT = "not_sent"  # refused, or it never left us
    UNKNOWN = "unknown"


class Outlet(enum.StrEnum):
    """The ways to tell."""

    MAIL = "mail"
    WEBHOOK = "webhook"


class OutletProblem(enum.StrEnum):
    """Why an outlet did not take what it was to tell."""

    UNREACHABLE = "unreachable"  # no connection
    UNTRUSTED = "untrusted"  # TLS: the other side could not prove who it is
    NO_TLS = "no_tls"  # the mail server offers none
    LOGIN = "login"  # it refuses name and password, or the token
    RECIPIENT = "recipient"  # it refuses an address
    REFUSED = "refused"  # it said no in another way
    NO_ANSWER = "no_answer"  # time ran out, or the line broke, after it had begun
    SERVER_ERROR = "server_error"  # it failed
