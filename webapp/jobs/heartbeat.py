"""Heartbeats: each worker writes one every few seconds, so that pages can tell whether one runs."""

import logging
import secrets
import threading
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import Flask
from huey.consumer import Consumer

from webapp.database import db, transaction, upsert
from webapp.database.models import Worker
from webapp.rules.times import now

log = logging.getLogger(__name__)

BEAT_EVERY_S = 10
STOPPED_AFTER = timedelta(seconds=45)
"""After so long without a heartbeat a worker counts as dead: pages say so within a minute."""
FORGET_WORKER_AFTER = timedelta(days=1)


def new_worker_id() -> str:
    return secrets.token_hex(8)


def heartbeat(worker_id: str) -> None:
    with transaction() as session:
        upsert(session, Worker, {"id": worker_id}, {"beat_at": now()})
        session.execute(sa.delete(Worker).where(Worker.beat_at < now() - FORGET_WORKER_AFTER))


def deregister(worker_id: str) -> None:
    with transaction() as session:
        session.execute(sa.delete(Worker).where(Worker.id == worker_id))


def has_worker() -> bool:
    """Whether any worker's heartbeat is recent."""
    return is_recent(db.session.scalar(LAST_BEAT))


def is_recent(beat: datetime | None) -> bool:
    return beat is not None and beat > now() - STOPPED_AFTER


# For every page, so built once.
LAST_BEAT = sa.select(sa.func.max(Worker.beat_at))


class Heart:
    """Writes a worker's heartbeat, at once and then every few seconds, from a thread."""

    def __init__(self, app: Flask, consumer: Consumer) -> None:
        self._app = app
        self._consumer = consumer
        self._id = new_worker_id()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=5)

    def _beat(self) -> None:
        self._write_heartbeat()
        while not self._stopped.wait(BEAT_EVERY_S):
            # After a wait: threads that are just starting look dead, and would be started twice.
            self._replace_dead_threads()
            self._write_heartbeat()
        with self._app.app_context():
            deregister(self._id)

    def _replace_dead_threads(self) -> None:
        try:
            self._consumer.check_worker_health()
        except Exception:  # no thread can be made at the moment; the next beat tries again
            log.exception("the worker's threads could not be checked")

    def _write_heartbeat(self) -> None:
        try:
            with self._app.app_context():
                heartbeat(self._id)
        except Exception:  # the database fails for a moment; the next beat tries again
            log.exception("no heartbeat could be written")
