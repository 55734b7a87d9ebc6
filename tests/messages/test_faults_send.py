"""Faults of `POST /sessions/sms`: the outcome is what the ledger says, or honestly unknown."""

import json
import socket
import ssl
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import TypeVar

import pytest
import requests
import sqlalchemy as sa
import trustme
from flask import Flask

from tests.support.pages import Browser, Page
from tests.support.raw_servers import (
    LOOPBACK,
    RawServer,
    again_link,
    answering,
    black_hole,
    case,
    expect,
    is_black,
    limit,
    prefilled,
    raw_server,
    read_request,
    resetting_after,
    tls_sipgate,
    wait_until,
)
from webapp.database import db
from webapp.database.models import Message
from webapp.simulator import Fault, Simulator
from webapp.simulator.faults import Mode
from webapp.sipgate import Authorization, OutcomeUnknown, Refused, SipgateError, Unauthorized

MAINTENANCE = b"<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"
TO = "+491713920050"
SOON_S = 15.0
"""Less than it takes without the deadline in question, and enough for a busy machine."""
C = TypeVar("C")


def answered(app: Flask, browser: Browser, to: str, answer: bytes) -> dict[str, str]:
    """The JSON twin of a message that met exactly this answer, and was sent once."""
    form = browser.compose(recipient=to, message="Hello")
    with answering(answer) as server:
        limit(app, send_s=5, api_url=server.url)
        page = browser.post("/messages", form, status=303)
        assert len(server.requests) == 1
    twin: dict[str, str] = browser.twin(page)
    return twin


def send(browser: Browser, text: str = "Hello", to: str = TO) -> Page:
    return browser.send(to, text)


def each(cases: Iterable[C]) -> Iterator[tuple[str, C]]:
    """Each case with a recipient of its own, so that the ledger can tell them apart.

    Within one test, because a sign-in for each would take longer than all the rest.
    """
    for number, value in enumerate(cases):
        yield f"+49176040690{number:02}", value


def send_again(browser: Browser, page: Page) -> Page:
    """Press "Send again" on a message's page, and send what the form then holds."""
    assert again_link(page)
    form = prefilled(browser.get(f"{page.path}/again"))
    return browser.post("/messages", form, status=303)


def soon(minutes: int = 30) -> dict[str, str]:
    """The form's fields for a time so close that sipgate gets the message at once."""
    moment = datetime.now(UTC) + timedelta(minutes=minutes)
    return {"send_at": f"{moment:%Y-%m-%dT%H:%M}", "time_zone": "UTC"}


# --- F01-F05: no connection -----------------------------------------------------------------------


def test_f01_refused_connection_is_not_sent_and_again_sends_once(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    sipgate.stop()
    page = expect(anna, anna.post("/messages", form), "not_sent", "unreachable", says="again")
    assert sipgate.world.arrivals == []
    sipgate.start()
    second = expect(anna, send_again(anna, page), "accepted")
    assert second.path != page.path
    assert anna.twin(page)["outcome"] == "not_sent"
    assert [text.text for text in sipgate.phones[TO]] == ["Hello"]


def test_f02_a_host_without_an_address_is_not_sent(app: Flask, anna: Browser) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    limit(app, send_s=5, api_url="https://no.such.invalid/v2")
    expect(anna, anna.post("/messages", form), "not_sent", "unreachable", says="again")


def test_f03_a_connection_never_established_is_not_sent_at_the_deadline(
    app: Flask, anna: Browser
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    with black_hole() as hole:
        if not is_black(hole):
            pytest.skip("this kernel connects beyond a full backlog")
        limit(app, api_url=hole)
        started = time.monotonic()
        answer = anna.post("/messages", form)
        assert time.monotonic() - started < SOON_S
    expect(anna, answer, "not_sent", "unreachable")


def test_f03_other_people_are_served_at_once_while_a_connection_hangs(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser]
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    paths = ("/", "/messages", "/extensions")
    for path in paths:
        ben.get(path)
    form = anna.compose(recipient=TO, message="Hello")
    with black_hole() as hole:
        if not is_black(hole):
            pytest.skip("this kernel connects beyond a full backlog")
        limit(app, send_s=10, api_url=hole)
        sending = threading.Thread(target=lambda: anna.post("/messages", form))
        sending.start()
        wait_until(lambda: "sending" in outcomes(app))
        for path in paths:
            ben.get(path)
        assert sending.is_alive(), "the send was over before the others were served"
    sending.join()


def outcomes(app: Flask) -> set[str]:
    with app.app_context():
        return set(db.session.scalars(sa.select(Message.outcome)))


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A certificate authority that this machine trusts, for as long as the test runs."""
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(tmp_path / "authority.pem"))
    return trusted


def context_for(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def only(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return context


def bad_certificate(kind: str, authority: trustme.CA) -> ssl.SSLContext:
    if kind == "unknown authority":
        return context_for(trustme.CA().issue_cert(LOOPBACK))
    if kind == "expired":
        at = datetime.now(UTC) - timedelta(days=1)
        return context_for(authority.issue_cert(LOOPBACK, not_before=at, not_after=at))
    if kind == "wrong name":
        return context_for(authority.issue_cert("sms.example"))
    return only(context_for(authority.issue_cert(LOOPBACK)), ssl.TLSVersion.TLSv1)


@pytest.mark.parametrize("kind", ["unknown authority", "expired", "wrong name", "TLS 1.0"])
def test_f04_an_untrusted_connection_carries_no_request(
    kind: str, app: Flask, anna: Browser, sipgate: Simulator, authority: trustme.CA
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    with tls_sipgate(sipgate, bad_certificate(kind, authority)) as secure:
        limit(app, send_s=5, api_url=secure.api_url)
        answer = anna.post("/messages", form)
    expect(anna, answer, "not_sent", "untrusted", says="The operator can help")
    assert sipgate.world.calls["send"] == 0


def test_f04_a_trusted_connection_sends(
    app: Flask, anna: Browser, sipgate: Simulator, authority: trustme.CA
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    with tls_sipgate(sipgate, context_for(authority.issue_cert(LOOPBACK))) as secure:
        limit(app, send_s=5, api_url=secure.api_url)
        answer = anna.post("/messages", form)
    expect(anna, answer, "accepted")


def test_f04_the_tls_1_0_server_can_be_reached_by_those_who_accept_it(
    sipgate: Simulator, authority: trustme.CA
) -> None:
    lax = only(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.TLSVersion.TLSv1)
    authority.configure_trust(lax)
    with (
        tls_sipgate(sipgate, bad_certificate("TLS 1.0", authority)) as secure,
        socket.create_connection((LOOPBACK, secure.port)) as plain,
        lax.wrap_socket(plain, server_hostname=LOOPBACK) as connection,
    ):
        assert connection.version() == "TLSv1"


def test_f05_a_proxy_in_the_environment_is_ignored(
    sipgate: Simulator,
    new_browser: Callable[[], Browser],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")
    with raw_server(lambda connection, server: None) as proxy:
        for name in names:
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        browser = new_browser()
        path = callback_without_proxy(browser, monkeypatch, names)
        browser.get(path, status=302)
        expect(browser, send(browser), "accepted")
        assert proxy.connections == 0


def callback_without_proxy(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> str:
    """The person's own browser at sipgate is not what is tested: it has no proxy."""
    address = browser.begin_sign_in()
    with monkeypatch.context() as outside:
        for name in names:
            outside.delenv(name)
        return browser.callback_path(address)


def test_f05_a_netrc_in_the_environment_is_ignored(
    anna: Browser, sipgate: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {LOOPBACK} login nobody password nothing\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth(sipgate.base_url) == ("nobody", "nothing")
    expect(anna, send(anna), "accepted")
    assert [arrival.status for arrival in sipgate.world.arrivals] == [204]


# --- F06-F11: the line breaks or is slow ----------------------------------------------------------


def test_f06_read_timeout_leaves_the_outcome_unknown(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app)
    for to, is_delivered in each([True, False]):
        sipgate.fail_next("send", Fault(mode="hang", deliver=is_delivered))
        expect(anna, send(anna, to=to), "unknown", "no_answer")
    wait_until(lambda: len(sipgate.world.arrivals) == 2)
    assert [arrival.accepted for arrival in sipgate.world.arrivals] == [True, False]


def test_f06_nothing_sends_an_unknown_message_a_second_time(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app)
    sipgate.fail_next("send", Fault(mode="hang", deliver=True))
    form = anna.compose(recipient=TO, message="Hello")
    page = expect(anna, anna.post("/messages", form), "unknown", "no_answer")
    for _ in range(2):
        assert anna.post("/messages", form, status=303).location.endswith(page.path)
        anna.get(page.path)
        anna.get("/messages")
        anna.get(f"{page.path}/again")
    assert len(sipgate.world.arrivals) == 1


def test_f07_an_answer_after_the_deadline_leaves_the_outcome_unknown(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app, send_s=0.3)
    sipgate.fail_next("send", Fault(delay_s=0.6, deliver=True))
    page = expect(anna, send(anna), "unknown", "no_answer")
    time.sleep(0.5)
    expect(anna, anna.get(page.path), "unknown", "no_answer")
    assert len(sipgate.phones[TO]) == 1


def test_f08_a_line_that_ends_after_the_request_leaves_the_outcome_unknown(
    anna: Browser, sipgate: Simulator
) -> None:
    modes: tuple[Mode, ...] = ("reset", "close", "reset_early")
    for to, (mode, is_delivered) in each(product(modes, (True, False))):
        sipgate.fail_next("send", Fault(mode=mode, deliver=is_delivered))
        with case(mode, is_delivered):
            expect(anna, send(anna, to=to), "unknown", "no_answer")
    assert len(sipgate.world.arrivals) == 6


def test_f09_a_reset_in_the_middle_of_the_request_leaves_the_outcome_unknown(
    app: Flask, anna: Browser
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    with resetting_after(10) as server:
        limit(app, api_url=server.url)
        expect(anna, anna.post("/messages", form), "unknown", "no_answer")
        assert [len(request) for request in server.requests] == [10]


def test_f10_a_body_that_breaks_off_changes_nothing_about_its_status(
    anna: Browser, sipgate: Simulator
) -> None:
    cases = [
        (200, "accepted", ""),
        (201, "accepted", ""),
        (402, "refused", "balance"),
        (500, "unknown", "server_error"),
    ]
    for to, (status, outcome, reason) in each(cases):
        fault = Fault(status, mode="break_body", deliver=outcome == "accepted")
        sipgate.fail_next("send", fault)
        with case(status):
            expect(anna, send(anna, to=to), outcome, reason)


def test_f11_headers_that_drip_in_within_the_deadline_decide(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app, send_s=5)
    sipgate.fail_next("send", Fault(204, mode="drip_headers", interval_s=0.002, deliver=True))
    expect(anna, send(anna), "accepted")


def test_f11_headers_that_drip_beyond_the_deadline_leave_the_outcome_unknown(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app)
    sipgate.fail_next("send", Fault(204, mode="drip_headers", interval_s=0.4, deliver=True))
    started = time.monotonic()
    answer = send(anna)
    assert time.monotonic() - started < SOON_S
    expect(anna, answer, "unknown", "no_answer")


def test_f11_a_status_line_decides_although_the_headers_never_end(
    app: Flask, anna: Browser
) -> None:
    def meet(connection: socket.socket, server: RawServer) -> None:
        server.requests.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Endless: ")
        connection.recv(1)  # until the client gives up

    form = anna.compose(recipient=TO, message="Hello")
    with raw_server(meet) as server:
        limit(app, api_url=server.url)
        answer = anna.post("/messages", form)
        assert len(server.requests) == 1
    assert anna.twin(answer)["outcome"] == "accepted"


def test_f11_a_body_that_drips_is_read_no_longer_than_the_deadline(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app)
    sipgate.fail_next("send", Fault(200, mode="drip_body", interval_s=0.4, deliver=True))
    started = time.monotonic()
    answer = send(anna)
    assert time.monotonic() - started < SOON_S
    expect(anna, answer, "accepted")


@pytest.mark.slow
def test_f11_the_real_deadline_is_20_seconds(anna: Browser, sipgate: Simulator) -> None:
    sipgate.fail_next("send", Fault(204, mode="drip_headers", interval_s=2, deliver=True))
    form = anna.compose(recipient=TO, message="Hello")
    started = time.monotonic()
    answer = anna.post("/messages", form)
    assert 19 < time.monotonic() - started < 30
    expect(anna, answer, "unknown", "no_answer")


# --- F12-F20: what the answer says ----------------------------------------------------------------


def test_f12_a_page_instead_of_an_answer_leaves_the_outcome_unknown(
    anna: Browser, sipgate: Simulator
) -> None:
    cases = [
        (200, "text/html; charset=utf-8", MAINTENANCE),
        (201, "text/html", b""),
        (202, "application/xhtml+xml", b""),
        (200, "text/plain", b"\r\n  " + MAINTENANCE),
        (200, "application/json", MAINTENANCE),
        (200, "text/plain", b"\xef\xbb\xbf" + MAINTENANCE),
    ]
    for to, (status, content_type, body) in each(cases):
        sipgate.fail_next("send", Fault(status, (("Content-Type", content_type),), body))
        with case(status, content_type, body):
            page = expect(anna, send(anna, to=to), "unknown", "odd_answer")
            assert b"back soon" not in page.response.data


def test_f13_any_success_empty_or_json_is_accepted(anna: Browser, sipgate: Simulator) -> None:
    bodies = (b"", b'{"ok":true}', b"[]", b"null")
    for to, (status, body) in each([(204, b""), *product((200, 201, 202), bodies)]):
        headers = (("Content-Type", "application/json"),) if body else ()
        sipgate.fail_next("send", Fault(status, headers, body, deliver=True))
        with case(status, body):
            expect(anna, send(anna, to=to), "accepted")


def test_f13_a_later_message_that_sipgate_took_is_scheduled(
    anna: Browser, sipgate: Simulator
) -> None:
    answer = anna.send(TO, "Hello", **soon())
    expect(anna, answer, "scheduled", says="It can no longer be recalled")
    assert TO not in sipgate.phones
    assert len(sipgate.world.scheduled) == 1


REDIRECTS = (301, 302, 303, 307, 308)
BROKEN_REDIRECTS = (
    b"Location: /caf\xe9\r\nContent-Length: 0\r\n",  # not UTF-8
    b"Location: http://[::1\r\nContent-Length: 0\r\n",  # no address
    b"Location: /elsewhere\r\nContent-Length: 100\r\n",  # the body is missing
    b"Content-Length: 0\r\n",  # nowhere
)


def test_f14_a_redirect_on_the_same_host_is_not_followed(anna: Browser, sipgate: Simulator) -> None:
    for to, status in each(REDIRECTS):
        sipgate.fail_next("send", Fault(status, mode="redirect"))
        with case(status):
            expect(anna, send(anna, to=to), "unknown", "redirected")
    assert sipgate.world.calls["redirect_target"] == 0
    assert sipgate.world.calls["send"] == len(REDIRECTS)


def test_f14_a_redirect_to_a_foreign_host_carries_no_token_there(
    anna: Browser, sipgate: Simulator
) -> None:
    with answering(b"HTTP/1.1 204 No Content\r\n\r\n") as foreign:
        location = (("Location", f"{foreign.url}/v2/sessions/sms"),)
        for to, status in each(REDIRECTS):
            sipgate.fail_next("send", Fault(status, location, mode="redirect"))
            with case(status):
                expect(anna, send(anna, to=to), "unknown", "redirected")
        assert foreign.connections == 0


def test_f14_a_broken_redirect_leaves_the_outcome_unknown(app: Flask, anna: Browser) -> None:
    for to, headers in each(BROKEN_REDIRECTS):
        form = anna.compose(recipient=to, message="Hello")
        with answering(b"HTTP/1.1 302 Found\r\n" + headers + b"\r\n") as server, case(headers):
            limit(app, api_url=server.url)
            expect(anna, anna.post("/messages", form), "unknown", "redirected")
            assert len(server.requests) == 1


SENTENCE = "recipient is invalid"


REFUSALS = (
    (json.dumps({"name": "PARAMETER_INVALID", "message": SENTENCE}).encode(), SENTENCE),
    (json.dumps({"errors": [{"status": 400, "title": SENTENCE}]}).encode(), SENTENCE),
    (json.dumps({"errors": [{"message": SENTENCE}]}).encode(), SENTENCE),
    (SENTENCE.encode(), SENTENCE),
    (b"", ""),
    (b'{"errors": []}', ""),
    (b'{"message": null}', ""),
    (b"[1, 2]", ""),
    (b"\xff\xfe\x00", ""),
    (b'{"message": "' + b"x" * 20_000 + b'"}', "x" * 300),
    (json.dumps({"message": "<img src=x onerror=alert(1)>"}).encode(), "<img src=x"),
    (json.dumps({"message": "a\u202eb\ud83dc\x00d"}).encode(), "abcd"),
    (b"[" * 60_000, "["),
    (MAINTENANCE, ""),
)


def test_f15_400_is_refused_with_sipgates_own_words(anna: Browser, sipgate: Simulator) -> None:
    for to, (body, words) in each(REFUSALS):
        sipgate.fail_next("send", Fault(400, body=body))
        with case(body[:100]):
            page = expect(anna, send(anna, to=to), "refused", "rejected", says=words)
            assert not page.soup.select("main img, main title")
            assert "x" * 301 not in page.text
    assert len(sipgate.world.arrivals) == len(REFUSALS)


def test_f16_an_expired_token_is_refreshed_once_and_the_message_sent(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message="Hello")
    sipgate.world.expire_access_tokens()
    expect(anna, anna.post("/messages", form), "accepted")
    assert [arrival.status for arrival in sipgate.world.arrivals] == [401, 204]
    assert sipgate.world.calls["token_refresh"] == 1


def test_f17_401_after_the_refresh_is_refused_and_ends_the_sign_in(
    anna: Browser, sipgate: Simulator
) -> None:
    sipgate.fail_next("send", Fault(401), times=5)
    answer = send(anna, "Ihr Termin ist morgen.")
    assert sipgate.world.calls["send"] == 2
    assert sipgate.world.calls["token_refresh"] == 1
    asked = anna.follow(answer)
    assert asked.status == 302
    assert "/login" in asked.location

    back = anna.sign_in("anna", next_path=answer.location)
    page = expect(anna, anna.follow(back), "refused", "sign_in_ended")
    assert "Ihr Termin ist morgen." in page.text
    sipgate.world.clear_faults()
    again = expect(anna, send_again_to_other(anna, page), "accepted")
    assert [arrival.status for arrival in sipgate.world.arrivals] == [401, 401, 204]
    assert again.path != page.path


def send_again_to_other(browser: Browser, page: Page) -> Page:
    """To another number, so that the ledger can tell the two messages apart."""
    form = prefilled(browser.get(f"{page.path}/again"))
    return browser.post("/messages", {**form, "recipient": "+491713920051"}, status=303)


def test_f19_a_clear_no_is_refused_and_says_why(anna: Browser, sipgate: Simulator) -> None:
    cases = [
        (402, "balance", "balance"),
        (403, "not_allowed", "Feature Store"),
        (404, "misunderstood", "operator"),
        (405, "misunderstood", "operator"),
        (415, "misunderstood", "operator"),
        (418, "refused", "refused"),
        (429, "rate_limited", "slow down"),
    ]
    for to, (status, reason, says) in each(cases):
        sipgate.fail_next("send", Fault(status))
        with case(status):
            page = expect(anna, send(anna, to=to), "refused", reason, says=says)
    assert sipgate.world.calls["send"] == len(cases)
    expect(anna, send_again_to_other(anna, page), "accepted")


def meaning(status: int) -> str:
    """What a status means for a message; the table of F20."""
    if 200 <= status < 300:
        return "unknown" if status in (203, 205, 206) else "accepted"
    if status == 401:
        return "unauthorized"
    return "refused" if 400 <= status < 500 and status != 408 else "unknown"


def test_f20_every_status_means_yes_no_or_unknown_and_is_asked_once(
    app: Flask, sipgate: Simulator
) -> None:
    client = limit(app, send_s=1)  # a lone 100 promises another answer, which never comes
    token = Authorization.bearer(sipgate.access_token("anna"))
    statuses = range(100, 600)
    found = {}
    for status in statuses:
        sipgate.fail_next("send", Fault(status, deliver=meaning(status) == "accepted"))
        to = f"+4917604069{status}"
        try:
            with app.app_context():
                client.send_sms(token, extension_id="s0", recipient=to, text="Hello", send_at=None)
            found[status] = "accepted"
        except Unauthorized:
            found[status] = "unauthorized"
        except Refused:
            found[status] = "refused"
        except OutcomeUnknown:
            found[status] = "unknown"
    assert found == {status: meaning(status) for status in statuses}
    arrived = [(arrival.recipient, arrival.accepted) for arrival in sipgate.world.arrivals]
    assert arrived == [
        (f"+4917604069{status}", meaning(status) == "accepted") for status in statuses
    ]


def test_f20_a_fault_of_sipgates_own_leaves_the_outcome_unknown(
    anna: Browser, sipgate: Simulator
) -> None:
    bodies = (None, b"", MAINTENANCE)
    for to, (status, body) in each(product((408, 500, 503, 599), bodies)):
        sipgate.fail_next("send", Fault(status, body=body, deliver=status % 2 == 0))
        with case(status, body):
            page = expect(anna, send(anna, to=to), "unknown", "server_error")
            assert b"back soon" not in page.response.data
    assert len(sipgate.world.arrivals) == 12


WITHOUT_STATUS = (
    b"",
    b"\r\n\r\n",
    b"Hello\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 abc OK\r\n\r\n",
    b"HTTP/1.1 99 Low\r\n\r\n",
    b"HTTP/1.1 1000 High\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 " + b"2" * 70_000,
    b"\x16\x03\x01\x00\x05",
    b"SSH-2.0-OpenSSH_9.2\r\n",
)


def test_f20_an_answer_without_a_status_leaves_the_outcome_unknown(
    app: Flask, anna: Browser
) -> None:
    for to, answer in each(WITHOUT_STATUS):
        form = anna.compose(recipient=to, message="Hello")
        with answering(answer) as server, case(answer[:50]):
            limit(app, send_s=5, api_url=server.url)
            expect(anna, anna.post("/messages", form), "unknown", "no_answer")
            assert len(server.requests) == 1


ODD_BUT_CLEAR = (
    (200, b"\r\nContent-Length: 1, 2\r\n\r\n"),
    (200, b"\r\nContent-Length: abc\r\n\r\n{}"),
    (200, b"\r\nContent-Length: -1\r\n\r\n{}"),
    (200, b"\r\nTransfer-Encoding: chunked\r\n\r\nnonsense"),
    (200, b"\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}"),
    (200, b"\r\nNo colon here\r\n\r\n"),
    (204, b"\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    (204, b"\r\nX: never ended"),
    (200, b"; charset=klingon\r\n\r\n{"),
    (200, b"\r\nSet-Cookie: \xff=\xff; Domain=..\r\n\r\n"),
    (200, b"\r\nLocation: /caf\xe9\r\n\r\n"),
)


def test_f20_a_clear_yes_counts_however_odd_the_rest_is(app: Flask, anna: Browser) -> None:
    for to, (status, rest) in each(ODD_BUT_CLEAR):
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json"
        with case(status, rest[:50]):
            twin = answered(app, anna, to, head.encode() + rest)
            assert twin["outcome"] == "accepted"


JSON = "Content-Type: application/json\r\n"
PLEASE = "Please log in"
PICTURE = "\x89PNG\r\n\x1a\n"
CLEAR_YES = (
    ("204", "", ""),
    ("204", "Content-Type: text/html\r\n", ""),
    ("200", "Content-Length: 0\r\n", ""),
    ("200", "Content-Type: text/plain\r\nContent-Length: 0\r\n", ""),
    ("299", "", ""),
    ("200", JSON, "{}"),
    ("200", JSON, "no JSON, but called so"),
    ("201", "Content-Type: Application/JSON; charset=utf-8\r\n", '{"sessionId": "1"}'),
    ("202", "Content-Type: application/problem+json;v=1\r\n", "{}"),
    ("226", "Content-Type: application/vnd.sipgate+json\r\n", "{}"),
    ("200", JSON + "Content-Length: 100\r\n", ""),
    ("200", JSON + "Content-Length: 100\r\n", '{"ok":'),
    ("200", JSON + "Content-Length: 1, 2\r\n", "{}"),
    ("200", JSON + "Transfer-Encoding: chunked\r\n", "nonsense"),
)
NO_CLEAR_YES = (
    ("200", "Content-Type: text/plain\r\n", PLEASE),
    ("201", "Content-Type: text/plain; charset=utf-8\r\n", PLEASE),
    ("202", "Content-Type: text/plain\r\n", "{}"),
    ("200", "Content-Type: image/png\r\n", PICTURE),
    ("200", "Content-Type: application/octet-stream\r\n", "{}"),
    ("200", "Content-Type: text/x+json+html\r\n", "{}"),
    ("200", "Content-Type: text/plain; note=application/json\r\n", PLEASE),
    ("200", "Content-Type: application/jsonp\r\n", "x({})"),
    ("200", JSON + "Content-Type: text/plain\r\n", PLEASE),
    ("200", "", "{}"),
    ("200", "", PLEASE),
    ("200", "Content-Type: \r\n", PLEASE),
    ("200", "Content-Type: text/plain\r\nContent-Length: 100\r\n", ""),
    ("200", "Content-Type: text/plain\r\nContent-Length: 100\r\n", "Plea"),
    ("200", JSON, "\n <!doctype html>"),
    ("203", "", ""),
    ("203", JSON, "{}"),
    ("205", "", ""),
    ("205", JSON, "{}"),
    ("206", "", ""),
    ("206", JSON + "Content-Range: bytes 0-1/2\r\n", "{}"),
)


def success(status: str, headers: str, body: str) -> bytes:
    return f"HTTP/1.1 {status} OK\r\n{headers}\r\n{body}".encode("latin-1")


def test_f80_a_clear_yes_is_accepted(app: Flask, anna: Browser) -> None:
    for to, (status, headers, body) in each(CLEAR_YES):
        with case(status, headers, body):
            twin = answered(app, anna, to, success(status, headers, body))
            assert (twin["outcome"], twin["reason"]) == ("accepted", "")


def test_f80_whatever_else_calls_itself_a_success_leaves_the_outcome_unknown(
    app: Flask, anna: Browser
) -> None:
    for to, (status, headers, body) in each(NO_CLEAR_YES):
        with case(status, headers, body):
            twin = answered(app, anna, to, success(status, headers, body))
            assert (twin["outcome"], twin["reason"]) == ("unknown", "odd_answer")


def test_f80_a_200_without_the_end_of_its_headers_leaves_the_outcome_unknown(
    app: Flask, anna: Browser
) -> None:
    for to, headers in each((b"", b"Content-Type: application/json\r\nX-Broken", b"X-Broken: ")):
        with case(headers):
            twin = answered(app, anna, to, b"HTTP/1.1 200 OK\r\n" + headers)
            assert (twin["outcome"], twin["reason"]) == ("unknown", "odd_answer")


# --- F23: too much --------------------------------------------------------------------------------


def test_f23_an_endless_answer_is_judged_by_its_status_in_little_memory(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app, send_s=10, read_s=10)
    pack_the_bomb(app, sipgate)
    modes: tuple[Mode, ...] = ("huge_body", "gzip_bomb", "endless_headers")
    for to, (mode, success) in each(product(modes, (True, False))):
        form = anna.compose(recipient=to, message="Hello")
        # Only of 204 is it clear before the last header has come.
        status = (204 if mode == "endless_headers" else 200) if success else 500
        sipgate.fail_next("send", Fault(status, mode=mode, deliver=success))
        tracemalloc.start()
        try:
            answer = anna.post("/messages", form)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        with case(mode, status):
            assert peak_bytes < 20 * 1024 * 1024
            expect(anna, answer, *(("accepted",) if success else ("unknown", "server_error")))


def pack_the_bomb(app: Flask, sipgate: Simulator) -> None:
    """The simulator makes its bomb once; that is not what is measured."""
    sipgate.fail_next("userinfo", Fault(mode="gzip_bomb"))
    with app.app_context(), pytest.raises(SipgateError):
        app.extensions["sipgate"].identity(Authorization.bearer(sipgate.access_token("anna")))
