"""When planned messages go, and how late is too late: the settings as spans of time."""

from datetime import timedelta

from webapp.config import settings

TOKEN_SET_RESERVE = timedelta(hours=24)
"""A planned message goes to sipgate this long before the last token set that could send it ends."""


def handover_lead() -> timedelta:
    """How long before its time a planned message goes to sipgate."""
    return timedelta(minutes=settings.schedule_handover_minutes)


def tolerance() -> timedelta:
    """How late a message may be sent without asking."""
    return timedelta(minutes=settings.missed_after_minutes)
