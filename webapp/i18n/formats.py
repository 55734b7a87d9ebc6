"""Which language a page has, and how it writes times, numbers and money.

Times are shown in the zone a message was planned in, else the deployment's, and always with the
zone's name, so that nobody has to guess whose eight o'clock is meant.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, format_timedelta, get_timezone_name
from babel.numbers import format_currency, format_decimal
from flask import Flask, current_app, g, has_request_context, request, session
from flask.json.provider import DefaultJSONProvider
from flask_babel import Babel, get_locale, get_translations, gettext

from webapp.rules import times
from webapp.rules.numbers import phone
from webapp.rules.outcomes import MAX_COUNT
from webapp.rules.times import now, zone_names

babel = Babel()

LOCALES = ("en", "de")

# Words in user agents, in the order to look for them: Edge also names Chrome, all name Safari, and
# a phone's names the system it descends from.
BROWSERS = {"Edg": "Edge", "OPR/": "Opera", "Firefox": "Firefox", "Chrome": "Chrome"}
BROWSERS |= {"FxiOS": "Firefox", "CriOS": "Chrome", "Safari": "Safari"}
SYSTEMS = {"iPhone": "iPhone", "iPad": "iPad", "Android": "Android", "CrOS": "ChromeOS"}
SYSTEMS |= {"Windows": "Windows", "Mac OS": "Mac", "Linux": "Linux"}


def setup_i18n(app: Flask) -> None:
    app.config["BABEL_TRANSLATION_DIRECTORIES"] = "translations"
    babel.init_app(app, default_locale="en", locale_selector=choose_locale)
    # Pages are UTF-8, so letters in the JSON for scripts need no escapes of six characters.
    cast("DefaultJSONProvider", app.json).ensure_ascii = False
    filters = (
        when,
        clock,
        day_and_clock,
        day_title,
        distance,
        phone,
        sender,
        money,
        device,
        capped,
        decimal,
    )
    for template_filter in filters:
        app.add_template_filter(template_filter)
    app.jinja_env.install_gettext_callables(  # type: ignore[attr-defined]
        gettext=lambda text: _translations().ugettext(text),
        ngettext=lambda one, several, count: _translations().ungettext(one, several, count),
        newstyle=True,
    )
    app.context_processor(lambda: {"locale": str(get_locale() or "en")})


def _translations() -> Any:
    """The page's; Flask-Babel looks for them with every sentence, and a page has thirty."""
    found = g.get("translations")
    if found is None:
        found = g.translations = get_translations()
    return found


def keep_locale(locale: str) -> None:
    """Remember the language chosen in the menu."""
    session["locale"] = locale


def choose_locale() -> str:
    """The one from the menu, else what the browser asks for, else English (the command line's)."""
    if not has_request_context():
        return "en"
    chosen = session.get("locale")
    if chosen in LOCALES:
        return str(chosen)
    # In the browser's order: `best_match` would prefer a plain `de` to an earlier `en-GB`.
    asked = (name.partition("-")[0] for name, weight in request.accept_languages if weight)
    return next((language for language in asked if language in LOCALES), "en")


def when(moment: datetime, zone: str = "") -> str:
    """`Tue 24 Nov 2026, 08:00 CET`; in the given zone, else the deployment's."""
    name = zone if zone in zone_names() else current_app.config["SETTINGS"].default_time_zone
    local = moment.astimezone(ZoneInfo(name))
    pattern = "EEE d MMM y, HH:mm" if str(get_locale()) == "en" else "EEE d. MMM y, HH:mm"
    return f"{format_datetime(local, pattern, locale=get_locale())} {zone_name(local)}"


def local_time(moment: datetime) -> datetime:
    """In the deployment's zone, which is that of lists."""
    return moment.astimezone(_home())


def day_begins(day: date) -> datetime:
    """The first moment of a day in the zone of lists."""
    return times.day_begins(day, _home().key)


def day_title(day: date) -> str:
    """`Today`, `Yesterday, Mon 23 Nov`, `Fri 20 Nov`, `Wed 31 Dec 2025`."""
    today = local_time(now()).date()
    shown = _day(day)
    if day == today:
        return gettext("Today")
    if day == today - timedelta(days=1):
        return gettext("Yesterday, %(day)s", day=shown)
    if day == today + timedelta(days=1):
        return gettext("Tomorrow, %(day)s", day=shown)
    return shown


def month_name(day: date) -> str:
    """`November`."""
    shown: str = format_date(day, "LLLL", get_locale())
    return shown


def day_and_clock(moment: datetime, zone: str = "") -> str:
    """`Today, 19:43`, `Tomorrow, 08:00`, `Fri 4 Dec, 08:00`; the time as `clock` has it."""
    day, today = local_time(moment).date(), local_time(now()).date()
    names = {today: gettext("Today"), today + timedelta(days=1): gettext("Tomorrow")}
    return f"{names.get(day) or _day(day)}, {clock(moment, zone)}"


def _day(day: date) -> str:
    pattern = "EEE d MMM" if str(get_locale()) == "en" else "EEE d. MMM"
    if day.year != local_time(now()).year:
        pattern += " y"
    shown: str = format_date(day, pattern, get_locale())
    return shown


def clock(moment: datetime, zone: str = "") -> str:
    """`19:43` in the zone of lists. With the zone's name in the hour that the clocks repeat, and
    with the time in `zone` if that differs: `19:43 (13:43 EST)`."""
    local = local_time(moment)
    shown = f"{local:%H:%M}"
    if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
        shown += f" {zone_name(local)}"
    there = moment.astimezone(ZoneInfo(zone)) if zone in zone_names() else local
    if there.utcoffset() != local.utcoffset():
        shown += f" ({there:%H:%M}\N{NO-BREAK SPACE}{zone_name(there)})"
    return shown


def zone_title() -> str:
    """The zone of lists: `Central European Time`. `UTC` and others without such a name: as they
    are."""
    zone = _home()
    name = get_timezone_name(zone, "long", zone_variant="generic", locale=get_locale())
    return zone.key if "(" in name else name


def _home() -> ZoneInfo:
    return ZoneInfo(current_app.config["SETTINGS"].default_time_zone)


def zone_name(local: datetime) -> str:
    """The zone's short name, which tells the two halves of a doubled hour apart: CEST, CET.

    In the page's language if that has one (MESZ, MEZ). `UTC+03` if the zone has no name.
    """
    translated = get_timezone_name(local, "short", locale=get_locale())
    name = translated if translated.isalpha() else local.tzname() or "UTC"
    return name if name.isalpha() else f"UTC{name}"


def distance(moment: datetime) -> str:
    """`in 22 hours`, `3 minutes ago`."""
    delta = moment - now()
    if abs(delta) < timedelta(seconds=45):
        return gettext("just now")
    return format_timedelta(delta, add_direction=True, locale=get_locale())


def sender(caller_id: str) -> str:
    """What recipients see as the sender: a number with spaces, a word as it is."""
    digits = caller_id.removeprefix("+")
    if digits.isascii() and digits.isdigit() and len(digits) > 5:
        return phone(f"+{digits.removeprefix('00')}")
    return caller_id or gettext("unknown")


def money(amount: Decimal, currency: str = "EUR") -> str:
    """`€0.14`, `0,14 €`."""
    text: str = format_currency(amount, currency, locale=get_locale())
    return text


def decimal(number: int) -> str:
    """`2,500`, `2.500`."""
    if 0 <= number < 1000:
        return str(number)  # a table has thousands of them
    text: str = format_decimal(number, locale=get_locale())
    return text


def capped(count: int) -> str:
    return f"{MAX_COUNT - 1}+" if count >= MAX_COUNT else str(count)


def country_name(code: str) -> str:
    """`DE` as Germany or Deutschland."""
    locale = get_locale()
    return (locale and locale.territories.get(code)) or gettext("The recipient's country")


def device(user_agent: str) -> str:
    """A user agent as people know it: `Firefox on Windows`."""
    browser = next((name for word, name in BROWSERS.items() if word in user_agent), "")
    system = next((name for word, name in SYSTEMS.items() if word in user_agent), "")
    if browser and system:
        return gettext("%(browser)s on %(system)s", browser=browser, system=system)
    return browser or system or gettext("Unknown browser")
