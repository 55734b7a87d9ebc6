"""The forms. Validators only translate: the rules are in `sms.py`, the sentences in `words.py`.

What was typed stays in the fields, right or wrong; what it means comes out of `checked()`.
"""

from datetime import datetime
from zoneinfo import available_timezones

from flask import request
from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from wtforms import HiddenField, RadioField, SelectField, StringField, TextAreaField
from wtforms.validators import ValidationError

from webapp import recipients, sms, times, words
from webapp.account import Extensions
from webapp.database import now
from webapp.extensions import settings
from webapp.recipients import RecipientProblem, RecipientRefused
from webapp.sending import NewMessage
from webapp.sms import TextRefused
from webapp.times import TimeRefused

COMMON_ZONES = ("UTC",)


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
        typed = recipients.split_recipients(field.data or "")
        if len(typed) > 1:
            raise ValidationError(words.RECIPIENT_PROBLEMS[RecipientProblem.SEVERAL])
        try:
            self.number = recipients.parse_recipient(
                typed[0] if typed else "", settings.default_region
            )
        except RecipientRefused as refused:
            raise ValidationError(words.recipient_problem(refused)) from None

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

    def checked(self) -> NewMessage:
        """The message, after `validate()`."""
        extension = self.extensions.find(self.sms_id.data)
        if extension is None:
            raise LookupError("checked() is for a form that was validated")
        return NewMessage(
            extension=extension,
            recipient=self.number,
            text=self.text,
            send_at=self.moment,
            time_zone=self.time_zone.data if self.moment else "",
        )


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
    """A short list: the deployment's zone, UTC, and the one chosen; the browser adds its own."""
    zones = [settings.default_time_zone, *COMMON_ZONES]
    if chosen and chosen in available_timezones():
        zones.append(chosen)
    return [(zone, zone.replace("_", " ")) for zone in dict.fromkeys(zones)]
