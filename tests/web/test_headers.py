"""What every answer says to the browser, which hosts and sizes are served, and what is kept."""

import gzip
import re
import shutil
from pathlib import Path

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser
from webapp.config import PROJECT
from webapp.jobs import heartbeat
from webapp.simulator.server import Simulator
from webapp.web.security import static_url

KILOBYTE = 1024
STATIC = PROJECT / "static"
KEPT_FOR_EVER = "public, max-age=31536000, immutable"

EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def assert_hardened(response: object) -> None:
    headers = response.headers  # type: ignore[attr-defined]
    for name, value in EVERYWHERE.items():
        assert headers[name] == value, name
    policy = dict(part.strip().partition(" ")[::2] for part in policy_of(headers).split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    for name in ("script-src", "style-src", "img-src", "connect-src"):
        assert policy[name] == "'self'", name
    assert policy["form-action"].startswith("'self'")
    assert "unsafe" not in policy_of(headers)
    assert "*" not in policy_of(headers)
    assert "camera=()" in headers["Permissions-Policy"]
    assert "Werkzeug" not in headers.get("Server", "")


def policy_of(headers: object) -> str:
    return str(headers["Content-Security-Policy"])  # type: ignore[index]


ANSWERS = [
    ("GET", "/", 200),
    ("GET", "/messages", 200),
    ("GET", "/extensions", 200),
    ("GET", "/login", 302),
    ("GET", "/auth/callback", 400),
    ("GET", "/nowhere", 404),
    ("GET", f"/messages/{'0' * 32}", 404),
    ("PUT", "/messages", 405),
    ("POST", "/messages", 400),
    ("GET", "/healthz", 200),
    ("GET", "/readyz", 503),  # no worker runs here
    ("HEAD", "/", 200),
    ("OPTIONS", "/messages", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_answer_is_hardened_and_not_kept(
    anna: Browser, method: str, path: str, status: int
) -> None:
    headers = {"Referer": f"{anna.base_url}/"}
    response = anna.client.open(path, method=method, base_url=anna.base_url, headers=headers)
    assert response.status_code == status
    assert_hardened(response)
    assert response.headers["Cache-Control"] == "no-store"


def test_an_answer_to_a_stranger_is_hardened_too(stranger: Browser) -> None:
    for path in ("/", "/messages", "/nowhere", "/static/nowhere.css"):
        response = stranger.get(path, status=None).response
        assert_hardened(response)
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.own_app
def test_an_error_on_our_side_is_a_hardened_page(
    app: Flask, sipgate: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down() -> None:
        raise RuntimeError("<secret>")

    app.before_request_funcs.setdefault(None, []).insert(0, break_down)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    browser = Browser(app, sipgate)
    response = browser.client.get("/", base_url=browser.base_url)
    assert response.status_code == 500
    assert_hardened(response)
    assert "secret" not in response.text
    assert "Something went wrong" in response.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    ("site", "encodings", "is_packed"),
    [
        ("same-origin", "gzip, deflate, br", True),
        ("none", "gzip", True),
        ("cross-site", "gzip", False),  # its size would tell what stands in it
        ("same-site", "gzip", False),
        (None, "gzip", False),
        ("same-origin", "gzip;q=0, br", False),
        ("same-origin", None, False),
    ],
)
def test_a_page_is_packed_unless_another_site_led_to_it(
    anna: Browser, site: str | None, encodings: str | None, is_packed: bool
) -> None:
    asked = {"Sec-Fetch-Site": site, "Accept-Encoding": encodings}
    headers = {name: value for name, value in asked.items() if value}
    answer = anna.client.get("/help", base_url=anna.base_url, headers=headers)
    assert (answer.headers.get("Content-Encoding") == "gzip") is is_packed
    assert int(answer.headers["Content-Length"]) == len(answer.data)
    body = gzip.decompress(answer.data) if is_packed else answer.data
    assert body.rstrip().endswith(b"</html>")
    assert_hardened(answer)


# --- Static files -------------------------------------------------------------------------------


def linked_files(browser: Browser) -> list[str]:
    soup = browser.get("/").soup
    found = [str(one["href"]) for one in soup.select("link[href]:not([rel=manifest])")]
    return found + [str(one["src"]) for one in soup.select("script[src]")]


def test_static_files_are_addressed_by_their_content_and_kept_for_ever(anna: Browser) -> None:
    links = linked_files(anna)
    assert len(links) >= 4
    for link in links:
        name = re.fullmatch(r"/static/[0-9a-f]{12}/([a-z0-9-]+\.[a-z]+)", link)
        assert name is not None, link
        with anna.client.get(link, base_url=anna.base_url) as response:
            assert response.status_code == 200
            assert response.data == (STATIC / name[1]).read_bytes()
            assert response.headers["Cache-Control"] == KEPT_FOR_EVER
            assert "Set-Cookie" not in response.headers
            assert "Cookie" not in response.headers.get("Vary", "")
            assert_hardened(response)


def test_a_change_of_any_static_file_changes_the_address_of_all(app: Flask, tmp_path: Path) -> None:
    """A script imports others from its own folder: they must not be older than it."""

    def address(folder: Path) -> str:
        app.static_folder = str(folder)
        with app.test_request_context():
            return static_url("app.js")

    before = address(shutil.copytree(STATIC, tmp_path / "before"))
    assert before == address(STATIC)
    after = shutil.copytree(STATIC, tmp_path / "after")
    (after / "counter.js").write_text("// another one")
    assert before != address(after)


@pytest.mark.parametrize("folder", ["", "0123456789ab/"])
def test_a_static_file_by_any_other_address_is_asked_for_again(anna: Browser, folder: str) -> None:
    """Without a version, or with that of another process during a roll-out."""
    with anna.client.get(f"/static/{folder}app.css", base_url=anna.base_url) as response:
        assert response.data == (STATIC / "app.css").read_bytes()
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["ETag"]


def test_scripts_import_only_scripts_that_there_are_from_their_own_folder() -> None:
    imported = []
    for path in STATIC.glob("*.js"):
        for name in re.findall(r"(?:from|import) *[\"']([^\"']*)", path.read_text()):
            assert re.fullmatch(r"\./[a-z]+\.js", name), f"{path.name}: write ./{name}"
            assert (STATIC / name).exists(), f"{path.name} imports {name}"
            imported.append(name)
    assert "./counter.js" in imported


def test_a_static_file_has_the_type_that_its_name_says(anna: Browser) -> None:
    for name, kind in (("app.css", "text/css"), ("app.js", "javascript"), ("icon.svg", "svg")):
        with anna.client.get(f"/static/{name}", base_url=anna.base_url) as response:
            assert kind in response.headers["Content-Type"]


def test_an_unchanged_static_file_is_not_sent_twice(anna: Browser) -> None:
    link = linked_files(anna)[0]
    for path, kept in {link: KEPT_FOR_EVER, "/static/app.css": "no-cache"}.items():
        with anna.client.get(path, base_url=anna.base_url) as first:
            etag = first.headers["ETag"]
        wish = {"If-None-Match": etag}
        with anna.client.get(path, base_url=anna.base_url, headers=wish) as second:
            assert second.status_code == 304
            assert second.headers["Cache-Control"] == kept
            assert second.data == b""


@pytest.mark.parametrize(
    "path",
    [
        "/static/../webapp/config/__init__.py",
        "/static/%2e%2e/webapp/config/__init__.py",
        "/static/..%2fwebapp%2fconfig%2f__init__.py",
        "/static/..%5cwebapp%5cconfig%5c__init__.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/",
        "/static/.",
        "/static/%00",
        "/static/0123456789ab/",
        "/static/0123456789ab//etc/passwd",
        "/static/0123456789ab/../../webapp/config.py",
        "/static/0123456789ab/0123456789ab/app.css",
        "/static/app.css%00.js",
    ],
)
def test_nothing_beside_the_static_files_is_served(stranger: Browser, path: str) -> None:
    response = stranger.client.get(path, base_url=stranger.base_url)
    assert response.status_code in (308, 404)
    assert "import" not in response.text


# --- Sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_beyond_the_limit_is_a_page_that_names_it(
    anna: Browser, sipgate: Simulator, kind: str
) -> None:
    fields = anna.compose(recipient="+491713920050", message="a" * (256 * KILOBYTE))
    page = anna.post("/messages", fields, status=413, content_type=kind)
    assert "256 KB" in page.text
    assert "Nothing was sent" in page.text
    assert sipgate.world.arrivals == []


def test_a_form_within_the_limit_keeps_its_text(anna: Browser, sipgate: Simulator) -> None:
    text = "a" * (200 * KILOBYTE)
    page = anna.send("+491713920050", text, status=422)
    assert page.fields()["message"].strip() == text
    assert sipgate.world.arrivals == []


def test_a_form_of_a_thousand_parts_is_refused(anna: Browser) -> None:
    fields = {**anna.compose(), **{f"part{n}": "x" for n in range(1200)}}
    anna.post("/messages", fields, status=413, content_type="multipart/form-data")


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_strangers_huge_form_is_refused_without_a_crash(stranger: Browser, kind: str) -> None:
    for path in ("/messages", "/logout"):
        page = stranger.post(path, {"message": "a" * 300_000}, content_type=kind)
        assert page.status in (401, 413)


# --- Hosts and names ----------------------------------------------------------------------------


@pytest.fixture
def local(make_app: MakeApp) -> Flask:
    """An app for people on this machine."""
    return make_app(PUBLIC_URL="http://localhost:5000", TRUSTED_PROXY_HOPS="0")


@pytest.fixture
def public(make_app: MakeApp) -> Flask:
    """An app for everybody, behind a proxy that ends TLS."""
    return make_app(PUBLIC_URL="https://sms.example", TRUSTED_PROXY_HOPS="1")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_visit_under_the_other_loopback_name_is_led_to_the_one(local: Flask, method: str) -> None:
    client = local.test_client()
    response = client.open(
        "/messages?before=a%2Fb&x=ü", method=method, base_url="http://127.0.0.1:5000"
    )
    assert response.status_code == 302
    assert response.headers["Location"].startswith("http://localhost:5000/messages?before=a%2Fb")
    assert "Set-Cookie" not in response.headers


def test_a_form_under_the_other_loopback_name_is_not_led_away(local: Flask) -> None:
    response = local.test_client().post("/messages", base_url="http://127.0.0.1:5000")
    assert response.status_code == 401
    assert "Location" not in response.headers


def test_health_is_told_under_either_loopback_name(local: Flask) -> None:
    for host in ("localhost", "127.0.0.1"):
        client = local.test_client()
        told = {
            path: client.get(path, base_url=f"http://{host}:5000").json
            for path in ("/healthz", "/readyz")
        }
        assert told == {"/healthz": {"status": "ok"}, "/readyz": {"status": "no worker"}}


def test_over_https_no_name_is_led_to_another(public: Flask) -> None:
    for host in ("sms.example", "localhost", "127.0.0.1"):
        assert public.test_client().get("/", base_url=f"https://{host}").status_code == 200
    assert public.test_client().get("/", base_url="https://www.sms.example").status_code == 400


def test_over_https_browsers_are_told_to_stay_there(public: Flask) -> None:
    client = public.test_client()
    for path in ("/", "/nowhere", "/login", "/healthz", "/static/app.css"):
        with client.get(path, base_url="https://sms.example") as response:
            found = re.match(r"max-age=(\d+)", response.headers["Strict-Transport-Security"])
            assert found is not None
            assert int(found[1]) >= 365 * 24 * 3600


def test_over_http_nothing_is_said_of_https(local: Flask) -> None:
    response = local.test_client().get("/", base_url="http://localhost:5000")
    assert "Strict-Transport-Security" not in response.headers


# --- Health -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_told_to_anybody_without_asking_sipgate(
    app: Flask, stranger: Browser, sipgate: Simulator, path: str
) -> None:
    sipgate.stop()
    with app.app_context():
        heartbeat.heartbeat("a worker of this test")
    page = stranger.get(path)
    assert page.json == {"status": "ok"}
    assert "Set-Cookie" not in page.response.headers
    assert sipgate.world.calls == {}


@pytest.mark.own_app
@pytest.mark.sqlite
def test_ready_needs_the_database_and_healthy_does_not(app: Flask, stranger: Browser) -> None:
    database = Path(app.config["SETTINGS"].database_url.removeprefix("sqlite:///"))
    for path in database.parent.glob("app.sqlite*"):
        path.write_bytes(b"This is no database. " * 500)
    page = stranger.get("/readyz", status=503)
    assert page.json["status"] == "no database"
    assert stranger.get("/healthz").json == {"status": "ok"}
