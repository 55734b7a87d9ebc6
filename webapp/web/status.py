"""What every signed-in page shows: what needs the member, the balance, and what is wrong."""

from typing import Any

from flask import Flask
from flask_babel import gettext as _

from webapp.account import cache, contacts
from webapp.config import settings
from webapp.database import audit, installation
from webapp.database.installation import Hold
from webapp.database.models import Member
from webapp.i18n import sentences
from webapp.jobs import heartbeat
from webapp.messages import attention, changes
from webapp.rules.outcomes import MAX_COUNT
from webapp.web import guard


def setup_status(app: Flask) -> None:
    app.context_processor(_status)
    app.add_template_global(_contact_name, "contact_name")


def _status() -> dict[str, Any]:
    member = guard.current_member()
    if member is None:
        return {"nav_attention": 0, "alarms": [], "has_waiting": False, "balance": None}
    return {
        "nav_attention": attention.count(member),
        "max_count": MAX_COUNT,
        "alarms": _alarms(member),
        "has_waiting": changes.waiting_count(member.id) > 0,
        "balance": cache.balance(member) if _may_show_balance() else None,
    }


def _may_show_balance() -> bool:
    return cache.BALANCE_SCOPE in settings.scopes


def _contact_name(number: str) -> str:
    """The name of a number in the contacts of the signed-in member, or an empty text."""
    return contacts.name_of(guard.current_member(), number)


def _alarms(member: Member) -> list[str]:
    """Tells everybody that nothing is sent; admins also what is wrong with the set-up."""
    shown: list[str] = []
    if installation.hold_state() != Hold.NONE:
        shown.append(sentences.on_hold(to_admin=member.is_admin))
    elif not heartbeat.has_worker():
        shown.append(
            _(
                "Planned and waiting messages are not sent: the program that sends them is not "
                "running. The operator can help."
            )
        )
    if member.is_admin:
        shown += [sentences.alarm_sentence(kind) for kind in audit.alarms()]
    return shown
