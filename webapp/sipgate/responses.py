"""What a response from sipgate means, or the lack of one: the exceptions that the client raises.

Only a clear yes is a yes, only a clear no is a refusal; everything else leaves the outcome unknown.
"""

import codecs
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from webapp.rules.outcomes import Reason
from webapp.sipgate import transport

log = logging.getLogger(__name__)

MAX_RETRY_AFTER_S = 15 * 60
MAX_DETAIL_CHARACTERS = 300


class SipgateError(Exception):
    """A call did not do what was asked."""


class Unreachable(SipgateError):
    """No usable response to a read; or a change or a message that provably never left us."""

    def __init__(self, reason: Reason = Reason.UNREACHABLE) -> None:
        self.reason = reason
        super().__init__(reason)


class OutcomeUnknown(SipgateError):
    """The request had begun and got no clear answer: the message may have been sent."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


class Unauthorized(SipgateError):
    """401: sipgate does not accept the token (any more). Nothing was done."""


class Refused(SipgateError):
    """sipgate said no. Nothing was done.

    `detail` is sipgate's own sentence, if any: cut to a length, never HTML. `retry_after_s` is at
    most 15 minutes; None if the header was missing or made no sense.
    """

    def __init__(
        self, reason: Reason, status: int, detail: str = "", retry_after_s: int | None = None
    ) -> None:
        self.reason = reason
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s
        super().__init__(f"{reason} ({status})")


class MalformedResponse(SipgateError):
    """The response is not what this call returns: no JSON, or fields of the wrong type."""


@dataclass(frozen=True, slots=True)
class Response:
    """A status, and as much of the body as could be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool

    @classmethod
    def read(cls, response: requests.Response) -> "Response":
        """Read a response. If the body breaks off, keep what came: the status line decides."""
        body, is_whole = b"", True
        try:
            for chunk in response.iter_content(8192):
                body += chunk
        except Exception:  # the libraries raise more than they document
            is_whole = False
        finally:
            response.close()
        return cls(response.status_code, response.headers, body, is_whole)

    @property
    def is_html(self) -> bool:
        start = self.body.removeprefix(codecs.BOM_UTF8).lstrip()
        return "html" in self.headers.get("Content-Type", "").lower() or start[:1] == b"<"

    @property
    def is_clear_yes(self) -> bool:
        """Whether sipgate itself said yes: captive portals, proxies and maintenance pages say 2xx,
        too."""
        if self.status == 204:
            return True
        if not 200 <= self.status < 300 or self.status in (203, 205, 206) or self.is_html:
            return False
        is_empty = self.is_whole and not self.body
        return is_empty or self._is_called_json

    @property
    def _is_called_json(self) -> bool:
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return kind == "application/json" or (
            kind.startswith("application/") and kind.endswith("+json")
        )

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


def sent_at(response: Response) -> datetime | None:
    """When its server sent it, by that one's clock; None if it does not say."""
    try:
        at = parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def raise_for_no_response(exchange: transport.Exchange, error: Exception) -> Response:
    """Decide by what had left us, never by the type of the error.

    Returns a response without a body if the status line had come.
    """
    if not isinstance(error, requests.RequestException):
        log.warning("sipgate's answer could not be read: %s", type(error).__name__)
    if exchange.status is not None:
        return Response(exchange.status, exchange.headers, b"", is_whole=False)
    if exchange.request_began:
        raise OutcomeUnknown(Reason.NO_ANSWER) from None
    if exchange.is_late:
        raise Unreachable(Reason.NOT_IN_TIME) from None
    untrusted = isinstance(error, requests.exceptions.SSLError)
    raise Unreachable(Reason.UNTRUSTED if untrusted else Reason.UNREACHABLE) from None


_REASONS = {
    400: Reason.REJECTED,
    402: Reason.BALANCE,
    403: Reason.NOT_ALLOWED,
    404: Reason.MISUNDERSTOOD,
    405: Reason.MISUNDERSTOOD,
    415: Reason.MISUNDERSTOOD,
    429: Reason.RATE_LIMITED,
}


def raise_for_outcome(answer: Response) -> None:
    """Return if the answer to a change is a clear yes; otherwise raise what it means."""
    status = answer.status
    if answer.is_clear_yes:
        return
    if 300 <= status < 400:
        log.error("sipgate's API answered with a redirect (%d): check SIPGATE_API_URL", status)
        raise OutcomeUnknown(Reason.REDIRECTED)
    if status == 401:
        raise Unauthorized
    if status == 408 or 500 <= status < 600:
        raise OutcomeUnknown(Reason.SERVER_ERROR)
    if 400 <= status < 500:
        raise _refusal(answer)
    raise OutcomeUnknown(Reason.ODD_ANSWER)


def _refusal(answer: Response) -> Refused:
    return Refused(
        _REASONS.get(answer.status, Reason.REFUSED),
        answer.status,
        detail=_detail(answer),
        retry_after_s=_retry_after_s(answer.headers.get("Retry-After", "")),
    )


def as_object(answer: Response) -> Mapping[str, Any]:
    if answer.status == 401:
        raise Unauthorized
    if 400 <= answer.status < 500 and answer.status != 408:
        raise _refusal(answer)
    if not 200 <= answer.status < 300:
        raise Unreachable
    value = answer.json()
    if not answer.is_whole or not isinstance(value, dict):
        raise MalformedResponse("no JSON object")
    return value


def _detail(answer: Response) -> str:
    """sipgate's own sentence: in one of two JSON shapes, or plain text."""
    if answer.is_html:
        return ""
    value = answer.json()
    found: Any = answer.body.decode(errors="replace") if value is None else ""
    if isinstance(value, dict):
        errors = value.get("errors")
        if isinstance(errors, list) and errors and isinstance(errors[0], dict):
            value = errors[0]
        found = value.get("message") or value.get("detail") or value.get("title")
    return printable(found).strip()[:MAX_DETAIL_CHARACTERS]


def _retry_after_s(value: str) -> int | None:
    """Seconds to wait, from a number or a date; None if the header is unusable."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:12]), MAX_RETRY_AFTER_S)
    try:
        until = parsedate_to_datetime(value)
        if until.tzinfo is None:
            until = until.replace(tzinfo=UTC)
        wait_s = int((until - datetime.now(UTC)).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return max(0, min(wait_s, MAX_RETRY_AFTER_S))


def printable(value: Any) -> str:
    """Remove what a database or page cannot hold (NUL, half an emoji) and what changes the text
    around it (RTL marks)."""
    return "".join(c for c in str(value or "") if c.isprintable())
