"""`POST /v2/sessions/sms`: take a text, refuse it, or do what the reserved number wants.

The order of the checks is sipgate's, as far as it is known: who, how, what, whose, how much. `app`
records every arrival, taken or refused.
"""

import math

from flask import Blueprint, Response, g

from webapp.simulator.access import ApiError, caller, json_body, no_content, world
from webapp.simulator.outcomes import BY_NUMBER
from webapp.simulator.people import Extension, Person
from webapp.simulator.records import e164

bp = Blueprint("send_sms", __name__, url_prefix="/v2")

MAX_AHEAD_S = 30 * 24 * 3600
"""The limit that sipgate's own library checks for `sendAt`."""


@bp.post("/sessions/sms")
def send() -> Response:
    """204 and an empty body. `g.accepted` tells `app` that the text is on its way."""
    person = caller("sessions:sms:write", "sessions:write")
    body = json_body()
    if "smsId" not in body:
        # Not a kind answer, but the documented one.
        raise ApiError(500, "Internal server error")
    recipient = _recipient(body.get("recipient"))
    text = _filled("message", body.get("message"))
    due_at = _due_at(body.get("sendAt"))
    extension = _extension(person, body["smsId"])
    outcome = BY_NUMBER.get(recipient)
    if outcome is not None and "fault" not in g:
        g.fault = outcome.fault
        if not outcome.is_delivered:
            return no_content()
    if not world().accept(person, extension, recipient, text, due_at):
        raise ApiError(402, "Insufficient funds")
    g.accepted = True
    return no_content()


def _extension(person: Person, sms_id: object) -> Extension:
    extension = person.extension(sms_id)
    if extension is None:
        raise ApiError(403, "Not allowed to use this extension")
    return extension


def _filled(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ApiError(400, f"{name} must not be blank")
    return value


def _recipient(value: object) -> str:
    number = e164(_filled("recipient", value))
    if number is None:
        raise ApiError(400, "recipient is invalid")
    return number


def _due_at(value: object) -> float | None:
    """Seconds since the epoch, or None for now: that is null, 0, -1 or no value at all.

    sipgate's samples send whole numbers, fractions and strings of digits.
    """
    if value in (None, 0, -1):
        return None
    ahead_s = _seconds(value) - world().now()
    if not 0 < ahead_s <= MAX_AHEAD_S:
        raise ApiError(400, "timestamp is invalid")
    return _seconds(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ApiError(400, "timestamp is invalid")
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ApiError(400, "timestamp is invalid")
    return seconds
