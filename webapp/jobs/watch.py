"""Looking for trouble once a minute, in every process that lives: those of the pages, and workers.

In a thread of its own, so that a mail server that hangs holds up no message. A worker that is
silent cannot tell of itself: the others see it. Who tells is decided by the database.
"""

import logging
import threading
import time

from flask import Flask

from webapp.alerts import outlets, telling
from webapp.jobs import heartbeat

log = logging.getLogger(__name__)


class Watch:
    """Looks, if there is somebody to tell. `start` once per process, after any fork."""

    EVERY_S = 60.0
    SILENT_FOR_S = 60.0
    """So long we must have seen no heartbeat ourselves: at a start, or after the machine slept,
    there is none for a moment."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._silent_since: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def start(self) -> None:
        with self._app.app_context():
            if outlets.active():
                self._thread.start()

    def stop(self) -> None:
        """A mail under way is not waited for: another process tells it again."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(self.EVERY_S):
            try:
                with self._app.app_context():
                    telling.look_and_tell(worker_is_silent=self._is_silent())
            except Exception:  # the database fails for a moment; the next look finds the same
                log.exception("nobody could look for trouble")

    def _is_silent(self) -> bool | None:
        """None while there is no heartbeat, but not for long enough."""
        if heartbeat.has_worker():
            self._silent_since = None
            return False
        at = time.monotonic()
        if self._silent_since is None:
            self._silent_since = at
        return True if at - self._silent_since >= self.SILENT_FOR_S else None
