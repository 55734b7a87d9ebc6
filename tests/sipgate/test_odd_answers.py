"""Answers that no server should give: nothing but our own exceptions comes out of the clients."""

import gzip
import random
import socket
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.raw_servers import RawServer, limit, raw_server, read_request
from webapp.sipgate import MAX_RETRY_AFTER_S, Authorization, Refused, SipgateError, login
from webapp.sipgate.login import GrantRefused, LoginUnavailable

AUTH = Authorization.bearer("a-token")
SEED = 79
SENDS, READS, TOKENS, LOGOUTS = 1000, 600, 300, 100
OURS = (SipgateError, LoginUnavailable, GrantRefused)

STATUS_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 204 No Content",
    b"HTTP/1.1 429 Too Many Requests",
    b"HTTP/1.1 400 Bad Request",
    b"HTTP/1.1 401 Unauthorized",
    b"HTTP/1.1 302 Found",
    b"HTTP/1.1 503 Service Unavailable",
    b"HTTP/1.0 200",
    b"HTTP/0.9 200 OK",
    b"HTTP/2 200",
    b"HTTP/1.1 101 Switching Protocols",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 429 Slow",
    b"HTTP/1.1 -200 OK",
    b"HTTP/1.1 2e2 OK",
    b"HTTP/1.1 \xb2\xb0\xb0 OK",
    b"HTTP/1.1 \xd9\xa2\xd9\xa0\xd9\xa0 OK",
    b"HTTP/1.1 999 Beyond",
    b"HTTP/1.1 99999999999999999999 OK",
    b"HTTP/1.1 304 Not Modified",
    b"HTTP/1.1  429  ",
    b"http/1.1 429 slow",
    b"ICY 200 OK",
    b"\x00\x00\x00",
)
DATES = (
    b"Mon, 01 Jan 2035 00:00:00 +9999999999999999999",
    b"Mon, 01 Jan 2035 00:00:00 -9999999999999999999",
    b"Mon, 01 Jan 2035 00:00:00 +2400",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"Fri, 31 Dec 9999 23:59:60 -2359",
    b"Mon, 99 Jan 2035 99:99:99 GMT",
    b"01 Jan 99999999999999999999 00:00:00 GMT",
    b"Sun, 29 Feb 2035 00:00:00",
    b"Mon Jan  1 00:00:00 2035",
    b"Monday, 01-Jan-35 00:00:00 GMT",
    b"120",
    b"9" * 5000,
    b"-1",
    b"1e400",
    b"\xd9\xa1\xd9\xa2",
    b"0x10",
    b"120, 60",
    b"",
)
LENGTHS = (b"0", b"2", b"100", b"-1", b"abc", b"1, 2", b"5, 5", b"9" * 30, b"9" * 5000, b"1e3", b"")
TYPES = (
    b"application/json",
    b"application/json; charset=klingon",
    b"application/json; charset=\xff",
    b"text/html",
    b'text/plain; charset="',
    b";;;",
    b"\xf0\x9f\x98\x80",
)
BODIES = (
    b"",
    b"{}",
    b'{"items": [null, 1, {}, {"id": {}}]}',
    b'{"items": {"items": []}, "totalCount": "many"}',
    b'{"items": [{"id": "s0"}], "totalCount": 1e999}',
    b'{"amount": 1e400, "currency": "EUR"}',
    b'{"amount": ' + b"9" * 5000 + b"}",
    b'{"sub": "w0", "masterSipId": "\\ud83d"}',
    b'{"error": "invalid_grant"}',
    b'{"access_token": "x", "expires_in": 1e400}',
    b'{"access_token": "x", "expires_in": "9999999999999999999999"}',
    b'{"access_token": "x", "expires_in": -1, "expires_at": "soon"}',
    b'{"access_token": ["x"], "token_type": {}}',
    b'{"message": {"detail": ["\xff"]}}',
    b'{"errors": [[]]}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"NaN",
    b"<html>",
    gzip.compress(b"{}" + b" " * 5_000_000),
    zlib.compress(b"{}"),
)
CHUNKS = (
    b"2\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFFFFF\r\n{}",
    b"7FFFFFFFFFFFFFFF\r\n{}",
    b"zz\r\n{}",
    b"2;" + b"x" * 100_000 + b"\r\n{}\r\n0\r\n\r\n",
    b"0\r\n" + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
    b"0\r\nTrailer",
    b"+2\r\n{}\r\n0\r\n\r\n",
    b"0_2\r\n{}\r\n0\r\n\r\n",
    b"\r\n\r\n",
    b"9" * 5000 + b"\r\n{}",
)
OTHERS = (
    b"Location: /caf\xe9",
    b"Location: http://[::1",
    b"Location: " + b"http://x@" * 20_000,
    b"Set-Cookie: \xff=\xff; Domain=..; Expires=Mon, 01 Jan 99999 00:00:00 +99999999",
    b"Set-Cookie: a=b; Max-Age=" + b"9" * 5000,
    b"Content-Encoding: gzip",
    b"Content-Encoding: deflate, br, zstd, " + b"gzip, " * 1000,
    b"Content-Encoding: \xff",
    b"Connection: keep-alive, close, \xff",
    b"Keep-Alive: timeout=" + b"9" * 5000,
    b"No colon here",
    b" folded: at once",
    b"Folded: a\r\n b\r\n\tc",
    b"X" * 70_000 + b": name",
    b"X: " + b"x" * 70_000,
    b"\r\n".join(b"X-%d: x" % n for n in range(200)),
    b"Nul: \x00",
    b": nameless",
    b"Date: Mon, 01 Jan 2035 00:00:00 +99999999999",
    b"WWW-Authenticate: Bearer " + b"=," * 500,
)


def odd_answer(chance: random.Random) -> bytes:
    """A status line, headers in any order, a body; now and then cut off, or with bytes changed."""
    headers = [b"Retry-After: " + mutated(chance, chance.choice(DATES))]
    headers += [b"Content-Type: " + chance.choice(TYPES) for _ in range(chance.randrange(3))]
    headers += chance.sample(OTHERS, chance.choice((0, 0, 1, 1, 2)))
    body = chance.choice(BODIES)
    if chance.random() < 0.4:
        headers.append(b"Content-Length: " + chance.choice(LENGTHS))
    if chance.random() < 0.3:
        coding = chance.choice((b"chunked", b"chunked", b"gzip, chunked", b"identity", b"\xff"))
        headers.append(b"Transfer-Encoding: " + coding)
        body = chance.choice(CHUNKS)
    chance.shuffle(headers)
    answer = b"\r\n".join([chance.choice(STATUS_LINES), *headers, b"", body])
    if chance.random() < 0.15:
        answer = answer[: chance.randrange(len(answer))]
    return mutated(chance, answer) if chance.random() < 0.15 else answer


def mutated(chance: random.Random, value: bytes) -> bytes:
    """The same with one to three bytes changed, doubled or dropped; sometimes as it is."""
    changed = bytearray(value)
    for _ in range(chance.randrange(4)):
        if not changed:
            break
        at = chance.randrange(len(changed))
        some = bytes([chance.randrange(256)])
        changed[at : at + 1] = chance.choice((b"", some, bytes(changed[at : at + 1]) * 2))
    return bytes(changed)


def test_the_fuzz_is_the_same_in_every_run() -> None:
    first, second = random.Random(SEED), random.Random(SEED)
    assert [odd_answer(first) for _ in range(50)] == [odd_answer(second) for _ in range(50)]


class Fuzz:
    """An app whose sipgate gives a new odd answer to every request."""

    def __init__(self, app: Flask, url: str, said: list[bytes]) -> None:
        self.app = app
        self.client = limit(app, api_url=url)
        self.found: Counter[str] = Counter()
        self.waits: set[int | None] = set()
        self.said = said

    def ask(self, call: Callable[[], Any]) -> None:
        """Call once; what comes out is a value or one of our own exceptions."""
        try:
            call()
        except OURS as error:
            self.found[type(error).__name__] += 1
            self.waits.add(getattr(error, "retry_after_s", None))
        except Exception as error:
            error.add_note(f"after the answer {self.said[-1][:500]!r}")
            raise
        else:
            self.found["yes"] += 1


@pytest.fixture
def fuzz(make_app: MakeApp) -> Iterator[Fuzz]:
    chance = random.Random(SEED)
    said: list[bytes] = []

    def meet(connection: socket.socket, server: RawServer) -> None:
        read_request(connection)
        said.append(odd_answer(chance))
        connection.sendall(said[-1])

    with raw_server(meet) as server:
        app = make_app(SIPGATE_ISSUER=f"{server.url}/auth/realms/third-party")
        with app.app_context():
            yield Fuzz(app, server.url, said)


def test_f79_whatever_is_answered_to_a_send_only_our_own_exceptions_come_out(fuzz: Fuzz) -> None:
    for _ in range(SENDS):
        fuzz.ask(
            lambda: fuzz.client.send_sms(
                AUTH, extension_id="s0", recipient="+491713920050", text="Hello", send_at=None
            )
        )
    assert min(fuzz.found[kind] for kind in ("yes", "Refused", "OutcomeUnknown")) > 50
    assert fuzz.found["Unreachable"] == 0, "the request had begun"
    # A line that the server has just closed may be tried once more before the client knows.
    assert len(fuzz.said) > SENDS * 0.9
    assert fuzz.waits <= {None, *range(MAX_RETRY_AFTER_S + 1)}


def test_f79_whatever_is_answered_to_a_question_only_our_own_exceptions_come_out(
    fuzz: Fuzz,
) -> None:
    day = datetime(2026, 11, 22, tzinfo=UTC)
    questions: tuple[Callable[[], Any], ...] = (
        lambda: fuzz.client.identity(AUTH),
        lambda: fuzz.client.person(AUTH, "w0"),
        lambda: fuzz.client.extensions(AUTH, "w0"),
        lambda: fuzz.client.balance(AUTH),
        lambda: fuzz.client.contacts(AUTH),
        lambda: fuzz.client.caller_ids(AUTH, sub="w0", extension_id="s0"),
        lambda: fuzz.client.sent_texts(AUTH, extension_id="s0", since=day, until=day),
    )
    for number in range(READS):
        fuzz.ask(questions[number % len(questions)])
    assert min(fuzz.found[kind] for kind in ("Refused", "MalformedResponse", "Unreachable")) > 20


def test_f79_whatever_the_login_server_answers_only_our_own_exceptions_come_out(
    fuzz: Fuzz,
) -> None:
    def refresh() -> None:
        login.ask_token_endpoint(
            lambda client, asked_at: login.checked_grant(
                client.refresh_token(login.endpoint("token"), refresh_token="x"), asked_at
            )
        )

    with fuzz.app.test_request_context():
        for _ in range(TOKENS):
            fuzz.ask(refresh)
        for _ in range(LOGOUTS):
            fuzz.ask(lambda: login.revoke("x"))
    assert fuzz.found["LoginUnavailable"] > 100


WAITS = (
    ("Mon, 01 Jan 2035 00:00:00 +9999999999999999999", None),
    ("Mon, 01 Jan 2035 00:00:00 -9999999999999999999", None),
    ("Mon, 01 Jan 2035 00:00:00 +9999", None),
    ("Mon, 01 Jan 2035 00:00:00 GMT", MAX_RETRY_AFTER_S),
    ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
    ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ("9" * 5000, MAX_RETRY_AFTER_S),
    ("7", 7),
    ("", None),
    ("-7", None),
    ("\u0661", None),
)


def test_f79_a_wait_that_makes_no_sense_is_none(make_app: MakeApp) -> None:
    waits = iter(WAITS)

    def meet(connection: socket.socket, server: RawServer) -> None:
        read_request(connection)
        wait = next(waits)[0].encode()
        connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: " + wait + b"\r\n\r\n")

    with raw_server(meet) as server:
        app = make_app()
        client = limit(app, api_url=server.url)
        for wait, expected in WAITS:
            with app.app_context(), pytest.raises(Refused) as refused:
                client.delete_caller_id(AUTH, sub="w0", extension_id="s0", caller_id=1)
            assert refused.value.retry_after_s == expected, wait


def test_f79_the_message_of_such_an_answer_is_refused_and_its_page_shows(
    app: Flask, anna: Any
) -> None:
    form = anna.compose(recipient="+491713920050", message="Hello")

    def meet(connection: socket.socket, server: RawServer) -> None:
        read_request(connection)
        connection.sendall(b"HTTP/1.1 429 Slow\r\nRetry-After: " + DATES[0] + b"\r\n\r\n")

    with raw_server(meet) as server:
        limit(app, send_s=5, api_url=server.url)
        page = anna.post("/messages", form, status=303)
    twin = anna.twin(page)
    assert (twin["outcome"], twin["reason"]) == ("refused", "rate_limited")
