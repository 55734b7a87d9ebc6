"""Writing a message, and what became of it."""

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import (
    account,
    attention,
    contacts,
    members,
    message_templates,
    outbox,
    questions,
    sending,
    settling,
    sms,
    submissions,
    tasks,
    waiting,
    words,
)
from webapp.extensions import db, settings
from webapp.forms import ComposeForm, compose_form, spent_note
from webapp.members import managed_or_404, own_or_404, public, visible_or_404
from webapp.models import Member, Message
from webapp.outbox import DailyLimitReached, FormSpent, OnHold, Submitted
from webapp.outcomes import STUCK, WAITING, Outcome
from webapp.submissions import SubmissionId
from webapp.views import limits

blueprint = Blueprint("messages", __name__)

REPEATABLE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.CANCELLED)
UNSETTLED = (Outcome.SENDING, *WAITING)


@blueprint.get("/")
@public
def compose() -> ResponseReturnValue:
    member = members.current_member()
    if member is None:
        return _welcome()
    draft = submissions.find_draft(request.args.get("draft", ""), member)
    if draft is None:
        return form_page(member, submissions.new_submission(member), prefill=_start(member))
    # The kept form was never taken, so it goes on under the id it had.
    submission = submissions.of_draft(draft)
    test = request.args.get("test")
    tested = own_or_404(Message, test, member) if test else None
    return form_page(member, submission, prefill=submissions.fields_of(draft), tested=tested)


def _start(member: Member) -> dict[str, str]:
    """What the address names: a contact, somebody written to before, a message template."""
    start: dict[str, str] = {}
    contact = contacts.find_one(member, request.args.get("contact", ""))
    if contact and contact.number:
        start["recipient"] = contact.number
    if id_ := request.args.get("number"):
        start["recipient"] = visible_or_404(Message, id_, member).recipient
    template = message_templates.find(member, request.args.get("template", ""))
    if template and template.deleted_at is None:
        start["message"] = template.text
    return start


@blueprint.post("/messages")
@limits.counts_as_send
def create(member: Member) -> ResponseReturnValue:
    submission = submissions.read_submission(request.form.get("submission_id", ""))
    if submission is None or submission.member_id != member.id:
        note = _("This form could not be recognised. Check the message and send it once more.")
        return kept_form(member, note, 422)
    content = submissions.content_hash(request.form)
    try:
        taken = outbox.find_submission(submission, content)
        if taken is None:
            form = form_of(member)
            if not form.validate():
                return form_page(member, submission, form=form, status=422)
            asked = questions.questions_about(form, member, submission)
            if questions.unanswered(asked, request.form.get("confirm", "")):
                # The same form may have been taken meanwhile, and be what the question is about.
                taken = outbox.find_submission(submission, content)
                if taken is None:
                    return form_page(member, submission, form=form, asked=asked, status=409)
            taken = taken or outbox.submit(
                form.checked(),
                member=member,
                submission=submission,
                content_hash=content,
                credentials=members.credentials(),
            )
    except FormSpent as spent:
        return kept_form(member, spent_note(spent), 409)
    except DailyLimitReached:
        return form_page(member, submission, note=words.daily_limit(), status=429)
    except OnHold:
        return form_page(member, submission, note=words.on_hold(), status=503)
    if taken.batch_id:
        tasks.start_batch(taken.batch_id)
    return redirect(page_of(taken), 303)


@blueprint.post("/test-message")
@limits.counts_as_send
def test(member: Member) -> ResponseReturnValue:
    """Send what is typed to oneself, and go on with the form as it was."""
    submission = submissions.read_submission(request.form.get("submission_id", ""))
    if submission is None or submission.member_id != member.id:
        note = _("This form could not be recognised. Check the message and send it once more.")
        return kept_form(member, note, 422)
    form = form_of(member)
    if not form.validate_test():
        return form_page(member, submission, form=form, status=422)
    if not submissions.fits_draft(request.form):
        note = _("This form holds more than can be kept. Nothing was sent. Shorten it.")
        return form_page(member, submission, form=form, note=note, status=422)
    contacts.keep_own_number(member, form.checked_own_number)
    # Before anything is sent: a page that says that nothing was must be right.
    submissions.keep_draft(submission, request.form)
    # Its own id, made from the form's and the text: pressed twice, it is one test.
    own = submissions.test_of(submission, form.test_content)
    try:
        taken = outbox.find_submission(own, own.id) or outbox.submit(
            [form.test_message()],
            member=member,
            submission=own,
            content_hash=own.id,
            credentials=members.credentials(),
        )
    except FormSpent as spent:
        return kept_form(member, spent_note(spent), 409)
    except DailyLimitReached:
        return form_page(member, submission, form=form, note=words.daily_limit(), status=429)
    except OnHold:
        return form_page(member, submission, form=form, note=words.on_hold(), status=503)
    page = url_for("messages.compose", draft=submission.id, test=taken.message_id)
    return redirect(page, 303)


@blueprint.get("/messages/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    sending.settle_stale()
    message = visible_or_404(Message, id, member)
    if members.wants_json():
        return jsonify(_as_json(message))
    return message_page(message, member)


@blueprint.get("/messages/<id>/again")
def again(id: str, member: Member) -> ResponseReturnValue:
    """The form, filled with this message; sending it makes a new message linked to this one."""
    message = own_or_404(Message, id, member)
    if message.outcome in UNSETTLED:
        abort(404)
    submission = submissions.new_submission(member, previous=message.id)
    return form_page(member, submission, prefill=_as_fields(message))


@blueprint.get("/messages/<id>/edit")
def edit(id: str, member: Member) -> ResponseReturnValue:
    """The form with a planned message, which can be changed until it goes to sipgate."""
    message = own_or_404(Message, id, member)
    if message.outcome != Outcome.HELD:
        return too_late(message)
    submission = submissions.new_submission(member)
    return form_page(member, submission, prefill=_as_fields(message), editing=message)


@blueprint.post("/messages/<id>/edit")
def change(id: str, member: Member) -> ResponseReturnValue:
    message = own_or_404(Message, id, member)
    form = form_of(member, _as_fields(message))
    submission = submissions.new_submission(member)
    if not form.validate():
        return form_page(member, submission, form=form, editing=message, status=422)
    if len(form.numbers) > 1:
        note = _("Enter one number: a planned message goes to one recipient.")
        return form_page(member, submission, form=form, editing=message, note=note, status=422)
    if not waiting.edit(message, form.checked()[0], member):
        return too_late(message)
    tasks.wake(message.id)
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/cancel")
def cancel(id: str, member: Member) -> ResponseReturnValue:
    message = managed_or_404(Message, id, member)
    became = waiting.withdraw(message, member)
    if became is None:
        return too_late(message)
    if became == Outcome.CANCELLED:  # else its page says what is wished
        flash(_("Withdrawn. It was not sent."), "success")
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/settle")
def settle(id: str, member: Member) -> ResponseReturnValue:
    """A person's word on what became of an unknown message."""
    message = _answerable_or_404(id, member)
    said = request.form.get("outcome", "")
    if said not in settling.A_PERSON_MAY_SAY:
        abort(422)
    settling.say(message, Outcome(said), member)
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/<id>/look")
def look(id: str, member: Member) -> ResponseReturnValue:
    """Look in sipgate's history once more."""
    entries = settling.look(_answerable_or_404(id, member), by=member)
    message = visible_or_404(Message, id, member)
    if message.outcome == Outcome.UNKNOWN:
        return message_page(message, member, entries=entries, looked=True)
    return redirect(url_for("messages.show", id=message.id), 303)


def _answerable_or_404(id: str, member: Member) -> Message:
    message = managed_or_404(Message, id, member)
    if not settling.may_answer(message, member):
        abort(404)
    return message


def kept_form(member: Member, note: str, status: int) -> ResponseReturnValue:
    """What was typed, with a fresh id: for a form that could not be taken as it was."""
    return form_page(member, submissions.new_submission(member), note=note, status=status)


def form_of(member: Member, prefill: dict[str, str] | None = None) -> ComposeForm:
    known = account.extensions(member, members.credentials())
    said = {name: value for name, value in (prefill or {}).items() if value}
    chosen = {"sms_id": member.last_extension_id or "", "own_number": member.own_number, **said}
    if known.items and known.find(chosen["sms_id"]) is None:
        chosen["sms_id"] = known.items[0].id
    return compose_form(known, **chosen)


def form_page(
    member: Member,
    submission: SubmissionId,
    *,
    form: ComposeForm | None = None,
    prefill: dict[str, str] | None = None,
    editing: Message | None = None,
    tested: Message | None = None,
    asked: list[questions.Question] | None = None,
    note: str = "",
    status: int = 200,
) -> ResponseReturnValue:
    form = form or form_of(member, prefill)
    shown = {item.id: item.caller_id for item in form.extensions.items}
    form.submission_id.data = replace(submission, senders=shown).signed
    trouble = words.EXTENSION_TROUBLES.get(form.extensions.trouble)
    previous = _previous(submission, member)
    text = sms.normalise_text(form.message.data or "")
    page = render_template(
        "compose.html",
        form=form,
        heading=_heading(previous, editing),
        action=url_for("messages.edit", id=editing.id) if editing else url_for("messages.create"),
        extensions=form.extensions.items,
        extensions_note=str(trouble or ""),
        note=note,
        previous=previous,
        tested=tested,
        templates=[] if editing or previous else message_templates.living(member),
        suggests=contacts.SCOPE in settings.scopes,
        to_names=contacts.names_of_typed(member, form.recipient.data or ""),
        counter_table=sms.counter_table(),
        segment_price=settings.segment_price,
        segments=sms.segment(text) if text else None,
        warnings=asked or [],
        confirm_value=questions.confirm_value(asked or []),
        confirm_label=questions.confirm_label(form) if asked else "",
    )
    return page, status


def _previous(submission: SubmissionId, member: Member) -> Message | None:
    """What the form sends again, unless it was erased meanwhile."""
    id_ = submission.previous
    found = db.session.get(Message, id_, populate_existing=True) if id_ else None
    return found if found and found.member_id == member.id else None


def _heading(previous: Message | None, editing: Message | None) -> str:
    if editing:
        return str(_("Change the message"))
    return str(_("Send again") if previous else _("New message"))


def page_of(taken: Submitted) -> str:
    """Where what a form became is shown."""
    if taken.batch_id:
        return url_for("batches.show", id=taken.batch_id)
    return url_for("messages.show", id=taken.message_id)


def message_page(
    message: Message,
    member: Member,
    *,
    form: ComposeForm | None = None,
    kept: questions.AfterAll | None = None,
    asked: list[questions.Question] | None = None,
    entries: tuple[Any, ...] = (),
    looked: bool = False,
    status: int = 200,
) -> ResponseReturnValue:
    followups = db.session.scalars(
        sa.select(Message).where(Message.previous_id == message.id).order_by(Message.created_at)
    )
    contacts.learn_names(member, [message.recipient])
    is_own = message.member_id == member.id
    manages = is_own or member.is_admin
    needs_time = is_own and message.outcome in STUCK
    is_unknown = message.outcome == Outcome.UNKNOWN and settling.may_answer(message, member)
    page = render_template(
        "message.html",
        message=message,
        followups=list(followups),
        can_send_again=is_own and message.outcome in REPEATABLE,
        can_edit=is_own and message.outcome == Outcome.HELD,
        can_withdraw=manages and waiting.can_withdraw(message),
        can_be_done=manages and attention.can_be_done(message),
        can_settle=is_unknown,
        can_look=is_unknown and settling.may_look(member),
        handover_at=waiting.handover_at(message),
        time_form=(form or time_form(message, member)) if needs_time else None,
        is_time_over=message.send_at is not None and not attention.is_time_ahead(message),
        warnings=asked or [],
        confirm_value=questions.confirm_value(asked or []),
        confirm_label=questions.confirm_label(kept) if kept else "",
        entries=entries,
        looked=looked,
        reload=message.outcome == Outcome.SENDING,
    )
    return page, status


def too_late(message: Message) -> ResponseReturnValue:
    """It is not as the page showed it: say what is known of it now, and no more."""
    db.session.refresh(message)
    flash(words.too_late(message), "warning")
    return redirect(url_for("messages.show", id=message.id), 303)


def time_form(message: Message, member: Member) -> ComposeForm:
    """When a missed or paused message goes after all: at its planned time, if that is ahead."""
    planned = {"time_zone": message.time_zone}
    if message.send_at and attention.is_time_ahead(message):
        planned = words.local_time_fields(message.send_at, message.time_zone)
    chosen = {name: request.form.get(name, planned.get(name)) for name in ("send_at", "time_zone")}
    if any(planned.get(name) != value for name, value in chosen.items()):
        planned.pop("fold", None)  # of two equal clock times, this one is not meant any more
    return form_of(member, planned)


def _as_fields(message: Message) -> dict[str, str]:
    """A message as the fields of the form."""
    fields = {
        "sms_id": message.extension_id,
        "recipient": message.recipient,
        "message": message.text,
    }
    if message.outcome == Outcome.HELD and message.send_at:
        fields.update(words.local_time_fields(message.send_at, message.time_zone))
    return fields


def _welcome() -> ResponseReturnValue:
    permissions = [{"scope": scope, "why": words.scope_words(scope)} for scope in settings.scopes]
    return render_template(
        "welcome.html", permissions=permissions, sign_in_url=url_for("auth.login")
    )


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
        "created_at": message.created_at.isoformat(),
        "member": message.member.name,
    }
