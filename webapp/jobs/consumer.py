"""huey's consumer: its settings, and running it in threads of the web process."""

import fcntl
import os
import threading
from datetime import datetime
from typing import Any

from flask import Flask
from huey.consumer import Consumer, Worker

from webapp.database import beside_database
from webapp.jobs.heartbeat import Heart
from webapp.jobs.tasks import queue

# By huey's defaults, which poll up to 10 s apart, a lone task began after 3.5 s (measured).
FIRST_POLL_S, LAST_POLL_S, BACKOFF = 0.05, 0.5, 1.05
GRACE_S = 25
"""How long a message under way may take after SIGTERM: longer than a send's total deadline."""
STAND_BY_S = 5.0
"""How often the other processes look whether the worker's place is free."""


class _Lane(Worker):  # type: ignore[misc]
    """A thread that runs tasks. While there is none it polls, and is woken by this process."""

    delay: float
    _seen = 0

    def loop(self, now: datetime | None = None) -> None:
        self._seen = self.huey.storage.changes()
        super().loop(now)

    def sleep(self) -> None:
        self.huey.storage.wait(self._seen, self.delay)
        self.delay = min(self.delay * self.backoff, self.max_delay)


class WokenConsumer(Consumer):  # type: ignore[misc]
    """huey's consumer, whose threads begin at once with what their own process enqueues."""

    worker_class = _Lane

    def __init__(self, app: Flask) -> None:
        super().__init__(queue, **_options(app))

    def stop(self, graceful: bool = False) -> None:
        self.stop_flag.set()
        self.huey.storage.wake_all()
        super().stop(graceful)


class _QuietConsumer(WokenConsumer):
    """A consumer in a thread of the web process: signals are gunicorn's."""

    def _set_signal_handlers(self) -> None:
        pass


class EmbeddedWorker:
    """The worker inside a web process, for SQLite: in one process of all that are on the file.

    When that one ends, however it ends, another takes over: who has locked the file beside the
    database works. `start` once per process, after any fork.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._path = beside_database(app, "worker")
        self._place: int | None = None
        self._changing = threading.Lock()
        self._ending = threading.Event()
        self._consumer: Consumer | None = None
        self._heart: Heart | None = None

    def start(self) -> None:
        if not self._take_over():
            threading.Thread(target=self._stand_by, name="stand-by", daemon=True).start()

    def stop(self) -> None:
        """Finish what is under way, take nothing new."""
        self._ending.set()
        with self._changing:
            if self._consumer and self._heart:
                self._consumer.stop(graceful=True)
                self._heart.stop()
            self._leave()

    def _stand_by(self) -> None:
        while not self._ending.wait(STAND_BY_S):
            if self._take_over():
                return

    def _take_over(self) -> bool:
        with self._changing:
            if self._ending.is_set() or not self._is_free():
                return False
            self._work()
            return True

    def _is_free(self) -> bool:
        """Whether nobody else works; then nobody else will, as long as we live."""
        place = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(place)
            return False
        self._place = place
        return True

    def _leave(self) -> None:
        if self._place is not None:
            os.close(self._place)
            self._place = None

    def _work(self) -> None:
        # Not in `__init__`: after a fork, Python takes threads made before it for dead, and
        # `check_worker_health` would start each of them a second time.
        self._consumer = _QuietConsumer(self._app)
        self._heart = Heart(self._app, self._consumer)
        queue.stop_flag = self._consumer.stop_flag
        self._consumer.start()
        self._heart.start()


def _options(app: Flask) -> dict[str, Any]:
    return {
        "workers": app.config["SETTINGS"].send_concurrency,
        "initial_delay": FIRST_POLL_S,
        "max_delay": LAST_POLL_S,
        "backoff": BACKOFF,
        "graceful_signal": "TERM",
        "shutdown_timeout": GRACE_S,
    }
