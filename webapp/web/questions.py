"""The questions that a person must answer with yes before a message is sent.

Each question has a code that names exactly what was asked (`many-12-24`: 12 messages, 24 segments).
The control `confirm` carries the codes that were on the page, so a new question is asked first.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from babel.core import get_global
from flask_babel import gettext, ngettext

from webapp.account import cache, contacts
from webapp.config import settings
from webapp.database import db, table
from webapp.database.idempotency import SubmissionId
from webapp.database.models import Member, Message
from webapp.i18n.compose import twice
from webapp.i18n.formats import country_name, money, sender, when
from webapp.messages import visibility
from webapp.rules import times
from webapp.rules.numbers import NumberKind, country_of, number_kind, phone
from webapp.rules.outcomes import WAITING, Outcome
from webapp.rules.text import placeholders, segment
from webapp.rules.times import now
from webapp.sipgate import Extension
from webapp.web.forms import ComposeForm

SAME_AGAIN_WITHIN = timedelta(minutes=10)
NOT_GONE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.CANCELLED, Outcome.MISSED)
MAX_NAMED = 3
PRICE_CURRENCY = "EUR"
"""The currency of SEGMENT_PRICE."""


@dataclass(frozen=True, slots=True)
class Question:
    code: str
    sentence: str


class Sendable(Protocol):
    """What questions are asked about: a valid form, or a message that is resumed."""

    numbers: list[str]
    text: str
    moment: datetime | None
    duplicate_count: int

    @property
    def chosen(self) -> Extension | None: ...


@dataclass(slots=True)
class ResumedMessage:
    """A missed or paused message that its member sends after all: now, or at `moment`."""

    message: Message
    moment: datetime | None
    chosen: Extension | None
    duplicate_count: int = 0
    numbers: list[str] = field(init=False)
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = [self.message.recipient]
        self.text = self.message.text


def questions_about(
    form: ComposeForm, member: Member, submission: SubmissionId, *, is_filled: bool = False
) -> list[Question]:
    """What to ask about a valid form; empty if it can be sent at once.

    `is_filled`: its placeholders were filled in just now, so nobody has seen the finished text.
    """
    shown = submission.senders.get(form.chosen.id) if form.chosen else None
    finished = list(_finished(form)) if is_filled else []
    again = db.session.get(Message, submission.previous) if submission.previous else None
    over = list(_is_over(again, form.moment)) if again else []
    return [*finished, *over, *_questions(form, member, shown)]


def questions_about_resumed(resumed: ResumedMessage, member: Member) -> list[Question]:
    """The same about a message that waited: much may have changed since it was written."""
    message = resumed.message
    over = _is_over(message, resumed.moment)
    return [*over, *_questions(resumed, member, message.caller_id, itself=message.id)]


def _is_over(message: Message, moment: datetime | None) -> Iterator[Question]:
    """What the message reminds of is over by then."""
    if message.not_after and message.not_after < (moment or now()):
        at = when(message.not_after, message.time_zone)
        sentence = gettext("It reminds of an appointment that is over by then (%(at)s).", at=at)
        yield Question(f"over-{message.id[:12]}", sentence)


def questions_about_all(resumed: Sequence[ResumedMessage], member: Member) -> list[Question]:
    """What to ask, once and with counts, about many that go after all."""
    if len(resumed) < 2:
        return [question for item in resumed for question in questions_about_resumed(item, member)]
    numbers = {item.message.recipient: item for item in resumed}
    colleagues = [question for item in numbers.values() for question in _colleague(item, member)]
    return [
        _all_of_these(resumed),
        *_counted(resumed, member),
        *list(dict.fromkeys(colleagues))[:MAX_NAMED],
    ]


def questions_about_rest(resumed: Sequence[ResumedMessage], member: Member) -> list[Question]:
    """The same about the rest of a batch, without a look at each of its recipients."""
    return [_all_of_these(resumed), *_counted(resumed, member)]


def _counted(resumed: Sequence[ResumedMessage], member: Member) -> Iterator[Question]:
    lately = _sent_lately(resumed, member)
    each = Counter((item.message.recipient, item.text) for item in resumed)
    counts = {
        "nights": sum(any(_night(item)) for item in resumed),
        "agains": sum(n for key, n in each.items() if key in lately or n > 1),
        "senders": sum(any(_sender_changed(item, item.message.caller_id)) for item in resumed),
        "landlines": sum(any(_landline(item)) for item in resumed),
    }
    for code, count in counts.items():
        if count:
            yield Question(f"{code}-{count}", _COUNTED[code](count))


# Each written out, for the extraction of sentences.
_COUNTED: dict[str, Callable[[int], str]] = {
    "nights": lambda count: ngettext(
        "%(num)s of them may arrive at night.",
        "%(num)s of them may arrive at night.",
        count,
    ),
    "agains": lambda count: ngettext(
        "%(num)s of them repeats a text to the same number.",
        "%(num)s of them repeat a text to the same number.",
        count,
    ),
    "senders": lambda count: ngettext(
        "%(num)s of them now has a different sender than when it was written.",
        "%(num)s of them now have a different sender than when they were written.",
        count,
    ),
    "landlines": lambda count: ngettext(
        "%(num)s of them goes to a number that is not a mobile number.",
        "%(num)s of them go to numbers that are not mobile numbers.",
        count,
    ),
}


def _all_of_these(resumed: Sequence[ResumedMessage]) -> Question:
    segments = sum(item.message.segment_count for item in resumed)
    later = sum(1 for item in resumed if item.moment)
    sentence = gettext(
        "This releases %(count)s messages, %(segments)s parts in total: %(later)s at their "
        "planned times, %(now)s now.",
        count=len(resumed),
        segments=segments,
        later=later,
        now=len(resumed) - later,
    )
    if settings.segment_price:
        cost = money(settings.segment_price * segments)
        sentence += " " + gettext("It costs about %(cost)s.", cost=cost)
    return Question(f"release-{len(resumed)}-{segments}-{later}", sentence)


def _sent_lately(resumed: Sequence[ResumedMessage], member: Member) -> set[tuple[str, str]]:
    """Which of these numbers got the same text a moment ago."""
    query = sa.select(Message.recipient, Message.text).where(
        Message.account_id == member.account_id,
        Message.recipient.in_({item.message.recipient for item in resumed}),
        Message.created_at > now() - SAME_AGAIN_WITHIN,
        Message.outcome.not_in((*NOT_GONE, Outcome.PAUSED)),
    )
    return {(recipient, text) for recipient, text in db.session.execute(query)}


def _questions(
    form: Sendable, member: Member, shown: str | None, itself: str = ""
) -> list[Question]:
    return [
        *_many(form),
        *_placeholders(form),
        *_balance(form, member),
        *_written_before(form, member, itself),
        *_sender_changed(form, shown),
        *_night(form),
        *_landline(form),
        *_own_number(form),
    ]


def unanswered(asked: list[Question], confirm: str) -> bool:
    """Whether the person has not yet seen one of the questions."""
    answered = set(confirm.split())
    return any(question.code not in answered for question in asked)


def confirm_value(asked: list[Question]) -> str:
    return " ".join(question.code for question in asked)


def confirm_label(form: Sendable) -> str:
    count = len(form.numbers)
    if form.moment:
        return ngettext("Schedule %(num)s message", "Schedule %(num)s messages", count)
    if count == 1:
        return gettext("Send anyway")
    return ngettext("Send %(num)s message", "Send %(num)s messages", count)


def _many(form: Sendable) -> Iterator[Question]:
    count = len(form.numbers)
    if count < 2:
        return
    segments = segment(form.text).segment_count * count
    sentence = gettext(
        "This goes to %(count)s recipients, %(segments)s parts in total.",
        count=count,
        segments=segments,
    )
    if settings.segment_price:
        cost = money(settings.segment_price * segments)
        sentence += " " + gettext("It costs about %(cost)s.", cost=cost)
    if form.duplicate_count:
        sentence += " " + twice(form.duplicate_count)
    yield Question(f"many-{count}-{segments}", sentence)


def _placeholders(form: Sendable) -> Iterator[Question]:
    """The text still has a placeholder."""
    names = placeholders(form.text)
    if names:
        sentence = gettext("The text still contains the placeholder ((%(name)s)).", name=names[0])
        yield Question(f"placeholder-{len(names)}", sentence)


def _finished(form: Sendable) -> Iterator[Question]:
    digest = hashlib.sha256(form.text.encode()).hexdigest()[:8]
    yield Question(f"finished-{digest}", gettext("The finished text: “%(text)s”", text=form.text))


def _balance(form: Sendable, member: Member) -> Iterator[Question]:
    """The account's balance, as last read, is too low."""
    price = settings.segment_price
    left = cache.balance(member) if price else None
    if price is None or left is None or left.currency != PRICE_CURRENCY:
        return
    cost = price * segment(form.text).segment_count * len(form.numbers)
    if cost > left.amount:
        sentence = gettext(
            "This costs about %(cost)s, and the account's balance is %(left)s.",
            cost=money(cost),
            left=money(left.amount),
        )
        yield Question(f"balance-{cost}", sentence)


def _written_before(form: Sendable, member: Member, itself: str) -> list[Question]:
    """What is asked because of other messages to these numbers. Mostly there are none, so that is
    looked at first, with one statement for both questions."""
    since = min(_midnight(), now() - SAME_AGAIN_WITHIN)
    params = {"account": member.account_id, "numbers": form.numbers, "since": since}
    if db.session.scalar(_ANY_TO_THESE, params) is None:
        return []
    return [*_same_again(form, member, itself), *_colleague(form, member)]


def _same_again(form: Sendable, member: Member, itself: str) -> Iterator[Question]:
    """The same text went to the same number a moment ago.

    Only of messages that the member may see: else they could find out a colleague's text by trying.
    """
    params: dict[str, object] = {"text": form.text, "since": now() - SAME_AGAIN_WITHIN}
    query = _SAME_AGAIN
    if not visibility.sees_account(member):
        query, params["member"] = _SAME_AGAIN_OF_MINE, member.id
    messages = _messages(query, form, member, params)
    found = [message for message in messages if message.id != itself]
    if found:
        sentence = gettext(
            "The same text went to %(number)s on %(at)s. Send it again?",
            number=contacts.display_name(member, found[0].recipient),
            at=when(found[0].created_at),
        )
        yield Question(f"again-{found[0].id[:12]}", sentence)


def _colleague(form: Sendable, member: Member) -> Iterator[Question]:
    """A colleague wrote to this number today, or has something planned for it."""
    params = {"member": member.id, "since": _midnight()}
    sentences: dict[str, str] = {}
    for message in _messages(_COLLEAGUE, form, member, params):
        # Without names and times several read the same: one of them is enough.
        sentences.setdefault(_colleague_sentence(message, member), message.id)
    for sentence, id_ in sentences.items():
        yield Question(f"colleague-{id_[:12]}", sentence)


def _midnight() -> datetime:
    return now().astimezone(ZoneInfo(settings.default_time_zone)).replace(hour=0, minute=0)


def _messages(
    query: sa.Select[Message], form: Sendable, member: Member, params: dict[str, object]
) -> sa.ScalarResult[Message]:
    """The newest messages to the form's numbers, of the member's account, that have not failed."""
    params |= {"account": member.account_id, "numbers": form.numbers}
    return db.session.scalars(query, params)


# Asked for every send. Building a statement takes longer than running it (measured), so they are
# built once. A list of constants is compiled again at each use, so only the numbers are one.
_TO_THESE = (
    sa.select(Message)
    .where(
        Message.account_id == sa.bindparam("account"),
        Message.recipient.in_(sa.bindparam("numbers", expanding=True)),
        *(Message.outcome != outcome for outcome in NOT_GONE),
    )
    .order_by(Message.created_at.desc())
    .limit(MAX_NAMED)
)
_columns = table(Message).c
_ANY_TO_THESE = (
    sa.select(sa.literal(1))
    .where(
        _columns.account_id == sa.bindparam("account"),
        _columns.recipient.in_(sa.bindparam("numbers", expanding=True)),
        *(_columns.outcome != outcome for outcome in NOT_GONE),
        sa.or_(
            _columns.created_at > sa.bindparam("since"),
            *(_columns.outcome == outcome for outcome in WAITING),
        ),
    )
    .limit(1)
)
_SAME_AGAIN = _TO_THESE.where(
    Message.text == sa.bindparam("text"), Message.created_at > sa.bindparam("since")
)
_SAME_AGAIN_OF_MINE = _SAME_AGAIN.where(Message.member_id == sa.bindparam("member"))
_COLLEAGUE = _TO_THESE.where(
    Message.member_id != sa.bindparam("member"),
    sa.or_(
        Message.created_at > sa.bindparam("since"),
        *(Message.outcome == outcome for outcome in WAITING),
    ),
)


def _colleague_sentence(message: Message, member: Member) -> str:
    name, number = message.member.name, contacts.display_name(member, message.recipient)
    at = when(message.send_at or message.created_at)
    if not visibility.may_see(member, message):
        return _about_somebody(message, number)
    if message.outcome in WAITING:
        sentence = gettext(
            "%(name)s has planned a message to %(number)s for %(at)s.",
            name=name,
            number=number,
            at=at,
        )
    else:
        sentence = gettext(
            "%(name)s wrote to %(number)s on %(at)s.", name=name, number=number, at=at
        )
    return sentence + " " + gettext("The text: “%(text)s”", text=message.text[:100])


def _about_somebody(message: Message, number: str) -> str:
    """For members who may not see the message: not whose it is, nor when it goes."""
    if message.outcome in WAITING:
        return gettext("Someone in your team has planned a message to %(number)s.", number=number)
    return gettext("Someone in your team wrote to %(number)s today.", number=number)


def _sender_changed(form: Sendable, shown: str | None) -> Iterator[Question]:
    """People would see another sender than the page, or the message as written, has shown."""
    chosen = form.chosen
    if chosen is None or shown is None or shown == chosen.caller_id:
        return
    now_shown = {"sender": sender(chosen.caller_id)}
    if isinstance(form, ResumedMessage):
        sentence = gettext(
            "The sender has changed since the message was written: the recipient will see "
            "“%(sender)s”.",
            **now_shown,
        )
    else:
        sentence = gettext(
            "The sender has changed since you opened the page: recipients will see “%(sender)s”.",
            **now_shown,
        )
    yield Question(f"sender-{hashlib.sha256(chosen.caller_id.encode()).hexdigest()[:8]}", sentence)


def _night(form: Sendable) -> Iterator[Question]:
    """It is, or may be, night at a recipient's place."""
    if settings.quiet_hours is None:
        return
    moment = form.moment or now()
    for country in dict.fromkeys(country_of(number) for number in form.numbers):
        clocks = _clocks(country, moment)
        quiet = [at for at in clocks if times.is_within(at.time(), settings.quiet_hours)]
        if not quiet:
            continue
        place, at = country_name(country or ""), f"{quiet[0]:%H:%M}"
        if len(quiet) == len(clocks):
            sentence = gettext(
                "It will be night at the recipient's: %(at)s (%(place)s).", place=place, at=at
            )
        else:
            sentence = gettext("It may be night at the recipient's (%(place)s).", place=place)
        yield Question(f"night-{country or ''}", sentence)


def _clocks(country: str | None, moment: datetime) -> list[datetime]:
    """The times at `moment` in a country's zones; without a country, in the deployment's."""
    zones = get_global("territory_zones").get(country or "") or [settings.default_time_zone]
    known = (zone for zone in zones if zone in times.zone_names())
    return [moment.astimezone(ZoneInfo(zone)) for zone in known]


def may_be_night(country: str, moment: datetime) -> bool:
    """Whether it is, or may be, night at a place in this country, by QUIET_HOURS."""
    hours = settings.quiet_hours
    clocks = _clocks(country, moment) if hours else []
    return any(times.is_within(at.time(), hours) for at in clocks if hours)


def _landline(form: Sendable) -> Iterator[Question]:
    kinds = {number: number_kind(number) for number in form.numbers}
    landlines = [number for number, kind in kinds.items() if kind == NumberKind.LANDLINE]
    if landlines:
        sentence = gettext(
            "%(number)s is a landline: sipgate calls there and reads the text aloud.",
            number=phone(landlines[0]),
        )
        yield Question(f"landline-{len(landlines)}", sentence)
    others = [n for n, k in kinds.items() if k in (NumberKind.FREEPHONE, NumberKind.OTHER)]
    if others:
        sentence = gettext(
            "%(number)s is not a mobile number; a text may not arrive there.",
            number=phone(others[0]),
        )
        yield Question(f"other-{len(others)}", sentence)


def _own_number(form: Sendable) -> Iterator[Question]:
    chosen = form.chosen
    if chosen and f"+{chosen.caller_id.lstrip('+')}" in form.numbers:
        yield Question("own", gettext("This is your own sender number."))
