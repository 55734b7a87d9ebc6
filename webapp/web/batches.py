"""A batch's page, and stopping, resuming and withdrawing it."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import format_timedelta, get_locale, ngettext
from flask_babel import gettext as _

from webapp.account import contacts
from webapp.database import db, idempotency
from webapp.database.models import Batch, Member, Message
from webapp.i18n import lists as words
from webapp.i18n import sentences
from webapp.i18n.formats import when
from webapp.jobs import tasks
from webapp.messages import attention, batches, visibility
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, FillWish, Outcome, Wish
from webapp.web import guard, security
from webapp.web.compose import as_fields, form_page
from webapp.web.forms import whole_number
from webapp.web.guard import managed_or_404, own_or_404, visible_or_404
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("batches", __name__)

PAGE_SIZE = 200


@blueprint.get("/batches/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    batch = visible_or_404(Batch, id, member)
    counts = batches.outcome_counts(batch.id)
    if guard.wants_json():
        return jsonify(_as_json(batch, counts))
    etag = _etag(batch, member, counts)
    if security.is_poll() and etag in request.if_none_match:
        return Response(status=304)
    response = make_response(batch_page(batch, member))
    response.set_etag(etag)
    return response


def _as_json(batch: Batch, counts: dict[Outcome, int]) -> dict[str, Any]:
    made = sum(counts.values())
    total = batch.total if batch.list_id else made
    return {
        "id": batch.id,
        "name": batch.name,
        "counts": {outcome.value: counts.get(outcome, 0) for outcome in Outcome},
        "total": total,
        "made": made,
        "is_filling": batch.is_filling,
        "rows": total + sum((batch.left_out_counts or {}).values()),
        "left_out": batch.left_out_counts or {},
        "stop_reason": batch.stop_reason,
        "created_at": batch.created_at.isoformat(),
    }


def _etag(batch: Batch, member: Member, counts: dict[Outcome, int]) -> str:
    """Another one as soon as the page would say something else."""
    state = (batch.stop_reason, batch.wish, batch.filled_at, batch.total)
    others = (batches.wish_counts(batch.id), attention.count(member), get_locale(), request.args)
    said = repr((sorted(counts.items()), state, *others, attention.open_counts(batch.id)))
    return hashlib.sha256(said.encode()).hexdigest()[:20]


def batch_page(batch: Batch, member: Member, *, status: int = 200) -> ResponseReturnValue:
    counts = batches.outcome_counts(batch.id)
    made = sum(counts.values())
    found, more = _messages(batch)
    contacts.preload_names(member, {message.recipient for message in found})
    waits = sum(counts.get(outcome, 0) for outcome in WAITING)
    stuck = sum(counts.get(outcome, 0) for outcome in NEEDS_RESUME)
    wished = batches.wish_counts(batch.id)
    is_own = visibility.owns(member, batch)
    page = render_template(
        "batch.html",
        batch=batch,
        first=batches.first(batch.id),
        rule=words.reminders_rule(batch.rule),
        bar=_bar(counts),
        # A list is sent again as a list: it reaches only those who did not get their text.
        failed=len(batches.failed(batch)) if is_own and not batch.list_id else 0,
        counts=[(outcome, counts[outcome]) for outcome in Outcome if counts.get(outcome)],
        chosen=_chosen_outcome(),
        made=made,
        total=max(batch.total, made) if batch.is_filling else made,
        lost=batch.total - made if batch.list_id and not batch.is_filling else 0,
        settled=made - waits - stuck - counts.get(Outcome.SENDING, 0),
        sentence=sentences.batch_sentence(batch, counts),
        left_out=[(words.left_out(why), n) for why, n in (batch.left_out_counts or {}).items()],
        has_left_out=is_own and bool(batch.left_out_counts),
        estimate=_estimate(batch, waits),
        wished=wished,
        messages=found,
        more_url=url_for("batches.show", id=batch.id, outcome=_chosen_outcome(), after=more)
        if more is not None
        else None,
        reload=waits > 0 or Outcome.SENDING in counts or batch.is_filling,
        **_what_can_be_done(batch, member, counts, wished),
    )
    return page, status


def _what_can_be_done(
    batch: Batch, member: Member, counts: dict[Outcome, int], wished: Counter[Wish]
) -> dict[str, Any]:
    """The buttons that the member has."""
    is_own, manages = visibility.owns(member, batch), visibility.may_manage(member, batch)
    waits = sum(counts.get(outcome, 0) for outcome in WAITING)
    stuck = sum(counts.get(outcome, 0) for outcome in NEEDS_RESUME)
    to_be_done = attention.open_counts(batch.id)
    can_still = batch.is_filling and batch.wish != FillWish.CANCEL
    runs = waits + wished[Wish.NONE] > 0 or (can_still and not batch.stop_reason)
    is_paused = counts.get(Outcome.PAUSED, 0) + wished[Wish.PAUSE] > 0
    is_left = waits + stuck + wished[Wish.NONE] + wished[Wish.PAUSE] > 0
    return {
        "can_stop": manages and runs,
        "can_resume": is_own and (is_paused or bool(can_still and batch.stop_reason)),
        "can_cancel": manages and (is_left or can_still),
        "missed": batches.missed_count(batch) if is_own and counts.get(Outcome.MISSED) else 0,
        "to_be_done": list(to_be_done.items()) if manages else [],
    }


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


def _messages(batch: Batch) -> tuple[list[Message], int | None]:
    """The messages that the address asks for, and the place after which others follow."""
    query = sa.select(Message).where(Message.batch_id == batch.id).order_by(Message.position)
    if chosen := _chosen_outcome():
        query = query.where(Message.outcome == chosen)
    after = request.args.get("after", type=whole_number, default=-1)
    found = list(db.session.scalars(query.where(Message.position > after).limit(PAGE_SIZE + 1)))
    more = found[PAGE_SIZE - 1].position if len(found) > PAGE_SIZE else None
    return found[:PAGE_SIZE], more


def _chosen_outcome() -> Outcome | None:
    asked = request.args.get("outcome", "")
    return Outcome(asked) if asked in {outcome.value for outcome in Outcome} else None


def _estimate(batch: Batch, waits: int) -> str:
    """When the rest will have gone, or the next planned one goes; empty if nobody knows."""
    if batch.is_filling or batch.stop_reason or not waits:
        return ""
    if planned := batches.next_time(batch.id):
        return str(_("Next: %(at)s", at=when(planned)))
    left = batches.time_left(batch, waits)
    return str(_("%(time)s left", time=format_timedelta(left))) if left else ""


@blueprint.get("/batches/<id>/report.csv")
def report(id: str, member: Member) -> ResponseReturnValue:
    """Each message with its row and what became of it."""
    batch = visible_or_404(Batch, id, member)
    return _download(f"report-{batch.id[:8]}", _report_lines(batch.id))


@blueprint.get("/batches/<id>/left-out.csv")
def left_out(id: str, member: Member) -> ResponseReturnValue:
    """The rows of the list that were not sent, and why. Only for who uploaded it, for 7 days."""
    batch = own_or_404(Batch, id, member)
    rows = [[str(row), typed, words.left_out(why)] for row, typed, why in batch.left_out or ()]
    heads = [_("Row"), _("Number"), _("Why it was left out")]
    return _download(f"left-out-{batch.id[:8]}", iter([csv_text([heads, *rows], first=True)]))


def _download(name: str, lines: Iterator[str]) -> Response:
    response = Response(stream_with_context(lines), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _report_lines(batch_id: str) -> Iterator[str]:
    heads = [_("Row"), _("Recipient"), _("Status"), _("When"), _("Segments"), _("Text")]
    heads += [_("Planned for"), _("Not sent after")]
    yield csv_text([heads], first=True)
    for chunk in batches.iter_chunks(batch_id):
        yield csv_text(
            [
                str(message.position),
                message.recipient,
                str(sentences.OUTCOMES[message.outcome].word),
                (message.settled_at or message.created_at).isoformat(timespec="seconds"),
                str(message.segment_count),
                message.text,
                *(
                    at.isoformat(timespec="seconds") if at else ""
                    for at in (message.send_at, message.not_after)
                ),
            ]
            for message in chunk
        )


@blueprint.post("/batches/<id>/stop")
def stop(id: str, member: Member) -> ResponseReturnValue:
    batches.stop(managed_or_404(Batch, id, member), member)
    flash(_("Paused. Messages that are already at sipgate can no longer be recalled."), "success")
    return redirect(url_for("batches.show", id=id), 303)


@blueprint.post("/batches/<id>/resume")
def resume(id: str, member: Member) -> ResponseReturnValue:
    batch = own_or_404(Batch, id, member)
    batches.resume(batch, member)
    if batch.is_filling:
        tasks.start_fill(id)
    else:
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
