"""Groups: filled by hand, from contacts, from a list; written to as a list is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support import lists
from tests.support.pages import Browser, Page
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import arrived, work
from webapp.database import transaction
from webapp.database.models import Group
from webapp.jobs import tasks
from webapp.messages import groups
from webapp.rules.times import now
from webapp.simulator import Simulator

PEOPLE = "0176 04070001\tAnn\n0176 04070002\tBo\n0176 04070003"


@pytest.fixture
def app(make_app: MakeApp, request: pytest.FixtureRequest) -> Flask:
    if "either_url" in request.fixturenames:
        return make_app(DATABASE_URL=request.getfixturevalue("either_url"))
    return make_app()


@pytest.fixture
def ben(new_browser: Callable[[], Browser]) -> Browser:
    browser = new_browser()
    browser.sign_in("ben")
    return browser


@pytest.fixture
def karl(new_browser: Callable[[], Browser]) -> Browser:
    browser = new_browser()
    browser.sign_in("karl")
    return browser


def make(browser: Browser, people: str = PEOPLE, name: str = "Choir") -> Page:
    """Make a group by hand; returns its page."""
    form = {**browser.get("/groups").fields("/groups"), "name": name, "people": people}
    return browser.follow(browser.post("/groups", form, status=303))


def do(browser: Browser, group: Page, what: str, status: int = 303, **fields: object) -> Page:
    path = f"{group.path}{what}"
    form = browser.get(group.path).fields(path)
    form.pop("contact", None)
    form.pop("number", None)
    return browser.post(path, {**form, **fields}, status=status)


def numbers(app: Flask) -> list[str]:
    return sorted(row["number"] for row in stored_rows(app)["group_people"])


def write(browser: Browser, group: Page, text: str = "Hello ((Name))") -> Page:
    """Write to the group; returns the check page of its list."""
    form = {**browser.get("/batches/new").fields("/batches/new"), "cells": ""}
    form["group"] = group.path.rpartition("/")[2]
    page = browser.follow(browser.post("/batches/new", form, status=303))
    return lists.save(browser, page, text, **{"empty-0": "you"})


def test_a_group_made_by_hand_is_written_to_as_a_list_is(
    either_url: str, app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    group = make(anna, f"{PEOPLE}\n+49 176 04070001")
    assert numbers(app) == ["+4917604070001", "+4917604070002", "+4917604070003"]
    blocked = anna.get("/blocked").fields("/blocked")
    anna.post("/blocked", {**blocked, "number": "0176 04070002", "how": "phone"}, status=303)
    check = write(anna, group)
    twin = lists.twin(anna, check)
    assert (twin["format"], twin["rows"], twin["sendable"]) == ("group", 3, 2)
    assert twin["counts"]["blocked"] == 1
    lists.send(anna, check)
    work(app)
    work(app)
    assert arrived(sipgate) == {"+4917604070001": 1, "+4917604070003": 1}
    texts = {one.recipient: one.text for one in sipgate.world.arrivals}
    assert texts["+4917604070001"] == "Hello Ann"
    assert texts["+4917604070003"] == "Hello you"


def test_the_first_page_of_lists_offers_groups_and_takes_one_thing_only(
    app: Flask, anna: Browser
) -> None:
    group = make(anna)
    id_ = group.path.rpartition("/")[2]
    page = anna.get(f"/batches/new?group={id_}")
    assert page.fields("/batches/new")["group"] == id_
    form = {**page.fields("/batches/new"), "cells": "Handy\n0176 04070009"}
    assert "not both" in anna.post("/batches/new", form, status=422).text


def test_an_empty_or_foreign_group_is_no_list(app: Flask, anna: Browser, karl: Browser) -> None:
    group = make(anna, "")
    form = {**anna.get("/batches/new").fields("/batches/new"), "cells": ""}
    form["group"] = group.path.rpartition("/")[2]
    assert "this one is empty" in anna.post("/batches/new", form, status=422).text
    theirs = {
        **karl.get("/batches/new").fields("/batches/new"),
        "cells": "",
        "group": form["group"],
    }
    karl.post("/batches/new", theirs, status=422)
    assert not stored_rows(app)["lists"]


def test_contacts_are_found_by_organization_ticked_and_added_once(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(SIPGATE_OPTIONAL_SCOPES="contacts:read")
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    anna.get("/contacts")  # they are read from sipgate
    group = make(anna, "")
    page = anna.get(f"{group.path}?q=Labor")
    ticked = [str(box["value"]) for box in page.soup.select("input[name=contact]")]
    assert ticked
    for _ in range(2):
        do(anna, group, "/people", contact=ticked, people="")
    assert 0 < len(numbers(app)) <= len(ticked)
    assert all(row["cells"] for row in stored_rows(app)["group_people"])


def between(monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object]) -> None:
    """Let a colleague `act` after the request has found the group and before it changes it."""
    change = getattr(groups, name)

    def late(*args: Any) -> Any:
        monkeypatch.undo()
        act()
        return change(*args)

    monkeypatch.setattr(groups, name, late)


def test_a_group_that_a_colleague_changes_meanwhile_is_deleted_as_the_page_says(
    app: Flask, anna: Browser, ben: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = make(anna)
    add = ben.get(group.path)
    between(
        monkeypatch,
        "transaction",
        lambda: ben.press(add, f"{group.path}/people", people="0176 04070009"),
    )
    assert "Deleted." in anna.follow(do(anna, group, "/delete")).text
    anna.get(group.path, status=404)


@pytest.mark.parametrize(
    ("what", "fields"),
    [("/people", {"people": "0176 04070009"}), ("/remove", {"number": "+4917604070001"})],
)
def test_a_group_that_a_colleague_deletes_meanwhile_stays_as_it_was(
    app: Flask,
    anna: Browser,
    ben: Browser,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    fields: dict[str, str],
) -> None:
    group = make(anna)
    before = numbers(app)
    path = f"{group.path}{what}"
    form = {**anna.get(group.path).fields(path), **fields}
    page = ben.get(group.path)
    between(monkeypatch, "transaction", lambda: ben.press(page, f"{group.path}/delete"))
    anna.post(path, form, status=404)
    assert numbers(app) == before


def test_a_list_is_kept_as_a_group_without_its_appointments(app: Flask, anna: Browser) -> None:
    rows = [("0176 04070001", "Ann", "25.11.2099 10:00"), ("0176", "Bad", "25.11.2099 11:00")]
    content = lists.csv_of(rows, "Handy;Vorname;Termin")
    check = lists.checked(anna, content, "Hallo ((Vorname)), ((Termin))")
    action = check.path.replace("/check", "/group")
    group = anna.follow(anna.post(action, {**check.fields(action), "name": "Course"}, status=303))
    assert numbers(app) == ["+4917604070001"]
    assert "Ann" in group.text
    assert "25.11.2099" not in group.text
    assert lists.twin(anna, check)["rows"] == 2, "the list is still there"


def test_people_are_added_removed_and_the_group_renamed(
    either_url: str, app: Flask, anna: Browser, ben: Browser
) -> None:
    group = make(anna)
    do(ben, group, "/people", people="0176 04070004\tCy\n0176 04070003\tDi")
    assert len(numbers(app)) == 4
    assert "Di" in anna.get(group.path).text, "what was not known is filled in"
    do(ben, group, "/remove", number=["+4917604070001", "+4917604070009"])
    assert "+4917604070001" not in numbers(app)
    do(anna, group, "/name", name="Old choir")
    assert anna.get(group.path).h1 == "Old choir"


def test_a_name_changes_only_as_its_page_showed_it(app: Flask, anna: Browser, ben: Browser) -> None:
    group = make(anna)
    stale = anna.get(group.path).fields(f"{group.path}/name")
    do(ben, group, "/name", name="Ben's")
    page = anna.post(f"{group.path}/name", {**stale, "name": "Anna's"}, status=409)
    assert "Ben Wagner has changed this group" in page.text
    assert stored_rows(app)["groups"][0]["name"] == "Ben's"


@pytest.mark.parametrize("name", ["", "   ", "x" * 81])
def test_a_name_is_needed_and_not_too_long(app: Flask, anna: Browser, name: str) -> None:
    form = {**anna.get("/groups").fields("/groups"), "name": name, "people": PEOPLE}
    page = anna.post("/groups", form, status=422)
    assert page.soup.select_one("#name-error")
    assert not stored_rows(app)["groups"]


def test_what_is_no_number_is_named_and_nothing_is_kept(app: Flask, anna: Browser) -> None:
    form = {**anna.get("/groups").fields("/groups"), "name": "Choir", "people": "0176\n12"}
    page = anna.post("/groups", form, status=422)
    assert page.soup.select_one("#people-error")
    assert not stored_rows(app)["groups"]


def test_a_deleted_group_is_restored_or_erased_after_30_days(
    either_url: str, app: Flask, anna: Browser
) -> None:
    group = make(anna)
    do(anna, group, "/delete")
    anna.get(group.path, status=404)
    anna.press(anna.get("/groups"), f"{group.path}/restore")
    assert anna.get(group.path).h1 == "Choir"
    do(anna, group, "/delete")
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Group).values(deleted_at=now() - timedelta(days=31)))
    tasks.queue.app = app
    tasks.every_night.call_local()
    assert not stored_rows(app)["groups"]
    assert not stored_rows(app)["group_people"]


def test_only_administrators_download_a_group_and_it_holds_no_formulas(
    app: Flask, anna: Browser, ben: Browser
) -> None:
    group = make(anna, "0176 04070001\t=HYPERLINK(1)")
    text = anna.get(f"{group.path}/people.csv").response.get_data(as_text=True)
    assert "'=HYPERLINK" in text
    ben.get(f"{group.path}/people.csv", status=403)


def test_another_account_sees_and_changes_nothing(app: Flask, anna: Browser, karl: Browser) -> None:
    group = make(anna)
    assert "Choir" not in karl.get("/groups").text
    for path in (group.path, f"{group.path}/people.csv"):
        karl.get(path, status=404)
    token = karl.get("/groups").fields("/groups")
    for what in ("/name", "/people", "/remove", "/needed", "/delete", "/restore"):
        karl.post(f"{group.path}{what}", {**token, "people": "0176 04070009"}, status=404)
    assert len(numbers(app)) == 3


def test_a_forgotten_number_is_in_no_group(either_url: str, app: Flask, anna: Browser) -> None:
    make(anna, f"{PEOPLE}\n0176 04070004\tcall 0176/04070001")
    done = app.test_cli_runner().invoke(args=["forget", "--number", "0176 04070001"])
    assert done.exit_code == 0, done.output
    assert "+4917604070001" not in numbers(app)
    assert b"17604070001" not in stored_bytes(app)


def test_a_group_that_nobody_wrote_to_for_a_year_asks_if_it_is_needed(
    app: Flask, anna: Browser
) -> None:
    group = make(anna)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Group).values(used_at=now() - timedelta(days=366)))
    assert "still needed" in anna.get(group.path).text
    do(anna, group, "/needed")
    assert "Is it still needed?" not in anna.get(group.path).text


def test_there_is_room_for_so_many_and_no_more(
    app: Flask, anna: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_PEOPLE", 3)
    monkeypatch.setattr(groups, "MAX_GROUPS", 1)
    group = make(anna)
    do(anna, group, "/people", status=422, people="0176 04070009")
    form = {**anna.get("/groups").fields("/groups"), "name": "Two", "people": ""}
    anna.post("/groups", form, status=422)
    assert len(stored_rows(app)["groups"]) == 1
    assert len(numbers(app)) == 3
