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
from typing import Any

import sqlalchemy as sa
from itsdangerous import BadData, URLSafeSerializer

from webapp.database import now, put, transaction
from webapp.extensions import db, settings
from webapp.keys import Purpose, accepted
from webapp.models import Draft, Member, new_id

CONTENT_FIELDS = ("sms_id", "recipient", "message", "send_at", "time_zone")
KEPT_FIELDS = (*CONTENT_FIELDS, "fold")
_MADE = "made_at"
GOOD_FOR = timedelta(days=7)
"""How long a form can be sent: as long as the session it belongs to."""
USED_ID_KEPT_FOR = timedelta(days=30)
"""After its message was erased: longer than any form that bears the id can be sent."""
MAX_DRAFTS = 20
"""Of one member; the oldest goes."""
MAX_DRAFT_BYTES = 64 * 1024


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
            [self.id, self.member_id, self.previous, dict(self.senders), _seconds(self.made_at)]
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
    said = f"{submission.id} {content}".encode()
    key = b"test" + settings.secret_key[-1].encode()
    id_ = hmac.new(key, said, hashlib.sha256).hexdigest()[:32]
    return SubmissionId(id_, submission.member_id, made_at=submission.made_at)


class DraftTooLarge(Exception):
    """A form that holds more than is kept. Nothing of it was."""


def fits_draft(fields: Mapping[str, str]) -> bool:
    size = sum(len(fields.get(name, "").encode(errors="replace")) for name in KEPT_FIELDS)
    return size <= MAX_DRAFT_BYTES


def keep_draft(submission: SubmissionId, fields: Mapping[str, str]) -> None:
    """Keep a form whose sign-in had ended, for the member its id names. The last one wins.

    Raises `DraftTooLarge`.
    """
    if not fits_draft(fields):
        raise DraftTooLarge
    kept: dict[str, Any] = {name: fields.get(name, "") for name in KEPT_FIELDS}
    kept[_MADE] = _seconds(submission.made_at)
    owner = submission.member_id
    others = (Draft.member_id == owner, Draft.submission != submission.id)
    with transaction() as rows:
        # One form of a member at a time, or two at once would both find room.
        rows.execute(sa.select(Member.id).where(Member.id == owner).with_for_update())
        newest = sa.select(Draft.submission).where(*others).order_by(Draft.created_at.desc())
        stay = list(rows.scalars(newest.limit(MAX_DRAFTS - 1)))
        rows.execute(sa.delete(Draft).where(*others, Draft.submission.not_in(stay)))
        values = {"member_id": owner, "fields": kept, "created_at": now()}
        put(rows, Draft, {"submission": submission.id}, values)


def of_draft(draft: Draft) -> SubmissionId:
    """The id that the kept form had, as old as it was."""
    made_at = datetime.fromtimestamp(draft.fields.get(_MADE, 0), UTC)
    return SubmissionId(draft.submission, draft.member_id, made_at=made_at)


def fields_of(draft: Draft) -> dict[str, str]:
    return {name: draft.fields.get(name, "") for name in KEPT_FIELDS}


def find_draft(draft_id: str, member: Member) -> Draft | None:
    draft = db.session.get(Draft, draft_id)
    return draft if draft and draft.member_id == member.id else None


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _serializer() -> URLSafeSerializer:
    # The key that signs comes first here; itsdangerous signs with the last.
    keys = accepted(settings.secret_key, Purpose.SUBMISSION)[::-1]
    return URLSafeSerializer(keys, salt="submission")
