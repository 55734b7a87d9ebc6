"""Faults: what can go wrong on the wire, and when it does.

A `Fault` is a value, `FaultPlan` says which call meets which, and `wire` plays them. The routes
decide what a fault means for a text (arrived or not).
"""

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import Any, Literal, get_args

Mode = Literal[
    "answer",
    "redirect",
    "hang",
    "reset",
    "reset_early",
    "close",
    "drip_headers",
    "drip_body",
    "break_body",
    "endless_headers",
    "huge_body",
    "gzip_bomb",
]

REDIRECT_TARGET = "/v2/elsewhere"
"""Where `redirect` leads when no Location is given; every visit there is counted."""

ENDPOINTS = (
    "authorize",
    "token_code",
    "token_refresh",
    "logout",
    "userinfo",
    "user",
    "account",
    "balance",
    "extensions",
    "send",
    "caller_ids",
    "add_caller_id",
    "verify_caller_id",
    "default_caller_id",
    "delete_caller_id",
    "history",
    "contacts",
    "internal_contacts",
    "redirect_target",
)
"""Names under which calls are counted and faults are set."""

ALIASES = {"token": "token_code", "refresh": "token_refresh"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing going wrong.

    `mode` `answer`: the given status, headers and body after `delay_s`. With `status` None only the
    delay, then the usual answer; a client that gives up before is not served. `body` None is
    sipgate's usual error body for the status, `b""` an empty one. The other modes:

    - `redirect`: 302 (or `status`) to `headers`' Location or to a counted address of our own
    - `hang`: no answer; after `delay_s`, or (0) when the client gives up, the connection ends
    - `reset`, `close`: the request is read, then a TCP reset or the end of the connection
    - `reset_early`: a TCP reset before the request's body is read
    - `drip_headers`, `drip_body`: one byte every `interval_s`
    - `break_body`: a length of 100 is promised, 4 bytes come, then a reset
    - `endless_headers`, `huge_body` (100 MiB), `gzip_bomb` (100 MiB in about 100 KiB)

    With `deliver` the request is carried out all the same, before the answer goes wrong: the text
    is sent, the token is rotated.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    delay_s: float = 0.0
    mode: Mode = "answer"
    deliver: bool = False
    interval_s: float = 0.4

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise ValueError(f"no such mode: {self.mode}; one of {', '.join(get_args(Mode))}")

    @property
    def is_only_slow(self) -> bool:
        return self.mode == "answer" and self.status is None

    @property
    def seen_status(self) -> int | None:
        """The status that a patient client reads; None when there is no status line at all."""
        if self.mode in ("hang", "reset", "reset_early", "close", "endless_headers"):
            return None
        return self.status or (302 if self.mode == "redirect" else 200)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Fault":
        """From a JSON object of the fields; `body` is text, `headers` a list of pairs."""
        fields = dict(data)
        if isinstance(fields.get("body"), str):
            fields["body"] = fields["body"].encode()
        fields["headers"] = tuple((name, value) for name, value in fields.get("headers", ()))
        return cls(**fields)


def oauth_error(error: str, description: str, status: int = 400) -> Fault:
    """The identity provider's kind of refusal: `{"error", "error_description"}`."""
    body = json.dumps({"error": error, "error_description": description})
    return Fault(status=status, body=body.encode())


@dataclass(slots=True)
class FaultPlan:
    """Which call meets which fault. `next` is used up first, then `later`, then `always`."""

    _next: dict[str, deque[Fault]] = field(default_factory=dict)
    _later: dict[str, tuple[int, Fault]] = field(default_factory=dict)
    _always: dict[str, Fault] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def fail_next(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        with self._lock:
            self._next.setdefault(canonical(endpoint), deque()).extend([fault] * times)

    def fail_from(self, endpoint: str, n: int, fault: Fault) -> None:
        """From the `n`-th call on, counted from now and from 1."""
        with self._lock:
            self._later[canonical(endpoint)] = (n, fault)

    def fail_always(self, endpoint: str, fault: Fault) -> None:
        with self._lock:
            self._always[canonical(endpoint)] = fault

    def clear(self) -> None:
        with self._lock:
            for plan in (self._next, self._later, self._always):
                plan.clear()

    def take(self, endpoint: str) -> Fault | None:
        """The fault for this call, which is used up if it was armed for a number of calls."""
        with self._lock:
            later = self._count_down(endpoint)
            if queue := self._next.get(endpoint):
                return queue.popleft()
            return later or self._always.get(endpoint)

    def _count_down(self, endpoint: str) -> Fault | None:
        if endpoint not in self._later:
            return None
        n, fault = self._later[endpoint]
        self._later[endpoint] = (n - 1, fault)
        return fault if n <= 1 else None


def canonical(endpoint: str) -> str:
    """The endpoint's full name; ValueError for one that does not exist."""
    name = ALIASES.get(endpoint, endpoint)
    if name not in ENDPOINTS:
        raise ValueError(f"no such endpoint: {endpoint}; one of {', '.join(ENDPOINTS)}")
    return name


_ERROR_NAMES = {
    400: "PARAMETER_INVALID",
    401: "REQUEST_NOT_AUTHENTICATED",
    403: "REQUEST_NOT_AUTHORIZED",
    404: "RESOURCE_NOT_FOUND",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
}


def error_body(status: int, message: str | None = None) -> bytes:
    """sipgate's `{"name", "message"}`; empty below 300, where there is nothing to say."""
    if status < 300:
        return b""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown status"
    name = _ERROR_NAMES.get(status) or phrase.upper().replace(" ", "_").replace("-", "_")
    return json.dumps({"name": name, "message": message or phrase}).encode()
