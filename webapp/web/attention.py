"""Messages that need attention: their count, and marking them done, resuming, releasing."""

from flask import Blueprint, abort, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from webapp.account import cache
from webapp.database.models import Batch, Member, Message
from webapp.jobs import tasks
from webapp.messages import attention, batches, changes
from webapp.rules.outcomes import NEEDS_RESUME, Outcome
from webapp.web import guard, questions
from webapp.web.batches import batch_page
from webapp.web.forms import ComposeForm
from webapp.web.guard import managed_or_404, own_or_404
from webapp.web.messages import message_page, time_form, too_late
from webapp.web.questions import ResumedMessage

blueprint = Blueprint("attention", __name__)


@blueprint.get("/attention")
def count(member: Member) -> ResponseReturnValue:
    """Open pages ask again and again, which does not count as using the session."""
    return jsonify(count=attention.count(member))


@blueprint.post("/messages/<id>/done")
def done(id: str, member: Member) -> ResponseReturnValue:
    message = managed_or_404(Message, id, member)
    if not attention.mark_done(message, member) and message.done_at is None:
        flash(_nothing_to_be_done(message.outcome), "warning")
        return message_page(message, member, status=409)
    return redirect(url_for("messages.show", id=id), 303)


@blueprint.post("/batches/<id>/done")
def batch_done(id: str, member: Member) -> ResponseReturnValue:
    """Mark all messages of a batch with one outcome as done."""
    batch = managed_or_404(Batch, id, member)
    chosen = request.form.get("outcome", "")
    if chosen not in set(Outcome):
        abort(422)
    outcome = Outcome(chosen)
    if outcome not in attention.TO_BE_DONE:
        flash(_nothing_to_be_done(outcome), "warning")
        return batch_page(batch, member, status=409)
    attention.mark_batch_done(batch, outcome, member)
    return redirect(url_for("batches.show", id=id), 303)


@blueprint.post("/messages/<id>/reschedule")
def reschedule(id: str, member: Member) -> ResponseReturnValue:
    """Send a missed or paused message after all: now, or at a time."""
    message = own_or_404(Message, id, member)
    if message.outcome not in NEEDS_RESUME:
        return too_late(message)
    form = time_form(message, member)
    if not _moment_is_clear(form, message):
        return message_page(message, member, form=form, status=422)
    extension = form.extensions.find(message.extension_id)
    resumed = ResumedMessage(message, form.moment, extension)
    asked = questions.questions_about_resumed(resumed, member)
    if questions.unanswered(asked, request.form.get("confirm", "")):
        return message_page(message, member, form=form, resumed=resumed, asked=asked, status=409)
    if not changes.reschedule(message, form.moment, form.zone, member):
        return too_late(message)
    tasks.enqueue_message(message.id)
    return redirect(url_for("messages.show", id=message.id), 303)


@blueprint.post("/messages/release")
def release(member: Member) -> ResponseReturnValue:
    """Release all the member's own paused messages, at their planned times or at once."""
    known = cache.extensions(member, guard.credentials())
    resumed = [
        ResumedMessage(
            message,
            message.send_at if attention.is_time_ahead(message) else None,
            known.find(message.extension_id),
        )
        for message in batches.releasable(member)
    ]
    asked = questions.questions_about_all(resumed, member)
    if questions.unanswered(asked, request.form.get("confirm", "")):
        page = render_template(
            "attention_release.html",
            title=_("Release paused messages"),
            action=url_for("attention.release"),
            view_url=url_for("history.index", tab="attention"),
            warnings=asked,
            confirm_value=questions.confirm_value(asked),
            count=len(resumed),
        )
        return page, 409
    count, batch_ids = batches.release_all(member)
    for batch_id in batch_ids:
        tasks.start_batch(batch_id)
    tasks.enqueue_sweep()
    flash(
        ngettext("%(num)s message was released.", "%(num)s messages were released.", count),
        "success",
    )
    return redirect(url_for("history.index"), 303)


@blueprint.post("/batches/<id>/missed")
def send_missed(id: str, member: Member) -> ResponseReturnValue:
    """Send all missed messages of a batch now, after a question."""
    batch = own_or_404(Batch, id, member)
    missed = batches.missed(batch)
    if not missed:
        flash(_("No message of this batch is missed any more."), "warning")
        return batch_page(batch, member, status=409)
    chosen = cache.extensions(member, guard.credentials()).find(missed[0].extension_id)
    resumed = [ResumedMessage(message, None, chosen) for message in missed]
    asked = questions.questions_about_rest(resumed, member)
    if questions.unanswered(asked, request.form.get("confirm", "")):
        page = render_template(
            "attention_release.html",
            title=_("Send missed messages"),
            action=url_for("attention.send_missed", id=id),
            view_url=url_for("batches.show", id=id, outcome=Outcome.MISSED.value),
            warnings=asked,
            confirm_value=questions.confirm_value(asked),
            count=len(resumed),
        )
        return page, 409
    batches.send_missed(batch, member)
    tasks.start_batch(id)
    return redirect(url_for("batches.show", id=id), 303)


def _moment_is_clear(form: ComposeForm, message: Message) -> bool:
    """Whether the form says when. It must say so if a message with a time ahead goes at once."""
    chosen, is_empty = request.form.get("when"), not (form.send_at.data or "").strip()
    if chosen == "now" or (
        chosen != "planned" and is_empty and not attention.is_time_ahead(message)
    ):
        form.moment = None
        return True
    if is_empty:
        form.send_at.errors = [_("Choose a time, or send it now.")]
        return False
    return form.validate_time()


def _nothing_to_be_done(outcome: Outcome) -> str:
    if outcome == Outcome.UNKNOWN:
        return str(
            _(
                "We do not know yet whether it was sent. Say what you know, or check sipgate's "
                "history."
            )
        )
    if outcome == Outcome.PAUSED:
        return str(_("Paused messages could still be sent: release them, or cancel them."))
    return str(_("Nothing was changed: there is nothing to mark as done here."))
