"""The check page of a list: what can be sent, what cannot and why; and sending it."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, abort, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import ngettext

from webapp.account import cache, contacts
from webapp.account.cache import Extensions
from webapp.config import settings
from webapp.database import db, idempotency
from webapp.database.daily_limit import DailyLimitReached, room_left
from webapp.database.idempotency import FormSpent, OnHold, SubmissionId
from webapp.database.models import Member, Message, UploadedList
from webapp.i18n import lists as words
from webapp.i18n import sentences
from webapp.i18n.formats import when
from webapp.jobs import tasks
from webapp.messages import blocked, submit
from webapp.messages.lists import already, check, fill, mapping, reminders, uploads
from webapp.messages.lists.already import Earlier
from webapp.messages.lists.check import (
    ALWAYS,
    CHOICES,
    PRESET,
    Checked,
    CheckedRow,
    Division,
    Problem,
)
from webapp.messages.lists.fill import ListTaken, Order
from webapp.messages.lists.mapping import Mapped
from webapp.messages.lists.reading import Column, Question
from webapp.messages.lists.uploads import ListChanged
from webapp.messages.submit import NewMessage
from webapp.rules.numbers import RecipientRefused, parse_recipient
from webapp.rules.reminders import MAX_BEFORE
from webapp.rules.text import LOOK_ALIKES, Segmentation, segment
from webapp.rules.times import now
from webapp.signin import tokens
from webapp.web import guard, limits, list_reminders, questions
from webapp.web.forms import ComposeForm, NotReady, compose_form, spent_note, whole_number
from webapp.web.guard import own_or_404
from webapp.web.list_questions import questions_about
from webapp.web.list_reminders import ReminderFields
from webapp.web.lists import changed_note, own_open_list

blueprint = Blueprint("list_check", __name__)

CONTENT_FIELDS = ("list", "version", "send_at", "time_zone", *list_reminders.FIELDS)
"""What a form that sends a list says; the list holds the rest."""
SHOWN_PROBLEMS = 200
SHOWN_HOLLOW = 5


@dataclass(slots=True)
class Looked:
    """A list with all that is known of it now."""

    kept: UploadedList
    mapped: Mapped
    columns: Sequence[Column]
    checked: Checked
    without: frozenset[str]
    earlier: Earlier
    division: Division
    asked: list[Question]
    """What was asked about how it is read, and not answered yet."""
    fields: ReminderFields
    reminded: Set[check.Reminder]
    """Who is reminded of which appointment already."""

    @property
    def can_be_sent(self) -> bool:
        return bool(self.division.sendable) and not self.division.standing and not self.asked


@blueprint.get("/lists/<id>/check")
def show(id: str, member: Member) -> ResponseReturnValue:
    kept = own_open_list(id, member)
    if uploads.mapped_of(kept) is None:
        return redirect(url_for("lists.columns", id=id), 303)
    looked = look_at(kept, member)
    row = request.args.get("row", type=whole_number)
    if guard.wants_json():
        return jsonify(_row_json(looked, row) if row is not None else _as_json(looked))
    test = request.args.get("test")
    tested = own_or_404(Message, test, member) if test else None
    return check_page(looked, member, tested=tested)


@blueprint.post("/lists/<id>/choices")
def choose(id: str, member: Member) -> ResponseReturnValue:
    """Which rows are left out: those of the checked kinds."""
    kept = own_open_list(id, member)
    version = request.form.get("version", -1, type=whole_number)
    without = set(request.form.getlist("without")) & set(CHOICES)
    try:
        uploads.save_choices(kept, without, version)
    except ListChanged:
        return _changed(id, member)
    return redirect(url_for("list_check.show", id=id), 303)


@blueprint.post("/lists/<id>/reminders")
def remind(id: str, member: Member) -> ResponseReturnValue:
    """Say when reminders go, and see for each row when. Nothing is sent by that."""
    kept = own_open_list(id, member)
    fields = list_reminders.typed_fields(kept, request.form)
    if fields.errors:
        return check_page(look_at(kept, member, fields), member, status=422)
    uploads.save_rule(kept, fields.rule.as_json if fields.rule else None)
    return redirect(url_for("list_check.show", id=id, _anchor="times"), 303)


@blueprint.post("/lists/<id>/test")
@limits.counts_as_send
def test(id: str, member: Member) -> ResponseReturnValue:
    """Send one row's text to oneself."""
    looked = look_at(own_open_list(id, member), member)
    submission = _submission(member)
    number = request.form.get("row", type=whole_number)
    text = _text_of_row(looked, number)
    form = _form(member)
    chosen = form.extensions.find(looked.mapped.extension_id)
    if submission is None or text is None or chosen is None:
        note = _("This row has no text that can be sent.")
        return check_page(looked, member, note=note, status=422)
    try:
        to = parse_recipient(request.form.get("own_number", "").strip(), settings.default_region)
    except RecipientRefused as refused:
        error = sentences.recipient_problem(refused)
        return check_page(looked, member, own_error=error, status=422)
    contacts.keep_own_number(member, to)
    own = idempotency.test_of(submission, f"{to} {chosen.id} {text}")
    new = NewMessage(extension=chosen, recipient=to, text=text, send_at=None, time_zone="")
    try:
        taken = submit.submit(
            lambda: [new],
            member=member,
            submission=own,
            content_hash=own.id,
            credentials=guard.credentials(),
        )
    except FormSpent as spent:
        return check_page(looked, member, note=spent_note(spent), status=409)
    except DailyLimitReached:
        return check_page(looked, member, note=sentences.daily_limit(), status=429)
    except OnHold:
        return check_page(looked, member, note=sentences.on_hold(), status=503)
    page = url_for("list_check.show", id=id, row=number, test=taken.message_id)
    return redirect(page, 303)


@blueprint.post("/batches")
@limits.counts_as_send
def send(member: Member) -> ResponseReturnValue:
    """Take a list, once; its messages are made by the worker."""
    id = request.form.get("list", "")
    submission = _submission(member)
    if submission is None:
        looked = look_at(own_open_list(id, member), member)
        note = _(
            "This page could not be recognised. Nothing was sent. Check the list and send it again."
        )
        return check_page(looked, member, note=note, status=422)
    try:
        taken = fill.send(
            lambda: _order(id, member, submission),
            member=member,
            submission=submission,
            content_hash=idempotency.content_hash(request.form, CONTENT_FIELDS),
        )
    except NotReady as not_ready:
        _keep_rule(not_ready.shown["looked"])
        return check_page(member=member, submission=submission, **not_ready.shown)
    except ListTaken:
        return _changed(id, member)
    except FormSpent as spent:
        looked = look_at(own_open_list(id, member), member)
        return check_page(looked, member, note=spent_note(spent), status=409)
    except DailyLimitReached as reached:
        looked = look_at(own_open_list(id, member), member)
        return check_page(looked, member, note=_too_many(looked, reached.left), status=429)
    except OnHold:
        looked = look_at(own_open_list(id, member), member)
        return check_page(looked, member, note=sentences.on_hold(), status=503)
    tasks.start_fill(str(taken.batch_id))
    return redirect(url_for("batches.show", id=taken.batch_id), 303)


def _keep_rule(looked: Looked) -> None:
    if not looked.fields.errors:
        rule = looked.fields.rule
        uploads.save_rule(looked.kept, rule.as_json if rule else None)


def _too_many(looked: Looked, left: int) -> str:
    sentence: str = _(
        "You may send %(limit)s messages a day, and %(left)s are left: this list has %(count)s. "
        "The operator can raise DAILY_LIMIT.",
        limit=settings.daily_limit,
        left=left,
        count=len(looked.division.sendable),
    )
    return sentence


def _submission(member: Member) -> SubmissionId | None:
    submission = idempotency.read_submission(request.form.get("submission_id", ""))
    return submission if submission and submission.member_id == member.id else None


def _changed(id: str, member: Member) -> ResponseReturnValue:
    kept = own_open_list(id, member)
    if uploads.mapped_of(kept) is None:
        return redirect(url_for("lists.columns", id=id), 303)
    return check_page(look_at(kept, member), member, note=changed_note(), status=409)


# --- Looking at it ----------------------------------------------------------------------------


def look_at(kept: UploadedList, member: Member, fields: ReminderFields | None = None) -> Looked:
    """`fields`: what was typed about reminders; else as it was saved."""
    fields = fields or list_reminders.saved_fields(kept)
    mapped, found = uploads.mapped_of(kept), uploads.columns_of(kept)
    if mapped is None:
        abort(409)
    checked = uploads.checked_of(kept)
    if checked is None:  # somebody's number was erased from the list
        rows = uploads.rows_of(kept)
        checked = check.check(mapped, found, rows, region=settings.default_region)
        uploads.save_result(kept, checked)
    if fields.rule:
        rows, quiet = uploads.rows_of(kept), settings.quiet_hours
        checked = reminders.with_times(checked, fields.rule, found, rows, quiet=quiet)
    recipients = {row.recipient for row in checked.rows}
    earlier = already.earlier(member, {row.key for row in checked.rows}, recipients)
    without = frozenset((kept.choices or {}).get("without", PRESET))
    reminded = already.reminded(member) if fields.rule else frozenset()
    division = check.divide(
        checked,
        without,
        had=earlier.keys,
        blocked=_blocked(member, recipients),
        planned=reminded,
    )
    asked = uploads.questions_of(kept)
    return Looked(kept, mapped, found, checked, without, earlier, division, asked, fields, reminded)


def _blocked(member: Member, recipients: set[str]) -> frozenset[str]:
    """Those who want no texts from this account."""
    return frozenset(blocked.among(db.session, member.account_id, recipients))


def _order(id: str, member: Member, submission: SubmissionId) -> Order:
    """The list as the form means it, all questions answered. Raises `NotReady`."""
    looked_at = now()
    looked = _as_typed(id, member)
    fields, form = looked.fields, _form(member)
    chosen = form.extensions.find(looked.mapped.extension_id)
    if chosen is None:
        note = _("Choose one of your extensions.")
        raise NotReady(looked=looked, form=form, note=note, status=422)
    if fields.errors:
        raise NotReady(looked=looked, form=form, status=422)
    if not looked.can_be_sent:
        raise NotReady(looked=looked, form=form, note=_not_yet(looked), status=409)
    if fields.rule is None and not form.validate_time():
        raise NotReady(looked=looked, form=form, status=422)
    moment = form.moment if fields.rule is None else None
    asked = questions_about(
        looked.division,
        member,
        moment=moment,
        rule=fields.rule,
        chosen=chosen,
        shown=submission.senders.get(chosen.id),
        earlier=looked.earlier,
        reminded=looked.reminded,
    )
    if questions.unanswered(asked, request.form.get("confirm", "")):
        raise NotReady(looked=looked, form=form, asked=asked, status=409)
    if asks_count(looked) and not _is_count_right(looked):
        error = _enter_count(looked)
        raise NotReady(looked=looked, form=form, asked=asked, count_error=error, status=422)
    return Order(
        kept=looked.kept,
        division=looked.division,
        extension=chosen,
        send_at=moment,
        time_zone=fields.rule.rule.zone if fields.rule else form.zone,
        looked_at=looked_at,
        rule=fields.rule.as_json if fields.rule else None,
    )


def _as_typed(id: str, member: Member) -> Looked:
    """The list, and what the form says of reminders."""
    kept = uploads.find(id, member)
    if kept and (kept.batch_id or kept.deleted_at):
        raise ListTaken  # perhaps by this very form, a moment ago
    # Loaded once: a second look might find that it was taken in between.
    kept = kept if kept and kept.content else own_open_list(id, member)
    looked = look_at(kept, member, list_reminders.typed_fields(kept, request.form))
    if request.form.get("version") != str(kept.version):
        raise NotReady(looked=looked, note=changed_note(), status=409)
    return looked


def _not_yet(looked: Looked) -> str:
    if looked.asked:
        return words.question(looked.asked[0])
    if looked.division.standing:
        return str(_("Fix these rows or leave them out. Nothing was sent."))
    return str(_("There is nobody to send to. Nothing was sent."))


def asks_count(looked: Looked) -> bool:
    """Whether the number of messages has to be typed."""
    return len(looked.division.sendable) > settings.batch_confirm


def _is_count_right(looked: Looked) -> bool:
    typed = "".join(filter(str.isdecimal, request.form.get("typed_count", "")))
    return typed == str(len(looked.division.sendable))


def _enter_count(looked: Looked) -> str:
    count = len(looked.division.sendable)
    return str(_("Enter %(count)s to send %(count)s messages.", count=count))


def _form(member: Member) -> ComposeForm:
    """The fields that say when, and the number of a test to oneself."""
    known: Extensions = cache.extensions(member, guard.credentials())
    return compose_form(member, known, own_number=member.own_number)


def _text_of_row(looked: Looked, number: int | None) -> str | None:
    row = uploads.row_of(looked.kept, number) if number is not None else None
    if row is None:
        return None
    cells = dict(zip((c.letter for c in looked.columns), row.cells, strict=True))
    try:
        text = mapping.text_of(looked.mapped, looked.columns, cells)
    except ValueError:  # far too long
        return None
    return text if isinstance(text, str) else None


# --- Showing it -------------------------------------------------------------------------------


def check_page(
    looked: Looked,
    member: Member,
    *,
    submission: SubmissionId | None = None,
    form: ComposeForm | None = None,
    asked: list[questions.Question] | None = None,
    note: str = "",
    count_error: str = "",
    own_error: str = "",
    tested: Message | None = None,
    status: int = 200,
) -> ResponseReturnValue:
    form = form or _form(member)
    chosen = form.extensions.find(looked.mapped.extension_id)
    submission = submission or idempotency.new_submission(member)
    senders = {one.id: one.caller_id for one in form.extensions.items}
    division = looked.division
    page = render_template(
        "lists_check.html",
        kept=looked.kept,
        looked=looked,
        division=division,
        form=form,
        submission_id=replace(submission, senders=senders).signed,
        chosen=chosen,
        note=note,
        asked=asked or [],
        confirm_value=questions.confirm_value(asked or []),
        send_label=_send_label(looked, form),
        asks_count=asks_count(looked),
        count_label=_enter_count(looked),
        count_error=count_error,
        own_number=request.form.get("own_number", member.own_number),
        own_error=own_error,
        tested=tested,
        cost=settings.segment_price and settings.segment_price * division.segments,
        left_today=room_left(db.session, member),
        open_questions=[(one.field, words.question(one)) for one in looked.asked],
        **_times(looked, form, member),
        **_left_out(looked),
        **_problems(looked),
        **_phone(looked),
    )
    return page, status


def _times(looked: Looked, form: ComposeForm, member: Member) -> dict[str, Any]:
    fields = looked.fields
    if fields.is_on and not form.is_submitted():
        form.time_zone.data = fields.time_zone
    shown = list_reminders.shown(fields, looked.division)
    return {
        **shown,
        "fields": fields,
        "most_before": MAX_BEFORE,
        "quiet_hours": settings.quiet_hours,
        "handover_minutes": settings.schedule_handover_minutes,
        "sign_in_ends": tokens.last_end(member.id) if shown["times"] else None,
    }


def _send_label(looked: Looked, form: ComposeForm) -> str:
    count = len(looked.division.sendable)
    if looked.fields.is_on:
        return str(ngettext("Schedule %(num)s message", "Schedule %(num)s messages", count))
    if form.moment if hasattr(form, "moment") else form.send_at.data:
        return str(ngettext("Schedule %(num)s message", "Schedule %(num)s messages", count))
    return str(ngettext("Send %(num)s message", "Send %(num)s messages", count))


def _left_out(looked: Looked) -> dict[str, Any]:
    return {
        "choices": _choices(looked),
        "unshown": sorted(kind for kind in looked.without if not looked.division.counts[kind]),
        "already_note": _already_note(looked.earlier),
        "waiting_batches": _waiting_batches(looked.earlier),
        "dear_note": _dear_note(looked),
        "can_be_plain": not looked.mapped.is_plain
        and not LOOK_ALIKES.keys().isdisjoint(looked.checked.dear_characters),
        **_told_of_rows(looked),
    }


def _waiting_batches(earlier: Earlier) -> list[tuple[str, str]]:
    """The batches in which some of these texts still wait: (id, sentence)."""
    counts = Counter(filter(None, earlier.waiting.values()))
    return [(id_, words.still_waiting(count)) for id_, count in sorted(counts.items())]


def _told_of_rows(looked: Looked) -> dict[str, Any]:
    """What is told of rows that can be sent: numbers that were repaired, values such as "-"."""
    sendable = looked.division.sendable
    repaired = [row for row in sendable if row.is_repaired]
    hollow = [row for row in sendable if row.hollow]
    return {
        "repaired_count": len(repaired),
        "repaired": repaired[:SHOWN_PROBLEMS],
        "hollow_count": len(hollow),
        "hollow": hollow[:SHOWN_HOLLOW],
    }


def _choices(looked: Looked) -> list[dict[str, Any]]:
    """The checkboxes: only what there is."""
    return [
        {
            "kind": kind,
            "label": _choice_label(kind, looked.division.counts),
            "is_on": kind in looked.without | ALWAYS,
            "is_fixed": kind in ALWAYS,
        }
        for kind in CHOICES
        if looked.division.counts[kind]
    ]


def _choice_label(kind: str, counts: Mapping[str, int]) -> str:
    if kind == "already_sent" and (planned := counts["already_planned"]):
        kind = "already_planned" if planned == counts[kind] else "already"
        return words.choice(kind, counts["already_sent"])
    return words.choice(kind, counts[kind])


def _already_note(earlier: Earlier) -> str:
    if not earlier.last_at:
        return ""
    return str(_("Last on %(at)s, by %(name)s.", at=when(earlier.last_at), name=earlier.last_by))


def _dear_note(looked: Looked) -> str:
    count = looked.checked.dear_count
    if not count:
        return ""
    sentence: str = ngettext(
        "%(num)s text costs more because of %(characters)s.",
        "%(num)s texts cost more because of %(characters)s.",
        count,
        characters=" ".join(looked.checked.dear_characters),
    )
    return sentence


def _problems(looked: Looked) -> dict[str, Any]:
    """The rows with a problem, of the kind that is asked for, and where they go on."""
    rows = _rows_with_problems(looked)
    kind = request.args.get("show", "")
    chosen = [row for row in rows if not kind or words.group(_code(row)) == kind]
    after = request.args.get("after", type=whole_number, default=-1)
    page = [row for row in chosen if row.number > after]
    more = page[SHOWN_PROBLEMS - 1].number if len(page) > SHOWN_PROBLEMS else None
    todo = words.todo(rows)
    return {
        "todo": [(kind_, sentence, kind_ == kind) for kind_, sentence in todo],
        "problems": [(row, words.problem(row)) for row in page[:SHOWN_PROBLEMS]],
        "more_problems": more,
        "show": kind,
    }


def _rows_with_problems(looked: Looked) -> list[CheckedRow]:
    """Also those that are left out for it, but not what is left out because it is hidden."""
    left_out = [
        row if row.problem else replace(row, problem=Problem(_OF_TIMING[why], ""))
        for row, why in looked.division.left_out
        if why == "errors" or why in _OF_TIMING
    ]
    return sorted([*looked.division.standing, *left_out], key=lambda row: row.number)


_OF_TIMING = {"late": "already_due", "too_far": "too_far"}
"""Why a reminder cannot go at its time, as a problem of its row."""


def _code(row: CheckedRow) -> str:
    return row.problem.code if row.problem else ""


def _phone(looked: Looked) -> dict[str, Any]:
    """One row as it arrives, and the rows before and after it."""
    rows = looked.division.sendable or looked.checked.rows
    numbers = [row.number for row in rows]
    asked = request.values.get("row", type=whole_number)
    place = numbers.index(asked) if asked in numbers else 0
    row = rows[place]
    return {
        "row": row,
        "row_note": _row_note(looked, row),
        "row_text": _text_of_row(looked, row.number) or "",
        "row_before": numbers[place - 1] if place else None,
        "row_after": numbers[place + 1] if place + 1 < len(numbers) else None,
    }


def _row_note(looked: Looked, row: CheckedRow) -> str:
    """When the row's reminder goes, and when its appointment is; empty if it is none."""
    if row.when is None or looked.fields.rule is None or row.when.not_after is None:
        return ""
    zone = looked.fields.rule.rule.zone
    goes = when(row.when.send_at, zone) if row.when.send_at else _("at once")
    at = list_reminders.appointment(row.when.not_after, zone)
    return str(_("Goes %(goes)s · appointment %(at)s", goes=goes, at=at))


# --- For programs -----------------------------------------------------------------------------


def _as_json(looked: Looked) -> dict[str, Any]:
    kept, division, look = looked.kept, looked.division, looked.kept.look
    price = settings.segment_price
    goes = [row.when.send_at for row in division.sendable if row.when and row.when.send_at]
    return {
        "id": kept.id,
        "name": kept.name,
        "version": kept.version,
        **{name: look[name] for name in ("format", "encoding", "separator", "sheet", "sheets")},
        "header": look["header"],
        "columns": [{"letter": one.letter, "name": one.name} for one in looked.columns],
        "rows": len(looked.checked.rows),
        "sendable": len(division.sendable),
        "counts": {
            **division.counts,
            "repaired": sum(row.is_repaired for row in looked.checked.rows),
            "hollow": sum(bool(row.hollow) for row in division.sendable),
        },
        "left_out": len(division.left_out),
        "segments": division.segments,
        "first_at": min(goes).isoformat() if goes else None,
        "last_at": max(goes).isoformat() if goes else None,
        "cost": str(price * division.segments) if price else None,
        "questions": [{"code": one.code, "field": one.field} for one in looked.asked],
        "problems": [_problem_json(row) for row in _rows_with_problems(looked)[:SHOWN_PROBLEMS]],
        "expires_at": (kept.touched_at + uploads.LIFETIME).isoformat(),
    }


def _problem_json(row: CheckedRow) -> dict[str, Any]:
    found = row.problem or check.Problem("", "")
    return {
        "row": row.number,
        "column": found.column,
        "code": found.code,
        "typed": found.typed,
    }


def _row_json(looked: Looked, number: int) -> dict[str, Any]:
    row = next((one for one in looked.checked.rows if one.number == number), None)
    if row is None:
        abort(404)
    text = _text_of_row(looked, number)
    goes = row.when.send_at if row.when else None
    late = _OF_TIMING.get(row.when.reason) if row.when else None
    found: Segmentation | None = segment(text) if text is not None else None
    return {
        "row": number,
        "typed": row.typed,
        "recipient": row.recipient or None,
        "text": text,
        "segments": row.segments,
        "encoding": found.encoding.value if found else None,
        "send_at": goes.isoformat() if goes else None,
        "code": _code(row) or late,
    }
