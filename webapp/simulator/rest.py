"""sipgate's REST API below `/v2`, as far as a Web SMS app meets it.

Callers are known by a Bearer token or by HTTP Basic with a personal token. Their scopes and, for
other people's data, their role say what they may do. Answers and refusals have sipgate's shapes;
where nothing is documented, the stricter of the likely answers is given. Sending is in `send`.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import BaseConverter

from webapp.simulator.access import ApiError, caller, json_body, no_content, world
from webapp.simulator.faults import error_body
from webapp.simulator.people import CallerId, Contact, Extension, Person
from webapp.simulator.pricing import SEGMENT_PRICE
from webapp.simulator.records import USUAL_PAGING, HistoryEntry, Paging, e164


class UserId(BaseConverter):
    """`w0`: keeps `/sessions/sms` from being taken for the extensions of a user `sessions`."""

    regex = "w[0-9]+"


bp = Blueprint("rest", __name__, url_prefix="/v2")
bp.record_once(lambda setup: setup.app.url_map.converters.update(user_id=UserId))

_MAX_HISTORY = 1000
_MAX_CONTACTS = 5000
_CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"


@bp.app_errorhandler(ApiError)
def refuse(error: ApiError) -> Response:
    return _error(error.status, error.message)


@bp.app_errorhandler(HTTPException)
def refuse_in_json(error: HTTPException) -> Response | HTTPException:
    """404 and 405 below `/v2` in sipgate's shape; pages keep their own."""
    if not request.path.startswith("/v2"):
        return error
    return _error(error.code or 500, error.name)


def _error(status: int, message: str | None) -> Response:
    return Response(error_body(status, message), status, content_type="application/json")


# Who is there


@bp.get("/authorization/userinfo")
def userinfo() -> Response:
    person = caller()
    return jsonify(
        sub=person.user_id,
        domain="sipgate.de",
        masterSipId=person.account_id,
        locale="de_DE",
    )


@bp.get("/users/<user_id:user_id>")
def user(user_id: str) -> Response:
    person = _person_of_account(caller("users:read"), user_id)
    extension = person.extensions[0].id if person.extensions else ""
    return jsonify(
        id=person.user_id,
        firstname=person.firstname,
        lastname=person.lastname,
        email=person.email,
        defaultDevice=extension,
        busyOnBusy=False,
        addressId="1",
        directDialIds=[],
        timezone="Europe/Berlin",
        admin=person.admin,
    )


@bp.get("/account")
def account() -> Response:
    company = world().account_of(caller("account:read")).company
    return jsonify(
        company=company,
        mainProductType="TEAM",
        logoUrl="",
        verified=True,
        historyLifeTime="UNLIMITED",
    )


@bp.get("/balance")
def balance() -> Response:
    return jsonify(amount=world().account_of(caller("balance:read")).balance, currency="EUR")


def _person_of_account(asking: Person, user_id: str) -> Person:
    """The person, if it is oneself or one is admin; else 403, or 404 for nobody."""
    found = world().account_of(asking).person(user_id)
    if found is None:
        raise ApiError(404, "User not found")
    if found is not asking and not asking.is_admin:
        raise ApiError(403, "Not allowed to see this user")
    return found


# Extensions and their senders


@bp.get("/<user_id:user_id>/sms")
def extensions(user_id: str) -> Response:
    person = _person_of_account(caller("sms:read"), user_id)
    return jsonify(items=[extension.to_json() for extension in person.extensions])


@bp.get("/<user_id:user_id>/sms/<sms_id>/callerids")
def caller_ids(user_id: str, sms_id: str) -> Response:
    asking = caller("sms:callerid:read", "sms:read")
    extension = _own_extension(asking, user_id, sms_id)
    return jsonify(items=[entry.to_json() for entry in extension.caller_ids])


@bp.post("/<user_id:user_id>/sms/<sms_id>/callerids")
def add_caller_id(user_id: str, sms_id: str) -> Response:
    """Costs a text, because the verification code goes out by one."""
    asking = caller("sms:callerid:write", "sms:write")
    extension = _own_extension(asking, user_id, sms_id)
    number = e164(str(json_body().get("phonenumber", "")))
    if number is None:
        raise ApiError(400, "phonenumber is invalid")
    if any(entry.phonenumber == number for entry in extension.caller_ids):
        raise ApiError(409, "phonenumber is known already")
    if not world().charge(asking, SEGMENT_PRICE):
        raise ApiError(402, "Insufficient funds")
    code = "".join(secrets.choice(_CODE_ALPHABET) for _ in range(6))
    world().add_caller_id(extension, number, code)
    return no_content()


@bp.post("/<user_id:user_id>/sms/<sms_id>/callerids/<int:caller_id>/verification")
def verify_caller_id(user_id: str, sms_id: str, caller_id: int) -> Response:
    _, entry = _own_caller_id(user_id, sms_id, caller_id)
    code = str(json_body().get("verificationCode", "")).strip().upper()
    if code != entry.verification_code:
        raise ApiError(400, "verificationCode is invalid")
    entry.verified = True
    return no_content()


@bp.put("/<user_id:user_id>/sms/<sms_id>/callerids/<int:caller_id>")
def default_caller_id(user_id: str, sms_id: str, caller_id: int) -> Response:
    """`defaultNumber` may be true or "true", which is what sipgate's own library sends."""
    extension, entry = _own_caller_id(user_id, sms_id, caller_id)
    if json_body().get("defaultNumber") not in (True, "true"):
        raise ApiError(400, "defaultNumber must be true")
    if not entry.verified:
        raise ApiError(403, "The number is not verified")
    with world().lock:
        extension.make_default(entry)
    return no_content()


@bp.delete("/<user_id:user_id>/sms/<sms_id>/callerids/<int:caller_id>")
def delete_caller_id(user_id: str, sms_id: str, caller_id: int) -> Response:
    """The word `sipgate` (id 0) stays and takes over when the default is deleted."""
    extension, entry = _own_caller_id(user_id, sms_id, caller_id)
    if entry.id == 0:
        raise ApiError(403, "This caller id cannot be deleted")
    with world().lock:
        extension.caller_ids.remove(entry)
        if entry.is_default:
            extension.make_default(extension.caller_ids[0])
    return no_content()


def _own_extension(asking: Person, user_id: str, sms_id: str) -> Extension:
    extension = asking.extension(sms_id)
    if asking.user_id != user_id or extension is None:
        raise ApiError(403, "Not allowed to use this extension")
    return extension


def _own_caller_id(user_id: str, sms_id: str, caller_id: int) -> tuple[Extension, CallerId]:
    asking = caller("sms:callerid:write", "sms:write")
    extension = _own_extension(asking, user_id, sms_id)
    entry = extension.find(caller_id)
    if entry is None:
        raise ApiError(404, "Caller id not found")
    return extension, entry


# History and contacts


@bp.get("/history")
def history() -> Response:
    """Admins see their account's entries, others their own; newest first."""
    asking = caller("history:read")
    _refuse_foreign_connections(asking)
    entries = [entry for entry in world().history(asking.account_id) if _is_wanted(entry, asking)]
    return _page(entries, limit=10, at_most=_MAX_HISTORY)


def _refuse_foreign_connections(asking: Person) -> None:
    """Only extensions of the account may be asked for; the real API refuses device ids, too."""
    known = {"p0", *world().account_of(asking).extension_ids()}
    if not known.issuperset(request.args.getlist("connectionIds")):
        raise ApiError(403, "Not allowed to see this connection")


def _is_wanted(entry: HistoryEntry, asking: Person) -> bool:
    return (
        (asking.is_admin or entry.person == asking.key)
        and _is_among("types", entry.type)
        and _is_among("directions", entry.direction)
        and _is_among("connectionIds", entry.connection_id)
        and _is_between(entry.created_at)
        and _is_about(entry)
        # Nothing is ever starred or archived here, so asking for such entries finds none.
        and request.args.get("starred") != "STARRED"
        and request.args.get("archived") != "true"
    )


def _is_among(parameter: str, value: str) -> bool:
    wanted = request.args.getlist(parameter)
    return not wanted or value in wanted


def _is_between(created_at: float) -> bool:
    """Created within `from` and `to`, both included, to the second as they are shown."""
    earliest, latest = _time("from"), _time("to")
    return (earliest is None or int(created_at) >= int(earliest)) and (
        latest is None or int(created_at) <= latest
    )


def _time(parameter: str) -> float | None:
    """An ISO 8601 time as seconds since the epoch; without an offset it is UTC."""
    value = request.args.get(parameter)
    if not value:
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise ApiError(400, f"{parameter} is invalid") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def _is_about(entry: HistoryEntry) -> bool:
    """Source or target has the digits of `phonenumber`."""
    wanted = _digits(request.args.get("phonenumber", ""))
    return not wanted or wanted in (_digits(entry.source), _digits(entry.target))


def _digits(number: str) -> str:
    return "".join(character for character in number if character.isdigit()).removeprefix("00")


@bp.get("/contacts")
def contacts() -> Response:
    asking = caller("contacts:read")
    visible = [
        contact
        for contact in world().account_of(asking).contacts
        if contact.scope != "PRIVATE" or contact.owner == asking.key
    ]
    numbers = [_digits(number) for number in request.args.getlist("phonenumbers")]
    if numbers:
        visible = [one for one in visible if any(_digits(n) in numbers for n, _ in one.numbers)]
    return _page(visible, limit=_MAX_CONTACTS, at_most=_MAX_CONTACTS, paging=world().paging)


@bp.get("/contacts/internal")
def internal_contacts() -> Response:
    asking = caller("contacts:read")
    everybody = world().account_of(asking).contacts
    items = [_internal(contact) for contact in everybody if contact.scope == "INTERNAL"]
    return jsonify(items=items)


def _internal(contact: Contact) -> dict[str, object]:
    return {
        "id": contact.id,
        "name": contact.name,
        "emails": list(contact.emails),
        "mobile": [number for number, _ in contact.numbers],
        "landline": [],
        "fax": [],
        "directdial": [],
    }


def _page(
    found: Sequence[Contact | HistoryEntry],
    *,
    limit: int,
    at_most: int,
    paging: Paging = USUAL_PAGING,
) -> Response:
    """The slice that `offset` and `limit` ask for, with the number of all."""
    limit = min(_whole_number("limit", limit, at_most), paging.at_most or at_most)
    offset = _whole_number("offset", 0, None) if paging.knows_offset else 0
    items = [one.to_json() for one in found[offset : offset + limit]]
    return jsonify(items=items, **({"totalCount": len(found)} if paging.counts else {}))


def _whole_number(parameter: str, usual: int, at_most: int | None) -> int:
    value = request.args.get(parameter, str(usual))
    if not value.isdecimal() or (at_most is not None and int(value) > at_most):
        raise ApiError(400, f"{parameter} is invalid")
    return int(value)


@bp.route("/elsewhere", methods=["GET", "POST", "PUT"])
def redirect_target() -> Response:
    """Where redirects lead. It answers like success, to catch who follows them."""
    return no_content()
