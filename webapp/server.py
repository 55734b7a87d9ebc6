"""The production server: gunicorn with threads, set up from the same settings as the app.

`python -m webapp.server` checks the settings, brings the schema up to date, and serves.
"""

import sys
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from webapp import create_app, database, installation, sending
from webapp.config import Settings
from webapp.database import SchemaError
from webapp.worker import EmbeddedWorker

GRACE_S = 30
"""On SIGTERM, running requests may finish for this long: more than a send's total deadline."""


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, without its own command line."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        super().__init__()

    def load_config(self) -> None:
        for name, value in options(self._app.config["SETTINGS"]).items():
            self.cfg.set(name, value)

        if not self._app.config["SETTINGS"].redis_url:
            worker = EmbeddedWorker(self._app)
            self.cfg.set("post_worker_init", lambda _worker: worker.start())
            self.cfg.set("worker_exit", lambda _server, _worker: worker.stop())

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
        "worker_tmp_dir": None,
        "limit_request_line": 8190,
        # Only the app's own ProxyFix reads X-Forwarded-*.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
    }


def main() -> None:
    """Serve until a signal; one sentence on standard error when something is set up wrongly."""
    try:
        app = create_app()
        with app.app_context():
            database.upgrade_schema()
            installation.settle_in()
            sending.settle_stale()
            database.close_connections()
    except SchemaError as error:
        sys.exit(f"Team SMS cannot start: {error}")
    settings: Settings = app.config["SETTINGS"]
    sys.stderr.write(
        f"Team SMS on http://{settings.host}:{settings.port}, for {settings.public_url}\n"
    )
    Server(app).run()


if __name__ == "__main__":
    main()
