"""Settings from the environment: typed, frozen, checked before anything starts.

A field is called like its setting, in lower case. Everything else that is known of the setting
stands beside it: .env.example and docs/settings.md are made from that (`python -m docs.settings`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from flask import current_app
from werkzeug.local import LocalProxy

from webapp.config import values
from webapp.config.values import SettingError, declaration_of, is_loopback, number, setting

__all__ = [
    "PROJECT",
    "VERSION",
    "SettingError",
    "Settings",
    "is_loopback",
    "setting_names",
    "settings",
]

VERSION = "0.1.0"
PROJECT = Path(__file__).resolve().parent.parent.parent

GONE = ("REDIS_URL",)
"""Settings of earlier versions: if one is still set, the operator is told."""
RATE_LIMITS = "login 30/minute per address, send 120/minute per member, list 10/minute per member"
SIPGATE_LOGIN = "https://login.sipgate.com/auth/realms"
SIPGATE_API = "https://api.sipgate.com/v2"


def _issuer(above: Mapping[str, Any]) -> str:
    """The login address of a client: its id may end in the realm (sipgate's samples, 2022)."""
    _, colon, suffix = above["sipgate_client_id"].rpartition(":")
    is_realm = colon and re.fullmatch(r"[a-z0-9-]+", suffix)
    return f"{SIPGATE_LOGIN}/{suffix if is_realm else 'third-party'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that differs between two deployments."""

    secret_key: tuple[str, ...] = setting(
        "Signs cookies and encrypts the tokens in the database. At least 32 random characters; "
        'make one with: `python3 -c "import secrets; print(secrets.token_urlsafe(48))"`. To '
        "change it, put the new key in front of the old one, with a comma between them, and "
        "remove the old one after a week: by then every sign-in that used it has ended.",
        values.secret_keys,
        is_required=True,
        is_secret=True,
        heading="Needed",
    )
    sipgate_client_id: str = setting(
        "The id of the OAuth client that you made in the sipgate console.",
        values.plain,
        is_required=True,
    )
    sipgate_client_secret: str = setting(
        "The secret of that client.", values.plain, is_required=True, is_secret=True
    )
    sipgate_accounts: frozenset[str] = setting(
        "The sipgate accounts (masterSipId) whose people may sign in, with commas or blanks "
        "between them. Empty: nobody. A single `*` lets in everybody who has a sipgate account. "
        "If you do not know the number, try to sign in: the page that says no names it.",
        values.set_of_words,
    )

    host: str = setting(
        "The address that the app itself listens on.",
        values.plain,
        "127.0.0.1",
        heading="Where the app is",
    )
    port: int = setting("The port that it listens on.", number(1, 65535), "5000")
    public_url: str = setting(
        "The address at which people reach the app, without a path. Register it with "
        "`/auth/callback` behind it as the redirect URI of the client. https, except on "
        "localhost. Empty: `http://localhost:<PORT>`.",
        values.address("http://localhost:5000", has_path=False),
        lambda above: f"http://localhost:{above['port']}",
    )
    trusted_proxy_hops: int = setting(
        "The number of reverse proxies in front of the app, whose `X-Forwarded-` headers are "
        "believed. With https at least 1, because a proxy ends TLS.",
        number(0, 10),
        "0",
    )

    default_region: str = setting(
        "Country of numbers typed without a country code: two letters.",
        values.region,
        "DE",
        heading="What people see",
    )
    default_time_zone: str = setting(
        "Time zone of the pages, and of planned times until the browser names its own.",
        values.time_zone,
        "Europe/Berlin",
    )
    history_visibility: str = setting(
        "Who sees whose messages. own: members see their own, administrators their account's; "
        "team: everybody sees all of the account's.",
        values.one_of("own", "team"),
        "own",
    )
    segment_price: Decimal | None = setting(
        "What a segment costs, in euros, such as 0.07, for the estimate on the page. Empty: no "
        "estimate.",
        values.price,
    )

    schedule_handover_minutes: int = setting(
        "How many minutes before its time a planned message goes to sipgate, after which nobody "
        "can recall it: 5 to 44640.",
        number(5, 44_640),
        "60",
        heading="Sending",
    )
    missed_after_minutes: int = setting(
        "A message that is more than this many minutes late (after an outage) is not sent; its "
        "member is asked.",
        number(1, 10_080),
        "30",
    )
    quiet_hours: tuple[time, time] | None = setting(
        "Night at the recipient's place: who sends a text for these hours is asked first, and no "
        "reminder from a list is planned for them. Empty: never.",
        values.hours,
        "22:00-07:00",
        empty_is_off=True,
        show=values.show_hours,
    )

    daily_limit: int = setting(
        "How many messages a member may send on one day. Codes for own sender numbers count, too.",
        number(1, 1_000_000),
        "500",
        heading="Limits",
    )
    batch_confirm: int = setting(
        "Who sends a list to more people than this must type how many there are.",
        number(1, 1_000_000),
        "100",
    )
    rate_limits: Mapping[str, str] = setting(
        "How often an address may sign in and a member may send: messages, tests to oneself, "
        "codes for own numbers and filled-in templates are counted together. `list`: how often a "
        "member may upload a list of people. Contacts are read "
        "again at a member's wish at most 6 times a minute. A kind that is left out has its "
        "default. Empty: no limits.",
        values.rate_limits(RATE_LIMITS),
        RATE_LIMITS,
        empty_is_off=True,
    )
    retention_days: int = setting(
        "Messages and the record of who did what are erased after this many days.",
        number(1, 36_500),
        "365",
    )

    database_url: str = setting(
        "The database's SQLAlchemy address, such as `postgresql://sms@localhost/sms` (that needs "
        "requirements-scale.txt; then start `make worker` beside `make run`, as often as you "
        "like). Empty: a SQLite file in the folder `instance/`.",
        values.plain,
        lambda _: f"sqlite:///{PROJECT / 'instance' / 'team-sms.sqlite'}",
        is_secret=True,
        show=values.show_place,
        heading="Database and processes",
    )
    web_threads: int = setting(
        "Threads of the web server. Each sends one message at a time, which may take 20 seconds.",
        number(1, 1000),
        "64",
    )
    send_concurrency: int = setting(
        "Messages that a worker sends at the same time.", number(1, 200), "16"
    )
    web_processes: int = setting(
        "Web processes. With a SQLite file, one of them carries the worker.", number(1, 64), "1"
    )

    metrics_token: str = setting(
        "The Bearer token with which Prometheus reads `/metrics`. At least 32 characters, made "
        "like SECRET_KEY; a shorter one is warned about, and the next release refuses it. Empty: "
        "no such page.",
        values.plain,
        is_secret=True,
        heading="Observing",
    )
    log_level: str = setting(
        "DEBUG, INFO, WARNING or ERROR. No level logs texts, tokens or whole numbers. Empty: INFO; "
        "on the command line nothing, unless a command gets `-v`.",
        values.log_level,
        lambda _: "INFO",
    )

    smtp_url: str = setting(
        "The mail server for alerts: `smtps://name:password@mail.example.com` (TLS from the start, "
        "port 465) or `smtp://name:password@mail.example.com` (STARTTLS, port 587). In name and "
        "password, characters such as `@`, `:` and `/` are written as `%40`, `%3A` and `%2F`. "
        "Without TLS only on this machine and without a password: `smtp://localhost:25`.",
        values.mail_server,
        is_secret=True,
        show=values.show_server,
        heading="Alerts",
    )
    alert_email: tuple[str, ...] = setting(
        "Who is told by e-mail when something needs a person: addresses, with commas or blanks "
        "between them. At most one mail in 15 minutes; no numbers, names or texts. Needs SMTP_URL. "
        "Empty: nobody.",
        values.mail_addresses,
    )
    alert_webhook: str = setting(
        "An address that gets the same as a POST with JSON: `title`, `message`, `url`. With "
        "`ntfy+` before it, in the way of ntfy: `ntfy+https://ntfy.example.com/topic`. "
        "`flask --app webapp alert --test` tries both. Empty: none.",
        values.webhook,
        is_secret=True,
        show=values.show_server,
    )

    sipgate_optional_scopes: tuple[str, ...] = setting(
        "Permissions to ask for at sign-in beside the three that sending needs, with blanks "
        "between them. Advised: `history:read contacts:read balance:read`; the first lets the app "
        "look up whether an uncertain message was sent.",
        values.words,
        heading="At sipgate",
    )
    sipgate_issuer: str = setting(
        "The login server. Empty: sipgate's, with the realm that the client id ends in (the word "
        "behind the colon), else the realm third-party.",
        values.address(f"{SIPGATE_LOGIN}/third-party"),
        _issuer,
    )
    sipgate_api_url: str = setting(
        "The address of sipgate's REST API.", values.address(SIPGATE_API), SIPGATE_API
    )

    sipgate_token_id: str = setting(
        "The id of a personal access token of sipgate, for `flask --app webapp sms`. The pages "
        "never use it.",
        values.plain,
        heading="Command line",
    )
    sipgate_token: str = setting("The token itself.", values.plain, is_secret=True)

    @classmethod
    def from_mapping(cls, environment: Mapping[str, str]) -> "Settings":
        """Read and check the settings in `environment`. Raises `SettingError`."""
        read: dict[str, Any] = {}
        for one in fields(cls):
            declaration = declaration_of(one)
            read[one.name] = declaration.value(one.name.upper(), environment, above=read)
        settings = cls(**read)
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
        if bool(self.alert_email) != bool(self.smtp_url):
            unset, given = (
                ("SMTP_URL", "ALERT_EMAIL") if self.alert_email else ("ALERT_EMAIL", "SMTP_URL")
            )
            raise SettingError(f"{unset} must be set, too, when {given} is.")
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

    def admits(self, account_id: str) -> bool:
        """Whether people of this sipgate account may sign in."""
        return "*" in self.sipgate_accounts or account_id in self.sipgate_accounts

    def shown(self) -> dict[str, str]:
        """Every setting by its name, as text; of a secret only whether there is one."""
        return {
            one.name.upper(): declaration_of(one).show(getattr(self, one.name))
            for one in fields(self)
        }


def gone_settings(values: Mapping[str, str]) -> list[str]:
    """The settings that an earlier version read, and that are still set."""
    return [name for name in GONE if values.get(name, "").strip()]


def setting_names() -> list[str]:
    """The settings as the environment spells them."""
    return [one.name.upper() for one in fields(Settings)]


settings = cast("Settings", LocalProxy(lambda: current_app.config["SETTINGS"]))
"""The running app's settings, typed; `create_app` puts them there."""
