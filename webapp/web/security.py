"""What holds for every request and answer: hosts, sizes, rate limits, headers, compression."""

import gzip
import hashlib
import re
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from flask import Flask, Response, abort, current_app, redirect, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp.config import Settings, is_loopback
from webapp.rules.keys import Purpose, accepted

MAX_FORM_BYTES = 256 * 1024
MAX_LIST_BYTES = int(5.25 * 2**20)
"""A list of 5 MB, and the form around it."""
TAKES_A_LIST = "lists.upload"
MAX_BYTES_BEHIND_PROXY = 6 * 1024 * 1024
"""What the proxy's own limit lets through (docs/behind-a-proxy.md)."""
POLLED = ("attention.count", "messages.show", "batches.show")
"""Endpoints that open pages ask again and again."""
INSTALLED = ("install.manifest", "install.favicon")
"""Files for everybody that keep their address, whatever is in them."""
PROBES = ("operator.healthz", "operator.readyz", "operator.metrics_page")
"""Endpoints for programs, which keep no cookie and need not follow a redirect."""
YEAR_S = 365 * 24 * 3600
DAY_S = 24 * 3600
VERSION_FOLDER = re.compile(r"^[0-9a-f]{12}/")
PACKED = frozenset({"text/css", "text/javascript", "image/svg+xml"})
NOT_KEPT_ANYHOW = "compose.read_recipients"
"""The answer to a POST. Where a script is answered "no-store", Chrome forgets its page, and whoever
goes back finds an empty form."""
COMPRESSED = ("text/html", "application/json")
LEAST_COMPRESSED_BYTES = 1000
# Nothing inline, nothing from elsewhere. Forms lead back here. Browsers apply `form-action` to the
# redirects after a form, too, and one that finds the sign-in ended leads to sipgate's.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "form-action 'self' {login}",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def is_poll() -> bool:
    """Whether a script asks: that does not count as using the session, and calls no sipgate."""
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
        # The token is valid as long as the session: a text typed for two hours is not lost.
        WTF_CSRF_TIME_LIMIT=None,
        # Flask-WTF hands it to itsdangerous, which takes several and signs with the last.
        WTF_CSRF_SECRET_KEY=accepted(settings.secret_key, Purpose.CSRF)[::-1],
        # `guard` checks, once it knows whether there is a session at all.
        WTF_CSRF_CHECK_DEFAULT=False,
        # All sentences are ours. WTForms would load its own for each form (measured).
        WTF_I18N_ENABLED=False,
    )
    if settings.trusted_proxy_hops:
        hops = settings.trusted_proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops)  # type: ignore[method-assign]
        app.after_request(_take_in)
    app.before_request(_refuse_chunks)
    app.before_request(_make_room_for_a_list)
    app.before_request(_one_loopback_name)
    app.after_request(_harden)
    app.after_request(_compress)
    app.add_template_global(static_url)
    app.view_functions["static"] = _static_file


def _make_room_for_a_list() -> None:
    """Before anything reads the form: a list is larger than any other form."""
    if request.endpoint == TAKES_A_LIST:
        request.max_content_length = request.max_form_memory_size = MAX_LIST_BYTES


def static_url(name: str) -> str:
    """The address of a static file, in a folder named after the content of all of them.

    So it may be kept for ever, and so may what a script imports: `./counter.js` is in that folder
    too. (An import map could name each file by its own content, but it would have to be inline.)
    """
    return _static_url(_static_version(), name)


@lru_cache
def _static_url(version: str, name: str) -> str:
    return url_for("static", filename=f"{version}/{name}")


def _static_file(filename: str) -> Response:
    """Whatever the version, there is one of each file: during a roll-out another process's page
    may ask for it. Texts are sent compressed: they hold nothing secret, so anybody may ask."""
    response = current_app.send_static_file(VERSION_FOLDER.sub("", filename))
    if response.mimetype in PACKED:
        response.vary.add("Accept-Encoding")
        if response.status_code == 200 and request.accept_encodings["gzip"] > 0:
            response.direct_passthrough = False
            response.set_data(_packed(response.get_data()))
            response.content_encoding = "gzip"
    return response


@lru_cache(maxsize=64)
def _packed(content: bytes) -> bytes:
    return gzip.compress(content)


def _may_be_kept() -> bool:
    """Whether this request is for a static file by the address that `static_url` gives it."""
    filename = str((request.view_args or {}).get("filename", ""))
    return request.endpoint == "static" and filename.startswith(f"{_static_version()}/")


def _static_version() -> str:
    return _content_hash(Path(str(current_app.static_folder)))


@lru_cache
def _content_hash(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        content.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]


def _refuse_chunks() -> None:
    """Refuse chunked bodies: a broken one fails while it is read. Browsers send a length."""
    if "Transfer-Encoding" in request.headers:
        abort(411)


def _take_in(response: Response) -> Response:
    """Take in what a proxy has begun to pass on, although it is too large to be read.

    Else the connection is closed over it, and the proxy may show "502 Bad Gateway", not our page.
    """
    if MAX_FORM_BYTES < (request.content_length or 0) <= MAX_BYTES_BEHIND_PROXY:
        with suppress(OSError):
            request.environ["wsgi.input"].read(request.content_length)
    return response


def _one_loopback_name() -> ResponseReturnValue | None:
    """Lead browsers to the one name: a cookie of `localhost` is not sent to `127.0.0.1`."""
    settings: Settings = current_app.config["SETTINGS"]
    asked = urlsplit(request.host_url).hostname or ""
    other_name = asked != settings.hostname and is_loopback(asked)
    is_probe = request.endpoint in PROBES
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
        kept = f"public, max-age={YEAR_S}, immutable"
        headers["Cache-Control"] = kept if _may_be_kept() else "no-cache"
    elif request.endpoint in INSTALLED and response.status_code in (200, 304):
        headers["Cache-Control"] = f"public, max-age={DAY_S}"
    elif request.endpoint == NOT_KEPT_ANYHOW and response.status_code == 200:
        headers["Cache-Control"] = "no-cache"
    else:
        headers["Cache-Control"] = "no-store"
    return response


def _compress(response: Response) -> Response:
    """Compress pages: a list of 50 messages has 43 KB.

    Only for requests from our own pages, by Fetch Metadata. Somebody who listens, and whose site
    makes a browser ask with words of their choice, could tell from the sizes what else the answers
    hold (BREACH).
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
