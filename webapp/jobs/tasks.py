"""The queue's entry points. They take ids only, and what a message is they do not know.

The queue is a wake-up, never the truth: what is lost is found by the sweep, what comes twice finds
its row taken. So putting something into it may fail without harm, and is only logged.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Flask
from huey import Huey, crontab
from huey.serializer import SignedSerializer
from huey.storage import MemoryStorage

from webapp.account import cache, contacts
from webapp.config import Settings
from webapp.database import db, end_read
from webapp.database.models import Member, Message
from webapp.jobs import retention
from webapp.jobs.storage import storage_for
from webapp.messages import claims, reconcile, sending
from webapp.messages import sweep as waiting
from webapp.rules.keys import Purpose, accepted
from webapp.rules.times import now
from webapp.signin import SignInEnded, tokens
from webapp.telemetry.logs import about

# Its real storage and its app come from `tasks.setup_queue`.
queue = Huey("team-sms", storage_class=MemoryStorage, results=False)

log = logging.getLogger(__name__)

TURN_S = 5.0
"""A batch gives its place back after this long, so that others get their turn."""


class _Signed(SignedSerializer):  # type: ignore[misc]
    """Signs with the first key, and takes what any of them signed."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(secret=keys[0], salt="queue")
        self._older = [SignedSerializer(secret=key, salt="queue") for key in keys[1:]]

    def _unsign(self, signed: bytes) -> Any:
        for one in self._older:
            with suppress(ValueError):
                return one._unsign(signed)
        return super()._unsign(signed)


def setup_queue(app: Flask) -> None:
    """Give the queue its keys, and the place where its wake-ups wait."""
    settings: Settings = app.config["SETTINGS"]
    queue.app = app
    queue.serializer = _Signed(accepted(settings.secret_key, Purpose.QUEUE))
    queue.storage.close()
    queue.storage = storage_for(app, queue.name)


def enqueue_message(message_id: str) -> None:
    _enqueue(deliver, message_id)


def start_batch(batch_id: str) -> None:
    """The lanes that may find something to do before the first clear answer; more come after it.

    Lanes that find nothing cost, too: 32 for each of 200 batches held up the next one (measured).
    """
    _enqueue_lanes(batch_id, min(claims.MAX_UNKNOWNS_IN_A_ROW, _concurrency()))


def wake_batch(batch_id: str) -> None:
    """One lane for each message that may be under way at once."""
    _enqueue_lanes(batch_id, _concurrency())


def wake_sweep() -> None:
    """Look for what is due now, instead of within a minute."""
    try:
        sweep()
    except Exception:  # the next minute's sweep comes anyway
        log.exception("a sweep was not queued")


def wake_reading(member_id: int) -> None:
    """Read what pages show of the member's account, where that was allowed at all."""
    if {contacts.SCOPE, cache.BALANCE_SCOPE} & set(queue.app.config["SETTINGS"].scopes):
        _enqueue(read_account, member_id)


def is_stopping() -> bool:
    """Whether the worker was told to stop: it finishes what it sends and takes nothing new."""
    flag = getattr(queue, "stop_flag", None)
    return flag is not None and flag.is_set()


def _concurrency() -> int:
    return int(queue.app.config["SETTINGS"].send_concurrency)


def _enqueue_lanes(batch_id: str, count: int) -> None:
    for _ in range(count):
        if not _enqueue(send_batch, batch_id):
            return  # the others would wait as long, in vain


def _enqueue(task: Any, id_: str | int) -> bool:
    """Whether it is queued. Where not, the row is committed all the same: the sweep finds it."""
    try:
        task(id_)
    except Exception:
        log.exception("a wake-up was not queued")
        return False
    return True


@queue.task()
def deliver(message_id: str) -> None:
    """Send one waiting message, if it is due and nobody else has it."""
    with queue.app.app_context(), about(message_id):
        claim = claims.claim(message_id)
        if claim:
            sending.deliver_claimed(claim)


@queue.task()
def send_batch(batch_id: str) -> None:
    """Send messages of a batch one after the other, for a while."""
    with queue.app.app_context():
        give_back_at = time.monotonic() + TURN_S
        while not is_stopping():
            claim = claims.claim_next(batch_id)
            if claim is None:
                return
            with about(claim.message.id):
                opened = sending.deliver_claimed(claim)
            if opened:
                _enqueue_lanes(batch_id, _concurrency() - claims.MAX_UNKNOWNS_IN_A_ROW)
            if time.monotonic() > give_back_at:
                _enqueue(send_batch, batch_id)
                return


@queue.task()
def look(message_id: str) -> None:
    with queue.app.app_context(), about(message_id):
        message = db.session.get(Message, message_id)
        if message and message.look_at and message.look_at <= now():
            reconcile.check_history(message)


@queue.task()
def read_account(member_id: int) -> None:
    """Contacts and balance, with whatever sign-in of the member was granted them."""
    with queue.app.app_context():
        member = db.session.get(Member, member_id)
        for scope, read in (
            (contacts.SCOPE, contacts.read),
            (cache.BALANCE_SCOPE, cache.read_balance),
        ):
            credentials = tokens.newest_with_scope(member_id, scope)
            if member and credentials:
                try:
                    read(member, credentials)
                except SignInEnded:
                    log.info("member %d: nothing was read, the sign-in has ended", member_id)


@queue.periodic_task(crontab())
def sweep() -> None:
    """Every minute: whatever is due, stuck or forgotten."""
    with queue.app.app_context():
        due = waiting.sweep()
        at_work = cache.members_to_read_for()
        end_read()  # the queue may be slow to answer, too
        for message_id in due.message_ids:
            enqueue_message(message_id)
        for batch_id in due.batch_ids:
            wake_batch(batch_id)
        for message_id in due.look_ids:
            _enqueue(look, message_id)
        for member_id in at_work:
            wake_reading(member_id)
        tokens.keep_alive()
        retention.end_left_sign_ins()
        retention.forget_counts()


@queue.periodic_task(crontab(minute="17", hour="3"))
def prune() -> None:
    """Every night: erase what is older than it may be kept."""
    with queue.app.app_context():
        retention.prune()
