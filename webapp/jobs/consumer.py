"""huey's consumer: its settings, and running it in threads of the web process."""

from typing import Any

from flask import Flask
from huey.consumer import Consumer

from webapp.jobs.heartbeat import Heart
from webapp.jobs.tasks import queue

# By huey's defaults, which poll up to 10 s apart, a lone task began after 3.5 s (measured).
FIRST_POLL_S, LAST_POLL_S, BACKOFF = 0.05, 0.5, 1.05
GRACE_S = 25
"""How long a message under way may take after SIGTERM: longer than a send's total deadline."""


class _QuietConsumer(Consumer):  # type: ignore[misc]
    """A consumer in a thread of the web process: signals are gunicorn's."""

    def _set_signal_handlers(self) -> None:
        pass


class EmbeddedWorker:
    """The worker of a one-process deployment. `start` once per process, after any fork."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._consumer: Consumer | None = None
        self._heart: Heart | None = None

    def start(self) -> None:
        # Not in `__init__`: after a fork, Python takes threads made before it for dead, and
        # `check_worker_health` would start each of them a second time.
        self._consumer = _QuietConsumer(queue, **options(self._app))
        self._heart = Heart(self._app, self._consumer)
        queue.stop_flag = self._consumer.stop_flag
        self._consumer.start()
        self._heart.start()

    def stop(self) -> None:
        """Finish what is under way, take nothing new."""
        if self._consumer and self._heart:
            self._consumer.stop(graceful=True)
            self._heart.stop()


def options(app: Flask) -> dict[str, Any]:
    return {
        "workers": app.config["SETTINGS"].send_concurrency,
        "initial_delay": FIRST_POLL_S,
        "max_delay": LAST_POLL_S,
        "backoff": BACKOFF,
        "graceful_signal": "TERM",
        "shutdown_timeout": GRACE_S,
    }
