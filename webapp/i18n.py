"""Language and the shape of dates, distances and numbers on pages.

Times are shown in the zone a message was planned in, else the deployment's, always with the zone's
name, so that nobody has to guess whose eight o'clock is meant.
"""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import phonenumbers
from babel.dates import format_datetime, format_timedelta
from flask import Flask, current_app, has_request_context, request, session
from flask_babel import get_locale, gettext

from webapp.database import now
from webapp.extensions import babel

LOCALES = ("en", "de")


def setup_i18n(app: Flask) -> None:
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = "translations"
    babel.init_app(app, default_locale="en", locale_selector=choose_locale)
    app.add_template_filter(when)
    app.add_template_filter(distance)
    app.add_template_filter(phone)
    app.add_template_filter(sender)
    app.context_processor(lambda: {"locale": str(get_locale() or "en")})


def choose_locale() -> str:
    """Chosen in the menu, else what the browser asks for, else (the command line, too) English."""
    if not has_request_context():
        return "en"
    chosen = session.get("locale")
    if chosen in LOCALES:
        return str(chosen)
    return request.accept_languages.best_match(LOCALES) or "en"


def when(moment: datetime, zone: str = "") -> str:
    """`Tue, 24 Nov 2026, 08:00 CET`; in the given zone, else the deployment's."""
    name = (
        zone if zone in available_timezones() else current_app.config["SETTINGS"].default_time_zone
    )
    local = moment.astimezone(ZoneInfo(name))
    pattern = "EEE d MMM y, HH:mm" if str(get_locale()) == "en" else "EEE d. MMM y, HH:mm"
    # tzname tells the two halves of a doubled hour apart (MESZ, MEZ); Babel's `z` may say UTC+1.
    return f"{format_datetime(local, pattern, locale=get_locale())} {local.tzname()}"


def distance(moment: datetime) -> str:
    """`in 22 hours`, `3 minutes ago`."""
    delta = moment - now()
    if abs(delta) < timedelta(seconds=45):
        return gettext("just now")
    return format_timedelta(delta, add_direction=True, locale=get_locale())


def phone(number: str) -> str:
    """E.164 as people write it, `+49 171 3920000`; anything else unchanged."""
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    pretty: str = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    return pretty


def sender(caller_id: str) -> str:
    """What recipients see: a number spaced, a text as it is."""
    digits = caller_id.removeprefix("+")
    if digits.isascii() and digits.isdigit() and len(digits) > 5:
        return phone(f"+{digits.removeprefix('00')}")
    return caller_id or gettext("unknown")
