"""`flask --app webapp …`: like sipgate's own example script, by the same rules as the pages."""

import sys
from collections import Counter
from pathlib import Path

import click
from flask import Flask
from flask.cli import AppGroup, FlaskGroup, with_appcontext

from webapp.account import cache
from webapp.account.cache import Extensions, Trouble
from webapp.alerts import outlets
from webapp.alerts.outlets import OutletFailed
from webapp.config import settings
from webapp.database import db, installation, schema
from webapp.database.daily_limit import DailyLimitReached
from webapp.database.idempotency import OnHold
from webapp.database.installation import BackupFailed
from webapp.database.models import Member, Message
from webapp.database.schema import SchemaError
from webapp.doctor import Level, examine
from webapp.i18n import sentences
from webapp.i18n.alerts import outlet_name, outlet_problem, trial_body, trial_subject
from webapp.jobs import retention
from webapp.messages import submit, sweep
from webapp.messages.blocked import NumbersBlocked
from webapp.messages.submit import NewMessage
from webapp.rules import times
from webapp.rules.alerts import Outlet
from webapp.rules.numbers import RecipientRefused, parse_recipient
from webapp.rules.outcomes import Outcome
from webapp.rules.text import TextRefused, check_text, normalise_text
from webapp.rules.times import TimeRefused, now
from webapp.signin import PersonalToken, SignInEnded, sessions, with_one_refresh
from webapp.sipgate import Person, SipgateError, client
from webapp.telemetry import logs

EXIT_CODES = {
    Outcome.ACCEPTED: 0,
    Outcome.SCHEDULED: 0,
    Outcome.REFUSED: 3,
    Outcome.NOT_SENT: 4,
    Outcome.UNKNOWN: 5,
}
"""1 is for a wrong setting or sipgate being away beforehand, 2 for a wrong argument (click's)."""

ASK = "-"

sms_group = AppGroup("sms", help="List extensions and send with a personal access token.")


def _speak_up(_context: click.Context, _option: click.Parameter, is_verbose: bool) -> None:
    if is_verbose:
        logs.speak_up()


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_speak_up,
    help="Write log lines to standard error.",
)
"""For every command: without it, and without a LOG_LEVEL that was set, no log line is written."""


def setup_cli(app: Flask) -> None:
    for command in (sms_group, alert, doctor, backup, hold, release, prune, forget):
        app.cli.add_command(command)


@sms_group.command("extensions")
@verbose_option
def list_extensions() -> None:
    """List the Web SMS extensions of the token's owner."""
    for item in _extensions(*_owner()).items:
        click.echo(f"{item.id}\t{item.alias}\t{item.caller_id}")


@sms_group.command("send")
@click.option("--from", "extension_id", required=True, help="Extension, such as s0.")
@click.option("--to", "recipient", required=True, help="One number, such as +4915123456789.")
@click.option("--text", required=True, help="What to send.")
@click.option("--at", default="", help="Later: 2026-12-24T08:00, in DEFAULT_TIME_ZONE.")
@verbose_option
def send(extension_id: str, recipient: str, text: str, at: str) -> None:
    """Send one message; the exit code tells the outcome (0 accepted, 3 refused, 4 not sent,
    5 unknown)."""
    member, token = _owner()
    new = _checked(member, token, extension_id, recipient, text, at)
    try:
        message_id = submit.submit_from_command_line(new, member=member, credentials=token)
    except OnHold:
        raise click.ClickException(sentences.on_hold(to_admin=True)) from None
    except DailyLimitReached:
        raise click.ClickException(sentences.daily_limit()) from None
    except NumbersBlocked as refused:
        raise click.BadParameter(
            sentences.numbers_blocked(refused.found), param_hint="--to"
        ) from None
    message = db.session.get_one(Message, message_id, populate_existing=True)
    click.echo(
        " ".join((sentences.message_sentence(message), sentences.message_advice(message))).strip()
    )
    sys.exit(EXIT_CODES[message.outcome])


def is_command() -> bool:
    """Whether `flask` makes the app for one of its commands. `flask run` loads it by itself."""
    context = click.get_current_context(silent=True)
    return context is not None and isinstance(context.command, FlaskGroup)


def _upgrade_schema() -> None:
    """As at the start of the server; a database that cannot be used ends the command."""
    try:
        schema.upgrade_schema()
    except SchemaError as error:
        raise click.ClickException(str(error)) from None


def _owner() -> tuple[Member, PersonalToken]:
    """Whose token it is. The message is stored as this member's."""
    _upgrade_schema()
    installation.register_location()
    if not settings.sipgate_token_id or not settings.sipgate_token:
        raise click.ClickException("SIPGATE_TOKEN_ID and SIPGATE_TOKEN must be set.")
    token = PersonalToken(settings.sipgate_token_id, settings.sipgate_token)
    try:
        identity = with_one_refresh(token, client().identity)
    except SignInEnded:
        raise click.ClickException("sipgate does not take the personal access token.") from None
    except SipgateError:
        raise click.ClickException("sipgate could not be asked whose token this is.") from None
    try:
        person = client().person(token.current(), identity.sub)
    except SipgateError:
        person = Person(name=identity.sub, is_admin=False)
    return sessions.save_member(identity, person), token


def _extensions(member: Member, token: PersonalToken) -> Extensions:
    try:
        known = cache.extensions(member, token)
    except SignInEnded:
        raise click.ClickException("sipgate does not take the personal access token.") from None
    if known.trouble == Trouble.AWAY and not known.items:
        raise click.ClickException("sipgate could not be asked for your extensions.")
    return known


def _checked(
    member: Member, token: PersonalToken, extension_id: str, recipient: str, text: str, at: str
) -> NewMessage:
    extension = _extensions(member, token).find(extension_id)
    if extension is None:
        raise click.BadParameter("this is none of your extensions", param_hint="--from")
    try:
        number = parse_recipient(recipient, settings.default_region)
        normal = normalise_text(text)
        check_text(normal)
        zone = settings.default_time_zone
        moment = times.parse_send_at(at, zone, "", now()) if at else None
    except RecipientRefused as refused:
        raise click.BadParameter(sentences.recipient_problem(refused), param_hint="--to") from None
    except TextRefused as refused:
        raise click.BadParameter(sentences.text_problem(refused), param_hint="--text") from None
    except TimeRefused as refused:
        raise click.BadParameter(sentences.time_problem(refused), param_hint="--at") from None
    return NewMessage(
        extension=extension,
        recipient=number,
        text=normal,
        send_at=moment,
        time_zone=zone if moment else "",
    )


@click.command("alert")
@click.option("--test", "is_test", is_flag=True, help="Send a test by each of them.")
@verbose_option
@with_appcontext
def alert(is_test: bool) -> None:
    """Say who is told of trouble, and with --test whether that works; 1 if it does not."""
    active = outlets.active()
    if not active:
        raise click.ClickException(
            "nobody is told of trouble: set ALERT_EMAIL and SMTP_URL, or ALERT_WEBHOOK."
        )
    if is_test:
        sys.exit(0 if all([_try_outlet(outlet) for outlet in active]) else 1)
    for outlet in active:
        click.echo(f"{outlet_name(outlet)}: {outlets.place(outlet)}")


def _try_outlet(outlet: Outlet) -> bool:
    """Send a test, and say what came of it and what to do."""
    where = f"{outlet_name(outlet)} ({outlets.place(outlet)})"
    try:
        problem = outlets.send(outlet, trial_subject(), trial_body(), settings.public_url)
    except OutletFailed as failed:
        problem = failed.problem
    if problem:
        click.echo(f"{where}: {outlet_problem(problem)}")
    else:
        click.echo(f"{where}: the test was accepted. Look whether it has arrived.")
    return problem is None


@click.command("doctor")
@click.option("--token-id", default="", help="A personal token's id, instead of SIPGATE_TOKEN_ID.")
@click.option("--token", default="", help="The token; `-` asks for it, so that no list shows it.")
@verbose_option
@with_appcontext
def doctor(token_id: str, token: str) -> None:
    """Look at everything once, and say what to do; 1 if there is a fault. Sends nothing."""
    if token == ASK:
        token = click.prompt("Token", hide_input=True)
    given = token_id or settings.sipgate_token_id, token or settings.sipgate_token
    heading, counts = "", Counter[Level]()
    for part, finding in examine(PersonalToken(*given) if all(given) else None):
        if part != heading:
            click.echo(f"{part}:")
            heading = part
        click.echo(f"  {finding.level:5}  {finding.what}.")
        if finding.to_do:
            click.echo(f"         -> {finding.to_do}.")
        counts[finding.level] += 1
    click.echo(f"{counts[Level.FAULT]} faults, {counts[Level.LOOK]} to look at.")
    sys.exit(1 if counts[Level.FAULT] else 0)


@click.command("backup")
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@verbose_option
@with_appcontext
def backup(target: Path) -> None:
    """Write a copy of the SQLite database; started from, it sends nothing until `release`."""
    try:
        installation.backup(target)
    except BackupFailed as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"Written to {target}. A copy that is put back starts on hold: flask release.")


@click.command("hold")
@verbose_option
@with_appcontext
def hold() -> None:
    """Send nothing until `release`. The first step after restoring a PostgreSQL backup."""
    _upgrade_schema()
    installation.hold()
    click.echo("On hold: nothing is sent.")


@click.command("release")
@verbose_option
@with_appcontext
def release() -> None:
    """Send again. What is past its tolerance is asked about, not sent."""
    _upgrade_schema()
    sweep.mark_missed()
    installation.release_hold()
    click.echo("Released: planned and queued messages are sent again.")


@click.command("prune")
@verbose_option
@with_appcontext
def prune() -> None:
    """Erase what is older than RETENTION_DAYS. The worker does it every night."""
    _upgrade_schema()
    installation.register_location()
    click.echo(f"{retention.prune()} messages erased.")


@click.command("forget")
@click.option("--number", required=True, help="One number, such as +4915123456789.")
@verbose_option
@with_appcontext
def forget(number: str) -> None:
    """Withdraw what waits for a number and erase every message to it."""
    try:
        e164 = parse_recipient(number, settings.default_region)
    except RecipientRefused as refused:
        raise click.BadParameter(
            sentences.recipient_problem(refused), param_hint="--number"
        ) from None
    _upgrade_schema()
    installation.register_location()
    click.echo(f"{retention.forget_number(e164)} messages erased.")
