"""Writing a message, and what became of it."""

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp import account, members, sending, sms, submissions, words
from webapp.extensions import db, settings
from webapp.forms import ComposeForm, compose_form
from webapp.members import own_or_404, public
from webapp.models import Member, Message
from webapp.outcomes import Outcome
from webapp.sending import ContentChanged
from webapp.submissions import SubmissionId

blueprint = Blueprint("messages", __name__)

PAGE_SIZE = 50
REPEATABLE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.UNKNOWN)
UNSETTLED = (Outcome.SENDING, Outcome.QUEUED, Outcome.HELD)


@blueprint.get("/")
@public
def compose() -> ResponseReturnValue:
    member = members.current_member()
    if member is None:
        return _welcome()
    draft = submissions.find_draft(request.args.get("draft", ""), member)
    if draft is None:
        return _form_page(member, submissions.new_submission(member))
    # The kept form was never taken, so it goes on under the id it had.
    return _form_page(member, SubmissionId(draft.submission, member.id), prefill=draft.fields)


@blueprint.post("/messages")
def create(member: Member) -> ResponseReturnValue:
    submission = submissions.read_submission(request.form.get("submission_id", ""))
    if submission is None or submission.member_id != member.id:
        note = _("This form could not be recognised. Check the message and send it once more.")
        return _form_page(member, submissions.new_submission(member), note=note, status=422)
    content = submissions.content_hash(request.form)
    try:
        message_id = sending.find_submission(submission, content)
        if message_id is None:
            form = _form_of(member)
            if not form.validate():
                return _form_page(member, submission, form=form, status=422)
            message_id = sending.submit(
                form.checked(),
                member=member,
                submission=submission,
                content_hash=content,
                credentials=members.credentials(),
            )
    except ContentChanged:
        note = _(
            "This form was already used for another message, which is not sent twice. "
            "Check what it says now, and send it if you mean it."
        )
        return _form_page(member, submissions.new_submission(member), note=note, status=409)
    return redirect(url_for("messages.show", id=message_id), 303)


@blueprint.get("/messages")
def index(member: Member) -> ResponseReturnValue:
    sending.settle_stale()
    query = sa.select(Message).where(Message.member_id == member.id)
    before = request.args.get("before")
    if before:
        last = own_or_404(before, member)
        query = query.where(
            sa.tuple_(Message.created_at, Message.id) < sa.tuple_(last.created_at, last.id)
        )
    query = query.order_by(Message.created_at.desc(), Message.id.desc()).limit(PAGE_SIZE + 1)
    found = list(db.session.scalars(query))
    older = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    return render_template(
        "messages.html",
        messages=found[:PAGE_SIZE],
        older_url=url_for("messages.index", before=older) if older else None,
    )


@blueprint.get("/messages/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    sending.settle_stale()
    message = own_or_404(id, member)
    if members.wants_json():
        return jsonify(_as_json(message))
    followups = db.session.scalars(
        sa.select(Message).where(Message.previous_id == id).order_by(Message.created_at)
    )
    return render_template(
        "message.html",
        message=message,
        followups=list(followups),
        can_send_again=message.outcome in REPEATABLE,
        reload=message.outcome == Outcome.SENDING,
    )


@blueprint.get("/messages/<id>/again")
def again(id: str, member: Member) -> ResponseReturnValue:
    """The form, filled with this message; sending it makes a new message linked to this one."""
    message = own_or_404(id, member)
    if message.outcome in UNSETTLED:
        abort(404)
    prefill = {
        "sms_id": message.extension_id,
        "recipient": message.recipient,
        "message": message.text,
    }
    submission = submissions.new_submission(member, previous=message.id)
    return _form_page(member, submission, prefill=prefill)


def kept_form(member: Member, note: str, status: int) -> ResponseReturnValue:
    """What was typed, with a fresh id: for a form that could not be taken as it was."""
    return _form_page(member, submissions.new_submission(member), note=note, status=status)


def _form_of(member: Member, prefill: dict[str, str] | None = None) -> ComposeForm:
    known = account.extensions(member, members.credentials())
    chosen = {"sms_id": member.last_extension_id or "", **(prefill or {})}
    if known.items and known.find(chosen["sms_id"]) is None:
        chosen["sms_id"] = known.items[0].id
    return compose_form(known, **chosen)


def _form_page(
    member: Member,
    submission: SubmissionId,
    *,
    form: ComposeForm | None = None,
    prefill: dict[str, str] | None = None,
    note: str = "",
    status: int = 200,
) -> ResponseReturnValue:
    form = form or _form_of(member, prefill)
    form.submission_id.data = submission.signed
    trouble = words.EXTENSION_TROUBLES.get(form.extensions.trouble)
    previous = own_or_404(submission.previous, member) if submission.previous else None
    text = sms.normalise_text(form.message.data or "")
    page = render_template(
        "compose.html",
        form=form,
        heading=_("Send again") if previous else _("New message"),
        action=url_for("messages.create"),
        extensions=form.extensions.items,
        extensions_note=str(trouble or ""),
        note=note,
        previous=previous,
        counter_table=sms.counter_table(),
        segments=sms.segment(text) if text else None,
        warnings=[],
        confirm_value="",
        confirm_label="",
        min_time="",
        max_time="",
    )
    return page, status


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
        "sms_id": message.extension_id,
        "recipient": message.recipient,
        "message": message.text,
        "segments": message.segment_count,
        "send_at": message.send_at.isoformat() if message.send_at else None,
        "created_at": message.created_at.isoformat(),
        "member": message.member.name,
    }
