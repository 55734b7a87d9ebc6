"""What sipgate's answers mean, and every lack of one: the exceptions its client raises.

They carry data and no sentences. Only a clear yes is a yes, only a clear no is a refusal;
everything else leaves the outcome unknown.
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
    """Any call that did not do what was asked."""


class Unreachable(SipgateError):
    """No usable answer. For a message: it provably never left us."""

    def __init__(self, reason: Reason = Reason.UNREACHABLE) -> None:
        self.reason = reason
        super().__init__(reason)


class OutcomeUnknown(SipgateError):
    """The request had begun and no clear answer came: the message may have gone out."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


class Unauthorized(SipgateError):
    """401: the token is not taken (any more). Nothing was done."""


class Refused(SipgateError):
    """sipgate said no. Nothing was done.

    `detail` is sipgate's own sentence if it gave one, cut, never HTML; `retry_after_s` is whole
    seconds, at most 15 minutes, None where the header was missing or made no sense.
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
    """An answer that is not what this call gives: no JSON, or fields of the wrong kind."""


@dataclass(frozen=True, slots=True)
class Response:
    """A status and as much of a body as could be read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool

    @classmethod
    def read(cls, response: requests.Response) -> "Response":
        """The status line decides, so a body that breaks is kept as far as it came."""
        body, is_whole = b"", True
        try:
            for chunk in response.iter_content(8192):
                body += chunk
        except Exception:  # the libraries below raise more than they say
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
        """A captive portal, a proxy or a maintenance page says 2xx, too."""
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


def raise_for_no_response(exchange: transport.Exchange, error: Exception) -> Response:
    """Decide by what had left us, never by the class of the error."""
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
    """What an answer to a send means. Only a clear yes returns; only a clear no is a refusal."""
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
    """sipgate's own words in any of the shapes seen: two JSON shapes, or plain text."""
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
    """Seconds to wait, from a number or a date; None where the header says nothing usable."""
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
    """Without what no database or page can hold (NUL, half an emoji) or what would turn the text
    around it (RTL marks)."""
    return "".join(c for c in str(value or "") if c.isprintable())
