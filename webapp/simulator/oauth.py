"""The identity provider below `/auth/realms/<realm>/protocol/openid-connect/`.

Authlib's server does the protocol; this adds what Keycloak does: PKCE is verified if it was begun,
codes and refresh tokens work once and their second use ends the whole grant, `iss` and
`session_state` come with the callback, and the descriptions of errors are Keycloak's. `grants`
issues and stores the tokens.
"""

from collections.abc import Callable
from typing import Any

from authlib.common.urls import add_params_to_uri
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import InvalidGrantError, InvalidRequestError, InvalidScopeError
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant, RefreshTokenGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from flask import Blueprint, Response, abort, current_app, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from webapp.simulator.access import no_content
from webapp.simulator.faults import oauth_error
from webapp.simulator.grants import SCOPES, Code, Grant, RefreshToken, looks_like_a_scope
from webapp.simulator.world import World

bp = Blueprint("oauth", __name__, url_prefix="/auth/realms/<realm>/protocol/openid-connect")


def setup_oauth(app: Any, world: World) -> None:
    """Add the provider's routes to the Flask app."""
    server = Provider(world)
    server.init_app(app)
    # sipgate's own samples begin none; that ours does is proven by requiring it in the tests.
    server.register_grant(CodeGrant, [RequiredS256() if world.requires_pkce else CodeChallenge()])
    server.register_grant(RefreshGrant)
    app.extensions["provider"] = server
    app.register_blueprint(bp)


class Provider(AuthorizationServer):
    """Authlib's server on the world's one client and its grants."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def query_client(self, client_id: str) -> Any:
        """The `Client`, or None for another id."""
        client = self.world.client
        return client if client.client_id == client_id else None

    def validate_requested_scope(self, scope: str | None) -> None:
        """sipgate has about a hundred: whatever looks like one may be asked for."""
        if not all(map(looks_like_a_scope, (scope or "").split())):
            raise InvalidScopeError

    def generate_token(
        self,
        grant_type: str,
        client: Any,
        user: Any = None,
        scope: str | None = None,
        expires_in: int | None = None,
        include_refresh_token: bool = True,
    ) -> Any:
        """`user` is the grant: a token belongs to a sign-in, not to a person."""
        return self.world.grants.issue(user, scope or "", issuer())

    def save_token(self, token: Any, request: Any) -> None:
        """Nothing: `Grants.issue` has kept it."""


class RequiredS256(CodeChallenge):
    """PKCE as an obligation; Authlib's own asks a client with a secret for none."""

    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def validate_code_challenge(self, grant: Any, redirect_uri: str) -> None:
        data = grant.request.payload.data
        if data.get("code_challenge_method") != "S256":
            raise InvalidRequestError("Missing or invalid parameter: code_challenge_method")
        if not data.get("code_challenge"):
            raise InvalidRequestError("Missing parameter: code_challenge")
        super().validate_code_challenge(grant, redirect_uri)


class CodeGrant(AuthorizationCodeGrant):
    """Authorization code, usable once: any attempt to exchange it uses it up."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]
    server: Provider

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        challenge = data.get("code_challenge", ""), data.get("code_challenge_method")
        self.server.world.grants.add_code(code, request.user, self.redirect_uri, *challenge)

    def create_authorization_response(self, redirect_uri: str, grant_user: Grant) -> Any:
        status, body, headers = super().create_authorization_response(redirect_uri, grant_user)
        extra = [("session_state", grant_user.id), ("iss", issuer())]
        location = add_params_to_uri(dict(headers)["Location"], extra)
        return status, body, [("Location", location)]

    def query_authorization_code(self, code: str, client: Any) -> Code:
        world = self.server.world
        found = world.grants.codes.get(code)
        if found is None or found.grant.client_id != client.client_id:
            raise InvalidGrantError("Code not valid")
        if found.is_used:
            found.grant.is_alive = False
            raise InvalidGrantError("Code not valid")
        found.is_used = True
        if found.expires_at <= world.now():
            raise InvalidGrantError("Code is expired")
        if not found.grant.is_alive:
            raise InvalidGrantError("Session not active")
        if self.request.form.get("redirect_uri") != found.redirect_uri:
            raise InvalidGrantError("Incorrect redirect_uri")
        return found

    def delete_authorization_code(self, authorization_code: Code) -> None:
        """Kept, so that a second use is recognised."""

    def authenticate_user(self, authorization_code: Code) -> Grant:
        return authorization_code.grant


class RefreshGrant(RefreshTokenGrant):
    """Refresh with rotation: the old token dies, and its second use ends the grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_post", "client_secret_basic"]
    INCLUDE_NEW_REFRESH_TOKEN = True
    server: Provider

    def authenticate_refresh_token(self, refresh_token: str) -> RefreshToken:
        world = self.server.world
        found = world.grants.refresh_tokens.get(refresh_token)
        if found is None:
            raise InvalidGrantError("Invalid refresh token")
        if not found.grant.is_alive:
            raise InvalidGrantError("Session not active")
        if found.expires_at <= world.now():
            raise InvalidGrantError("Refresh token expired")
        if found.is_used:
            found.grant.is_alive = False
            raise InvalidGrantError("Token is not active")
        return found

    def authenticate_user(self, refresh_token: RefreshToken) -> Grant:
        return refresh_token.grant

    def revoke_old_credential(self, refresh_token: Any) -> None:
        refresh_token.is_used = True


def provider() -> Provider:
    server: Provider = current_app.extensions["provider"]
    return server


def issuer() -> str:
    """The realm's address as the browser or the client called it."""
    return f"{request.url_root}auth/realms/{_realm()}"


def _realm() -> str:
    return str((request.view_args or {})["realm"])


@bp.before_request
def know_the_realm() -> Response | None:
    if _realm() in provider().world.realms:
        return None
    return Response('{"error":"Realm does not exist"}', 404, content_type="application/json")


@bp.get("/auth")
def authorize(realm: str) -> Response:
    """The sign-in page: choose a person, then allow or cancel."""
    return _with_checked_request(_sign_in_page)


@bp.post("/auth")
def decide(realm: str) -> Response:
    """`login_as` (a person's key) and `decision` (`allow` or `cancel`)."""
    return _with_checked_request(_decide)


def _with_checked_request(then: Callable[[Any], BaseResponse | str]) -> Response:
    """A wrong client or redirect URI gets a page; other errors go to the app (RFC 6749, 4.1)."""
    server: Any = provider()  # Authlib's stubs leave out what this needs
    try:
        grant = server.get_consent_grant()
    except OAuth2Error as error:
        if error.redirect_uri:
            return _flask(server.handle_error_response(None, error))
        words = error.description or error.error
        return Response(render_template("refused.html", words=words), 400)
    return current_app.make_response(then(grant))


def _sign_in_page(grant: Any) -> str:
    world = provider().world
    names = (grant.request.scope or "").split()
    return render_template(
        "sign_in.html",
        realm=_realm(),
        accounts=list(world.accounts.values()),
        wishes=[(name, SCOPES.get(name, name)) for name in names],
    )


def _decide(grant: Any) -> BaseResponse:
    server = provider()
    if request.form.get("decision") != "allow":
        answer = [("error", "access_denied"), ("state", grant.request.payload.state or "")]
        return redirect(add_params_to_uri(grant.redirect_uri, answer))
    person = server.world.people.get(request.form.get("login_as", ""))
    if person is None:
        abort(Response("No such person: login_as", 400))
    sign_in = Grant(person, grant.request.client.client_id, grant.request.scope)
    with server.world.lock:
        return _flask(server.create_authorization_response(grant_user=sign_in, grant=grant))


@bp.post("/token")
def token(realm: str) -> Response:
    """One exchange at a time, so that of two equal refreshes exactly one is the first."""
    if duplicated := _duplicated_field():
        return duplicated
    with provider().world.lock:
        return _flask(provider().create_token_response())


@bp.post("/logout")
def logout(realm: str) -> Response:
    """End the grant of `refresh_token`, server to server: 204."""
    if duplicated := _duplicated_field():
        return duplicated
    world = provider().world
    client = provider().query_client(request.form.get("client_id", ""))
    if client is None or not client.check_client_secret(request.form.get("client_secret", "")):
        return _oauth_error("invalid_client", "Invalid client or Invalid client credentials", 401)
    with world.lock:
        found = world.grants.refresh_tokens.get(request.form.get("refresh_token", ""))
        if found is None:
            return _oauth_error("invalid_grant", "Invalid refresh token")
        found.grant.is_alive = False
    return no_content()


def _flask(answer: Any) -> Response:
    """Authlib's answer for Flask; its stubs take it for something else."""
    response: Response = answer
    return response


def _duplicated_field() -> Response | None:
    if all(len(values) == 1 for _, values in request.form.lists()):
        return None
    return _oauth_error("invalid_request", "duplicated parameter")


def _oauth_error(error: str, description: str, status: int = 400) -> Response:
    fault = oauth_error(error, description, status)
    return Response(fault.body, status, content_type="application/json")
