"""Lists in the hands of somebody who sends what no page of ours would: an answer each, never a
crash, and nothing is sent."""

from pathlib import Path

import pytest
from flask import Flask

from tests.lists.test_bombs import BOMBS, mutant
from tests.support import lists
from tests.support.lists import JSON
from tests.support.pages import Browser, Page
from tests.support.rows import stored_rows

ODD = ("", " ", "9" * 5000, "-1", "²", "١", "ZZZZ", "\x00", "a" * 5000, "<img src=x>", "../../etc")
FIELDS = ("header", "sheet", "encoding", "number", "sms_id", "version", "dates", "column-0")
FIELDS += ("empty-0", "name-0", "answered", "plain", "only", "only_value")


@pytest.fixture
def columns(anna: Browser) -> Page:
    """The second page of a list."""
    return anna.follow(lists.upload(anna, lists.people(3)))


@pytest.mark.parametrize("field", FIELDS)
def test_odd_fields_of_the_second_page_are_answered(anna: Browser, field: str) -> None:
    for odd in ODD:
        page = anna.follow(lists.upload(anna, lists.people(2)))
        form = {**page.fields(page.path), "message": "Hi ((Vorname))", field: odd}
        answer = anna.post(page.path, form, status=None)
        assert answer.status in (303, 409, 422), f"{field}={odd[:20]!r}: {answer.status}"


@pytest.mark.parametrize("query", ["row", "show", "after", "test"])
def test_odd_questions_to_the_check_are_answered(anna: Browser, columns: Page, query: str) -> None:
    check = lists.save(anna, columns, "Hi ((Vorname))")
    for odd in ODD:
        for headers in ({}, JSON):
            page = anna.get(check.path, query_string={query: odd}, headers=headers, status=None)
            assert page.status in (200, 404), f"{query}={odd[:20]!r}: {page.status}"


def test_odd_orders_send_nothing(app: Flask, anna: Browser, columns: Page) -> None:
    check = lists.save(anna, columns, "Hi ((Vorname))")
    form = lists.confirmed(anna, check)
    for field in ("list", "version", "submission_id", "send_at", "confirm"):
        for odd in ODD:
            if field == "send_at" and not odd.strip():
                continue  # for now
            answer = anna.post("/batches", {**form, field: odd}, status=None)
            assert answer.status in (404, 409, 422), f"{field}={odd[:20]!r}: {answer.status}"
    assert stored_rows(app)["batches"] == []


def test_a_text_with_endless_placeholders_is_refused_at_once(anna: Browser, columns: Page) -> None:
    text = "".join(f"(({n}))" for n in range(20_000))
    page = lists.save(anna, columns, text, status=422)
    assert page.error_at("message")


@pytest.mark.parametrize("name", ["../../x", "<img src=x onerror=alert(1)>.csv", "a\r\nb.csv", ""])
def test_b14_a_files_name_is_only_shown(anna: Browser, tmp_path: Path, name: str) -> None:
    before = sorted(Path.cwd().iterdir())
    answer = lists.upload(anna, lists.people(1), name, status=None)
    if not name:
        assert answer.status == 422
        return
    page = anna.follow(answer)
    assert "<img" not in str(page.soup.select_one("main q"))
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize("name", ["far cell", "4 billion texts", "lines", "deep"])
def test_b14_bombs_by_upload_are_one_sentence(anna: Browser, name: str) -> None:
    make, codes = BOMBS[name]
    refused = lists.upload(anna, make(), f"{name}.xlsx", status=422, headers=JSON)
    assert refused.json["code"] in codes
    anna.get("/messages")


def test_b14_damaged_files_by_upload_are_read_or_refused(anna: Browser) -> None:
    for seed in range(12):
        content = mutant(seed)
        answer = lists.upload(anna, content, "list.xlsx", status=None, headers=JSON)
        assert answer.status in (201, 422), seed
        if answer.status == 201:
            page = anna.get(answer.json["url"])
            form = {**page.fields(page.path), "message": "Hello"}
            saved = anna.post(page.path, form, status=None)
            assert saved.status in (303, 422), seed
            if saved.status == 303:
                twin = lists.twin(anna, anna.follow(saved))
                assert twin["rows"] == (
                    twin["sendable"] + twin["left_out"] + twin["counts"]["errors"]
                )
