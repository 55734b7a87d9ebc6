"""The forms. Validators only translate: the rules are in `sms.py`, the sentences in `words.py`.

What was typed stays in the fields, right or wrong; what it means comes out of `checked()`.
"""

from datetime import datetime

from flask import request
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import ValidationError

from webapp import recipients, sms, times, words
from webapp.account import Extensions
from webapp.database import now
from webapp.extensions import settings
from webapp.recipients import RecipientRefused
from webapp.sending import NewMessage
from webapp.sms import TextRefused
from webapp.times import TimeRefused

MAX_RECIPIENTS = 100
MAX_NAMED_PROBLEMS = 5


class ComposeForm(FlaskForm):  # type: ignore[misc]
    """A message to write. Make it with `compose_form`, which knows the member's extensions."""

    sms_id = SelectField(_("From"), validate_choice=False)
    recipient = TextAreaField(_("To"))
    message = TextAreaField(_("Message"))
    send_at = StringField(_("Send at"))
    time_zone = SelectField(_("Time zone"), validate_choice=False)
    fold = RadioField(_("Which of the two"), choices=[], validate_choice=False)
    submission_id = HiddenField()

    extensions: Extensions

    def validate_sms_id(self, field: SelectField) -> None:
        # Only what the form named: the preselected one must not be sent with by omission.
        if self.extensions.find(field.raw_data[0] if field.raw_data else "") is None:
            raise ValidationError(_("Choose one of your extensions."))

    def validate_recipient(self, field: TextAreaField) -> None:
        """One or several; each that is refused is named, and duplicates are counted once."""
        typed = recipients.split_recipients(field.data or "") or [""]
        if len(typed) > MAX_RECIPIENTS:
            raise ValidationError(
                _("Enter at most %(most)d numbers: there are %(count)d.")
                % {"most": MAX_RECIPIENTS, "count": len(typed)}
            )
        problems: list[str] = []
        self.numbers: list[str] = []
        for one in typed:
            try:
                self.numbers.append(recipients.parse_recipient(one, settings.default_region))
            except RecipientRefused as refused:
                problems.append(words.recipient_problem(refused))
        if problems:
            raise ValidationError(" ".join(dict.fromkeys(problems[:MAX_NAMED_PROBLEMS])))
        self.duplicate_count = len(self.numbers) - len(set(self.numbers))
        self.numbers = list(dict.fromkeys(self.numbers))

    def validate_message(self, field: TextAreaField) -> None:
        self.text = sms.normalise_text(field.data or "")
        try:
            sms.check_text(self.text)
        except TextRefused as refused:
            raise ValidationError(words.text_problem(refused)) from None

    def validate_send_at(self, field: StringField) -> None:
        """`send_at` alone decides: empty is now."""
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
            raise ValidationError(words.time_problem(refused)) from None

    @property
    def zone(self) -> str:
        return (self.time_zone.data or "") if self.moment else ""

    def validate_time(self) -> bool:
        """Check the time alone: for a message whose other fields stay as they are."""
        try:
            self.validate_send_at(self.send_at)
        except ValidationError as error:
            self.send_at.errors = [str(error)]
            return False
        return True

    def checked(self) -> list[NewMessage]:
        """The messages, one for each recipient, after `validate()`."""
        extension = self.extensions.find(self.sms_id.data)
        if extension is None:
            raise LookupError("checked() is for a form that was validated")
        return [
            NewMessage(
                extension=extension,
                recipient=number,
                text=self.text,
                send_at=self.moment,
                time_zone=self.zone,
            )
            for number in self.numbers
        ]


def compose_form(extensions: Extensions, **data: str) -> ComposeForm:
    """The form with the choices of this member; `data` prefills it where nothing was typed."""
    # Only text: a file sent in a field's place (multipart) counts as nothing typed.
    form = ComposeForm(request.form or None, **data)
    form.extensions = extensions
    form.sms_id.choices = [(item.id, f"{item.alias} ({item.id})") for item in extensions.items]
    if not form.sms_id.data and extensions.items:
        form.sms_id.data = extensions.items[0].id
    form.time_zone.choices = _zone_choices(form.time_zone.data)
    if form.time_zone.data is None and not form.is_submitted():
        form.time_zone.data = settings.default_time_zone
    return form


def _zone_choices(chosen: str | None) -> list[tuple[str, str]]:
    """The deployment's zone, those near it and each clock elsewhere, and the one chosen; the
    browser adds its own."""
    home = settings.default_time_zone
    zones = [home, *times.zones_to_offer(home)]
    if chosen and chosen in times.zone_names():
        zones.append(chosen)
    return [(zone, zone.replace("_", " ")) for zone in dict.fromkeys(zones)]
