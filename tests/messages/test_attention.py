"""What did not go needs somebody: counted once, wherever it is counted, until it is dealt with."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.conftest import MakeApp
from tests.messages.test_history import searched
from tests.support.pages import Browser, Page
from tests.support.rows import stored_rows
from tests.support.worker import counts, impatient, send_to_many, work
from webapp.database import insert, transaction
from webapp.database.models import Member, Message
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

ONE = "+491713920050"
EMPTY_BALANCE = Fault(402)
LOST = Fault(mode="close", deliver=True)

NewBrowser = Callable[[], Browser]


def signed_in(new_browser: NewBrowser, person: str) -> Browser:
    browser = new_browser()
    browser.sign_in(person)
    return browser


def plan(browser: Browser, text: str = "Hello", *, minutes: float = 120) -> Page:
    """Plan a message, beyond what is handed over at once."""
    send_at = f"{datetime.now(UTC) + timedelta(minutes=minutes):%Y-%m-%dT%H:%M}"
    return browser.send_and_look(text=text, send_at=send_at, time_zone="UTC")


def later(minutes: float) -> time_machine.travel:
    return time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes), tick=True)


def refused_at_its_handover(app: Flask, browser: Browser) -> Page:
    page = plan(browser)
    browser.sipgate.fail_next("send", EMPTY_BALANCE)
    with later(61):
        work(app)
    assert browser.twin(page)["outcome"] == "refused"
    return page


def attention(browser: Browser) -> int:
    """The count, which is the same wherever it stands."""
    found = int(browser.get("/attention").json["count"])
    page = browser.get("/messages")
    strip = page.soup.select_one("header .strip.tone-unknown:not([hidden])")
    chips = [one.get_text(" ", strip=True) for one in page.soup.select(".chips a")]
    chip = next((one for one in chips if one.startswith("Needs attention")), "")
    tab = page.soup.select_one(".tabs .count")
    assert tab is not None
    assert (tab.get_text(), tab.has_attr("hidden")) == (str(found or ""), found == 0)
    assert page.soup.title is not None
    if found == 0:
        assert (strip, chip) == (None, "")
        assert not page.soup.title.get_text().startswith("(")
    else:
        verb = "needs" if found == 1 else "need"
        assert strip is not None
        said = f"{found} message{'s' if found > 1 else ''} {verb} your attention"
        assert strip.get_text(strip=True) == said
        assert chip == f"Needs attention {found}"
        assert page.soup.title.get_text().startswith(f"({found}) ")
    return found


def listed(browser: Browser) -> set[str]:
    """The addresses that the filter shows."""
    page = browser.get("/messages?tab=attention")
    return {str(link["href"]) for link in page.soup.select("table .cell-recipient a")}


def post(browser: Browser, path: str, *, status: int, **fields: str) -> Page:
    token = browser.get("/").fields()["csrf_token"]
    return browser.post(path, {"csrf_token": token, **fields}, status=status)


def events(app: Flask, kind: str) -> list[dict[str, object]]:
    return [row for row in stored_rows(app)["events"] if row["kind"] == kind]


# --- Which count ----------------------------------------------------------------------------------


def test_a_planned_message_refused_at_its_handover_needs_somebody_until_it_is_done(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url)
    anna = Browser(app, sipgate)
    anna.sign_in()
    assert attention(anna) == 0
    page = refused_at_its_handover(app, anna)
    assert attention(anna) == 1
    assert listed(anna) == {page.path}
    page = anna.press(anna.get(page.path), f"{page.path}/done")
    assert attention(anna) == 0
    assert listed(anna) == set()
    assert anna.twin(page)["outcome"] == "refused"
    assert "Marked as done" in anna.follow(page).text
    assert [row["message_id"] for row in events(app, "done")] == [anna.twin(page)["id"]]
    # Pressed twice, it is done once.
    post(anna, f"{page.location}/done".replace(anna.base_url, ""), status=303)
    assert len(events(app, "done")) == 1


def test_a_message_for_now_that_is_refused_was_told_of_at_once(
    anna: Browser, sipgate: Simulator
) -> None:
    sipgate.fail_next("send", EMPTY_BALANCE)
    page = anna.send_and_look()
    assert anna.twin(page)["outcome"] == "refused"
    assert attention(anna) == 0
    assert not page.soup.select(f"form[action='{page.path}/done']")


def test_a_message_that_the_worker_sends_now_and_that_is_refused_needs_somebody(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = plan(anna)
    fields = {**anna.get(f"{page.path}/edit").fields(), "send_at": ""}
    anna.post(f"{page.path}/edit", fields, status=303)
    sipgate.fail_next("send", EMPTY_BALANCE)
    work(app)
    assert anna.twin(page)["outcome"] == "refused"
    assert anna.twin(page)["send_at"] is None
    assert attention(anna) == 1


def test_an_unknown_one_needs_somebody_and_sent_again_no_more(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    impatient(app)
    sipgate.fail_next("send", LOST)
    page = anna.send_and_look()
    assert attention(anna) == 1
    again = anna.get(f"{page.path}/again")
    question = anna.post("/messages", again.fields("/messages"), status=409)
    assert attention(anna) == 1, "nothing was sent again yet"
    button = question.soup.select_one("main button[name=confirm]")
    assert button is not None
    anna.post("/messages", {**question.fields(), "confirm": str(button["value"])}, status=303)
    assert attention(anna) == 0
    assert anna.twin(page)["outcome"] == "unknown"


@pytest.mark.parametrize("said", ["accepted", "not_sent"])
def test_a_planned_unknown_one_that_is_settled_needs_nobody(
    app: Flask, anna: Browser, sipgate: Simulator, said: str
) -> None:
    impatient(app)
    page = plan(anna)
    sipgate.fail_next("send", LOST)
    with later(61):
        work(app)
    assert attention(anna) == 1
    post(anna, f"{page.path}/settle", outcome=said, status=303)
    assert anna.twin(page)["outcome"] == said
    assert attention(anna) == 0


def test_a_missed_one_can_be_done_withdrawn_or_given_a_new_time(app: Flask, anna: Browser) -> None:
    pages = [plan(anna, text) for text in ("one", "two", "three")]
    with later(300):
        work(app)
        assert attention(anna) == 3
        post(anna, f"{pages[0].path}/done", status=303)
        post(anna, f"{pages[1].path}/cancel", status=303)
        assert attention(anna) == 1
        post(anna, f"{pages[2].path}/reschedule", when="now", status=303)
        assert attention(anna) == 0
        # What is done may still be sent after all, and then counts anew.
        anna.sipgate.fail_next("send", EMPTY_BALANCE, times=2)
        post(anna, f"{pages[0].path}/reschedule", when="now", status=303)
        work(app)
        assert anna.twin(pages[0])["outcome"] == "refused"
        assert attention(anna) == 2


def test_a_batch_counts_as_one_and_is_done_by_outcome(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url)
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 5)
    sipgate.world.fail_always("send", Fault(400))
    work(app)
    assert counts(anna, page) == {"refused": 5}
    assert attention(anna) == 1
    page = anna.get(page.path)
    assert "Mark 5 as done (Refused)" in page.text
    anna.press(page, f"{page.path}/done")
    assert attention(anna) == 0
    assert counts(anna, page) == {"refused": 5}
    assert "as done (" not in anna.get(page.path).text
    [event] = events(app, "done")
    assert (event["note"], event["message_id"]) == ("refused 5", None)


def test_done_is_not_for_what_is_unknown_or_paused_or_went_well(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    impatient(app)
    batch = send_to_many(anna, 10)
    sipgate.world.fail_always("send", Fault(mode="close"))
    work(app)
    assert counts(anna, batch) == {"unknown": 3, "paused": 7}
    sipgate.world.faults.clear()
    good = anna.send_and_look()
    refused = post(anna, f"{good.path}/done", status=409)
    assert "nothing to mark as done here" in refused.text
    for outcome, sentence in (("unknown", "Say what you know"), ("paused", "release them")):
        page = post(anna, f"{batch.path}/done", outcome=outcome, status=409)
        assert sentence in page.text
        one = anna.get(batch.path).soup.select_one(f"tr[data-outcome={outcome}] a")
        assert one is not None
        assert sentence in post(anna, f"{one['href']}/done", status=409).text
    post(anna, f"{batch.path}/done", outcome="nonsense", status=422)
    assert attention(anna) == 1
    assert events(app, "done") == []


# --- Whose ----------------------------------------------------------------------------------------


def test_an_admin_counts_the_account_and_a_member_their_own(
    app: Flask, new_browser: NewBrowser
) -> None:
    anna, ben, karl = (signed_in(new_browser, one) for one in ("anna", "ben", "karl"))
    page = refused_at_its_handover(app, ben)
    refused_at_its_handover(app, anna)
    assert (attention(anna), attention(ben), attention(karl)) == (2, 1, 0)
    post(karl, f"{page.path}/done", status=404)
    assert attention(ben) == 1
    anna.press(anna.get(page.path), f"{page.path}/done")
    assert (attention(anna), attention(ben)) == (1, 0)
    assert "Anna Sommer" in ben.get(page.path).text


def test_with_team_visibility_a_colleagues_failures_are_seen_but_need_the_colleague(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(HISTORY_VISIBILITY="team")
    anna, ben = Browser(app, sipgate), Browser(app, sipgate)
    anna.sign_in("anna")
    ben.sign_in("ben")
    page = refused_at_its_handover(app, anna)
    ben.get(page.path)
    assert attention(ben) == 0
    assert listed(ben) == set()
    post(ben, f"{page.path}/done", status=404)
    assert attention(anna) == 1


def test_an_admin_answers_for_a_colleague_only_while_nobody_is_signed_in(
    app: Flask, new_browser: NewBrowser, sipgate: Simulator
) -> None:
    impatient(app)
    anna, ben = (signed_in(new_browser, one) for one in ("anna", "ben"))
    sipgate.fail_next("send", LOST)
    page = ben.send_and_look()
    for action in ("settle", "look"):
        post(anna, f"{page.path}/{action}", outcome="accepted", status=404)
    assert f"{page.path}/settle" not in str(anna.get(page.path).soup)
    assert ben.twin(page)["outcome"] == "unknown"
    post(ben, "/logout", waiting="pause", status=303)
    for action in ("edit", "again"):
        anna.get(f"{page.path}/{action}", status=404)
    post(anna, f"{page.path}/reschedule", when="now", status=404)
    post(anna, f"{page.path}/look", status=200)
    anna.press(anna.get(page.path), f"{page.path}/settle", outcome="accepted")
    assert anna.twin(page)["outcome"] == "accepted"
    assert "Anna Sommer marked it as sent" in anna.get(page.path).text
    assert len([one for one in sipgate.world.arrivals if one.accepted]) == 1


def test_a_german_page_says_it_in_german(app: Flask, anna: Browser) -> None:
    refused_at_its_handover(app, anna)
    page = anna.get("/messages", headers={"Accept-Language": "de"})
    assert "1 Nachricht ist zu klären" in page.soup.get_text()
    assert "Zu klären 1" in page.text


# --- Asking for it --------------------------------------------------------------------------------


def test_the_count_is_for_those_signed_in(stranger: Browser) -> None:
    stranger.get("/attention", status=302)
    stranger.get("/attention", status=401, headers={"Accept": "application/json"})


POLLS = [
    ("/attention", {}),
    ("message", {"Sec-Fetch-Dest": "empty"}),
    ("batch", {"Sec-Fetch-Dest": "empty"}),
]


@pytest.mark.parametrize(("path", "headers"), POLLS)
def test_a_poll_is_no_use_of_the_session_and_calls_nobody(
    app: Flask, anna: Browser, sipgate: Simulator, path: str, headers: dict[str, str]
) -> None:
    named = {"message": plan(anna).path, "batch": send_to_many(anna, 2).path}
    path = named.get(path, path)

    def asked() -> tuple[int, list[object]]:
        seen = [row["last_seen_at"] for row in stored_rows(app)["sessions"]]
        return sum(sipgate.world.calls.values()), seen

    before = asked()
    with later(16):
        anna.get(path, headers=headers)
        assert asked() == before
        # The same page opened by a person is a use, and looks again who this is.
        anna.get("/messages")
        assert asked()[0] > before[0]
        assert asked()[1] != before[1]
    with later(16 + 12 * 60 + 1):
        anna.get(path, status=302, headers=headers)


def test_polls_do_not_keep_a_session_alive(anna: Browser) -> None:
    for hours in range(1, 14):
        with later(hours * 60):
            anna.get("/attention", status=200 if hours < 12 else 302)


# --- A million of them ----------------------------------------------------------------------------


def fill(app: Flask, count: int, **values: object) -> None:
    with app.app_context(), transaction() as rows:
        member = rows.scalars(sa.select(Member)).one()
        common = {
            "member_id": member.id,
            "account_id": member.account_id,
            "extension_id": "s0",
            "recipient": ONE,
            "text": "Hello",
            "segment_count": 1,
        }
        at = now()
        insert(
            rows,
            *(
                Message(**{**common, "created_at": at - timedelta(seconds=n), **values})  # type: ignore[arg-type]
                for n in range(count)
            ),
        )


def test_no_more_than_999_are_counted(app: Flask, anna: Browser) -> None:
    fill(app, 1200, outcome=Outcome.UNKNOWN)
    page = anna.get("/messages")
    assert "999+ messages need your attention" in page.soup.get_text()
    assert "Needs attention 999+" in page.text


@pytest.mark.sqlite
@pytest.mark.parametrize("person", ["anna", "ben"])
def test_the_count_and_its_list_read_nothing_but_what_needs_somebody(
    app: Flask, new_browser: NewBrowser, person: str
) -> None:
    browser = signed_in(new_browser, person)
    fill(app, 50, outcome=Outcome.REFUSED)
    fill(app, 5, outcome=Outcome.MISSED)
    # The line on the page, its tab, and the list itself.
    for path, count in {"/attention": 1, "/messages?tab=attention": 3}.items():
        searches = searched(app, "done_at IS NULL AND", lambda path=path: browser.get(path))  # type: ignore[misc]
        # What the page shows of what waits comes by the same statement as the line, and how many
        # messages a batch has by that of its row.
        others = ("outcome=?", "batch_id=?")
        searches = [one for one in searches if not any(other in one for other in others)]
        assert len(searches) == count, searches
        assert all("ix_messages_attention" in one for one in searches), searches
