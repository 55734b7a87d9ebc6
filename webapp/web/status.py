"""What every signed-in page shows: what needs the member, the balance, and what is wrong."""

from functools import cache as kept
from typing import Any

import sqlalchemy as sa
from flask import Flask, url_for
from flask_babel import gettext as _

from webapp.account import cache, contacts
from webapp.config import settings
from webapp.database import audit, db
from webapp.database.installation import HOLD_REASON
from webapp.database.models import Member
from webapp.i18n import sentences
from webapp.jobs import heartbeat
from webapp.messages import attention, changes, visibility
from webapp.rules.outcomes import MAX_COUNT
from webapp.sipgate import Balance
from webapp.web import guard


def setup_status(app: Flask) -> None:
    app.context_processor(_status)
    app.add_template_global(_contact_name, "contact_name")
    app.add_template_global(page_url)


@kept
def page_url(endpoint: str) -> str:
    """As `url_for`, made once."""
    return url_for(endpoint)


def _status() -> dict[str, Any]:
    member = guard.current_member()
    if member is None:
        return {"nav_attention": 0, "alarms": [], "has_waiting": False, "balance": None}
    params = {**attention.params(member), "member": member.id}
    found = db.session.execute(_reading(visibility.manages_account(member)), params).one()
    return {
        "nav_attention": min(found.attention, MAX_COUNT),
        "max_count": MAX_COUNT,
        "alarms": _alarms(member, bool(found.hold_reason), heartbeat.is_recent(found.last_beat)),
        "has_waiting": found.waiting > 0,
        "balance": balance_of(member),
    }


@kept
def _reading(of_account: bool) -> sa.Select[Any]:
    """All of it by one statement: each has a price of its own (measured), and every page pays."""
    parts = {
        "attention": attention.counting(of_account),
        "waiting": changes.WAITING_COUNT,
        "hold_reason": HOLD_REASON,
        "last_beat": heartbeat.LAST_BEAT,
    }
    return sa.select(*(part.scalar_subquery().label(name) for name, part in parts.items()))


def balance_of(member: Member) -> Balance | None:
    """The account's, as lately read; None where the app may not ask for it."""
    return cache.balance(member) if cache.BALANCE_SCOPE in settings.scopes else None


def _contact_name(number: str) -> str:
    """The name of a number in the contacts of the signed-in member, or an empty text."""
    return contacts.name_of(guard.current_member(), number)


def _alarms(member: Member, is_on_hold: bool, has_worker: bool) -> list[str]:
    """Tells everybody that nothing is sent; admins also what is wrong with the set-up."""
    shown: list[str] = []
    if is_on_hold:
        shown.append(sentences.on_hold(to_admin=member.is_admin))
    elif not has_worker:
        shown.append(
            _(
                "Planned and waiting messages are not sent: the program that sends them is not "
                "running. The operator can help."
            )
        )
    if member.is_admin:
        shown += [sentences.alarm_sentence(kind) for kind in audit.alarms()]
    return shown
