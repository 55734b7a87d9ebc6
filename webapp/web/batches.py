"""A batch's page, and stopping, resuming and withdrawing it."""

import sqlalchemy as sa
from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from webapp.account import contacts
from webapp.database import db, idempotency
from webapp.database.models import Batch, Member, Message
from webapp.i18n import sentences
from webapp.jobs import tasks
from webapp.messages import attention, batches, visibility
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, Outcome, Wish
from webapp.web import guard
from webapp.web.compose import as_fields, form_page
from webapp.web.forms import whole_number
from webapp.web.guard import managed_or_404, own_or_404, visible_or_404

blueprint = Blueprint("batches", __name__)

PAGE_SIZE = 200


@blueprint.get("/batches/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    batch = visible_or_404(Batch, id, member)
    if guard.wants_json():
        counts = batches.outcome_counts(batch.id)
        return jsonify(
            id=batch.id,
            counts={outcome.value: counts.get(outcome, 0) for outcome in Outcome},
            total=sum(counts.values()),
            stop_reason=batch.stop_reason,
            created_at=batch.created_at.isoformat(),
        )
    return batch_page(batch, member)


def batch_page(batch: Batch, member: Member, *, status: int = 200) -> ResponseReturnValue:
    counts = batches.outcome_counts(batch.id)
    query = sa.select(Message).where(Message.batch_id == batch.id).order_by(Message.position)
    after = request.args.get("after", type=whole_number, default=-1)
    found = list(db.session.scalars(query.where(Message.position > after).limit(PAGE_SIZE + 1)))
    contacts.preload_names(member, {message.recipient for message in found})
    first = found[0] if after < 0 and found else db.session.scalar(query.limit(1))
    if first is None:
        abort(404)  # never: a batch without messages is erased with them
    more = found[PAGE_SIZE - 1].position if len(found) > PAGE_SIZE else None
    waits = sum(counts.get(outcome, 0) for outcome in WAITING)
    stuck = sum(counts.get(outcome, 0) for outcome in NEEDS_RESUME)
    wished = batches.wish_counts(batch.id)
    manages = visibility.may_manage(member, batch)
    page = render_template(
        "batch.html",
        batch=batch,
        first=first,
        bar=_bar(counts),
        failed=len(batches.failed(batch)) if visibility.owns(member, batch) else 0,
        counts=[(outcome, counts[outcome]) for outcome in Outcome if counts.get(outcome)],
        total=sum(counts.values()),
        settled=sum(counts.values()) - waits - stuck - counts.get(Outcome.SENDING, 0),
        sentence=sentences.batch_sentence(batch, counts),
        wished=wished,
        messages=found[:PAGE_SIZE],
        more_url=url_for("batches.show", id=batch.id, after=more) if more is not None else None,
        can_stop=manages and waits + wished[Wish.NONE] > 0,
        can_resume=visibility.owns(member, batch)
        and counts.get(Outcome.PAUSED, 0) + wished[Wish.PAUSE] > 0,
        can_cancel=manages and waits + stuck + wished[Wish.NONE] + wished[Wish.PAUSE] > 0,
        to_be_done=list(attention.open_counts(batch.id).items()) if manages else [],
        reload=waits > 0 or Outcome.SENDING in counts,
    )
    return page, status


def _bar(counts: dict[Outcome, int]) -> list[tuple[str, float, float]]:
    """The outcomes' shares in the bar: tone, start and width, in percent."""
    total, start = sum(counts.values()), 0
    found = []
    for outcome in Outcome:
        if count := counts.get(outcome, 0):
            share = (round(100 * start / total, 2), round(100 * count / total, 2))
            found.append((sentences.outcome_tone(outcome), *share))
            start += count
    return found


@blueprint.get("/batches/<id>/again")
def again(id: str, member: Member) -> ResponseReturnValue:
    """The form, filled for those to whom nothing was sent."""
    batch = own_or_404(Batch, id, member)
    failed = batches.failed(batch)
    if not failed:
        abort(404)
    fields = {**as_fields(failed[0]), "recipient": "\n".join(one.recipient for one in failed)}
    submission = idempotency.new_submission(member, previous=batch.id)
    return form_page(member, submission, prefill=fields)


@blueprint.post("/batches/<id>/stop")
def stop(id: str, member: Member) -> ResponseReturnValue:
    batches.stop(managed_or_404(Batch, id, member), member)
    flash(_("Paused. Messages that are already at sipgate can no longer be recalled."), "success")
    return redirect(url_for("batches.show", id=id), 303)


@blueprint.post("/batches/<id>/resume")
def resume(id: str, member: Member) -> ResponseReturnValue:
    batches.resume(own_or_404(Batch, id, member), member)
    tasks.start_batch(id)
    return redirect(url_for("batches.show", id=id), 303)


@blueprint.post("/batches/<id>/cancel")
def cancel(id: str, member: Member) -> ResponseReturnValue:
    became = batches.cancel(managed_or_404(Batch, id, member), member)
    count = became[Outcome.CANCELLED]
    if count or not became[Outcome.SENDING]:  # else the page says what is wished
        flash(
            ngettext("%(num)s message was cancelled.", "%(num)s messages were cancelled.", count),
            "success",
        )
    return redirect(url_for("batches.show", id=id), 303)
