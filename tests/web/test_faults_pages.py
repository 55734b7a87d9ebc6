"""Faults around the page: doubled forms, ended sessions, odd data from sipgate, a busy database."""

import json
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ON_POSTGRESQL
from tests.support.pages import Browser, Page
from tests.support.raw_servers import (
    LOOPBACK,
    another_tab,
    case,
    cookie_of,
    expect,
    host_of,
    in_parallel,
    judge_arrivals,
    limit,
    prefilled,
    reset,
    serving,
    sign_in_by_link,
    wait_until,
    write_lock,
)
from webapp.database import db, transaction
from webapp.database.models import BrowserSession, KeptAnswer, Message, TokenSet
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator import Fault, Simulator
from webapp.sipgate import Authorization, SipgateError

TO = "+491713920050"
OTHER = "+491713920051"
TEXT = "Ihr Termin ist morgen um 8 Uhr."
HTML = b"<!doctype html><h1>Maintenance</h1>"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The file below the app."""
    return tmp_path / "app.sqlite"


def rows_of(app: Flask) -> list[Message]:
    with app.app_context():
        return list(db.session.scalars(sa.select(Message)))


def age_answers(app: Flask) -> None:
    """Make what sipgate said so old that the next page asks again."""
    old = now() - timedelta(minutes=5)
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(KeptAnswer).values(fetched_at=old, asked_at=old))


def forget_answers(app: Flask) -> None:
    with app.app_context(), transaction() as rows:
        rows.execute(sa.delete(KeptAnswer))


# --- F24: sipgate's lists are away or nonsense ----------------------------------------------------


def answer_of(value: Any) -> Fault:
    return Fault(200, body=json.dumps(value).encode())


TRANSPORT_FAULTS = (
    Fault(400),
    Fault(402),
    Fault(408),
    Fault(418),
    Fault(429, (("Retry-After", "abc"),)),
    Fault(500),
    Fault(503, body=HTML),
    Fault(599),
    Fault(204),
    Fault(200, body=b""),
    Fault(200, body=HTML),
    Fault(200, body=b'{"items": ['),
    Fault(200, body=b"\xff\xfe{}"),
    Fault(200, body=b"[" * 60_000),
    Fault(302, mode="redirect"),
    Fault(302, (("Location", "/caf\xe9"),), mode="redirect"),
    Fault(mode="reset"),
    Fault(mode="close"),
    Fault(mode="hang"),
    Fault(mode="drip_headers", interval_s=0.1),
    Fault(mode="drip_body", interval_s=0.1),
    Fault(mode="break_body"),
    Fault(mode="endless_headers"),
    Fault(mode="huge_body"),
    Fault(mode="gzip_bomb"),
)
NONSENSE: tuple[Any, ...] = (
    None,
    [],
    "items",
    5,
    {},
    {"items": None},
    {"items": {}},
    {"items": "s0"},
    {"items": [None]},
    {"items": ["s0"]},
    {"items": [[]]},
    {"items": [{}]},
    {"items": [{"id": None}]},
    {"items": [{"id": ""}]},
    {"items": [{"id": " "}]},
    {"items": [{"id": True}]},
    {"items": [{"id": ["s0"]}]},
    {"items": [{"id": "s\ud83d0"}]},
    {"items": [{"alias": "no id"}]},
)
ODD_BUT_USABLE: tuple[dict[str, Any], ...] = (
    {"id": "s0"},
    {"id": 7},
    {"id": "s0", "alias": None, "callerId": None},
    {"id": "s0", "alias": 5, "callerId": 5},
    {"id": "s0", "alias": {"a": [1]}, "callerId": ["+49"]},
    {"id": "s0", "alias": "<img src=x onerror=alert(1)>", "callerId": "<b>"},
    {"id": "s0", "alias": "\u202egnp.exe", "callerId": "\u202e123"},
    {"id": "s0", "alias": "broken \ud83d here", "callerId": "\udc00"},
    {"id": "s0", "alias": "a\x00b", "callerId": "\x00"},
    {"id": "x" * 10_000, "alias": "x" * 10_000, "callerId": "9" * 10_000},
    {"id": '"><script>alert(1)</script>', "alias": "${7*7} {0}", "callerId": "%s"},
    {"id": "s0", "alias": "a\r\nSet-Cookie: a=b", "callerId": "+" * 50},
)


def test_f24_a_list_of_extensions_that_is_away_is_said_and_asked_for_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    limit(app, read_s=0.3)
    for fault in TRANSPORT_FAULTS:
        forget_answers(app)
        sipgate.world.calls.clear()
        sipgate.fail_next("extensions", fault, times=2)
        with case(fault):
            page = anna.get("/extensions")
            assert "could not be updated" in page.text
            assert sipgate.world.calls["extensions"] <= 2
            anna.get("/")
            sipgate.world.clear_faults()


def test_f24_a_list_of_extensions_that_is_nonsense_is_said(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for value in NONSENSE:
        forget_answers(app)
        sipgate.fail_next("extensions", answer_of(value))
        with case(value):
            assert "could not be updated" in anna.get("/extensions").text


def test_f24_odd_names_are_shown_as_text_and_can_be_sent_with(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for number, item in enumerate(ODD_BUT_USABLE):
        forget_answers(app)
        sipgate.fail_next("extensions", answer_of({"items": [item]}))
        with case(str(item)[:200]):
            page = anna.get("/extensions")
            assert "could not be updated" not in page.text
            assert not page.soup.select("main img, main script, main b:empty")
            answer = anna.send(f"+49176040690{number:02}", TEXT)
            outcome = anna.twin(answer)["outcome"]
            expect(anna, answer, outcome, "" if outcome == "accepted" else "not_allowed")


def test_f24_the_last_good_list_serves_on_while_sipgate_is_away(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    anna.get("/")
    age_answers(app)
    sipgate.fail_next("extensions", Fault(503))
    page = anna.get("/")
    assert "may be out of date" in page.text
    assert "SMS of the practice" in page.text
    expect(anna, anna.send(TO, TEXT), "accepted")
    assert sipgate.world.calls["extensions"] == 2


def test_f24_an_empty_list_and_a_refusal_lead_to_the_feature_store(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for fault in (answer_of({"items": []}), Fault(403), Fault(404)):
        forget_answers(app)
        sipgate.fail_next("extensions", fault)
        with case(fault):
            assert "Feature Store" in anna.get("/").text


awkward = "a0 <\"'\\\x00\r\n\x85\u200d\u202e\ud83d\udc00😀"
any_text = st.lists(st.sampled_from(awkward), max_size=8).map("".join) | st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
anything = any_text | json_values
extension_items = st.fixed_dictionaries(
    {"id": st.just("s0") | anything, "alias": anything}, optional={"callerId": anything}
)
extension_answers = st.fixed_dictionaries(
    {"items": st.lists(extension_items, min_size=1, max_size=2) | json_values}
)
identity_answers = st.fixed_dictionaries({"sub": anything, "masterSipId": anything})
person_answers = st.fixed_dictionaries({"firstname": anything}, optional={"admin": anything})
fuzzing = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@fuzzing
@given(value=json_values | extension_answers)
def test_f24_whatever_sipgate_says_of_extensions_is_a_list_or_an_error_of_ours(
    value: Any, app: Flask, sipgate: Simulator
) -> None:
    sipgate.fail_next("extensions", answer_of(value))
    client = app.extensions["sipgate"]
    found = _asked(app, lambda auth: client.extensions(auth, "w0"), sipgate)
    for item in found or ():
        f"{item.id}{item.alias}{item.caller_id}".encode()
        assert item.can_reply in (True, False)


@fuzzing
@given(identity=json_values | identity_answers, person=json_values | person_answers)
def test_f24_whatever_sipgate_says_of_people_is_a_person_or_an_error_of_ours(
    identity: Any, person: Any, app: Flask, sipgate: Simulator
) -> None:
    client = app.extensions["sipgate"]
    sipgate.fail_next("userinfo", answer_of(identity))
    sipgate.fail_next("user", answer_of(person))
    who = _asked(app, client.identity, sipgate)
    if who:
        f"{who.sub}{who.account_id}".encode()
    found = _asked(app, lambda auth: client.person(auth, "w0"), sipgate)
    if found:
        found.name.encode()


def _asked(app: Flask, call: Callable[[Authorization], Any], sipgate: Simulator) -> Any:
    try:
        with app.app_context():
            return call(Authorization.bearer(sipgate.access_token("anna")))
    except SipgateError:
        return None


def test_f24_a_sign_in_that_sipgate_does_not_put_a_name_to_is_a_friendly_page(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    limit(app, read_s=0.3)
    bodies = [answer_of(value) for value in (None, [], {}, {"sub": "w0"}, {"sub": ["w0"]})]
    bodies += [answer_of({"sub": "w0", "masterSipId": value}) for value in (None, "", {}, True)]
    for fault in (*TRANSPORT_FAULTS, Fault(401), Fault(403), *bodies):
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.world.calls.clear()
        sipgate.fail_next("userinfo", fault, times=2)
        with case(fault):
            page = stranger.get(path, status=400)
            assert "sipgate did not say who you are" in page.text
            assert sipgate.world.calls["userinfo"] <= 2
            assert sipgate.world.calls["logout"] == 1, "the grant was not given back"
            sipgate.world.clear_faults()


def test_f24_a_person_without_a_usable_name_is_signed_in_all_the_same(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    limit(app, read_s=0.3)
    odd = ("\ud83d", "a\x00b", "x" * 10_000, "<script>alert(1)</script>", ["a"], {"a": 1}, 5, None)
    answers = [answer_of({"firstname": name, "admin": name}) for name in odd]
    for fault in (*answers, Fault(403), Fault(500), Fault(mode="reset"), answer_of([])):
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.fail_next("user", fault)
        with case(fault):
            stranger.get(path, status=302)
            page = stranger.get("/messages")
            assert "Sign out" in page.soup.get_text()
            assert not page.soup.select("main script, header script")


# --- F36-F39: one form, many times ----------------------------------------------------------------


def test_f36_fifty_parallel_posts_of_one_form_are_one_message(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.fail_next("send", Fault(delay_s=0.3, deliver=True))
    tabs = [another_tab(anna) for _ in range(50)]
    pages = in_parallel(*(lambda tab=tab: tab.post("/messages", form, status=303) for tab in tabs))
    assert len({page.location for page in pages}) == 1
    assert len(rows_of(app)) == 1
    assert len(sipgate.world.arrivals) == 1
    expect(anna, pages[0], "accepted")


def raw_post(browser: Browser, form: dict[str, str]) -> bytes:
    """The form as a real browser puts it on the wire."""
    name, value = cookie_of(browser)
    body = urlencode(form).encode()
    lines = [
        "POST /messages HTTP/1.1",
        f"Host: {host_of(browser)}",
        f"Cookie: {name}={value}",
        f"Referer: {browser.base_url}/",
        f"X-Forwarded-Proto: {urlsplit(browser.base_url).scheme}",
        "X-Forwarded-For: 192.0.2.1",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def test_f37_a_form_that_a_browser_resends_after_a_lost_connection_is_one_message(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    request = raw_post(anna, anna.compose(recipient=TO, message=TEXT))
    sipgate.fail_next("send", Fault(delay_s=0.4, deliver=True))
    with serving(app) as port:
        first = socket.create_connection((LOOPBACK, port))
        first.sendall(request)
        wait_until(lambda: len(sipgate.world.arrivals) == 1)
        reset(first)
        second = socket.create_connection((LOOPBACK, port))
        second.sendall(request)
        reset(second)
        with socket.create_connection((LOOPBACK, port)) as third:
            third.sendall(request)
            answer = b"".join(iter(lambda: third.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 303"), answer[:200]
    location = answer.partition(b"Location: ")[2].partition(b"\r\n")[0].decode()
    wait_until(lambda: all(row.outcome == Outcome.ACCEPTED for row in rows_of(app)))
    assert [urlsplit(location).path] == [f"/messages/{row.id}" for row in rows_of(app)]
    expect(anna, anna.get(urlsplit(location).path), "accepted")


def test_f38_back_and_send_again_leads_to_the_same_message(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    answer = anna.post("/messages", form)
    for _ in range(3):
        assert anna.post("/messages", form, status=303).location == answer.location
        expect(anna, anna.follow(answer), "accepted")
    assert len(rows_of(app)) == 1


@pytest.mark.parametrize(
    "changed", [{"message": "Another text"}, {"recipient": OTHER}, {"sms_id": "s1"}]
)
def test_f39_a_used_form_with_other_content_sends_nothing_and_keeps_the_text(
    changed: dict[str, str], app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    expect(anna, anna.post("/messages", form), "accepted")
    asked = anna.post("/messages", {**form, **changed}, status=409)
    assert len(sipgate.world.arrivals) == 1
    assert len(rows_of(app)) == 1
    kept = prefilled(asked)
    assert kept["submission_id"] != form["submission_id"]
    assert {name: kept[name] for name in changed} == changed

    meant = {**kept, "recipient": OTHER}
    expect(anna, anna.post("/messages", meant), "accepted")
    assert len(sipgate.world.arrivals) == 2


# --- F41: the session ends while one types --------------------------------------------------------


def end_session(app: Flask, browser: Browser) -> None:
    with app.app_context(), transaction() as rows:
        rows.execute(sa.delete(BrowserSession))


def lose_cookies(app: Flask, browser: Browser) -> None:
    browser.client.delete_cookie(cookie_of(browser)[0], domain=host_of(browser))


def end_token_set(app: Flask, browser: Browser) -> None:
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(TokenSet).values(ended_at=now(), access_token=None))


ENDINGS = [end_session, lose_cookies, end_token_set]


@pytest.mark.parametrize("end", ENDINGS)
def test_f41_a_text_outlives_the_session_and_can_be_sent_once(
    end: Callable[[Flask, Browser], None], app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    end(app, anna)
    asked = anna.post("/messages", form, status=401)
    assert "Nothing was sent" in asked.text
    assert TEXT not in asked.text, "shown to whoever sits there, before anybody signed in"
    assert sipgate.world.arrivals == []

    kept = prefilled(sign_in_by_link(anna, asked))
    assert (kept["recipient"], kept["message"]) == (TO, TEXT)
    answer = anna.post("/messages", kept, status=303)
    expect(anna, answer, "accepted")
    assert anna.post("/messages", kept, status=303).location == answer.location
    assert len(sipgate.world.arrivals) == 1


def test_f41_what_was_typed_for_placeholders_is_kept_in_the_text(app: Flask, anna: Browser) -> None:
    form = anna.compose(recipient=TO, message="Hello ((name)), until ((time))")
    end_session(app, anna)
    asked = anna.post("/messages", {**form, "fill-name": "Emil", "fill-other": "x"}, status=401)
    kept = prefilled(sign_in_by_link(anna, asked))
    assert kept["message"] == "Hello Emil, until ((time))"


def test_f41_a_kept_text_is_shown_to_nobody_else(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    end_session(app, anna)
    asked = anna.post("/messages", form, status=401)
    for person in ("ben", "karl"):
        page = sign_in_by_link(anna, asked, person)
        assert page.status == 200
        assert TEXT not in page.text
        assert prefilled(page)["recipient"] == ""
        # Nor can the form itself be sent by them.
        theirs = {**form, "csrf_token": page.fields()["csrf_token"]}
        assert anna.post("/messages", theirs).status == 422
    assert sipgate.world.arrivals == []
    assert prefilled(sign_in_by_link(anna, asked))["message"] == TEXT


def test_f41_an_old_csrf_token_sends_nothing_and_keeps_the_text(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    anna.sign_in("anna")
    asked = anna.post("/messages", form, status=400)
    assert "Nothing was sent" in asked.text
    assert sipgate.world.arrivals == []
    kept = prefilled(asked)
    assert (kept["recipient"], kept["message"]) == (TO, TEXT)
    expect(anna, anna.post("/messages", kept), "accepted")


def test_f41_a_form_taken_before_the_session_ended_is_not_called_unsent(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    expect(anna, anna.post("/messages", form), "accepted")
    end_session(app, anna)
    asked = anna.post("/messages", form, status=401)
    assert "Nothing was sent" not in asked.text
    expect(anna, sign_in_by_link(anna, asked), "accepted")


def test_f41_a_form_taken_before_its_csrf_token_grew_old_leads_to_its_message(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    answer = anna.post("/messages", form)
    expect(anna, answer, "accepted")
    anna.sign_in("anna")
    again = anna.post("/messages", form)
    assert "Nothing was sent" not in again.text
    assert again.status == 303
    assert again.location == answer.location
    assert len(sipgate.world.arrivals) == 1


# --- F50, F53: the database -----------------------------------------------------------------------


@pytest.fixture
def impatient(app: Flask) -> Flask:
    """The app, whose database connections wait 0.1 s for a lock instead of 10."""
    with app.app_context():

        @sa.event.listens_for(db.engine, "checkout")
        def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
            with closing(connection.cursor()) as cursor:
                cursor.execute(
                    "SET lock_timeout = 100" if ON_POSTGRESQL else "PRAGMA busy_timeout = 100"
                )
            if ON_POSTGRESQL:
                connection.commit()

    return app


def test_f50_a_locked_database_sends_nothing_keeps_the_text_and_recovers(
    impatient: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    with write_lock(database):
        page = anna.post("/messages", form, status=503)
        assert TEXT in page.text
        assert "sent nothing" in page.text
    assert sipgate.world.arrivals == []
    assert rows_of(impatient) == []
    expect(anna, anna.post("/messages", form), "accepted")


def test_f50_a_locked_database_is_no_crash_for_somebody_who_typed_for_minutes(
    impatient: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    with impatient.app_context(), transaction() as rows:
        rows.execute(sa.update(BrowserSession).values(last_seen_at=now() - timedelta(minutes=5)))
    with write_lock(database):
        page = anna.post("/messages", form, status=503)
        assert TEXT in page.text
        assert anna.get("/messages", status=None).status in (200, 503)
    assert sipgate.world.arrivals == []
    expect(anna, anna.post("/messages", form), "accepted")


def test_f50_no_page_calls_a_sent_message_unsent_while_the_database_is_locked(
    impatient: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    page = expect(anna, anna.post("/messages", form), "accepted")
    with impatient.app_context(), transaction() as rows:
        rows.execute(sa.update(BrowserSession).values(last_seen_at=now() - timedelta(minutes=5)))
    with write_lock(database):
        expect(anna, anna.get(page.path), "accepted")
        again = anna.post("/messages", form)
        assert again.status in (303, 503)
        assert "not sent" not in again.text
        assert "Nothing was sent" not in again.text
    expect(anna, anna.get(page.path), "accepted")


@pytest.mark.sqlite  # elsewhere a missing table is a mistake of ours, not a database in trouble
def test_f50_an_unreadable_database_is_a_page_that_keeps_the_text(
    app: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    move_table(database, "sessions", "gone")
    assert TEXT in anna.post("/messages", form, status=503).text
    anna.get("/messages", status=503)
    move_table(database, "gone", "sessions")
    assert sipgate.world.arrivals == []
    expect(anna, anna.post("/messages", form), "accepted")


def move_table(database: Path, name: str, other_name: str) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute(f"ALTER TABLE {name} RENAME TO {other_name}")
    connection.close()


def test_f50_a_database_locked_while_sipgate_answers_still_learns_the_outcome(
    impatient: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.fail_next("send", Fault(delay_s=0.3, deliver=True))
    with locked_from_arrival_on(sipgate, database, seconds=0.8):
        answer = anna.post("/messages", form, status=303)
    expect(anna, answer, "accepted")


@contextmanager
def locked_from_arrival_on(sipgate: Simulator, database: Path, *, seconds: float) -> Iterator[None]:
    """Somebody takes the write lock as soon as sipgate has the message."""

    def hold() -> None:
        wait_until(lambda: bool(sipgate.world.arrivals))
        with write_lock(database):
            time.sleep(seconds)

    holder = threading.Thread(target=hold)
    holder.start()
    yield
    holder.join()


def test_f50_an_outcome_that_could_not_be_saved_becomes_unknown(
    impatient: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.fail_next("send", Fault(delay_s=0.3, deliver=True))
    with locked_from_arrival_on(sipgate, database, seconds=9):
        answer = anna.post("/messages", form, status=303)
        page = anna.follow(answer)
        assert page.soup.select_one('[data-outcome="sending"]')
    make_older(impatient, seconds=81)
    expect(anna, answer, "unknown", "interrupted")


def make_older(app: Flask, *, seconds: float) -> None:
    """Let time pass for what is being sent."""
    with app.app_context(), transaction() as rows:
        since = now() - timedelta(seconds=seconds)
        rows.execute(sa.update(Message).values(sending_since=since))


@contextmanager
def disk_full(app: Flask) -> Iterator[None]:
    """The database file cannot grow any more."""
    with app.app_context():
        engine = db.engine

    def on_checkout(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite makes it the present size

    def after(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA max_page_count = 1073741823")

    sa.event.listen(engine, "checkout", on_checkout)
    sa.event.listen(engine, "checkin", after)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", on_checkout)


LONG = "ä" * 1530
"""Ten segments, 3,060 bytes: two such messages never share a page of the database."""


@pytest.mark.sqlite
def test_f53_a_full_disk_before_the_claim_sends_nothing_and_keeps_the_text(
    app: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    expect(anna, anna.send(OTHER, LONG), "accepted")
    compact(database)
    form = anna.compose(recipient=TO, message=LONG)
    with disk_full(app):
        page = anna.post("/messages", form, status=503)
        assert LONG in page.text
    assert sipgate.world.arrivals_for(TO) == []
    expect(anna, anna.post("/messages", form), "accepted")


@pytest.mark.sqlite
def test_f53_a_full_disk_after_the_post_ends_in_unknown(
    app: Flask, anna: Browser, sipgate: Simulator, database: Path
) -> None:
    compact(database)
    form = anna.compose(recipient=TO, message=LONG)
    words = json.dumps({"message": "€" * 300}).encode()
    sipgate.fail_next("send", Fault(400, body=words, delay_s=0.3))
    post = threading.Thread(target=lambda: anna.post("/messages", form, status=303))
    post.start()
    # The claim stands when the request has arrived; the outcome with its 900 bytes needs a page.
    wait_until(lambda: sipgate.world.calls["send"] == 1)
    with disk_full(app):
        post.join()
    [message] = rows_of(app)
    assert message.outcome == Outcome.SENDING
    make_older(app, seconds=81)
    expect(anna, anna.get(f"/messages/{message.id}"), "unknown", "interrupted")


def compact(database: Path) -> None:
    """Leave no free page in the file."""
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("VACUUM")
    other.close()


# --- Interrupted sends ----------------------------------------------------------------------------


NO_EXTENSION = (
    "sipgate does not give this app any Web SMS extension of yours: none is enabled for you, "
    "the feature is not booked, or this kind of account does not offer it."
)


@pytest.mark.parametrize("status", [403, 404])
def test_refused_or_missing_extensions_have_one_sentence_and_an_empty_list_its_own(
    stranger: Browser, sipgate: Simulator, status: int
) -> None:
    sipgate.world.fail_always("extensions", Fault(status))
    stranger.sign_in("anna")
    for path in ("/", "/extensions"):
        assert NO_EXTENSION in stranger.get(path).text
    clara = Browser(stranger.app, sipgate)
    sipgate.world.clear_faults()
    clara.sign_in("clara")
    for path in ("/", "/extensions"):
        text = clara.get(path).text
        assert "You have no Web SMS extension yet" in text
        assert NO_EXTENSION not in text


def interrupted(app: Flask, browser: Browser, *, seconds: float) -> Page:
    """A message whose process died while sending it, so many seconds ago."""
    page = browser.send_and_look(TO, TEXT)
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Message).values(outcome=Outcome.SENDING, settled_at=None))
    make_older(app, seconds=seconds)
    return page


@pytest.mark.parametrize("path", ["{page}", "/messages"])
def test_a_send_interrupted_81_seconds_ago_is_unknown_when_it_is_read(
    path: str, app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = interrupted(app, anna, seconds=81)
    anna.get(path.format(page=page.path))
    assert [row.outcome for row in rows_of(app)] == [Outcome.UNKNOWN]
    expect(anna, anna.get(page.path), "unknown", "interrupted")
    judge_arrivals(sipgate.world.arrivals, "unknown")


def test_a_send_begun_70_seconds_ago_may_still_be_under_way(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = interrupted(app, anna, seconds=70)
    shown = anna.get(page.path)
    assert "on its way" in shown.text
    assert anna.twin(shown)["outcome"] == "sending"
    assert len(sipgate.world.arrivals) == 1
