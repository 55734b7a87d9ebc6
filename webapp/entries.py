"""What the entries of sipgate's long lists say, in whatever shape: contacts, and sent texts.

`/contacts` has nested lists and scopes, `/contacts/internal` plain strings; numbers are free text
in both. Pure: JSON values in, frozen dataclasses out; what is no such entry is left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from webapp.answers import printable

MAX_NAME_CHARACTERS = 200
MAX_NUMBER_CHARACTERS = 64
MAX_NUMBERS = 20
_INTERNAL_KINDS = ("mobile", "directdial", "landline")


@dataclass(frozen=True, slots=True)
class ContactEntry:
    """A contact. `numbers` as people typed them; `is_private`: its owner alone may see it."""

    id: str
    name: str
    organization: str
    numbers: tuple[str, ...]
    is_private: bool


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """An outgoing SMS as sipgate's history shows it. No id ties it to what we sent."""

    id: str
    created_at: datetime
    extension_ids: tuple[str, ...]
    target: str
    text: str


def contact_entry(item: Any) -> ContactEntry | None:
    """An item of `/contacts`, or None where it has no id or no name to call it by."""
    if not isinstance(item, dict):
        return None
    numbers = (one.get("number") for one in _list(item, "numbers") if isinstance(one, dict))
    organization = next((_words(part) for part in _flat(_list(item, "organization"))), "")
    # Whatever is not said to be shared is taken for private: shown too little, never too much.
    is_private = str(item.get("scope")).upper() not in ("SHARED", "INTERNAL")
    return _entry(item, _words(item.get("name")) or organization, organization, numbers, is_private)


def internal_entry(item: Any) -> ContactEntry | None:
    """An item of `/contacts/internal`: a colleague, mobile numbers first. Fax numbers are none."""
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
    """The texts of `[["Labor Nord", "Einkauf"]]`, none of them empty."""
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        elif isinstance(value, str) and value.strip():
            yield value


def _words(value: Any) -> str:
    return " ".join(printable(value).split())[:MAX_NAME_CHARACTERS] if value else ""


def history_entry(item: Any) -> HistoryEntry | None:
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
