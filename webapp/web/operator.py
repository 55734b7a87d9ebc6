"""For operators: the settings' page, health and metrics. None of them calls sipgate."""

from dataclasses import dataclass

from flask import Blueprint, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _

from webapp.account import cache
from webapp.alerts import outlets, telling
from webapp.config import settings
from webapp.database import audit, installation, is_reachable, schema
from webapp.database.models import Member
from webapp.i18n import formats, sentences
from webapp.jobs import heartbeat
from webapp.signin import flow, tokens
from webapp.telemetry import metrics
from webapp.web import guard
from webapp.web.guard import public

blueprint = Blueprint("operator", __name__)

ADVISED_SCOPES = ("history:read", "contacts:read", cache.BALANCE_SCOPE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the set-up: how it stands, in a sentence, and what to do about it."""

    tone: str
    """`good`, `unknown` (to be looked at) or `bad`."""
    sentence: str
    advice: str = ""


@blueprint.get("/operator")
def operator(member: Member) -> ResponseReturnValue:
    """For admins: how the set-up stands, and behind it the settings. No secrets."""
    if not member.is_admin:
        abort(403)
    return render_template(
        "operator.html",
        findings=[_worker(), *_hold(), _balance(member), *_permissions(), *_alarms(), *_gone()],
        settings=settings.shown(),
        scopes=settings.scopes,
        sender_scopes=flow.FURTHER_SCOPES["senders"],
        redirect_uri=settings.redirect_uri,
        outlets=[(one, outlets.place(one)) for one in outlets.active()],
        outlet_states={one.name: one for one in telling.states()},
    )


def _worker() -> Finding:
    if heartbeat.has_worker():
        said = _("The program that sends planned and waiting messages (the worker) is running.")
        return Finding("good", said)
    return Finding(
        "bad",
        _("The program that sends planned and waiting messages (the worker) is not running."),
        _("Start the app anew. If it runs beside PostgreSQL, start “make worker”."),
    )


def _hold() -> list[Finding]:
    if not installation.hold_state():
        return []
    return [Finding("bad", sentences.on_hold(to_admin=True))]


def _balance(member: Member) -> Finding:
    if cache.BALANCE_SCOPE not in settings.scopes:
        return Finding("unknown", _("The balance is not shown: this app does not ask for it."))
    found = cache.balance(member)
    if found is None:
        return Finding("unknown", _("The balance is not known at the moment."))
    amount = formats.money(found.amount, found.currency)
    if found.amount > 0:
        return Finding("good", _("The account's balance is %(amount)s.", amount=amount))
    said = _("The account's balance is %(amount)s: sipgate sends nothing.", amount=amount)
    return Finding("bad", said, _("Top up at sipgate."))


def _permissions() -> list[Finding]:
    """What the app is not asked to ask for, and what this sign-in was not given."""
    unasked = [scope for scope in ADVISED_SCOPES if scope not in settings.scopes]
    own = guard.credentials()
    ungiven = [scope for scope in settings.scopes if tokens.lacks_scope(own, scope)]
    found = [
        Finding(
            "bad",
            _("sipgate did not give this permission: %(what)s.", what=sentences.scope_words(scope)),
            _(
                "Allow %(scope)s for the client in the sipgate console, then sign in again.",
                scope=scope,
            ),
        )
        for scope in ungiven
    ]
    found += [
        Finding(
            "unknown",
            _(
                "This app does not ask for a permission: %(what)s.",
                what=sentences.scope_words(scope),
            ),
            _("Add %(scope)s to SIPGATE_OPTIONAL_SCOPES, then sign in again.", scope=scope),
        )
        for scope in unasked
    ]
    return found or [Finding("good", _("The app has all permissions that it can use."))]


def _alarms() -> list[Finding]:
    found = [Finding("bad", sentences.alarm_sentence(kind)) for kind in audit.alarms()]
    return found or [
        Finding("good", _("The connection to sipgate gave no alarm in the last 24 hours."))
    ]


def _gone() -> list[Finding]:
    return [
        Finding(
            "unknown",
            _(
                "%(name)s is still set but no longer has any effect: nothing runs beside the "
                "database. Remove it from the environment and from .env.",
                name=name,
            ),
        )
        for name in current_app.config["GONE_SETTINGS"]
    ]


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/metrics")
@public
def metrics_page() -> ResponseReturnValue:
    """For Prometheus, with METRICS_TOKEN as Bearer; 404 if that is not set."""
    is_admitted = metrics.admits(request.headers.get("Authorization", ""))
    if is_admitted is None:
        abort(404)
    if not is_admitted:
        return {"error": "METRICS_TOKEN"}, 401, {"WWW-Authenticate": "Bearer"}
    return metrics.page(), {"Content-Type": metrics.CONTENT_TYPE}


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """The database answers, has this version's schema, and a worker is alive."""
    if not is_reachable():
        return {"status": "no database"}, 503
    state = schema.schema_state()
    if state != "current":
        return {"status": f"the database's schema is {state}"}, 503
    if not heartbeat.has_worker():
        return {"status": "no worker"}, 503
    return {"status": "ok"}
