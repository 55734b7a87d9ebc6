"""The server behind a real nginx, set up with the very lines that docs/behind-a-proxy.md gives."""

import os
import re
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from requests.adapters import HTTPAdapter

from tests.conftest import make_empty_database, required_or_skip, values_for
from tests.support.real_servers import Client, free_port, running, running_server, wait_for
from webapp.config import PROJECT
from webapp.simulator import Simulator

# One nginx and one server are started for all of them, in one worker: see `TOGETHER`.
pytestmark = pytest.mark.slow

WEB_THREADS = 2
FORGED = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Proto": "http",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=198.51.100.7;proto=http;host=evil.example",
    "X-Real-IP": "198.51.100.7",
    "X-Request-ID": "forged-by-a-client",
}
FRAME = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/team-sms.conf;
}}
"""


class Site:
    """The app as the world sees it."""

    def __init__(self, https_port: int, http_port: int, ca: Path, log: Path) -> None:
        self.url = f"https://localhost:{https_port}"
        self.http_url = f"http://localhost:{http_port}"
        self.port = https_port
        self.ca = ca
        self.log = log

    def client(self, address: str = "127.0.0.1") -> Client:
        """Somebody whose computer has this address, one of loopback's 127.0.0.0/8."""
        client = Client(self.url, verify=str(self.ca))
        client.session.mount(self.url, _From(address))
        return client


class _From(HTTPAdapter):
    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **kwargs)


def example() -> str:
    """The block of the documentation."""
    text = (PROJECT / "docs" / "behind-a-proxy.md").read_text()
    [block] = re.findall(r"^```nginx\n(.*?)^```$", text, re.M | re.S)
    return str(block)


def set_up(folder: Path, app_port: int, site: Site) -> Path:
    """Write nginx's files: the example with our name, ports and certificate in the places of its
    own, and for IPv4 only."""
    conf = example()
    here = {
        "listen 80;": f"listen 127.0.0.1:{site.http_url.rpartition(':')[2]};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{site.port} ssl http2;",
        "https://sms.example.com": site.url,
        "sms.example.com;": "localhost;",
        "/etc/letsencrypt/live/sms.example.com": str(folder),
        "127.0.0.1:5000": f"127.0.0.1:{app_port}",
        "/var/log/nginx": str(folder),
    }
    for there, ours in here.items():
        assert there in conf, f"the example no longer has {there}"
        conf = conf.replace(there, ours)
    conf = re.sub(r"^ *listen \[::\].*\n", "", conf, flags=re.M)
    (folder / "team-sms.conf").write_text(conf)
    frame = FRAME.format(folder=folder)
    if os.geteuid() == 0:
        frame = "user root;" + frame
    main = folder / "nginx.conf"
    main.write_text(frame)
    return main


@pytest.fixture(scope="module")
def site(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        required_or_skip("nginx", "no nginx found: nothing was tried behind it")
        raise AssertionError
    folder = tmp_path_factory.mktemp("nginx")
    ca, app_port = trustme.CA(), free_port()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued = ca.issue_cert("localhost")
    issued.private_key_pem.write_to_path(folder / "privkey.pem")
    with (folder / "fullchain.pem").open("wb") as chain:
        chain.writelines(part.bytes() for part in issued.cert_chain_pems)
    site = Site(free_port(), free_port(), folder / "ca.pem", folder / "log")
    make_empty_database(folder / "app.sqlite")
    values = values_for(
        simulator,
        folder / "app.sqlite",
        PUBLIC_URL=site.url,
        PORT=str(app_port),
        TRUSTED_PROXY_HOPS="1",
        WEB_THREADS=str(WEB_THREADS),
        RATE_LIMITS="login 3/minute per address",
        METRICS_TOKEN="a-word-for-prometheus",
    )
    simulator.reset()
    registered = simulator.world.client
    simulator.world.client = replace(registered, redirect_uris=(f"{site.url}/auth/callback",))
    command = [nginx, "-p", str(folder), "-c", str(set_up(folder, app_port, site))]
    with running_server(values, site.log), running(command, folder / "nginx.log"):
        wait_for(f"{site.http_url}/", folder / "error.log", verify=str(site.ca))
        yield site
    simulator.world.client = registered
    simulator.reset()


def test_signing_in_and_sending_work_over_tls(site: Site, simulator: Simulator) -> None:
    anna = site.client("127.0.0.11")
    assert "New message" in anna.sign_in().text
    answer = anna.send("+491713920050", "Behind a proxy")
    assert answer.url.startswith(f"{site.url}/messages/")
    assert "Accepted by sipgate" in answer.text
    assert [one.text for one in simulator.world.arrivals] == ["Behind a proxy"]


def test_cookies_keep_to_https_and_to_this_host(site: Site) -> None:
    answer = site.client("127.0.0.12").get("/login", allow_redirects=False)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


def test_plain_http_leads_to_https(site: Site) -> None:
    answer = requests.get(f"{site.http_url}/messages?x=1", allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{site.url}/messages?x=1")


def test_limits_count_the_real_address_whatever_a_client_forges(site: Site) -> None:
    def login(address: str, headers: dict[str, str]) -> int:
        return (
            site.client(address).get("/login", headers=headers, allow_redirects=False).status_code
        )

    assert [login("127.0.0.13", {}) for _ in range(4)] == [302, 302, 302, 429]
    for number in range(3):
        assert login("127.0.0.13", {**FORGED, "X-Forwarded-For": f"198.51.100.{number}"}) == 429
    assert login("127.0.0.14", FORGED) == 302


def test_forged_headers_change_neither_addresses_nor_cookies(site: Site) -> None:
    client = site.client("127.0.0.15")
    answer = client.get("/login", headers=FORGED, allow_redirects=False)
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "evil" not in answer.headers["Location"]
    inside = client.get("/messages", headers=FORGED, allow_redirects=False)
    assert inside.headers["Location"].startswith("/login?next=")
    page = client.get("/", headers=FORGED)
    assert page.ok
    assert "evil" not in page.text


def test_a_request_has_one_id_that_no_client_chose(site: Site) -> None:
    answered = site.client("127.0.0.16").get("/about", headers=FORGED).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{32}", answered)  # nginx's own
    assert answered in site.log.read_text()


def test_what_people_search_for_stands_in_no_log(site: Site) -> None:
    client = site.client("127.0.0.21")
    client.sign_in()
    client.get(
        "/messages?q=confidential", headers={"Referer": f"{site.url}/contacts?q=confidential"}
    )
    requests.get(f"{site.http_url}/messages?q=confidential", allow_redirects=False, timeout=10)
    client.get("/auth/callback?state=foreign-state&code=foreign-code")
    folder = site.log.parent
    logged = "".join(one.read_text() for one in folder.glob("*log*") if one.is_file())
    assert re.search(r"127\.0\.0\.21 \[\S+\] GET /messages 200 ", logged)
    assert re.search(r" GET /auth/callback 400 ", logged)
    for secret in ("confidential", "state=", "code="):
        assert secret not in logged


def test_another_host_name_is_not_served(site: Site) -> None:
    answer = site.client("127.0.0.17").get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def test_a_form_too_large_is_told_by_the_app_and_a_huge_one_ended_by_nginx(site: Site) -> None:
    client = site.client("127.0.0.18")
    large = client.post("/messages", {"message": "x" * 300_000})
    assert large.status_code in (401, 413)
    assert "Team SMS" in large.text
    assert client.post("/messages", {"message": "x" * 7_000_000}).status_code == 413


def test_numbers_are_not_shown_to_the_world(site: Site) -> None:
    wish = {"Authorization": "Bearer a-word-for-prometheus"}
    assert site.client("127.0.0.19").get("/metrics", headers=wish).status_code == 404


def test_slow_clients_hold_nginx_and_not_the_app(site: Site) -> None:
    """More of them than the app has threads, each in the middle of a form that never ends."""
    context = ssl.create_default_context(cafile=str(site.ca))
    begun = (
        f"POST /messages HTTP/1.1\r\nHost: localhost:{site.port}\r\nContent-Length: 1000\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\nmessage=slow"
    )
    with ExitStack() as stack:
        for _ in range(2 * WEB_THREADS):
            plain = stack.enter_context(closing(socket.create_connection(("127.0.0.1", site.port))))
            slow = stack.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            slow.sendall(begun.encode())
        time.sleep(0.3)
        started = time.monotonic()
        assert site.client("127.0.0.20").get("/help").ok
        assert time.monotonic() - started < 3
