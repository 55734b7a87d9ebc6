"""F83: what one member asks for is bounded, in what it makes, costs, and takes from others."""

import statistics
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.account.test_senders import add, added, allowed, code_on_the_phone, confirmed, landed
from tests.conftest import MakeApp
from tests.messages.test_message_templates import make, message_of, use
from tests.support.pages import Browser, Page
from tests.support.raw_servers import another_tab, in_parallel
from webapp.database import db, transaction
from webapp.database.models import Draft, KeptAnswer, MessageTemplate
from webapp.jobs import retention
from webapp.messages import message_templates
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

MANY_TIMES = "((a))" * 305
NUMBER = "+491713920050"
KB = 1024


def drafts(app: Flask) -> list[dict[str, str]]:
    with app.app_context():
        return list(db.session.scalars(sa.select(Draft.fields).order_by(Draft.created_at)))


# --- Templates ----------------------------------------------------------------------------------


def typed_for(page: Page, **fills: str) -> dict[str, str]:
    """The form with these values for the placeholders of its text."""
    values = {f"fill-{name}": value for name, value in fills.items()}
    return {**page.fields("/messages"), "recipient": NUMBER, **values}


@pytest.mark.parametrize("length", [6, 100, 250 * KB - 2000])
def test_f83_a_filled_text_has_the_limit_of_a_text(app: Flask, anna: Browser, length: int) -> None:
    page = use(anna, make(anna, text=MANY_TIMES))
    typed = "x" * length
    began = time.monotonic()
    again = anna.post("/messages", typed_for(page, a=typed), status=422)
    assert time.monotonic() - began < 3
    assert again.error_at("message")
    assert typed in message_of(again) + again.fields("/messages").get("fill-a", "")
    assert drafts(app) == []


def test_f83_a_filled_text_may_be_as_long_as_a_text(anna: Browser) -> None:
    page = use(anna, make(anna, text=MANY_TIMES))
    question = anna.post("/messages", typed_for(page, a="12345"), status=409)
    assert message_of(question) == "12345" * 305


def test_f83_a_character_that_no_text_may_hold_is_named_at_its_field(anna: Browser) -> None:
    page = use(anna, make(anna, text="((a)) and ((b))"))
    again = anna.post("/messages", typed_for(page, a="long", b="\x07"), status=422)
    assert "U+0007" in again.error_at("message")


def test_f83_deleted_templates_neither_fill_the_limit_nor_pile_up(
    app: Flask, anna: Browser
) -> None:
    path = make(anna, name="First")
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(MessageTemplate).values(deleted_at=now()))
        one = rows.scalars(sa.select(MessageTemplate)).one()
        same = {c.key: getattr(one, c.key) for c in sa.inspect(MessageTemplate).column_attrs}
        older = [
            {**same, "id": f"{n:032x}", "deleted_at": now() - timedelta(minutes=n + 1)}
            for n in range(500)
        ]
        rows.execute(sa.insert(MessageTemplate), older)
    last = make(anna, name="Last")
    anna.press(anna.get(f"{last}/edit"), f"{last}/delete")
    page = anna.get("/message-templates")
    ways_back = [str(form["action"]) for form in page.soup.select("form[action$='/restore']")]
    assert len(ways_back) == message_templates.MAX_DELETED
    assert f"{last}/restore" in ways_back
    assert f"{path}/restore" in ways_back
    with app.app_context():
        count = db.session.scalar(sa.select(sa.func.count()).select_from(MessageTemplate))
    assert count == message_templates.MAX_DELETED


def test_f83_no_more_can_be_brought_back_than_there_may_be(app: Flask, anna: Browser) -> None:
    path = make(anna, name="First")
    with app.app_context(), transaction() as rows:
        one = rows.scalars(sa.select(MessageTemplate)).one()
        same = {c.key: getattr(one, c.key) for c in sa.inspect(MessageTemplate).column_attrs}
        others = [{**same, "id": f"{n:032x}"} for n in range(message_templates.MAX_TEMPLATES)]
        rows.execute(sa.insert(MessageTemplate), others)
    anna.press(anna.get(f"{path}/edit"), f"{path}/delete")
    page = anna.get("/message-templates")
    full = anna.follow(anna.press(page, f"{path}/restore"))
    assert "There are too many templates. Delete one first." in full.text
    anna.get(path, status=404)


# --- Drafts -------------------------------------------------------------------------------------


def keep(app: Flask, sipgate: Simulator, form: dict[str, str], text: str) -> str:
    """Send a form after its sign-in has ended; returns the path of the draft."""
    page = Browser(app, sipgate).post("/messages", {**form, "message": text}, status=401)
    link = page.soup.select_one("main a[href*=login]")
    assert link is not None
    return parse_qs(urlsplit(str(link["href"])).query)["next"][0]


def test_f83_a_member_has_twenty_drafts_and_the_oldest_goes(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    links = [keep(app, sipgate, anna.compose(), f"Number {n}") for n in range(23)]
    assert [one["message"] for one in drafts(app)] == [f"Number {n}" for n in range(3, 23)]
    assert message_of(anna.get(links[-1])) == "Number 22"
    assert message_of(anna.get(links[0])) == ""


def test_f83_a_colleagues_drafts_are_left_alone(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser], sipgate: Simulator
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    kept = keep(app, sipgate, ben.compose(), "Of Ben")
    for n in range(21):
        keep(app, sipgate, anna.compose(), f"Number {n}")
    assert message_of(ben.get(kept)) == "Of Ben"


def test_f83_thirty_drafts_at_once_leave_twenty(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    forms = [[anna.compose() for _ in range(5)] for _ in range(6)]

    def send(mine: list[dict[str, str]]) -> Callable[[], object]:
        return lambda: [keep(app, sipgate, form, "x") for form in mine]

    in_parallel(*map(send, forms))
    assert len(drafts(app)) == 20


def test_f83_a_form_too_large_to_keep_stays_on_the_page_when_the_sign_in_has_ended(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    text = "ä" * 40 * KB
    data = anna.compose(recipient=NUMBER, message=text)
    stranger = Browser(app, sipgate)
    page = stranger.post("/messages", data, status=413)
    assert "Your sign-in has ended. Nothing was sent." in page.text
    assert "copy it before you sign in" in page.text
    assert text in page.text
    assert drafts(app) == []
    stranger.post("/messages", {**data, "message": "ä" * 30 * KB}, status=401)
    assert len(drafts(app)) == 1


def test_f83_a_test_of_a_form_too_large_to_keep_sends_nothing(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    data = anna.compose(recipient="1," * 33 * KB, message="Hello", own_number=NUMBER)
    page = anna.post("/test-message", data, status=422)
    assert "is more than we can keep. Nothing was sent." in page.text
    assert page.fields("/messages")["message"] == "Hello"
    assert page.fields("/messages")["recipient"] == data["recipient"]
    assert sipgate.world.arrivals == []
    assert drafts(app) == []


# --- One limit for all that sends ---------------------------------------------------------------


def compose(browser: Browser) -> Page:
    return browser.post("/messages", browser.compose(recipient=NUMBER, message="Hello"))


def test_to_oneself(browser: Browser) -> Page:
    return browser.post("/test-message", browser.compose(message="Hello", own_number=NUMBER))


test_to_oneself.__test__ = False  # type: ignore[attr-defined]


def ask_for_a_code(browser: Browser) -> Page:
    return add(browser, "0171 3920055", status=None)  # type: ignore[arg-type]


def insert(browser: Browser) -> Page:
    page = browser.get("/")
    [template] = page.soup.select("noscript option")
    data = {**page.fields("/messages"), "template": str(template["value"])}
    return browser.post("/message-templates/insert", data)


SENDING = (compose, test_to_oneself, ask_for_a_code, insert)


@pytest.mark.parametrize("last", SENDING)
def test_all_that_sends_shares_one_limit(
    make_app: MakeApp, sipgate: Simulator, last: Callable[[Browser], Page]
) -> None:
    app = make_app(RATE_LIMITS="send 3/hour per member")
    anna, ben = allowed(Browser(app, sipgate), "anna"), Browser(app, sipgate)
    ben.sign_in("ben")
    make(anna, text="Number ((n))")
    for act in SENDING:
        if act is not last:
            assert act(anna).status in (200, 303, 409), act
    arrived, asked = len(sipgate.world.arrivals), sipgate.world.calls["add_caller_id"]
    assert last(anna).status == 429
    assert len(sipgate.world.arrivals) == arrived
    assert sipgate.world.calls["add_caller_id"] == asked
    ben.send("+491713920051", "Of Ben")


# --- Codes for own numbers ----------------------------------------------------------------------


@pytest.fixture
def adder(app: Flask, sipgate: Simulator) -> Browser:
    """Anna's browser, with the permission to change senders."""
    return allowed(Browser(app, sipgate), "anna")


def test_a_code_counts_in_the_daily_limit(make_app: MakeApp, sipgate: Simulator) -> None:
    anna = allowed(Browser(make_app(DAILY_LIMIT="3"), sipgate), "anna")
    anna.send()
    add(anna, "0171 3920055")
    add(anna, "0171 3920056")
    page = add(anna, "0171 3920057", status=429)
    assert "today's limit of 3 messages. Nothing was sent." in page.text
    assert sipgate.world.calls["add_caller_id"] == 2
    anna.send(text="Another", status=429)
    assert sipgate.phones[NUMBER][0].text == "Hello"
    assert len(sipgate.phones[NUMBER]) == 1


def test_codes_asked_for_at_once_keep_to_the_daily_limit(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(DAILY_LIMIT="3")
    anna = allowed(Browser(app, sipgate), "anna")
    tabs = [another_tab(anna) for _ in range(8)]

    def ask(place: int, tab: Browser) -> Callable[[], object]:
        return lambda: add(tab, f"0171 392006{place}", status=None)  # type: ignore[arg-type]

    in_parallel(*(ask(place, tab) for place, tab in enumerate(tabs)))
    assert sipgate.world.calls["add_caller_id"] == 3


def test_the_same_form_at_the_end_of_the_day_is_taken_once_and_told_so(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    """The one that comes second is not told that nothing was sent."""
    app = make_app(DAILY_LIMIT="1")
    anna = Browser(app, sipgate)
    anna.sign_in()
    data = anna.compose(recipient=NUMBER, message="Hello")
    tabs = [another_tab(anna) for _ in range(6)]
    answers = in_parallel(*(lambda tab=tab: tab.post("/messages", data) for tab in tabs))
    assert {page.status for page in answers} == {303}  # type: ignore[attr-defined]
    assert len(sipgate.phones[NUMBER]) == 1


def guess(browser: Browser, page: Page, code: str, status: int | None = 422) -> Page:
    return browser.post(page.path, {**page.fields(), "code": code}, status=status)


def test_after_five_wrong_codes_a_new_one_is_needed(adder: Browser, sipgate: Simulator) -> None:
    page = added(adder)
    for n in range(5):
        assert "did not accept this code" in guess(adder, page, f"WRONG{n}").error_at("code")
    right = code_on_the_phone(sipgate)
    refused = guess(adder, page, right)
    assert "Too many wrong codes" in refused.error_at("code")
    assert sipgate.world.calls["verify_caller_id"] == 5
    new = sipgate.world.people["anna"].extension("s1").caller_ids[1]  # type: ignore[union-attr]
    landed(adder, confirmed(adder, adder.get("/senders?sms_id=s1"), f"/senders/s1/{new.id}/remove"))
    again = added(adder)
    assert code_on_the_phone(sipgate) != right
    done = landed(adder, guess(adder, again, code_on_the_phone(sipgate), 303))
    assert "is confirmed" in done.text


def test_of_twenty_codes_at_once_five_are_tried(
    app: Flask, adder: Browser, sipgate: Simulator
) -> None:
    page = added(adder)
    tabs = [another_tab(adder) for _ in range(20)]
    in_parallel(*(lambda tab=tab, n=n: guess(tab, page, f"WRONG{n}") for n, tab in enumerate(tabs)))
    assert sipgate.world.calls["verify_caller_id"] == 5


def test_a_code_that_was_not_tried_is_not_counted(adder: Browser, sipgate: Simulator) -> None:
    page = added(adder)
    for _ in range(7):
        sipgate.fail_next("verify_caller_id", Fault(429))
        guess(adder, page, "WRONG")
    assert "is confirmed" in landed(adder, guess(adder, page, code_on_the_phone(sipgate), 303)).text


def test_wrong_codes_outlive_a_night_and_name_no_number(
    app: Flask, adder: Browser, sipgate: Simulator
) -> None:
    page = added(adder)
    for n in range(5):
        guess(adder, page, f"WRONG{n}")
    with app.app_context():
        retention.prune()
        kept = db.session.execute(sa.select(KeptAnswer.kind, KeptAnswer.value)).all()
    assert ("guesses:", {"count": 5}) in [(kind[:8], value) for kind, value in kept]
    assert "WRONG" not in str(kept)
    guess(adder, page, code_on_the_phone(sipgate))
    assert sipgate.world.calls["verify_caller_id"] == 5


# --- Others meanwhile ---------------------------------------------------------------------------


@pytest.mark.slow  # looks at pages for some seconds
@pytest.mark.parametrize("case", ["template", "filter", "deleted templates"])
def test_f83_others_pages_are_at_most_three_times_slower_meanwhile(
    app: Flask, anna: Browser, new_browser: Callable[[], Browser], case: str
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    for n in range(20):
        anna.send(text=f"Hello {n}", status=None)
    page = use(anna, make(anna, text=MANY_TIMES))
    typed = typed_for(page, a="x" * 240 * KB)
    again_and_again = "&".join(["outcome=accepted"] * 450)

    def make_and_delete() -> None:
        path = make(anna, name=f"T{time.monotonic_ns()}", text="x" * 1500)
        anna.press(anna.get(f"{path}/edit"), f"{path}/delete")

    act: Callable[[], object] = {
        "template": lambda: anna.post("/messages", typed, status=422),
        "filter": lambda: anna.get(f"/messages.csv?{again_and_again}"),
        "deleted templates": make_and_delete,
    }[case]
    quiet = seconds_of(ben)
    busy = min(while_(act, ben) for _ in range(3))
    assert busy < 3 * quiet + 0.02, (quiet, busy)


def seconds_of(browser: Browser) -> float:
    """What a page takes, usually."""
    taken = []
    for _ in range(15):
        began = time.monotonic()
        browser.get("/messages")
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def while_(act: Callable[[], object], browser: Browser) -> float:
    """What a page takes while somebody else does that without a pause."""
    ended, failed = threading.Event(), []

    def work() -> None:
        while not ended.is_set():
            try:
                act()
            except AssertionError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        return seconds_of(browser)
    finally:
        ended.set()
        thread.join()
        assert not failed, failed[0]
