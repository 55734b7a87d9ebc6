"""Forms whose sign-in ended before they were taken. Each is kept for its member alone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from webapp.database import db, transaction, upsert
from webapp.database.idempotency import CONTENT_FIELDS, SubmissionId, as_seconds
from webapp.database.models import Draft, Member
from webapp.rules.times import now

KEPT_FIELDS = (*CONTENT_FIELDS, "fold", "template_id")
_MADE = "made_at"
MAX_DRAFTS = 20
"""Per member; the oldest is dropped."""
MAX_DRAFT_BYTES = 64 * 1024


class DraftTooLarge(Exception):
    """The form is larger than what is kept, and was not kept at all."""


def fits_draft(fields: Mapping[str, str]) -> bool:
    size = sum(len(fields.get(name, "").encode(errors="replace")) for name in KEPT_FIELDS)
    return size <= MAX_DRAFT_BYTES


def keep_draft(submission: SubmissionId, fields: Mapping[str, str]) -> None:
    """Keep a form whose sign-in has ended, for the member that its id names. Raises
    `DraftTooLarge`."""
    if not fits_draft(fields):
        raise DraftTooLarge
    kept: dict[str, Any] = {name: fields.get(name, "") for name in KEPT_FIELDS}
    kept[_MADE] = as_seconds(submission.made_at)
    owner = submission.member_id
    others = (Draft.member_id == owner, Draft.submission != submission.id)
    with transaction() as session:
        # One form of a member at a time: two at once would both find room.
        session.execute(sa.select(Member.id).where(Member.id == owner).with_for_update())
        newest = sa.select(Draft.submission).where(*others).order_by(Draft.created_at.desc())
        stay = list(session.scalars(newest.limit(MAX_DRAFTS - 1)))
        session.execute(sa.delete(Draft).where(*others, Draft.submission.not_in(stay)))
        values = {"member_id": owner, "fields": kept, "created_at": now()}
        upsert(session, Draft, {"submission": submission.id}, values)


def submission_of(draft: Draft) -> SubmissionId:
    """The id that the kept form had, with its age."""
    made_at = datetime.fromtimestamp(draft.fields.get(_MADE, 0), UTC)
    return SubmissionId(draft.submission, draft.member_id, made_at=made_at)


def fields_of(draft: Draft) -> dict[str, str]:
    return {name: draft.fields.get(name, "") for name in KEPT_FIELDS}


def find_draft(draft_id: str, member: Member) -> Draft | None:
    draft = db.session.get(Draft, draft_id) if draft_id else None
    return draft if draft and draft.member_id == member.id else None
