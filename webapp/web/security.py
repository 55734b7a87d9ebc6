"""What every answer and every request must keep to, whatever page it is: headers, hosts, sizes."""

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp.config import Settings, is_loopback
from webapp.rules.keys import Purpose, accepted

MAX_FORM_BYTES = 256 * 1024
POLLED = ("attention.count", "messages.show", "batches.show")
"""What open pages ask for again and again."""
YEAR_S = 365 * 24 * 3600
COMPRESSED = ("text/html", "application/json")
LEAST_COMPRESSED_BYTES = 1000
# Nothing inline, nothing from elsewhere. A form leads back here; browsers hold the redirects after
# it to the same rule, and the page of a message that found the sign-in ended leads to sipgate's.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self' {login}",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def is_poll() -> bool:
    """Whether a page asks by itself: then nobody uses the session, and sipgate is not called."""
    if request.method != "GET" or request.endpoint not in POLLED:
        return False
    by_script = request.headers.get("Sec-Fetch-Dest") == "empty"
    return by_script or request.endpoint == "attention.count"


def setup_security(app: Flask) -> None:
    settings: Settings = app.config["SETTINGS"]
    https = settings.is_https
    cookie_keys = list(accepted(settings.secret_key, Purpose.COOKIE))
    app.config.update(
        SECRET_KEY=cookie_keys[0],
        SECRET_KEY_FALLBACKS=cookie_keys[:0:-1],
        SESSION_COOKIE_NAME="__Host-session" if https else "session",
        SESSION_COOKIE_SECURE=https,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",  # Strict would lose the sign-in on the way back from sipgate
        TRUSTED_HOSTS=[settings.hostname, "localhost", "127.0.0.1"],
        MAX_CONTENT_LENGTH=MAX_FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=MAX_FORM_BYTES,
        # The token lives as long as the session: a text typed for two hours is not lost.
        WTF_CSRF_TIME_LIMIT=None,
        # Flask-WTF hands it to itsdangerous, which takes several and signs with the last.
        WTF_CSRF_SECRET_KEY=accepted(settings.secret_key, Purpose.CSRF)[::-1],
        # Checked by `members`, after it has looked whether there is a session at all.
        WTF_CSRF_CHECK_DEFAULT=False,
        # Every sentence of a form is ours: WTForms' own would be read anew for each (measured).
        WTF_I18N_ENABLED=False,
        SEND_FILE_MAX_AGE_DEFAULT=YEAR_S,
    )
    if settings.trusted_proxy_hops:
        hops = settings.trusted_proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
    app.before_request(_refuse_chunks)
    app.before_request(_one_loopback_name)
    app.after_request(_harden)
    app.after_request(_compress)
    app.add_template_global(static_url)


def static_url(name: str) -> str:
    """The address of a static file, with a hash of its content: it may be kept for ever."""
    return url_for("static", filename=name, v=_content_hash(str(current_app.static_folder), name))


@lru_cache
def _content_hash(folder: str, name: str) -> str:
    return hashlib.sha256((Path(folder) / name).read_bytes()).hexdigest()[:12]


def _refuse_chunks() -> None:
    """Browsers send forms with their length; a broken chunk would fail in the middle of reading."""
    if "Transfer-Encoding" in request.headers:
        abort(411)


def _one_loopback_name() -> ResponseReturnValue | None:
    """A cookie set for `localhost` is not sent to `127.0.0.1`: keep browsers to the one name."""
    settings: Settings = current_app.config["SETTINGS"]
    asked = urlsplit(request.host_url).hostname or ""
    other_name = asked != settings.hostname and is_loopback(asked)
    is_probe = (request.blueprint or "") == "ops"
    if settings.is_https or not other_name or is_probe or request.method not in ("GET", "HEAD"):
        return None
    return redirect(f"{settings.public_url}{request.full_path.rstrip('?')}")


def _login_origin() -> str:
    parts = urlsplit(current_app.config["SETTINGS"].sipgate_issuer)
    return f"{parts.scheme}://{parts.netloc}"


def _harden(response: Response) -> Response:
    headers = response.headers
    headers["Content-Security-Policy"] = POLICY.format(login=_login_origin())
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    # `no-referrer` would break every form over HTTPS: Flask-WTF wants to see our own origin.
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
    if current_app.config["SETTINGS"].is_https:
        headers["Strict-Transport-Security"] = f"max-age={YEAR_S}"
    if request.endpoint == "static" and response.status_code in (200, 206, 304):
        headers["Cache-Control"] = f"public, max-age={YEAR_S}, immutable"
    else:
        headers["Cache-Control"] = "no-store"
    return response


def _compress(response: Response) -> Response:
    """Make pages small on their way: a list of 50 messages has 43 KB.

    Not for another site's sake: who listens, and makes a browser ask with words of their choice,
    could tell from the sizes what else stands in the answers (BREACH). Browsers say who asks
    (Fetch Metadata), over HTTPS and on this machine; all others get the page as it is.
    """
    is_asked_by_us = request.headers.get("Sec-Fetch-Site") in ("same-origin", "none")
    if (
        is_asked_by_us
        and request.accept_encodings["gzip"] > 0
        and response.mimetype in COMPRESSED
        and not response.is_streamed
        and len(response.get_data()) >= LEAST_COMPRESSED_BYTES
    ):
        response.set_data(gzip.compress(response.get_data()))
        response.content_encoding = "gzip"
    return response
