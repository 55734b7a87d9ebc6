"""For the operator's tools. These never call sipgate."""

from flask import Blueprint, abort, redirect, render_template, request
from flask.typing import ResponseReturnValue

from webapp import database, installation, members, metrics, oauth, schema, sms
from webapp.config import VERSION
from webapp.extensions import settings
from webapp.i18n import LOCALES, keep_locale
from webapp.members import public
from webapp.models import Member

blueprint = Blueprint("ops", __name__)


@blueprint.get("/help")
@public
def help_page() -> ResponseReturnValue:
    """What a segment is, what unknown means, and the other questions people ask."""
    return render_template("help.html", counter_table=sms.counter_table(), settings=settings)


@blueprint.get("/about")
@public
def about() -> ResponseReturnValue:
    """Version, and what is stored for how long."""
    return render_template("about.html", version=VERSION, settings=settings)


@blueprint.get("/operator")
def operator(member: Member) -> ResponseReturnValue:
    """For admins: which settings and permissions are active. No secrets."""
    if not member.is_admin:
        abort(403)
    return render_template(
        "operator.html",
        settings=settings.shown(),
        scopes=settings.scopes,
        sender_scopes=oauth.FURTHER_SCOPES["senders"],
        redirect_uri=settings.redirect_uri,
        workers=installation.has_worker(),
    )


@blueprint.post("/language")
@public
def language() -> ResponseReturnValue:
    """Keep the language chosen in the menu."""
    chosen = request.form.get("locale", "")
    if chosen in LOCALES:
        keep_locale(chosen)
    return redirect(members.safe_next(request.form.get("next")), 303)


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/metrics")
@public
def metrics_page() -> ResponseReturnValue:
    """For Prometheus, with METRICS_TOKEN as Bearer; without that setting there is no such page."""
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
    if not database.is_reachable():
        return {"status": "no database"}, 503
    state = schema.schema_state()
    if state != "current":
        return {"status": f"the database's schema is {state}"}, 503
    if not installation.has_worker():
        return {"status": "no worker"}, 503
    return {"status": "ok"}
