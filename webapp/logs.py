"""Logging: one line per request and per decision, on standard error.

No query string, text, token or full number is ever logged: a line holds method, path, status,
duration and ids.
"""

import logging
import time
from contextlib import suppress

from flask import Flask, Response, g, request

log = logging.getLogger("webapp.requests")


def setup_logs(app: Flask) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Flask-Alembic brings handlers of its own, which would write every line twice.
    for name in ("alembic", "sqlalchemy"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("webapp").setLevel(app.config["SETTINGS"].log_level)
    app.before_request(_start)
    app.after_request(_finish)


def say(to: logging.Logger, text: str, *values: object) -> None:
    """Log where a failing log must not change what is true: after a text has left, above all."""
    with suppress(Exception):
        to.info(text, *values)


def _start() -> None:
    g.started_at = time.monotonic()


def _finish(response: Response) -> Response:
    if request.endpoint not in ("static", "ops.healthz"):
        took_ms = (time.monotonic() - g.get("started_at", time.monotonic())) * 1000
        # The route, not the path: a path that matches no route could hold anything.
        route = request.url_rule.rule if request.url_rule else "(no such route)"
        ids = (request.view_args or {}).get("id", "")
        say(log, "%s %s %s %d %d ms", request.method, route, ids, response.status_code, took_ms)
    return response
