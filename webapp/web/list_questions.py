"""What is asked before a list is sent: once and with counts, never 900 times."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Set
from datetime import datetime

from flask_babel import gettext, ngettext

from webapp.account import cache
from webapp.config import settings
from webapp.database.models import Member
from webapp.i18n.formats import money, sender
from webapp.messages.lists.already import MAX_NAMED, Earlier
from webapp.messages.lists.check import Division, Reminder
from webapp.messages.lists.reminders import ListRule, summary
from webapp.rules.times import now
from webapp.sipgate import Extension
from webapp.web.list_reminders import sentence
from webapp.web.questions import PRICE_CURRENCY, Question, may_be_night


def questions_about(
    division: Division,
    member: Member,
    *,
    moment: datetime | None,
    rule: ListRule | None,
    chosen: Extension,
    shown: str | None,
    earlier: Earlier,
    reminded: Set[Reminder],
) -> list[Question]:
    """`shown`: the sender that the page showed; `reminded`: who is reminded of which appointment
    already."""
    return [
        *_reminders(division, rule),
        *_many(division),
        *_balance(division, member),
        *_night(division, moment or now()),
        *_landlines(division),
        *_sender(chosen, shown),
        *_colleagues(division, earlier),
        *_moved(division, reminded),
    ]


def _many(division: Division) -> Iterator[Question]:
    count, segments = len(division.sendable), division.segments
    if count < 2:
        return
    sentence = gettext(
        "This goes to %(count)s recipients, %(segments)s parts in total.",
        count=count,
        segments=segments,
    )
    if settings.segment_price:
        cost = money(settings.segment_price * segments)
        sentence += " " + gettext("It costs about %(cost)s.", cost=cost)
    yield Question(f"many-{count}-{segments}", sentence)


def _balance(division: Division, member: Member) -> Iterator[Question]:
    price = settings.segment_price
    left = cache.balance(member) if price else None
    if price is None or left is None or left.currency != PRICE_CURRENCY:
        return
    cost = price * division.segments
    if cost > left.amount:
        sentence = gettext(
            "This costs about %(cost)s, and the account's balance is %(left)s.",
            cost=money(cost),
            left=money(left.amount),
        )
        yield Question(f"balance-{cost}", sentence)


def _reminders(division: Division, rule: ListRule | None) -> Iterator[Question]:
    """When they go: once one goes at another time, or another row, it is asked again."""
    if rule is None:
        return
    zone = rule.rule.zone
    found = summary(division.sendable, division.left_out, zone)
    each = [(row.number, row.when.send_at) for row in division.sendable if row.when]
    digest = hashlib.sha256(repr(each).encode()).hexdigest()[:8]
    yield Question(f"reminders-{len(each)}-{digest}", sentence(found, zone))


def _night(division: Division, moment: datetime) -> Iterator[Question]:
    goes = Counter(
        (row.country, (row.when and row.when.send_at) or moment) for row in division.sendable
    )
    count = sum(n for (country, at), n in goes.items() if may_be_night(country, at))
    if count:
        sentence = ngettext(
            "%(num)s of them may arrive at night.",
            "%(num)s of them may arrive at night.",
            count,
        )
        yield Question(f"night-{count}", sentence)


def _landlines(division: Division) -> Iterator[Question]:
    count = sum(not row.is_mobile for row in division.sendable)
    if count:
        sentence = ngettext(
            "%(num)s of them goes to a number that is not a mobile number.",
            "%(num)s of them go to numbers that are not mobile numbers.",
            count,
        )
        yield Question(f"landlines-{count}", sentence)


def _sender(chosen: Extension, shown: str | None) -> Iterator[Question]:
    if shown is None or shown == chosen.caller_id:
        return
    sentence = gettext(
        "The sender has changed since you opened the page: recipients will see “%(sender)s”.",
        sender=sender(chosen.caller_id),
    )
    yield Question(f"sender-{hashlib.sha256(chosen.caller_id.encode()).hexdigest()[:8]}", sentence)


def _colleagues(division: Division, earlier: Earlier) -> Iterator[Question]:
    numbers = {row.recipient for row in division.sendable}
    found = {number: name for number, name in earlier.colleagues.items() if number in numbers}
    if not found:
        return
    names = sorted(set(filter(None, found.values())))
    if names:
        sentence = ngettext(
            "%(num)s of these people got a text from %(names)s today.",
            "%(num)s of these people got a text from %(names)s today.",
            len(found),
            names=", ".join(names[:MAX_NAMED]),
        )
    else:
        sentence = ngettext(
            "%(num)s of these people got a text from your team today.",
            "%(num)s of these people got a text from your team today.",
            len(found),
        )
    yield Question(f"colleague-{len(found)}", sentence)


def _moved(division: Division, reminded: Set[Reminder]) -> Iterator[Question]:
    """Some are reminded of another appointment, too: perhaps it was moved."""
    numbers = {number for number, _ in reminded}
    found = {row.recipient for row in division.sendable if row.when} & numbers
    if found:
        sentence = ngettext(
            "%(num)s of these people has a reminder of another appointment, too. If that was "
            "moved, cancel the earlier message.",
            "%(num)s of these people have a reminder of another appointment, too. If those were "
            "moved, cancel the earlier messages.",
            len(found),
        )
        yield Question(f"moved-{len(found)}", sentence)
