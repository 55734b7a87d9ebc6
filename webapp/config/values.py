"""One setting: how it is declared, and how its text becomes a value.

A reader takes the text and returns the value. What it refuses it says in the rest of a sentence
that begins with the setting's name, without repeating the text, which may be a secret.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field
from datetime import time
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers

MIN_SECRET_CHARACTERS = 32
MISSING = "is missing; .env.example says what belongs there."
_WEAK_SECRETS = ("change-me", "changeme", "secret", "your-secret")
NTFY = "ntfy+"
"""Before a webhook's address: it is spoken to in the way of ntfy."""
_T = TypeVar("_T")

Default = str | Callable[[Mapping[str, Any]], str]
"""The text that stands for an empty setting, or a function that makes it from the settings declared
above, by their fields' names."""


class SettingError(ValueError):
    """A setting is missing or wrong. `str()` is one sentence for the person who starts the app."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """What is said of a setting beside its name and its type."""

    words: str
    heading: str
    default: Default
    is_required: bool
    empty_is_off: bool
    read: Callable[[str], Any]
    show: Callable[[Any], str]

    def value(self, name: str, values: Mapping[str, str], above: Mapping[str, Any]) -> Any:
        """The value of the setting called `name` in `values`. Raises `SettingError`."""
        try:
            text = _single_line(values.get(name, ""))
            if not text and self.is_required:
                raise ValueError(MISSING)
            if not text and not (self.empty_is_off and name in values):
                text = self.default if isinstance(self.default, str) else self.default(above)
            return self.read(text)
        except ValueError as error:
            raise SettingError(f"{name} {error}") from None


def setting(
    words: str,
    read: Callable[[str], _T],
    default: Default = "",
    *,
    heading: str = "",
    is_required: bool = False,
    is_secret: bool = False,
    empty_is_off: bool = False,
    show: Callable[[Any], str] | None = None,
) -> _T:
    """A field of `Settings`. `words` are for the operator: .env.example and docs/settings.md.

    A `heading` stands above the first setting of a group.
    A secret has no repr and is shown as set or not, unless `show` knows what of it may be seen.
    With `empty_is_off` the default holds only if the setting is not in the environment at all.
    """
    show = show or (show_secret if is_secret else show_value)
    declaration = Declaration(words, heading, default, is_required, empty_is_off, read, show)
    return cast("_T", field(repr=not is_secret, metadata={"declaration": declaration}))


def declaration_of(one: "Field[Any]") -> Declaration:
    return cast("Declaration", one.metadata["declaration"])


def _single_line(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] in "\"'" and text[0] == text[-1]:
        raise ValueError("is wrapped in quotes; write it without them.")
    if "\x00" in text or "\n" in text:
        raise ValueError("must be a single line.")
    return text


# --- Readers ------------------------------------------------------------------------------------


def plain(text: str) -> str:
    return text


def words(text: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[\s,]+", text) if word)


def set_of_words(text: str) -> frozenset[str]:
    return frozenset(words(text))


def number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}.")
        return int(text)

    return read


def one_of(*choices: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {', '.join(choices[:-1])} or {choices[-1]}.")
        return text

    return read


def address(example: str, *, has_path: bool = True) -> Callable[[str], str]:
    """An address of the web without a password, as it would be shown."""

    def read(text: str) -> str:
        text = text.rstrip("/")
        try:
            parts = urlsplit(text)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"must be an address such as {example}.")
        if parts.query or parts.fragment or "@" in parts.netloc or (parts.path and not has_path):
            raise ValueError(f"must hold no more than an address such as {example}.")
        return text

    return read


def mail_server(text: str) -> str:
    """An address as `SMTP_URL` has it, whole: who sends mail takes it apart. May be empty."""
    if not text:
        return text
    if not _is_server(text, "smtp", "smtps") or urlsplit(text).path.strip("/"):
        raise ValueError("must be an address such as smtps://name:password@mail.example.com.")
    return text


def webhook(text: str) -> str:
    """An address that takes a POST; may be empty."""
    if not text:
        return text
    if not _is_server(text.removeprefix(NTFY), "http", "https"):
        raise ValueError("must be an address such as https://example.com/hook.")
    parts = urlsplit(text.removeprefix(NTFY))
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ValueError("must begin with https:// unless it is on this machine.")
    return text


def _is_server(text: str, *schemes: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.scheme in schemes and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def mail_addresses(text: str) -> tuple[str, ...]:
    found = words(text)
    for one in found:
        if not re.fullmatch(r"[^\s@<>\"(),;:]+@[^\s@<>\"(),;:]+", one) or not one.isascii():
            raise ValueError("must hold e-mail addresses such as office@example.com.")
    return found


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    for key in keys:
        if len(key) < MIN_SECRET_CHARACTERS or len(set(key)) < 10:
            raise ValueError(
                f"must have at least {MIN_SECRET_CHARACTERS} random characters; make one with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        if key.lower().startswith(_WEAK_SECRETS):
            raise ValueError("still holds the example's value; put a random one in its place.")
    if not keys:
        raise ValueError(MISSING)
    return keys


_RATE_LIMIT = re.compile(
    r"(login|send|list) (\d{1,6}/(?:second|minute|hour|day)) per (address|member)", re.ASCII
)


def rate_limits(example: str) -> Callable[[str], Mapping[str, str]]:
    """`login 30/minute per address` as `{"login": "30/minute"}`. A kind that is left out has the
    limit of the example, which is the default."""

    def parse(text: str) -> dict[str, str]:
        limits = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            found = _RATE_LIMIT.fullmatch(part)
            if found is None:
                raise ValueError(f"must be like: {example}.")
            limits[found[1]] = found[2]
        return limits

    def read(text: str) -> Mapping[str, str]:
        limits = parse(text)
        return limits and {**parse(example), **limits}

    return read


def hours(text: str) -> tuple[time, time] | None:
    if not text:
        return None
    try:
        if not re.fullmatch(r"\d\d:\d\d-\d\d:\d\d", text, re.ASCII):
            raise ValueError
        start, end = (time.fromisoformat(part) for part in text.split("-"))
    except ValueError:
        raise ValueError("must be like 22:00-07:00, or empty.") from None
    return start, end


def price(text: str) -> Decimal | None:
    if not text:
        return None
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", text, re.ASCII):
        raise ValueError("must be a price in euros, such as 0.07, or empty.")
    return Decimal(text)


def region(text: str) -> str:
    if text.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country's two letters, such as DE.")
    return text.upper()


@cache
def time_zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("must be a time zone's name, such as Europe/Berlin.")
    return text


def log_level(text: str) -> str:
    return one_of("DEBUG", "INFO", "WARNING", "ERROR")(text.upper())


# --- What of a value may be seen ----------------------------------------------------------------


def show_hours(value: tuple[time, time] | None) -> str:
    return "not set" if value is None else f"{value[0]:%H:%M}-{value[1]:%H:%M}"


def show_value(value: Any) -> str:
    if isinstance(value, tuple | frozenset):
        value = " ".join(sorted(map(str, value)))
    elif isinstance(value, Mapping):
        value = ", ".join(f"{key} {limit}" for key, limit in value.items())
    return "not set" if value in (None, "") else str(value)


def show_secret(value: Any) -> str:
    return "set" if value else "not set"


_PLACE = re.compile(r"(?:[\w.-]*|\[[\da-f:]+\])(?::\d+)?(?:/[\w./ -]*)?")


def show_place(value: str) -> str:
    """Where something is, without how one gets in: each word of a query may be a password."""
    if not value:
        return "not set"
    kind, _, rest = value.partition("://")
    login, _, place = ("", "", rest) if kind.startswith("sqlite") else rest.rpartition("@")
    place, _, query = place.partition("?")
    if not _PLACE.fullmatch(place) and not kind.startswith("sqlite"):
        return "set"
    return f"{kind}://{'***@' if login else ''}{place}{'?***' if query else ''}"


def show_server(value: str) -> str:
    """Scheme, host and port: the rest of the address may hold passwords and tokens."""
    if not value:
        return "not set"
    parts = urlsplit(value)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    place = f"{host}:{parts.port}" if parts.port else f"{host}"
    return (
        f"{parts.scheme}://{place}/…"
        if parts.path.strip("/") or parts.query
        else (f"{parts.scheme}://{place}")
    )
