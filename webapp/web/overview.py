"""The overview: what needs attention, what is next, how many messages, and what they cost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import groupby
from urllib.parse import urlencode

from babel.numbers import format_decimal
from flask import Blueprint, Response, abort, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import get_locale, ngettext
from flask_babel import gettext as _

from webapp.account import cache, contacts
from webapp.config import settings
from webapp.database.models import Member
from webapp.i18n import formats, sentences
from webapp.jobs import tasks
from webapp.messages import history, message_templates, overview, visibility
from webapp.messages.history import MessageFilter, Tab
from webapp.messages.overview import By, Day, Figures, Tally
from webapp.rules.outcomes import BILLED, Outcome, Reason
from webapp.sipgate import Balance
from webapp.web import status
from webapp.web.spreadsheet import csv_text

blueprint = Blueprint("overview", __name__)

SHOWN_ENTRIES = 4
SPANS = (7, 30, 90, 365)
DEFAULT_SPAN = 30
A_WEEK = timedelta(days=7)
BALANCE_BY_DAYS = 28
"""The latest days by which is guessed how long the balance lasts."""
MOST_WEEKS = 104
"""That are worth a guess."""
UNCOUNTED_IS_MANY = 3
"""Ended days that had to be counted for a page; from here on the worker is asked to count them."""

ACCEPTED = (Outcome.ACCEPTED, Outcome.SCHEDULED)
FAILED = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.MISSED)
UNKNOWN = (Outcome.UNKNOWN,)
OTHER = tuple(one for one in Outcome if one not in (*ACCEPTED, *FAILED, *UNKNOWN))
GROUPS = {"good": ACCEPTED, "bad": FAILED, "unknown": UNKNOWN, "quiet": OTHER}
"""How outcomes are drawn in a day's bar, from below, by tone."""
MOST_BARS = 92
"""Of single days; a bar for each of a year's would be too thin to be seen."""
BAR_HEIGHT = 100
"""Of the highest bar, in units of the drawing."""


@dataclass(frozen=True, slots=True)
class Span:
    """The days from `first` to `last`, as part of addresses."""

    first: date
    last: date

    def url(self, *outcomes: Outcome, **chosen: str) -> str:
        """The list of the messages behind a figure."""
        asked = [("from", self.first), ("to", self.last), *chosen.items()]
        asked += (("outcome", outcome.value) for outcome in outcomes)
        return f"{status.page_url('history.index')}?{urlencode(asked)}"


@dataclass(frozen=True, slots=True)
class Bar:
    """A day or a week in the drawing and in its table."""

    title: str
    total: int
    counts: dict[str, int]
    """By tone, as in `GROUPS`."""
    url: str
    """The list of its messages; with one of `_asking` behind it, of one tone."""
    parts: list[tuple[str, int, int]]
    """Tone, upper edge and height in units of the drawing."""


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a table: what is counted, the figures, the list behind them."""

    name: str
    tally: Tally
    url: str


@dataclass(frozen=True, slots=True)
class Table:
    by: By
    title: str
    lines: list[Line] = field(default_factory=list)


@blueprint.get("/overview")
def index(member: Member) -> ResponseReturnValue:
    chosen = _chosen_days()
    span = _latest(chosen)
    days = overview.days(member, _first_needed(span), span.last)
    _have_counted(days)
    shown = _within(days, span)
    figures = overview.total(shown)
    needing = _entries(member, Tab.ATTENTION)
    planned = _entries(member, Tab.PLANNED)
    contacts.preload_names(member, {one.message.recipient for one in needing + planned})
    return render_template(
        "overview.html",
        span=chosen,
        spans=[days for days in SPANS if days <= settings.retention_days],
        needing=needing,
        planned=planned,
        planned_count=history.planned_count(member),
        week=_week(days, span.last),
        month=_month(days, span.last),
        lasts=_lasts(status.balance_of(member), days, span.last),
        summary=_summary(figures),
        summary_url=span.url(),
        bars=_bars(shown),
        is_by_week=chosen > MOST_BARS,
        bar_height=BAR_HEIGHT,
        bar_names=_group_names(),
        asking=_asking(),
        tables=_tables(figures, span, member),
        export_url=url_for("overview.export", days=chosen),
        shows_others=visibility.sees_account(member),
        cost=_cost,
    )


@blueprint.get("/overview.csv")
def export(member: Member) -> ResponseReturnValue:
    """The days as a spreadsheet, or with `by` what they sum up to."""
    by = request.args.get("by", "")
    if by == By.MEMBER and not visibility.manages_account(member):
        abort(403)
    span = _latest(_chosen_days())
    days = overview.days(member, span.first, span.last)
    table = _table(By(by), overview.total(days), span, member) if by in set(By) else None
    rows = _csv_of_table(table) if table else _csv_of_days(days)
    response = Response(csv_text(rows, first=True), mimetype="text/csv")
    name = f"overview-{span.last.isoformat()}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _chosen_days() -> int:
    """How many days are asked for; what cannot be read or shown is the default."""
    asked = request.args.get("days", "")
    most = min(overview.MAX_DAYS, settings.retention_days)
    is_number = asked.isascii() and asked.isdigit() and len(asked) <= len(str(overview.MAX_DAYS))
    return int(asked) if is_number and 1 <= int(asked) <= most else min(DEFAULT_SPAN, most)


def _latest(days: int) -> Span:
    last = overview.today()
    return Span(last - timedelta(days=days - 1), last)


def _first_needed(span: Span) -> date:
    """The first day of anything the page shows: the span, the month, two weeks, the latest 28."""
    month_begins = span.last.replace(day=1)
    return min(span.first, month_begins, span.last - timedelta(days=BALANCE_BY_DAYS - 1))


def _have_counted(days: list[Day]) -> None:
    if sum(not day.is_counted for day in days[:-1]) >= UNCOUNTED_IS_MANY:
        tasks.enqueue_counting()


def _within(days: Iterable[Day], span: Span) -> list[Day]:
    return [day for day in days if span.first <= day.on <= span.last]


def _entries(member: Member, tab: Tab) -> list[history.Entry]:
    return history.page(MessageFilter(tab=tab), member, before=None, limit=SHOWN_ENTRIES)


@dataclass(frozen=True, slots=True)
class Figure:
    """A number of the page with the list behind it, and how it compares."""

    tally: Tally
    url: str
    note: str = ""


def _week(days: list[Day], last: date) -> Figure:
    span = Span(last - A_WEEK + overview.ONE_DAY, last)
    before = Span(span.first - A_WEEK, last - A_WEEK)
    tally = overview.total(_within(days, span)).of()
    earlier = overview.total(_within(days, before)).of().messages
    return Figure(tally, span.url(), _change(tally.messages, earlier))


def _change(count: int, earlier: int) -> str:
    if not earlier:
        return ""
    percent = abs(count - earlier) * 100 // earlier
    if percent == 0:
        return str(_("as many as in the 7 days before"))
    if count > earlier:
        return str(_("%(num)s %% more than in the 7 days before", num=formats.decimal(percent)))
    return str(_("%(num)s %% fewer than in the 7 days before", num=formats.decimal(percent)))


def _month(days: list[Day], last: date) -> Figure:
    span = Span(last.replace(day=1), last)
    tally = overview.total(_within(days, span)).of(*BILLED)
    return Figure(tally, span.url(*BILLED), formats.month_name(last))


def _lasts(balance: Balance | None, days: list[Day], last: date) -> str:
    """How long the balance lasts if as much is sent as of late; empty if nobody can tell."""
    latest = Span(last - timedelta(days=BALANCE_BY_DAYS - 1), last)
    spent = _price(overview.total(_within(days, latest)).of(*BILLED).segments)
    if balance is None or balance.currency != "EUR" or balance.amount <= 0 or not spent:
        return ""
    weeks = int(balance.amount / spent * BALANCE_BY_DAYS / A_WEEK.days)
    if weeks < 1:
        return str(_("lasts less than a week if you send as much as lately"))
    if weeks > MOST_WEEKS:
        return ""
    return str(ngettext("lasts about a week", "lasts about %(num)s weeks", weeks))


def _summary(figures: Figures) -> str:
    """The whole span in a few words."""
    every = figures.of()
    said = [
        ngettext("%(shown)s message", "%(shown)s messages", every.messages, shown=_num(every)),
        ngettext(
            "%(segments)s part",
            "%(segments)s parts",
            every.segments,
            segments=formats.decimal(every.segments),
        ),
    ]
    if settings.segment_price is not None:
        said.append(_("about %(cost)s", cost=_cost(every.segments)))
    failed, unknown = figures.of(*FAILED), figures.of(*UNKNOWN)
    if failed.messages:
        share = format_decimal(failed.messages * 100 / every.messages, "0.#", get_locale())
        said.append(_("%(share)s %% not sent", share=share))
    if unknown.messages:
        said.append(_("%(num)s unknown", num=_num(unknown)))
    return ", ".join(str(one) for one in said)


def _num(tally: Tally) -> str:
    return formats.decimal(tally.messages)


def _price(segments: int) -> Decimal:
    return (settings.segment_price or Decimal(0)) * segments


def _cost(segments: int) -> str:
    """What sipgate takes for them, roughly; empty if no price is set."""
    if settings.segment_price is None:
        return ""
    return formats.money(_price(segments).quantize(Decimal("0.01"), ROUND_HALF_UP))


def _group_names() -> dict[str, str]:
    return {
        "good": str(_("Accepted")),
        "bad": str(_("Not sent")),
        "unknown": str(_("Unknown")),
        "quiet": str(_("Waiting or cancelled")),
    }


def _bars(days: list[Day]) -> list[Bar]:
    """One for each day, or for each week if there are many days."""
    groups = [[day] for day in days]
    if len(days) > MOST_BARS:
        weeks = groupby(days, key=lambda day: day.on.isocalendar()[:2])
        groups = [list(found) for _week_of, found in weeks]
    figures = [(Span(group[0].on, group[-1].on), overview.total(group)) for group in groups]
    highest = max((found.of().messages for _span, found in figures), default=0) or 1
    return [_bar(span, found, highest) for span, found in figures]


def _bar(span: Span, figures: Figures, highest: int) -> Bar:
    counts = {tone: figures.of(*outcomes).messages for tone, outcomes in GROUPS.items()}
    parts, edge = [], BAR_HEIGHT
    for tone, count in counts.items():
        if count:
            height = max(1, round(count * BAR_HEIGHT / highest))
            edge -= height
            parts.append((tone, edge, height))
    return Bar(_bar_title(span), sum(counts.values()), counts, span.url(), parts)


def _bar_title(span: Span) -> str:
    first = formats.day_title(span.first)
    if span.first == span.last:
        return first
    return str(_("%(first)s to %(last)s", first=first, last=formats.day_title(span.last)))


def _asking() -> dict[str, str]:
    """What the address of a day's list needs behind it for the messages of one tone. A table has
    hundreds of addresses."""
    return {
        tone: "".join(f"&outcome={outcome.value}" for outcome in outcomes)
        for tone, outcomes in GROUPS.items()
    }


def _tables(figures: Figures, span: Span, member: Member) -> list[Table]:
    """By what the messages are told apart; by member for admins alone, by name and not by count."""
    asked = request.args.get("by", "")
    shown = [By(asked)] if asked in TITLES else list(TITLES)
    if not visibility.manages_account(member):
        shown = [by for by in shown if by != By.MEMBER]
    found = [_table(by, figures, span, member) for by in shown]
    return [table for table in found if table.lines]


TITLES = (By.MEMBER, By.EXTENSION, By.TEMPLATE, By.REASON)


def _table(by: By, figures: Figures, span: Span, member: Member) -> Table:
    tallies = figures.by[by]
    if by == By.OUTCOME:
        lines = [
            Line(sentences.outcome_word(one), tallies[one], span.url(one))
            for one in Outcome
            if one in tallies
        ]
        return Table(by, _("By status"), lines)
    if by == By.MEMBER:
        return Table(by, _("By person"), _member_lines(tallies, span, member))
    if by == By.EXTENSION:
        names = {one.id: one.alias for one in cache.known_extensions(_colleague_ids(member))}
        lines = [
            Line(f"{names[id_]} ({id_})" if names.get(id_) else id_, one, span.url(extension=id_))
            for id_, one in tallies.items()
        ]
        return Table(by, _("By extension"), _by_count(lines))
    if by == By.TEMPLATE:
        lines = [
            Line(_template_name(member, id_), one, span.url(template=id_))
            for id_, one in tallies.items()
        ]
        return Table(by, _("By message template"), _by_count(lines))
    lines = [
        Line(sentences.reason_word(Reason(code)), one, span.url(reason=code))
        for code, one in tallies.items()
        if code in set(Reason)
    ]
    return Table(by, _("By reason"), _by_count(lines))


def _by_count(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (-line.tally.messages, line.name))


def _member_lines(tallies: overview.Tallies, span: Span, member: Member) -> list[Line]:
    return [
        Line(one.name, tallies[str(one.id)], span.url(member=one.sub))
        for one in history.colleagues(member)
        if str(one.id) in tallies
    ]


def _colleague_ids(member: Member) -> list[int]:
    if not visibility.sees_account(member):
        return [member.id]
    return [one.id for one in history.colleagues(member)]


def _template_name(member: Member, id_: str) -> str:
    found = message_templates.find(member, id_)
    return found.name if found else str(_("A template deleted since"))


def _csv_of_days(days: list[Day]) -> list[list[str]]:
    names = _group_names()
    heads = [_("Day"), _("Messages"), *(names[tone] for tone in GROUPS), _("Parts"), _("Cost")]
    rows = [heads]
    for day in days:
        every = day.figures.of()
        counts = [str(day.figures.of(*outcomes).messages) for outcomes in GROUPS.values()]
        row = [day.on.isoformat(), str(every.messages), *counts]
        rows.append([*row, str(every.segments), _plain_cost(every.segments)])
    return rows


def _csv_of_table(table: Table) -> list[list[str]]:
    rows = [[table.title, _("Messages"), _("Parts"), _("Cost")]]
    for line in table.lines:
        tally = line.tally
        row = [line.name, str(tally.messages), str(tally.segments)]
        rows.append([*row, _plain_cost(tally.segments)])
    return rows


def _plain_cost(segments: int) -> str:
    """Without a currency, as spreadsheets read it; empty if no price is set."""
    if settings.segment_price is None:
        return ""
    return str(format_decimal(_price(segments), locale=get_locale()))
