"""sipgate's records as frozen dataclasses, and how contacts and sent texts are read from JSON.

`/contacts` has nested lists and scopes, `/contacts/internal` plain strings; numbers are free text
in both. Entries that make no sense are left out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from webapp.rules.outcomes import Reason
from webapp.sipgate.responses import (
    MalformedResponse,
    Refused,
    SipgateError,
    Unauthorized,
    printable,
)

MAX_CONTACTS = 20_000
MAX_PAGES = 400
"""sipgate may return fewer contacts a page than were asked for."""
MAX_NAME_CHARACTERS = 200
MAX_NUMBER_CHARACTERS = 64
MAX_NUMBERS = 20
_INTERNAL_KINDS = ("mobile", "directdial", "landline")


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """A contact. `numbers` are as people typed them; `is_private`: only its owner may see it."""

    id: str
    name: str
    organization: str
    numbers: tuple[str, ...]
    is_private: bool


class Lack(StrEnum):
    """Why contacts may be missing."""

    NONE = ""
    REFUSED = "refused"
    """Only colleagues were listed."""
    UNTOLD = "untold"
    BROKEN = "broken"
    """Reading broke off; what is missing may come with the next reading."""
    CUT = "cut"


@dataclass(frozen=True, slots=True)
class AddressBook:
    entries: tuple[ContactEntry, ...]
    lack: Lack


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An outgoing SMS as sipgate's history shows it. No id ties it to what we sent."""

    id: str
    created_at: datetime
    extension_ids: tuple[str, ...]
    target: str
    text: str


def address_book(
    page: Callable[[int], Mapping[str, Any]], colleagues: Callable[[], list[Any]]
) -> AddressBook:
    """Combine `/contacts` (`page` at an offset) and `/contacts/internal` (`colleagues`).

    If one of the two is refused, the other's contacts are used. If both fail, raises what
    `/contacts` raised.
    """
    found: dict[str, ContactEntry] = {}
    refused: Refused | None = None
    try:
        lack = _read_pages(page, found)
    except Refused as error:
        if error.reason not in (Reason.NOT_ALLOWED, Reason.MISUNDERSTOOD):
            raise
        refused, lack = error, Lack.REFUSED
    try:
        entries = [entry for item in colleagues() if (entry := internal_entry(item))]
    except Unauthorized:
        raise
    except SipgateError:
        if refused:
            raise refused from None
        return AddressBook(tuple(found.values()), lack or Lack.UNTOLD)
    for entry in entries:
        found.setdefault(entry.id, entry)
    return AddressBook(tuple(found.values()), lack)


def _read_pages(page: Callable[[int], Mapping[str, Any]], found: dict[str, ContactEntry]) -> Lack:
    """Read pages into `found` until `totalCount` is reached or nothing new comes."""
    seen: set[str] = set()
    received = 0
    for _ in range(MAX_PAGES):
        try:
            items, total = _items_and_total(page(received))
        except Unauthorized:
            raise
        except SipgateError:
            if received:
                return Lack.BROKEN
            raise
        ids = {str(item.get("id")) if isinstance(item, dict) else repr(item) for item in items}
        if ids <= seen:
            # The end, or the same page again from a server that ignores `offset`.
            is_all = not items if total is None else received >= total
            return Lack.NONE if is_all else Lack.UNTOLD
        seen |= ids
        received += len(items)
        found.update((entry.id, entry) for item in items if (entry := contact_entry(item)))
        if received == total:
            return Lack.NONE
        if received >= MAX_CONTACTS:
            return Lack.CUT
    return Lack.UNTOLD


def _items_and_total(answer: Mapping[str, Any]) -> tuple[list[Any], int | None]:
    items, total = answer.get("items"), answer.get("totalCount")
    if not isinstance(items, list):
        raise MalformedResponse("items")
    return items, total if isinstance(total, int) and not isinstance(total, bool) else None


def contact_entry(item: Any) -> ContactEntry | None:
    """An item of `/contacts`, or None if it has no id or no name."""
    if not isinstance(item, dict):
        return None
    numbers = (one.get("number") for one in _list(item, "numbers") if isinstance(one, dict))
    organization = next((_words(part) for part in _flat(_list(item, "organization"))), "")
    # Private unless stated otherwise: better shown to too few than to too many.
    is_private = str(item.get("scope")).upper() not in ("SHARED", "INTERNAL")
    return _entry(item, _words(item.get("name")) or organization, organization, numbers, is_private)


def internal_entry(item: Any) -> ContactEntry | None:
    """A colleague, from `/contacts/internal`: mobile numbers first, without fax numbers."""
    if not isinstance(item, dict):
        return None
    numbers = (number for kind in _INTERNAL_KINDS for number in _list(item, kind))
    return _entry(item, _words(item.get("name")), "", numbers, False)


def _entry(
    item: dict[str, Any], name: str, organization: str, numbers: Iterable[Any], is_private: bool
) -> ContactEntry | None:
    typed = dict.fromkeys(printable(number)[:MAX_NUMBER_CHARACTERS].strip() for number in numbers)
    typed.pop("", None)
    id_ = item.get("id")
    if not isinstance(id_, str | int) or not name:
        return None
    other = organization if organization != name else ""
    return ContactEntry(str(id_), name, other, tuple(typed)[:MAX_NUMBERS], is_private)


def _list(item: dict[str, Any], key: str) -> list[Any]:
    value = item.get(key)
    return value if isinstance(value, list) else []


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    """The non-empty texts of nested lists such as `[["Labor Nord", "Einkauf"]]`."""
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        elif isinstance(value, str) and value.strip():
            yield value


def _words(value: Any) -> str:
    return " ".join(printable(value).split())[:MAX_NAME_CHARACTERS] if value else ""


def history_entry(item: Any) -> HistoryEntry | None:
    """An entry, or None if it is no outgoing text: sipgate's own filter is not relied on."""
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


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a token belongs to. `sub` is unique within `account_id` only."""

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
        """Whether recipients can answer: to a number, not to a text such as "sipgate"."""
        digits = self.caller_id.removeprefix("+")
        return digits.isascii() and digits.isdigit() and len(digits) > 5


@dataclass(frozen=True, slots=True)
class Balance:
    """What the account has left, in its currency (`EUR`). May be 0 or negative."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class CallerId:
    """A sender that an extension may show: a number, or the word `sipgate` with the id 0."""

    id: int
    number: str
    is_verified: bool
    is_default: bool
