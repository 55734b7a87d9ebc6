"""Questions asked before sending: what a person should have seen, and may answer with yes.

Each question has a code that names exactly what was asked (`many-12-24`: 12 messages, 24 segments).
The one control `confirm` carries the codes that were on the page; a new question asks again.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from babel.core import get_global
from flask_babel import gettext, ngettext

from webapp import account, contacts, members, recipients, sms, times
from webapp.database import now
from webapp.extensions import db, settings
from webapp.forms import ComposeForm
from webapp.i18n import country_name, money, phone, sender, when
from webapp.models import Member, Message
from webapp.outcomes import WAITING, Outcome
from webapp.recipients import NumberKind
from webapp.submissions import SubmissionId

SAME_AGAIN_WITHIN = timedelta(minutes=10)
NOT_GONE = (Outcome.REFUSED, Outcome.NOT_SENT, Outcome.CANCELLED, Outcome.MISSED)
MAX_NAMED = 3
PRICE_CURRENCY = "EUR"
"""Of SEGMENT_PRICE."""


@dataclass(frozen=True, slots=True)
class Question:
    code: str
    sentence: str


def questions_about(form: ComposeForm, member: Member, submission: SubmissionId) -> list[Question]:
    """What to ask about a valid form; empty when it may go at once."""
    return [
        *_many(form),
        *_placeholders(form),
        *_balance(form, member),
        *_same_again(form, member),
        *_colleague(form, member),
        *_sender_changed(form, submission),
        *_night(form),
        *_landline(form),
        *_own_number(form),
    ]


def unanswered(asked: list[Question], confirm: str) -> bool:
    """Whether a question stands that the person has not seen."""
    answered = set(confirm.split())
    return any(question.code not in answered for question in asked)


def confirm_value(asked: list[Question]) -> str:
    return " ".join(question.code for question in asked)


def confirm_label(form: ComposeForm) -> str:
    count = len(form.numbers)
    if form.moment:
        return ngettext("Schedule %(num)s message", "Schedule %(num)s messages", count)
    if count == 1:
        return gettext("Send anyway")
    return ngettext("Send %(num)s message", "Send %(num)s messages", count)


def _many(form: ComposeForm) -> Iterator[Question]:
    count = len(form.numbers)
    if count < 2:
        return
    segments = sms.segment(form.text).segment_count * count
    sentence = gettext(
        "This goes to %(count)s recipients, %(segments)s segments in all.",
        count=count,
        segments=segments,
    )
    if settings.segment_price:
        cost = money(settings.segment_price * segments)
        sentence += " " + gettext("It costs about %(cost)s.", cost=cost)
    if form.duplicate_count:
        sentence += " " + ngettext(
            "%(num)s number that was there twice was left out.",
            "%(num)s numbers that were there twice were left out.",
            form.duplicate_count,
        )
    yield Question(f"many-{count}-{segments}", sentence)


def _placeholders(form: ComposeForm) -> Iterator[Question]:
    """The text still holds what was to be filled in."""
    names = sms.placeholders(form.text)
    if names:
        sentence = gettext("The text still says ((%(name)s)).", name=names[0])
        yield Question(f"placeholder-{len(names)}", sentence)


def _balance(form: ComposeForm, member: Member) -> Iterator[Question]:
    """What is left in the account, as last read, will not do."""
    price = settings.segment_price
    left = account.balance(member) if price else None
    if price is None or left is None or left.currency != PRICE_CURRENCY:
        return
    cost = price * sms.segment(form.text).segment_count * len(form.numbers)
    if cost > left.amount:
        sentence = gettext(
            "This costs about %(cost)s, and the account's balance is %(left)s.",
            cost=money(cost),
            left=money(left.amount),
        )
        yield Question(f"balance-{cost}", sentence)


def _same_again(form: ComposeForm, member: Member) -> Iterator[Question]:
    """The same text went to the same number a moment ago.

    Of messages that the member may see: else anybody could learn a colleague's text by trying.
    """
    said: dict[str, object] = {"text": form.text, "since": now() - SAME_AGAIN_WITHIN}
    query = _SAME_AGAIN
    if not members.sees_account(member):
        query, said["of"] = _SAME_AGAIN_OF_MINE, member.id
    found = list(_messages(query, form, member, said))
    if found:
        sentence = gettext(
            "The same text went to %(number)s on %(at)s. Send it again?",
            number=contacts.called(member, found[0].recipient),
            at=when(found[0].created_at),
        )
        yield Question(f"again-{found[0].id[:12]}", sentence)


def _colleague(form: ComposeForm, member: Member) -> Iterator[Question]:
    """A colleague wrote to this number today, or has something planned for it."""
    midnight = now().astimezone(ZoneInfo(settings.default_time_zone)).replace(hour=0, minute=0)
    said = {"of": member.id, "since": midnight}
    sentences: dict[str, str] = {}
    for message in _messages(_COLLEAGUE, form, member, said):
        # Without names and times several read the same: one of them is enough.
        sentences.setdefault(_colleague_sentence(message, member), message.id)
    for sentence, id_ in sentences.items():
        yield Question(f"colleague-{id_[:12]}", sentence)


def _messages(
    query: sa.Select[Message], form: ComposeForm, member: Member, said: dict[str, object]
) -> sa.ScalarResult[Message]:
    """The newest messages to the form's numbers, of the member's account, that have not failed."""
    said |= {"account": member.account_id, "numbers": form.numbers}
    return db.session.scalars(query, said)


# For every send; built once, as in `claims.py`. A list in a statement is written out at each use,
# so only what differs stands in one.
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
_SAME_AGAIN = _TO_THESE.where(
    Message.text == sa.bindparam("text"), Message.created_at > sa.bindparam("since")
)
_SAME_AGAIN_OF_MINE = _SAME_AGAIN.where(Message.member_id == sa.bindparam("of"))
_COLLEAGUE = _TO_THESE.where(
    Message.member_id != sa.bindparam("of"),
    sa.or_(
        Message.created_at > sa.bindparam("since"),
        *(Message.outcome == outcome for outcome in WAITING),
    ),
)


def _colleague_sentence(message: Message, member: Member) -> str:
    name, number = message.member.name, contacts.called(member, message.recipient)
    at = when(message.send_at or message.created_at)
    if not members.may_see(member, message):
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
    """For who may not see the message: that there is one, not whose or when."""
    if message.outcome in WAITING:
        return gettext("Somebody in your team has planned a message to %(number)s.", number=number)
    return gettext("Somebody in your team wrote to %(number)s today.", number=number)


def _sender_changed(form: ComposeForm, submission: SubmissionId) -> Iterator[Question]:
    """The page promised another sender than recipients would see now."""
    chosen = form.extensions.find(form.sms_id.data or "")
    shown = submission.senders.get(chosen.id) if chosen else None
    if chosen is None or shown is None or shown == chosen.caller_id:
        return
    sentence = gettext(
        "The sender has changed since the page was opened: people will see “%(sender)s”.",
        sender=sender(chosen.caller_id),
    )
    yield Question(f"sender-{hashlib.sha256(chosen.caller_id.encode()).hexdigest()[:8]}", sentence)


def _night(form: ComposeForm) -> Iterator[Question]:
    """It is, or may be, night at a recipient's place."""
    if settings.quiet_hours is None:
        return
    moment = form.moment or now()
    for country in dict.fromkeys(recipients.country_of(number) for number in form.numbers):
        clocks = _clocks(country, moment)
        quiet = [at for at in clocks if times.is_within(at.time(), settings.quiet_hours)]
        if not quiet:
            continue
        place, at = country_name(country or ""), f"{quiet[0]:%H:%M}"
        if len(quiet) == len(clocks):
            sentence = gettext("%(place)s: it will be %(at)s there, at night.", place=place, at=at)
        else:
            sentence = gettext("%(place)s: it may be night there.", place=place)
        yield Question(f"night-{country or ''}", sentence)


def _clocks(country: str | None, moment: datetime) -> list[datetime]:
    """What the clocks of a country show; without a country, those of the deployment."""
    zones = get_global("territory_zones").get(country or "") or [settings.default_time_zone]
    known = (zone for zone in zones if zone in times.zone_names())
    return [moment.astimezone(ZoneInfo(zone)) for zone in known]


def _landline(form: ComposeForm) -> Iterator[Question]:
    kinds = {number: recipients.number_kind(number) for number in form.numbers}
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
            "%(number)s is no mobile number; a text may not arrive there.", number=phone(others[0])
        )
        yield Question(f"other-{len(others)}", sentence)


def _own_number(form: ComposeForm) -> Iterator[Question]:
    chosen = form.extensions.find(form.sms_id.data or "")
    if chosen and f"+{chosen.caller_id.lstrip('+')}" in form.numbers:
        yield Question("own", gettext("This is your own sender number."))
