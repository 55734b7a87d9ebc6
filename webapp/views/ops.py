"""For the operator's tools. These never call sipgate."""

from flask import Blueprint
from flask.typing import ResponseReturnValue

from webapp import database, installation
from webapp.members import public

blueprint = Blueprint("ops", __name__)


@blueprint.get("/healthz")
@public
def healthz() -> ResponseReturnValue:
    """The process is up."""
    return {"status": "ok"}


@blueprint.get("/readyz")
@public
def readyz() -> ResponseReturnValue:
    """The database answers, has this version's schema, and a worker is alive."""
    if not database.is_reachable():
        return {"status": "no database"}, 503
    state = database.schema_state()
    if state != "current":
        return {"status": f"the database's schema is {state}"}, 503
    if not installation.has_worker():
        return {"status": "no worker"}, 503
    return {"status": "ok"}
