"""Writing a message: the form, and its taking."""

from collections import Counter
from dataclasses import replace
from typing import Any

from flask import Blueprint, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.account import cache, contacts, recipients
from webapp.account.recipients import Recipient
from webapp.config import settings
from webapp.database import db, idempotency
from webapp.database.daily_limit import DailyLimitReached
from webapp.database.idempotency import FormSpent, NotTaken, OnHold, SubmissionId
from webapp.database.models import Member, Message
from webapp.i18n import compose as words
from webapp.i18n import sentences
from webapp.jobs import tasks
from webapp.messages import blocked, drafts, history, message_templates, submit, visibility
from webapp.messages.blocked import NumbersBlocked
from webapp.messages.submit import NewMessage, Submitted
from webapp.rules.outcomes import WAITING, Outcome
from webapp.rules.text import normalise_text, segment
from webapp.web import guard, limits, questions
from webapp.web.forms import (
    MAX_RECIPIENTS,
    ComposeForm,
    NotReady,
    compose_form,
    spent_note,
)
from webapp.web.guard import own_or_404, public, visible_or_404

blueprint = Blueprint("compose", __name__)

UNSETTLED = (Outcome.SENDING, *WAITING)


@blueprint.get("/")
@public
def compose() -> ResponseReturnValue:
    member = guard.current_member()
    if member is None:
        return _welcome()
    draft = drafts.find_draft(request.args.get("draft", ""), member)
    if draft is None:
        return form_page(member, idempotency.new_submission(member), prefill=_start(member))
    # The kept form was never taken, so it goes on under the id it had.
    submission = drafts.submission_of(draft)
    test = request.args.get("test")
    tested = own_or_404(Message, test, member) if test else None
    return form_page(member, submission, prefill=drafts.fields_of(draft), tested=tested)


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
        start |= {"message": template.text, "template_id": template.id}
    return start


@blueprint.post("/messages")
@limits.counts_as_send
def create(member: Member) -> ResponseReturnValue:
    submission = submission_of(member)
    if submission is None:
        return unrecognised(member)

    def checked() -> list[NewMessage]:
        form = form_of(member)
        is_filled = form.fill_in()
        if not form.validate():
            raise NotReady(form=form, status=422)
        asked = questions.questions_about(form, member, submission, is_filled=is_filled)
        if questions.unanswered(asked, request.form.get("confirm", "")):
            # What cannot be sent is not asked about; without questions, `submit` looks.
            blocked.require_none(db.session, member.account_id, form.numbers)
            raise NotReady(form=form, asked=asked, status=409)
        return form.checked()

    try:
        taken = submit.submit(
            checked,
            member=member,
            submission=submission,
            content_hash=idempotency.content_hash(request.form),
            credentials=guard.credentials(),
        )
    except FormSpent as spent:
        return kept_form(member, spent_note(spent), 409)
    except NotTaken as refused:
        return _not_taken(member, submission, refused)
    if taken.batch_id:
        tasks.start_batch(taken.batch_id)
    return redirect(page_of(taken), 303)


def _not_taken(member: Member, submission: SubmissionId, refused: NotTaken) -> ResponseReturnValue:
    """The form once more, with the reason. Its id is unused."""
    if isinstance(refused, NotReady):
        return form_page(member, submission, **refused.shown)
    if isinstance(refused, NumbersBlocked):
        return refused_page(member, submission, refused)
    if isinstance(refused, DailyLimitReached):
        return form_page(member, submission, note=sentences.daily_limit(), status=429)
    return form_page(member, submission, note=sentences.on_hold(), status=503)


@blueprint.post("/recipients")
def read_recipients(member: Member) -> ResponseReturnValue:
    """What is typed in the field "To" means, for its tokens; nothing is kept. A POST, because
    numbers do not belong into addresses."""
    typed = request.form.get("recipient", "")
    found = recipients.with_names(member, recipients.read(member, typed, most=MAX_RECIPIENTS))
    each = Counter(one.number for one in found if one.number)
    doubles = sum(count > 1 for count in each.values())
    shown = _as_json(found)
    problem = next((one["problem"] for one in shown if one["problem"]), "")
    note = f"{problem} {words.twice(doubles) if doubles else ''}".strip()
    return jsonify(recipients=shown, note=note)


def _as_json(found: list[Recipient]) -> list[dict[str, str]]:
    return [
        {
            "typed": one.typed,
            "shown": one.name or one.typed,
            "number": one.number,
            "first_name": one.first_name,
            "problem": sentences.recipient_problem(one.refused) if one.refused else "",
        }
        for one in found[:MAX_RECIPIENTS]
    ]


@blueprint.post("/test-message")
@limits.counts_as_send
def test(member: Member) -> ResponseReturnValue:
    """Send what is typed to oneself, and go on with the form as it was."""
    submission = submission_of(member)
    if submission is None:
        return unrecognised(member)
    form = form_of(member)
    form.fill_in()
    if not form.validate_test():
        return form_page(member, submission, form=form, status=422)
    if not drafts.fits_draft(request.form):
        note = _("That is more than we can keep. Nothing was sent. Shorten it.")
        return form_page(member, submission, form=form, note=note, status=422)
    contacts.keep_own_number(member, form.checked_own_number)
    # Before anything is sent: a page that says that nothing was must be right.
    drafts.keep_draft(submission, {**request.form, "message": form.message.data or ""})
    # Its own id, made from the form's and the text: pressed twice, it is one test.
    own = idempotency.test_of(submission, form.test_content)
    try:
        taken = submit.submit(
            lambda: [form.test_message()],
            member=member,
            submission=own,
            content_hash=own.id,
            credentials=guard.credentials(),
        )
    except NumbersBlocked as refused:
        form.own_number.errors = [sentences.numbers_blocked(refused.found)]
        return form_page(member, submission, form=form, status=422)
    except FormSpent as spent:
        return kept_form(member, spent_note(spent), 409)
    except DailyLimitReached:
        return form_page(member, submission, form=form, note=sentences.daily_limit(), status=429)
    except OnHold:
        return form_page(member, submission, form=form, note=sentences.on_hold(), status=503)
    page = url_for("compose.compose", draft=submission.id, test=taken.message_id)
    return redirect(page, 303)


@blueprint.get("/messages/<id>/again")
def again(id: str, member: Member) -> ResponseReturnValue:
    """The form, filled with this message; sending it makes a new message linked to this one."""
    message = own_or_404(Message, id, member)
    if message.outcome in UNSETTLED:
        abort(404)
    submission = idempotency.new_submission(member, previous=message.id)
    return form_page(member, submission, prefill=as_fields(message))


def refused_page(
    member: Member,
    submission: SubmissionId,
    refused: NumbersBlocked,
    editing: Message | None = None,
) -> ResponseReturnValue:
    """The form once more: some of its recipients want no more texts."""
    form = form_of(member)
    form.validate()
    form.recipient.errors = [sentences.numbers_blocked(refused.found)]
    return form_page(member, submission, form=form, editing=editing, status=422)


def submission_of(member: Member) -> SubmissionId | None:
    """The id of the form that was sent, or None if it is not one of this member's."""
    submission = idempotency.read_submission(request.form.get("submission_id", ""))
    return submission if submission and submission.member_id == member.id else None


def unrecognised(member: Member) -> ResponseReturnValue:
    note = _(
        "This page could not be recognised. Nothing was sent. Check your message and send it again."
    )
    return kept_form(member, note, 422)


def kept_form(member: Member, note: str, status: int) -> ResponseReturnValue:
    """What was typed, with a fresh id: for a form that could not be taken as it was."""
    return form_page(member, idempotency.new_submission(member), note=note, status=status)


def form_of(member: Member, prefill: dict[str, str] | None = None) -> ComposeForm:
    known = cache.extensions(member, guard.credentials())
    params = {name: value for name, value in (prefill or {}).items() if value}
    chosen = {"sms_id": member.last_extension_id or "", "own_number": member.own_number, **params}
    if known.items and known.find(chosen["sms_id"]) is None:
        chosen["sms_id"] = known.items[0].id
    return compose_form(member, known, **chosen)


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
    trouble = sentences.EXTENSION_TROUBLES.get(form.extensions.trouble)
    previous = _previous(submission, member)
    is_new = not editing and not previous
    page = render_template(
        "compose.html",
        form=form,
        heading=_heading(previous, editing),
        action=url_for("messages.edit", id=editing.id) if editing else url_for("compose.create"),
        is_new=is_new,
        editing=editing,
        extensions=form.extensions.items,
        extensions_note=str(trouble or ""),
        note=note,
        previous=previous,
        tested=tested,
        templates=message_templates.active(member),
        recipients=_as_json(form.named_recipients),
        fills=form.fills,
        suggests=contacts.SCOPE in settings.scopes,
        warnings=asked or [],
        confirm_value=questions.confirm_value(asked or []),
        confirm_label=questions.confirm_label(form) if asked else "",
        **_words(form, is_asked=bool(asked)),
    )
    return page, status


def _words(form: ComposeForm, *, is_asked: bool) -> dict[str, Any]:
    """What the page says of the text and on its button, and what its script needs to go on."""
    text = normalise_text(form.message.data or "")
    found = segment(text) if text else None
    # Numbers are known once the form has been read.
    recipient_count = max(1, len(getattr(form, "numbers", ())))
    changing = str(_("Send the edited message")) if is_asked else ""
    price = settings.segment_price
    return {
        "recipient_count": recipient_count,
        "count_line": words.count_line(found, price, recipient_count),
        "dear_line": words.dear_line(found),
        "send_label": changing or _("Send"),
        "shows_date": bool(form.send_at.data or form.send_at.errors or form.time_zone.errors),
        "for_script": words.for_script(
            price, changing=changing, asks_which_time=bool(form.fold.choices)
        ),
    }


def _previous(submission: SubmissionId, member: Member) -> Message | None:
    """What the form sends again, unless it was erased meanwhile."""
    id_ = submission.previous
    found = history.find(Message, id_, member) if id_ else None
    return found if found and visibility.owns(member, found) else None


def _heading(previous: Message | None, editing: Message | None) -> str:
    if editing:
        return str(_("Change the message"))
    return str(_("Send again") if previous else _("New message"))


def page_of(taken: Submitted) -> str:
    """Where what a form became is shown."""
    if taken.batch_id:
        return url_for("batches.show", id=taken.batch_id)
    return url_for("messages.show", id=taken.message_id)


def as_fields(message: Message) -> dict[str, str]:
    """A message as the fields of the form."""
    fields = {
        "sms_id": message.extension_id,
        "recipient": message.recipient,
        "message": message.text,
        "template_id": message.template_id or "",
    }
    if message.outcome == Outcome.HELD and message.send_at:
        fields.update(sentences.local_time_fields(message.send_at, message.time_zone))
    return fields


def _welcome() -> ResponseReturnValue:
    permissions = [
        {"scope": scope, "why": sentences.scope_words(scope)} for scope in settings.scopes
    ]
    return render_template(
        "welcome.html", permissions=permissions, sign_in_url=url_for("signin.login")
    )
