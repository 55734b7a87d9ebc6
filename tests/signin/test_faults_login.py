"""Faults of the login server and of tokens: one refresh, one exchange, and nothing is lost."""

import json
import multiprocessing
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import values_for
from tests.support.pages import Browser
from tests.support.raw_servers import (
    another_tab,
    case,
    cookie_of,
    expect,
    host_of,
    in_parallel,
    prefilled,
    sign_in_by_link,
)
from webapp import create_app
from webapp.database import db, transaction
from webapp.database.models import TokenSet
from webapp.rules.times import now
from webapp.simulator import Fault, Simulator, oauth_error

TO = "+491713920050"
TEXT = "Ihr Termin ist morgen um 8 Uhr."
HTML = b"<!doctype html><h1>Maintenance</h1>"


def change_tokens(app: Flask, **values: Any) -> None:
    """Change every token set in the database."""
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(TokenSet).values(**values))


def tokens_of(app: Flask) -> TokenSet:
    """The newest token set."""
    with app.app_context():
        return db.session.scalars(sa.select(TokenSet).order_by(TokenSet.id.desc())).first()  # type: ignore[return-value]


def is_signed_in(browser: Browser) -> bool:
    return browser.get("/messages", status=None).status == 200


def lifetime_s(app: Flask) -> float:
    return (tokens_of(app).expires_at - now()).total_seconds()


# --- F25: many need a refresh at once -------------------------------------------------------------


def forms(browser: Browser, count: int) -> list[dict[str, str]]:
    """Filled forms, each to a recipient of its own."""
    return [
        browser.compose(recipient=f"+49176040690{number:02}", message=TEXT)
        for number in range(count)
    ]


@pytest.mark.parametrize("who_knows", ["sipgate", "we"])
def test_f25_eight_threads_that_need_a_refresh_make_one_and_all_go_on(
    who_knows: str, app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    filled = forms(anna, 8)
    tabs = [another_tab(anna) for _ in filled]
    sipgate.world.expire_access_tokens()
    if who_knows == "we":
        change_tokens(app, expires_at=now() - timedelta(seconds=1))
    sipgate.fail_next("refresh", Fault(delay_s=0.3))

    posts = [
        lambda tab=tab, form=form: tab.post("/messages", form, status=303)
        for tab, form in zip(tabs, filled, strict=True)
    ]
    for answer in in_parallel(*posts):
        expect(anna, answer, "accepted")
    assert sipgate.world.calls["token_refresh"] == 1
    refused = [arrival for arrival in sipgate.world.arrivals if arrival.status == 401]
    assert len(refused) == (0 if who_knows == "we" else len(sipgate.world.arrivals) - 8)


def post_from_process(
    values: dict[str, str], browser: dict[str, str], form: dict[str, str], start: Any, answers: Any
) -> None:
    """One of several web processes: post a form when all are ready."""
    app = create_app(values)
    client = app.test_client()
    secure = browser["base_url"].startswith("https")
    client.set_cookie(browser["name"], browser["value"], domain=browser["host"], secure=secure)
    start.wait(timeout=120)
    response = client.post(
        "/messages",
        base_url=browser["base_url"],
        data=form,
        headers={"Referer": f"{browser['base_url']}/"},
    )
    answers.put((response.status_code, response.headers.get("Location", "")))
    with app.app_context():
        db.engine.dispose()


def test_f25_four_processes_that_need_a_refresh_make_one_and_all_go_on(
    app: Flask, anna: Browser, sipgate: Simulator, tmp_path: Path
) -> None:
    filled = forms(anna, 4)
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", Fault(delay_s=0.3))
    name, value = cookie_of(anna)
    browser = {"name": name, "value": value, "host": host_of(anna), "base_url": anna.base_url}
    values = values_for(sipgate, tmp_path / "app.sqlite")

    # Each process starts from a clean one, not from this one with its threads.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    start, answers = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=post_from_process, args=(values, browser, form, start, answers))
        for form in filled
    ]
    for process in processes:
        process.start()
    results = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
        process.close()
    answers.close()
    answers.join_thread()

    assert [status for status, _ in results] == [303] * 4
    for _, location in results:
        expect(anna, anna.get(location), "accepted")
    assert sipgate.world.calls["token_refresh"] == 1


def test_f25_the_next_refresh_works_after_many_shared_one(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    tabs = [another_tab(anna) for _ in range(4)]
    for round_number in range(2):
        sipgate.world.expire_access_tokens()
        forget_extensions(app)
        statuses = in_parallel(
            *(lambda tab=tab: tab.get("/extensions", status=None).status for tab in tabs)
        )
        assert statuses == [200] * 4
        assert sipgate.world.calls["token_refresh"] == round_number + 1


def forget_extensions(app: Flask) -> None:
    """So that the next page asks sipgate."""
    with app.app_context(), transaction() as rows:
        rows.execute(sa.text("DELETE FROM kept_answers"))


# --- F26, F27: the grant is lost ------------------------------------------------------------------


def test_f26_a_lost_refresh_answer_loses_no_text_and_asks_to_sign_in_again(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", Fault(mode="reset", deliver=True))
    page = expect(anna, anna.post("/messages", form), "not_sent", "login_away", says="again")

    # sipgate has rotated the refresh token, and we never learned the new one.
    again = prefilled(anna.get(f"{page.path}/again"))
    answer = anna.post("/messages", {**again, "recipient": "+491713920051"}, status=303)
    assert not is_signed_in(anna)
    anna.sign_in("anna")
    page = expect(anna, anna.follow(answer), "refused", "sign_in_ended")
    assert TEXT in page.text
    assert sipgate.phones == {}


def lose_grant(sipgate: Simulator, how: str) -> None:
    sipgate.world.expire_access_tokens()
    if how == "expired":
        sipgate.world.expire_refresh_tokens()
    elif how == "revoked":
        sipgate.world.end_sessions("anna")
    else:
        for token in sipgate.world.grants.refresh_tokens.values():
            token.is_used = True


LOSSES = ["expired", "revoked", "reused"]


@pytest.mark.parametrize("how", LOSSES)
def test_f27_a_dead_refresh_token_ends_the_session_and_keeps_the_message(
    how: str, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    lose_grant(sipgate, how)
    answer = anna.post("/messages", form, status=303)
    assert not is_signed_in(anna)
    anna.sign_in("anna")
    page = expect(anna, anna.follow(answer), "refused", "sign_in_ended")
    assert TEXT in page.text


@pytest.mark.parametrize("how", LOSSES)
def test_f27_a_refresh_token_that_is_dead_before_the_post_means_not_sent(
    how: str, app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    lose_grant(sipgate, how)
    change_tokens(app, expires_at=now() - timedelta(seconds=1))
    answer = anna.post("/messages", form, status=303)
    assert sipgate.world.arrivals == []
    assert not is_signed_in(anna)
    anna.sign_in("anna")
    page = expect(anna, anna.follow(answer), "not_sent", "sign_in_ended")
    assert TEXT in page.text


def test_f27_a_form_that_meets_the_dead_grant_is_kept_as_a_draft(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    forget_extensions(app)
    lose_grant(sipgate, "expired")
    asked = anna.post("/messages", form, status=401)
    assert "Nothing was sent" in asked.text
    kept = sign_in_by_link(anna, asked)
    assert prefilled(kept)["message"] == TEXT
    assert sipgate.world.arrivals == []


# --- F28: the login server is away ----------------------------------------------------------------


AWAY = (
    Fault(500),
    Fault(503, body=HTML),
    Fault(429, (("Retry-After", "60"),)),
    Fault(200, body=HTML),
    Fault(200, body=b""),
    Fault(200, body=b"[" * 60_000),
    Fault(302, mode="redirect"),
    Fault(mode="reset"),
    Fault(mode="close"),
    Fault(mode="break_body", status=200),
    Fault(mode="huge_body"),
    Fault(mode="endless_headers"),
    oauth_error("invalid_client", "Invalid client credentials", 401),
    oauth_error("unauthorized_client", "<script>alert(1)</script>"),
)


def test_f28_a_login_server_in_trouble_is_no_logout(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    for number, fault in enumerate(AWAY):
        form = anna.compose(recipient=f"+49176040690{number:02}", message=TEXT)
        sipgate.world.expire_access_tokens()
        change_tokens(app, expires_at=now() - timedelta(seconds=1))
        sipgate.fail_next("refresh", fault)
        with case(fault):
            expect(anna, anna.post("/messages", form), "not_sent", "login_away", says="again")
            assert sipgate.world.arrivals == []
    form = anna.compose(recipient=TO, message=TEXT)
    expect(anna, anna.post("/messages", form), "accepted")


def test_f28_after_a_401_a_login_server_in_trouble_is_no_logout_either(
    anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", Fault(503))
    page = expect(anna, anna.post("/messages", form), "not_sent", "login_away")
    again = prefilled(anna.get(f"{page.path}/again"))
    answer = anna.post("/messages", {**again, "recipient": "+491713920051"})
    expect(anna, answer, "accepted")


@pytest.mark.parametrize("fault", [Fault(503), Fault(429), Fault(200, body=HTML)])
def test_f28_a_token_that_still_lives_goes_on_being_used(
    fault: Fault, app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    change_tokens(app, expires_at=now() + timedelta(seconds=20))
    sipgate.fail_next("refresh", fault)
    expect(anna, anna.post("/messages", form), "accepted")
    assert sipgate.world.calls["token_refresh"] == 1


def test_f28_a_login_server_that_hangs_holds_a_message_no_longer_than_its_limit(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient=TO, message=TEXT)
    change_tokens(app, expires_at=now() - timedelta(seconds=1))
    sipgate.fail_next("refresh", Fault(mode="hang"))
    started = time.monotonic()
    answer = anna.post("/messages", form)
    assert time.monotonic() - started < 7
    expect(anna, answer, "not_sent", "login_away")
    assert is_signed_in(anna)


def test_f28_a_sign_in_that_meets_trouble_ends_on_a_friendly_page(
    stranger: Browser, sipgate: Simulator
) -> None:
    for fault in AWAY:
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.fail_next("token_code", fault)
        with case(fault):
            page = stranger.get(path, status=400)
            assert page.h1 == "You are not signed in"
            assert not page.soup.select("main script")
    stranger.sign_in("anna")
    assert is_signed_in(stranger)


# --- F29: odd token answers -----------------------------------------------------------------------


def token_answer(sipgate: Simulator, without: str = "", **changed: Any) -> Fault:
    """A token answer of sipgate's kind, with a token that works."""
    answer = {
        "access_token": sipgate.access_token("anna"),
        "expires_in": 300,
        "refresh_expires_in": 2_592_000,
        "refresh_token": "another-refresh-token",
        "token_type": "Bearer",
        "scope": "sessions:sms:write sms:read users:read",
        **changed,
    }
    answer.pop(without, None)
    return Fault(200, body=json.dumps(answer).encode())


REFUSED_ANSWERS: tuple[dict[str, Any], ...] = (
    {"without": "access_token"},
    {"access_token": None},
    {"access_token": ""},
    {"access_token": 5},
    {"access_token": "two words\r\nX: y"},
    {"access_token": "ümlaut"},
    {"token_type": "mac"},
    {"token_type": None},
    {"token_type": ["Bearer"]},
    {"expires_in": "soon"},
    {"expires_in": -5},
    {"expires_in": float("nan")},
    {"expires_in": [300]},
)
TAKEN_ANSWERS: tuple[tuple[dict[str, Any], int], ...] = (
    ({}, 300),
    ({"without": "expires_in"}, 300),
    ({"expires_in": 0}, 300),
    ({"expires_in": "900"}, 900),
    ({"expires_in": 900.5}, 900),
    ({"without": "token_type"}, 300),
    ({"token_type": "bearer"}, 300),
    ({"without": "refresh_token"}, 300),
    ({"refresh_token": None}, 300),
    ({"refresh_token": {"a": 1}}, 300),
    ({"refresh_expires_in": 0}, 300),
    ({"refresh_expires_in": "never"}, 300),
    ({"scope": None}, 300),
    ({"scope": ["a", "b"]}, 300),
    ({"expires_in": 10**30}, 10 * 365 * 86_400),
)
EITHER_ANSWERS: tuple[dict[str, Any], ...] = (
    {"expires_in": "300.5"},
    {"expires_in": "3e2"},
    {"expires_in": None},
    {"expires_in": True},
    {"expires_at": "abc"},
    {"expires_at": [1]},
    {"expires_at": {"a": 1}},
    {"expires_at": 1},
)
"""Nobody says what these should mean; a page it must be, and never a crash."""


def test_f29_a_token_answer_that_cannot_be_used_signs_nobody_in(
    stranger: Browser, sipgate: Simulator
) -> None:
    bodies = [Fault(200, body=body) for body in (b"{}", b"[]", b"null", b'"token"', b"{")]
    bodies += [token_answer(sipgate, **changed) for changed in REFUSED_ANSWERS]
    for fault in bodies:
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.fail_next("token_code", fault)
        with case(fault.body):
            assert stranger.get(path, status=400).h1 == "You are not signed in"
    assert not is_signed_in(stranger)


def test_f29_a_token_answer_that_leaves_things_out_signs_in(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    for changed, seconds in TAKEN_ANSWERS:
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.fail_next("token_code", token_answer(sipgate, **changed))
        with case(changed):
            stranger.get(path, status=302)
            assert is_signed_in(stranger)
            assert seconds - 30 < lifetime_s(app) <= seconds


def test_f29_an_answer_of_unclear_meaning_is_never_a_crash(
    stranger: Browser, sipgate: Simulator
) -> None:
    for changed in EITHER_ANSWERS:
        path = stranger.callback_path(stranger.begin_sign_in())
        sipgate.fail_next("token_code", token_answer(sipgate, **changed))
        with case(changed):
            assert stranger.get(path, status=None).status in (302, 400)


def test_f29_a_refresh_answer_that_cannot_be_used_keeps_the_sign_in(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    faults = [Fault(200, body=b"{}")]
    faults += [
        token_answer(sipgate, **changed)
        for changed in (*REFUSED_ANSWERS, {"expires_in": "3e2"}, {"expires_at": [1]})
    ]
    old = tokens_of(app).refresh_token
    for number, fault in enumerate(faults):
        form = anna.compose(recipient=f"+49176040690{number:02}", message=TEXT)
        change_tokens(app, expires_at=now() - timedelta(seconds=1))
        sipgate.fail_next("refresh", fault)
        with case(fault.body):
            answer = anna.post("/messages", form)
            page = anna.follow(answer)
            outcome = anna.twin(page)["outcome"]
            expect(anna, page, outcome, "" if outcome == "accepted" else "login_away")
    assert tokens_of(app).refresh_token == old
    assert is_signed_in(anna)


@pytest.mark.parametrize("changed", [{"without": "refresh_token"}, {"refresh_token": None}])
def test_f29_a_refresh_answer_without_a_refresh_token_keeps_the_old_one(
    changed: dict[str, Any], app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    old = tokens_of(app).refresh_token
    form = anna.compose(recipient=TO, message=TEXT)
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", token_answer(sipgate, **changed))
    expect(anna, anna.post("/messages", form), "accepted")
    assert tokens_of(app).refresh_token == old

    sipgate.world.expire_access_tokens()
    form = anna.compose(recipient="+491713920051", message=TEXT)
    expect(anna, anna.post("/messages", form), "accepted")
    assert sipgate.world.calls["token_refresh"] == 2


def test_f29_a_grant_without_a_refresh_token_serves_until_it_runs_out(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    sipgate.fail_next("token_code", token_answer(sipgate, without="refresh_token"))
    stranger.get(path, status=302)
    expect(stranger, stranger.send(TO, TEXT), "accepted")

    form = stranger.compose(recipient="+491713920051", message=TEXT)
    change_tokens(app, expires_at=now() - timedelta(seconds=1))
    answer = stranger.post("/messages", form, status=303)
    assert sipgate.world.calls["token_refresh"] == 0
    assert not is_signed_in(stranger)
    stranger.sign_in("anna")
    expect(stranger, stranger.follow(answer), "not_sent", "sign_in_ended")


# --- F31, F32: the callback -----------------------------------------------------------------------


def test_f31_a_callback_twice_at_once_exchanges_its_code_once(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    tabs = [another_tab(stranger) for _ in range(2)]
    sipgate.fail_next("token_code", Fault(delay_s=0.2))
    pages = in_parallel(*(lambda tab=tab: tab.get(path, status=None) for tab in tabs))
    assert sorted(page.status for page in pages) == [302, 400]
    assert sipgate.world.calls["token_code"] == 1
    friendly = next(page for page in pages if page.status == 400)
    assert friendly.h1 == "You are not signed in"
    winner = tabs[[page.status for page in pages].index(302)]
    expect(winner, winner.send(TO, TEXT), "accepted")


def test_f31_the_second_answer_of_a_doubled_callback_does_not_sign_out(
    stranger: Browser, sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    early = another_tab(stranger)
    first = stranger.get(path, status=302)
    second = early.get(path, status=400)
    assert "Set-Cookie" in first.response.headers
    # Whichever answer comes last decides which cookie a browser keeps.
    assert "Set-Cookie" not in second.response.headers


def test_f31_a_reloaded_callback_says_that_one_is_signed_in(
    anna: Browser, stranger: Browser, sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    stranger.get(path, status=302)
    for _ in range(2):
        page = stranger.get(path, status=400)
        assert page.h1 == "You are already signed in"
    assert sipgate.world.calls["token_code"] == 2  # one of them was Anna's other browser's
    expect(stranger, stranger.send(TO, TEXT), "accepted")


def test_f31_a_callback_in_another_browser_signs_nobody_in(
    stranger: Browser, new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    other = new_browser()
    assert other.get(path, status=400).h1 == "You are not signed in"
    other.begin_sign_in()
    assert other.get(path, status=400).h1 == "You are not signed in"
    assert sipgate.world.calls["token_code"] == 0
    assert not is_signed_in(other)
    stranger.get(path, status=302)
    assert is_signed_in(stranger)


def test_f32_of_twenty_sign_ins_begun_in_one_browser_any_may_finish(
    stranger: Browser, sipgate: Simulator
) -> None:
    addresses = [stranger.begin_sign_in() for _ in range(20)]
    for number in (7, 0, 19):
        stranger.get(stranger.callback_path(addresses[number]), status=302)
        assert is_signed_in(stranger)
    name, value = cookie_of(stranger)
    assert len(f"{name}={value}") <= 4096


def test_f32_a_sign_in_older_than_ten_minutes_starts_anew_in_a_friendly_way(
    stranger: Browser, sipgate: Simulator
) -> None:
    begun = datetime.now(UTC)
    address = stranger.begin_sign_in()
    with time_machine.travel(begun + timedelta(minutes=10, seconds=5), tick=True):
        page = stranger.get(stranger.callback_path(address), status=400)
        assert page.h1 == "You are not signed in"
        assert sipgate.world.calls["token_code"] == 0
        link = page.soup.select_one("main a")
        assert link is not None
        assert link.get_text(strip=True) == "Sign in again"
        stranger.sign_in("anna")
        assert is_signed_in(stranger)


def test_f32_a_sign_in_of_nine_minutes_finishes(stranger: Browser, sipgate: Simulator) -> None:
    begun = datetime.now(UTC)
    address = stranger.begin_sign_in()
    with time_machine.travel(begun + timedelta(minutes=9, seconds=30), tick=True):
        stranger.get(stranger.callback_path(address), status=302)
        assert is_signed_in(stranger)
