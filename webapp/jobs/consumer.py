"""huey's consumer with our settings, as a process of its own or in a thread of the web process."""

from typing import Any

from flask import Flask
from huey.consumer import Consumer

from webapp.jobs.heartbeat import Heart
from webapp.jobs.tasks import queue

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
        self._heart: Heart | None = None

    def start(self) -> None:
        # Made only now: Python takes threads that were made before a fork for dead, and the look
        # after dead threads would start each of them a second time.
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
