"""A request's caller and JSON body, for `rest` and `send`."""

from flask import Response, current_app, request

from webapp.simulator.people import Person
from webapp.simulator.world import World


class ApiError(Exception):
    """A refusal: HTTP status and sipgate's message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def world() -> World:
    found: World = current_app.extensions["world"]
    return found


def caller(*any_of: str) -> Person:
    """Who calls, holding one of these scopes (or `all`); 401 or 403 otherwise.

    A personal token holds every scope.
    """
    person, scopes = _signed_in()
    if any_of and scopes is not None and scopes.isdisjoint({"all", *any_of}):
        raise ApiError(403, f"Missing scope: {' or '.join(any_of)}")
    return person


def caller_or_none() -> Person | None:
    try:
        return _signed_in()[0]
    except ApiError:
        return None


def _signed_in() -> tuple[Person, frozenset[str] | None]:
    """The person and the token's scopes; None instead of scopes for all of them."""
    kind, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer":
        token = world().grants.access(credentials.strip())
        if token is not None and world().is_present(token.grant.person):
            return token.grant.person, token.scopes
    basic = request.authorization
    if basic is not None and basic.type == "basic":
        person = world().by_personal_token(basic.username or "", basic.password or "")
        if person is not None:
            return person, None
    raise ApiError(401, "Invalid token supplied")


def no_content() -> Response:
    """204, without the Content-Type that Flask would give it."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def json_body() -> dict[str, object]:
    """The request's JSON object; 415 for another content type, 400 for anything but an object."""
    if not request.is_json:
        raise ApiError(415, "Content-Type must be application/json")
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise ApiError(400, "The body is not a JSON object")
    return body
