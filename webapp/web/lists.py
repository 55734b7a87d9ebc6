"""From a spreadsheet: choosing a list, and which column goes where in the text.

The check page, from which a list is sent, is `list_check.py`.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

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
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from webapp.account import cache
from webapp.config import settings
from webapp.database import end_read
from webapp.database.models import Member, UploadedList
from webapp.i18n import lists as words
from webapp.i18n import sentences
from webapp.i18n.formats import local_time, when
from webapp.messages import groups, message_templates
from webapp.messages.lists import check, mapping, reading, uploads
from webapp.messages.lists.mapping import Mapped, Slot
from webapp.messages.lists.reading import Column, ListRefused, Question, ReadList
from webapp.messages.lists.uploads import ListChanged
from webapp.rules.cells import DATE_FORMS, MAX_CELL_CHARACTERS, cell_text
from webapp.rules.text import (
    TextRefused,
    check_unfilled,
    is_blank,
    normalise_text,
    placeholders,
)
from webapp.rules.times import now
from webapp.web import guard, limits
from webapp.web.forms import whole_number
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("lists", __name__)

MAX_NAME_CHARACTERS = 120
SHOWN_ROWS = 5
MAX_PLACEHOLDERS = 100
"""As many as a list may have columns: each is looked up in each row."""
STATUS_OF = {"too_large": 413, "busy": 503}


# --- Page 1: choose a list --------------------------------------------------------------------


@blueprint.get("/lists")
def index(member: Member) -> ResponseReturnValue:
    """The member's own open lists."""
    return render_template("lists.html", lists=uploads.open_lists(member))


@blueprint.get("/batches/new")
def new(member: Member) -> ResponseReturnValue:
    return _upload_page(
        member, request.args.get("template", ""), group_id=request.args.get("group", "")
    )


@blueprint.get("/batches/example.csv")
def example(member: Member) -> ResponseReturnValue:
    """A small list with the columns that a template needs."""
    heads, rows = _example(member, request.args.get("template", ""))
    response = Response(csv_text([heads, *rows], first=True), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{_("example")}.csv"'
    return response


@blueprint.post("/batches/new")
@limits.counts_as_list
def upload(member: Member) -> ResponseReturnValue:
    """Read a list and keep it. Nothing is sent by that."""
    template_id = request.form.get("template", "")
    try:
        source, name, content, read = _read_upload(member)
    except ListRefused as refused:
        return refused_page(member, refused, template_id)
    template = message_templates.find(member, template_id)
    oldest = uploads.makes_way(member)
    kept = uploads.keep(
        member,
        source=source,
        name=name,
        original=content,
        read=read,
        template_id=template.id if template else "",
    )
    page = url_for("lists.columns", id=kept.id)
    if guard.wants_json():
        return jsonify(id=kept.id, url=page), 201
    if oldest:
        flash(
            _("“%(name)s” was deleted: ten open lists are kept.", name=oldest.name or _("List")),
            "warning",
        )
    return redirect(page, 303)


def refused_page(
    member: Member, refused: ListRefused, template_id: str = ""
) -> ResponseReturnValue:
    """Why a list was not taken, and what to do about it."""
    status = STATUS_OF.get(refused.code, 422)
    sentence = words.refusal(refused)
    if guard.wants_json():
        return jsonify(code=refused.code, row=refused.row, sentence=sentence), status
    return _upload_page(member, template_id, error=sentence, status=status)


def _read_upload(member: Member) -> tuple[str, str, bytes | None, ReadList]:
    """(source, name, what came, what was read); raises `ListRefused`."""
    group = groups.find(member, request.form.get("group", ""))
    end_read()  # reading takes a while
    file = request.files.get("file")
    content = file.read() if file and file.filename else b""
    cells = request.form.get("cells", "")
    has_file = bool(file and file.filename)
    chosen = (has_file, bool(cells.strip()), bool(request.form.get("group")))
    if sum(chosen) > 1:
        raise ListRefused("both")
    if group and group.deleted_at is None:
        groups.still_needed(group)
        return "group", group.name, None, groups.as_list(group, _("Mobile"))
    region = settings.default_region
    if file and has_file:
        name = _plain_name(file.filename or "")
        return "file", name, content, reading.read(content, name=name, region=region)
    if cells.strip():
        name = _("Pasted cells")
        return "cells", name, cells.encode(), reading.read_cells(cells, region=region)
    raise ListRefused("nothing")


def _plain_name(typed: str) -> str:
    """A file's name without its folder, on one line."""
    name = typed.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable())[:MAX_NAME_CHARACTERS] or _("List")


def _upload_page(
    member: Member, template_id: str, *, group_id: str = "", error: str = "", status: int = 200
) -> ResponseReturnValue:
    heads, rows = _example(member, template_id)
    template = message_templates.find(member, template_id)
    # What was sent may be too large to be read.
    typed: Mapping[str, str] = request.form if status in (422, 503) else {}
    page = render_template(
        "lists_new.html",
        error=error,
        cells=typed.get("cells", ""),
        template=template,
        templates=message_templates.active(member),
        heads=heads,
        rows=rows,
        lists=uploads.open_lists(member),
        groups=[group for group, count in groups.active(member) if count],
        group_id=group_id or typed.get("group", ""),
        makes_way=uploads.makes_way(member),
    )
    return page, status


def _example(member: Member, template_id: str) -> tuple[list[str], list[list[str]]]:
    """Headings and two rows as a template would need them, with appointments to be reminded of."""
    template = message_templates.find(member, template_id)
    names = placeholders(template.text) if template else ()
    heads = list(names) or [_("First name"), _("Appointment")]
    day = local_time(now()).date()
    values = [
        [name, f"{day + timedelta(days=ahead):%d.%m.%Y} {clock}"]
        for name, ahead, clock in ((_("Jo"), 2, "14:30"), (_("Alex"), 3, "15:00"))
    ]
    rows = [
        [number, *(value[place] if place < 2 else "…" for place in range(len(heads)))]
        for number, value in zip(("0171 3920050", "0171 3920051"), values, strict=True)
    ]
    return [_("Mobile"), *heads], rows


# --- Page 2: columns and text -----------------------------------------------------------------


@dataclass(slots=True)
class Page2:
    """What page 2 shows or was sent."""

    number: str
    text: str
    sms_id: str
    slots: tuple[Slot, ...]
    dates: str
    is_plain: bool
    only_column: str = ""
    only_value: str = ""
    asked: list[Question] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    """By the id of the field."""


@blueprint.get("/lists/<id>")
def columns(id: str, member: Member) -> ResponseReturnValue:
    kept = own_list(id, member)
    return columns_page(kept, member, kept_page(kept, member))


@blueprint.post("/lists/<id>")
def save(id: str, member: Member) -> ResponseReturnValue:
    kept = own_list(id, member)
    version = request.form.get("version", -1, type=whole_number)
    page = kept_page(kept, member)
    if version != kept.version:
        return columns_page(kept, member, page, note=changed_note(), status=409)
    try:
        if is_read_anew := _reads_anew(kept):
            _read_again(kept, version)
            return redirect(url_for("lists.columns", id=id), 303)
        page = _typed(kept, member, page)
        if not page.errors:
            _save(kept, page, version)
    except ListRefused as refused:
        page.errors["header" if is_read_anew else "sheet"] = words.refusal(refused)
    except ListChanged:
        return columns_page(own_list(id, member), member, page, note=changed_note(), status=409)
    if page.errors:
        return columns_page(kept, member, page, status=422)
    return redirect(url_for("list_check.show", id=id), 303)


@blueprint.post("/lists/<id>/delete")
def delete(id: str, member: Member) -> ResponseReturnValue:
    kept = own_list(id, member)
    if not uploads.delete(kept):
        return being_sent(kept)
    flash(_("The list was deleted."), "success")
    return redirect(url_for("lists.index"), 303)


def own_list(id: str, member: Member) -> UploadedList:
    """The member's own list: 404 for any other, also for admins, and 410 for one that is gone."""
    kept = uploads.find(id, member)
    if kept is None:
        abort(404)
    if kept.deleted_at is not None:
        abort(_gone(kept))
    if kept.content is None or kept.look is None:
        abort(_gone(kept))  # SECRET_KEY was replaced: nobody can read it any more
    return kept


def own_open_list(id: str, member: Member) -> UploadedList:
    """The same, if it is not being sent already; else 409."""
    kept = own_list(id, member)
    if kept.batch_id:
        abort(being_sent(kept))
    uploads.touch(kept)
    return kept


def changed_note() -> str:
    return str(_("Look once more: the list has changed since this page was opened."))


def _gone(kept: UploadedList) -> Response:
    at = when(kept.deleted_at or kept.touched_at)
    if kept.batch_id:
        title = _("This list was sent")
        sentence = _("Its messages were made on %(at)s; then the list was deleted.", at=at)
        actions = [(_("See what became of it"), url_for("batches.show", id=kept.batch_id))]
    else:
        title = _("This list was deleted on %(at)s", at=at)
        sentence = _("Choose the list again: it was deleted after 24 hours, or by you.")
        actions = [(_("From a spreadsheet"), url_for("lists.new"))]
    return _told(410, "gone", title, sentence, actions)


def being_sent(kept: UploadedList) -> Response:
    """409: it belongs to a batch already."""
    sentence = _("This list is being sent. It is deleted as soon as its messages are made.")
    actions = [(_("See how far it is"), url_for("batches.show", id=kept.batch_id))]
    return _told(409, "sent", _("This list is being sent"), sentence, actions)


def _told(
    status: int, code: str, title: str, sentence: str, actions: list[tuple[str, str]]
) -> Response:
    if guard.wants_json():
        return make_response(jsonify(code=code, row=None, sentence=sentence), status)
    page = render_template(
        "errors.html", title=title, sentences=[sentence], actions=actions, kept_text=None
    )
    return make_response(page, status)


def columns_page(
    kept: UploadedList, member: Member, page: Page2, *, note: str = "", status: int = 200
) -> ResponseReturnValue:
    if kept.batch_id:
        return being_sent(kept)
    uploads.touch(kept)
    found = uploads.columns_of(kept)
    known = cache.extensions(member, guard.credentials())
    rows = uploads.rows_of(kept, SHOWN_ROWS)
    shown = [[cell_text(cell) for cell in row.cells] for row in rows]
    html = render_template(
        "lists_columns.html",
        kept=kept,
        look=kept.look,
        page=page,
        note=note,
        columns=found,
        row_count=uploads.row_count(kept),
        shown=list(zip((row.number for row in rows), shown, strict=False)),
        notices=[words.notice(one) for one in uploads.notices_of(kept)],
        questions={one.field: one for one in uploads.questions_of(kept)},
        question_words=words.question,
        extensions=known.items,
        extensions_note=str(sentences.EXTENSION_TROUBLES.get(known.trouble) or ""),
        can_read_again=kept.original is not None,
        encodings=words.ENCODINGS,
        date_forms={form: words.DATE_FORMS[form] for form in DATE_FORMS},
        salutation=mapping.SALUTATION,
        can_be_salutation=lambda name: mapping.can_be_salutation(name, found),
        sample=_sample(kept, page),
        sender=next((one.caller_id for one in known.items if one.id == page.sms_id), ""),
    )
    return html, status


def _sample(kept: UploadedList, page: Page2) -> str:
    """The text of the first row, as far as it can be made."""
    found, rows = uploads.columns_of(kept), uploads.rows_of(kept, 1)
    if not rows or not page.text:
        return page.text
    cells = dict(zip((column.letter for column in found), rows[0].cells, strict=True))
    try:
        text = mapping.text_of(_mapped(kept, page), found, cells)
    except TextRefused:
        return page.text
    return text if isinstance(text, str) else page.text


def kept_page(kept: UploadedList, member: Member) -> Page2:
    """Page 2 as it was saved last, or as it is guessed."""
    found = uploads.columns_of(kept)
    mapped = uploads.mapped_of(kept)
    if mapped:
        return Page2(
            mapped.number,
            mapped.text,
            mapped.extension_id,
            mapped.slots,
            mapped.dates,
            mapped.is_plain,
            mapped.only_column,
            mapped.only_value,
        )
    draft: Mapping[str, str] = (kept.mapping or {}).get("draft", {})
    template = message_templates.find(member, kept.template_id or "")
    text = draft.get("message", template.text if template else "")
    known = cache.extensions(member, guard.credentials())
    wanted = draft.get("sms_id") or member.last_extension_id or ""
    chosen = known.find(wanted) or (known.items[0] if known.items else None)
    return Page2(
        number=kept.look["number"],
        text=text,
        sms_id=chosen.id if chosen else "",
        slots=tuple(_shown_slot(name, found) for name in placeholders(text)[:MAX_PLACEHOLDERS]),
        dates=DATE_FORMS[0],
        is_plain=False,
    )


def _shown_slot(name: str, found: list[Column]) -> Slot:
    """The guess for a placeholder that a page shows: where two columns fit, none is chosen."""
    slot = mapping.guess_slot(name, found)
    return slot if len(mapping.columns_called(name, found)) < 2 else Slot(name, "")


def _reads_anew(kept: UploadedList) -> bool:
    """Whether the form wants the file read differently."""
    form, look = request.form, kept.look
    if kept.original is None:
        return False
    names = ("sheet", "encoding", "header")
    return any(name in form and form[name].strip() != str(look[name]) for name in names)


def _read_again(kept: UploadedList, version: int) -> None:
    """Read the file as the form says, and keep what was typed. Raises `ListRefused`."""
    form, look = request.form, kept.look
    original = kept.original or b""
    name, region = kept.name or "", settings.default_region
    wanted: dict[str, Any] = {"header": form.get("header", look["header"], type=whole_number)}
    if not form.get("header", "0").strip():
        wanted["header"] = None  # emptied: it is guessed again
    asked = {one.code for one in uploads.questions_of(kept)}
    if wanted["header"] == look["header"] and form.get("sheet", look["sheet"]) != look["sheet"]:
        wanted["header"] = None  # another sheet has its own headings
    for what, question in (("sheet", "sheet"), ("encoding", "mojibake")):
        is_new = form.get(what, look[what]) != look[what]
        wanted[what] = form.get(what, "") if is_new or question not in asked else ""
    end_read()
    if kept.source == "cells":
        read = reading.read_cells(original.decode(), header=wanted["header"], region=region)
    else:
        read = reading.read(original, name=name, region=region, **wanted)
    draft = {"message": form.get("message", ""), "sms_id": form.get("sms_id", "")}
    uploads.save_reading(kept, read, version, draft)


def _typed(kept: UploadedList, member: Member, before: Page2) -> Page2:
    """What the form says, checked; a field that it does not have stays as it was."""
    form, found = request.form, uploads.columns_of(kept)
    text = normalise_text(form.get("message", before.text))
    page = Page2(
        number=form.get("number", before.number),
        text=text,
        sms_id=form.get("sms_id", before.sms_id),
        slots=(),
        dates=form.get("dates", before.dates),
        is_plain="plain" in form,
        only_column=form.get("only", before.only_column),
        only_value=" ".join(form.get("only_value", before.only_value).split())[
            :MAX_CELL_CHARACTERS
        ],
    )
    if problem := _text_problem(text):
        page.errors["message"] = problem
    names = placeholders(text)[:MAX_PLACEHOLDERS]
    page.slots = tuple(_typed_slot(place, name, found, page) for place, name in enumerate(names))
    if page.number not in {column.letter for column in found}:
        page.errors["number"] = _("Choose the column with the mobile numbers.")
    known = cache.extensions(member, guard.credentials())
    if known.find(page.sms_id) is None:
        page.errors["sms_id"] = _("Choose one of your extensions.")
    if page.dates not in DATE_FORMS:
        page.dates = before.dates
    _check_choice_of_rows(page, {column.letter for column in found})
    return page


def _check_choice_of_rows(page: Page2, letters: Set[str]) -> None:
    if page.only_column and page.only_column not in letters:
        page.errors["only"] = _("Choose a column of this list.")
    elif page.only_column and not page.only_value:
        page.errors["only_value"] = _("Enter what stands in that column of the rows you mean.")
    elif page.only_value and not page.only_column:
        page.errors["only"] = _("Choose the column in which that stands.")


def _text_problem(text: str) -> str:
    if is_blank(text):
        return str(_("Enter a text."))
    try:
        check_unfilled(text)
    except TextRefused as refused:
        return sentences.text_problem(refused)
    if (count := len(placeholders(text))) > MAX_PLACEHOLDERS:
        sentence: str = _(
            "Use at most %(most)s different placeholders: there are %(count)s.",
            most=MAX_PLACEHOLDERS,
            count=count,
        )
        return sentence
    return ""


def _typed_slot(place: int, name: str, found: list[Column], page: Page2) -> Slot:
    """A placeholder's column as the form names it; one that the form's page did not have yet is
    guessed."""
    form = request.form
    named = {form[key]: key[5:] for key in form if key.startswith("name-")}
    at = named.get(name, "") if named else str(place)
    empty = form.get(f"empty-{at}", "").strip()
    letters = {column.letter for column in found} | {"", mapping.SALUTATION}
    chosen = form.get(f"column-{at}") if at else None
    if chosen is not None and chosen in letters:
        slot = Slot(name, chosen, empty)
    else:
        slot = Slot(name, mapping.guess_slot(name, found).column, empty)
        fits = mapping.columns_called(name, found)
        if len(fits) > 1:
            values = {"a": fits[0].letter, "b": fits[1].letter, "name": fits[0].name}
            page.asked.append(Question("two_columns", f"column-{place}", values))
    if not slot.column and not slot.empty:
        page.errors[f"column-{place}"] = _(
            "Choose a column for ((%(name)s)), or enter what stands there for everybody.",
            name=name,
        )
    return slot


def _mapped(kept: UploadedList, page: Page2) -> Mapped:
    answered = [*(kept.mapping or {}).get("answered", ()), *request.form.getlist("answered")]
    if page.number != kept.look["number"]:
        answered += ["number_column", "two_columns"]
    return Mapped(
        number=page.number,
        text=page.text,
        extension_id=page.sms_id,
        slots=page.slots,
        dates=page.dates,
        language=str(get_locale() or "en"),
        is_plain=page.is_plain,
        only_column=page.only_column,
        only_value=page.only_value,
        answered=tuple(dict.fromkeys(answered)),
    )


def _save(kept: UploadedList, page: Page2, version: int) -> None:
    """Check every row, and keep what was found. Raises `ListChanged`."""
    mapped = _mapped(kept, page)
    found, rows = uploads.columns_of(kept), uploads.rows_of(kept)
    end_read()
    checked = check.check(mapped, found, rows, region=settings.default_region)
    uploads.save_mapping(kept, mapped, checked, version, page.asked)
