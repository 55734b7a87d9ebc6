"""Message templates: shared by the account, filled in, deleted with a way back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from tests.support.pages import Browser, Page
from webapp.rules.text import fill_placeholders, placeholders
from webapp.simulator.server import Simulator

REMINDER = "Hello ((first name)), your appointment is at ((time)). Bye, ((first name))"


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


def make(browser: Browser, name: str = "Reminder", text: str = REMINDER) -> str:
    """Make a template through its form; returns the path it is used at."""
    page = browser.get("/message-templates/new")
    browser.post(
        "/message-templates/new", {**page.fields(), "name": name, "text": text}, status=303
    )
    links = browser.get("/message-templates").soup.select("main .panel a")
    found = [str(link["href"]) for link in links if f"“{name}”" in link.get_text()]
    return found[0]


def message_of(page: Page) -> str:
    return page.fields("/messages")["message"]


def test_a_template_is_filled_in_and_opens_the_form(anna: Browser, sipgate: Simulator) -> None:
    page = anna.get(make(anna))
    assert page.h1 == "Reminder"
    labels = [label.get_text() for label in page.soup.select("main form label")]
    assert labels == ["first name", "time"]
    values = {**page.fields(), "value0": " Emil ", "value1": "9:30"}
    form = anna.follow(anna.post(page.path, values, status=303))
    text = "Hello Emil, your appointment is at 9:30. Bye, Emil"
    assert message_of(form) == text
    data = {**form.fields("/messages"), "recipient": "+491713920050"}
    anna.post("/messages", data, status=303)
    assert [one.text for one in sipgate.world.arrivals] == [text]


def test_b09_a_missing_value_is_asked_for_and_nothing_is_lost(anna: Browser) -> None:
    page = anna.get(make(anna))
    again = anna.post(page.path, {**page.fields(), "value0": "Emil", "value1": " "}, status=422)
    assert "Fill this in." in again.text
    assert again.error_at("value1")
    assert again.fields()["value0"] == "Emil"


@pytest.mark.parametrize(
    "value", ["((time))", "{first name.__class__}", "%s", "{{7*7}}", "<b>", "\\1", "$1"]
)
def test_b09_a_value_is_never_looked_into(anna: Browser, value: str) -> None:
    page = anna.get(make(anna, text="Hello ((first name)): ((time)) {name.__class__} %s"))
    form = anna.follow(anna.post(page.path, {**page.fields(), "value0": value, "value1": "9"}))
    assert message_of(form) == f"Hello {value}: 9 {{name.__class__}} %s"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("((a)) (( b )) ((a))", ("a", "b")),
        ("(a) ((a) (a)) (((a)))", ("a",)),
        ("(((( nested ((x)) ))))", ("x",)),
        ("(())", ()),
        ("((" + "x" * 41 + "))", ()),
        ("((a\nb))", ()),
        ("((" * 50_000, ()),
    ],
)
def test_b09_only_whole_names_are_placeholders(text: str, names: tuple[str, ...]) -> None:
    assert placeholders(text) == names
    assert fill_placeholders(text, {}) == text


def test_a_text_that_still_holds_a_placeholder_is_asked_about(
    anna: Browser, sipgate: Simulator
) -> None:
    question = anna.send(text="Hello ((first name))", status=409)
    assert "The text still contains the placeholder ((first name))." in question.text
    assert sipgate.world.arrivals == []


def test_one_without_placeholders_goes_straight_to_the_form(anna: Browser) -> None:
    redirect = anna.get(make(anna, text="We are closed today."), status=302)
    assert message_of(anna.follow(redirect)) == "We are closed today."


def test_the_form_offers_them(anna: Browser) -> None:
    path = make(anna)
    links = [str(link["href"]) for link in anna.get("/").soup.select("main nav a")]
    assert links == [path]


def test_they_are_shared_by_the_account_and_nobody_else(
    anna: Browser, ben: Browser, karl: Browser
) -> None:
    path = make(anna)
    assert "Reminder" in ben.get("/message-templates").text
    assert "Reminder" not in karl.get("/message-templates").text
    for action in ("", "/edit"):
        karl.get(path + action, status=404)
    for action in ("", "/edit", "/delete", "/restore"):
        token = karl.get("/").fields("/messages")["csrf_token"]
        karl.post(path + action, {"csrf_token": token, "name": "x", "text": "x"}, status=404)
    template_id = path.rpartition("/")[2]
    assert message_of(karl.get("/", query_string={"template": template_id})) == ""
    assert "Reminder" in anna.get("/message-templates").text


def test_who_changed_it_and_when_is_told(anna: Browser, ben: Browser) -> None:
    path = make(anna)
    page = ben.get(f"{path}/edit")
    ben.post(f"{path}/edit", {**page.fields(), "text": "Shorter"}, status=303)
    listed = anna.get("/message-templates").text
    assert "Shorter" in listed
    assert "Ben Wagner" in listed
    story = anna.get(f"{path}/edit").text
    assert story.index("Ben Wagner") < story.index("Anna Sommer")
    assert "changed" in story
    assert "created" in story


def test_of_two_who_change_it_at_once_the_second_sees_the_first(
    anna: Browser, ben: Browser
) -> None:
    path = make(anna)
    mine, theirs = anna.get(f"{path}/edit"), ben.get(f"{path}/edit")
    ben.post(f"{path}/edit", {**theirs.fields(), "text": "From Ben"}, status=303)
    clash = anna.post(f"{path}/edit", {**mine.fields(), "text": "From Anna"}, status=409)
    assert "Ben Wagner has changed this template in the meantime" in clash.text
    assert "From Ben" in clash.text
    assert clash.fields(None)["text"] == "From Anna"
    anna.post(f"{path}/edit", {**clash.fields(), "text": "From both"}, status=303)
    assert "From both" in anna.get("/message-templates").text


def test_a_deleted_one_can_be_brought_back(anna: Browser, ben: Browser) -> None:
    path = make(anna)
    anna.press(anna.get(f"{path}/edit"), f"{path}/delete")
    anna.get(path, status=404)
    anna.get(f"{path}/edit", status=404)
    page = ben.get("/message-templates")
    assert "Can be restored for 30 days" in page.text
    ben.press(page, f"{path}/restore")
    assert anna.get(path).h1 == "Reminder"


def test_after_thirty_days_a_deleted_one_is_gone(app: Flask, anna: Browser) -> None:
    path = make(anna)
    anna.press(anna.get(f"{path}/edit"), f"{path}/delete")
    with time_machine.travel(datetime.now(UTC) + timedelta(days=31), tick=True):
        assert app.test_cli_runner().invoke(args=["prune"]).exit_code == 0
    anna.sign_in()
    assert "Reminder" not in anna.get("/message-templates").text


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("", "x", "name"),
        (" \t", "x", "name"),
        ("n" * 81, "x", "name"),
        ("x", "", "text"),
        ("x", "t" * 1531, "text"),
        ("x", "a\x00b", "text"),
    ],
)
def test_wrong_input_is_named_at_its_field_and_kept(
    anna: Browser, name: str, text: str, field: str
) -> None:
    page = anna.get("/message-templates/new")
    data = {**page.fields(), "name": name, "text": text}
    again = anna.post(page.path, data, status=422)
    assert again.error_at(field)
    if "\x00" not in text:
        assert again.fields()["text"] == text


def test_markup_is_only_text(anna: Browser) -> None:
    evil = "<img src=x onerror=alert>"
    page = anna.get(make(anna, name=evil, text=f"{evil} (({evil}))"))
    assert page.h1 == evil
    assert page.soup.find("img") is None
    assert anna.get("/").soup.find("img") is None
