"""For operators: the settings' page, health and metrics. None of them calls sipgate."""

from flask import Blueprint, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue

from webapp.alerts import outlets, telling
from webapp.config import settings
from webapp.database import is_reachable, schema
from webapp.database.models import Member
from webapp.jobs import heartbeat
from webapp.signin import flow
from webapp.telemetry import metrics
from webapp.web.guard import public

blueprint = Blueprint("operator", __name__)


@blueprint.get("/operator")
def operator(member: Member) -> ResponseReturnValue:
    """For admins: which settings and permissions are active. No secrets."""
    if not member.is_admin:
        abort(403)
    return render_template(
        "operator.html",
        settings=settings.shown(),
        scopes=settings.scopes,
        sender_scopes=flow.FURTHER_SCOPES["senders"],
        redirect_uri=settings.redirect_uri,
        workers=heartbeat.has_worker(),
        outlets=[(one, outlets.place(one)) for one in outlets.active()],
        outlet_states={one.name: one for one in telling.states()},
        gone=current_app.config["GONE_SETTINGS"],
    )


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
