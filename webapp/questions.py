"""Questions asked before sending: what a person should have seen, and may answer with yes.

Each question has a code that names exactly what was asked (`many-12-24`: 12 messages, 24 segments).
The one control `confirm` carries the codes that were on the page; a new question asks again.
"""

from dataclasses import dataclass

from flask_babel import gettext, ngettext

from webapp import sms
from webapp.forms import ComposeForm
from webapp.models import Member


@dataclass(frozen=True, slots=True)
class Question:
    code: str
    sentence: str


def questions_about(form: ComposeForm, member: Member) -> list[Question]:
    """What to ask about a valid form; empty when it may go at once."""
    asked: list[Question] = []
    if len(form.numbers) > 1:
        asked.append(_many(form))
    return asked


def unanswered(asked: list[Question], confirm: str) -> list[Question]:
    answered = set(confirm.split())
    return asked if any(question.code not in answered for question in asked) else []


def confirm_value(asked: list[Question]) -> str:
    return " ".join(question.code for question in asked)


def confirm_label(form: ComposeForm) -> str:
    count = len(form.numbers)
    if count == 1:
        return gettext("Send anyway")
    if form.moment:
        return ngettext("Schedule %(num)s message", "Schedule %(num)s messages", count)
    return ngettext("Send %(num)s message", "Send %(num)s messages", count)


def _many(form: ComposeForm) -> Question:
    count = len(form.numbers)
    segments = sms.segment(form.text).segment_count * count
    sentence = gettext(
        "This goes to %(count)s recipients, %(segments)s segments in all.",
        count=count,
        segments=segments,
    )
    if form.duplicate_count:
        sentence += " " + ngettext(
            "%(num)s number stood there twice and is counted once.",
            "%(num)s numbers stood there more than once and are counted once.",
            form.duplicate_count,
        )
    return Question(f"many-{count}-{segments}", sentence)
