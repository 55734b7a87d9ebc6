"""The sentences of alerts: what happened, how many, what to do. Never a number, a name or a text.

A mail is read by whoever is responsible, in whatever language: it has both, one below the other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flask import Flask
from flask_babel import force_locale, gettext, ngettext
from flask_babel import lazy_gettext as _

from webapp.i18n.formats import LOCALES
from webapp.rules.alerts import AlertKind, Outlet, OutletProblem


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of trouble: `count` messages in or of so many `things` (batches, members).
    `only`: the id of the only thing."""

    kind: AlertKind
    things: int
    count: int
    only: str = ""
    is_over: bool = False


ADVICE = {
    AlertKind.HOLD: _("Look through what waits, then release it with: flask --app webapp release"),
    AlertKind.WORKER: _(
        "Start the server again (make run), or a worker (make worker) where workers run apart from "
        "it. make doctor looks what else is wrong."
    ),
    AlertKind.SIGN_IN: _("As soon as they sign in again, they can release what waits."),
    AlertKind.BATCH: _("Look there why. Once that is fixed, resume sending."),
    AlertKind.PAUSED: _("Look there why. Once that is fixed, release what waits."),
    AlertKind.MISSED: _("Decide there: send now, at another time, or not at all."),
    AlertKind.NOT_SENT: _("Look there why. Then send again, or mark as done."),
    AlertKind.UNKNOWN: _(
        "Look in sipgate's event list, and note there what you find. Nothing is resent "
        "automatically."
    ),
}

OUTLETS = {Outlet.MAIL: _("E-mail"), Outlet.WEBHOOK: _("Webhook")}

PROBLEMS = {
    OutletProblem.UNREACHABLE: _(
        "It could not be reached. Check its name and port, and whether this machine may connect to "
        "it."
    ),
    OutletProblem.UNTRUSTED: _(
        "The connection was not secure: its certificate could not be checked. Use the name that "
        "stands in the certificate, and check this machine's clock."
    ),
    OutletProblem.NO_TLS: _(
        "The mail server offers no encryption (STARTTLS). Use smtps:// and its port, or another "
        "server."
    ),
    OutletProblem.LOGIN: _(
        "It refused the sign-in. Check name and password, or the token, in the setting; "
        "docs/settings.md shows how special characters are written there."
    ),
    OutletProblem.RECIPIENT: _("The mail server refused an address. Check ALERT_EMAIL."),
    OutletProblem.REFUSED: _(
        "It said no. Check the address in the setting, and what its own log says."
    ),
    OutletProblem.NO_ANSWER: _(
        "It did not reply in time, so it may or may not have arrived. Check whether that server "
        "is well."
    ),
    OutletProblem.SERVER_ERROR: _("It reported an internal error. Check whether it is well."),
}


def setup_alerts(app: Flask) -> None:
    for function in (outlet_name, outlet_problem):
        app.add_template_global(function)


def subject(items: Sequence[Item]) -> str:
    """What it is about, in both languages."""
    return _subject(lambda: _title(items))


def body(items: Sequence[Item], link: Callable[[Item], str]) -> str:
    """What happened, what to do, and where, in both languages."""

    def paragraphs() -> str:
        parts = (f"{_fact(item)} {_advice(item)}\n{link(item)}" for item in items)
        return "\n\n".join(parts)

    return "\n\n———\n\n".join(_in_each_language(paragraphs)) + "\n"


def trial_subject() -> str:
    return _subject(lambda: gettext("Test of the alerts"))


def trial_body() -> str:
    def words() -> str:
        return gettext(
            "Alerts of Team SMS arrive here. This one is a test: there is nothing to do."
        )

    return "\n\n".join(_in_each_language(words)) + "\n"


def outlet_name(outlet: str) -> str:
    return str(OUTLETS[Outlet(outlet)])


def outlet_problem(problem: str) -> str:
    """What is wrong with an outlet, and what to do about it."""
    return str(PROBLEMS[OutletProblem(problem)])


def _subject(words: Callable[[], str]) -> str:
    return f"Team SMS: {' / '.join(_in_each_language(words))}"


def _in_each_language(words: Callable[[], str]) -> list[str]:
    said = []
    for locale in LOCALES:
        with force_locale(locale):
            said.append(words())
    return said


def _title(items: Sequence[Item]) -> str:
    if len(items) > 1:
        return gettext("%(num)s things need attention", num=len(items))
    return _fact(items[0]).partition(".")[0]


def _fact(item: Item) -> str:
    return " ".join(filter(None, (_what(item), _how_many(item))))


def _advice(item: Item) -> str:
    if item.is_over:
        return gettext("This is over by now.")
    return str(ADVICE[item.kind])


def _what(item: Item) -> str:
    match item.kind:
        case AlertKind.HOLD:
            return gettext("Sending is on hold: nothing is sent.")
        case AlertKind.WORKER:
            return gettext(
                "Planned and waiting messages are not sent: the program that sends them (the "
                "worker) is not running."
            )
        case AlertKind.SIGN_IN:
            return ngettext(
                "The sign-in of %(num)s person has ended.",
                "The sign-ins of %(num)s people have ended.",
                item.things,
            )
        case AlertKind.BATCH:
            return ngettext(
                "Sending of %(num)s message to several recipients was paused automatically.",
                "Sending of %(num)s messages to several recipients each was paused automatically.",
                item.things,
            )
    return _of_messages(item)


def _of_messages(item: Item) -> str:
    match item.kind:
        case AlertKind.PAUSED:
            return ngettext(
                "%(num)s planned message is paused and was not sent.",
                "%(num)s planned messages are paused and were not sent.",
                item.count,
            )
        case AlertKind.MISSED:
            return ngettext(
                "%(num)s message was not sent: its time had passed.",
                "%(num)s messages were not sent: their time had passed.",
                item.count,
            )
        case AlertKind.NOT_SENT:
            return ngettext(
                "%(num)s planned message, or message of a list, was not sent.",
                "%(num)s planned messages, or messages of a list, were not sent.",
                item.count,
            )
    return ngettext(
        "For %(num)s planned message, or message of a list, we cannot tell whether it was sent.",
        "For %(num)s planned messages, or messages of a list, we cannot tell whether they were "
        "sent.",
        item.count,
    )


def _how_many(item: Item) -> str:
    """How many messages wait because of it."""
    if item.kind == AlertKind.SIGN_IN:
        return ngettext(
            "%(num)s message that was to be sent within 24 hours is waiting.",
            "%(num)s messages that were to be sent within 24 hours are waiting.",
            item.count,
        )
    if item.kind not in (AlertKind.HOLD, AlertKind.WORKER, AlertKind.BATCH):
        return ""
    return ngettext("%(num)s message is waiting.", "%(num)s messages are waiting.", item.count)
