"""The sentences for all codes: outcomes, reasons, problems of forms and sign-ins, troubles, scopes.

A sentence says what happened, what did not, and what to do next. Never "delivered"; "sent" only
where it is certain.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from flask import Flask
from flask_babel import LazyString, gettext, ngettext
from flask_babel import lazy_gettext as _

from webapp.account.cache import Trouble
from webapp.config import settings
from webapp.database.audit import AlarmKind, AuditEvent
from webapp.database.models import Batch, BlockedNumber, Message
from webapp.i18n.formats import when
from webapp.messages.blocked import How, Noted
from webapp.messages.reconcile import BY_HISTORY, BY_PERSON
from webapp.rules.numbers import RecipientProblem, RecipientRefused, phone
from webapp.rules.outcomes import WAITING, FillWish, Outcome, Reason, Wish
from webapp.rules.text import TextProblem, TextRefused
from webapp.rules.times import TimeProblem, TimeRefused
from webapp.signin.flow import SignInProblem

MAX_QUOTED_CHARACTERS = 40
LATE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class OutcomeLabel:
    """How an outcome looks: one word, and a tone that the pages give a colour and a shape."""

    word: LazyString
    tone: str


OUTCOMES = {
    Outcome.HELD: OutcomeLabel(_("Planned"), "wait"),
    Outcome.QUEUED: OutcomeLabel(_("Waiting"), "wait"),
    Outcome.PAUSED: OutcomeLabel(_("Paused"), "stuck"),
    Outcome.SENDING: OutcomeLabel(_("Being sent"), "wait"),
    Outcome.ACCEPTED: OutcomeLabel(_("Accepted"), "good"),
    Outcome.SCHEDULED: OutcomeLabel(_("Scheduled"), "later"),
    Outcome.REFUSED: OutcomeLabel(_("Refused"), "bad"),
    Outcome.NOT_SENT: OutcomeLabel(_("Not sent"), "bad"),
    Outcome.UNKNOWN: OutcomeLabel(_("Unknown"), "unknown"),
    Outcome.CANCELLED: OutcomeLabel(_("Cancelled"), "quiet"),
    Outcome.MISSED: OutcomeLabel(_("Missed"), "stuck"),
}

NEEDS_ATTENTION = _("Needs attention")

REASONS = {
    Reason.REJECTED: _("sipgate did not accept the number or the time. Nothing was sent."),
    Reason.SIGN_IN_ENDED: _(
        "Your sign-in had ended. Nothing was sent. Sign in again: your text is kept."
    ),
    Reason.BALANCE: _(
        "The account's balance is too low. Nothing was sent. Top up at sipgate, then send again."
    ),
    Reason.NOT_ALLOWED: _(
        "You may not send with this extension. Nothing was sent. Possible reasons: Web SMS is not "
        "booked (Feature Store) or not enabled for you; the extension is not yours; your sipgate "
        "password must be renewed in the web app; this app lacks a permission (its operator can "
        "add sessions:write to the setting SIPGATE_OPTIONAL_SCOPES)."
    ),
    Reason.MISUNDERSTOOD: _(
        "sipgate did not understand our request; the operator can help. Nothing was sent."
    ),
    Reason.REFUSED: _("sipgate refused the message. Nothing was sent."),
    Reason.UNREACHABLE: _("sipgate could not be reached. Nothing was sent. You can send it again."),
    Reason.UNTRUSTED: _(
        "The connection to sipgate was not secure, so nothing was sent. The operator can help."
    ),
    Reason.LOGIN_AWAY: _(
        "sipgate's sign-in service could not be reached, so nothing was sent. "
        "You can send it again."
    ),
    Reason.DATABASE_AWAY: _(
        "This app's database failed for a moment, so nothing was sent. You can send it again."
    ),
    Reason.NOT_IN_TIME: _(
        "The message could not be passed on to sipgate in time, so nothing was sent. You can "
        "send it again."
    ),
    Reason.NO_ANSWER: _("sipgate did not reply in time."),
    Reason.SERVER_ERROR: _("sipgate reported an internal error."),
    Reason.ODD_ANSWER: _("We got a reply, but it did not come from sipgate's SMS service."),
    Reason.REDIRECTED: _("The reply pointed to another address, which this app never follows."),
    Reason.INTERRUPTED: _(
        "This app was interrupted while it was passing the message on to sipgate."
    ),
    Reason.APPOINTMENT_PASSED: _("What it reminds of was over, so it was not sent."),
    Reason.SIGNED_OUT: _(
        "It is waiting because you paused it when you signed out. Nothing was sent."
    ),
    Reason.STOPPED: _(
        "It is waiting because sending to the list was paused before its turn. Nothing was sent."
    ),
    Reason.UNKNOWNS: _(
        "It is waiting because sending to the list was paused before its turn: for three "
        "messages in a row we could not tell whether they were sent. Nothing was sent."
    ),
}

HOW_BLOCKED = {
    How.PHONE: _("by phone"),
    How.LETTER: _("by letter"),
    How.MAIL: _("by e-mail"),
    How.IN_PERSON: _("in person"),
    How.TEXT: _("by text"),
    How.OTHER: _("in another way"),
}

REASON_WORDS = {
    Reason.REJECTED: _("Number or time not accepted"),
    Reason.SIGN_IN_ENDED: _("Sign-in had ended"),
    Reason.BALANCE: _("Balance too low"),
    Reason.NOT_ALLOWED: _("Not allowed"),
    Reason.MISUNDERSTOOD: _("Not understood by sipgate"),
    Reason.RATE_LIMITED: _("Too many at once"),
    Reason.REFUSED: _("Refused by sipgate"),
    Reason.UNREACHABLE: _("sipgate not reached"),
    Reason.UNTRUSTED: _("Connection not secure"),
    Reason.LOGIN_AWAY: _("sipgate's sign-in service not reached"),
    Reason.DATABASE_AWAY: _("This app's database failed"),
    Reason.NOT_IN_TIME: _("Not passed on in time"),
    Reason.NO_ANSWER: _("No reply in time"),
    Reason.SERVER_ERROR: _("Error at sipgate"),
    Reason.ODD_ANSWER: _("Unclear reply"),
    Reason.REDIRECTED: _("Reply pointed elsewhere"),
    Reason.INTERRUPTED: _("This app was interrupted"),
    Reason.SIGNED_OUT: _("Paused at sign-out"),
    Reason.STOPPED: _("Paused by somebody"),
    Reason.UNKNOWNS: _("Paused: several unknown in a row"),
    Reason.BLOCKED: _("Recipient wants no more texts"),
}
"""The reasons in a few words, for tables."""

# For a message that waits because the same reason refused or stopped another one.
PAUSED_REASONS = {
    Reason.SIGN_IN_ENDED: _("It is waiting because your sign-in had ended. Nothing was sent."),
    Reason.BALANCE: _("It is waiting because the account's balance was too low. Nothing was sent."),
    Reason.NOT_ALLOWED: _(
        "It is waiting because sipgate did not allow it to be sent. Nothing was sent."
    ),
}

WISHES = {
    Wish.CANCEL: _("Being sent. If sipgate does not take it, sending is cancelled."),
    Wish.PAUSE: _("Being sent. If sipgate does not take it, sending is paused."),
}

PLAIN_SENTENCES = {
    Outcome.SENDING: _("The message is on its way to sipgate."),
    Outcome.QUEUED: _("It is waiting for its turn and has not been sent yet."),
    Outcome.CANCELLED: _("Cancelled before it was sent. Nothing was sent."),
}

BATCH_STOPS = {
    Reason.STOPPED: _("Sending is paused. Paused messages were not sent."),
    Reason.SIGNED_OUT: _(
        "Sending is paused because you signed out. Paused messages were not sent."
    ),
    Reason.SIGN_IN_ENDED: _(
        "Sending is paused: the sign-in it was sent with has ended. Paused messages were not sent."
    ),
    Reason.BALANCE: _(
        "Sending is paused: the balance is too low. Top up at sipgate, then resume sending. "
        "Paused messages were not sent."
    ),
    Reason.NOT_ALLOWED: _(
        "Sending is paused: sipgate does not allow sending with this extension. Paused "
        "messages were not sent."
    ),
    Reason.UNKNOWNS: _(
        "Sending was paused automatically: for three messages in a row we could not tell "
        "whether they were sent. Look in sipgate's event list before you resume sending. "
        "Paused messages were not sent."
    ),
}

# What stopped a batch of which nothing waits any more.
BATCH_ENDS = {
    Reason.SIGN_IN_ENDED: _(
        "Finished, but not all were sent: the sign-in it was sent with had ended."
    ),
    Reason.BALANCE: _("Finished, but not all were sent: the balance was too low."),
    Reason.NOT_ALLOWED: _(
        "Finished, but not all were sent: sipgate did not allow sending with this extension."
    ),
}

ALARMS = {
    AlarmKind.UNTRUSTED: _(
        "The connection to sipgate was not secure (certificate). Check SIPGATE_API_URL and "
        "this machine's clock and certificates."
    ),
    AlarmKind.REDIRECTED: _("sipgate's API replied with a redirect. Check SIPGATE_API_URL."),
}

UNKNOWN_ADVICE = _(
    "We cannot tell whether it was sent. Look in sipgate's event list before you send it again."
)

RECIPIENT_PROBLEMS = {
    RecipientProblem.EMPTY: _("Enter a mobile number, such as 0151 23456789."),
    RecipientProblem.LETTERS: _("Enter digits only: “%(typed)s” contains letters."),
    RecipientProblem.STRANGE_CHARACTER: _(
        "Enter digits only: “%(typed)s” has a character that does not belong in a number."
    ),
    RecipientProblem.PLUS_INSIDE: _("Put the plus sign first, or leave it out: “%(typed)s”."),
    RecipientProblem.SEVERAL: _("Put each number on its own line: “%(typed)s” contains several."),
    RecipientProblem.EXTENSION: _("Leave out the extension after the number: “%(typed)s”."),
    RecipientProblem.TOO_SHORT: _("Add the missing digits: “%(typed)s” is too short."),
    RecipientProblem.TOO_LONG: _("Check the number: “%(typed)s” is too long."),
    RecipientProblem.UNKNOWN_COUNTRY: _(
        "Check the country code: the one in “%(typed)s” does not exist."
    ),
    RecipientProblem.NOT_A_NUMBER: _("Enter a phone number: “%(typed)s” is not one."),
    RecipientProblem.EMERGENCY: _(
        "Call emergency services by phone: a text to “%(typed)s” would not reach them."
    ),
    RecipientProblem.SHORT_CODE: _(
        "Enter a full number: short codes such as “%(typed)s” cannot be reached from sipgate."
    ),
    RecipientProblem.PREMIUM: _("Enter another number: “%(typed)s” is charged at a premium rate."),
    RecipientProblem.MASS_CALL: _(
        "Enter another number: “%(typed)s” is a line for votes and contests."
    ),
    RecipientProblem.SHARED_COST: _(
        "Enter another number: “%(typed)s” is a service line that charges extra."
    ),
    RecipientProblem.COMPANY_WIDE: _(
        "Enter another number: “%(typed)s” is a company's central line, not a phone."
    ),
    RecipientProblem.PAGER: _("Enter another number: “%(typed)s” belongs to a pager."),
    RecipientProblem.VOICEMAIL: _("Enter another number: “%(typed)s” belongs to a mailbox."),
    RecipientProblem.DIGITS_LOST: _(
        "Format the column as text and enter the number again: the spreadsheet has cut “%(typed)s”."
    ),
    RecipientProblem.SEVERAL_CONTACTS: _(
        "Enter the number: your contacts have several for “%(typed)s”."
    ),
}

TEXT_PROBLEMS = {
    TextProblem.EMPTY: _("Enter a text."),
    TextProblem.TOO_LONG: _(
        "Shorten the text: it has %(detail)s parts, and at most 10 can be sent."
    ),
    TextProblem.CONTROL_CHARACTER: _(
        "Remove a character that no phone can show (%(detail)s); it may have been copied along "
        "with the text."
    ),
    TextProblem.LONE_SURROGATE: _("Remove a broken character (%(detail)s) from the text."),
}

TIME_PROBLEMS = {
    TimeProblem.UNREADABLE: _("Enter a day and a time, such as 2026-12-24 08:00."),
    TimeProblem.UNKNOWN_ZONE: _("Choose the time zone in which the time is meant."),
    TimeProblem.DOES_NOT_EXIST: _(
        "Choose another time: the clocks go forward that night, and this time does not exist."
    ),
    TimeProblem.EXISTS_TWICE: _(
        "Choose which of the two: the clocks go back that night, and this time comes twice."
    ),
    TimeProblem.TOO_SOON: _(
        "Choose a time at least 2 minutes from now, or leave it empty to send now."
    ),
    TimeProblem.TOO_FAR: _(
        "Choose a time within the next 30 days: sipgate does not accept later ones."
    ),
}

SIGN_IN_PROBLEMS = {
    SignInProblem.DECLINED: _("You did not allow access at sipgate, so you are not signed in."),
    SignInProblem.NOT_OURS: _(
        "This sign-in was used already, took longer than ten minutes, or began in another browser."
    ),
    SignInProblem.LOGIN_AWAY: _("sipgate's sign-in service could not be reached."),
    SignInProblem.LOGIN_ODD: _("sipgate's sign-in service reported a problem."),
    SignInProblem.CODE_REFUSED: _("sipgate did not confirm the sign-in."),
    SignInProblem.IDENTITY_UNKNOWN: _("sipgate did not say who you are."),
}

EXTENSION_TROUBLES = {
    Trouble.AWAY: _(
        "Your extensions could not be updated from sipgate just now; what is shown may be out "
        "of date."
    ),
    Trouble.NOT_ALLOWED: _(
        "sipgate does not give this app any Web SMS extension of yours: none is enabled for you, "
        "the feature is not booked, or this kind of account does not offer it."
    ),
}

CONTACT_TROUBLES = {
    Trouble.AWAY: _(
        "Your contacts could not be updated from sipgate just now; these may be out of date."
    ),
    Trouble.NOT_ALLOWED: _("sipgate does not let you read contacts."),
    Trouble.NOT_GRANTED: _(
        "Contacts are not shown: this app has no permission to read them. The operator can add "
        "contacts:read to the setting SIPGATE_OPTIONAL_SCOPES; then sign in again."
    ),
    Trouble.ONLY_COLLEAGUES: _(
        "sipgate does not let you read contacts; only your colleagues are shown."
    ),
    Trouble.INCOMPLETE: _(
        "sipgate did not tell this app all of your contacts; some may be missing here."
    ),
    Trouble.CUT: _("This app shows 20,000 of your contacts; you have more at sipgate."),
}

SENDER_REASONS = {
    Reason.REJECTED: _("sipgate did not accept this. Nothing was changed."),
    Reason.BALANCE: _(
        "The account's balance is too low for the SMS with the code. Nothing was sent. "
        "Top up at sipgate, then try again."
    ),
    Reason.NOT_ALLOWED: _(
        "sipgate does not allow this. Nothing was changed. Possible reasons: this app lacks the "
        "permission to change senders; the extension is not yours; Web SMS is not enabled for you."
    ),
    Reason.MISUNDERSTOOD: _(
        "sipgate does not know this sender or this extension. Nothing was changed."
    ),
    Reason.RATE_LIMITED: _(
        "sipgate asks to slow down. Nothing was changed. Try again in a few minutes."
    ),
    Reason.UNREACHABLE: _("sipgate could not be reached. Nothing was changed. Try again."),
    Reason.UNTRUSTED: _(
        "The connection to sipgate was not secure, so nothing was changed. The operator can help."
    ),
    Reason.LOGIN_AWAY: _(
        "sipgate's sign-in service could not be reached, so nothing was changed. Try again."
    ),
    Reason.DATABASE_AWAY: _(
        "This app's database failed for a moment, so nothing was changed. Try again."
    ),
    Reason.SIGN_IN_ENDED: _("Your sign-in had ended, so nothing was changed. Try again."),
    Reason.REFUSED: _("sipgate refused this. Nothing was changed."),
}

TEMPLATE_CHANGES = {
    AuditEvent.TEMPLATE_MADE: _("created"),
    AuditEvent.TEMPLATE_CHANGED: _("changed"),
    AuditEvent.TEMPLATE_DELETED: _("deleted"),
    AuditEvent.TEMPLATE_RESTORED: _("restored"),
}

RECORD = {
    AuditEvent.SIGNED_IN: _("signed in"),
    AuditEvent.SIGNED_OUT: _("signed out"),
    AuditEvent.ENDED_SIGN_INS: _("ended the sign-ins of somebody"),
    AuditEvent.SENT: _("sent a message"),
    AuditEvent.PLANNED: _("planned a message"),
    AuditEvent.CHANGED: _("changed a planned message"),
    AuditEvent.WITHDREW: _("cancelled a message"),
    AuditEvent.DONE: _("marked a message as done"),
    AuditEvent.RESUMED: _("released paused messages"),
    AuditEvent.STOPPED: _("stopped a batch"),
    AuditEvent.SETTLED: _("said what became of an unknown message"),
    AuditEvent.TEMPLATE_MADE: _("created a message template"),
    AuditEvent.TEMPLATE_CHANGED: _("changed a message template"),
    AuditEvent.TEMPLATE_DELETED: _("deleted a message template"),
    AuditEvent.TEMPLATE_RESTORED: _("restored a message template"),
    AuditEvent.GROUP_MADE: _("created a group"),
    AuditEvent.GROUP_CHANGED: _("changed a group"),
    AuditEvent.GROUP_DELETED: _("deleted a group"),
    AuditEvent.GROUP_RESTORED: _("restored a group"),
    AuditEvent.BLOCKED: _("noted who wants no more texts"),
    AuditEvent.UNBLOCKED: _("lifted a note that somebody wants no more texts"),
    AuditEvent.SENDER_ASKED_FOR: _("asked for a sender number"),
    AuditEvent.SENDER_PROVED: _("confirmed a sender number"),
    AuditEvent.SENDER_CHOSEN: _("chose another sender"),
    AuditEvent.SENDER_REMOVED: _("removed a sender number"),
}
"""What somebody of an account did. The operator's own deeds are in no account's record."""

RECORD_OF_BATCH = {
    AuditEvent.SENT: _("sent a message to several people"),
    AuditEvent.PLANNED: _("planned a message to several people"),
    AuditEvent.WITHDREW: _("cancelled a batch"),
    AuditEvent.DONE: _("marked messages of a batch as done"),
    AuditEvent.RESUMED: _("resumed a batch"),
}

SCOPES = {
    "sessions:sms:write": _("to send text messages for you"),
    "sms:read": _("to list your Web SMS extensions and their senders"),
    "users:read": _("to show your name"),
    "history:read": _("to check whether a message was sent when we cannot tell"),
    "contacts:read": _("to suggest your contacts as recipients"),
    "sms:callerid:read": _("to list the sender numbers of your extensions"),
    "sms:callerid:write": _("to add, choose and remove sender numbers"),
    "balance:read": _("to show the account's balance"),
}


def outcome_word(outcome: Outcome) -> str:
    return str(OUTCOMES[outcome].word)


def record_sentence(kind: AuditEvent, note: str, *, is_batch: bool, name: str = "") -> str:
    """What somebody did, to be read after their name. `name`: of the one it was done to."""
    if kind == AuditEvent.ENDED_SIGN_INS and name:
        return gettext("ended the sign-ins of %(name)s", name=name)
    said = str((RECORD_OF_BATCH if is_batch else {}).get(kind, RECORD[kind]))
    if kind == AuditEvent.SETTLED and note in set(Outcome):
        return f"{said}: {outcome_word(Outcome(note))}"
    if note.isdigit():
        count = ngettext("%(num)s message", "%(num)s messages", int(note))
        return f"{said} ({count})"
    return said


def reason_word(reason: Reason) -> str:
    return str(REASON_WORDS[reason])


def outcome_tone(outcome: Outcome) -> str:
    return OUTCOMES[outcome].tone


def message_sentence(message: Message) -> str:
    """What happened, in the first sentence of a message's page."""
    if message.outcome == Outcome.SENDING and message.wish:
        return str(WISHES[Wish(message.wish)])
    if message.outcome == Outcome.CANCELLED and message.reason == Reason.BLOCKED:
        return gettext("Cancelled: this number wants no more texts. Nothing was sent.")
    if message.outcome in PLAIN_SENTENCES:
        return str(PLAIN_SENTENCES[message.outcome])
    if message.outcome == Outcome.PAUSED and message.reason in PAUSED_REASONS:
        return str(PAUSED_REASONS[Reason(message.reason)])
    if message.outcome == Outcome.MISSED:
        return _missed_sentence(message)
    at = when(message.settled_at or message.created_at)
    if message.settled_how == BY_HISTORY:
        return gettext("Accepted: found in sipgate's history, looked up on %(at)s.", at=at)
    if message.settled_how == BY_PERSON:
        return _persons_word(message, at)
    return _timed_sentence(message, at) or _reason_sentence(message)


def _missed_sentence(message: Message) -> str:
    """A message without a planned time was to go at once."""
    if message.reason == Reason.APPOINTMENT_PASSED and message.not_after:
        return gettext(
            "It was not sent: what it reminds of was over (%(at)s).",
            at=when(message.not_after, message.time_zone),
        )
    planned = message.send_at or message.expected_at or message.created_at
    at = when(planned, message.time_zone)
    return gettext("It was not sent: its planned time had passed (%(at)s).", at=at)


def _timed_sentence(message: Message, at: str) -> str:
    if message.outcome == Outcome.ACCEPTED:
        return gettext(
            "Accepted by sipgate on %(at)s. We cannot see whether it reached the phone.", at=at
        )
    if message.reason == Reason.RATE_LIMITED and message.retry_at:
        return gettext(
            "sipgate asks to slow down; you can send again at %(at)s. Nothing was sent.",
            at=when(message.retry_at),
        )
    if message.send_at is None:
        return ""
    planned = when(message.send_at, message.time_zone)
    if message.outcome == Outcome.SCHEDULED:
        return gettext("sipgate has it and will send it on %(at)s.", at=planned)
    if message.outcome == Outcome.HELD:
        return gettext(
            "Planned for %(at)s. It is still here and can be changed or cancelled.", at=planned
        )
    return ""


def _reason_sentence(message: Message) -> str:
    sentence = REASONS.get(Reason(message.reason)) if message.reason else None
    return str(sentence or OUTCOMES[message.outcome].word)


def _persons_word(message: Message, at: str) -> str:
    name = message.settled_by.name if message.settled_by else ""
    if message.outcome == Outcome.NOT_SENT:
        return gettext("%(name)s marked it as not sent on %(at)s.", name=name, at=at)
    return gettext("%(name)s marked it as sent on %(at)s.", name=name, at=at)


def message_advice(message: Message) -> str:
    """What to do next, if the first sentence does not say it; else empty."""
    late_by = (message.settled_at or message.created_at) - (message.send_at or message.created_at)
    if message.outcome == Outcome.ACCEPTED and message.send_at and late_by > LATE:
        return gettext("Passed on late; planned for %(at)s.", at=when(message.send_at))
    if message.outcome == Outcome.UNKNOWN:
        return str(UNKNOWN_ADVICE)
    if message.outcome == Outcome.SCHEDULED:
        return gettext("It can no longer be recalled.")
    return ""


def recipient_problem(refused: RecipientRefused) -> str:
    """Why a recipient was refused, with what was typed, cut."""
    quoted = refused.typed.strip()[:MAX_QUOTED_CHARACTERS]
    return str(RECIPIENT_PROBLEMS[refused.problem]) % {"typed": quoted}


def text_problem(refused: TextRefused) -> str:
    return str(TEXT_PROBLEMS[refused.problem]) % {"detail": refused.detail}


def time_problem(refused: TimeRefused) -> str:
    return str(TIME_PROBLEMS[refused.problem])


def local_time_fields(moment: datetime, zone: str) -> dict[str, str]:
    """A moment as the form's fields `send_at`, `time_zone` and `fold`."""
    local = moment.astimezone(ZoneInfo(zone or settings.default_time_zone))
    return {
        "send_at": f"{local:%Y-%m-%dT%H:%M}",
        "time_zone": zone or settings.default_time_zone,
        "fold": str(local.fold),
    }


def sender_reason(reason: Reason | None) -> str:
    """Why a change of senders was not made."""
    return str(SENDER_REASONS.get(reason or Reason.REFUSED, SENDER_REASONS[Reason.REFUSED]))


def scope_words(scope: str) -> str:
    return str(SCOPES.get(scope, scope))


def batch_sentence(batch: Batch, counts: dict[Outcome, int]) -> str:
    """How far a batch is, in one sentence."""
    if batch.is_filling:
        return _filling_sentence(batch)
    if batch.stop_reason and any(counts.get(outcome) for outcome in (*WAITING, Outcome.PAUSED)):
        return str(BATCH_STOPS.get(Reason(batch.stop_reason), BATCH_STOPS[Reason.STOPPED]))
    if counts.get(Outcome.QUEUED) or counts.get(Outcome.SENDING):
        return gettext("The messages are on their way to sipgate, one after the other.")
    if counts.get(Outcome.HELD):
        return gettext("The messages are planned and can still be cancelled.")
    if counts.get(Outcome.PAUSED) or counts.get(Outcome.MISSED):
        return gettext("Some messages need your decision.")
    if counts.get(Outcome.UNKNOWN):
        return gettext(
            "Finished, but for some messages we cannot tell whether they were sent. Look in "
            "sipgate's event list before you send them again."
        )
    failed = counts.get(Outcome.REFUSED) or counts.get(Outcome.NOT_SENT)
    if failed and batch.stop_reason in BATCH_ENDS:
        return str(BATCH_ENDS[Reason(batch.stop_reason)])
    return gettext("Finished. The list shows the status of each message.")


def _filling_sentence(batch: Batch) -> str:
    if batch.wish == FillWish.CANCEL:
        return gettext("The list was cancelled while its messages were prepared. Nothing is sent.")
    if batch.stop_reason:
        return gettext(
            "Sending is paused. The messages are still being prepared; none is sent until you "
            "resume."
        )
    return gettext("The messages are being prepared. Sending begins when all are there.")


def too_late(message: Message) -> str:
    """Why a click comes too late. Says that a message has left only if that is certain."""
    if message.outcome == Outcome.SENDING:
        return gettext("The message is being sent right now and cannot be changed.")
    if message.outcome in (Outcome.ACCEPTED, Outcome.SCHEDULED):
        return gettext("Too late: this message is no longer here. Here is its status.")
    return gettext("The message has changed in the meantime. Here is its status.")


def alarm_sentence(kind: AlarmKind) -> str:
    return str(ALARMS[kind])


def on_hold(*, to_admin: bool = False) -> str:
    """Why nothing is sent; an administrator also reads how to release it."""
    if not to_admin:
        return gettext("Sending is on hold, and nothing is sent until the operator releases it.")
    return gettext(
        "Sending is on hold, and nothing is sent until the operator releases it "
        "(flask --app webapp release)."
    )


def daily_limit() -> str:
    return gettext(
        "You have reached today's limit of %(limit)s messages. Nothing was sent. You can send "
        "again tomorrow; the operator can raise DAILY_LIMIT.",
        limit=settings.daily_limit,
    )


def needs_attention(count: int, shown: str) -> str:
    """The line under the navigation; `shown` is the number, or the gap where a script puts it."""
    return ngettext(
        "%(count)s message needs your attention",
        "%(count)s messages need your attention",
        count,
        count=shown,
    )


def setup_sentences(app: Flask) -> None:
    for function in (
        outcome_word,
        outcome_tone,
        message_sentence,
        message_advice,
        needs_attention,
    ):
        app.add_template_global(function)


def numbers_blocked(found: Collection[BlockedNumber]) -> str:
    """Why these recipients are refused."""
    return " ".join(
        gettext(
            "Remove %(number)s: %(name)s noted on %(at)s that this number wants no texts.",
            number=phone(row.number) if row.number else gettext("the erased number"),
            name=row.noted_by.name,
            at=when(row.noted_at),
        )
        for row in found
    )


def noted_blocked(noted: Noted) -> str:
    """What noting numbers did."""
    said = [
        gettext("Noted. Nothing more is sent there.")
        if noted.is_new
        else gettext("That was noted already.")
    ]
    if noted.withdrawn:
        said.append(
            ngettext(
                "%(num)s waiting message was cancelled.",
                "%(num)s waiting messages were cancelled.",
                noted.withdrawn,
            )
        )
    if noted.being_sent:
        said.append(
            ngettext(
                "%(num)s message is just being sent; it is cancelled if sipgate does not take it.",
                "%(num)s messages are just being sent; they are cancelled if sipgate does not take "
                "them.",
                noted.being_sent,
            )
        )
    if noted.at_sipgate:
        said.append(
            ngettext(
                "%(num)s planned message is at sipgate already and can no longer be recalled.",
                "%(num)s planned messages are at sipgate already and can no longer be recalled.",
                noted.at_sipgate,
            )
        )
    return " ".join(said)
