"""Logging: one line per request and per decision, on standard error.

JSON, one object a line; plain lines on a terminal. No query string, text, token or full number is
ever logged: a line holds ids, status and duration. Lines that belong together carry the same
`request_id` (one page) or `message_id` (one text, from the form to its outcome).
"""

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime

from flask import Flask, Response, current_app, g, has_request_context, request

log = logging.getLogger("webapp.requests")
refused = logging.getLogger("webapp.refused")

UNLOGGED = ("static", "operator.healthz", "operator.metrics_page")
FIELDS = (
    "request_id",
    "message_id",
    "method",
    "endpoint",
    "path",
    "status",
    "ms",
    "member",
    "address",
)
_encode = json.JSONEncoder(ensure_ascii=False).encode
_message_id: ContextVar[str] = ContextVar("message_id", default="")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)
_OWN_ID = re.compile(r"[0-9a-f]{16,64}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event`, and those of `FIELDS` it has."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None))}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return _encode(line)


def setup_logs(app: Flask, *, is_quiet: bool = False) -> None:
    """Set up logging, unless somebody else has (a test, or a program that contains the app).

    With `is_quiet` nothing is written until `speak_up`.
    """
    handler = logging.StreamHandler()
    if not sys.stderr.isatty():
        handler.setFormatter(JsonFormatter())
    else:
        plain = "%(asctime)s %(levelname)s %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(plain))
    handler.addFilter(_add_ids)
    if is_quiet:
        handler.addFilter(_keep_back)
    logging.basicConfig(handlers=[handler])
    # Flask-Alembic brings handlers of its own, which would write every line twice.
    for name in ("alembic", "sqlalchemy"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("webapp").setLevel(app.config["SETTINGS"].log_level)
    app.before_request(_start)
    app.after_request(_finish)


def speak_up() -> None:
    """From now on, write what `is_quiet` kept back."""
    for handler in logging.getLogger().handlers:
        handler.removeFilter(_keep_back)


def say(to: logging.Logger, text: str, *values: object, **extra: object) -> None:
    """Log without ever raising: once a text has left, a failing log must not change its outcome."""
    with suppress(Exception):
        to.info(text, *values, extra=extra)


def refusal(why: object) -> None:
    """Log a refused request that our own pages never make: by whom, from where, for what.

    The only line with an IP address, for the operator and for programs such as fail2ban.
    """
    member = g.get("member_id")
    line = "refused %s %s: %s, member %s, from %s"
    values = (request.method, _path(), why, member, request.remote_addr)
    with suppress(Exception):
        refused.warning(line, *values, extra={"member": member, "address": request.remote_addr})


@contextmanager
def about(message_id: str) -> Iterator[None]:
    """Every line logged inside carries this message's id."""
    token = _message_id.set(message_id)
    try:
        yield
    finally:
        _message_id.reset(token)


def _keep_back(_record: logging.LogRecord) -> bool:
    return False


def _add_ids(record: logging.LogRecord) -> bool:
    record.message_id = getattr(record, "message_id", "") or _message_id.get()
    if has_request_context():
        record.request_id = g.get("request_id", "")
    return True


def _start() -> None:
    g.started_at = time.monotonic()
    g.request_id = _proxys_id() or secrets.token_hex(8)


def _proxys_id() -> str:
    """The id that a trusted proxy gave the request, so that its log and ours can be compared."""
    given = request.headers.get("X-Request-ID", "")
    trusted = current_app.config["SETTINGS"].trusted_proxy_hops > 0
    return given if trusted and _REQUEST_ID.fullmatch(given) else ""


def _finish(response: Response) -> Response:
    response.headers["X-Request-ID"] = g.get("request_id", "")
    if request.endpoint not in UNLOGGED:
        fields = {
            "method": request.method,
            "endpoint": request.endpoint,
            "path": _path(),
            "status": response.status_code,
            "ms": round((time.monotonic() - g.get("started_at", time.monotonic())) * 1000),
            "member": g.get("member_id"),
        }
        line = "%(method)s %(path)s %(status)d, %(ms)d ms, member %(member)s"
        say(log, line, fields, **fields)
    return response


def _path() -> str:
    """The path without its query. If an id in it is not one of ours, it could hold anything: then
    the route's pattern. If it matches no route, nothing of it."""
    rule = request.url_rule
    if rule is None:
        return "(no such route)"
    arguments = [str((request.view_args or {}).get(name, "")) for name in rule.arguments]
    return request.path if all(map(_OWN_ID.fullmatch, arguments)) else rule.rule
