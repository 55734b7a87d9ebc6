"""Language: the catalogs are whole, German pages are German, and the choice is kept."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from bs4 import BeautifulSoup, NavigableString
from flask import Flask
from flask_babel import ngettext

from tests.support.pages import Browser, Page
from webapp.config import PROJECT
from webapp.database.models import Message
from webapp.i18n import sentences
from webapp.i18n.formats import country_name, device, money, when
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.text import TextProblem, TextRefused
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

CATALOGS = sorted((PROJECT / "webapp" / "translations").glob("*/LC_MESSAGES/messages.po"))
MENDING = "`make strings` brings the catalogs up to date; then translate what is empty"
PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")
FOR_SCRIPTS = ("data-empty", "data-one", "data-several")
GERMAN = {"Accept-Language": "de-DE,de;q=0.9,en;q=0.5"}
# How browsers name themselves, in short.
WEBKIT = "AppleWebKit/605 (KHTML, like Gecko)"


def read(path: Path) -> Catalog:
    return read_po(BytesIO(path.read_bytes()), locale=path.parent.parent.name)


def ids(catalog: Catalog) -> set[str | tuple[str, ...]]:
    return {message.id for message in catalog if message.id}


@cache
def sentences_in_source() -> frozenset[str | tuple[str, ...]]:
    """Every sentence that the code and the templates hand to gettext."""
    mappings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    methods = [(one["pattern"], one["method"]) for one in mappings]
    options = {one["pattern"]: {"silent": "false"} for one in mappings}
    found = extract_from_dir(str(PROJECT), methods, options, DEFAULT_KEYWORDS)
    return frozenset(message for _file, _line, message, _comments, _context in found)


# --- The catalogs, which `make check` looks at ----------------------------------------------------


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.parent.name)
def test_a_catalog_has_every_sentence_and_no_other(path: Path) -> None:
    in_catalog, in_source = ids(read(path)), sentences_in_source()
    assert sorted(map(str, in_source - in_catalog)) == [], MENDING
    assert sorted(map(str, in_catalog - in_source)) == [], MENDING


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.parent.name)
def test_a_catalog_is_translated_with_the_same_placeholders(path: Path) -> None:
    catalog = read(path)
    for message in catalog:
        texts = message.string if message.pluralizable else (message.string,)
        assert all(texts), f"not translated: {message.id}"
        assert not message.id or not message.fuzzy, f"marked as fuzzy: {message.id}"
        assert list(message.check(catalog)) == [], message.id


@pytest.mark.parametrize("path", CATALOGS, ids=lambda path: path.parent.parent.name)
def test_a_catalog_is_compiled(path: Path) -> None:
    compiled = path.with_suffix(".mo")
    assert compiled.exists(), "`make test` compiles the catalogs"
    texts = {str(one.id): one.string for one in read_mo(BytesIO(compiled.read_bytes()))}
    for message in read(path):
        key = str(list(message.id) if message.pluralizable else message.id)
        assert not message.id or list(texts.get(key, "")) == list(message.string), (
            "`make test` compiles the catalogs"
        )


# --- Pages in German ------------------------------------------------------------------------------


@pytest.fixture
def german(new_browser: Callable[[], Browser]) -> Browser:
    """A browser that asks for German pages; nobody is signed in."""
    browser = new_browser()
    browser.client.environ_base["HTTP_ACCEPT_LANGUAGE"] = GERMAN["Accept-Language"]
    return browser


@cache
def english_patterns() -> tuple[re.Pattern[str], ...]:
    """Each English sentence that reads otherwise in German, whatever stands in its gaps."""
    [german] = [path for path in CATALOGS if path.parent.parent.name == "de"]
    patterns = []
    for message in read(german):
        pairs = zip(message.id, message.string, strict=True) if message.pluralizable else ()
        for english, translated in pairs or ((str(message.id), message.string),):
            if english and english != translated:
                gaps = (re.escape(part) for part in PLACEHOLDER.split(english))
                patterns.append(re.compile(r"(?<!\w)" + r".+?".join(gaps) + r"(?!\w)"))
    return tuple(patterns)


def own_words(page: Page) -> Iterator[str]:
    """What the page itself says: to the eye, to a screen reader, and through its script."""
    soup = BeautifulSoup(str(page.soup), "html.parser")
    for form in soup.select("[data-compose]"):
        for text in json.loads(str(form["data-compose"]))["words"].values():
            yield from [text] if isinstance(text, str) else text
    for tag in soup.find_all(True):
        for name in ("aria-label", "title", "placeholder", *FOR_SCRIPTS):
            yield str(tag.get(name) or "")
    for typed in soup.select("textarea, [dir=auto], q, code"):
        typed.decompose()
    for node in soup.find_all(string=True):
        if type(node) is NavigableString:
            yield node
    for block in soup.select("p, li, h1, h2, dd, td, label, legend"):
        yield block.get_text("")


def check_german(page: Page) -> None:
    assert page.soup.html is not None
    assert page.soup.html["lang"] == "de"
    for text in {" ".join(text.split()) for text in own_words(page)}:
        for pattern in english_patterns():
            # A single word may well be part of a German sentence.
            found = pattern.search(text) if " " in pattern.pattern else pattern.fullmatch(text)
            assert not found, f"English on {page.path}: {text!r}"


def test_pages_for_strangers_are_german(german: Browser) -> None:
    for path in ("/", "/help", "/about"):
        check_german(german.get(path))
    check_german(german.get("/nowhere", status=404))
    check_german(german.get("/auth/callback?error=access_denied&state=x", status=400))


def test_pages_of_a_member_are_german(german: Browser) -> None:
    german.sign_in("anna")
    for path in ("/", "/messages", "/extensions", "/senders", "/sessions", "/operator", "/logout"):
        check_german(german.get(path))


def test_own_sender_numbers_are_german(german: Browser) -> None:
    query = {"next": "/senders", "purpose": "senders"}
    address = german.get("/login", status=302, query_string=query).location
    check_german(german.get(german.callback_path(address, decision="deny"), status=400))
    address = german.get("/login", status=302, query_string=query).location
    german.get(german.callback_path(address), status=302)
    page = german.get("/senders")
    check_german(page)
    data = {one["name"]: one["value"] for one in page.soup.select("[method=post] [name][value]")}
    check_german(german.post("/senders", {**data, "number": "030 23125456"}, status=422))
    german.sipgate.fail_next("add_caller_id", Fault(402))
    check_german(german.post("/senders", {**data, "number": "0171 3920055"}, status=422))
    check_german(german.post("/senders/s0/0/default", data, status=409))
    check_german(german.post("/senders/s0/123456/remove", data, status=409))
    data["submission_id"] = german.get("/").fields()["submission_id"]
    page = german.post("/senders", {**data, "number": "0171 3920055"}, status=303)
    page = german.follow(german.follow(page))
    check_german(page)
    check_german(german.press(page, page.path, code="nope", status=422))


def test_a_member_without_an_extension_reads_german(german: Browser) -> None:
    german.sign_in("clara")
    for path in ("/", "/extensions"):
        check_german(german.get(path))


@pytest.mark.parametrize(
    ("recipient", "text", "send_at"),
    [
        ("", "", ""),
        ("0171 392005", "Hallo", "2026-13-01T00:00"),
        ("0900 1234567", "Hallo", "2020-01-01T00:00"),
        ("110", "ç" * 671, "2099-01-01T00:00"),
        ("nobody", "\x00", ""),
    ],
)
def test_problems_are_told_in_german(
    german: Browser, recipient: str, text: str, send_at: str
) -> None:
    german.sign_in("anna")
    page = german.send(recipient, text, status=422, send_at=send_at, time_zone="UTC")
    check_german(page)
    assert len(page.soup.select(".summary li")) >= 2


@pytest.mark.parametrize("ending", ["50", "01", "02", "03", "04", "05", "06", "09", "10", "11"])
def test_every_outcome_is_told_in_german(german: Browser, ending: str) -> None:
    german.sign_in("anna")
    page = german.send_and_look(f"+4917139200{ending}")
    check_german(page)
    check_german(german.get("/messages"))
    if page.soup.select(f'a[href="{page.path}/again"]'):
        check_german(german.get(f"{page.path}/again"))


def test_planned_withdrawn_and_paused_messages_are_told_in_german(german: Browser) -> None:
    german.sign_in("anna")
    tomorrow = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M}"
    numbers = "+491713920050\n+491713920051"
    question = german.send(numbers, status=409, send_at=tomorrow, time_zone="UTC")
    check_german(question)
    [button] = question.soup.select("[name=confirm]")
    assert button.get_text() == "2 Nachrichten planen"
    answered = {**question.fields(), "confirm": str(button["value"])}
    batch = german.follow(german.post("/messages", answered, status=303))
    assert batch.h1 == "2 Nachrichten"
    check_german(batch)
    [first, second] = [str(link["href"]) for link in batch.soup.select(".rows a")]
    check_german(german.get(first))
    check_german(german.get(f"{first}/edit"))
    check_german(german.follow(german.press(german.get(first), f"{first}/cancel")))
    check_german(german.follow(german.press(batch, f"{batch.path}/stop")))
    check_german(german.get(second))
    check_german(german.get("/logout"))


# --- Which language -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("fr-FR,fr;q=0.9,de;q=0.5", "de"),
        ("en-GB,de;q=0.5", "en"),
        ("fr-FR,fr;q=0.9", "en"),
        ("tlh", "en"),
        ("", "en"),
        ("*", "en"),
        (";;;", "en"),
    ],
)
def test_a_page_is_in_the_language_the_browser_asks_for_else_english(
    stranger: Browser, accepted: str, language: str
) -> None:
    page = stranger.get("/", headers={"Accept-Language": accepted})
    assert page.soup.html is not None
    assert page.soup.html["lang"] == language


def language_of(browser: Browser) -> str:
    html = browser.get("/").soup.html
    assert html is not None
    return str(html["lang"])


def test_the_chosen_language_wins_and_stays_over_sign_out_and_sign_in(german: Browser) -> None:
    german.sign_in("anna")
    assert language_of(german) == "de"
    answer = german.press(german.get("/messages"), "/language", locale="en")
    assert answer.location == "/messages"
    assert language_of(german) == "en"
    german.press(german.get("/"), "/logout")
    assert language_of(german) == "en"
    german.sign_in("anna")
    assert language_of(german) == "en"


def test_an_unknown_language_changes_nothing_and_leads_nowhere_else(german: Browser) -> None:
    fields = {"locale": "fr", "next": "https://example.com/"}
    assert german.press(german.get("/"), "/language", **fields).location == "/"
    assert language_of(german) == "de"


def test_the_command_line_speaks_english(app: Flask) -> None:
    with app.app_context():
        assert sentences.text_problem(TextRefused(TextProblem.EMPTY)) == "Enter a text."


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_reason_has_a_sentence_of_its_own(app: Flask, language: str) -> None:
    """Without one, a message's page would say "Refused" and leave its reader with that."""
    with speaking(app, language):
        told = [sentences.message_sentence(ended_because_of(reason)) for reason in Reason]
    assert all(re.fullmatch(r"\S+ .+ .+\.", sentence) for sentence in told), told
    assert len(set(told)) == len(Reason)


def ended_because_of(reason: Reason) -> Message:
    return Message(
        member_id=1,
        account_id="1234567",
        extension_id="s0",
        recipient="+491713920050",
        text="Hello",
        segment_count=1,
        outcome=Outcome.CANCELLED if reason == Reason.BLOCKED else Outcome.REFUSED,
        reason=reason,
        retry_at=now(),
    )


# --- Plurals, dates, money, names -----------------------------------------------------------------


@contextmanager
def speaking(app: Flask, language: str) -> Iterator[None]:
    with app.test_request_context(headers={"Accept-Language": language}):
        yield


@pytest.mark.parametrize(
    ("language", "count", "text"),
    [
        ("en", 0, "0 messages"),
        ("en", 1, "1 message"),
        ("en", 2, "2 messages"),
        ("de", 0, "0 Nachrichten"),
        ("de", 1, "1 Nachricht"),
        ("de", 2, "2 Nachrichten"),
    ],
)
def test_plural_forms(app: Flask, language: str, count: int, text: str) -> None:
    with speaking(app, language):
        assert ngettext("%(num)s message", "%(num)s messages", count) == text


@pytest.mark.parametrize(
    ("language", "moment", "zone", "text"),
    [
        ("en", "2026-11-24T07:00", "", "Tue 24 Nov 2026, 08:00 CET"),
        ("de", "2026-11-24T07:00", "", "Di. 24. Nov. 2026, 08:00 MEZ"),
        ("en", "2026-10-25T00:30", "", "Sun 25 Oct 2026, 02:30 CEST"),
        ("en", "2026-10-25T01:30", "", "Sun 25 Oct 2026, 02:30 CET"),
        ("de", "2026-10-25T00:30", "", "So. 25. Okt. 2026, 02:30 MESZ"),
        ("de", "2026-10-25T01:30", "", "So. 25. Okt. 2026, 02:30 MEZ"),
        ("de", "2026-11-24T13:00", "America/New_York", "Di. 24. Nov. 2026, 08:00 EST"),
        ("en", "2026-11-24T13:00", "UTC", "Tue 24 Nov 2026, 13:00 UTC"),
        ("de", "2026-03-01T13:00", "Europe/Istanbul", "So. 1. März 2026, 16:00 UTC+03"),
    ],
)
def test_a_date_is_in_the_language_and_names_its_zone(
    app: Flask, language: str, moment: str, zone: str, text: str
) -> None:
    with speaking(app, language):
        assert when(datetime.fromisoformat(moment).replace(tzinfo=UTC), zone) == text


def test_money_and_countries_are_in_the_language(app: Flask) -> None:
    with speaking(app, "de"):
        assert (money(Decimal("0.1375")), country_name("DE")) == ("0,14\u00a0€", "Deutschland")
        assert country_name("") == "Land des Empfängers"
    with speaking(app, "en"):
        assert (money(Decimal("0.1375")), country_name("DE")) == ("€0.14", "Germany")


@pytest.mark.parametrize(
    ("user_agent", "text"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Firefox/140.0", "Firefox auf Windows"),
        (f"(Windows NT 10.0) {WEBKIT} Chrome/142 Safari/537 Edg/142", "Edge auf Windows"),
        (f"(Linux; Android 16) {WEBKIT} Chrome/142 Mobile Safari/537", "Chrome auf Android"),
        (f"(iPhone; CPU iPhone OS 19_0 like Mac OS X) {WEBKIT} Safari/604", "Safari auf iPhone"),
        (f"(Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Safari/605", "Safari auf Mac"),
        ("curl/8.0", "Unbekannter Browser"),
        ("", "Unbekannter Browser"),
    ],
)
def test_a_browser_is_named_as_people_know_it(app: Flask, user_agent: str, text: str) -> None:
    with speaking(app, "de"):
        assert device(user_agent) == text


def test_a_price_is_estimated_for_all_recipients(
    make_app: Callable[..., Flask], sipgate: Simulator
) -> None:
    browser = Browser(make_app(SEGMENT_PRICE="0.079"), sipgate)
    browser.sign_in("anna")
    text = "„" + "a" * 100
    assert "2 parts · 33 characters left · about €0.16" in browser.send("12", text, status=422).text
    several = browser.send("+491713920050\n+491713920051\n+491713920052", text, status=409)
    assert "about €0.47 in total" in several.text
    assert "„ makes this text" in several.text
