"""The list of messages with its filters, one number's page, and the export."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from flask import Blueprint, Response, render_template, request, stream_with_context, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.account import contacts
from webapp.database import end_read
from webapp.database.models import Member, Message
from webapp.i18n import sentences
from webapp.i18n.formats import capped
from webapp.messages import attention, batches, history, visibility
from webapp.messages.history import MessageFilter
from webapp.rules.outcomes import NEEDS_RESUME, WAITING, Outcome
from webapp.rules.times import now
from webapp.web.guard import visible_or_404
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("history", __name__)

PAGE_SIZE = 50
MAX_WORDS_CHARACTERS = 200
ATTENTION = "attention"
"""The value of `tab` for messages that need attention."""


@blueprint.get("/messages")
def index(member: Member) -> ResponseReturnValue:
    return _list_page(_which(member), member)


@blueprint.get("/numbers/<id>")
def number(id: str, member: Member) -> ResponseReturnValue:
    """All messages to one number. The address names it by one of them, so that no log holds it."""
    found = visible_or_404(Message, id, member)
    return _list_page(MessageFilter(number=found.recipient), member, number_id=id)


@blueprint.get("/messages.csv")
def export(member: Member) -> ResponseReturnValue:
    """The list as a spreadsheet. Its cells are text, never formulas."""
    lines = _csv_lines(_which(member), member)
    response = Response(stream_with_context(lines), mimetype="text/csv")
    name = f"messages-{now():%Y-%m-%d}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _list_page(which: MessageFilter, member: Member, number_id: str = "") -> ResponseReturnValue:
    before = request.args.get("before")
    last = visible_or_404(Message, before, member) if before else None
    found = history.page(which, member, before=last, limit=PAGE_SIZE + 1)
    is_first = last is None and (which.is_all or bool(number_id))
    ahead = history.upcoming(member, which.number) if is_first else []
    contacts.preload_names(member, {message.recipient for message in (*found, *ahead)})
    arguments = _arguments(which)
    endpoint = "history.number" if number_id else "history.index"
    if number_id:
        arguments = {"id": number_id}
    older = found[PAGE_SIZE - 1].id if len(found) > PAGE_SIZE else None
    return render_template(
        "history.html",
        which=which,
        number_id=number_id,
        messages=found[:PAGE_SIZE],
        ahead=ahead,
        counts=[] if number_id else _count_links(which, member),
        writers=[] if number_id else history.writers(member),
        older_url=url_for(endpoint, **arguments, before=older) if older else None,
        export_url=None if number_id else url_for("history.export", **arguments),
        may_manage=partial(visibility.may_manage, member),
        has_paused=which.needs_attention and batches.has_releasable(member),
        clear_url=url_for("history.index"),
    )


def _which(member: Member) -> MessageFilter:
    """The filter in the address; what cannot be read is left out."""
    asked = set(request.args.getlist("outcome"))
    words = " ".join(request.args.get("q", "").replace("\x00", "").split())[:MAX_WORDS_CHARACTERS]
    return MessageFilter(
        outcomes=tuple(outcome for outcome in Outcome if outcome.value in asked),
        by=request.args.get("member", "")[:64],
        words=words,
        numbers_meant=tuple(contacts.numbers_called(member, words)) if words else (),
        needs_attention=request.args.get("tab") == ATTENTION,
    )


def _arguments(which: MessageFilter) -> dict[str, Any]:
    """The filter as arguments of an address."""
    arguments: dict[str, Any] = {}
    if which.outcomes:
        arguments["outcome"] = [outcome.value for outcome in which.outcomes]
    if which.by:
        arguments["member"] = which.by
    if which.words:
        arguments["q"] = which.words
    if which.needs_attention:
        arguments["tab"] = ATTENTION
    return arguments


def _count_links(which: MessageFilter, member: Member) -> list[dict[str, Any]]:
    """Links with counts: what waits, what needs attention, and each other outcome there is."""
    counts = history.counts(member)
    kept = {key: value for key, value in _arguments(which).items() if key not in ("outcome", "tab")}

    def link(name: Any, count: int, is_chosen: bool, **chosen: Any) -> dict[str, Any]:
        url = url_for("history.index", **kept, **chosen)
        shown = capped(count)
        return {"name": name, "count": shown, "url": url, "is_chosen": is_chosen, "is_any": count}

    def of(name: Any, *outcomes: Outcome) -> dict[str, Any]:
        is_chosen = set(which.outcomes) == set(outcomes)
        count = sum(counts[outcome] for outcome in outcomes)
        return link(name, count, is_chosen, outcome=[outcome.value for outcome in outcomes])

    elsewhere = (*WAITING, *NEEDS_RESUME, Outcome.UNKNOWN)
    others = (outcome for outcome in Outcome if outcome not in elsewhere)
    needed = attention.count(member)
    links = [
        of(sentences.WAITING, *WAITING),
        link(sentences.NEEDS_ATTENTION, needed, which.needs_attention, tab=ATTENTION),
        *(of(sentences.OUTCOMES[outcome].word, outcome) for outcome in others),
    ]
    return [shown for shown in links if shown["is_any"] or shown["is_chosen"]]


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
    ]
