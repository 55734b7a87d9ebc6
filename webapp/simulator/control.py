"""`/_control`: set faults and read the ledger from another process. Only with `--control`.

    GET  /_control/arrivals?after=0     {"arrivals": [{number, at, person, sms_id, recipient, text,
                                         send_at, status, accepted}]}, numbers above `after`
    GET  /_control/calls                {"token_refresh": 3, …}
    GET  /_control/phones               as /phones.json
    POST /_control/fail                 {"endpoint": "send", "fault": {…}, "times": 1}
                                         or "always": true, or "from": 50, instead of "times"
    POST /_control/<action>             the `World` method of that name with the JSON object as its
                                         arguments: reset, clear_faults, expire_access_tokens,
                                         expire_refresh_tokens, end_sessions, remove_extension,
                                         remove_person, set_balance, set_caller_id, advance

POSTs answer 204; wrong arguments 400 with the reason.
"""

from dataclasses import asdict

from flask import Blueprint, Response, jsonify, request

from webapp.simulator import pages
from webapp.simulator.access import no_content, world
from webapp.simulator.faults import Fault

bp = Blueprint("control", __name__, url_prefix="/_control")

ACTIONS = (
    "reset",
    "clear_faults",
    "expire_access_tokens",
    "expire_refresh_tokens",
    "end_sessions",
    "remove_extension",
    "remove_person",
    "set_balance",
    "set_caller_id",
    "advance",
)


@bp.errorhandler(KeyError)
@bp.errorhandler(TypeError)
@bp.errorhandler(ValueError)
def explain(error: Exception) -> tuple[str, int]:
    return f"{type(error).__name__}: {error}\n", 400


@bp.get("/arrivals")
def arrivals() -> Response:
    after = request.args.get("after", 0, type=int)
    return jsonify(arrivals=[asdict(arrival) for arrival in world().arrivals[after:]])


@bp.get("/calls")
def calls() -> Response:
    return jsonify(dict(world().calls))


@bp.get("/phones")
def phones() -> Response:
    return pages.phones_json()


@bp.post("/fail")
def fail() -> Response:
    order = request.get_json()
    endpoint, fault = order["endpoint"], Fault.from_json(order["fault"])
    if order.get("always"):
        world().fail_always(endpoint, fault)
    elif "from" in order:
        world().fail_from(endpoint, order["from"], fault)
    else:
        world().fail_next(endpoint, fault, order.get("times", 1))
    return no_content()


@bp.post("/<action>")
def act(action: str) -> Response:
    if action not in ACTIONS:
        return Response(f"no such action: {action}; one of {', '.join(ACTIONS)}\n", 404)
    getattr(world(), action)(**(request.get_json(silent=True) or {}))
    return no_content()
