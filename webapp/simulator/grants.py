"""The identity provider's state: the client, codes, grants and tokens.

A grant is one sign-in (Keycloak's session). It ends by sign-out, by a code or a refresh token used
twice, or when a test ends it; all its tokens end with it. The protocol itself is in `oauth`.
All times are seconds since the epoch, on the world's clock.
"""

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin

from webapp.simulator.people import Person

SCOPES = {
    "all": "Everything",
    "account:read": "Read the account's data",
    "balance:read": "Read the balance",
    "contacts:read": "Read contacts",
    "history:read": "Read the history",
    "openid": "Know who you are",
    "sessions:sms:write": "Send text messages",
    "sessions:write": "Send text messages and start calls",
    "sms:callerid:read": "Read SMS caller IDs",
    "sms:callerid:write": "Change SMS caller IDs",
    "sms:read": "Read SMS extensions",
    "sms:write": "Change SMS extensions",
    "users:read": "Read users' names and roles",
}
"""The words of the sign-in page for scopes that this app or sipgate's samples ask for."""

_SCOPE = re.compile(r"[a-z][a-z0-9_-]*(?::[a-z0-9_-]+)*", re.ASCII)

CODE_LIFETIME_S = 60
"""Keycloak's default for an authorization code."""

_RSA_SIGNATURE_BYTES = 256  # of RS256, so that tokens are about as long as real ones


def looks_like_a_scope(name: str) -> bool:
    return _SCOPE.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):
    """The one registered client. Redirect URIs must match exactly."""

    client_id: str
    client_secret: str
    redirect_uris: tuple[str, ...]

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        """None such: the redirect URI has to be named."""
        return ""

    def get_allowed_scope(self, scope: Any) -> str:
        return " ".join(name for name in (scope or "").split() if looks_like_a_scope(name))

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri in self.redirect_uris

    def check_client_secret(self, client_secret: str) -> bool:
        return secrets.compare_digest(self.client_secret.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_post", "client_secret_basic")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "refresh_token")


@dataclass(slots=True)
class Grant:
    """One sign-in of a person. `id` is the `session_state` of callbacks and token answers."""

    person: Person
    client_id: str
    scope: str
    id: str = field(default_factory=lambda: str(uuid4()))
    is_alive: bool = True


@dataclass(slots=True)
class Code(AuthorizationCodeMixin):
    """An authorization code; any attempt to exchange it uses it up."""

    grant: Grant
    redirect_uri: str
    code_challenge: str
    """Empty where the sign-in was begun without PKCE."""
    code_challenge_method: str | None
    expires_at: float
    is_used: bool = False

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.grant.scope


@dataclass(slots=True)
class AccessToken:
    grant: Grant
    scopes: frozenset[str]
    expires_at: float


@dataclass(slots=True)
class RefreshToken(TokenMixin):
    grant: Grant
    expires_at: float
    is_used: bool = False

    def check_client(self, client: Any) -> bool:
        return bool(self.grant.client_id == client.get_client_id())

    def get_scope(self) -> str:
        return self.grant.scope


@dataclass(slots=True)
class Grants:
    """All sign-ins. Not thread-safe by itself: `World` holds its lock around every use."""

    now: Callable[[], float]
    access_token_s: int = 300
    refresh_token_s: int = 30 * 24 * 3600
    codes: dict[str, Code] = field(default_factory=dict)
    access_tokens: dict[str, AccessToken] = field(default_factory=dict)
    refresh_tokens: dict[str, RefreshToken] = field(default_factory=dict)

    def add_code(
        self, code: str, grant: Grant, redirect_uri: str, challenge: str, method: str | None
    ) -> None:
        expires_at = self.now() + CODE_LIFETIME_S
        self.codes[code] = Code(grant, redirect_uri, challenge, method, expires_at)

    def issue(self, grant: Grant, scope: str, issuer: str) -> dict[str, object]:
        """A new pair of tokens, as the token endpoint answers it."""
        access_token = self._jwt(grant, scope, issuer, self.access_token_s)
        refresh_token = self._jwt(grant, scope, issuer, self.refresh_token_s)
        now = self.now()
        scopes = frozenset(scope.split())
        self.access_tokens[access_token] = AccessToken(grant, scopes, now + self.access_token_s)
        self.refresh_tokens[refresh_token] = RefreshToken(grant, now + self.refresh_token_s)
        return {
            "access_token": access_token,
            "expires_in": self.access_token_s,
            "refresh_expires_in": self.refresh_token_s,
            "refresh_token": refresh_token,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": grant.id,
            "scope": scope,
        }

    def access(self, token: str) -> AccessToken | None:
        """The living access token, or None."""
        found = self.access_tokens.get(token)
        if found is None or not found.grant.is_alive or found.expires_at <= self.now():
            return None
        return found

    def expire(self, tokens: Iterable[AccessToken | RefreshToken]) -> None:
        for token in tokens:
            token.expires_at = self.now()

    def end(self, person: Person | None = None) -> None:
        """End the grants of one person or of all."""
        holders: list[Code | AccessToken] = [*self.codes.values(), *self.access_tokens.values()]
        for holder in holders:
            if person is None or holder.grant.person is person:
                holder.grant.is_alive = False

    def _jwt(self, grant: Grant, scope: str, issuer: str, lifetime_s: int) -> str:
        """A token that looks like Keycloak's, three base64url parts; its signature is noise."""
        now = int(self.now())
        header = {"alg": "RS256", "typ": "JWT", "kid": "simulator"}
        claims = {
            "exp": now + lifetime_s,
            "iat": now,
            "jti": str(uuid4()),
            "iss": issuer,
            "aud": grant.client_id,
            # Not the user id of the REST API: a client that takes it for that fails.
            "sub": "f:5d0b1f0e-3a0c-4f6e-8f41-0c9d6c1a7b22:957162",
            "azp": grant.client_id,
            "session_state": grant.id,
            "scope": scope,
        }
        parts = [json.dumps(part).encode() for part in (header, claims)]
        parts.append(secrets.token_bytes(_RSA_SIGNATURE_BYTES))
        return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
