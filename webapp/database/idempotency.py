"""Forms are taken at most once: a form's one-time id, and what became of a form that used it.

The server makes the id and signs it together with the member; the database keeps each used id once.
This is the first line of defence against sending a text twice: when a connection dies, browsers
resend a form by themselves (measured: three arrivals from one click).
"""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import sqlalchemy as sa
from itsdangerous import BadData, URLSafeSerializer
from sqlalchemy.exc import IntegrityError

from webapp.config import settings
from webapp.database.models import Member, Submission, new_id
from webapp.database.session import db
from webapp.rules.keys import Purpose, accepted
from webapp.rules.times import now

CONTENT_FIELDS = ("sms_id", "recipient", "message", "send_at", "time_zone")
GOOD_FOR = timedelta(days=7)
"""How long a form can be sent: as long as the session it belongs to."""
USED_ID_KEPT_FOR = timedelta(days=30)
"""After its message was erased, or a code was asked for: longer than a form can be sent."""
CUT_ID_CHARACTERS = 25
"""Versions up to schema 0005 kept so much of the id of a form that asked for a code."""

T = TypeVar("T")


class NotTaken(Exception):
    """The form was not taken and its id is unused. Nothing was sent."""


class OnHold(NotTaken):
    """The operator has put sending on hold."""


class FormSpent(Exception):
    """The form's id cannot be used any more. Nothing was sent."""


class ContentChanged(FormSpent):
    """It was used for something else."""


class GrownOld(FormSpent):
    """It is so old that it may have been used and forgotten."""


class MessageErased(FormSpent):
    """It was used, and its message has been erased since."""

    def __init__(self, used_at: datetime) -> None:
        super().__init__()
        self.used_at = used_at


@dataclass(frozen=True, slots=True)
class SubmissionId:
    """The hidden field of a form. `previous` is the message that this form sends again, or ""."""

    id: str
    member_id: int
    previous: str = ""
    senders: Mapping[str, str] = field(default_factory=dict)
    """The sender of each extension as the form's page showed it."""
    made_at: datetime = field(default_factory=now)

    @property
    def is_too_old(self) -> bool:
        """Whether the form must not be taken: what is known of it may have been erased."""
        return self.made_at < now() - GOOD_FOR

    @property
    def signed(self) -> str:
        value: str | bytes = _serializer().dumps(
            [self.id, self.member_id, self.previous, dict(self.senders), as_seconds(self.made_at)]
        )
        return value if isinstance(value, str) else value.decode()


@dataclass(frozen=True, slots=True)
class UsedForm:
    """What became of a form: a message, a batch, or a request for a code, with its outcome."""

    message_id: str | None
    batch_id: str | None
    outcome: str | None
    reason: str | None


def new_submission(member: Member, previous: str = "") -> SubmissionId:
    return SubmissionId(new_id(), member.id, previous)


def read_submission(signed: str) -> SubmissionId | None:
    """The id that a form brought, or None if it is not one of ours."""
    try:
        # Earlier versions signed no time: such a form counts as too old.
        id_, member_id, previous, senders, *made = _serializer().loads(signed)
        made_at = datetime.fromtimestamp(made[0] if made else 0, UTC)
    except (BadData, ValueError, TypeError):
        return None
    return SubmissionId(id_, member_id, previous, senders, made_at)


def content_hash(fields: Mapping[str, str], names: Sequence[str] = CONTENT_FIELDS) -> str:
    """A keyed hash of what was typed: equal if the form is resent, meaningless to a reader."""
    content = [fields.get(name, "").replace("\r\n", "\n").strip() for name in names]
    key = b"submission" + settings.secret_key[-1].encode()
    return hmac.new(key, json.dumps(content).encode(), hashlib.sha256).hexdigest()


def test_of(submission: SubmissionId, content: str) -> SubmissionId:
    """The id for a form's test to oneself: the same for the same content. The form's own id stays
    unused."""
    params = f"{submission.id} {content}".encode()
    key = b"test" + settings.secret_key[-1].encode()
    id_ = hmac.new(key, params, hashlib.sha256).hexdigest()[:32]
    return SubmissionId(id_, submission.member_id, made_at=submission.made_at)


def find_used(submission: SubmissionId, content_hash: str) -> UsedForm | None:
    """What became of this form, or None if it can be taken. Raises `FormSpent`."""
    ids = {"form": submission.id, "cut": submission.id[:CUT_ID_CHARACTERS]}
    used = db.session.execute(_USED, ids).first()
    if used is None:
        if submission.is_too_old:
            raise GrownOld
        return None
    if used.erased_at is not None:
        raise MessageErased(used.created_at)
    if (used.content_hash, used.member_id) != (content_hash, submission.member_id):
        raise ContentChanged
    return UsedForm(used.message_id, used.batch_id, used.outcome, used.reason)


def take_once(find: Callable[[], T | None], take: Callable[[], T]) -> T:
    """Return what became of a form, if `find` knows it; otherwise take the form.

    `take` inserts the form's `Submission`, or raises `NotTaken`. Then `find` is asked again: the
    same form may have been taken in parallel, and may itself be the reason for the refusal, as when
    it used the last text of the day.
    """
    found = find()
    if found is not None:
        return found
    try:
        return take()
    except (IntegrityError, NotTaken):
        found = find()
        if found is None:
            raise
        return found


def as_seconds(at: datetime) -> int:
    return int(at.timestamp())


def _serializer() -> URLSafeSerializer:
    # The key that signs comes first here; itsdangerous signs with the last.
    keys = accepted(settings.secret_key, Purpose.SUBMISSION)[::-1]
    return URLSafeSerializer(keys, salt="submission")


# For every form; built once, because building it takes longer than running it (measured).
_USED = sa.select(
    Submission.content_hash,
    Submission.member_id,
    Submission.message_id,
    Submission.batch_id,
    Submission.outcome,
    Submission.reason,
    Submission.created_at,
    Submission.erased_at,
).where(Submission.id.in_((sa.bindparam("form"), sa.bindparam("cut"))))
