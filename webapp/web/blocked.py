"""The numbers that want no more texts: the list, noting one, lifting one, the export."""

from collections.abc import Iterator

from flask import (
    Blueprint,
    Response,
    abort,
    flash,
    redirect,
    render_template,
    request,
    stream_with_context,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.account import contacts
from webapp.database.models import BlockedNumber, Member
from webapp.i18n import sentences
from webapp.messages import blocked, visibility
from webapp.messages.blocked import How
from webapp.rules.numbers import phone
from webapp.rules.times import now
from webapp.web import guard
from webapp.web.forms import BlockForm
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("blocked", __name__)

PAGE_SIZE = 50
MAX_WORDS_CHARACTERS = 100


@blueprint.get("/blocked")
def index(member: Member) -> ResponseReturnValue:
    """The list, and the form; `contact` names whose number stands in it."""
    contact = contacts.find_one(member, request.args.get("contact", ""))
    number = phone(contact.number) if contact and contact.number else ""
    return _list_page(member, BlockForm(formdata=None, number=number))


@blueprint.post("/blocked")
def add(member: Member) -> ResponseReturnValue:
    """Note one number or several. What waits for them is withdrawn."""
    form = BlockForm()
    if not form.validate():
        return _list_page(member, form, status=422)
    noted = blocked.note(form.numbers, How(form.how.data), member)
    flash(sentences.noted_blocked(noted), "success")
    back = guard.safe_next(request.form.get("next") or url_for("blocked.index"))
    return redirect(back, 303)


@blueprint.post("/blocked/<id>/lift")
def lift(id: str, member: Member) -> ResponseReturnValue:
    """Let texts be sent there again, after a question."""
    row = _liftable_or_404(id, member)
    if request.form.get("confirm") != "lift":
        return render_template("blocked_lift.html", row=row, hows=sentences.HOW_BLOCKED), 409
    blocked.lift(row, member)
    flash(_("Lifted. Texts can be sent there again."), "success")
    return redirect(url_for("blocked.index"), 303)


@blueprint.get("/blocked.csv")
def export(member: Member) -> ResponseReturnValue:
    """All entries as a spreadsheet, for administrators."""
    if not visibility.manages_account(member):
        abort(404)
    response = Response(stream_with_context(_csv_lines(member)), mimetype="text/csv")
    name = f"do-not-write-to-{now():%Y-%m-%d}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _list_page(member: Member, form: BlockForm, status: int = 200) -> ResponseReturnValue:
    words = " ".join(request.args.get("q", "").replace("\x00", "").split())[:MAX_WORDS_CHARACTERS]
    before = request.args.get("before")
    last = _visible_or_404(before, member) if before else None
    found = blocked.page(member, words, before=last, limit=PAGE_SIZE + 1)
    older = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    contacts.preload_names(member, {row.number for row in found if row.number})
    page = render_template(
        "blocked.html",
        form=form,
        rows=found[:PAGE_SIZE],
        hows=sentences.HOW_BLOCKED,
        typed=words,
        can_export=visibility.manages_account(member),
        may_lift=lambda row: blocked.may_lift(row, member),
        older_url=url_for("blocked.index", q=words or None, before=older) if older else None,
    )
    return page, status


def _visible_or_404(id_: str, member: Member) -> BlockedNumber:
    row = blocked.find(id_, member)
    if row is None:
        abort(404)
    return row


def _liftable_or_404(id_: str, member: Member) -> BlockedNumber:
    row = _visible_or_404(id_, member)
    if not blocked.may_lift(row, member):
        abort(404)
    return row


def _csv_lines(member: Member) -> Iterator[str]:
    yield csv_text([[_("Number"), _("Noted on"), _("Noted by"), _("How they said so")]], first=True)
    for chunk in blocked.iter_chunks(member):
        yield csv_text(
            [
                row.number or "",
                row.noted_at.isoformat(timespec="seconds"),
                row.noted_by.name,
                str(sentences.HOW_BLOCKED[How(row.how)]),
            ]
            for row in chunk
        )
