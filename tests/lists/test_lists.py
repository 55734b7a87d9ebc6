"""A list from the file to the report, through its pages."""

from collections.abc import Callable
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support import lists
from tests.support.lists import JSON
from tests.support.pages import Browser
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import arrived, counts, work
from webapp.database import transaction
from webapp.database.models import BrowserSession
from webapp.simulator import Simulator

SOME = lists.csv_of(
    [
        ("0176 04070001", "Jörg", "10:00"),
        ("0176 04070002", "Ann", "11:00"),
        ("0176", "Bad", "12:00"),
        ("0176 04070001", "Jörg", "10:00"),
        ("0176 04070003", "", "13:00"),
    ],
    "Handy;Vorname;Termin",
)
TEXT = "Hallo ((vorname)), bis ((Termin))"


def test_a_list_becomes_a_text_for_each_person(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    check = lists.checked(anna, SOME, TEXT)
    twin = lists.twin(anna, check)
    assert (twin["rows"], twin["sendable"]) == (5, 2)
    assert twin["counts"]["errors"] == 2
    assert twin["counts"]["duplicates"] == 1
    assert [(one["row"], one["code"]) for one in twin["problems"]] == [
        (4, "too_short"),
        (6, "missing"),
    ]
    assert "Fix 1 number" in check.text
    assert "Enter missing values in 1 row" in check.text
    assert not check.soup.select("form[action='/batches']"), "errors stand: nothing can be sent"
    check = lists.leave_out(anna, check, "errors", "duplicates")
    batch = lists.send(anna, check)
    work(app)
    assert arrived(sipgate) == {"+4917604070001": 1, "+4917604070002": 1}
    texts = {one.recipient: one.text for one in sipgate.world.arrivals}
    assert texts["+4917604070001"] == "Hallo Jörg, bis 10:00"
    assert counts(anna, batch) == {"accepted": 2}
    row = stored_rows(app)["batches"][0]
    assert (row["total"], row["wish"]) == (2, "")
    assert row["filled_at"] is not None


def test_any_row_is_shown_as_it_will_arrive(anna: Browser) -> None:
    check = lists.checked(anna, SOME, TEXT)
    row = anna.get(f"{check.path}?row=3", headers=JSON).json
    assert row["text"] == "Hallo Ann, bis 11:00"
    assert (row["recipient"], row["segments"], row["code"]) == ("+4917604070002", 1, None)
    assert anna.get(f"{check.path}?row=4", headers=JSON).json["code"] == "too_short"
    assert "Hallo Ann, bis 11:00" in anna.get(f"{check.path}?row=3").text
    anna.get(f"{check.path}?row=99", headers=JSON, status=404)


def test_once_sent_nothing_of_the_list_is_left(app: Flask, anna: Browser) -> None:
    secret = "Qwertzuiopname"
    check = lists.checked(anna, lists.csv_of([("0176 04070001", secret), ("0176 04070002", "B")]))
    path = check.path.removesuffix("/check")
    assert secret.encode() not in stored_bytes(app), "it is encrypted from the first moment on"
    lists.send(anna, check)
    work(app)
    row = next(row for row in stored_rows(app)["lists"])
    held = ("name", "original", "content", "look", "mapping", "result", "plan")
    assert {name: row[name] for name in held} == dict.fromkeys(held)
    assert "This list was sent" in anna.get(path, status=410).text
    assert anna.get(path, status=410, headers=JSON).json["code"] == "gone"


def test_the_same_form_again_leads_to_the_same_batch(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    form = lists.confirmed(anna, lists.checked(anna, lists.people(3)))
    first = anna.post("/batches", form, status=303)
    assert anna.post("/batches", form, status=303).location == first.location
    work(app)
    assert anna.post("/batches", form, status=303).location == first.location
    work(app)
    assert sum(arrived(sipgate).values()) == 3
    assert len(stored_rows(app)["batches"]) == 1


def test_two_tabs_with_one_list_send_it_once(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, lists.people(3))
    one = lists.confirmed(anna, check)
    other = lists.confirmed(anna, anna.get(check.path))
    assert one["submission_id"] != other["submission_id"]
    anna.post("/batches", one, status=303)
    page = anna.post("/batches", other, status=409)
    assert "This list is being sent" in page.text
    work(app)
    anna.post("/batches", other, status=410)
    assert len(stored_rows(app)["messages"]) == 3


def test_a_list_changed_in_another_tab_is_looked_at_again(app: Flask, anna: Browser) -> None:
    check = lists.checked(anna, lists.people(3))
    form = lists.confirmed(anna, check)
    lists.save(anna, anna.get(check.path.removesuffix("/check")), "Good-bye ((Vorname))")
    page = anna.post("/batches", form, status=409)
    assert "the list has changed since this page was opened" in page.text
    assert stored_rows(app)["batches"] == []
    old = {**form, "message": "x", "version": "1"}
    anna.post(check.path.removesuffix("/check"), old, status=409)


def test_the_same_list_again_reaches_only_the_new_ones(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    lists.send(anna, lists.checked(anna, lists.people(3)))
    work(app)
    check = lists.checked(anna, lists.people(5))
    twin = lists.twin(anna, check)
    assert (twin["counts"]["already_sent"], twin["sendable"]) == (3, 2)
    assert "3 of these people got exactly this text today" in check.text
    lists.send(anna, check)
    work(app)
    assert set(arrived(sipgate).values()) == {1}
    assert sum(arrived(sipgate).values()) == 5


def test_what_still_waits_is_left_out_too_and_after_a_withdrawal_it_goes(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    first = lists.send(anna, lists.checked(anna, lists.people(3)))
    anna.post(f"{first.path}/stop", anna.get(first.path).fields(f"{first.path}/stop"), status=303)
    work(app)
    check = lists.checked(anna, lists.people(4))
    assert lists.twin(anna, check)["sendable"] == 1
    assert f'href="{first.path}"' in str(check.soup)
    page = anna.get(first.path)
    anna.post(f"{first.path}/cancel", page.fields(f"{first.path}/cancel"), status=303)
    assert lists.twin(anna, check)["sendable"] == 4


@pytest.mark.parametrize("typed", ["", "119", "abc"])
def test_a_long_list_needs_its_number_typed(app: Flask, anna: Browser, typed: str) -> None:
    check = lists.checked(anna, lists.people(120))
    form = lists.confirmed(anna, check)
    page = anna.post("/batches", {**form, "typed_count": typed}, status=422)
    assert page.error_at("typed_count") == "Enter 120 to send 120 messages."
    form.pop("typed_count")
    anna.post("/batches", form, status=422)
    anna.post("/batches", {**form, "typed_count": "120 "}, status=303)
    assert len(stored_rows(app)["batches"]) == 1


def test_the_daily_limit_counts_a_list_before_its_messages_are_made(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(DAILY_LIMIT="5")
    anna = Browser(app, sipgate)
    anna.sign_in()
    batch = lists.send(anna, lists.checked(anna, lists.people(3)))
    other = lists.checked(anna, lists.people(3, first=100))
    form = lists.confirmed(anna, other)
    page = anna.post("/batches", form, status=429)
    assert "You may send 5 messages a day, and 2 are left: this list has 3." in page.text
    page = anna.get(batch.path)
    anna.post(f"{batch.path}/cancel", page.fields(f"{batch.path}/cancel"), status=303)
    anna.post("/batches", form, status=303)  # withdrawn ones do not count
    work(app)
    assert sum(arrived(sipgate).values()) == 3


def test_nobody_else_finds_a_list_not_even_an_admin(
    new_browser: Callable[[], Browser], anna: Browser
) -> None:
    ben = new_browser()
    ben.sign_in("ben")
    check = lists.checked(ben, lists.people(2))
    for path in (check.path, check.path.removesuffix("/check")):
        anna.get(path, status=404)
    data = anna.get("/batches/new").fields("/batches/new")
    anna.post(check.path.replace("/check", "/delete"), data, status=404)
    assert len(lists.twin(ben, check)["columns"]) == 2


def test_what_cannot_be_read_is_one_sentence(anna: Browser) -> None:
    page = lists.upload(anna, "", status=422)
    assert "this one is empty" in page.text
    assert "autofocus" in str(page.soup.select_one(".summary"))
    page = anna.post("/batches/new", anna.get("/batches/new").fields("/batches/new"), status=422)
    assert "Choose a file, or paste the cells" in page.text
    page = lists.upload(anna, b"x" * 6_000_000, status=413)
    assert "at most 5 MB" in page.text
    page = lists.upload(anna, b"x" * 5_300_000, status=413, headers=JSON)
    assert page.json["code"] == "too_large"


def test_pasted_cells_are_a_list_as_well(anna: Browser) -> None:
    fields = anna.get("/batches/new").fields("/batches/new")
    cells = "Handy\tVorname\n0176 04070001\tAnn\n0176 04070002\tBo\n"
    answer = anna.post("/batches/new", {**fields, "cells": cells}, status=201, headers=JSON)
    page = anna.get(answer.json["url"])
    assert lists.twin(anna, lists.save(anna, page, "Hi ((Vorname))"))["sendable"] == 2


def test_a_placeholder_without_a_column_needs_a_word_for_everybody(anna: Browser) -> None:
    page = anna.follow(lists.upload(anna, lists.people(2)))
    page = lists.save(anna, page, "Hi ((Vorname)), see ((Ort))", status=422)
    assert "Choose a column for ((Ort))" in page.error_at("column-1")
    check = lists.save(anna, page, "Hi ((Vorname)), see ((Ort))", **{"empty-1": "Köln"})
    assert anna.get(f"{check.path}?row=2", headers=JSON).json["text"] == "Hi Person0, see Köln"


def test_after_a_new_sign_in_the_list_is_still_there(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    check = lists.checked(anna, lists.people(3))
    form = lists.confirmed(anna, check)
    with app.app_context(), transaction() as session:
        session.execute(sa.delete(BrowserSession))
    page = anna.post("/batches", form, status=401)
    assert "Nothing was sent" not in page.text, "nobody knows, if it comes a second time"
    link = page.soup.select_one("main a[href^='/login']")
    assert link is not None
    assert check.path in unquote(str(link["href"]))
    anna.sign_in()
    lists.send(anna, anna.get(check.path))
    work(app)
    assert sum(arrived(sipgate).values()) == 3


CHOSEN = lists.csv_of(
    [
        ("0176 04070001", "Ann", "ja"),
        ("0176 04070002", "Bo", "nein"),
        ("0176", "Bad", "nein"),
        ("0176 04070003", "Cy", " JA "),
        ("0176 04070004", "Di", ""),
    ],
    "Handy;Vorname;Einwilligung",
)


def test_only_the_rows_that_say_so_are_sent(app: Flask, anna: Browser, sipgate: Simulator) -> None:
    page = anna.follow(lists.upload(anna, CHOSEN))
    check = lists.save(anna, page, "Hi ((Vorname))", only="C", only_value="ja")
    twin = lists.twin(anna, check)
    assert (twin["rows"], twin["sendable"], twin["left_out"]) == (5, 2, 3)
    assert (twin["counts"]["not_chosen"], twin["counts"]["errors"]) == (3, 0)
    assert [one["letter"] for one in twin["columns"]] == ["A", "B", "C"]
    assert "3 rows are not among those that you chose." in check.text
    check = lists.leave_out(anna, check)  # nothing ticked: they are left out all the same
    batch = lists.send(anna, check)
    work(app)
    assert set(arrived(sipgate)) == {"+4917604070001", "+4917604070003"}
    sent = lists.twin(anna, batch)
    assert (sent["rows"], sent["left_out"]) == (5, {"not_chosen": 3})


def test_a_choice_of_rows_needs_both_its_column_and_its_words(anna: Browser) -> None:
    page = anna.follow(lists.upload(anna, CHOSEN))
    found = lists.save(anna, page, "Hi", status=422, only="C", only_value=" ")
    assert "Enter what stands in that column" in found.error_at("only_value")
    found = lists.save(anna, page, "Hi", status=422, only="", only_value="ja")
    assert "Choose the column" in found.error_at("only")
    lists.save(anna, page, "Hi", status=422, only="Z", only_value="ja")
    check = lists.save(anna, page, "Hi", only="C", only_value="vielleicht")
    assert "There is nobody to send to." in check.text


def test_a_value_that_stands_for_nothing_is_pointed_out(anna: Browser) -> None:
    rows = [("0176 04070001", "k. A."), ("0176 04070002", "Bo"), ("0176 04070003", "-")]
    check = lists.checked(anna, lists.csv_of(rows))
    twin = lists.twin(anna, check)
    assert (twin["sendable"], twin["counts"]["hollow"]) == (3, 2)
    assert "2 texts have “k. A.” or the like where a value should be" in check.text
    assert check.soup.select_one(f"main a[href='{check.path}?row=4']") is not None


def test_numbers_that_were_completed_are_shown_beside_those_typed(anna: Browser) -> None:
    check = lists.checked(anna, lists.csv_of([("17604070001", "Ann"), ("0176 04070002", "Bo")]))
    assert "1 number was completed" in check.text
    cells = [one.get_text() for one in check.soup.select("details .sheet td")]
    assert cells == ["17604070001", "+49 176 04070001"]


def test_dear_dashes_are_swapped_where_the_page_leads(anna: Browser) -> None:
    check = lists.checked(anna, lists.csv_of([("0176 04070001", "A–B")]))
    assert "1 text costs more because of –." in check.text
    link = check.soup.select_one("main a[href$='#plain']")
    assert link is not None
    check = lists.save(
        anna, anna.get(str(link["href"]).partition("#")[0]), "Hello ((Vorname))", plain="1"
    )
    assert "costs more" not in check.text


def test_who_has_ten_lists_is_told_which_makes_way(app: Flask, anna: Browser) -> None:
    first = anna.follow(lists.upload(anna, lists.people(1), "oldest.csv"))
    for n in range(8):
        lists.upload(anna, lists.people(1), f"{n}.csv")
    assert "is deleted" not in anna.get("/batches/new").text
    lists.upload(anna, lists.people(1), "tenth.csv")
    assert "If you choose another, “oldest.csv” is deleted" in anna.get("/batches/new").text
    page = anna.follow(lists.upload(anna, lists.people(1), "eleventh.csv"))
    assert "“oldest.csv” was deleted" in page.text
    anna.get(first.path, status=410)
