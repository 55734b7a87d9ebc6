"""The list of messages with its filters, one number's page, and the export."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any, TypeVar

from babel.numbers import format_decimal
from flask import Blueprint, Response, render_template, request, stream_with_context, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale
from flask_babel import gettext as _

from webapp.account import cache, contacts
from webapp.config import settings
from webapp.database import end_read, idempotency
from webapp.database.models import Member, Message, MessageTemplate
from webapp.i18n import formats, sentences
from webapp.messages import attention, batches, changes, history, message_templates, visibility
from webapp.messages.history import Entry, MessageFilter, Tab
from webapp.rules.outcomes import BILLED, Outcome, Reason
from webapp.rules.times import now
from webapp.web.guard import visible_or_404
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("history", __name__)

Shown = TypeVar("Shown", Message, Entry)

PAGE_SIZE = 50
MAX_WORDS_CHARACTERS = 200
MAX_ID_CHARACTERS = 64
DAYS = ("from", "to")


@blueprint.get("/messages")
def index(member: Member) -> ResponseReturnValue:
    """The list: an entry for each message and for each batch, by days."""
    which = _which(member)
    before = request.args.get("before")
    last = visible_or_404(Message, before, member) if before else None
    found = history.page(which, member, before=last, limit=PAGE_SIZE + 1)
    entries = found[:PAGE_SIZE]
    contacts.preload_names(member, {entry.message.recipient for entry in entries})
    arguments = _arguments(which)
    next_id = entries[-1].message.id if len(found) > PAGE_SIZE else None
    writers = history.writers(member)
    return render_template(
        "history.html",
        which=which,
        days=_by_days(entries),
        until=changes.changeable_until(entries) if which.tab == Tab.PLANNED else {},
        zone=formats.zone_title(),
        tabs=_tabs(which, member),
        writers=writers,
        shows_writers=visibility.sees_account(member),
        extensions=cache.known_extensions([one.id for one in writers] or [member.id]),
        templates=_templates(which, member),
        outcomes=list(Outcome),
        dates={name: request.args.get(name, "") if day_of(name) else "" for name in DAYS},
        is_filtered=replace(which, tab=Tab.ALL) != MessageFilter(),
        next_url=url_for("history.index", **arguments, before=next_id) if next_id else None,
        export_url=url_for("history.export", **arguments),
        clear_url=_url(which.tab),
        has_paused=which.tab == Tab.ATTENTION and batches.has_releasable(member),
    )


@blueprint.get("/numbers/<id>")
def number(id: str, member: Member) -> ResponseReturnValue:
    """All messages to one number. The address names it by one of them, so that no log holds it."""
    named = visible_or_404(Message, id, member)
    before = request.args.get("before")
    last = visible_or_404(Message, before, member) if before else None
    which = MessageFilter(number=named.recipient)
    found = history.messages(which, member, before=last, limit=PAGE_SIZE + 1)
    shown = found[:PAGE_SIZE]
    older_id = shown[-1].id if len(found) > PAGE_SIZE else None
    contacts.preload_names(member, [named.recipient])
    extensions = cache.known_extensions([member.id])
    ids = [one.id for one in extensions]
    submission = idempotency.new_submission(member)
    senders = {one.id: one.caller_id for one in extensions}
    return render_template(
        "history_number.html",
        number=named.recipient,
        number_id=id,
        days=_by_days(shown[::-1]),
        zone=formats.zone_title(),
        older_url=url_for("history.number", id=id, before=older_id) if older_id else None,
        extensions=extensions,
        chosen_id=member.last_extension_id if member.last_extension_id in ids else (*ids, "")[0],
        submission_id=replace(submission, senders=senders).signed,
    )


@blueprint.get("/messages.csv")
def export(member: Member) -> ResponseReturnValue:
    """The list as a spreadsheet. Its cells are text, never formulas."""
    lines = _csv_lines(_which(member), member)
    response = Response(stream_with_context(lines), mimetype="text/csv")
    name = f"messages-{now():%Y-%m-%d}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _by_days(rows: list[Shown]) -> list[tuple[str, list[Shown]]]:
    """The days with their titles, as the rows are ordered."""

    def day(row: Shown) -> date:
        message = row.message if isinstance(row, Entry) else row
        return formats.local_time(message.shown_at).date()

    return [(formats.day_title(on), list(found)) for on, found in groupby(rows, key=day)]


def _which(member: Member) -> MessageFilter:
    """The filter in the address; what cannot be read is left out."""
    asked = set(request.args.getlist("outcome"))
    words = " ".join(request.args.get("q", "").replace("\x00", "").split())[:MAX_WORDS_CHARACTERS]
    tab, reason = request.args.get("tab"), request.args.get("reason")
    since, until = day_of("from"), day_of("to")
    return MessageFilter(
        tab=Tab(tab) if tab in set(Tab) else Tab.ALL,
        outcomes=tuple(outcome for outcome in Outcome if outcome.value in asked),
        by=_plain("member"),
        extension=_plain("extension"),
        template=_plain("template"),
        reason=Reason(reason) if reason in set(Reason) else None,
        since=formats.day_begins(since) if since else None,
        until=formats.day_begins(until + timedelta(days=1)) if until else None,
        words=words,
        numbers_meant=tuple(contacts.numbers_called(member, words)) if words else (),
    )


def _templates(which: MessageFilter, member: Member) -> list[MessageTemplate]:
    """Those to choose from: the account's, and the chosen one even if it was deleted."""
    found = message_templates.active(member)
    chosen = message_templates.find(member, which.template)
    return [chosen, *found] if chosen and chosen not in found else found


def _plain(name: str) -> str:
    return request.args.get(name, "").replace("\x00", "")[:MAX_ID_CHARACTERS]


def day_of(name: str) -> date | None:
    """A day in the address, such as 2026-12-24; None if there is none or it cannot be read."""
    try:
        day = date.fromisoformat(request.args.get(name, ""))
    except ValueError:
        return None
    # The first and the last year have days that no zone and no database can count from.
    return day if date.min.year < day.year < date.max.year else None


def _arguments(which: MessageFilter) -> dict[str, Any]:
    """The filter as arguments of an address."""
    arguments: dict[str, Any] = {
        "tab": which.tab if which.tab != Tab.ALL else "",
        "outcome": [outcome.value for outcome in which.outcomes],
        "member": which.by,
        "extension": which.extension,
        "template": which.template,
        "reason": which.reason,
        "q": which.words,
        **{name: request.args[name] for name in DAYS if day_of(name)},
    }
    return {name: value for name, value in arguments.items() if value}


def _url(tab: Tab, **kept: Any) -> str:
    return url_for("history.index", **kept, tab=tab if tab != Tab.ALL else None)


def _tabs(which: MessageFilter, member: Member) -> list[dict[str, Any]]:
    """All, planned, and what needs attention if anything does. Each keeps the filter."""
    counts = {
        Tab.ALL: (_("All"), 0),
        Tab.PLANNED: (_("Planned"), history.planned_count(member)),
        Tab.ATTENTION: (sentences.NEEDS_ATTENTION, attention.count(member)),
    }
    kept = {key: value for key, value in _arguments(which).items() if key != "tab"}
    return [
        {
            "name": name,
            "count": formats.capped(count) if count else "",
            "url": _url(tab, **kept),
            "is_chosen": tab == which.tab,
        }
        for tab, (name, count) in counts.items()
        if count or tab in (Tab.ALL, Tab.PLANNED, which.tab)
    ]


def _csv_lines(which: MessageFilter, member: Member) -> Iterator[str]:
    yield csv_text([_csv_heads()], first=True)
    for chunk in history.iter_chunks(which, member):
        contacts.preload_names(member, {message.recipient for message in chunk})
        text = csv_text(_csv_row(message, member) for message in chunk)
        end_read()
        yield text


def _csv_heads() -> list[str]:
    return [
        _("Written"),
        _("Planned for"),
        _("By"),
        _("Sender"),
        _("Recipient"),
        _("Name"),
        _("Outcome"),
        _("Segments"),
        _("Text"),
        _("Written, local time"),
        _("Planned for, local time"),
        _("Cost"),
    ]


def _csv_row(message: Message, member: Member) -> list[str]:
    return [
        message.created_at.isoformat(timespec="seconds"),
        message.send_at.isoformat(timespec="seconds") if message.send_at else "",
        message.member.name,
        message.caller_id,
        message.recipient,
        contacts.name_of(member, message.recipient),
        str(sentences.OUTCOMES[message.outcome].word),
        str(message.segment_count),
        message.text,
        _local(message.created_at),
        _local(message.send_at),
        _cost(message),
    ]


def _local(moment: datetime | None) -> str:
    """As spreadsheets understand it in every language."""
    return f"{formats.local_time(moment):%Y-%m-%d %H:%M}" if moment else ""


def _cost(message: Message) -> str:
    """What it cost, or may have cost; empty if nothing was sent or no price is set."""
    price = settings.segment_price
    if price is None or message.outcome not in BILLED:
        return ""
    return str(format_decimal(price * message.segment_count, locale=get_locale()))
