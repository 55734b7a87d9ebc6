"""Groups of people whom the account writes to again and again: filled by hand, from contacts, or
from a list."""

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
from flask_babel import ngettext

from webapp.account import contacts, recipients
from webapp.config import settings
from webapp.database import db
from webapp.database.models import Group, Member, UploadedList
from webapp.i18n import sentences
from webapp.messages import blocked, groups, visibility
from webapp.messages.groups import (
    MAX_GROUPS,
    MAX_NAME_CHARACTERS,
    MAX_PEOPLE,
    Gone,
    People,
    TooMany,
)
from webapp.messages.lists import reminders, uploads
from webapp.rules.cells import cell_text
from webapp.rules.numbers import RecipientRefused, parse_listed
from webapp.rules.text import normalise_text
from webapp.rules.times import now
from webapp.web.forms import MAX_NAMED_PROBLEMS, whole_number
from webapp.web.lists import own_open_list
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("groups", __name__)

PAGE_SIZE = 100
MAX_WORDS_CHARACTERS = 100


@blueprint.get("/groups")
def index(member: Member) -> ResponseReturnValue:
    return _index_page(member)


@blueprint.post("/groups")
def create(member: Member) -> ResponseReturnValue:
    name, people = _typed_name(), request.form.get("people", "")
    found, error = _read(member, people)
    errors = {"name": _name_problem(name), "people": error}
    if any(errors.values()):
        return _index_page(member, errors=errors, status=422)
    try:
        group = groups.make(member, name, found)
    except TooMany:
        return _index_page(member, errors={"name": _too_many()}, status=422)
    return redirect(url_for("groups.show", id=group.id), 303)


@blueprint.get("/groups/<id>")
def show(id: str, member: Member) -> ResponseReturnValue:
    return _group_page(_active_or_404(id, member), member)


@blueprint.post("/groups/<id>/name")
def rename(id: str, member: Member) -> ResponseReturnValue:
    group, name = _active_or_404(id, member), _typed_name()
    if problem := _name_problem(name):
        return _group_page(group, member, errors={"name": problem}, status=422)
    version = request.form.get("version", 0, type=whole_number)
    if not groups.rename(group, member, name, version):
        db.session.refresh(group)
        changed = _("%(name)s has changed this group in the meantime.", name=group.changed_by.name)
        return _group_page(group, member, errors={"name": changed}, status=409)
    return redirect(url_for("groups.show", id=id), 303)


@blueprint.post("/groups/<id>/people")
def add(id: str, member: Member) -> ResponseReturnValue:
    """Add people by hand, or contacts that were ticked."""
    group = _active_or_404(id, member)
    found, error = _read(member, request.form.get("people", ""))
    found = {**_of_contacts(member), **found}
    if not error and not found:
        error = _("Enter at least one number, or tick a contact.")
    if error:
        return _group_page(group, member, errors={"people": error}, status=422)
    try:
        count = groups.add(group, member, found)
    except TooMany:
        return _group_page(group, member, errors={"people": _too_many()}, status=422)
    except Gone:
        abort(404)
    flash(ngettext("%(num)s person was added.", "%(num)s people were added.", count), "success")
    return redirect(url_for("groups.show", id=id), 303)


@blueprint.post("/groups/<id>/remove")
def remove(id: str, member: Member) -> ResponseReturnValue:
    group = _active_or_404(id, member)
    try:
        count = groups.remove(group, member, request.form.getlist("number")[:PAGE_SIZE])
    except Gone:
        abort(404)
    flash(ngettext("%(num)s person was removed.", "%(num)s people were removed.", count), "success")
    return redirect(url_for("groups.show", id=id), 303)


@blueprint.post("/groups/<id>/needed")
def needed(id: str, member: Member) -> ResponseReturnValue:
    groups.still_needed(_active_or_404(id, member))
    return redirect(url_for("groups.show", id=id), 303)


@blueprint.post("/groups/<id>/delete")
def delete(id: str, member: Member) -> ResponseReturnValue:
    groups.delete(_active_or_404(id, member), member)
    flash(_("Deleted. The group can be restored for 30 days."), "success")
    return redirect(url_for("groups.index"), 303)


@blueprint.post("/groups/<id>/restore")
def restore(id: str, member: Member) -> ResponseReturnValue:
    group = groups.find(member, id)
    if group is None or group.deleted_at is None:
        abort(404)
    try:
        groups.restore(group, member)
        flash(_("Group restored."), "success")
    except TooMany:
        flash(_too_many(), "warning")
    return redirect(url_for("groups.index"), 303)


@blueprint.get("/groups/<id>/people.csv")
def export(id: str, member: Member) -> ResponseReturnValue:
    """All people of a group, for administrators."""
    group = _active_or_404(id, member)
    if not visibility.manages_account(member):
        abort(403)
    response = Response(stream_with_context(_lines(group)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="group-{group.id[:8]}.csv"'
    return response


@blueprint.post("/lists/<id>/group")
def keep_list(id: str, member: Member) -> ResponseReturnValue:
    """Keep the people of a list as a group: all with a number, and what the text needs of them,
    without their appointments."""
    kept, name = own_open_list(id, member), _typed_name()
    if problem := _name_problem(name):
        flash(problem, "warning")
        return redirect(url_for("list_check.show", id=id), 303)
    try:
        group = groups.make(member, name, _of_list(kept))
    except TooMany:
        flash(_too_many(), "warning")
        return redirect(url_for("list_check.show", id=id), 303)
    flash(_("Kept as a group. The list itself can still be sent."), "success")
    return redirect(url_for("groups.show", id=group.id), 303)


# --- What was typed ---------------------------------------------------------------------------


def _typed_name() -> str:
    return normalise_text(" ".join(request.form.get("name", "").split()))


def _name_problem(name: str) -> str:
    if not name or not name.isprintable():
        return str(_("Enter a name that tells it apart from the other groups."))
    if len(name) > MAX_NAME_CHARACTERS:
        most = MAX_NAME_CHARACTERS
        return str(_("Shorten the name: it may have at most %(most)d characters.") % {"most": most})
    return ""


def _too_many() -> str:
    return str(
        _(
            "At most %(groups)s groups can be kept, and %(people)s people in each.",
            groups=MAX_GROUPS,
            people=MAX_PEOPLE,
        )
    )


def _read(member: Member, typed: str) -> tuple[People, str]:
    """The people in a field, one in each line, and what is wrong with some of them."""
    found = recipients.read(member, typed, most=MAX_PEOPLE + 1) if typed.strip() else []
    refused = dict.fromkeys(
        sentences.recipient_problem(one.refused) for one in found if one.refused
    )
    people: dict[str, dict[str, str]] = {}
    for one in found:
        if one.number and not people.get(one.number, {}).get(_("Name")):
            people[one.number] = {_("Name"): one.name}
    return people, " ".join(list(refused)[:MAX_NAMED_PROBLEMS])


def _of_contacts(member: Member) -> dict[str, dict[str, str]]:
    found = (contacts.find_one(member, id_) for id_ in request.form.getlist("contact")[:PAGE_SIZE])
    return {one.number: {_("Name"): one.name} for one in found if one and one.number}


def _of_list(kept: UploadedList) -> People:
    mapped, columns, rows = uploads.mapped_of(kept), uploads.columns_of(kept), uploads.rows_of(kept)
    if mapped is None:
        abort(409)
    times = reminders.time_columns(columns, rows).all
    people: dict[str, dict[str, str]] = {}
    for row in rows:
        cells = dict(zip((one.letter for one in columns), row.cells, strict=True))
        try:
            number = parse_listed(cell_text(cells[mapped.number]), settings.default_region).number
        except RecipientRefused:
            continue
        people.setdefault(
            number,
            {
                one.name or one.letter: cell_text(cells[one.letter])
                for one in columns
                if one.letter not in {mapped.number, *times}
            },
        )
    return people


# --- What is shown ----------------------------------------------------------------------------


def _active_or_404(id_: str, member: Member) -> Group:
    group = groups.find(member, id_)
    if group is None or group.deleted_at is not None:
        abort(404)
    return group


def _index_page(
    member: Member, *, errors: dict[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    page = render_template(
        "groups.html",
        active=groups.active(member),
        deleted=groups.deleted(member),
        errors={field: error for field, error in (errors or {}).items() if error},
        typed={name: request.form.get(name, "") for name in ("name", "people")},
    )
    return page, status


def _group_page(
    group: Group, member: Member, *, errors: dict[str, str] | None = None, status: int = 200
) -> ResponseReturnValue:
    after = request.args.get("after", "")
    found = groups.people(group, after=after, limit=PAGE_SIZE + 1)
    words = " ".join(request.values.get("q", "").split())[:MAX_WORDS_CHARACTERS]
    offered = contacts.find(member, words, limit=PAGE_SIZE) if words else []
    shown = found[:PAGE_SIZE]
    page = render_template(
        "group.html",
        group=group,
        size=groups.size(group),
        people=shown,
        more=shown[-1].number if len(found) > PAGE_SIZE else None,
        blocked=blocked.among(db.session, member.account_id, {one.number for one in shown}),
        words=words,
        offered=[one for one in offered if one.number],
        asks_if_needed=group.used_at < now() - groups.UNUSED_AFTER,
        may_export=visibility.manages_account(member),
        errors=errors or {},
        typed={name: request.form.get(name) for name in ("name", "people")},
    )
    return page, status


def _lines(group: Group) -> Iterator[str]:
    yield csv_text([[_("Number"), *group.columns]], first=True)
    for chunk in groups.iter_chunks(group):
        yield csv_text(
            [one.number, *(str(one.cells.get(name, "")) for name in group.columns)] for one in chunk
        )
