"""Own sender numbers: each step, each refusal, and that one form costs one SMS at most."""

import logging
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from tests.support.raw_servers import another_tab, in_parallel
from tests.support.rows import stored_rows
from tests.support.worker import impatient
from webapp.database import db, installation, transaction
from webapp.database.models import BrowserSession, Event
from webapp.jobs import retention
from webapp.simulator.faults import Fault
from webapp.simulator.people import CallerId
from webapp.simulator.server import Simulator

NEW = "+491713920055"
TYPED = "0171 3920055"
SHOWN = "+49 171 3920055"
OWN = "+491713920090"
OWN_ID = 123456
PRICE = 700
USUAL = {"sessions:sms:write", "sms:read", "users:read"}
FURTHER = {"sms:callerid:read", "sms:callerid:write"}
LOST = Fault(mode="close", deliver=True)
NEVER_ARRIVED = Fault(mode="close")


@pytest.fixture
def anna(app: Flask, sipgate: Simulator) -> Browser:
    """Anna's browser, with the permission to change senders."""
    return allowed(Browser(app, sipgate), "anna")


def allowed(browser: Browser, person: str) -> Browser:
    """Signed in with the further permissions."""
    query = {"next": "/senders", "purpose": "senders"}
    address = browser.get("/login", status=302, query_string=query).location
    answer = browser.get(browser.callback_path(address, person), status=302)
    assert answer.location == "/senders"
    return browser


def widen(browser: Browser, person: str = "anna", decision: str = "allow") -> Page:
    return browser.get(
        browser.callback_path(asked_at_sipgate(browser), person, decision), status=None
    )


def asked_at_sipgate(browser: Browser) -> str:
    """Where the link on the page of senders leads."""
    link = browser.get("/senders").soup.select_one('main a[href^="/login"]')
    assert link is not None, "no link to a sign-in"
    return browser.get(str(link["href"]), status=302).location


def scopes_in(address: str) -> set[str]:
    return set(parse_qs(urlsplit(address).query)["scope"][0].split())


def balance(sipgate: Simulator) -> int:
    return sipgate.world.accounts["1234567"].balance


def senders_of(sipgate: Simulator, sms_id: str = "s1", person: str = "anna") -> list[CallerId]:
    extension = sipgate.world.people[person].extension(sms_id)
    assert extension is not None
    return extension.caller_ids


def add(browser: Browser, number: str = TYPED, *, status: int = 303) -> Page:
    page = browser.get("/senders?sms_id=s1")
    data = {**add_fields(page), "number": number}
    return browser.post("/senders", data, status=status)


def add_fields(page: Page) -> dict[str, str]:
    """The fields of the form that adds a number; the one that chooses has the same address."""
    names = ("csrf_token", "sms_id", "submission_id")
    found = {n: page.soup.select_one(f'main form[method=post] [name="{n}"]') for n in names}
    return {name: str(tag["value"]) for name, tag in found.items() if tag is not None}


def typed_number(page: Page) -> str:
    field = page.soup.select_one("main [name=number]")
    assert field is not None
    return str(field["value"])


def code_on_the_phone(sipgate: Simulator) -> str:
    return sipgate.phones[NEW][-1].text.split()[-1]


def landed(browser: Browser, page: Page) -> Page:
    """Follow every redirect."""
    while page.status in (302, 303):
        page = browser.follow(page)
    return page


def added(browser: Browser) -> Page:
    """A number was added; the page that asks for its code."""
    page = landed(browser, add(browser))
    assert page.h1 == "Enter the code"
    return page


def proved(browser: Browser) -> Page:
    page = added(browser)
    code = code_on_the_phone(browser.sipgate)
    return landed(browser, browser.press(page, page.path, code=code))


def card(page: Page, words: str) -> str:
    """What the list says beside one sender."""
    for one in page.soup.select("main .cards li"):
        if words in one.get_text():
            return " ".join(one.get_text(" ").split())
    raise AssertionError(f"{words} is not in the list: {page.text}")


def confirmed(browser: Browser, page: Page, action: str, *, status: int = 303) -> Page:
    """Press a button of the list and answer its question with yes."""
    question = browser.press(page, action, status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    data = {**question.fields(), "confirm": str(button["value"])}
    return browser.post(action, data, status=status)


def events(app: Flask) -> list[tuple[str, str]]:
    with app.app_context():
        found = db.session.execute(sa.select(Event.kind, Event.note).order_by(Event.id))
        return [(kind, words) for kind, words in found if kind.startswith("sender")]


# --- The whole way -------------------------------------------------------------------------------


def test_a_number_is_added_proved_chosen_and_removed(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    before = balance(sipgate)
    page = proved(anna)
    assert balance(sipgate) == before - PRICE
    assert "The number is confirmed" in page.text
    assert card(page, SHOWN).startswith(f"{SHOWN} Confirmed")
    assert "Default" in card(page, "sipgate")
    new = senders_of(sipgate)[1]

    page = landed(anna, confirmed(anna, page, f"/senders/s1/{new.id}/default"))
    assert "Default" in card(page, SHOWN)
    assert "Default" not in card(page, "sipgate")
    anna.send(sms_id="s1")
    assert sipgate.phones["+491713920050"][0].sender == NEW

    page = landed(anna, confirmed(anna, page, f"/senders/s1/{new.id}/remove"))
    assert "removed" in page.text
    assert "Default" in card(page, "sipgate")
    assert [one.phonenumber for one in senders_of(sipgate)] == ["sipgate"]
    assert events(app) == [
        ("sender_asked_for", "s1"),
        ("sender_proved", f"s1/{new.id} accepted"),
        ("sender_chosen", f"s1/{new.id} accepted"),
        ("sender_removed", f"s1/{new.id} accepted"),
    ]


def test_the_form_for_messages_shows_the_new_default_at_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    colleague = Browser(app, sipgate)
    colleague.sign_in("ben")
    colleague.get("/")
    page = anna.get("/senders?sms_id=s0")
    assert "+49 171 3920090" in anna.get("/").text
    confirmed(anna, page, "/senders/s0/0/default")
    assert "+49 171 3920090" not in anna.get("/").text
    asked = sipgate.world.calls["extensions"]
    colleague.get("/")
    assert sipgate.world.calls["extensions"] == asked + 1, "colleagues' pages are as new"


def test_a_change_shows_the_old_extensions_while_sipgate_is_away(
    anna: Browser, sipgate: Simulator
) -> None:
    confirmed(anna, anna.get("/senders?sms_id=s0"), "/senders/s0/0/default")
    sipgate.fail_next("extensions", Fault(503))
    page = anna.get("/extensions")
    assert "may be out of date" in page.text
    assert "SMS of the practice" in page.text


def test_the_default_changes_by_a_click_on_the_question_only(
    anna: Browser, sipgate: Simulator
) -> None:
    page = anna.get("/senders?sms_id=s0")
    question = anna.press(page, "/senders/s0/0/default", status=409)
    assert "no matter who sends them" in question.text
    assert "messages that are already planned" in question.text
    assert "not be able to reply" in question.text
    anna.press(page, "/senders/s0/0/default", status=409, confirm="default-0-not-7")
    assert sipgate.world.calls["default_caller_id"] == 0
    anna.send(sms_id="s0")
    assert sipgate.world.calls["default_caller_id"] == 0


def test_a_question_that_a_colleague_has_overtaken_is_asked_anew(
    anna: Browser, sipgate: Simulator
) -> None:
    page = anna.get("/senders?sms_id=s0")
    question = anna.press(page, "/senders/s0/0/default", status=409)
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    sipgate.world.set_caller_id("anna", "s0", "+491713920077")
    data = {**question.fields(), "confirm": str(button["value"])}
    again = anna.post("/senders/s0/0/default", data, status=409)
    assert "default-0" in str(again.form())
    assert sipgate.world.calls["default_caller_id"] == 0


def test_removing_the_default_says_what_people_will_see(anna: Browser, sipgate: Simulator) -> None:
    page = anna.get("/senders?sms_id=s0")
    question = anna.press(page, f"/senders/s0/{OWN_ID}/remove", status=409)
    assert "recipients will see “sipgate” instead" in question.text
    confirmed(anna, page, f"/senders/s0/{OWN_ID}/remove")
    assert "sipgate" in anna.get("/").text
    assert "cannot reply" in anna.get("/").text


def test_the_page_warns_of_the_shared_default_and_of_the_charge(anna: Browser) -> None:
    text = anna.get("/senders").text
    assert "The default sender applies to everyone" in text
    assert "sipgate charges for this SMS" in text
    assert "Own sender numbers" in anna.get("/extensions").text
    assert "Own sender numbers" in anna.get("/help").text


def test_one_chooses_the_extension_if_there_are_several(anna: Browser, sipgate: Simulator) -> None:
    assert "SMS of the practice" in anna.get("/senders").text
    assert card(anna.get("/senders?sms_id=s0"), "3920090").startswith("+49 171 3920090 Default")
    assert "3920090" not in anna.get("/senders?sms_id=s1").text
    ben = Browser(anna.app, sipgate)
    ben.sign_in("ben")
    assert not ben.get("/senders").soup.select("main select")


def test_who_has_no_extension_reads_how_to_get_one(app: Flask, sipgate: Simulator) -> None:
    clara = Browser(app, sipgate)
    clara.sign_in("clara")
    assert "You have no Web SMS extension yet" in clara.get("/senders").text


# --- One form, one SMS ---------------------------------------------------------------------------


def test_a_form_that_arrives_twice_costs_one_sms(anna: Browser, sipgate: Simulator) -> None:
    before = balance(sipgate)
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    first = anna.post("/senders", data, status=303)
    second = anna.post("/senders", data, status=303)
    assert first.location == second.location
    assert balance(sipgate) == before - PRICE
    assert sipgate.world.calls["add_caller_id"] == 1


def test_twelve_equal_forms_at_once_cost_one_sms(anna: Browser, sipgate: Simulator) -> None:
    before = balance(sipgate)
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    tabs = [another_tab(anna) for _ in range(12)]
    pages = in_parallel(*(lambda tab=tab: tab.post("/senders", data) for tab in tabs))
    assert {page.status for page in pages} == {303}
    assert balance(sipgate) == before - PRICE
    assert sipgate.world.calls["add_caller_id"] == 1


def test_a_form_whose_request_is_under_way_is_told_neither_yes_nor_no(
    anna: Browser, sipgate: Simulator
) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    sipgate.fail_next("add_caller_id", Fault(delay_s=1.5))
    first, second = another_tab(anna), another_tab(anna)

    def meanwhile() -> Page:
        while not sipgate.world.calls["add_caller_id"]:
            time.sleep(0.02)
        return second.post("/senders", data, status=303)

    in_parallel(lambda: first.post("/senders", data, status=303), meanwhile)
    assert "it may have sent the code" in second.get("/senders").text
    assert "sipgate has accepted the number" in first.get("/senders").text
    assert sipgate.world.calls["add_caller_id"] == 1


def test_a_lost_answer_is_told_as_such_and_asked_for_once(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    sipgate.fail_next("add_caller_id", LOST)
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    for _again in range(2):
        page = landed(anna, anna.post("/senders", data, status=303))
        assert "it may have sent the code" in page.text
        assert page.h1 == "Enter the code"  # sipgate lists the number
    assert sipgate.world.calls["add_caller_id"] == 1
    assert events(app) == [("sender_asked_for", "s1")]


def test_without_a_clear_answer_nobody_is_told_yes_or_no(anna: Browser, sipgate: Simulator) -> None:
    for fault in (NEVER_ARRIVED, Fault(500), Fault(mode="redirect"), Fault(200, body=b"<p>")):
        calls = sipgate.world.calls["add_caller_id"]
        sipgate.fail_next("add_caller_id", fault)
        page = landed(anna, add(anna))
        assert "We cannot tell whether sipgate accepted the number" in page.text
        assert page.h1 == "Own sender numbers"  # which does not list it
        assert sipgate.world.calls["add_caller_id"] == calls + 1
    assert NEW not in sipgate.phones


def test_no_answer_in_time_is_a_lost_answer(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    impatient(app)
    sipgate.fail_next("add_caller_id", Fault(mode="hang"))
    assert "it may have sent the code" in landed(anna, add(anna)).text


def test_a_number_in_the_list_is_not_sent_another_code(anna: Browser, sipgate: Simulator) -> None:
    added(anna)
    page = add(anna, "0049 171 3920055", status=422)
    assert "in the list already" in page.error_at("number")
    senders_of(sipgate)[1].phonenumber = NEW.removeprefix("+")  # sipgate spells them in three ways
    add(anna, status=422)
    assert sipgate.world.calls["add_caller_id"] == 1


def test_a_used_form_with_another_number_asks_for_nothing(
    anna: Browser, sipgate: Simulator
) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    anna.post("/senders", data, status=303)
    page = anna.post("/senders", {**data, "number": "0171 3920056"}, status=409)
    assert "already used for another number" in page.text
    assert sipgate.world.calls["add_caller_id"] == 1
    fresh = {**add_fields(page), "number": "0171 3920056"}
    anna.post("/senders", fresh, status=303)
    assert sipgate.world.calls["add_caller_id"] == 2


def test_a_form_that_is_not_ours_asks_for_nothing(anna: Browser, sipgate: Simulator) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    for form_id in ("", "made-up"):
        page = anna.post("/senders", {**data, "submission_id": form_id}, status=422)
        assert "could not be recognised" in page.text
    assert sipgate.world.calls["add_caller_id"] == 0


def test_a_colleagues_form_asks_for_nothing(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    ben = allowed(Browser(app, sipgate), "ben")
    foreign = add_fields(ben.get("/senders"))["submission_id"]
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    anna.post("/senders", {**data, "submission_id": foreign}, status=422)
    assert sipgate.world.calls["add_caller_id"] == 0


def test_nothing_is_asked_for_while_sending_is_on_hold(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    before = dict(sipgate.world.calls)
    with app.app_context():
        installation.hold()
    assert "on hold" in anna.post("/senders", data, status=503).text
    assert dict(sipgate.world.calls) == before
    assert sipgate.world.calls["add_caller_id"] == 0


def test_f71_a_code_is_not_asked_for_twice_after_forget_nor_by_an_old_form(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    old = {**add_fields(anna.get("/senders?sms_id=s1")), "number": "0171 3920056"}
    anna.post("/senders", data, status=303)
    app.test_cli_runner().invoke(args=["forget", "--number", TYPED])
    anna.post("/senders", data, status=303)
    with time_machine.travel(datetime.now(UTC) + timedelta(days=7, hours=1), tick=True):
        at = datetime.now(UTC)
        with app.app_context(), transaction() as rows:
            values = {"created_at": at, "last_seen_at": at, "checked_at": at}
            rows.execute(sa.update(BrowserSession).values(values))
        assert "open for too long" in anna.post("/senders", old, status=409).text
    assert sipgate.world.calls["add_caller_id"] == 1


def test_it_is_asked_no_faster_than_messages_are_sent(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(RATE_LIMITS="send 1/minute per member")
    anna = allowed(Browser(app, sipgate), "anna")
    add(anna)
    add(anna, "0171 3920056", status=429)
    assert sipgate.world.calls["add_caller_id"] == 1


def test_forms_are_forgotten_long_after_they_can_come_no_more(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    add(anna)
    for days, left in ((0, 1), (29, 1), (31, 0)):
        with (
            app.app_context(),
            time_machine.travel(datetime.now(UTC) + timedelta(days=days), tick=True),
        ):
            retention.prune()
        assert len(stored_rows(app)["submissions"]) == left


def test_a_form_for_one_thing_is_not_taken_for_another(anna: Browser, sipgate: Simulator) -> None:
    """The ids of both kinds of forms are of one kind, and a text may be as empty as a code form."""
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    message = anna.compose(recipient=NEW, message="Hello")
    anna.post("/senders", data, status=303)
    for text in ("Hello", ""):
        wrong = {**message, "sms_id": "s1", "recipient": TYPED, "message": text}
        anna.post("/messages", {**wrong, "submission_id": data["submission_id"]}, status=409)
    anna.post("/messages", message, status=303)
    for number in (TYPED, NEW):
        wrong = {**data, "number": number, "submission_id": message["submission_id"]}
        anna.post("/senders", wrong, status=409)
    assert sipgate.world.calls["add_caller_id"] == 1
    assert sipgate.world.calls["send"] == 1


# --- Wrong input, and refusals -------------------------------------------------------------------


NO_MOBILE_NUMBERS = {
    "": "Enter a mobile number",
    "hello": "letters",
    "030 23125456": "accepts no other kind as a sender",
    "0800 3301000": "accepts no other kind as a sender",
    "0900 1234567": "premium rate",
    "0171 3920055, 0171 3920056": "its own line",
}


def test_only_a_mobile_number_is_taken(anna: Browser, sipgate: Simulator) -> None:
    for number, words in NO_MOBILE_NUMBERS.items():
        page = add(anna, number, status=422)
        assert words in page.error_at("number")
        assert typed_number(page) == number
    assert sipgate.world.calls["add_caller_id"] == 0


REFUSALS = [
    (400, "sipgate did not accept this"),
    (402, "balance is too low"),
    (403, "sipgate does not allow this"),
    (404, "does not know this sender"),
    (409, "sipgate refused this"),
    (429, "slow down"),
]


def test_a_refusal_is_told_and_the_number_is_kept(anna: Browser, sipgate: Simulator) -> None:
    for count, (status, words) in enumerate(REFUSALS, 1):
        sipgate.fail_next("add_caller_id", Fault(status, body=b'{"message": "sipgate says so"}'))
        page = add(anna, status=422)
        assert words in page.text
        assert "sipgate says so" in page.text
        assert re.search(r"Nothing was (sent|changed)", page.text)
        assert typed_number(page) == TYPED
        assert sipgate.world.calls["add_caller_id"] == count
    anna.post("/senders", {**add_fields(page), "number": TYPED}, status=303)
    assert NEW in sipgate.phones, "the form that came back is a new wish"


def test_an_empty_balance_is_told(anna: Browser, sipgate: Simulator) -> None:
    sipgate.world.set_balance("1234567", 0)
    assert "Top up at sipgate" in add(anna, status=422).text
    assert NEW not in sipgate.phones


@pytest.mark.parametrize(("status", "words"), [REFUSALS[2], REFUSALS[5]])
@pytest.mark.parametrize("action", ["default", "remove"])
def test_a_change_that_is_refused_is_told(
    anna: Browser, sipgate: Simulator, action: str, status: int, words: str
) -> None:
    caller_id = {"default": 0, "remove": OWN_ID}[action]
    endpoint = {"default": "default_caller_id", "remove": "delete_caller_id"}[action]
    sipgate.fail_next(endpoint, Fault(status))
    page = anna.get("/senders?sms_id=s0")
    path = f"/senders/s0/{caller_id}/{action}"
    assert words in confirmed(anna, page, path, status=422).text
    assert len(senders_of(sipgate, "s0")) == 2
    assert senders_of(sipgate, "s0")[1].is_default


@pytest.mark.parametrize("action", ["default", "remove"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [(LOST, "Done. Recipients see|is removed"), (NEVER_ARRIVED, "We cannot tell")],
    ids=["worked all the same", "not done"],
)
def test_a_change_without_an_answer_is_looked_up(
    anna: Browser, sipgate: Simulator, action: str, fault: Fault, words: str
) -> None:
    caller_id = {"default": 0, "remove": OWN_ID}[action]
    endpoint = {"default": "default_caller_id", "remove": "delete_caller_id"}[action]
    sipgate.fail_next(endpoint, fault)
    page = anna.get("/senders?sms_id=s0")
    page = landed(anna, confirmed(anna, page, f"/senders/s0/{caller_id}/{action}"))
    assert re.search(words, page.text)
    assert sipgate.world.calls[endpoint] == 1


def test_a_wrong_code_comes_back_to_its_field(anna: Browser, sipgate: Simulator) -> None:
    page = added(anna)
    for typed in ("WRONG1", "", "x" * 33):
        page = anna.press(page, page.path, code=typed, status=422)
        assert re.search(
            "did not accept this code|Enter the code from the SMS|not the code from",
            page.error_at("code"),
        )
    assert not senders_of(sipgate)[1].verified
    code = code_on_the_phone(sipgate)
    spaced = f" {code[:3]} {code[3:].lower()} "
    assert "is confirmed" in landed(anna, anna.press(page, page.path, code=spaced)).text


def test_a_code_that_arrives_twice_is_no_error(anna: Browser, sipgate: Simulator) -> None:
    page = added(anna)
    data = {**page.fields(), "code": code_on_the_phone(sipgate)}
    for _again in range(2):
        shown = landed(anna, anna.post(page.path, data, status=303))
        assert "Not confirmed yet" not in shown.text
    assert sipgate.world.calls["verify_caller_id"] == 1


def test_other_refusals_of_a_code_are_told_above_the_list(
    anna: Browser, sipgate: Simulator
) -> None:
    page = added(anna)
    for status in (403, 429):
        sipgate.fail_next("verify_caller_id", Fault(status))
        again = anna.press(page, page.path, code="ABC123", status=422)
        assert again.h1 == "Own sender numbers"
        assert "Nothing was" in again.text


def test_a_code_whose_answer_is_lost_is_looked_up(anna: Browser, sipgate: Simulator) -> None:
    page = added(anna)
    code = code_on_the_phone(sipgate)
    sipgate.fail_next("verify_caller_id", NEVER_ARRIVED)
    assert "We cannot tell" in landed(anna, anna.press(page, page.path, code=code)).text
    sipgate.fail_next("verify_caller_id", LOST)
    assert "is confirmed" in landed(anna, anna.press(page, page.path, code=code)).text


def test_one_refresh_after_a_401_and_never_a_third_request(
    anna: Browser, sipgate: Simulator
) -> None:
    before = balance(sipgate)
    sipgate.fail_next("add_caller_id", Fault(401))
    added(anna)
    assert sipgate.world.calls["add_caller_id"] == 2
    assert balance(sipgate) == before - PRICE
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": "0171 3920056"}
    sipgate.fail_next("add_caller_id", Fault(401), times=2)
    page = anna.post("/senders", data, status=401)
    assert "Sign in again" in page.text
    assert sipgate.world.calls["add_caller_id"] == 4
    assert balance(sipgate) == before - PRICE


def test_sipgate_away_is_told_and_nothing_is_asked_for(anna: Browser, sipgate: Simulator) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s1")), "number": TYPED}
    sipgate.world.fail_always("caller_ids", Fault(503))
    page = anna.get("/senders?sms_id=s1")
    assert "could not be fetched" in page.text
    assert "Try again" in page.text
    assert "Nothing was changed" in anna.post("/senders", data, status=503).text
    page = landed(anna, anna.get("/senders/s1/0/verification", status=303))
    assert "could not be fetched" in page.text
    assert sipgate.world.calls["add_caller_id"] == 0


# --- Permissions ---------------------------------------------------------------------------------


def test_the_further_permissions_are_asked_for_only_then_and_one_comes_back(
    app: Flask, stranger: Browser, sipgate: Simulator
) -> None:
    stranger.sign_in("anna")
    page = stranger.get("/senders?sms_id=s1")
    assert "This needs a further permission" in page.text
    assert card(page, "sipgate")  # the usual ones are enough to look
    assert not page.soup.select("main form[method=post]")
    address = asked_at_sipgate(stranger)
    assert scopes_in(address) == USUAL | FURTHER
    answer = stranger.get(stranger.callback_path(address), status=302)
    page = stranger.follow(answer)
    assert page.h1 == "Own sender numbers"
    assert "This needs a further permission" not in page.text
    assert scopes_in(stranger.begin_sign_in()) == USUAL
    stranger.sign_in("anna")
    assert "This needs a further permission" in stranger.get("/senders").text


def test_the_extension_is_still_chosen_on_the_way_back(
    stranger: Browser, sipgate: Simulator
) -> None:
    stranger.sign_in("anna")
    link = stranger.get("/senders?sms_id=s1").soup.select_one('main a[href^="/login"]')
    assert link is not None
    address = stranger.get(str(link["href"]), status=302).location
    answer = stranger.get(stranger.callback_path(address), status=302)
    assert answer.location == "/senders?sms_id=s1"


def test_no_address_chooses_the_permissions_freely(stranger: Browser) -> None:
    for purpose in ("all", "sms:write", "senders all", "", "SENDERS"):
        query = {"next": "/senders", "purpose": purpose}
        address = stranger.get("/login", status=302, query_string=query).location
        assert scopes_in(address) == USUAL


def test_who_declines_is_signed_in_as_before_and_goes_on_to_the_list(
    stranger: Browser, sipgate: Simulator
) -> None:
    stranger.sign_in("anna")
    page = widen(stranger, decision="deny")
    assert page.status == 400
    assert "You are signed in as before" in page.text
    link = page.soup.select_one("main .actions a")
    assert link is not None
    assert "This needs a further permission" in stranger.get(str(link["href"])).text


def test_without_the_permission_nothing_can_be_changed_by_hand_either(
    stranger: Browser, sipgate: Simulator
) -> None:
    stranger.sign_in("anna")
    submission = stranger.get("/").fields()["submission_id"]
    data = {
        "csrf_token": stranger.get("/").fields()["csrf_token"],
        "sms_id": "s1",
        "number": TYPED,
        "submission_id": submission,
    }
    page = stranger.post("/senders", data, status=422)
    assert "sipgate does not allow this" in page.text
    assert "This needs a further permission" in page.text
    assert NEW not in sipgate.phones


def test_where_the_server_does_not_say_what_it_granted_one_may_try(
    stranger: Browser, sipgate: Simulator, app: Flask
) -> None:
    stranger.sign_in("anna")
    with app.app_context():
        db.session.execute(sa.text("UPDATE token_sets SET scope = ''"))
        db.session.commit()
    page = stranger.get("/senders?sms_id=s1")
    assert "Add a mobile number" in page.text
    assert "This needs a further permission" in add(stranger, status=422).text


def test_a_list_that_is_forbidden_leads_to_the_permission(
    stranger: Browser, sipgate: Simulator
) -> None:
    stranger.sign_in("anna")
    sipgate.fail_next("caller_ids", Fault(403))
    page = stranger.get("/senders")
    assert "sms:callerid:read" in page.text
    assert "to list the sender numbers of your extensions" in page.text


def test_the_operators_page_names_them(anna: Browser) -> None:
    page = anna.get("/operator")
    assert "sms:callerid:write" in page.text


# --- Whose --------------------------------------------------------------------------------------


PATHS = ("verification", "default", "remove")


@pytest.mark.parametrize(("person", "sms_id"), [("ben", "s0"), ("karl", "s1"), ("anna", "s2")])
def test_somebody_elses_extension_is_as_missing_as_none(
    app: Flask, sipgate: Simulator, person: str, sms_id: str
) -> None:
    someone = allowed(Browser(app, sipgate), person)
    data = {**add_fields(someone.get("/senders")), "number": TYPED}
    calls = sipgate.world.calls["caller_ids"]
    someone.get(f"/senders?sms_id={sms_id}", status=404)
    someone.post("/senders", {**data, "sms_id": sms_id}, status=404)
    someone.get(f"/senders/{sms_id}/verification", status=404)
    someone.get(f"/senders/{sms_id}/{OWN_ID}/verification", status=404)
    for action in PATHS:
        someone.post(f"/senders/{sms_id}/{OWN_ID}/{action}", data, status=404)
    assert sipgate.world.calls["caller_ids"] == calls, "sipgate was asked about it"


def test_another_account_with_the_same_ids_is_another_extension(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    karl = allowed(Browser(app, sipgate), "karl")  # w0 and s0, too
    assert "3920090" not in karl.get("/senders?sms_id=s0").text
    karl.post(f"/senders/s0/{OWN_ID}/remove", add_fields(karl.get("/senders")), status=404)
    assert len(senders_of(sipgate, "s0")) == 2


def test_the_word_sipgate_and_unknown_ids_cannot_be_removed(
    anna: Browser, sipgate: Simulator
) -> None:
    data = add_fields(anna.get("/senders?sms_id=s0"))
    anna.post("/senders/s0/0/remove", {**data, "confirm": "remove-0-other"}, status=404)
    for action in PATHS:
        anna.post(f"/senders/s0/7/{action}", data, status=404)
    anna.get("/senders/s0/7/verification", status=404)
    assert sipgate.world.calls["delete_caller_id"] == 0


def test_a_removal_that_arrives_twice_ends_at_the_list(anna: Browser, sipgate: Simulator) -> None:
    path = f"/senders/s0/{OWN_ID}/remove"
    page = anna.get("/senders?sms_id=s0")
    data = {**page.fields(path), "confirm": f"remove-{OWN_ID}-default"}
    for _again in range(2):
        shown = landed(anna, anna.post(path, data, status=303))
        assert "3920090" not in shown.text
    assert sipgate.world.calls["delete_caller_id"] == 1


def test_an_unproved_number_cannot_become_the_default(anna: Browser, sipgate: Simulator) -> None:
    page = added(anna)
    new = senders_of(sipgate)[1]
    anna.post(f"/senders/s1/{new.id}/default", page.fields(), status=303)
    assert sipgate.world.calls["default_caller_id"] == 0
    listed = anna.get("/senders?sms_id=s1")
    assert f"/senders/s1/{new.id}/default" not in str(listed.soup)
    assert "Not confirmed yet" in card(listed, SHOWN)


def test_every_change_needs_the_forms_token(anna: Browser, sipgate: Simulator) -> None:
    data = {**add_fields(anna.get("/senders?sms_id=s0")), "number": TYPED, "confirm": "x"}
    del data["csrf_token"]
    anna.post("/senders", data, status=400)
    for action in PATHS:
        anna.post(f"/senders/s0/{OWN_ID}/{action}", data, status=400)
    assert not sipgate.world.calls["add_caller_id"]


# --- What sipgate sends, and what is kept --------------------------------------------------------


def test_what_stands_in_a_sender_is_text_on_every_page(anna: Browser, sipgate: Simulator) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x00"
    entry = senders_of(sipgate, "s0")[1]
    entry.phonenumber, entry.verified, entry.verification_code = evil, False, "AAAAAA"
    pages = [
        anna.get("/senders?sms_id=s0"),
        anna.get(f"/senders/s0/{OWN_ID}/verification"),
        anna.press(anna.get("/senders?sms_id=s0"), f"/senders/s0/{OWN_ID}/remove", status=409),
    ]
    for page in pages:
        assert "<script>alert(1)" in page.text
        assert not page.soup.select("main script, main img")
        assert "\u202e" not in page.text


def test_a_list_that_makes_no_sense_is_a_list_that_could_not_be_read(
    anna: Browser, sipgate: Simulator
) -> None:
    items = (b"1", b"[1]", b'[{"id": "../../x"}]', b'[{"id": null}]', b'[{"id": -1}]')
    for body in (b"[]", b"{}", b"<html>", *(b'{"items": %b}' % one for one in items)):
        sipgate.fail_next("caller_ids", Fault(200, body=body))
        assert "could not be fetched" in anna.get("/senders").text, body


def test_a_list_in_other_spellings_is_understood(anna: Browser, sipgate: Simulator) -> None:
    body = (
        b'{"items": [{"id": "5", "phonenumber": 491713920090, "verified": "true",'
        b' "defaultNumber": "false", "more": 1}, {"id": 6, "phonenumber": "0049171392009"}]}'
    )
    sipgate.fail_next("caller_ids", Fault(200, body=body))
    page = anna.get("/senders")
    assert "Confirmed" in card(page, "+49 171 3920090")
    assert "Default" not in card(page, "+49 171 3920090").replace("Make it the default sender", "")
    assert "Not confirmed yet" in card(page, "+49 171392009")


def test_no_number_and_no_code_is_in_logs_addresses_cookies_or_the_database(
    app: Flask, anna: Browser, sipgate: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        page = proved(anna)
        new = senders_of(sipgate)[1]
        confirmed(anna, page, f"/senders/s1/{new.id}/default")
        sipgate.fail_next("add_caller_id", Fault(400, body=NEW.encode()))
        add(anna, "0171 3920056", status=422)
    code = sipgate.phones[NEW][-1].text.split()[-1]
    ours = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("webapp"))
    assert "callerids" in ours, "nothing was logged at all"
    with app.app_context():
        kept = stored_rows(app)["submissions"]
        kept_text = repr(kept) + repr(events(app))
    for secret in ("3920055", "3920056", code):
        assert secret not in ours
        assert secret not in kept_text
    assert len(kept) == 2
