"""Who may see and change what: strangers, two accounts, colleagues, cookies, sign-out, keys."""

import inspect
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import time_machine
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from werkzeug.routing import Rule

from tests.conftest import ON_POSTGRESQL, MakeApp
from tests.support.pages import Browser, Page
from tests.support.rows import Rows, stored_bytes, stored_rows
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator
from webapp.web.guard import is_public

PUBLIC = {
    "static",
    "compose.compose",  # the welcome page to a stranger
    "signin.login",
    "signin.callback",
    "operator.healthz",
    "operator.readyz",
    "operator.metrics_page",  # with METRICS_TOKEN only
    "help.help_page",
    "help.about",
    "install.manifest",
    "install.favicon",
    "help.language",  # only the cookie of the browser that asks
}
"""What a stranger may open. A new entry is a decision, not an accident."""

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE")
ARGUMENTS = {"id": "0" * 32, "filename": "app.css", "sms_id": "s0", "caller_id": "7"}
NewBrowser = Callable[[], Browser]


def rules(app: Flask) -> list[Rule]:
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint]


def address(rule: Rule, **arguments: str) -> str:
    path = rule.rule
    for name in rule.arguments:
        value = {**ARGUMENTS, **arguments}[name]
        path = re.sub(rf"<(?:\w+:)?{name}>", value, path)
    return path


def database_of(app: Flask) -> Path:
    return Path(app.config["SETTINGS"].database_url.removeprefix("sqlite:///"))


# --- Strangers ----------------------------------------------------------------------------------


def test_the_public_views_are_exactly_those_listed(app: Flask) -> None:
    views = app.view_functions
    found = {name for name in views if name == "static" or is_public(views[name])}
    assert found == PUBLIC, "a view became public or private: change PUBLIC here if that is meant"


def test_every_view_is_public_or_is_given_its_member(app: Flask) -> None:
    for name, view in app.view_functions.items():
        if name == "static":
            continue
        takes_member = "member" in inspect.signature(view).parameters
        assert takes_member != is_public(view), (
            f"{name}: mark it @public, or let it take `member`, never both"
        )


@pytest.mark.parametrize("method", METHODS)
def test_a_stranger_gets_no_further_than_the_sign_in(
    app: Flask, stranger: Browser, sipgate: Simulator, method: str
) -> None:
    for rule in rules(app):
        response = stranger.client.open(address(rule), method=method, base_url=stranger.base_url)
        response.close()
        where = f"{method} {rule.rule}: {response.status_code}"
        # By address: `/messages/release` is also that of a message.
        allowed = app.url_map.bind("").allowed_methods(address(rule))
        if method not in allowed:
            assert response.status_code == 405, where
        elif rule.endpoint in PUBLIC:
            # No worker runs in these tests, which /readyz says by 503; without METRICS_TOKEN there
            # is no /metrics.
            assert response.status_code in (200, 302, 303, 400, 404, 503), where
            assert (response.status_code == 404) == (rule.endpoint == "operator.metrics_page"), (
                where
            )
        elif method in ("GET", "HEAD") and method in rule.methods:
            assert response.status_code == 302, where
            assert response.headers["Location"].startswith("/login?next="), where
        elif method == "POST":
            assert response.status_code in (302, 401), where
        if rule.endpoint != "signin.login" and "Location" in response.headers:
            assert not urlsplit(response.headers["Location"]).netloc, where
    assert sipgate.world.calls == {}, "a stranger made us call sipgate"


def test_a_strangers_post_is_401_with_a_way_to_sign_in(app: Flask, stranger: Browser) -> None:
    posts = [rule for rule in rules(app) if "POST" in rule.methods and rule.endpoint not in PUBLIC]
    assert posts
    for rule in posts:
        page = stranger.post(address(rule), {}, status=401)
        assert "Location" not in page.response.headers
        link = page.soup.select_one("main a[href^='/login']")
        assert link is not None
        assert link.get_text(strip=True) == "Sign in again"


def test_a_stranger_comes_back_to_the_page_that_was_asked_for(
    app: Flask, sipgate: Simulator
) -> None:
    browser = Browser(app, sipgate)
    login = browser.get("/messages?before=abc", status=302).location
    assert parse_qs(urlsplit(login).query)["next"] == ["/messages?before=abc"]
    sign_in = browser.get(login, status=302).location
    assert browser.get(browser.callback_path(sign_in), status=302).location == (
        "/messages?before=abc"
    )


def test_a_stranger_who_wants_json_gets_401(stranger: Browser) -> None:
    wish = {"Accept": "application/json"}
    for path in ("/messages", f"/messages/{'0' * 32}"):
        page = stranger.get(path, status=401, headers=wish)
        assert page.json == {"error": "sign_in_ended"}


def test_a_person_of_an_account_that_is_not_admitted_gets_no_session(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    browser = Browser(make_app(SIPGATE_ACCOUNTS="1234567"), sipgate)
    page = browser.get(browser.callback_path(browser.begin_sign_in(), "karl"), status=403)
    assert "7654321" in page.text, "the page names the id that the operator would add"
    assert browser.get("/messages", status=302).location.startswith("/login")
    assert not any(one.grant.is_alive for one in sipgate.world.grants.refresh_tokens.values())


# --- Reading changes nothing --------------------------------------------------------------------

MAY_CHANGE = {
    "sign_ins": "GET /login begins one: it is a link, and the row is worth nothing by itself",
    "kept_answers": "what sipgate last said, asked for at most once a minute",
}


def contents(app: Flask) -> Rows:
    """All rows of all tables, but for MAY_CHANGE and the times when somebody was last seen."""
    found = stored_rows(app, without=MAY_CHANGE)
    for seen in found["sessions"] + found["members"]:
        del seen["last_seen_at"]
    return found


def test_no_get_changes_a_row(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    sent = [anna.send("+491713920050", "one"), anna.send("+491713920001", "refused")]
    ids = [urlsplit(page.location).path.rpartition("/")[2] for page in sent]
    before, arrived = contents(app), len(sipgate.world.arrivals)
    for rule in rules(app):
        for message_id in ids:
            for method in ("GET", "HEAD", "OPTIONS"):
                path = address(rule, id=message_id)
                anna.client.open(path, method=method, base_url=anna.base_url).close()
                assert contents(app) == before, f"{method} {rule.rule} changed a row"
    assert len(sipgate.world.arrivals) == arrived
    anna.get("/messages")


# --- Two accounts, two colleagues ---------------------------------------------------------------


@pytest.mark.parametrize("other", ["karl", "ben"])
def test_nobody_sees_the_message_of_another(
    anna: Browser, new_browser: NewBrowser, other: str
) -> None:
    """Karl is `w0` of his account, as Anna is of hers; Ben is a colleague of Anna's."""
    path = urlsplit(anna.send("+491713920050", "for Anna's eyes").location).path
    browser = new_browser()
    browser.sign_in(other)
    json_wish = {"Accept": "application/json"}
    for address_ in (path, f"{path}/again"):
        browser.get(address_, status=404)
    assert "Anna" not in str(browser.get(path, status=404, headers=json_wish).json)
    assert "for Anna's eyes" not in browser.get("/messages").text
    anna.get(path)


def test_an_admin_does_not_see_a_colleagues_message_by_default(
    anna: Browser, new_browser: NewBrowser
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    path = urlsplit(ben.send("+491713920050", "Ben's own").location).path
    anna.get(f"{path}/again", status=404)


def test_the_same_ids_in_two_accounts_are_two_people(
    anna: Browser, new_browser: NewBrowser, sipgate: Simulator
) -> None:
    karl = new_browser()
    karl.sign_in("karl")
    anna.send("+491713920050", "from Anna")
    karl.send("+491713920051", "from Karl")
    assert [one.person for one in sipgate.world.arrivals] == ["anna", "karl"]
    assert "from Karl" in karl.get("/messages").text
    assert "from Karl" not in anna.get("/messages").text
    assert "SMS of the workshop" in karl.get("/extensions").text
    assert "SMS of the workshop" not in anna.get("/extensions").text


def test_the_form_of_another_member_is_not_taken(
    anna: Browser, new_browser: NewBrowser, sipgate: Simulator
) -> None:
    karl = new_browser()
    karl.sign_in("karl")
    foreign = anna.compose()["submission_id"]
    page = karl.send("+491713920050", "with a foreign id", status=422, submission_id=foreign)
    assert page.fields()["submission_id"] != foreign
    assert "with a foreign id" in page.fields()["message"]
    assert sipgate.world.arrivals == []


def draft_of(browser: Browser, text: str) -> str:
    """Sign out in another tab, then send: the text is kept. Returns the way back to it."""
    fields = browser.compose(recipient="+491713920050", message=text)
    browser.post("/logout", browser.get("/").fields("/logout"), status=303)
    page = browser.post("/messages", fields, status=401)
    login = str(page.soup.select_one("main a[href^='/login']")["href"])  # type: ignore[index]
    return parse_qs(urlsplit(login).query)["next"][0]


def test_a_kept_text_comes_back_to_its_member(anna: Browser, sipgate: Simulator) -> None:
    path = draft_of(anna, "typed for an hour")
    assert anna.sign_in("anna", next_path=path).location == path
    assert anna.get(path).fields()["message"].strip() == "typed for an hour"
    assert sipgate.world.arrivals == []


@pytest.mark.parametrize("other", ["karl", "ben"])
def test_a_kept_text_is_shown_to_nobody_else(
    anna: Browser, new_browser: NewBrowser, other: str
) -> None:
    path = draft_of(anna, "typed for an hour")
    browser = new_browser()
    browser.sign_in(other)
    page = browser.get(path)
    assert "typed for an hour" not in page.response.get_data(as_text=True)
    anna.sign_in(other)
    assert "typed for an hour" not in anna.get(path).response.get_data(as_text=True)


def test_a_strangers_post_keeps_no_text_without_a_signed_id(app: Flask, stranger: Browser) -> None:
    forged = {"submission_id": "WyIwMCIsMSwiIl0.forged", "message": "text of a stranger"}
    page = stranger.post("/messages", forged, status=401)
    assert "text of a stranger" not in page.text
    assert contents(app)["drafts"] == []


def test_who_signs_in_next_in_one_browser_sees_nothing_of_the_first(
    anna: Browser, sipgate: Simulator
) -> None:
    path = urlsplit(anna.send("+491713920050", "of the first").location).path
    form = anna.compose(recipient="+491713920051", message="left open by Anna")
    anna.sign_in("karl")
    anna.get(path, status=404)
    assert "of the first" not in anna.get("/messages").text
    arrived = len(sipgate.world.arrivals)
    assert anna.post("/messages", form).status in (400, 422)
    assert len(sipgate.world.arrivals) == arrived


# --- Cookies ------------------------------------------------------------------------------------


def set_cookies(page: Page) -> list[str]:
    return page.response.headers.getlist("Set-Cookie")


def session_cookie(browser: Browser) -> str:
    name = browser.app.config["SESSION_COOKIE_NAME"]
    host = urlsplit(browser.base_url).hostname or ""
    cookie = browser.client.get_cookie(name, domain=host)
    assert cookie is not None
    return cookie.value


def opened(app: Flask, cookie: str) -> dict[str, Any]:
    """What the cookie says: it is signed, not encrypted."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    content: dict[str, Any] = serializer.loads(cookie)
    return content


def visit(app: Flask, cookie: str, path: str = "/messages") -> Any:
    """A visit with this cookie alone, as a thief would make it."""
    name = app.config["SESSION_COOKIE_NAME"]
    return app.test_client(use_cookies=False).get(
        path,
        base_url=app.config["SETTINGS"].public_url,
        headers={"Cookie": f"{name}={cookie}"},
    )


def leads_to_sign_in(response: Any) -> bool:
    return response.status_code == 302 and response.headers["Location"].startswith("/login")


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    browser = Browser(make_app(PUBLIC_URL="http://localhost", TRUSTED_PROXY_HOPS="0"), sipgate)
    cookies = set_cookies(browser.get("/login", status=302))
    assert cookies
    for cookie in cookies:
        assert cookie.startswith("session=")
        attributes = [part.strip() for part in cookie.split(";")[1:]]
        assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
        assert not any(one.startswith(("Domain", "Expires", "Max-Age")) for one in attributes)


def test_over_https_cookies_are_secure_and_bound_to_the_host(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(PUBLIC_URL="https://sms.example", TRUSTED_PROXY_HOPS="1")
    for cookie in set_cookies(Browser(app, sipgate).get("/login", status=302)):
        assert cookie.startswith("__Host-session=")
        attributes = {part.strip() for part in cookie.split(";")[1:]}
        assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} == attributes


def test_no_cookie_holds_a_token_a_text_or_a_number(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    anna.send_and_look("+491713920050", "not for cookies")
    anna.send("0171", "not for cookies", status=422)
    content = opened(app, session_cookie(anna))
    assert set(content) <= {"sid", "browser", "csrf_token", "locale", "_flashes"}
    grants = sipgate.world.grants
    words = [*grants.access_tokens, *grants.refresh_tokens, *grants.codes]
    words += ["not for cookies", "1713920050", sipgate.client.client_secret, "Anna", "1234567"]
    assert [one for one in words if one in str(content)] == []
    assert len(session_cookie(anna)) < 1000


def test_the_database_holds_only_a_hash_of_the_sessions_id(app: Flask, anna: Browser) -> None:
    sid = opened(app, session_cookie(anna))["sid"]
    assert len(sid) >= 32
    assert sid.encode() not in raw_bytes(app)


def test_a_cookie_copied_before_sign_out_is_worthless_after_it(app: Flask, anna: Browser) -> None:
    copied = session_cookie(anna)
    assert visit(app, copied).status_code == 200
    anna.post("/logout", anna.get("/").fields("/logout"), status=303)
    assert leads_to_sign_in(visit(app, copied))
    assert leads_to_sign_in(visit(app, session_cookie(anna)))


def test_a_sign_in_gives_a_new_id_and_ends_the_browsers_old_one(app: Flask, anna: Browser) -> None:
    first = session_cookie(anna)
    anna.sign_in("anna")
    second = session_cookie(anna)
    assert opened(app, first)["sid"] != opened(app, second)["sid"]
    assert opened(app, first).get("csrf_token") != opened(app, second).get("csrf_token", "new")
    assert leads_to_sign_in(visit(app, first))
    assert visit(app, second).status_code == 200


# --- Time limits --------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(datetime(2027, 1, 4, 8, tzinfo=UTC), tick=False) as traveller:
        yield traveller


def test_a_session_unused_for_twelve_hours_has_ended(
    clock: time_machine.Traveller, app: Flask, sipgate: Simulator
) -> None:
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    clock.shift(timedelta(hours=11, minutes=59))
    anna.get("/messages")
    clock.shift(timedelta(hours=11, minutes=59))
    anna.get("/messages")
    clock.shift(timedelta(hours=12, minutes=1))
    assert anna.get("/messages", status=302).location.startswith("/login")


def test_a_session_in_use_has_ended_after_seven_days(
    clock: time_machine.Traveller, app: Flask, sipgate: Simulator
) -> None:
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    for _ in range(14):
        clock.shift(timedelta(hours=11, minutes=50))
        anna.get("/messages")
    clock.shift(timedelta(hours=2, minutes=21))
    assert anna.get("/messages", status=302).location.startswith("/login")


# --- Sign-out -----------------------------------------------------------------------------------


def refresh(sipgate: Simulator, token: str) -> int:
    """What the login server says to this refresh token."""
    answer = requests.post(
        f"{sipgate.issuer}/protocol/openid-connect/token",
        data={
            "grant_type": "refresh_token",
            "refresh_token": token,
            "client_id": sipgate.client.client_id,
            "client_secret": sipgate.client.client_secret,
        },
        timeout=5,
    )
    return answer.status_code


def test_sign_out_ends_exactly_its_own_grant_at_sipgate(
    new_browser: NewBrowser, sipgate: Simulator
) -> None:
    first, second, karl = new_browser(), new_browser(), new_browser()
    for browser, person in ((first, "anna"), (second, "anna"), (karl, "karl")):
        browser.sign_in(person)
    own, *others = list(sipgate.world.grants.refresh_tokens)
    first.post("/logout", first.get("/").fields("/logout"), status=303)
    assert sipgate.world.calls["logout"] == 1
    assert refresh(sipgate, own) == 400
    assert [refresh(sipgate, token) for token in others] == [200, 200]
    second.get("/messages")
    karl.get("/messages")


def test_sign_out_erases_the_tokens_here(app: Flask, anna: Browser) -> None:
    anna.post("/logout", anna.get("/").fields("/logout"), status=303)
    rows = stored_rows(app)
    assert rows["sessions"] == []
    [tokens] = rows["token_sets"]
    assert (tokens["access_token"], tokens["refresh_token"]) == (None, None)


AWAY = {
    "stopped": lambda sipgate: sipgate.stop(),
    "answers 500": lambda sipgate: sipgate.fail_next("logout", Fault(500)),
    "resets": lambda sipgate: sipgate.fail_next("logout", Fault(mode="reset")),
    "never answers": lambda sipgate: sipgate.fail_next("logout", Fault(mode="hang")),
}


@pytest.mark.parametrize("case", AWAY)
def test_sign_out_works_quickly_while_sipgates_is_away(
    app: Flask, anna: Browser, sipgate: Simulator, case: str
) -> None:
    fields, copied = anna.get("/").fields("/logout"), session_cookie(anna)
    AWAY[case](sipgate)
    started = time.monotonic()
    page = anna.post("/logout", fields, status=303)
    assert time.monotonic() - started < 3.5
    assert page.location == "/"
    assert leads_to_sign_in(visit(app, copied))
    assert "signed out" in anna.follow(page).text


def test_sign_out_twice_is_no_error(anna: Browser, sipgate: Simulator) -> None:
    fields = anna.get("/").fields("/logout")
    anna.post("/logout", fields, status=303)
    anna.post("/logout", fields, status=401)
    assert sipgate.world.calls["logout"] == 1


# --- Tokens at rest, and the keys ---------------------------------------------------------------


def raw_bytes(app: Flask) -> bytes:
    """The bytes of SQLite's files, with what lies about in them; else those of the rows."""
    if ON_POSTGRESQL:
        return stored_bytes(app)
    path = database_of(app)
    files = [path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")]
    found = b"".join(one.read_bytes() for one in files if one.exists())
    assert b"Anna" in found, "these are not the files that hold the rows"
    return found


def test_tokens_rest_encrypted(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    sipgate.world.expire_access_tokens()
    anna.send("+491713920050", "with a refreshed token")
    assert sipgate.world.calls["token_refresh"] == 1
    stored = raw_bytes(app)
    grants = sipgate.world.grants
    tokens = [*grants.access_tokens, *grants.refresh_tokens, *grants.codes]
    assert len(tokens) == 5
    for token in tokens:
        assert token.encode() not in stored
        assert token[-60:].encode() not in stored


OLD_KEY = "a-key-for-tests-only-0123456789-abcdefghij"  # conftest's
NEW_KEY = "the-next-key-for-tests-9876543210-zyxwvuts"


def moved(browser: Browser, app: Flask) -> Browser:
    """The same browser, with its cookies, after the app was started again."""
    again = Browser(app, browser.sipgate)
    name = app.config["SESSION_COOKIE_NAME"]
    host = urlsplit(browser.base_url).hostname or ""
    again.client.set_cookie(
        name, session_cookie(browser), domain=host, secure=browser.base_url.startswith("https")
    )
    return again


def test_a_new_key_in_front_changes_nothing_for_who_is_signed_in(
    make_app: MakeApp, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient="+491713920050", message="typed before the change of keys")
    after = moved(anna, make_app(SECRET_KEY=f"{NEW_KEY},{OLD_KEY}"))
    after.get("/messages")
    page = after.post("/messages", form, status=303)
    assert after.twin(page)["outcome"] == "accepted"
    after.send("+491713920051", "typed after it")
    assert [one.accepted for one in sipgate.world.arrivals] == [True, True]


def test_the_same_form_before_and_after_a_change_of_keys_sends_once(
    make_app: MakeApp, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient="+491713920050", message="sent on both sides")
    first = anna.post("/messages", form, status=303).location
    after = moved(anna, make_app(SECRET_KEY=f"{NEW_KEY},{OLD_KEY}"))
    assert after.post("/messages", form, status=303).location == first
    assert len(sipgate.world.arrivals) == 1


def test_a_dropped_key_signs_out_without_an_error(
    make_app: MakeApp, anna: Browser, sipgate: Simulator
) -> None:
    form = anna.compose(recipient="+491713920050", message="signed with the dropped key")
    after = moved(anna, make_app(SECRET_KEY=NEW_KEY))
    assert after.get("/messages", status=302).location.startswith("/login")
    after.post("/messages", form, status=401)
    after.sign_in("anna")
    after.send("+491713920050", "with the new key")
    assert len(sipgate.world.arrivals) == 1


def test_a_session_that_outlives_the_key_of_its_tokens_ends_kindly(
    make_app: MakeApp, anna: Browser, sipgate: Simulator
) -> None:
    """The cookie was signed anew while both keys were there, the tokens were not refreshed."""
    app = make_app(SECRET_KEY=NEW_KEY)
    serializer = SecureCookieSessionInterface().get_signing_serializer(app)
    assert serializer is not None
    cookie = serializer.dumps(opened(anna.app, session_cookie(anna)))
    after = Browser(app, sipgate)
    host = urlsplit(after.base_url).hostname or ""
    name = app.config["SESSION_COOKIE_NAME"]
    after.client.set_cookie(name, cookie, domain=host, secure=after.base_url.startswith("https"))
    for path in ("/messages", "/", "/extensions"):
        assert after.get(path, status=None).status in (200, 302, 401)
    data = {**after.get("/", status=None).fields("/logout"), "recipient": "+491713920050"}
    assert after.post("/messages", data).status in (401, 422)
    assert sipgate.world.arrivals == []
