"""The client of sipgate's REST API v2, and the only place that knows its words.

Frozen dataclasses come out, or the exceptions of `answers.py`. Knows
nothing of where tokens live: each call is given an `Authorization` header.

Facts about the API and their sources stand in the project's notes; where sipgate's behaviour is
not documented, either answer works.
"""

import base64
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests
from flask import Flask, current_app

from webapp import metrics, recipients, wire
from webapp.answers import (
    Answer,
    Nonsense,
    Unreachable,
    as_object,
    judge,
    printable,
    without_answer,
)

log = logging.getLogger(__name__)

SEND_DEADLINE_S = 20.0
READ_DEADLINE_S = 5.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_HISTORY_ENTRIES = 1000
_PATH_WORDS = {"authorization", "userinfo", "users", "sms", "sessions", "history"}
_PATH_WORDS |= {"callerids", "verification", "contacts", "balance", "account"}
UTC_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a token belongs to. A person is `account_id` and `sub` together."""

    sub: str
    account_id: str


@dataclass(frozen=True, slots=True)
class Person:
    name: str
    is_admin: bool


@dataclass(frozen=True, slots=True)
class Extension:
    """A Web SMS extension. `caller_id` is what recipients see: a number, or a text."""

    id: str
    alias: str
    caller_id: str

    @property
    def can_reply(self) -> bool:
        """Whether recipients can answer: a text such as "sipgate" is no number to write to."""
        digits = self.caller_id.removeprefix("+")
        return digits.isascii() and digits.isdigit() and len(digits) > 5


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An outgoing SMS as sipgate's history shows it. No id ties it to what we sent."""

    id: str
    created_at: datetime
    extension_ids: tuple[str, ...]
    target: str
    text: str


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


class Sipgate:
    """The client. One per process; safe to share between threads. Limits in seconds."""

    def __init__(
        self,
        api_url: str,
        *,
        pool_size: int,
        send_deadline_s: float = SEND_DEADLINE_S,
        read_deadline_s: float = READ_DEADLINE_S,
    ) -> None:
        self._api_url = api_url
        self._adapter = wire.DeadlineAdapter(pool_size)
        self._threads = threading.local()
        self._send_deadline_s = send_deadline_s
        self._read_deadline_s = read_deadline_s

    def identity(self, auth: Authorization) -> Identity:
        answer = self._get("/authorization/userinfo", auth)
        return Identity(sub=_text(answer, "sub"), account_id=_text(answer, "masterSipId"))

    def person(self, auth: Authorization, sub: str) -> Person:
        answer = self._get(f"/users/{quote(sub, safe='')}", auth)
        names = (_words(answer, key).strip() for key in ("firstname", "lastname"))
        # `admin` is a boolean in sipgate's spec and a string in its own client.
        is_admin = str(answer.get("admin")).lower() == "true"
        return Person(name=" ".join(name for name in names if name) or sub, is_admin=is_admin)

    def extensions(self, auth: Authorization, sub: str) -> tuple[Extension, ...]:
        """The Web SMS extensions of a person, in sipgate's order."""
        items = self._get(f"/{quote(sub, safe='')}/sms", auth).get("items")
        if not isinstance(items, list):
            raise Nonsense("items")
        return tuple(_extension(item) for item in items)

    def sent_texts(
        self, auth: Authorization, *, extension_id: str, since: datetime, until: datetime
    ) -> tuple[HistoryEntry, ...]:
        """Outgoing SMS of an extension that sipgate's history shows for a span of time."""
        query = {
            "types": "SMS",
            "directions": "OUTGOING",
            "connectionIds": extension_id,
            "from": since.strftime(UTC_FORMAT),
            "to": until.strftime(UTC_FORMAT),
            "limit": str(MAX_HISTORY_ENTRIES),
        }
        items = self._get("/history", auth, query).get("items")
        if not isinstance(items, list):
            raise Nonsense("items")
        entries = (_history_entry(item) for item in items)
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
        """Hand one message to sipgate; returning means that sipgate took it.

        Raises `Unauthorized`, `Refused` or `Unreachable` when nothing was sent for certain, and
        `OutcomeUnknown` for everything else. Never tries twice.
        """
        if not recipients.is_sendable(recipient):
            raise ValueError("the recipient is no E.164 number")
        body: dict[str, Any] = {"smsId": extension_id, "recipient": recipient, "message": text}
        if send_at is not None:
            # `null`, 0 and -1 seem to mean "now" at sipgate, so the field is left out for now.
            body["sendAt"] = int(send_at.timestamp())
        with wire.exchange(self._send_deadline_s, MAX_ANSWER_BYTES) as exchange:
            try:
                response = self._request("POST", "/sessions/sms", auth, json_body=body)
                answer = Answer.read(response)
            except requests.RequestException as error:
                answer = without_answer(exchange, error)
        judge(answer)

    def _get(
        self, path: str, auth: Authorization, query: Mapping[str, str] | None = None
    ) -> Mapping[str, Any]:
        with wire.exchange(self._read_deadline_s, MAX_LIST_BYTES):
            try:
                response = self._request("GET", path, auth, query=query)
                answer = Answer.read(response)
            except requests.RequestException:
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
        """The one way out: no redirects, no environment, one log line without text or token."""
        started = time.monotonic()
        status: int | str = "no answer"
        try:
            with metrics.upstream(f"{method} {_operation(path)}") as answered:
                response = self._session().request(
                    method,
                    self._api_url + path,
                    headers={"Authorization": auth.header, "Accept": "application/json"},
                    params=query,
                    json=json_body,
                    allow_redirects=False,
                    stream=True,
                )
                answered.append(response.status_code)
            status = response.status_code
            return response
        finally:
            log.info("%s %s %s %d ms", method, path, status, (time.monotonic() - started) * 1000)

    def _session(self) -> requests.Session:
        # requests does not promise that a Session is thread-safe; urllib3's pool below it is.
        session: requests.Session | None = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = requests.Session()
            wire.prepare(session, self._adapter)
        return session


def setup_sipgate(app: Flask) -> None:
    settings = app.config["SETTINGS"]
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
    """An id: it must be usable as it is."""
    value = answer.get(key)
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value).strip():
        raise Nonsense(key)
    if not str(value).isprintable():
        raise Nonsense(key)
    return str(value)[:64]


def _words(answer: Mapping[str, Any], key: str) -> str:
    """Something to show; empty where it is missing."""
    return printable(answer.get(key))[:200]


def _extension(item: Any) -> Extension:
    if not isinstance(item, dict):
        raise Nonsense("items")
    return Extension(
        id=_text(item, "id"),
        alias=_words(item, "alias"),
        caller_id=_words(item, "callerId"),
    )


def _history_entry(item: Any) -> HistoryEntry | None:
    """An entry, or None where it is no outgoing text: the filter is sipgate's, the look is ours."""
    if not isinstance(item, dict) or item.get("type") != "SMS":
        return None
    created_at = _moment(item.get("created"))
    if item.get("direction") != "OUTGOING" or created_at is None:
        return None
    extension_ids = item.get("connectionIds")
    return HistoryEntry(
        id=str(item.get("id") or "")[:64],
        created_at=created_at,
        extension_ids=tuple(map(str, extension_ids)) if isinstance(extension_ids, list) else (),
        target=str(item.get("target") or ""),
        text=str(item.get("smsContent") or ""),
    )


def _moment(value: Any) -> datetime | None:
    """sipgate writes times as `…Z`, with milliseconds, or `2016-02-10 14:19:39+00:00`."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
