"""A form's one-time id, and the form that had to wait for a new sign-in.

The id is made by the server, signed, and names the member; it is unique in the database once the
form was taken. It is the first line of defence against a text sent twice: browsers resend a form by
themselves when a connection dies (measured: three arrivals from one click).
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from itsdangerous import BadData, URLSafeSerializer

from webapp.config import settings
from webapp.database.models import (
    Member,
    new_id,
)
from webapp.rules.keys import Purpose, accepted
from webapp.rules.times import now

CONTENT_FIELDS = ("sms_id", "recipient", "message", "send_at", "time_zone")
GOOD_FOR = timedelta(days=7)
"""How long a form can be sent: as long as the session it belongs to."""
USED_ID_KEPT_FOR = timedelta(days=30)
"""After its message was erased: longer than any form that bears the id can be sent."""


@dataclass(frozen=True, slots=True)
class SubmissionId:
    """What the hidden field says. `previous` is the message that this form sends again, or ""."""

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


def new_submission(member: Member, previous: str = "") -> SubmissionId:
    return SubmissionId(new_id(), member.id, previous)


def read_submission(signed: str) -> SubmissionId | None:
    """The id a form brought, or None if it is not one of ours."""
    try:
        # A version before this one signed no time: too old, for nobody can say how old.
        id_, member_id, previous, senders, *made = _serializer().loads(signed)
        made_at = datetime.fromtimestamp(made[0] if made else 0, UTC)
    except (BadData, ValueError, TypeError):
        return None
    return SubmissionId(id_, member_id, previous, senders, made_at)


def content_hash(fields: Mapping[str, str]) -> str:
    """A keyed hash of what was typed: equal for a resent form, and it tells nothing to a reader."""
    content = [fields.get(name, "").replace("\r\n", "\n").strip() for name in CONTENT_FIELDS]
    key = b"submission" + settings.secret_key[-1].encode()
    return hmac.new(key, json.dumps(content).encode(), hashlib.sha256).hexdigest()


def test_of(submission: SubmissionId, content: str) -> SubmissionId:
    """The id of a form's test to oneself: the same for the same content, and the form's id stays
    unused."""
    params = f"{submission.id} {content}".encode()
    key = b"test" + settings.secret_key[-1].encode()
    id_ = hmac.new(key, params, hashlib.sha256).hexdigest()[:32]
    return SubmissionId(id_, submission.member_id, made_at=submission.made_at)


def as_seconds(at: datetime) -> int:
    return int(at.timestamp())


def _serializer() -> URLSafeSerializer:
    # The key that signs comes first here; itsdangerous signs with the last.
    keys = accepted(settings.secret_key, Purpose.SUBMISSION)[::-1]
    return URLSafeSerializer(keys, salt="submission")


class FormSpent(Exception):
    """The form's id serves no more. Nothing was sent."""


class ContentChanged(FormSpent):
    """It was used before, for something else."""


class GrownOld(FormSpent):
    """It is so old that it may have been used, and that forgotten."""


class MessageErased(FormSpent):
    """It was used, and what it became was erased since."""

    def __init__(self, used_at: datetime) -> None:
        super().__init__()
        self.used_at = used_at


class OnHold(Exception):
    """The operator has put sending on hold. Nothing was sent."""
