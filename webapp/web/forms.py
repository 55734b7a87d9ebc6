"""The forms. Validators only translate: the rules are in `rules/`, the sentences in `i18n/`.

Fields keep what was typed, right or wrong; `checked()` returns what it means.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from flask import get_template_attribute, request
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import ValidationError

from webapp.account import recipients
from webapp.account.cache import Extensions
from webapp.account.recipients import Recipient
from webapp.account.senders import Senders
from webapp.config import settings
from webapp.database.idempotency import FormSpent, GrownOld, MessageErased, NotTaken
from webapp.database.models import Member
from webapp.i18n import sentences
from webapp.i18n.formats import when
from webapp.messages import message_templates
from webapp.messages.message_templates import MAX_NAME_CHARACTERS
from webapp.messages.submit import NewMessage
from webapp.rules import times
from webapp.rules.names import FIRST_NAME_PLACEHOLDERS
from webapp.rules.numbers import (
    NumberKind,
    RecipientProblem,
    RecipientRefused,
    number_kind,
    parse_recipient,
    recipient_rows,
    split_recipients,
)
from webapp.rules.text import TextRefused, check_text, filled, normalise_text, placeholders
from webapp.rules.times import TimeRefused, now
from webapp.sipgate import Extension

MAX_RECIPIENTS = 100
MAX_NAMED_PROBLEMS = 5
MAX_BLOCKED_AT_ONCE = 500
MAX_CODE_CHARACTERS = 32
MAX_INTEGER = 2**31 - 1
"""The largest that PostgreSQL's `integer` holds; a statement with a larger one fails."""
FILL = "fill-"
"""Before the name of a placeholder: the field with what stands for it."""


class ComposeForm(FlaskForm):  # type: ignore[misc]
    """A message to write. Make it with `compose_form`, which knows the member's extensions."""

    sms_id = SelectField(_("From"), validate_choice=False)
    recipient = TextAreaField(_("To"))
    message = TextAreaField(_("Message"))
    send_at = StringField(_("Send at"))
    time_zone = StringField(_("Time zone"))
    fold = RadioField(_("Which of the two"), choices=[], validate_choice=False)
    submission_id = HiddenField()
    template_id = HiddenField()
    """Of the message template that was inserted last."""
    own_number = TextAreaField(_("Your own mobile number"))

    extensions: Extensions
    member: Member
    fill_refused: TextRefused | None = None
    filled_names: tuple[str, ...] = ()

    def validate_sms_id(self, field: SelectField) -> None:
        # Only what the form names: without the field, the preselected one must not be used.
        if self.extensions.find(field.raw_data[0] if field.raw_data else "") is None:
            raise ValidationError(_("Choose one of your extensions."))

    def validate_recipient(self, field: TextAreaField) -> None:
        """One or several. Each that is refused is named; duplicates are dropped and counted."""
        found = self.recipients
        if len(found) > MAX_RECIPIENTS:
            count = len(recipient_rows(field.data or ""))
            raise ValidationError(
                _("Enter at most %(most)d numbers: there are %(count)d.")
                % {"most": MAX_RECIPIENTS, "count": count}
            )
        refused = [one.refused for one in found if one.refused]
        if not found:
            refused = [RecipientRefused(RecipientProblem.EMPTY, "")]
        problems = dict.fromkeys(map(sentences.recipient_problem, refused))
        if problems:
            raise ValidationError(" ".join(list(problems)[:MAX_NAMED_PROBLEMS]))
        each = Counter(one.number for one in found)
        self.duplicate_count = sum(count > 1 for count in each.values())
        self.numbers = list(each)

    @cached_property
    def recipients(self) -> list[Recipient]:
        """Of too many, one more than there may be."""
        return recipients.read(self.member, self.recipient.data or "", most=MAX_RECIPIENTS + 1)

    @cached_property
    def named_recipients(self) -> list[Recipient]:
        return recipients.with_names(self.member, self.recipients)

    def validate_message(self, field: TextAreaField) -> None:
        self.text = normalise_text(field.data or "")
        try:
            if self.fill_refused:
                raise self.fill_refused
            check_text(self.text)
        except TextRefused as refused:
            raise ValidationError(sentences.text_problem(refused)) from None

    @property
    def fills(self) -> dict[str, str]:
        """The fields for the placeholders that are still in the text, with what is known of them.

        What was typed for others stays, too: they may come back into the text.
        """
        names = placeholders(self.message.data or "")
        known = known_fills(self.named_recipients) if names else {}
        typed = typed_fills(request.form)
        left = {name: value for name, value in typed.items() if name not in self.filled_names}
        return {name: known.get(name.casefold(), "") for name in names} | left

    def fill_in(self) -> bool:
        """Put what was typed for placeholders into the text. Returns whether that changed it.

        If it would become far too long, all stays where it was typed, and the text is refused.
        """
        typed = self.message.data or ""
        try:
            self.message.data = filled_text(typed, request.form)
            self.filled_names = placeholders(typed)
        except TextRefused as refused:
            self.fill_refused = refused
        return bool(self.message.data != typed)

    def validate_send_at(self, field: StringField) -> None:
        """Empty means now, whatever the other fields say."""
        self.moment: datetime | None = None
        if not (field.data or "").strip():
            return
        try:
            self.moment = times.parse_send_at(
                field.data or "", self.time_zone.data or "", self.fold.data or "", now()
            )
        except TimeRefused as refused:
            self.fold.choices = [
                (str(choice.fold), f"{choice:%H:%M} {choice.tzname()}")
                for choice in refused.choices
            ]
            raise ValidationError(sentences.time_problem(refused)) from None

    @property
    def zone(self) -> str:
        return (self.time_zone.data or "") if self.moment else ""

    def validate_time(self) -> bool:
        """Check the time alone, for a message whose other fields do not change."""
        try:
            self.validate_send_at(self.send_at)
        except ValidationError as error:
            self.send_at.errors = [str(error)]
            return False
        return True

    def validate_test(self) -> bool:
        """Check what a test to oneself needs: extension, text, and one's own number."""
        checks: tuple[tuple[Any, Callable[[Any], None]], ...] = (
            (self.sms_id, self.validate_sms_id),
            (self.message, self.validate_message),
            (self.own_number, self._check_own_number),
        )
        for field, check in checks:
            try:
                check(field)
            except ValidationError as error:
                field.errors = [str(error)]
        return not self.errors

    def _check_own_number(self, field: TextAreaField) -> None:
        # Not a WTForms validator by name: sending to others needs no number of one's own.
        try:
            self.checked_own_number = parse_recipient(
                (field.data or "").strip(), settings.default_region
            )
        except RecipientRefused as refused:
            raise ValidationError(sentences.recipient_problem(refused)) from None

    @property
    def test_content(self) -> str:
        return f"{self.checked_own_number} {self.sms_id.data} {self.text}"

    def test_message(self) -> NewMessage:
        """The test to oneself, after `validate_test()`. It goes at once."""
        return NewMessage(
            extension=self._extension(),
            recipient=self.checked_own_number,
            text=self.text,
            send_at=None,
            time_zone="",
        )

    def checked(self) -> list[NewMessage]:
        """The messages, one for each recipient, after `validate()`."""
        extension, template_id = self._extension(), self._template_id()
        return [
            NewMessage(
                extension=extension,
                recipient=number,
                text=self.text,
                send_at=self.moment,
                time_zone=self.zone,
                template_id=template_id,
            )
            for number in self.numbers
        ]

    @property
    def chosen(self) -> Extension | None:
        return self.extensions.find(self.sms_id.data or "")

    def _template_id(self) -> str | None:
        """None if it is not, or no longer, one of the account's."""
        if not self.template_id.data:
            return None
        known = {one.id for one in message_templates.active(self.member)}
        return self.template_id.data if self.template_id.data in known else None

    def _extension(self) -> Extension:
        extension = self.chosen
        if extension is None:
            raise LookupError("only for a form that was validated")
        return extension


class BlockForm(FlaskForm):  # type: ignore[misc]
    """Numbers that want no more texts, and how their owners said so."""

    number = TextAreaField(_("Number"))
    how = SelectField(_("How they said so"), choices=[])

    def __init__(self, **data: Any) -> None:
        super().__init__(**data)
        self.how.choices = [(how.value, words) for how, words in sentences.HOW_BLOCKED.items()]

    def validate_number(self, field: TextAreaField) -> None:
        typed = split_recipients(field.data or "") or [""]
        if len(typed) > MAX_BLOCKED_AT_ONCE:
            raise ValidationError(
                _("Enter at most %(most)d numbers: there are %(count)d.")
                % {"most": MAX_BLOCKED_AT_ONCE, "count": len(typed)}
            )
        numbers, problems = _numbers(typed)
        if problems:
            raise ValidationError(" ".join(problems))
        self.numbers = list(dict.fromkeys(numbers))


def typed_fills(fields: Mapping[str, str]) -> dict[str, str]:
    """What was typed for placeholders, by their names."""
    typed = {name: value.strip() for name, value in fields.items() if name.startswith(FILL)}
    return {name.removeprefix(FILL): value for name, value in typed.items() if value}


def filled_text(text: str, fields: Mapping[str, str]) -> str:
    """The text with what was typed for its placeholders. Raises TextRefused."""
    values = typed_fills(fields)
    return text if values.keys().isdisjoint(placeholders(text)) else filled(text, values)


def known_fills(found: list[Recipient]) -> dict[str, str]:
    """By the names of placeholders, what the contact says that a single recipient is."""
    if len(found) != 1:
        return {}
    one = found[0]
    return dict.fromkeys(FIRST_NAME_PLACEHOLDERS, one.first_name)


class SenderForm(FlaskForm):  # type: ignore[misc]
    """A mobile number to add. `senders` are those of its extension."""

    sms_id = HiddenField()
    number = StringField(_("Mobile number"))
    submission_id = HiddenField()

    senders = Senders(())

    def validate_number(self, field: StringField) -> None:
        try:
            self.e164 = parse_recipient(field.data or "", settings.default_region)
        except RecipientRefused as refused:
            raise ValidationError(sentences.recipient_problem(refused)) from None
        if number_kind(self.e164) in (NumberKind.LANDLINE, NumberKind.FREEPHONE):
            raise ValidationError(
                _("Enter a mobile number: sipgate accepts no other kind as a sender.")
            )
        if self.senders.has_number(self.e164):
            raise ValidationError(_("Enter another number: this one is in the list already."))


class CodeForm(FlaskForm):  # type: ignore[misc]
    """The code that came by SMS. Only sipgate can tell whether it is right."""

    code = StringField(_("Code"))

    def validate_code(self, field: StringField) -> None:
        self.typed = "".join((field.data or "").split())
        if not self.typed:
            raise ValidationError(_("Enter the code from the SMS."))
        if len(self.typed) > MAX_CODE_CHARACTERS or not self.typed.isprintable():
            raise ValidationError(
                _("That is not the code from the SMS. Enter it as it stands there.")
            )


def _numbers(typed: Sequence[str]) -> tuple[list[str], list[str]]:
    """What was typed in E.164, and a sentence on each of the first that are no numbers."""
    numbers: list[str] = []
    problems: list[str] = []
    for one in typed:
        try:
            numbers.append(parse_recipient(one, settings.default_region))
        except RecipientRefused as refused:
            problems.append(sentences.recipient_problem(refused))
    return numbers, list(dict.fromkeys(problems[:MAX_NAMED_PROBLEMS]))


def whole_number(typed: str) -> int:
    """For `type=` of a typed value; raises ValueError for what no integer column holds."""
    number = int(typed)
    if not 0 <= number <= MAX_INTEGER:
        raise ValueError("out of range")
    return number


def compose_form(member: Member, extensions: Extensions, **data: str) -> ComposeForm:
    """The form with the choices of this member; `data` prefills it where nothing was typed."""
    # `request.form` has text only: a file sent as a field (multipart) counts as nothing typed.
    form = ComposeForm(request.form or None, **data)
    form.member, form.extensions = member, extensions
    form.sms_id.choices = [(item.id, f"{item.alias} ({item.id})") for item in extensions.items]
    if not form.sms_id.data and extensions.items:
        form.sms_id.data = extensions.items[0].id
    if form.time_zone.data is None and not form.is_submitted():
        form.time_zone.data = settings.default_time_zone
    return form


def zone_choices(chosen: str | None) -> str:
    """The options of a choice of zones: the deployment's zone, those near it, one for each clock
    elsewhere, and the chosen one. The browser adds its own."""
    known = chosen if chosen in times.zone_names() else None
    return _zone_choices(settings.default_time_zone, known)


@lru_cache
def _zone_choices(home: str, chosen: str | None) -> str:
    # More than a hundred, so that making them takes a tenth of the whole page (measured).
    zones = dict.fromkeys([home, *times.zones_to_offer(home), *filter(None, [chosen])])
    options: str = get_template_attribute("macros.html", "zone_options")(list(zones), chosen)
    return options


class MessageTemplateForm(FlaskForm):  # type: ignore[misc]
    """A message template: its name, and the text with placeholders."""

    name = StringField(_("Name"))
    text = TextAreaField(_("Text"))

    def validate_name(self, field: StringField) -> None:
        self.checked_name = normalise_text(" ".join((field.data or "").split()))
        if not self.checked_name or not self.checked_name.isprintable():
            raise ValidationError(_("Enter a name that tells it apart from the other templates."))
        if len(self.checked_name) > MAX_NAME_CHARACTERS:
            raise ValidationError(
                _("Shorten the name: it may have at most %(most)d characters.")
                % {"most": MAX_NAME_CHARACTERS}
            )

    def validate_text(self, field: TextAreaField) -> None:
        self.checked_text = normalise_text(field.data or "")
        try:
            check_text(self.checked_text)
        except TextRefused as refused:
            raise ValidationError(sentences.text_problem(refused)) from None


class NotReady(NotTaken):
    """The form cannot be taken as it is; `shown` is what its page shows instead."""

    def __init__(self, **shown: Any) -> None:
        super().__init__()
        self.shown = shown


def spent_note(spent: FormSpent) -> str:
    """Why the form was not taken, for the page that shows it with a new id."""
    if isinstance(spent, MessageErased):
        note = gettext(
            "This page was used on %(when)s, and its message has been erased since. Nothing "
            "was sent now. Check what the form says, and send it if you mean it.",
            when=when(spent.used_at),
        )
    elif isinstance(spent, GrownOld):
        note = gettext(
            "This page was open for too long. Nothing was sent. Check your message and send it "
            "again."
        )
    else:
        note = gettext(
            "Another message was already sent from this page; it is not sent twice. Check what "
            "the form says now, and send it if you mean it."
        )
    return str(note)
