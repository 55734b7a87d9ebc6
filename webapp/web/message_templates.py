"""The account's message templates: make, change, delete, restore, start a message from one."""

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.database import db
from webapp.database.models import Member, MessageTemplate
from webapp.i18n import sentences
from webapp.messages import message_templates
from webapp.rules.text import joined
from webapp.web import compose, limits
from webapp.web.forms import MessageTemplateForm, whole_number

blueprint = Blueprint("message_templates", __name__, url_prefix="/message-templates")


@blueprint.get("")
def index(member: Member) -> ResponseReturnValue:
    return render_template(
        "message_templates.html",
        active=message_templates.active(member),
        deleted=message_templates.deleted(member),
    )


@blueprint.get("/new")
def new(member: Member) -> ResponseReturnValue:
    return _form_page(MessageTemplateForm())


@blueprint.post("/new")
def create(member: Member) -> ResponseReturnValue:
    form = MessageTemplateForm()
    if not form.validate():
        return _form_page(form, status=422)
    try:
        message_templates.make(member, name=form.checked_name, text=form.checked_text)
    except message_templates.TooMany:
        form.name.errors = [_too_many()]
        return _form_page(form, status=422)
    flash(_("Template saved."), "success")
    return redirect(url_for("message_templates.index"), 303)


@blueprint.get("/<id>")
def use(id: str, member: Member) -> ResponseReturnValue:
    """The form for a message, with this template's text."""
    _active_or_404(id, member)
    return redirect(url_for("compose.compose", template=id))


@blueprint.post("/insert")
@limits.counts_as_send
def insert(member: Member) -> ResponseReturnValue:
    """The form for a message as it was typed, and in it the chosen template's text."""
    submission = compose.submission_of(member)
    if submission is None:
        return compose.unrecognised(member)
    form = compose.form_of(member)
    form.fill_in()
    active = message_templates.active(member)
    chosen = next((one for one in active if one.id == request.form.get("template")), None)
    if chosen is None:
        note = _("This template was deleted meanwhile. Choose another one.")
        return compose.form_page(member, submission, form=form, note=note, status=409)
    form.message.data = joined(form.message.data or "", chosen.text, (one.text for one in active))
    form.template_id.data = chosen.id
    return compose.form_page(member, submission, form=form)


@blueprint.get("/<id>/edit")
def edit(id: str, member: Member) -> ResponseReturnValue:
    template = _active_or_404(id, member)
    form = MessageTemplateForm(data={"name": template.name, "text": template.text})
    return _form_page(form, template)


@blueprint.post("/<id>/edit")
def change(id: str, member: Member) -> ResponseReturnValue:
    template = _active_or_404(id, member)
    form = MessageTemplateForm()
    if not form.validate():
        return _form_page(form, template, status=422)
    if not message_templates.change(
        template,
        member,
        name=form.checked_name,
        text=form.checked_text,
        version=request.form.get("version", 0, type=whole_number),
    ):
        db.session.refresh(template)
        note = _(
            "%(name)s has changed this template in the meantime. Compare the two, and save "
            "yours if it is still right.",
            name=template.changed_by.name,
        )
        return _form_page(form, template, note=note, status=409)
    flash(_("Template saved."), "success")
    return redirect(url_for("message_templates.index"), 303)


@blueprint.post("/<id>/delete")
def delete(id: str, member: Member) -> ResponseReturnValue:
    message_templates.delete(_active_or_404(id, member), member)
    flash(_("Deleted. The template can be restored for 30 days."), "success")
    return redirect(url_for("message_templates.index"), 303)


@blueprint.post("/<id>/restore")
def restore(id: str, member: Member) -> ResponseReturnValue:
    template = message_templates.find(member, id)
    if template is None or template.deleted_at is None:
        abort(404)
    try:
        message_templates.restore(template, member)
        flash(_("Template restored."), "success")
    except message_templates.TooMany:
        flash(_too_many(), "warning")
    return redirect(url_for("message_templates.index"), 303)


def _too_many() -> str:
    return str(_("There are too many templates. Delete one first."))


def _active_or_404(id_: str, member: Member) -> MessageTemplate:
    template = message_templates.find(member, id_)
    if template is None or template.deleted_at is not None:
        abort(404)
    return template


def _form_page(
    form: MessageTemplateForm,
    template: MessageTemplate | None = None,
    *,
    note: str = "",
    status: int = 200,
) -> ResponseReturnValue:
    page = render_template(
        "message_template.html",
        form=form,
        template=template,
        version=template.version if template else 0,
        changes=message_templates.changes(template) if template else [],
        change_words=sentences.TEMPLATE_CHANGES,
        theirs=template.text if template and note else "",
        note=note,
    )
    return page, status
