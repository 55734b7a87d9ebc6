"""The Flask app: routes and pages for one `World`, with faults and the ledger around them."""

from typing import Any

from flask import Flask, Response, g, request

from webapp.simulator import control, pages, rest, send
from webapp.simulator.access import caller_or_none
from webapp.simulator.faults import ENDPOINTS, Fault
from webapp.simulator.oauth import setup_oauth
from webapp.simulator.wire import RAW, pause, play
from webapp.simulator.world import World


def create_app(world: World, *, with_control: bool = False) -> Flask:
    """With `with_control`, everybody who reaches the port can use `/_control`."""
    app = Flask(__name__)
    app.extensions["world"] = world
    setup_faults(app, world)
    setup_oauth(app, world)
    app.register_blueprint(rest.bp)
    app.register_blueprint(send.bp)
    app.register_blueprint(pages.bp)
    if with_control:
        app.register_blueprint(control.bp)
    return app


def setup_faults(app: Flask, world: World) -> None:
    """Count every call, play its fault, and record what arrived."""

    @app.before_request
    def meet_fault() -> Response | None:
        g.halt = world.halt
        name = _endpoint_name()
        if name is None:
            return None
        world.count(name)
        fault = world.faults.take(name)
        if fault is None:
            return None
        if fault.is_only_slow and not fault.deliver:
            return None if pause(fault, request.environ, g.halt) else Response()
        g.fault = fault
        return None if fault.deliver else Response()

    @app.after_request
    def answer_or_break(response: Response) -> Response:
        if RAW in request.environ:
            return response
        fault: Fault | None = g.get("fault")
        if fault is not None and _says_yes(fault) and response.status_code >= 400:
            fault = None  # what was refused is not called taken
        if _endpoint_name() == "send":
            _write_down(world, response, fault)
        return play(fault, request.environ, g.halt, response) if fault else response


def _says_yes(fault: Fault) -> bool:
    """Whether the fault carries the request out and then claims success."""
    return fault.deliver and not fault.is_only_slow and fault.seen_status in range(200, 300)


def _endpoint_name() -> str | None:
    """The name under which faults are set and calls are counted; None for pages and the like."""
    name = (request.endpoint or "").rpartition(".")[2]
    if name == "token":
        refreshes = request.form.get("grant_type") == "refresh_token"
        name = "token_refresh" if refreshes else "token_code"
    return name if name in ENDPOINTS else None


def _write_down(world: World, response: Response, fault: Fault | None) -> None:
    payload: Any = None
    if fault is None or fault.mode != "reset_early":
        payload = request.get_json(force=True, silent=True)
    usual = fault is None or fault.is_only_slow
    world.record_arrival(
        caller_or_none(),
        payload if isinstance(payload, dict) else {},
        status=response.status_code if fault is None or usual else fault.seen_status,
        accepted=g.get("accepted", False),
    )
