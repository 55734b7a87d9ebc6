"""The record, for administrators: who did what, who may sign in, and ending a member's sign-ins."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

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

from webapp.config import settings
from webapp.database import end_read
from webapp.database.audit import AuditEvent
from webapp.database.models import Member
from webapp.i18n import formats, sentences
from webapp.messages import changes, history, record, visibility
from webapp.messages.record import Entry, RecordFilter
from webapp.rules.outcomes import Reason
from webapp.rules.times import now
from webapp.signin import sessions
from webapp.web.history import day_of
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("record", __name__)

PAGE_SIZE = 50
DAYS = ("from", "to")
MAX_ID_CHARACTERS = 64


@blueprint.get("/record")
def index(member: Member) -> ResponseReturnValue:
    _require_admin(member)
    which, before = _which(), _before()
    found = record.page(which, member, before=before, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    older = {**_arguments(which), "before": shown[-1].key} if len(found) > PAGE_SIZE else None
    return render_template(
        "record.html",
        days=_by_days(shown),
        what=_teller(member),
        which=which,
        kinds=sentences.RECORD,
        writers=history.colleagues(member),
        dates={name: request.args.get(name, "") if day_of(name) else "" for name in DAYS},
        is_filtered=which != RecordFilter(),
        older_url=url_for("record.index", **older) if older else None,
        export_url=url_for("record.export", **_arguments(which)),
        zone=formats.zone_title(),
        accounts=sorted(settings.sipgate_accounts),
        people=record.people(member) if before is None else [],
        last_day=_last_day,
        retention_days=settings.retention_days,
    )


@blueprint.get("/record.csv")
def export(member: Member) -> ResponseReturnValue:
    _require_admin(member)
    lines = _csv_lines(_which(), member)
    response = Response(stream_with_context(lines), mimetype="text/csv")
    name = f"record-{now():%Y-%m-%d}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


@blueprint.get("/members/<id>/end")
def ask_end(id: str, member: Member) -> ResponseReturnValue:
    """Says what ending somebody's sign-ins does, before it is done."""
    person = _colleague_or_404(id, member)
    return render_template(
        "record_end.html", person=person, waiting=changes.waiting_count(person.id)
    )


@blueprint.post("/members/<id>/end")
def end(id: str, member: Member) -> ResponseReturnValue:
    """End somebody's sign-ins; what waits for them is paused first."""
    person = _colleague_or_404(id, member)
    if person.id == member.id:
        return redirect(url_for("signin.sessions"), 303)
    changes.pause_waiting_of(person.id, Reason.SIGN_IN_ENDED)
    sessions.end_sign_ins(person, member)
    flash(_("%(name)s is signed out everywhere.", name=person.name), "success")
    return redirect(url_for("record.index"), 303)


def _require_admin(member: Member) -> None:
    if not visibility.manages_account(member):
        abort(403)


def _colleague_or_404(id_: str, member: Member) -> Member:
    """A member of the same account, for its administrators."""
    found = record.find_person(member, id_)
    if found is None or not visibility.manages_account(member):
        abort(404)
    return found


def _which() -> RecordFilter:
    """The filter in the address; what cannot be read is left out."""
    asked = set(request.args.getlist("kind"))
    since, until = day_of("from"), day_of("to")
    return RecordFilter(
        by=request.args.get("member", "").replace("\x00", "")[:MAX_ID_CHARACTERS],
        kinds=tuple(kind for kind in AuditEvent if kind.value in asked),
        since=formats.day_begins(since) if since else None,
        until=formats.day_begins(until + timedelta(days=1)) if until else None,
    )


def _arguments(which: RecordFilter) -> dict[str, Any]:
    """The filter as arguments of an address."""
    arguments: dict[str, Any] = {
        "member": which.by,
        "kind": [kind.value for kind in which.kinds],
        **{name: request.args[name] for name in DAYS if day_of(name)},
    }
    return {name: value for name, value in arguments.items() if value}


def _before() -> record.Key | None:
    """The place in the address after which the page begins; None for the first page."""
    at, _tilde, id_ = request.args.get("before", "").partition("~")
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    if moment.tzinfo is None or not (id_.isascii() and id_.isdigit() and len(id_) < 18):
        return None
    return moment, int(id_)


def _by_days(entries: list[Entry]) -> list[tuple[str, list[Entry]]]:
    def day(entry: Entry) -> date:
        return formats.local_time(entry.at).date()

    return [(formats.day_title(on), list(found)) for on, found in groupby(entries, key=day)]


def _last_day(person: Member) -> str:
    """The day on which somebody was last here."""
    at = person.last_seen_at
    return formats.day_title(formats.local_time(at).date()) if at else _("not in a browser yet")


def _teller(member: Member) -> Any:
    """What an entry says was done, with the names of colleagues."""
    names = {one.sub: one.name for one in history.colleagues(member)}

    def tell(entry: Entry) -> str:
        return sentences.record_sentence(
            entry.kind,
            entry.note,
            is_batch=entry.batch_id is not None,
            name=names.get(entry.note, ""),
        )

    return tell


def _csv_lines(which: RecordFilter, member: Member) -> Iterator[str]:
    tell = _teller(member)
    yield csv_text([[_("When"), _("When, local time"), _("Who"), _("What"), _("Kind")]], first=True)
    for chunk in record.iter_chunks(which, member):
        text = csv_text(
            [
                entry.at.isoformat(timespec="seconds"),
                f"{formats.local_time(entry.at):%Y-%m-%d %H:%M}",
                entry.by,
                tell(entry),
                entry.kind.value,
            ]
            for entry in chunk
        )
        end_read()
        yield text
