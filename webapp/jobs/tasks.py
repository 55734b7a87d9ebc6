"""The queue and its tasks, which take ids and leave the work to other rooms.

The queue only wakes workers; the rows in the database decide. The sweep finds what a lost task
would have done, and a task that comes twice finds its row claimed. So a failure to enqueue does no
harm, and is only logged.
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
from webapp.messages import batches, claims, overview, reconcile, sending, sweep
from webapp.messages.lists import fill, uploads
from webapp.rules.keys import Purpose, accepted
from webapp.rules.times import now
from webapp.signin import SignInEnded, tokens
from webapp.telemetry.logs import about

# `setup_queue` gives it its storage and its app.
queue = Huey("team-sms", storage_class=MemoryStorage, results=False)

log = logging.getLogger(__name__)

TURN_S = 5.0
"""After so long a batch goes to the end of the queue, so that others get their turn."""


class _Signed(SignedSerializer):  # type: ignore[misc]
    """Signs with the first key, and accepts what any of the keys has signed."""

    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(secret=keys[0], salt="queue")
        self._older = [SignedSerializer(secret=key, salt="queue") for key in keys[1:]]

    def _unsign(self, signed: bytes) -> Any:
        for serializer in self._older:
            with suppress(ValueError):
                return serializer._unsign(signed)
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
    """Enqueue only as many tasks as find a message before the first clear answer; it adds more.

    Tasks that find none cost time, too: 32 for each of 200 batches held up the next one (measured).
    """
    _enqueue_batch(batch_id, min(batches.MAX_UNKNOWNS_IN_A_ROW, _concurrency()))


def start_fill(batch_id: str) -> None:
    """Make the messages of a list's batch, and then send them."""
    _enqueue(fill_batch, batch_id)


def continue_batch(batch_id: str) -> None:
    """Enqueue a task for each message that may be under way at once."""
    _enqueue_batch(batch_id, _concurrency())


def enqueue_sweep() -> None:
    """Look for what is due now instead of within a minute."""
    try:
        every_minute()
    except Exception:  # it runs within a minute anyway
        log.exception("a sweep was not queued")


def enqueue_reading(member_id: int) -> None:
    """Read what pages show of the member's account, if the settings ask for any of it."""
    if {contacts.SCOPE, cache.BALANCE_SCOPE} & set(queue.app.config["SETTINGS"].scopes):
        _enqueue(read_account, member_id)


def enqueue_counting() -> None:
    """Count the days that have ended now instead of within a minute."""
    try:
        count_days()
    except Exception:  # it is done within a minute anyway
        log.exception("the counting of days was not queued")


def is_stopping() -> bool:
    """Whether the worker was told to stop: it finishes its message and claims no other."""
    flag = getattr(queue, "stop_flag", None)
    return flag is not None and flag.is_set()


def _concurrency() -> int:
    return int(queue.app.config["SETTINGS"].send_concurrency)


def _enqueue_batch(batch_id: str, count: int) -> None:
    for _ in range(count):
        if not _enqueue(send_batch, batch_id):
            return  # the others would wait as long, in vain


def _enqueue(task: Any, id_: str | int) -> bool:
    """Whether it is queued. Where not, the row is committed all the same: the sweep finds it."""
    try:
        task(id_)
    except Exception:
        log.exception("a task was not queued")
        return False
    return True


@queue.task()
def deliver(message_id: str) -> None:
    """Send one waiting message, if it is due and nobody else has claimed it."""
    with queue.app.app_context(), about(message_id):
        claim = claims.claim(message_id)
        if claim:
            sending.deliver_claimed(claim)


@queue.task()
def send_batch(batch_id: str) -> None:
    """Send messages of a batch one after the other, for `TURN_S`."""
    with queue.app.app_context():
        turn_ends_at = time.monotonic() + TURN_S
        claim = None if is_stopping() else claims.claim_next(batch_id)
        while claim is not None:
            is_last = is_stopping() or time.monotonic() > turn_ends_at
            with about(claim.message.id):
                done = sending.deliver_claimed(claim, and_claim_next=not is_last)
            if done.opened:
                _enqueue_batch(batch_id, _concurrency() - batches.MAX_UNKNOWNS_IN_A_ROW)
            claim = done.next
            if done.has_asked or is_stopping():
                continue
            if time.monotonic() > turn_ends_at:
                _enqueue(send_batch, batch_id)
                return
            claim = claims.claim_next(batch_id)


@queue.task()
def fill_batch(batch_id: str) -> None:
    """Make a batch's messages from its list. Stopped in between, it goes on at the next sweep."""
    with queue.app.app_context():
        if fill.fill(batch_id, is_stopping=is_stopping):
            end_read()
            start_batch(batch_id)


@queue.task()
def check_history(message_id: str) -> None:
    """Look for an unknown message in sipgate's history, if that is due."""
    with queue.app.app_context(), about(message_id):
        message = db.session.get(Message, message_id)
        if message and message.look_at and message.look_at <= now():
            reconcile.check_history(message)


@queue.task()
def read_account(member_id: int) -> None:
    """Read contacts and balance, each with a sign-in of the member that was granted its scope."""
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


@queue.task()
def count_days() -> None:
    with queue.app.app_context():
        overview.count_ended_days()


@queue.periodic_task(crontab())
def every_minute() -> None:
    """Find what is due, and enqueue it; keep sign-ins alive, and end those that were left."""
    with queue.app.app_context():
        due = sweep.sweep()
        reading_member_ids = cache.members_to_read_for()
        end_read()  # the queue's storage may be slow, too
        for message_id in due.message_ids:
            enqueue_message(message_id)
        for batch_id in due.batch_ids:
            continue_batch(batch_id)
        for batch_id in due.fill_ids:
            start_fill(batch_id)
        for message_id in due.look_ids:
            _enqueue(check_history, message_id)
        for member_id in reading_member_ids:
            enqueue_reading(member_id)
        tokens.keep_alive()
        retention.end_left_sign_ins()
        retention.forget_counts()
        uploads.delete_untouched()
        overview.count_ended_days()


@queue.periodic_task(crontab(minute="17", hour="3"))
def every_night() -> None:
    """Erase what is past its time."""
    with queue.app.app_context():
        retention.prune()
