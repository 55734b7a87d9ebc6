"""The client of sipgate's REST API v2: its paths and fields.

Calls return the frozen dataclasses of `records.py` or raise the exceptions of `responses.py`. Each
is given an `Authorization`; where tokens are kept is not known here.
Where sipgate does not document how it answers, every plausible answer is handled.
"""

import base64
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import requests
from flask import Flask, current_app

from webapp.rules.numbers import is_sendable
from webapp.rules.outcomes import Reason
from webapp.sipgate import transport
from webapp.sipgate.records import (
    AddressBook,
    Balance,
    CallerId,
    Extension,
    HistoryEntry,
    Identity,
    Person,
    address_book,
    history_entry,
)
from webapp.sipgate.responses import (
    MalformedResponse,
    Response,
    Unreachable,
    as_object,
    printable,
    raise_for_no_response,
    raise_for_outcome,
    sent_at,
)
from webapp.telemetry import logs, metrics

log = logging.getLogger(__name__)

SEND_DEADLINE_S = 20.0
READ_DEADLINE_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_HISTORY_ENTRIES = 1000
CONTACTS_PAGE = 250
MAX_CONTACTS_BYTES = 12 * 1024 * 1024
"""For one page: each contact may include a picture."""
BALANCE_UNITS = 10_000
"""sipgate counts in 1/10,000 of the currency."""
_PATH_WORDS = {"authorization", "userinfo", "users", "sms", "sessions", "history"}
_PATH_WORDS |= {"callerids", "verification", "contacts", "balance", "account"}
_HEADERS = {**transport.HEADERS, "Accept": "application/json"}
SEND_PATH = "/sessions/sms"
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of an `Authorization` header; its repr shows no secret."""

    header: str

    @classmethod
    def bearer(cls, access_token: str) -> "Authorization":
        return cls(f"Bearer {access_token}")

    @classmethod
    def personal(cls, token_id: str, token: str) -> "Authorization":
        """HTTP Basic, for a personal access token."""
        pair = base64.b64encode(f"{token_id}:{token}".encode()).decode()
        return cls(f"Basic {pair}")

    def __repr__(self) -> str:
        return "Authorization(…)"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What sipgate answers to somebody without a token, and when by its own clock (to the second);
    None if it does not say."""

    status: int
    at: datetime | None


class Sipgate:
    """The client. One per process; safe to share between threads."""

    def __init__(
        self,
        api_url: str,
        *,
        pool_size: int,
        send_deadline_s: float = SEND_DEADLINE_S,
        read_deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self._api_url = api_url
        self._transport = transport.DeadlineAdapter(pool_size)
        self._blank_send = _prepared("POST", api_url + SEND_PATH, None)
        self._send_deadline_s = send_deadline_s
        self._read_deadline_s = read_deadline_s

    def greet(self) -> Greeting:
        """Ask without a token, which sipgate refuses, to see whether it answers. Raises
        `Unreachable`."""
        with transport.deadline(self._read_deadline_s, MAX_ANSWER_BYTES):
            try:
                response = self._request("GET", "/authorization/userinfo", Authorization(""))
                answer = Response.read(response)
            except Exception as error:  # the libraries raise more than they document
                untrusted = isinstance(error, requests.exceptions.SSLError)
                reason = Reason.UNTRUSTED if untrusted else Reason.UNREACHABLE
                raise Unreachable(reason) from None
        return Greeting(answer.status, sent_at(answer))

    def identity(self, auth: Authorization) -> Identity:
        answer = self._get("/authorization/userinfo", auth)
        return Identity(sub=_text(answer, "sub"), account_id=_text(answer, "masterSipId"))

    def person(self, auth: Authorization, sub: str) -> Person:
        answer = self._get(f"/users/{quote(sub, safe='')}", auth)
        names = (_words(answer, key).strip() for key in ("firstname", "lastname"))
        name = " ".join(name for name in names if name) or sub
        return Person(name=name, is_admin=_is_true(answer.get("admin")))

    def extensions(self, auth: Authorization, sub: str) -> tuple[Extension, ...]:
        """The Web SMS extensions of a person, in sipgate's order."""
        items = self._items(f"/{quote(sub, safe='')}/sms", auth)
        return tuple(_extension(item) for item in items)

    def balance(self, auth: Authorization) -> Balance:
        answer = self._get("/balance", auth)
        amount = answer.get("amount")
        if not isinstance(amount, int) or isinstance(amount, bool):
            raise MalformedResponse("amount")
        return Balance(Decimal(amount) / BALANCE_UNITS, _text(answer, "currency"))

    def contacts(self, auth: Authorization) -> AddressBook:
        """All contacts that sipgate shows this person: private, shared, and colleagues."""

        def page(offset: int) -> Mapping[str, Any]:
            query = {"limit": str(CONTACTS_PAGE), "offset": str(offset)}
            return self._get("/contacts", auth, query, max_bytes=MAX_CONTACTS_BYTES)

        return address_book(page, lambda: self._items("/contacts/internal", auth))

    def caller_ids(
        self, auth: Authorization, *, sub: str, extension_id: str
    ) -> tuple[CallerId, ...]:
        """The senders of an extension, in sipgate's order."""
        items = self._items(_caller_ids_path(sub, extension_id), auth)
        return tuple(_caller_id(item) for item in items)

    def add_caller_id(
        self, auth: Authorization, *, sub: str, extension_id: str, number: str
    ) -> None:
        """Have a verification code sent to a number, which costs an SMS. Raises as `send_sms`."""
        path = _caller_ids_path(sub, extension_id)
        self._change("POST", path, auth, {"phonenumber": number})

    def verify_caller_id(
        self, auth: Authorization, *, sub: str, extension_id: str, caller_id: int, code: str
    ) -> None:
        """Raises as `send_sms` does; so do the two below."""
        path = f"{_caller_ids_path(sub, extension_id)}/{caller_id}/verification"
        self._change("POST", path, auth, {"verificationCode": code})

    def make_default(
        self, auth: Authorization, *, sub: str, extension_id: str, caller_id: int
    ) -> None:
        """Show this sender for everybody who sends with the extension from now on."""
        path = f"{_caller_ids_path(sub, extension_id)}/{caller_id}"
        self._change("PUT", path, auth, {"defaultNumber": True})

    def delete_caller_id(
        self, auth: Authorization, *, sub: str, extension_id: str, caller_id: int
    ) -> None:
        self._change("DELETE", f"{_caller_ids_path(sub, extension_id)}/{caller_id}", auth)

    def sent_texts(
        self, auth: Authorization, *, extension_id: str, since: datetime, until: datetime
    ) -> tuple[HistoryEntry, ...]:
        """The outgoing SMS of an extension in sipgate's history, between two times."""
        query = {
            "types": "SMS",
            "directions": "OUTGOING",
            "connectionIds": extension_id,
            "from": since.strftime(UTC_FORMAT),
            "to": until.strftime(UTC_FORMAT),
            "limit": str(MAX_HISTORY_ENTRIES),
        }
        entries = (history_entry(item) for item in self._items("/history", auth, **query))
        return tuple(entry for entry in entries if entry is not None)

    def send_sms(
        self,
        auth: Authorization,
        *,
        extension_id: str,
        recipient: str,
        text: str,
        send_at: datetime | None,
    ) -> None:
        """Hand one message to sipgate. If it returns, sipgate has taken the message.

        Raises `Unauthorized`, `Refused` or `Unreachable` if certainly nothing was sent, and
        `OutcomeUnknown` otherwise. Never tries twice.
        """
        if not is_sendable(recipient):
            raise ValueError("the recipient is no E.164 number")
        body: dict[str, Any] = {"smsId": extension_id, "recipient": recipient, "message": text}
        if send_at is not None:
            # To send at once, the field is left out: `null`, 0 and -1 only seem to mean that.
            body["sendAt"] = int(send_at.timestamp())
        self._change("POST", SEND_PATH, auth, body)

    def _change(
        self, method: str, path: str, auth: Authorization, body: Mapping[str, Any] | None = None
    ) -> None:
        """Make the one request of a call that changes something or costs money."""
        with transport.deadline(self._send_deadline_s, MAX_ANSWER_BYTES) as exchange:
            try:
                response = self._request(method, path, auth, json_body=body)
                answer = Response.read(response)
            except Exception as error:  # whatever a library raises, what has left us decides
                answer = raise_for_no_response(exchange, error)
        raise_for_outcome(answer)

    def _items(self, path: str, auth: Authorization, **query: str | int) -> list[Any]:
        """The list under `items` in a response."""
        texts = {name: str(value) for name, value in query.items()}
        items = self._get(path, auth, texts, max_bytes=MAX_CONTACTS_BYTES).get("items")
        if not isinstance(items, list):
            raise MalformedResponse("items")
        return items

    def _get(
        self,
        path: str,
        auth: Authorization,
        query: Mapping[str, str] | None = None,
        max_bytes: int = MAX_LIST_BYTES,
    ) -> Mapping[str, Any]:
        with transport.deadline(self._read_deadline_s, max_bytes):
            try:
                response = self._request("GET", path, auth, query=query)
                answer = Response.read(response)
            except Exception:  # the libraries raise more than they document
                raise Unreachable from None
        return as_object(answer)

    def _request(
        self,
        method: str,
        path: str,
        auth: Authorization,
        *,
        query: Mapping[str, str] | None = None,
        json_body: Any = None,
    ) -> requests.Response:
        """Make a request; all go through here. It follows no redirect and logs no text or token.

        Without a `requests.Session`, which would merge cookies and settings that we do not have
        into each request: that took a third of the call (measured).
        """
        started = time.monotonic()
        status: int | str = "no answer"
        try:
            with metrics.upstream(f"{method} {_operation(path)}") as answered:
                request = self._prepared(method, path, query)
                request.headers["Authorization"] = auth.header
                if json_body is not None:
                    request.prepare_body(None, None, json_body)
                response = self._transport.send(request, stream=True)
                answered.append(response.status_code)
            status = response.status_code
            return response
        finally:
            took_ms = (time.monotonic() - started) * 1000
            logs.say(log, "%s %s %s %d ms", method, path, status, took_ms)

    def _prepared(
        self, method: str, path: str, query: Mapping[str, str] | None
    ) -> requests.PreparedRequest:
        """A request without authorization and body; that of a send is the same each time."""
        if path != SEND_PATH:
            return _prepared(method, self._api_url + path, query)
        return self._blank_send.copy()


def _prepared(method: str, url: str, query: Mapping[str, str] | None) -> requests.PreparedRequest:
    request = requests.PreparedRequest()
    request.prepare(method, url, _HEADERS, params=query)
    return request


def setup_sipgate(app: Flask, *, before_waiting: Callable[[], None]) -> None:
    """`before_waiting` is called before each request: it releases what must not be held then."""
    settings = app.config["SETTINGS"]
    transport.before_waiting(app, before_waiting)
    app.extensions["sipgate"] = Sipgate(settings.sipgate_api_url, pool_size=settings.web_threads)


def client() -> Sipgate:
    """The running app's client."""
    found: Sipgate = current_app.extensions["sipgate"]
    return found


def _operation(path: str) -> str:
    """The path without its ids: `/{id}/sms`."""
    parts = (part if part in _PATH_WORDS else "{id}" for part in path.split("/")[1:])
    return "/" + "/".join(parts)


def _text(answer: Mapping[str, Any], key: str) -> str:
    """A field that must be there and usable as it is, such as an id."""
    value = answer.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise MalformedResponse(key)
    if not str(value).isprintable():
        raise MalformedResponse(key)
    return str(value)[:64]


def _words(answer: Mapping[str, Any], key: str) -> str:
    """A field for display; empty if it is missing."""
    return printable(answer.get(key))[:200]


def _extension(item: Any) -> Extension:
    if not isinstance(item, dict):
        raise MalformedResponse("items")
    return Extension(
        id=_text(item, "id"),
        alias=_words(item, "alias"),
        caller_id=_words(item, "callerId"),
    )


def _caller_ids_path(sub: str, extension_id: str) -> str:
    return f"/{quote(sub, safe='')}/sms/{quote(extension_id, safe='')}/callerids"


def _caller_id(item: Any) -> CallerId:
    id_ = _text(item, "id") if isinstance(item, dict) else ""
    if not (id_.isascii() and id_.isdigit()):
        raise MalformedResponse("items")
    return CallerId(
        id=int(id_),
        number=_words(item, "phonenumber"),
        is_verified=_is_true(item.get("verified")),
        is_default=_is_true(item.get("defaultNumber")),
    )


def _is_true(value: Any) -> bool:
    """Booleans in sipgate's specification are strings in sipgate's own client."""
    return str(value).lower() == "true"
