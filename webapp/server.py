"""The production server: gunicorn with threads, set up from the same settings as the app.

`python -m webapp.server` checks the settings, brings the schema up to date, and serves.
"""

import errno
import socket
import sys
import time
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from webapp import create_app
from webapp.config import Settings
from webapp.database import (
    beside_database,
    close_connections,
    installation,
    is_on_sqlite,
    schema,
)
from webapp.database.schema import SchemaError
from webapp.jobs.consumer import EmbeddedWorker
from webapp.jobs.watch import Watch
from webapp.messages import sweep
from webapp.telemetry import metrics

GRACE_S = 30
"""On SIGTERM, running requests may finish for this long: more than a send's total deadline."""


PORT_WAIT_S = 2.0
"""A server that was ended a moment ago may still hold the port."""


class _Logger(Logger):  # type: ignore[misc]
    """gunicorn's own lines come in the shape of all others."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, without its own command line."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        super().__init__()

    def load_config(self) -> None:
        for name, value in options(self._app.config["SETTINGS"]).items():
            self.cfg.set(name, value)

        carried: list[EmbeddedWorker | Watch] = [Watch(self._app)]
        if is_on_sqlite(self._app):
            carried.append(EmbeddedWorker(self._app))
        self.cfg.set("post_worker_init", lambda _worker: [one.start() for one in carried])
        self.cfg.set("worker_exit", lambda _server, _worker: [one.stop() for one in carried])

    def load(self) -> Flask:
        return self._app


def options(settings: Settings) -> dict[str, Any]:
    """gunicorn's settings. No `max_requests`: with threads it cuts connections (gunicorn#3038)."""
    return {
        "bind": f"{settings.host}:{settings.port}",
        "worker_class": "gthread",
        "workers": settings.web_processes,
        "threads": settings.web_threads,
        "graceful_timeout": GRACE_S,
        "timeout": 60,
        "keepalive": 5,
        "control_socket_disable": True,
        "accesslog": None,  # `logs` writes one line per request, without the query
        "loglevel": "warning",
        "logger_class": _Logger,
        "worker_tmp_dir": None,
        "limit_request_line": 8190,
        # Only the app's own ProxyFix reads X-Forwarded-*.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
    }


def _require_port(settings: Settings) -> None:
    """End with one sentence where the port cannot be had; gunicorn would say it in ten lines."""
    ends_at = time.monotonic() + PORT_WAIT_S
    while True:
        try:
            family, kind, _, _, address = socket.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
            return
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                what = f"HOST {settings.host} with PORT {settings.port} cannot be used"
                sys.exit(f"Team SMS cannot start: {what}: {error.strerror}.")
            if time.monotonic() > ends_at:
                what = f"PORT {settings.port} is taken; stop the program that has it, or set PORT"
                sys.exit(f"Team SMS cannot start: {what} to another one.")
        time.sleep(0.1)


def main() -> None:
    """Serve until a signal; one sentence on standard error when something is set up wrongly."""
    try:
        app = create_app()
        with app.app_context():
            schema.upgrade_schema()
            installation.register_at_start()
            sweep.settle_stale()
            metrics.forget_ended_processes(beside_database(app, "metrics"))
            close_connections()
    except SchemaError as error:
        sys.exit(f"Team SMS cannot start: {error}")
    settings: Settings = app.config["SETTINGS"]
    _require_port(settings)
    sys.stderr.write(
        f"Team SMS on http://{settings.host}:{settings.port}, for {settings.public_url}\n"
    )
    Server(app).run()


if __name__ == "__main__":
    main()
