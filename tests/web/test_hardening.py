"""Small holes, each closed: what an address or a form may hold, what a stranger may start."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import time_machine
from flask import Flask
from flask.sessions import SecureCookieSessionInterface
from huey.serializer import SignedSerializer
from itsdangerous import BadSignature, URLSafeSerializer, URLSafeTimedSerializer

from tests.conftest import MakeApp, values_for
from tests.support.pages import Browser, Page
from tests.support.real_servers import free_port, running_server
from tests.support.worker import send_to_many, work
from tests.web.test_access import ARGUMENTS, address, moved, opened, rules, session_cookie
from webapp.config import PROJECT
from webapp.database import db, idempotency, insert, transaction
from webapp.database.models import Member, Message, MessageTemplate, SignIn
from webapp.jobs.tasks import queue
from webapp.messages.message_templates import MAX_DELETED, MAX_TEMPLATES
from webapp.rules import keys
from webapp.rules.keys import Purpose
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

NewBrowser = Callable[[], Browser]
ONE = "+491713920050"


def token(browser: Browser) -> dict[str, str]:
    return {"csrf_token": browser.get("/").fields()["csrf_token"]}


def planned(browser: Browser) -> Page:
    send_at = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(ONE, send_at=send_at, time_zone="UTC")


# --- Numbers in addresses and forms --------------------------------------------------------------

PARAMETER = re.compile(r'request\.(args|form)(?:\.get(?:list)?\(|\[)\s*"(\w+)"')
BIG = {
    "past 64 bits": str(2**63),
    "past 32 bits": str(2**31),
    "below zero": str(-(2**63) - 1),
    "of 300 digits": "9" * 300,
    "of 5,000 digits": "9" * 5000,
    "in other digits": "\u0661" * 20,
}


def parameters(kind: str) -> list[str]:
    """The names that the views read of an address (`args`) or a form."""
    texts = [path.read_text() for path in (PROJECT / "webapp" / "views").glob("*.py")]
    return sorted({name for text in texts for of, name in PARAMETER.findall(text) if of == kind})


def ids_of(browser: Browser, app: Flask) -> dict[str, str]:
    """An id of something that is there, for each kind of address that has one."""
    batch = send_to_many(browser, 2).path.rpartition("/")[2]
    page = browser.get("/message-templates/new")
    made = {**page.fields(), "name": "One", "text": "Hello ((name))"}
    browser.post("/message-templates/new", made, status=303)
    link = browser.get("/message-templates").soup.select_one("main .panel a")
    assert link is not None
    with app.app_context():
        message = db.session.query(Message).first()
        assert message is not None
    return {
        "batches": batch,
        "message_templates": str(link["href"]).rpartition("/")[2],
        "messages": message.id,
        "history": message.id,
    }


@pytest.mark.parametrize("number", BIG.values(), ids=BIG)
def test_a_huge_number_in_an_address_or_a_form_is_no_fault_of_ours(
    app: Flask, anna: Browser, number: str
) -> None:
    found = ids_of(anna, app)
    for rule in rules(app):
        kind = rule.endpoint.partition(".")[0]
        path = address(rule, id=found.get(kind, ARGUMENTS["id"]))
        if kind == "static" or "GET" not in rule.methods:
            continue
        for name in parameters("args"):
            options = {"base_url": anna.base_url, "query_string": {name: number}}
            with anna.client.get(path, **options) as answer:
                assert answer.status_code != 500, f"{rule.rule}?{name}"


@pytest.mark.parametrize("number", BIG.values(), ids=BIG)
def test_a_huge_version_of_a_template_is_no_version_of_it(
    app: Flask, anna: Browser, number: str
) -> None:
    path = f"/message-templates/{ids_of(anna, app)['message_templates']}/edit"
    changed = {**anna.get(path).fields(), "name": "Two", "version": number}
    assert anna.post(path, changed).status == 409
    assert anna.get(path).fields()["name"] == "One"


@pytest.mark.parametrize("number", BIG.values(), ids=BIG)
def test_a_huge_id_of_a_sender_is_one_that_is_not_there(
    app: Flask, anna: Browser, stranger: Browser, number: str
) -> None:
    found = [rule for rule in rules(app) if "caller_id" in rule.arguments]
    assert found
    for rule in found:
        path = address(rule, caller_id=number)
        if "GET" in rule.methods:
            anna.get(path, status=404)
            stranger.get(path, status=None)
        else:
            assert anna.post(path, token(anna)).status in (404, 405)


# --- Templates -----------------------------------------------------------------------------------


def fill_with_templates(app: Flask, count: int, *, deleted: bool) -> None:
    """Rows beside Anna's own, as if her account had made that many."""
    at = datetime.now(UTC) - timedelta(days=1)
    with app.app_context():
        anna = db.session.query(Member).filter_by(sub="w0").one()
        with transaction() as rows:
            insert(
                rows,
                *(
                    MessageTemplate(
                        account_id=anna.account_id,
                        name=f"Old {n}",
                        text="Hello",
                        changed_by_id=anna.id,
                        deleted_at=at + timedelta(seconds=n) if deleted else None,
                    )
                    for n in range(count)
                ),
            )


def make_template(browser: Browser, name: str, *, status: int = 303) -> Page:
    page = browser.get("/message-templates/new")
    made = {**page.fields(), "name": name, "text": "Hello"}
    return browser.post("/message-templates/new", made, status=status)


def template_names(app: Flask, *, deleted: bool) -> set[str]:
    with app.app_context():
        found = db.session.query(MessageTemplate)
        return {one.name for one in found if (one.deleted_at is not None) is deleted}


def test_deleted_templates_take_nobodys_place(app: Flask, anna: Browser) -> None:
    fill_with_templates(app, MAX_TEMPLATES, deleted=True)
    make_template(anna, "New")
    assert template_names(app, deleted=False) == {"New"}


def test_of_deleted_templates_only_the_newest_can_come_back(app: Flask, anna: Browser) -> None:
    fill_with_templates(app, MAX_DELETED, deleted=True)
    make_template(anna, "New")
    link = anna.get("/message-templates").soup.select_one("main .panel a[href$='/edit']")
    assert link is not None
    anna.post(str(link["href"]).replace("/edit", "/delete"), token(anna), status=303)
    left = template_names(app, deleted=True)
    assert len(left) == MAX_DELETED
    assert "New" in left
    assert "Old 0" not in left, "the one that was deleted first goes first"


def test_a_template_comes_back_only_where_there_is_room(app: Flask, anna: Browser) -> None:
    fill_with_templates(app, 1, deleted=True)
    fill_with_templates(app, MAX_TEMPLATES, deleted=False)
    button = anna.get("/message-templates").soup.select_one("main form[action$='/restore']")
    assert button is not None
    page = anna.follow(anna.post(str(button["action"]), token(anna), status=303))
    assert "There are too many templates. Delete one first." in page.text
    assert len(template_names(app, deleted=False)) == MAX_TEMPLATES
    assert len(template_names(app, deleted=True)) == 1


# --- Roles ---------------------------------------------------------------------------------------


def test_an_admin_who_may_not_even_be_looked_up_any_more_is_none(
    anna: Browser, sipgate: Simulator
) -> None:
    anna.get("/operator")
    sipgate.fail_next("user", Fault(status=403))
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
        anna.get("/")
        anna.get("/operator", status=403)
        assert anna.get("/").status == 200, "the sign-in itself goes on"


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(status=429), Fault(status=404), Fault(mode="close")],
    ids=["500", "429", "404", "close"],
)
def test_a_sipgate_that_is_away_takes_no_role_away(
    anna: Browser, sipgate: Simulator, fault: Fault
) -> None:
    sipgate.fail_next("user", fault)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=16), tick=True):
        anna.get("/operator")


# --- Starting and ending a sign-in ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "dest", "status"),
    [
        (None, None, 302),  # an older browser
        ("navigate", "document", 302),
        ("navigate", None, 302),
        ("no-cors", "image", 403),
        ("cors", "empty", 403),
        ("navigate", "iframe", 403),
        ("no-cors", "document", 403),
    ],
)
def test_only_a_visit_starts_a_sign_in(
    app: Flask, stranger: Browser, mode: str | None, dest: str | None, status: int
) -> None:
    said = {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Sec-Fetch-Site": "cross-site"}
    headers = {name: value for name, value in said.items() if value}
    answer = stranger.get("/login", status=status, headers=headers)
    with app.app_context():
        assert db.session.query(SignIn).count() == (1 if status == 302 else 0)
    assert ("Set-Cookie" in answer.response.headers) is (status == 302)


def test_another_sites_images_use_up_nobodys_sign_ins(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    browser = Browser(make_app(RATE_LIMITS="login 2/minute per address"), sipgate)
    for _ in range(5):
        browser.get("/login", status=403, headers={"Sec-Fetch-Mode": "no-cors"})
    browser.get("/login", status=302, headers={"Sec-Fetch-Mode": "navigate"})


def test_asking_for_the_callbacks_headers_signs_nobody_in(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    path = stranger.callback_path(stranger.begin_sign_in())
    answer = stranger.client.head(path, base_url=stranger.base_url)
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "HEAD" not in answer.headers["Allow"]
    assert sipgate.world.calls.get("token_code", 0) == 0
    stranger.get(path, status=302)  # the code is still good
    stranger.get("/messages")


# --- Files ---------------------------------------------------------------------------------------


def others_may_read(folder: Path) -> list[str]:
    """Files that somebody else of this machine could read, if the folder were open to them."""
    return sorted(one.name for one in folder.rglob("*") if one.stat().st_mode & 0o077)


@pytest.mark.sqlite
def test_no_file_beside_the_database_is_anybody_elses_to_read(
    make_app: MakeApp, sipgate: Simulator, tmp_path: Path
) -> None:
    for name in ("app.sqlite.queue", "app.sqlite.queue-wal", "app.sqlite.queue-shm"):
        (tmp_path / name).touch(0o644)  # as earlier versions left them
    (tmp_path / "app.sqlite").chmod(0o600)
    anna = Browser(make_app(), sipgate)
    anna.sign_in()
    planned(anna)
    assert (tmp_path / "app.sqlite.queue").exists()
    assert others_may_read(tmp_path) == []


@pytest.mark.sqlite
@pytest.mark.slow
def test_a_server_writes_no_file_that_others_may_read(simulator: Simulator, tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "state"
    values = values_for(
        simulator,
        folder / "app.sqlite",
        PORT=str(port),
        METRICS_TOKEN="a-token-for-tests-only-0123456789",
    )
    values["PUBLIC_URL"] = f"http://localhost:{port}"
    with running_server(values, tmp_path / "log"):
        found = {one.name for one in folder.iterdir()}
        assert {"app.sqlite", "app.sqlite.queue", "app.sqlite.metrics"} <= found
        assert others_may_read(folder) == []


# --- Ending sign-ins -----------------------------------------------------------------------------


def leads_to_sign_in(browser: Browser) -> bool:
    page = browser.get("/messages", status=None)
    return page.status == 302 and page.location.startswith("/login")


def test_all_of_ones_own_sign_ins_end_at_once(
    new_browser: NewBrowser, anna: Browser, sipgate: Simulator
) -> None:
    second, karl = new_browser(), new_browser()
    second.sign_in("anna")
    karl.sign_in("karl")
    page = anna.press(anna.get("/sessions"), "/logout/everywhere")
    assert "You are signed out on all your devices." in anna.follow(page).text
    assert leads_to_sign_in(anna)
    assert leads_to_sign_in(second)
    karl.get("/messages")
    assert sipgate.world.calls["logout"] == 2
    living = [one for one in sipgate.world.grants.refresh_tokens.values() if one.grant.is_alive]
    assert [one.grant.person.key for one in living] == ["karl"]


def test_what_waits_is_paused_when_all_sign_ins_end(
    app: Flask, new_browser: NewBrowser, anna: Browser, sipgate: Simulator
) -> None:
    page = planned(anna)
    text = anna.get("/sessions").text
    assert "unsent messages are paused" in text
    anna.press(anna.get("/sessions"), "/logout/everywhere")
    again = new_browser()
    again.sign_in("anna")
    assert again.twin(page)["outcome"] == "paused"
    assert sipgate.world.arrivals == []


def test_ending_all_sign_ins_is_a_form_and_not_a_link(anna: Browser) -> None:
    anna.get("/logout/everywhere", status=405)
    anna.post("/logout/everywhere", {}, status=400)
    anna.get("/messages")


@pytest.mark.parametrize("path", ["/logout", "/logout/everywhere"])
def test_the_browser_forgets_what_it_kept_when_a_sign_in_ends_and_only_then(
    anna: Browser, path: str
) -> None:
    page = anna.get("/sessions")
    assert "Clear-Site-Data" not in page.response.headers
    ended = anna.press(page, path)
    # Not "cookies": the language was chosen for this browser, and a sub-domain's are not ours.
    assert ended.response.headers["Clear-Site-Data"] == '"storage"'
    assert "Clear-Site-Data" not in anna.follow(ended).response.headers


# --- What was refused stands in the log ----------------------------------------------------------


def refusals(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [one for one in caplog.records if one.name == "webapp.refused"]


def the_refusal(caplog: pytest.LogCaptureFixture) -> str:
    [found] = refusals(caplog)
    assert found.levelno == logging.WARNING
    assert vars(found)["address"] == "203.0.113.9"
    return found.getMessage()


FROM = {"environ_overrides": {"REMOTE_ADDR": "203.0.113.9"}}


@pytest.mark.parametrize(
    "path", ["/messages/{}", "/messages/{}/edit", "/messages/{}/again", "/numbers/{}"]
)
def test_somebody_elses_id_leaves_a_line_with_the_address(
    new_browser: NewBrowser, anna: Browser, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    id_ = planned(anna).path.rpartition("/")[2]
    ben = new_browser()
    ben.sign_in("ben")
    caplog.clear()
    ben.get(path.format(id_), status=404, query_string={"q": "confidential"}, **FROM)
    line = the_refusal(caplog)
    assert "404" in line
    assert path.format(id_) in line
    assert "member 2" in line
    assert "confidential" not in caplog.text


def test_a_callback_that_is_not_ours_leaves_a_line_with_the_address(
    anna: Browser, stranger: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    path = anna.callback_path(anna.begin_sign_in())
    caplog.clear()
    stranger.get(path, status=400, **FROM)
    line = the_refusal(caplog)
    assert "/auth/callback" in line
    assert "not_ours" in line
    for name, value in parse_qsl(urlsplit(path).query):
        assert value not in caplog.text, name


def test_a_form_without_its_token_leaves_a_line_with_the_address(
    anna: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    form = anna.compose(recipient=ONE, message="In confidence")
    caplog.clear()
    anna.post("/messages", {**form, "csrf_token": "stolen-token"}, status=400, **FROM)
    line = the_refusal(caplog)
    assert "/messages" in line
    assert "CSRF" in line
    for secret in ("confidence", ONE, "stolen-token", form["submission_id"]):
        assert secret not in caplog.text


def test_a_form_of_another_site_leaves_a_line_with_the_address(
    anna: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    form = {**anna.compose(recipient=ONE, message="Hello")}
    caplog.clear()
    headers = {"Sec-Fetch-Site": "cross-site"}
    anna.post("/messages", form, status=403, headers=headers, **FROM)
    assert "403" in the_refusal(caplog)


def test_the_address_in_the_log_is_the_one_a_trusted_proxy_gives(
    make_app: MakeApp, sipgate: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    browser = Browser(make_app(TRUSTED_PROXY_HOPS="1"), sipgate)
    headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9"}
    browser.get("/auth/callback?state=x&code=y", status=400, headers=headers)
    assert "not_ours" in the_refusal(caplog)


def test_a_page_that_never_was_fills_no_log(
    anna: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    anna.get("/wp-login.php", status=404)
    anna.get("/messages")
    assert refusals(caplog) == []


# --- Keys ----------------------------------------------------------------------------------------

OLD_KEY = "a-key-for-tests-only-0123456789-abcdefghij"  # conftest's
NEW_KEY = "the-next-key-for-tests-9876543210-zyxwvuts"


def as_before(app: Flask) -> Flask:
    """The app signs as versions did that used SECRET_KEY itself for everything."""
    app.config.update(SECRET_KEY=OLD_KEY, SECRET_KEY_FALLBACKS=[], WTF_CSRF_SECRET_KEY=OLD_KEY)
    return app


def signed_as_before(app: Flask, signed: str) -> str:
    with app.app_context():
        ours = idempotency._serializer()
        return str(type(ours)(OLD_KEY, salt=ours.salt).dumps(ours.loads(signed)))


@pytest.mark.parametrize("secret_key", [OLD_KEY, f"{NEW_KEY},{OLD_KEY}"], ids=["same", "rotated"])
def test_a_form_of_before_the_upgrade_is_taken_after_it(
    make_app: MakeApp, sipgate: Simulator, secret_key: str
) -> None:
    anna = Browser(as_before(make_app()), sipgate)
    anna.sign_in()
    form = anna.compose(recipient=ONE, message="Typed before")
    form["submission_id"] = signed_as_before(anna.app, form["submission_id"])
    after = moved(anna, make_app(SECRET_KEY=secret_key))
    page = after.post("/messages", form, status=303)
    assert after.twin(page)["outcome"] == "accepted"
    assert after.post("/messages", form, status=303).location == page.location
    assert len(sipgate.world.arrivals) == 1


def test_a_cookie_of_before_the_upgrade_is_worth_nothing_after_a_week(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    anna = Browser(as_before(make_app()), sipgate)
    anna.sign_in()
    after = moved(anna, make_app())
    for hours in range(11, 7 * 24, 11):
        with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
            after.get("/messages")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, minutes=1), tick=True):
        assert leads_to_sign_in(after)


def test_what_is_signed_now_is_nothing_that_the_bare_key_signed(app: Flask, anna: Browser) -> None:
    form = anna.compose()
    cookie = session_cookie(anna)
    bare = make_safe(OLD_KEY, "cookie-session")
    assert opened(anna.app, cookie)
    with pytest.raises(BadSignature):
        bare.loads(cookie)
    for name, salt in (("csrf_token", "wtf-csrf-token"), ("submission_id", "submission")):
        with pytest.raises(BadSignature):
            URLSafeTimedSerializer(OLD_KEY, salt=salt).loads(form[name])
        with pytest.raises(BadSignature):
            URLSafeSerializer(OLD_KEY, salt=salt).loads(form[name])


def make_safe(key: str, salt: str) -> URLSafeTimedSerializer:
    """Flask's own way to sign a cookie."""
    interface = SecureCookieSessionInterface()
    return URLSafeTimedSerializer(
        key,
        salt=salt,
        serializer=interface.serializer,
        signer_kwargs={"key_derivation": "hmac", "digest_method": interface.digest_method},
    )


def test_each_purpose_has_a_key_of_its_own_from_each_secret() -> None:
    secrets = (NEW_KEY, OLD_KEY)
    found = [one for purpose in Purpose for one in keys.derived(secrets, purpose)]
    assert len(found) == len(set(found)) == len(Purpose) * 2
    assert not set(found) & set(secrets)
    assert all(len(one) >= 43 for one in found), "256 bits, as text"
    assert keys.derived(secrets, Purpose.QUEUE)[0] == keys.derived((NEW_KEY,), Purpose.QUEUE)[0]


def test_a_wake_up_of_before_the_upgrade_still_wakes(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app()
    anna = Browser(app, sipgate)
    anna.sign_in()
    send_to_many(anna, 2)
    told = queue.serializer.deserialize(queue.storage.dequeue())
    queue.storage.flush_queue()
    before = SignedSerializer(secret=OLD_KEY, salt="queue")
    queue.storage.enqueue(before.serialize(told))
    rotated = make_app(SECRET_KEY=f"{NEW_KEY},{OLD_KEY}")
    work(rotated, sweep=False)
    assert len(sipgate.world.arrivals) == 2


@pytest.mark.parametrize(("length", "is_told"), [(31, True), (32, False), (0, False)])
def test_a_short_token_for_the_figures_is_warned_about(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, length: int, is_told: bool
) -> None:
    token = "a1b2c3d4" * 4
    make_app(METRICS_TOKEN=token[:length])
    told = [one for one in caplog.records if "METRICS_TOKEN" in one.getMessage()]
    assert [one.levelname for one in told] == (["WARNING"] if is_told else [])
    if is_told:
        assert "32 characters" in told[0].getMessage()
        assert token[:length] not in caplog.text
