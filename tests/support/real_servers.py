"""The server as it is deployed, as a process of its own, and a client that visits it over HTTP."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests
from bs4 import BeautifulSoup

from tests.support import preloaded
from webapp.config import PROJECT

START_LIMIT_S = 40
END_LIMIT_S = 40


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def running(command: list[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run a command until the block ends; yields its process id. `log` gets its output."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    with _ended(process, log):
        yield process.pid


@contextmanager
def _ended(process: preloaded.Started, log: Path) -> Iterator[None]:
    """End it with the block; before, it must not have ended by itself."""
    try:
        yield
        assert process.poll() is None, f"it ended by itself: {log.read_text()[-2000:]}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_LIMIT_S)
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def running_server(values: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run the server with these settings; yields its process id once it answers."""
    with log.open("ab") as output:
        env = {**os.environ, **values}
        process = preloaded.start("webapp.server", [], env, output.fileno())
    with _ended(process, log):
        wait_for(f"http://127.0.0.1:{values['PORT']}/healthz", log)
        yield process.pid


@contextmanager
def running_worker(values: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a worker of its own, as there is with PostgreSQL."""
    with log.open("ab") as output:
        env = {**os.environ, **values}
        process = preloaded.start("webapp.worker", [], env, output.fileno())
    with _ended(process, log):
        yield


def wait_for(url: str, log: Path, *, verify: str | bool = True) -> None:
    ends_at = time.monotonic() + START_LIMIT_S
    while True:
        with suppress(requests.RequestException):
            if requests.get(url, timeout=5, verify=verify).ok:
                return
        assert time.monotonic() < ends_at, f"nothing answers: {log.read_text()[-2000:]}"
        time.sleep(0.1)


class Client:
    """A browser without a screen that speaks HTTP; `verify` is a CA's file, for https."""

    def __init__(self, url: str, *, verify: str | bool = True) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = verify
        # Flask-WTF wants to see our own origin over HTTPS, as browsers send it.
        self.session.headers["Referer"] = f"{url}/"

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(urljoin(self.url, path), timeout=30, **options)

    def post(self, path: str, data: Mapping[str, str], **options: Any) -> requests.Response:
        return self.session.post(urljoin(self.url, path), data=data, timeout=30, **options)

    def sign_in(self, person: str = "anna") -> requests.Response:
        """Through sipgate's login and back; returns the page that follows."""
        consent = self.get("/login")
        assert consent.ok, consent.text
        answer = self.session.post(
            consent.url, data={"login_as": person, "decision": "allow"}, timeout=30
        )
        assert answer.ok, answer.text
        return answer

    def send(self, to: str, text: str, **fields: str) -> requests.Response:
        """Fill in the real form and send it; returns the page that follows."""
        form = BeautifulSoup(self.get("/").text, "html.parser").select_one("[data-compose]")
        assert form is not None
        hidden = {
            str(field["name"]): str(field["value"]) for field in form.select("input[type=hidden]")
        }
        data = {"sms_id": "s0", **hidden, "recipient": to, "message": text, **fields}
        return self.post("/messages", data)
