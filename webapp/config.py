"""Settings from the environment: typed, frozen, checked before anything starts.

Each field says what it is for; `Settings.from_mapping` reads it under its upper-case name and
raises `SettingError`, whose text is one sentence that names the setting. What may hold a secret
has no repr.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import phonenumbers
from flask import current_app
from werkzeug.local import LocalProxy

VERSION = "0.1.0"
PROJECT = Path(__file__).resolve().parent.parent
MIN_SECRET_CHARACTERS = 32
DEFAULT_RATE_LIMITS = "login 30/minute per address, send 120/minute per member"
GONE = ("REDIS_URL",)
"""Settings of earlier versions: whoever still sets one is told that it changes nothing."""
_WEAK_SECRETS = ("change-me", "changeme", "secret", "your-secret")


class SettingError(ValueError):
    """A setting is missing or wrong. `str()` is one sentence for the person who starts the app."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between two deployments."""

    public_url: str
    """Address at which browsers reach the app; the redirect URI, the trusted host and the cookie
    rules follow from it. `http` only for loopback."""
    host: str = "127.0.0.1"
    """Address the web server listens on."""
    port: int = 5000
    """Port the web server listens on."""
    secret_key: tuple[str, ...] = field(repr=False)
    """Signs cookies and encrypts tokens; several, comma-separated, for rotation: newest first."""
    sipgate_client_id: str
    """The OAuth client made in the sipgate console."""
    sipgate_client_secret: str = field(repr=False)
    """Its secret."""
    sipgate_issuer: str
    """`https://login.sipgate.com/auth/realms/<realm>`; by default the realm is the client id's
    suffix, else `third-party`."""
    sipgate_api_url: str = "https://api.sipgate.com/v2"
    """sipgate's REST API."""
    sipgate_optional_scopes: tuple[str, ...] = ()
    """Scopes asked for beside the three that sending needs."""
    sipgate_accounts: frozenset[str] = frozenset()
    """The `masterSipId`s whose people may sign in; `*` for any; empty for nobody."""
    database_url: str = field(repr=False)
    """SQLAlchemy address of the database; by default a SQLite file in `instance/`."""
    web_processes: int = 1
    """Web processes."""
    web_threads: int = 64
    """Threads of a web process: each sends one message at a time."""
    send_concurrency: int = 16
    """Messages that a worker sends at the same time."""
    schedule_handover_minutes: int = 60
    """How long before its time a planned message goes to sipgate and can no longer be recalled."""
    missed_after_minutes: int = 30
    """A message later than this is not sent but asked about."""
    daily_limit: int = 500
    """Messages a member may send on one day; codes for own sender numbers count, too."""
    rate_limits: Mapping[str, str] = field(default_factory=dict)
    """How often: `login 30/minute per address, send 120/minute per member`; a kind left out has its
    default; empty: no limit."""
    retention_days: int = 365
    """Messages older than this are erased."""
    history_visibility: str = "own"
    """`own`: members see their own messages, admins their account's; `team`: all see it."""
    default_region: str = "DE"
    """Country of numbers typed without a country code (ISO 3166, two letters)."""
    default_time_zone: str = "Europe/Berlin"
    """Time zone of pages and of scheduled times until the browser names its own."""
    quiet_hours: tuple[time, time] | None = (time(22), time(7))
    """From when to when a text at the recipient's place is asked about first; empty: never."""
    segment_price: Decimal | None = None
    """What a segment costs, in euros, for the estimate on the page; empty: no estimate."""
    metrics_token: str = field(default="", repr=False)
    """Who shows this as Bearer may read `/metrics`; empty: there is no such page."""
    trusted_proxy_hops: int = 0
    """Number of reverse proxies in front whose `X-Forwarded-*` headers are believed."""
    sipgate_token_id: str = ""
    """Personal access token id (`token-…`), for the command line only."""
    sipgate_token: str = field(default="", repr=False)
    """Personal access token, for the command line only."""
    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, str]) -> "Settings":
        """Read and check the settings in `values` (the environment, as a rule)."""
        read = _Reader(values)
        port = read.number("PORT", default=5000, low=1, high=65535)
        client_id = read.text("SIPGATE_CLIENT_ID", required=True)
        settings = cls(
            public_url=read.url("PUBLIC_URL", default=f"http://localhost:{port}", path=False),
            host=read.text("HOST", default="127.0.0.1"),
            port=port,
            secret_key=read.checked("SECRET_KEY", _secret_keys, required=True),
            sipgate_client_id=client_id,
            sipgate_client_secret=read.text("SIPGATE_CLIENT_SECRET", required=True),
            sipgate_issuer=read.url("SIPGATE_ISSUER", default=_issuer_for(client_id)),
            sipgate_api_url=read.url("SIPGATE_API_URL", default="https://api.sipgate.com/v2"),
            sipgate_optional_scopes=tuple(read.words("SIPGATE_OPTIONAL_SCOPES")),
            sipgate_accounts=frozenset(read.words("SIPGATE_ACCOUNTS")),
            database_url=read.text(
                "DATABASE_URL", default=f"sqlite:///{PROJECT / 'instance' / 'team-sms.sqlite'}"
            ),
            web_processes=read.number("WEB_PROCESSES", default=1, low=1, high=64),
            web_threads=read.number("WEB_THREADS", default=64, low=1, high=1000),
            send_concurrency=read.number("SEND_CONCURRENCY", default=16, low=1, high=200),
            schedule_handover_minutes=read.number(
                "SCHEDULE_HANDOVER_MINUTES", default=60, low=5, high=44_640
            ),
            missed_after_minutes=read.number(
                "MISSED_AFTER_MINUTES", default=30, low=1, high=10_080
            ),
            daily_limit=read.number("DAILY_LIMIT", default=500, low=1, high=1_000_000),
            rate_limits=_rate_limits_of(read, values),
            retention_days=read.number("RETENTION_DAYS", default=365, low=1, high=36_500),
            history_visibility=read.checked("HISTORY_VISIBILITY", _visibility, default="own"),
            default_region=read.checked("DEFAULT_REGION", _region, default="DE"),
            default_time_zone=read.checked("DEFAULT_TIME_ZONE", _zone, default="Europe/Berlin"),
            quiet_hours=_quiet_hours_of(read, values),
            segment_price=read.checked("SEGMENT_PRICE", _price),
            metrics_token=read.text("METRICS_TOKEN"),
            trusted_proxy_hops=read.number("TRUSTED_PROXY_HOPS", default=0, low=0, high=10),
            sipgate_token_id=read.text("SIPGATE_TOKEN_ID"),
            sipgate_token=read.text("SIPGATE_TOKEN"),
            log_level=read.checked("LOG_LEVEL", _log_level, default="INFO"),
        )
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if self.is_https and self.trusted_proxy_hops == 0:
            raise SettingError(
                "TRUSTED_PROXY_HOPS must be at least 1 when PUBLIC_URL is https: the app itself "
                "speaks http to a proxy that ends TLS."
            )
        if not self.is_https and not is_loopback(self.hostname):
            raise SettingError(
                "PUBLIC_URL must begin with https:// unless it names this machine (localhost)."
            )
        for name, url in (
            ("SIPGATE_ISSUER", self.sipgate_issuer),
            ("SIPGATE_API_URL", self.sipgate_api_url),
        ):
            parts = urlsplit(url)
            if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
                raise SettingError(
                    f"{name} must begin with https://, or tokens would travel readable."
                )

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def hostname(self) -> str:
        return urlsplit(self.public_url).hostname or ""

    @property
    def redirect_uri(self) -> str:
        """The address to register in the sipgate console."""
        return f"{self.public_url}/auth/callback"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What a sign-in asks for. The first three are what sending and showing a name need."""
        needed = ("sessions:sms:write", "sms:read", "users:read")
        return needed + tuple(s for s in self.sipgate_optional_scopes if s not in needed)

    def shown(self) -> dict[str, str]:
        """Every setting by its name, as text; of a secret only whether there is one."""
        shown = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name == "database_url":
                value = _without_secrets(value)
            elif not one.repr:
                value = "set" if value else "not set"
            elif isinstance(value, tuple | frozenset):
                value = " ".join(sorted(map(str, value)))
            elif isinstance(value, Mapping):
                value = ", ".join(f"{key} {limit}" for key, limit in value.items())
            shown[one.name.upper()] = str(value) if value not in (None, "") else "not set"
        return shown

    def admits(self, account_id: str) -> bool:
        """Whether people of this sipgate account may sign in."""
        return "*" in self.sipgate_accounts or account_id in self.sipgate_accounts


def gone_settings(values: Mapping[str, str]) -> list[str]:
    """Those that an earlier version read, and that are still set."""
    return [name for name in GONE if values.get(name, "").strip()]


def setting_names() -> list[str]:
    """The settings as the environment spells them."""
    return [f.name.upper() for f in fields(Settings)]


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Reader:
    """Reads single values; every complaint names the setting and never shows a secret."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, *, default: str = "", required: bool = False) -> str:
        value = self._values.get(name, "").strip()
        if value[:1] in "\"'" and value[:1] == value[-1:] and len(value) > 1:
            raise SettingError(f"{name} is wrapped in quotes; write it without them.")
        if "\x00" in value or "\n" in value:
            raise SettingError(f"{name} must be a single line.")
        if not value and required:
            raise SettingError(f"{name} is missing; .env.example says what belongs there.")
        return value or default

    def words(self, name: str) -> list[str]:
        return [word for word in re.split(r"[\s,]+", self.text(name)) if word]

    def number(self, name: str, *, default: int, low: int, high: int) -> int:
        value = self.text(name, default=str(default))
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not low <= int(value) <= high:
            raise SettingError(f"{name} must be a whole number from {low} to {high}.")
        return int(value)

    def url(self, name: str, *, default: str, path: bool = True) -> str:
        value = self.text(name, default=default).rstrip("/")
        try:
            parts = urlsplit(value)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise SettingError(f"{name} must be an address such as {default}.")
        if parts.query or parts.fragment or "@" in parts.netloc or (parts.path and not path):
            raise SettingError(f"{name} must hold no more than an address such as {default}.")
        return value

    def checked(
        self, name: str, parse: Callable[[str], Any], *, default: str = "", required: bool = False
    ) -> Any:
        try:
            return parse(self.text(name, default=default, required=required))
        except SettingError:
            raise
        except ValueError as error:
            raise SettingError(f"{name} {error}") from None


def _secret_keys(value: str) -> tuple[str, ...]:
    keys = tuple(key.strip() for key in value.split(",") if key.strip())
    for key in keys:
        if len(key) < MIN_SECRET_CHARACTERS or len(set(key)) < 10:
            raise ValueError(
                f"must have at least {MIN_SECRET_CHARACTERS} random characters; make one with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
            )
        if key.lower().startswith(_WEAK_SECRETS):
            raise ValueError("still holds the example's value; put a random one in its place.")
    if not keys:
        raise ValueError("is missing; .env.example says what belongs there.")
    return keys


def _issuer_for(client_id: str) -> str:
    """The login address of a client: its id may end in the realm (sipgate's samples, 2022)."""
    suffix = client_id.rpartition(":")[2] if ":" in client_id else ""
    realm = suffix if re.fullmatch(r"[a-z0-9-]+", suffix) else "third-party"
    return f"https://login.sipgate.com/auth/realms/{realm}"


_PLACE = re.compile(r"(?:[\w.-]*|\[[\da-f:]+\])(?::\d+)?(?:/[\w./ -]*)?")


def _without_secrets(address: str) -> str:
    """Where something is, without how one gets in: each word of a query may be a password."""
    kind, _, rest = address.partition("://")
    login, _, place = ("", "", rest) if kind.startswith("sqlite") else rest.rpartition("@")
    place, _, query = place.partition("?")
    if not _PLACE.fullmatch(place) and not kind.startswith("sqlite"):
        return "set"
    return f"{kind}://{'***@' if login else ''}{place}{'?***' if query else ''}"


_RATE_LIMIT = re.compile(
    r"(login|send) (\d{1,6}/(?:second|minute|hour|day)) per (address|member)", re.ASCII
)


def _rate_limits(value: str) -> Mapping[str, str]:
    """`login 30/minute per address` as `{"login": "30/minute"}`."""
    limits = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        found = _RATE_LIMIT.fullmatch(part)
        if found is None:
            raise ValueError(f"must be like: {DEFAULT_RATE_LIMITS}.")
        limits[found[1]] = found[2]
    return limits


def _rate_limits_of(read: "_Reader", values: Mapping[str, str]) -> Mapping[str, str]:
    """Unset is the default, empty is off; a kind that is left out has its default."""
    default = "" if "RATE_LIMITS" in values else DEFAULT_RATE_LIMITS
    found: Mapping[str, str] = read.checked("RATE_LIMITS", _rate_limits, default=default)
    return found and {**_rate_limits(DEFAULT_RATE_LIMITS), **found}


def _quiet_hours_of(read: "_Reader", values: Mapping[str, str]) -> tuple[time, time] | None:
    """Unset is the default, empty is off."""
    default = "" if "QUIET_HOURS" in values else "22:00-07:00"
    found: tuple[time, time] | None = read.checked("QUIET_HOURS", _quiet_hours, default=default)
    return found


def _quiet_hours(value: str) -> tuple[time, time] | None:
    if not value:
        return None
    if not re.fullmatch(r"\d\d:\d\d-\d\d:\d\d", value, re.ASCII):
        raise ValueError("must be like 22:00-07:00, or empty.")
    try:
        start, end = (time.fromisoformat(part) for part in value.split("-"))
    except ValueError:
        raise ValueError("must be like 22:00-07:00, or empty.") from None
    return start, end


def _price(value: str) -> Decimal | None:
    if not value:
        return None
    if not re.fullmatch(r"\d{1,3}(\.\d{1,6})?", value, re.ASCII):
        raise ValueError("must be a price in euros, such as 0.07, or empty.")
    return Decimal(value)


def _visibility(value: str) -> str:
    if value not in ("own", "team"):
        raise ValueError("must be own or team.")
    return value


def _region(value: str) -> str:
    if value.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("must be a country's two letters, such as DE.")
    return value.upper()


def _zone(value: str) -> str:
    if value not in available_timezones():
        raise ValueError("must be a time zone's name, such as Europe/Berlin.")
    return value


def _log_level(value: str) -> str:
    if value.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR.")
    return value.upper()


settings = cast("Settings", LocalProxy(lambda: current_app.config["SETTINGS"]))
"""The running app's settings, typed; `create_app` puts them there."""
