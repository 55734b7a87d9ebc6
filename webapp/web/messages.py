"""A message's page, and what is done there: change it, withdraw it, say what became of it."""

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.account import contacts
from webapp.database import db, idempotency
from webapp.database.models import Member, Message
from webapp.i18n import sentences
from webapp.i18n.formats import when
from webapp.jobs import tasks
from webapp.messages import attention, batches, blocked, changes, reconcile, visibility
from webapp.messages.blocked import NumbersBlocked
from webapp.messages.history import PLANNED
from webapp.rules.outcomes import NEEDS_RESUME, Outcome
from webapp.rules.times import now
from webapp.web import guard, questions
from webapp.web.compose import as_fields, form_of, form_page, refused_page
from webapp.web.forms import ComposeForm
from webapp.web.guard import managed_or_404, own_or_404, visible_or_404

blueprint = Blueprint("messages", __name__)

REPEATABLE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.CANCELLED)


@blueprint.get("/messages/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    message = visible_or_404(Message, id, member)
    if guard.wants_json():
        return jsonify(_as_json(message))
    return message_page(message, member)


@blueprint.get("/messages/<id>/edit")
def edit(id: str, member: Member) -> ResponseReturnValue:
    """The form with a planned message, which can be changed until it goes to sipgate."""
    message = own_or_404(Message, id, member)
    if message.outcome != Outcome.HELD:
        return too_late(message)
    submission = idempotency.new_submission(member)
    return form_page(member, submission, prefill=as_fields(message), editing=message)


@blueprint.post("/messages/<id>/edit")
def change(id: str, member: Member) -> ResponseReturnValue:
    message = own_or_404(Message, id, member)
    form = form_of(member, as_fields(message))
    submission = idempotency.new_submission(member)
    is_filled = form.fill_in()
    if not form.validate():
        return form_page(member, submission, form=form, editing=message, status=422)
    if is_filled:
        note = _("Check the finished text, then send it.")
        return form_page(member, submission, form=form, editing=message, note=note, status=422)
    if len(form.numbers) > 1:
        note = _("Enter one number: a planned message goes to one recipient.")
        return form_page(member, submission, form=form, editing=message, note=note, status=422)
    if message.not_after and message.not_after < (form.moment or now()):
        at = when(message.not_after, message.time_zone)
        form.send_at.errors = [_("Choose a time before the appointment (%(at)s).", at=at)]
        return form_page(member, submission, form=form, editing=message, status=422)
    try:
        changed = changes.edit(message, form.checked()[0], member)
    except NumbersBlocked as refused:
        return refused_page(member, submission, refused, editing=message)
    if not changed:
        return too_late(message)
    tasks.enqueue_message(message.id)
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/cancel")
def cancel(id: str, member: Member) -> ResponseReturnValue:
    message = managed_or_404(Message, id, member)
    became = changes.withdraw(message, member)
    if became is None:
        return too_late(message)
    if became == Outcome.CANCELLED:  # else its page says what is wished
        flash(_("Cancelled. It was not sent."), "success")
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/settle")
def settle(id: str, member: Member) -> ResponseReturnValue:
    """Take a person's word on what became of an unknown message."""
    message = _answerable_or_404(id, member)
    chosen = request.form.get("outcome", "")
    if chosen not in reconcile.A_PERSON_MAY_SAY:
        abort(422)
    reconcile.settle_by_member(message, Outcome(chosen), member)
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/look")
def look(id: str, member: Member) -> ResponseReturnValue:
    """Look in sipgate's history once more."""
    entries = reconcile.check_history(_answerable_or_404(id, member), by=member)
    message = visible_or_404(Message, id, member)
    if message.outcome == Outcome.UNKNOWN:
        return message_page(message, member, entries=entries, looked=True)
    return redirect(url_for("messages.show", id=message.id), 303)


def _answerable_or_404(id: str, member: Member) -> Message:
    message = managed_or_404(Message, id, member)
    if not visibility.may_settle(member, message):
        abort(404)
    return message


def message_page(
    message: Message,
    member: Member,
    *,
    form: ComposeForm | None = None,
    resumed: questions.ResumedMessage | None = None,
    asked: list[questions.Question] | None = None,
    entries: tuple[Any, ...] = (),
    looked: bool = False,
    status: int = 200,
) -> ResponseReturnValue:
    followups = db.session.scalars(
        sa.select(Message).where(Message.previous_id == message.id).order_by(Message.created_at)
    )
    contacts.preload_names(member, [message.recipient])
    is_own = visibility.owns(member, message)
    manages = visibility.may_manage(member, message)
    needs_time = is_own and message.outcome in NEEDS_RESUME
    is_unknown = message.outcome == Outcome.UNKNOWN and visibility.may_settle(member, message)
    page = render_template(
        "message.html",
        message=message,
        followups=list(followups),
        batch_size=batches.size(message.batch_id) if message.batch_id else 0,
        can_send_again=is_own and message.outcome in REPEATABLE,
        can_edit=is_own and message.outcome == Outcome.HELD,
        can_withdraw=manages and changes.can_withdraw(message),
        can_be_done=manages and attention.can_be_done(message),
        can_settle=is_unknown,
        can_look=is_unknown and reconcile.can_check_history(member),
        event_list_url=reconcile.EVENT_LIST_URL,
        tells_plan=message.send_at is not None and message.outcome in PLANNED,
        handover_at=changes.handover_at(message),
        time_form=(form or time_form(message, member)) if needs_time else None,
        is_time_over=message.send_at is not None and not attention.is_time_ahead(message),
        warnings=asked or [],
        confirm_value=questions.confirm_value(asked or []),
        confirm_label=questions.confirm_label(resumed) if resumed else "",
        entries=entries,
        looked=looked,
        noted=blocked.noted(member, message.recipient),
        hows=sentences.HOW_BLOCKED,
        reload=message.outcome == Outcome.SENDING,
    )
    return page, status


def too_late(message: Message) -> ResponseReturnValue:
    """The message is no longer as the page showed it: say what is known of it now, and no more."""
    db.session.refresh(message)
    flash(sentences.too_late(message), "warning")
    return redirect(url_for("messages.show", id=message.id), 303)


def time_form(message: Message, member: Member) -> ComposeForm:
    """The form for when to resume a message, filled with its planned time if that is ahead."""
    planned = {"time_zone": message.time_zone}
    if message.send_at and attention.is_time_ahead(message):
        planned = sentences.local_time_fields(message.send_at, message.time_zone)
    chosen = {name: request.form.get(name, planned.get(name)) for name in ("send_at", "time_zone")}
    if any(planned.get(name) != value for name, value in chosen.items()):
        planned.pop("fold", None)  # another time was typed, for which it says nothing
    return form_of(member, planned)


def _as_json(message: Message) -> dict[str, Any]:
    return {
        "id": message.id,
        "outcome": message.outcome,
        "reason": message.reason,
        "wish": message.wish or None,
        "sms_id": message.extension_id,
        "recipient": message.recipient,
        "message": message.text,
        "segments": message.segment_count,
        "send_at": message.send_at.isoformat() if message.send_at else None,
        "not_after": message.not_after.isoformat() if message.not_after else None,
        "created_at": message.created_at.isoformat(),
        "member": message.member.name,
    }
