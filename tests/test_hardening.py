"""Small holes, each closed: what an address or a form may hold, what a stranger may start."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.pages import Browser, Page
from tests.test_access import ARGUMENTS, address, rules
from tests.worker import send_to_many
from webapp.config import PROJECT
from webapp.extensions import db
from webapp.models import Message

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
