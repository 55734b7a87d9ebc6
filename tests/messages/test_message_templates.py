"""Message templates: shared by the account, filled in, deleted with a way back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask

from tests.support.pages import Browser, Page
from tests.web.test_questions import answer
from webapp.messages import message_templates
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


def use(browser: Browser, path: str) -> Page:
    """The form for a message with the template's text."""
    return browser.follow(browser.get(path, status=302))


def insert(browser: Browser, page: Page, name: str, **typed: str) -> Page:
    """Choose a template on the form's page, as without JavaScript."""
    options = {
        option.get_text(): str(option["value"]) for option in page.soup.select("noscript option")
    }
    data = {**page.fields("/messages"), "template": options[name], **typed}
    return browser.post("/message-templates/insert", data, status=200)


def fills_of(page: Page) -> dict[str, str]:
    """The fields for placeholders: their names, and what is in them."""
    fields = page.fields("/messages")
    return {key[5:]: value for key, value in fields.items() if key.startswith("fill-")}


def test_a_template_is_filled_in_seen_and_sent(anna: Browser, sipgate: Simulator) -> None:
    page = use(anna, make(anna))
    assert message_of(page) == REMINDER
    assert fills_of(page) == {"first name": "", "time": ""}
    typed = {"recipient": "+491713920050", "fill-first name": " Emil ", "fill-time": "9:30"}
    question = anna.post("/messages", {**page.fields("/messages"), **typed}, status=409)
    text = "Hello Emil, your appointment is at 9:30. Bye, Emil"
    assert f"The finished text: “{text}”" in question.text
    assert (message_of(question), fills_of(question)) == (text, {})
    assert sipgate.world.arrivals == []
    answer(anna, question)
    assert [one.text for one in sipgate.world.arrivals] == [text]


def test_b09_a_missing_value_is_asked_about_and_nothing_is_lost(anna: Browser) -> None:
    page = use(anna, make(anna))
    typed = {"recipient": "+491713920050", "fill-first name": "Emil"}
    question = anna.post("/messages", {**page.fields("/messages"), **typed}, status=409)
    assert "((time))" in question.text
    assert message_of(question).startswith("Hello Emil, your appointment is at ((time)).")
    assert fills_of(question) == {"time": ""}


@pytest.mark.parametrize(
    "value", ["((time))", "{first name.__class__}", "%s", "{{7*7}}", "<b>", "\\1", "$1"]
)
def test_b09_a_value_is_never_looked_into(anna: Browser, value: str) -> None:
    page = use(anna, make(anna, text="Hello ((first name)): ((time)) {name.__class__} %s"))
    typed = {"fill-first name": value, "fill-time": "9", "recipient": "nobody"}
    again = anna.post("/messages", {**page.fields("/messages"), **typed}, status=422)
    assert message_of(again) == f"Hello {value}: 9 {{name.__class__}} %s"


def test_what_was_typed_stays_when_a_template_is_inserted(anna: Browser) -> None:
    make(anna)
    typed = {"recipient": "0171 39", "message": "Good morning!", "send_at": "2027-01-01T08:00"}
    page = insert(anna, anna.get("/"), "Reminder", sms_id="s1", **typed)
    kept = page.fields("/messages")
    assert kept["message"] == f"Good morning!\n{REMINDER}"
    assert {name: kept[name] for name in ("recipient", "send_at", "sms_id")} == {
        "recipient": "0171 39",
        "send_at": "2027-01-01T08:00",
        "sms_id": "s1",
    }
    filled = {"fill-first name": "Emil", "fill-time": "9"}
    twice = insert(anna, page, "Reminder", **filled)
    assert message_of(twice).startswith("Good morning!\nHello Emil, your appointment is at 9.")
    assert message_of(twice).endswith(f"\n{REMINDER}")


def test_an_untouched_template_gives_way_to_the_next_one(anna: Browser) -> None:
    make(anna)
    make(anna, name="Closed", text="We are closed today.")
    page = insert(anna, insert(anna, anna.get("/"), "Closed"), "Reminder")
    assert message_of(page) == REMINDER


def test_a_template_deleted_meanwhile_costs_nothing_that_was_typed(anna: Browser) -> None:
    path = make(anna)
    form = anna.get("/")
    anna.press(anna.get(f"{path}/edit"), f"{path}/delete")
    data = {**form.fields("/messages"), "message": "Mine"}
    page = anna.post("/message-templates/insert", data, status=409)
    assert "deleted meanwhile" in page.text
    assert message_of(page) == "Mine"


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


def test_the_form_offers_them(anna: Browser) -> None:
    make(anna)
    page = anna.get("/")
    chips = page.soup.select("main [data-text]")
    assert [(chip.get_text(), chip["data-text"]) for chip in chips] == [("Reminder", REMINDER)]
    choices = page.soup.select("noscript option")
    assert [choice.get_text() for choice in choices] == ["Reminder"]


def test_they_are_shared_by_the_account_and_nobody_else(
    anna: Browser, ben: Browser, karl: Browser
) -> None:
    path = make(anna)
    assert "Reminder" in ben.get("/message-templates").text
    assert "Reminder" not in karl.get("/message-templates").text
    for action in ("", "/edit"):
        karl.get(path + action, status=404)
    for action in ("/edit", "/delete", "/restore"):
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


def test_one_that_a_colleague_changes_meanwhile_is_deleted_as_the_page_says(
    anna: Browser, ben: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(anna) + "/edit"
    action = path.replace("/edit", "/delete")
    page = anna.get(path)
    real = message_templates.transaction

    def late() -> Any:
        monkeypatch.undo()
        ben.post(path, {**ben.get(path).fields(), "text": "By Ben"}, status=303)
        return real()

    monkeypatch.setattr(message_templates, "transaction", late)
    done = anna.press(page, action)
    assert "Deleted." in anna.follow(done).text
    anna.get(path, status=404)


def test_a_deleted_one_can_be_brought_back(anna: Browser, ben: Browser) -> None:
    path = make(anna)
    anna.press(anna.get(f"{path}/edit"), f"{path}/delete")
    anna.get(path, status=404)
    anna.get(f"{path}/edit", status=404)
    page = ben.get("/message-templates")
    assert "Can be restored for 30 days" in page.text
    ben.press(page, f"{path}/restore")
    assert message_of(use(anna, path)) == REMINDER


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
    page = use(anna, make(anna, name=evil, text=f"{evil} (({evil}))"))
    assert fills_of(page) == {evil: ""}
    assert page.soup.find("img") is None
    assert anna.get("/").soup.find("img") is None


def send_filled(browser: Browser, page: Page, text: str, **changed: str) -> None:
    form = {**page.fields("/messages"), "recipient": "+491713920050", "message": text, **changed}
    browser.post("/messages", form, status=303)


def test_the_list_finds_what_was_written_from_a_template(anna: Browser, karl: Browser) -> None:
    path = make(anna, "Ready", "Your glasses are ready.")
    others = make(karl, "Theirs", "Not yours")
    id_ = path.rpartition("/")[2]
    send_filled(anna, use(anna, path), "Used from the page of templates")
    send_filled(anna, insert(anna, anna.get("/"), "Ready"), "Inserted into the form")
    send_filled(anna, anna.get("/"), "Without one")
    foreign = {"template_id": others.rpartition("/")[2]}
    send_filled(anna, anna.get("/"), "With another account's", **foreign)

    def listed(query: str) -> list[str]:
        cells = anna.get(f"/messages?{query}").soup.select("main tbody .cell-text")
        return [cell.get_text(strip=True) for cell in cells]

    assert listed(f"template={id_}") == [
        "Inserted into the form",
        "Used from the page of templates",
    ]
    assert listed(f"template={id_}&q=inserted") == ["Inserted into the form"]
    assert listed(f"template={foreign['template_id']}") == []
    [chosen] = anna.get(f"/messages?template={id_}").soup.select("#template option[selected]")
    assert chosen.get_text() == "Ready"
