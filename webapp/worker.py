"""The worker: huey's consumer with our settings, inside the web process or as one of its own.

`python -m webapp.worker` is `make worker`. It refuses a schema that is not this version's.
"""

import logging
import sys
import threading
from typing import Any

from flask import Flask
from huey.consumer import Consumer

from webapp import create_app, installation, schema
from webapp.extensions import queue
from webapp.schema import SchemaError

log = logging.getLogger(__name__)

# huey's own defaults poll up to 10 s apart: 3.5 s until a lone task started (measured).
FIRST_POLL_S, LAST_POLL_S, BACKOFF = 0.05, 0.5, 1.05
GRACE_S = 25
"""On SIGTERM a message under way is finished: longer than a send's total deadline."""


class _QuietConsumer(Consumer):  # type: ignore[misc]
    """A consumer in a thread of the web process: signals are gunicorn's."""

    def _set_signal_handlers(self) -> None:
        pass


class EmbeddedWorker:
    """The worker of a one-process deployment. `start` once per process, after any fork."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._consumer: Consumer | None = None
        self._heart: _Heart | None = None

    def start(self) -> None:
        # Made only now: Python takes threads that were made before a fork for dead, and the look
        # after dead threads would start each of them a second time.
        self._consumer = _QuietConsumer(queue, **_options(self._app))
        self._heart = _Heart(self._app, self._consumer)
        queue.stop_flag = self._consumer.stop_flag
        self._consumer.start()
        self._heart.start()

    def stop(self) -> None:
        """Finish what is under way, take nothing new."""
        if self._consumer and self._heart:
            self._consumer.stop(graceful=True)
            self._heart.stop()


class _Heart:
    """Writes a sign of life now and every few seconds, so that pages can tell when it stops."""

    def __init__(self, app: Flask, consumer: Consumer) -> None:
        self._app = app
        self._consumer = consumer
        self._id = installation.new_worker_id()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)

    def _beat(self) -> None:
        self._give_sign()
        while not self._stopped.wait(installation.BEAT_EVERY_S):
            # Not before the first wait: threads that are only being started look like dead ones,
            # and would be started twice.
            self._replace_dead_threads()
            self._give_sign()
        with self._app.app_context():
            installation.sign_off(self._id)

    def _replace_dead_threads(self) -> None:
        try:
            self._consumer.check_worker_health()
        except Exception:  # no thread can be had at the moment; the next beat tries again
            log.exception("the worker's threads could not be looked after")

    def _give_sign(self) -> None:
        try:
            with self._app.app_context():
                installation.beat(self._id)
        except Exception:  # the database is away for a moment; the next beat tells
            log.exception("no sign of life could be written")


def _options(app: Flask) -> dict[str, Any]:
    return {
        "workers": app.config["SETTINGS"].send_concurrency,
        "initial_delay": FIRST_POLL_S,
        "max_delay": LAST_POLL_S,
        "backoff": BACKOFF,
        "graceful_signal": "TERM",
        "shutdown_timeout": GRACE_S,
    }


def main() -> None:
    """Work until a signal; one sentence on standard error when something is set up wrongly."""
    try:
        app = create_app()
        with app.app_context():
            schema.require_current_schema()
            installation.settle_in()
    except SchemaError as error:
        sys.exit(f"Team SMS cannot start its worker: {error}")
    consumer = Consumer(queue, **_options(app))
    queue.stop_flag = consumer.stop_flag
    heart = _Heart(app, consumer)
    heart.start()
    try:
        consumer.run()
    finally:
        heart.stop()


if __name__ == "__main__":
    main()
