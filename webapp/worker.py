"""The worker: huey's consumer with our settings, inside the web process or as one of its own.

`python -m webapp.worker` is `make worker`. It refuses a schema that is not this version's, and
SQLite, where the server carries the worker.
"""

import logging
import sys

from flask import Flask

from webapp import create_app
from webapp.database import installation, is_on_sqlite, schema
from webapp.database.schema import SchemaError
from webapp.jobs.consumer import WokenConsumer
from webapp.jobs.heartbeat import Heart
from webapp.jobs.tasks import queue
from webapp.jobs.watch import Watch

log = logging.getLogger(__name__)


ON_SQLITE = (
    "with a SQLite file the server carries the worker, so `make run` is all that is to be started."
)


def main() -> None:
    """Work until a signal; one sentence on standard error when something is set up wrongly."""
    try:
        app = create_app()
        if is_on_sqlite(app):
            sys.exit(f"Team SMS cannot start its worker: {ON_SQLITE}")
        with app.app_context():
            schema.require_current_schema()
            installation.register_at_start()
    except SchemaError as error:
        sys.exit(f"Team SMS cannot start its worker: {error}")
    work(app)


def work(app: Flask) -> None:
    consumer = WokenConsumer(app)
    queue.stop_flag = consumer.stop_flag
    heart = Heart(app, consumer)
    watch = Watch(app)
    heart.start()
    watch.start()
    try:
        consumer.run()
    finally:
        watch.stop()
        heart.stop()


if __name__ == "__main__":
    main()
