"""Team SMS: send text messages through sipgate, each at most once, and tell the truth about it."""

import os
import sys
from collections.abc import Mapping

from dotenv import load_dotenv
from flask import Flask
from jinja2 import StrictUndefined

from webapp.cli import is_command, setup_cli
from webapp.config import PROJECT, SettingError, Settings, gone_settings
from webapp.database import beside_database, end_read, setup_database
from webapp.i18n.alerts import setup_alerts
from webapp.i18n.formats import setup_i18n
from webapp.i18n.sentences import setup_sentences
from webapp.jobs.tasks import setup_queue
from webapp.sipgate import setup_sipgate
from webapp.sipgate.login import setup_login_server
from webapp.telemetry.logs import setup_logs
from webapp.telemetry.metrics import setup_metrics
from webapp.web import setup_pages
from webapp.web.guard import csrf, setup_guard
from webapp.web.security import setup_security


def create_app(config: Mapping[str, str] | None = None) -> Flask:
    """Make the app from `config` (names as in the environment), else from environment and `.env`.

    A missing or wrong setting raises `config.SettingError`; one of the environment ends the process
    with its one sentence, for the server as for `flask`.
    """
    if config is not None:
        return _assemble(config)
    os.umask(0o077)  # whatever this process writes is nobody else's to read
    load_dotenv(PROJECT / ".env")
    try:
        return _assemble(os.environ)
    except SettingError as error:
        sys.exit(f"Team SMS cannot start: {error}")


def _assemble(config: Mapping[str, str]) -> Flask:
    app = Flask(
        __name__,
        template_folder=str(PROJECT / "templates"),
        static_folder=str(PROJECT / "static"),
        instance_path=str(PROJECT / "instance"),
    )
    app.config["SETTINGS"] = Settings.from_mapping(config)
    app.config["GONE_SETTINGS"] = gone_settings(config)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    setup_logs(app, is_quiet=is_command() and not config.get("LOG_LEVEL", "").strip())
    for name in app.config["GONE_SETTINGS"]:
        app.logger.warning("%s is still set and changes nothing any more: remove it", name)
    setup_security(app)
    setup_database(app)
    setup_metrics(app, beside_database(app, "metrics"))
    setup_sipgate(app, before_waiting=end_read)
    setup_login_server(app)
    setup_guard(app)
    csrf.init_app(app)
    setup_i18n(app)
    setup_sentences(app)
    setup_alerts(app)
    setup_pages(app)
    setup_queue(app)
    setup_cli(app)
    return app
