"""A mail server and a web server to tell alerts to: real sockets, with every whim of theirs."""

import base64
import email
import email.policy
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme

LOOPBACK = "127.0.0.1"
NAME, PASSWORD = "sms@practice.example", "p@ss/w:rd-of-the-mail-server"
ADDRESS = "office@practice.example"


class Certificates:
    """A certificate for `localhost` of an authority that nobody knows by themselves."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self.context)


@dataclass
class Whims:
    """How a mail server behaves."""

    tls: str = ""
    """`starttls`, `always`, or none."""
    accepts_login: bool = True
    refused: tuple[str, ...] = ()
    answer_to_data: str = "250 taken"
    drips: bool = False
    """It greets for ever, a byte at a time."""
    hangs_after_data: bool = False
    cuts_after_data: bool = False


class Mailbox(socketserver.ThreadingTCPServer):
    """A mail server. What it took is in `mails`; with `hangs_after_data`, it has taken it, too."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, certificates: Certificates | None = None) -> None:
        super().__init__((LOOPBACK, 0), _Conversation)
        self.whims = Whims()
        self.certificates = certificates
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.logins: list[tuple[str, str]] = []
        self.commands: list[str] = []
        self.closing = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends the conversation is no error here."""


class _Conversation(socketserver.StreamRequestHandler):
    server: Mailbox
    timeout = 30

    def handle(self) -> None:
        whims = self.server.whims
        if whims.tls == "always":
            self._encrypt()
        if whims.drips:
            while not self.server.closing.wait(0.02):
                self.connection.sendall(b"2")
            return
        self._say("220 ready")
        self._recipients: list[str] = []
        self._greeted = False
        while line := self.rfile.readline():
            words = line.decode().strip()
            self.server.commands.append(words.partition(" ")[0].upper())
            if not self._answer(words):
                return

    def _answer(self, line: str) -> bool:
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                offers = ["here", "AUTH PLAIN"]
                if self.server.whims.tls == "starttls" and not self._is_encrypted:
                    offers = ["here", "STARTTLS"]
                for offer in offers[:-1]:
                    self._say(f"250-{offer}")
                self._say(f"250 {offers[-1]}")
            case "STARTTLS":
                self._say("220 go ahead")
                self._encrypt()
            case "AUTH":
                self._log_in(rest)
            case "RCPT":
                address = rest.partition("<")[2].partition(">")[0]
                is_refused = address in self.server.whims.refused
                self._say("550 nobody of that name" if is_refused else "250 known")
                if not is_refused:
                    self._recipients.append(address)
            case "DATA":
                self._say("354 go on")
                return self._take()
            case "QUIT":
                self._say("221 bye")
                return False
            case _:
                self._say("250 well")
        return True

    def _log_in(self, rest: str) -> None:
        _, name, password = base64.b64decode(rest.partition(" ")[2]).decode().split("\0")
        self.server.logins.append((name, password))
        is_in = self.server.whims.accepts_login and (name, password) == (NAME, PASSWORD)
        # Like some real ones, it repeats what it was told.
        self._say("235 in" if is_in else f"535 not {name} with {password}")

    def _take(self) -> bool:
        content = b""
        while not content.endswith(b"\r\n.\r\n"):
            line = self.rfile.readline()
            if not line:
                return False
            content += line
        whims = self.server.whims
        if whims.answer_to_data.startswith("250"):
            mail = email.message_from_bytes(content[:-3], policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.server.recipients.append(self._recipients)
            self.server.mails.append(mail)
        if whims.hangs_after_data:
            self.server.closing.wait()
        self.server.may_answer.wait()
        if whims.hangs_after_data or whims.cuts_after_data:
            return False
        self._say(whims.answer_to_data)
        return True

    _is_encrypted = False

    def _encrypt(self) -> None:
        assert self.server.certificates
        self.connection = self.server.certificates.context.wrap_socket(
            self.connection, server_side=True
        )
        self.rfile = self.connection.makefile("rb")
        self._is_encrypted = True

    def _say(self, line: str) -> None:
        self.connection.sendall(f"{line}\r\n".encode())

    def finish(self) -> None:
        with suppress(OSError):
            self.rfile.close()
            self.connection.close()


class Hook(ThreadingHTTPServer):
    """A web server that takes POSTs. Each in `posts`: its path, its headers, its body."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((LOOPBACK, 0), _Post)
        self.status = 200
        self.drips = False
        self.posts: list[tuple[str, dict[str, str], bytes]] = []
        self.closing = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def told(self) -> list[dict[str, str]]:
        return [json.loads(body) for _, _, body in self.posts]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that ends the connection is no error here."""


class _Post(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.drips:
            self.wfile.write(b"HTTP/1.1 2")
            while not self.server.closing.wait(0.02):
                self.wfile.write(b"x")
            return
        self.server.posts.append((self.path, dict(self.headers), body))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@contextmanager
def serving(server: Mailbox | Hook) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
