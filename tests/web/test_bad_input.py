"""Whatever is typed, posted or put into an address: a kind page, nothing sent, nothing leaked.

The rows B01 to B29 of the project's bad-input matrix, through the real form and real addresses.
One app and one signed-in browser serve all cases, since none of them may leave a trace; every test
also checks that no log line holds what was typed, a token or a full number.
"""

import io
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests
import time_machine
from flask import Flask, request
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeApp, copy_database, drop_database, make_empty_database, values_for
from tests.support.pages import Browser, Page
from tests.support.real_servers import running_server
from webapp import create_app
from webapp.database import db
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

NUMBER = "+491713920050"
BERLIN = ZoneInfo("Europe/Berlin")
SENTENCE = re.compile(r"[A-Z“].+[.?]", re.DOTALL)


@pytest.fixture(scope="module")
def sipgate(simulator: Simulator) -> Iterator[Simulator]:
    simulator.reset()
    yield simulator
    simulator.reset()


@pytest.fixture(scope="module")
def app(
    sipgate: Simulator, template_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flask]:
    database = tmp_path_factory.mktemp("bad-input") / "app.sqlite"
    copy_database(template_database, database)
    # Planned times go to sipgate at once here, where their arrival can be compared.
    app = create_app(values_for(sipgate, database, SCHEDULE_HANDOVER_MINUTES="44640"))
    yield app
    with app.app_context():
        db.engine.dispose()
    drop_database(database)


@pytest.fixture(scope="module")
def anna(app: Flask, sipgate: Simulator) -> Browser:
    browser = Browser(app, sipgate)
    browser.sign_in("anna")
    return browser


@pytest.fixture
def secrets_typed() -> list[str]:
    """What a test has typed and no log line may hold."""
    return [NUMBER.removeprefix("+")]


@pytest.fixture(autouse=True)
def _nothing_leaks_into_the_log(
    sipgate: Simulator, secrets_typed: list[str], caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="webapp")
    yield
    grants = sipgate.world.grants
    forbidden = [one for one in secrets_typed if len(one) > 3]
    forbidden += [*grants.access_tokens, *grants.refresh_tokens, *grants.codes]
    forbidden.append(sipgate.client.client_secret)
    ours = [one for one in caplog.get_records("call") if not one.name.startswith("simulator")]
    lines = [f"{one.getMessage()} {one.exc_text or ''}" for one in ours]
    # The browser of the tests logs its visit to sipgate's sign-in page; that is not the app.
    lines = [line for line in lines if "/openid-connect/auth?" not in line]
    leaked = [one for one in forbidden if any(one in line for line in lines)]
    assert not leaked, f"in the log: {leaked}"


Refuse = Callable[..., Page]


@pytest.fixture(scope="module")
def blank(anna: Browser) -> dict[str, str]:
    """A form that is never taken: 422 does not use up its id."""
    return anna.compose(recipient=NUMBER, message="Hello")


@pytest.fixture
def refuse(
    anna: Browser, blank: dict[str, str], sipgate: Simulator, secrets_typed: list[str]
) -> Refuse:
    """Post a form that must come back: 422, a sentence at the field, all that was typed there."""

    def refuse(field: str, **typed: str) -> Page:
        data = {**blank, **typed}
        secrets_typed.extend(typed.get(name, "") for name in ("recipient", "message"))
        arrived = len(sipgate.world.arrivals)
        page = anna.post("/messages", data, status=422)
        assert SENTENCE.fullmatch(page.error_at(field)), page.text
        assert kept(page, "recipient") == lines_of(data["recipient"])
        assert kept(page, "message") == lines_of(data["message"])
        assert page.fields()["send_at"] == data["send_at"]
        for value in typed.values():
            assert_escaped(page, value)
        assert len(sipgate.world.arrivals) == arrived
        return page

    return refuse


def kept(page: Page, name: str) -> str:
    """What a field holds; a browser drops the first line break of a textarea."""
    return lines_of(page.fields()[name]).removeprefix("\n")


def lines_of(typed: str) -> str:
    """With one kind of line break, as a browser's textarea has it."""
    return typed.replace("\r\n", "\n").replace("\r", "\n")


def assert_escaped(page: Page, value: str) -> None:
    if "<" in value:
        assert value not in page.response.get_data(as_text=True)


# --- B01 to B05: the recipient ------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        "+491713920050\n",
        "+491713920050\r\n",
        "٠١٧١٣٩٢٠٠٥٠",
        "０１７１３９２００５０",
        "＋４９1713920050",
    ],
)
def test_b01_digits_of_any_script_leave_as_ascii(
    anna: Browser, sipgate: Simulator, typed: str
) -> None:
    anna.send(typed, f"B01 {typed!r}")
    assert sipgate.world.arrivals[-1].recipient == NUMBER


@pytest.mark.parametrize(
    "typed",
    [
        "0171 3920050",
        "0049 171 3920050",
        "+49 (0) 171 3920050",
        "0171-392/00.50",
        "tel:+491713920050",
        "\u200b+49171\u200d3920050",
        "+49\u00a0171\u202f3920050",
        "\u202a+491713920050\u202c",
        "\u2067+491713920050\u2069",
        f"{NUMBER};",
        f"\n\n{NUMBER}\n",
    ],
)
def test_b02_a_spelling_becomes_the_number_that_the_page_shows(
    anna: Browser, sipgate: Simulator, typed: str
) -> None:
    page = anna.send_and_look(typed, f"B02 {typed}")
    assert sipgate.world.arrivals[-1].recipient == NUMBER
    assert "+49 171 3920050" in page.text


@pytest.mark.parametrize(
    "typed",
    ["", "   ", "\u200b", "110", "112", "+49112", "22922", "0900 1234567", "0137 7123456"]
    + ["0180 5123456", "+49 180 5123456", "171", "+49 171", "0171 39200500505050", "1" * 16]
    + ["0151-FLOWERS", "anna@praxis.example", "+999 1234567", "+49+1713920050", "++491713920050"]
    + ["+491713920050 ext 5", "491713920050.0", "4,91579E+12", "½", "²³", "+" * 300],
)
def test_b03_what_is_no_mobile_number_is_refused_at_its_field(refuse: Refuse, typed: str) -> None:
    refuse("recipient", recipient=typed)


@pytest.mark.parametrize(
    ("typed", "question"),
    [
        ("+491713920050, +491713920051", "goes to 2 recipients"),
        ("+491713920050;0171 3920051", "goes to 2 recipients"),
        ("+491713920050\r\n+491713920051", "goes to 2 recipients"),
        ("0171 3920050,+491713920050,+491713920051", "was there twice"),
    ],
    ids=["comma", "semicolon", "line", "duplicates"],
)
def test_b04_several_recipients_are_counted_and_asked_about(
    anna: Browser, sipgate: Simulator, blank: dict[str, str], typed: str, question: str
) -> None:
    arrived = len(sipgate.world.arrivals)
    page = anna.post("/messages", {**blank, "recipient": typed}, status=409)
    assert question in page.text
    assert kept(page, "recipient") == lines_of(typed)
    assert len(sipgate.world.arrivals) == arrived


@pytest.mark.parametrize("count", [101, 10_001])
def test_b04_more_than_a_hundred_recipients_are_refused_with_the_limit(
    refuse: Refuse, count: int
) -> None:
    typed = "\n".join(f"+49171{n:07}" for n in range(count))
    page = refuse("recipient", recipient=typed)
    assert "at most 100" in page.error_at("recipient")


def test_b04_a_megabyte_of_recipients_is_a_page_that_names_the_limit(
    anna: Browser, sipgate: Simulator
) -> None:
    arrived = len(sipgate.world.arrivals)
    page = anna.post("/messages", anna.compose(recipient="1" * 1_000_000), status=413)
    assert "256 KB" in page.text
    assert len(sipgate.world.arrivals) == arrived


def test_b04_behind_a_proxy_a_form_too_large_is_taken_in_before_the_page_answers(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    """A server that leaves it unread resets the connection, and nginx may say 502 instead."""
    browser = Browser(make_app(TRUSTED_PROXY_HOPS="1"), sipgate)
    form = io.BytesIO(b"message=" + b"x" * 300_000)
    size = len(form.getvalue())
    page = browser.post("/messages", None, status=401, input_stream=form, content_length=size)
    assert "Team SMS" in str(page.soup.title)
    assert form.tell() == size


INJECTIONS = [
    '+49171392005"}',
    "+491713920050\r\nX-Evil: 1",
    "'; DROP TABLE messages; --",
    "{{7*7}}",
    "${7*7}",
    "../../account",
    "%(typed)s",
    "{0:>1000000}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "+491713920050\x00",
    "+491713920050\x1b[2J",
]


@pytest.mark.parametrize("typed", INJECTIONS)
def test_b05_an_injection_is_refused_and_shown_as_typed(refuse: Refuse, typed: str) -> None:
    page = refuse("recipient", recipient=typed)
    assert "49" not in page.error_at("recipient") or "49" in typed


# --- B06 to B08: the message --------------------------------------------------------------------


@pytest.mark.parametrize("typed", ["", "   ", " \r\n\t ", "\u200b\u200d", "\u3164", "\u00ad"])
def test_b06_a_text_that_shows_nothing_is_refused(refuse: Refuse, typed: str) -> None:
    refuse("message", message=typed)


@pytest.mark.parametrize(
    "typed", ["a" * 1531, "ü€" * 600, "ő" * 671, "x" * 100_000, "e" + "\u0301" * 20_000]
)
def test_b06_a_text_beyond_ten_segments_comes_back_whole(refuse: Refuse, typed: str) -> None:
    page = refuse("message", message=typed)
    assert "parts" in page.error_at("message")
    assert page.soup.select_one("[maxlength]") is None


COUNTED = [
    ("one character", "a", 1),
    ("160 septets", "a" * 160, 1),
    ("161 septets", "a" * 161, 2),
    ("306 septets", "a" * 306, 2),
    ("307 septets", "a" * 307, 3),
    ("70 units", "ő" * 70, 1),
    ("71 units", "ő" * 71, 2),
    ("1530 septets", "a" * 1530, 10),
    ("the extension table counts double", "€^{}[]~\\|" * 8 + "€" * 8, 1),
    ("81 euro signs", "€" * 81, 2),
    ("17 hands with a skin tone", "👍🏽" * 17, 1),
    ("18 hands with a skin tone", "👍🏽" * 18, 2),
]


@pytest.mark.parametrize(
    ("text", "segments"), [case[1:] for case in COUNTED], ids=[case[0] for case in COUNTED]
)
def test_b07_segments_are_counted_and_the_text_arrives_whole(
    anna: Browser, sipgate: Simulator, text: str, segments: int
) -> None:
    assert anna.twin(anna.send(NUMBER, text))["segments"] == segments
    assert sipgate.world.arrivals[-1].text == text


@pytest.mark.parametrize(
    ("typed", "arrives"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\tb", "a\tb"),
        ("Gru\u0308ße", "Grüße"),
        ("  two blanks  ", "  two blanks  "),
        ("\u202eabc", "\u202eabc"),
        ("e\u0301\u0323", "ẹ\u0301"),
        ("a+b%20c&d=e;f", "a+b%20c&d=e;f"),
    ],
)
def test_b07_a_text_arrives_as_typed_but_for_line_breaks_and_composition(
    anna: Browser, sipgate: Simulator, typed: str, arrives: str
) -> None:
    page = anna.send_and_look(NUMBER, typed)
    assert sipgate.world.arrivals[-1].text == arrives
    assert anna.twin(page)["message"] == arrives


@pytest.mark.parametrize("code", [0x00, 0x01, 0x07, 0x08, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F, 0x85, 0x9F])
def test_b07_a_control_character_is_refused_by_its_code_point(refuse: Refuse, code: int) -> None:
    page = refuse("message", message=f"before{chr(code)}after")
    assert f"U+{code:04X}" in page.error_at("message")


def test_b07_broken_utf8_is_no_crash(anna: Browser) -> None:
    fields = anna.compose(recipient="no number")
    body = "&".join(f"{name}={quote(value)}" for name, value in fields.items() if name != "message")
    page = anna.post(
        "/messages",
        f"{body}&message=a%ED%A0%80%FF%C3",
        content_type="application/x-www-form-urlencoded",
    )
    assert page.status == 422


CODE_LIKE = [
    "<script>alert(1)</script>",
    "{{7*7}} {% raw %} {#",
    "${7*7} #{7*7}",
    "%s %n %(at)s %d",
    "{0:>1000000} {message.__class__}",
    '"><img src=x onerror=alert(1)>',
    "</textarea></main><h1>x</h1>",
    "&lt;b&gt; &amp;amp; &#0;",
]


@pytest.mark.parametrize("text", CODE_LIKE)
def test_b08_code_in_a_text_is_text_on_the_phone_and_on_every_page(
    anna: Browser, sipgate: Simulator, text: str
) -> None:
    page = anna.send_and_look(NUMBER, text)
    assert sipgate.world.arrivals[-1].text == text
    again = anna.get(f"{page.path}/again")
    assert kept(again, "message") == text
    for shown in (page, anna.get("/messages"), again):
        assert_escaped(shown, text)
    assert text in page.text


# --- B10: the schedule --------------------------------------------------------------------------


def field_time(moment: datetime) -> str:
    return f"{moment.astimezone(BERLIN):%Y-%m-%dT%H:%M}"


def in_(**ahead: float) -> str:
    return field_time(datetime.now(UTC) + timedelta(**ahead))


WRONG_TIMES = {
    "an hour ago": lambda: in_(hours=-1),
    "now": lambda: in_(),
    "in a minute": lambda: in_(minutes=1),
    "in 31 days": lambda: in_(days=31),
    "year 9999": lambda: "9999-12-31T23:59",
    "year 1": lambda: "0001-01-01T00:00",
    "-1": lambda: "-1",
    "0": lambda: "0",
    "1e20": lambda: "1e20",
    "30 February": lambda: "2027-02-30T08:00",
    "25 o'clock": lambda: "2026-12-24T25:00",
    "a day only": lambda: "2026-12-24",
    "with an offset": lambda: f"{in_(days=1)}+00:00",
    "words": lambda: "tomorrow",
    "code": lambda: "<script>1</script>",
    "10,000 digits": lambda: "1" * 10_000,
    "other digits": lambda: "٢٠٢٦-١٢-٢٤T٠٨:٠٠",
}


@pytest.mark.parametrize("case", WRONG_TIMES)
def test_b10_a_time_that_cannot_be_is_refused_and_never_means_now(
    refuse: Refuse, case: str
) -> None:
    refuse("send_at", send_at=WRONG_TIMES[case]())


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "<i>x", "localtime", "../../etc/x", "CET "])
def test_b10_a_time_in_no_known_zone_is_refused(refuse: Refuse, zone: str) -> None:
    refuse("send_at", send_at=in_(days=1), time_zone=zone)


def test_b10_without_a_time_the_zone_means_nothing(anna: Browser, sipgate: Simulator) -> None:
    anna.send(NUMBER, "B10 now", send_at="   ", time_zone="Mars/Olympus", fold="7")
    assert sipgate.world.arrivals[-1].send_at is None


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
def test_b10_a_time_is_meant_in_its_own_zone(anna: Browser, sipgate: Simulator, zone: str) -> None:
    moment = (datetime.now(UTC) + timedelta(days=2)).replace(second=0, microsecond=0)
    typed = f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%dT%H:%M}"
    page = anna.send(NUMBER, f"B10 {zone}", send_at=typed, time_zone=zone)
    assert sipgate.world.arrivals[-1].send_at == int(moment.timestamp())
    assert datetime.fromisoformat(anna.twin(page)["send_at"]) == moment


@contextmanager
def anna_on(day: datetime, make_app: MakeApp, sipgate: Simulator) -> Iterator[Browser]:
    """Her browser on another day; the simulator's clock is the same."""
    with time_machine.travel(day, tick=True):
        browser = Browser(make_app(SCHEDULE_HANDOVER_MINUTES="44640"), sipgate)
        browser.sign_in("anna")
        yield browser


def test_b10_a_time_that_the_clocks_skip_is_refused(make_app: MakeApp, sipgate: Simulator) -> None:
    arrived = len(sipgate.world.arrivals)
    with anna_on(datetime(2027, 3, 20, 12, tzinfo=UTC), make_app, sipgate) as browser:
        page = browser.send(NUMBER, "gap", send_at="2027-03-28T02:30", status=422)
    assert "does not exist" in page.error_at("send_at")
    assert len(sipgate.world.arrivals) == arrived


def test_b10_a_time_that_comes_twice_is_asked_about_and_then_kept(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    with anna_on(datetime(2026, 10, 20, 12, tzinfo=UTC), make_app, sipgate) as browser:
        page = browser.send(NUMBER, "twice", send_at="2026-10-25T02:30", status=422)
        options = [one["value"] for one in page.soup.select("input[name=fold]")]
        assert options == ["0", "1"]
        assert "twice" in page.error_at("send_at")
        browser.post("/messages", {**page.fields(), "fold": "1"}, status=303)
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert sipgate.world.arrivals[-1].send_at == int(second.timestamp())


# --- B15 to B19: ids, methods, parameters -------------------------------------------------------


@pytest.mark.parametrize(
    "sms_id",
    [
        "",
        "s2",
        "s999",
        "p0",
        "S0",
        " s0",
        "s0 ",
        "../../account",
        "s0/../s2",
        "0",
        "<i>x",
        "s" * 9999,
    ],
)
def test_b15_an_extension_that_is_not_ones_own_is_refused(refuse: Refuse, sms_id: str) -> None:
    refuse("sms_id", sms_id=sms_id)


def test_b15_no_extension_at_all_is_refused(anna: Browser, sipgate: Simulator) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(recipient=NUMBER, message="Hello")
    del fields["sms_id"]
    page = anna.post("/messages", fields, status=422)
    assert page.error_at("sms_id")
    assert len(sipgate.world.arrivals) == arrived


def test_b15_an_extension_of_a_colleague_is_refused_also_in_a_list(
    anna: Browser, sipgate: Simulator
) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = {**anna.compose(recipient=NUMBER, message="Hello"), "sms_id": ["s2", "s0"]}
    assert anna.post("/messages", fields, status=422).error_at("sms_id")
    assert len(sipgate.world.arrivals) == arrived


ODD_IDS = [
    "-1",
    "0",
    "1",
    str(2**63),
    "00000000-0000-0000-0000-000000000000",
    "0" * 32,
    "%00",
    "..%2f..%2fextensions",
    "..%5c..%5cextensions",
    "%ff%fe",
    "%ED%A0%80",
    "'%20OR%201=1--",
    "*",
    "%25",
    "a" * 4000,
]


@pytest.mark.parametrize("odd", ODD_IDS)
def test_b16_an_id_that_is_nobodys_is_a_missing_page(anna: Browser, odd: str) -> None:
    for path in (f"/messages/{odd}", f"/messages/{odd}/again", f"/messages?before={odd}"):
        page = anna.get(path, status=404)
        assert page.h1 == "Page not found"
    assert anna.get(f"/?draft={odd}").fields()["message"].strip() == ""


def test_b16_other_spellings_of_ones_own_id_are_missing(anna: Browser) -> None:
    path = urlsplit(anna.send(NUMBER, "B16 own").location).path
    known = path.rpartition("/")[2]
    for spelling in (known.upper(), f"{known}%00", f"{known}%20", f"%20{known}", f"{{{known}}}"):
        if spelling != known:
            anna.get(f"/messages/{spelling}", status=404)
    anna.get(f"{path}/", status=404)


def test_b16_the_message_of_somebody_else_is_as_missing_as_none(
    anna: Browser, app: Flask, sipgate: Simulator
) -> None:
    path = urlsplit(anna.send(NUMBER, "B16 hers").location).path
    for person in ("karl", "ben"):
        other = Browser(app, sipgate)
        other.sign_in(person)
        missing = other.get(f"/messages/{'0' * 32}", status=404)
        for address in (path, f"{path}/again", f"/messages?before={path.rpartition('/')[2]}"):
            assert other.get(address, status=404).text == missing.text


@pytest.mark.parametrize("path", ["/messages", "/logout"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE"])
def test_b17_other_methods_are_answered_405(
    anna: Browser, sipgate: Simulator, path: str, method: str
) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(recipient=NUMBER, message="Hello")
    body = None if method == "TRACE" else fields
    response = anna.client.open(path, method=method, data=body, base_url=anna.base_url)
    assert response.status_code == 405
    assert response.headers["Allow"]
    assert len(sipgate.world.arrivals) == arrived
    anna.get("/extensions")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_b17_reading_the_sending_address_sends_nothing(
    anna: Browser, sipgate: Simulator, method: str
) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(recipient=NUMBER, message="Hello", _method="POST")
    headers = {"X-HTTP-Method-Override": "POST", "X-Method-Override": "POST"}
    for path in ("/messages", "/logout"):
        anna.client.open(
            path, method=method, query_string=fields, headers=headers, base_url=anna.base_url
        )
    assert len(sipgate.world.arrivals) == arrived
    anna.get("/extensions")


def test_b17_a_method_named_in_the_form_changes_nothing(anna: Browser, sipgate: Simulator) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(recipient="no number", message="Hello", _method="DELETE")
    anna.post("/messages", fields, status=422)
    assert len(sipgate.world.arrivals) == arrived


def test_b18_of_a_doubled_field_the_first_counts(anna: Browser, sipgate: Simulator) -> None:
    fields: dict[str, Any] = anna.compose()
    fields |= {"recipient": [NUMBER, "+491713920051"], "message": ["B18 first", "B18 second"]}
    anna.post("/messages", fields, status=303)
    arrival = sipgate.world.arrivals[-1]
    assert (arrival.recipient, arrival.text) == (NUMBER, "B18 first")
    assert sipgate.world.arrivals_for("+491713920051") == []


def test_b18_a_doubled_form_id_or_token_sends_at_most_once(
    anna: Browser, sipgate: Simulator
) -> None:
    arrived = len(sipgate.world.arrivals)
    fields: dict[str, Any] = anna.compose(recipient=NUMBER, message="B18 twice")
    other = anna.compose()
    fields["submission_id"] = [fields["submission_id"], other["submission_id"]]
    fields["csrf_token"] = [fields["csrf_token"], "nonsense"]
    for _ in range(2):
        anna.post("/messages", fields, status=303)
    assert len(sipgate.world.arrivals) == arrived + 1


@pytest.mark.parametrize("name", ["recipient[]", "recipient[0]", "recipient.0", "Recipient"])
def test_b18_an_array_is_no_field(anna: Browser, sipgate: Simulator, name: str) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(message="Hello")
    del fields["recipient"]
    page = anna.post("/messages", {**fields, name: NUMBER}, status=422)
    assert page.error_at("recipient")
    assert len(sipgate.world.arrivals) == arrived


def test_b18_json_instead_of_a_form_is_refused(anna: Browser, sipgate: Simulator) -> None:
    arrived = len(sipgate.world.arrivals)
    fields = anna.compose(recipient=NUMBER, message="Hello")
    for token in ({}, {"X-CSRFToken": fields["csrf_token"]}):
        page = anna.post(
            "/messages", json.dumps(fields), content_type="application/json", headers=token
        )
        assert page.status in (400, 422)
    assert len(sipgate.world.arrivals) == arrived


@pytest.mark.parametrize("name", ["recipient", "message", "send_at", "sms_id", "submission_id"])
def test_b18_a_file_in_the_place_of_a_text_is_nothing_typed(
    anna: Browser, sipgate: Simulator, name: str
) -> None:
    arrived = len(sipgate.world.arrivals)
    fields: dict[str, Any] = anna.compose(recipient=NUMBER, message="B18 file", send_at="x")
    fields[name] = (io.BytesIO(b"from a file"), "../../x.txt")
    page = anna.post("/messages", fields, content_type="multipart/form-data")
    assert page.status in (303, 422)
    assert all(one.text == "B18 file" for one in sipgate.world.arrivals[arrived:])


def test_b18_fields_that_the_form_lacks_are_never_stored(anna: Browser, sipgate: Simulator) -> None:
    extra = {"owner": "2", "member_id": "2", "account_id": "7654321", "outcome": "accepted"}
    extra |= {"status": "sent", "due": "1", "id": "0" * 32, "previous_id": "0" * 32, "member": "x"}
    fields = anna.compose(recipient=NUMBER, message="B18 extra", **extra)
    page = anna.post("/messages", fields, status=303)
    twin = anna.twin(page)
    assert (twin["member"], twin["outcome"]) == ("Anna Sommer", "accepted")
    assert twin["id"] != "0" * 32
    assert sipgate.world.arrivals[-1].send_at is None


EVIL_NEXT = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example/",
    "https:evil.example",
    "http:///evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "%2f%2fevil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "\t//evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    " //evil.example",
    "//localhost:5001/messages",
    "http://localhost:5001/",
    "@evil.example",
    "/@evil.example",
    "//anna@evil.example/messages",
    "/messages\r\nSet-Cookie: a=b",
    "/messages/../..//evil.example",
    "/" + "a" * 10_000,
    "/nowhere",
    "messages",
    "",
    "/messagesⒸ",
    "?x=1",
    "/auth/callback/..",
]


@pytest.mark.parametrize("wish", EVIL_NEXT)
def test_b19_a_wish_to_go_elsewhere_ends_on_the_start_page(
    app: Flask, sipgate: Simulator, wish: str
) -> None:
    assert Browser(app, sipgate).sign_in("anna", next_path=wish).location == "/"


@pytest.mark.parametrize(
    "wish", ["/messages", "/extensions", "/messages?before=a%2Fb", "/?draft=1"]
)
def test_b19_a_page_of_our_own_is_returned_to(app: Flask, sipgate: Simulator, wish: str) -> None:
    assert Browser(app, sipgate).sign_in("anna", next_path=wish).location == wish


def test_b19_a_doubled_wish_leads_nowhere_else(app: Flask, sipgate: Simulator) -> None:
    browser = Browser(app, sipgate)
    address = browser.get("/login?next=/messages&next=//evil.example", status=302).location
    page = browser.get(browser.callback_path(address), status=302)
    assert page.location == "/messages"


# --- B20 and B21: the callback ------------------------------------------------------------------

BAD_CALLBACKS = {
    "nothing": "",
    "no code": "state={state}",
    "no state": "code={code}",
    "empty": "code=&state=",
    "a state of nobody's": "code={code}&state=made-up",
    "state twice": "code={code}&state={state}&state={state}",
    "code twice": "code={code}&code={code}&state={state}",
    "a foreign issuer": "code={code}&state={state}&iss=https://evil.example",
    "an error with HTML": "error=<script>alert(1)</script>&error_description=<i>x&state={state}",
    "an error without state": "error=access_denied&error_description=Call+0900",
    "an error of the server": "error=server_error&state={state}",
    "declined": "error=access_denied&state={state}",
    "a megabyte": "code={code}&state=" + "s" * 1_000_000,
    "NUL": "code=%00&state=%00",
    "broken UTF-8": "code=%ff%fe&state=%ED%A0%80",
    "a code of nobody's": "code=made-up&state={state}",
}
WITH_OUR_STATE = ("a code of nobody's",)


@pytest.mark.parametrize("case", BAD_CALLBACKS)
def test_b20_a_wrong_callback_is_a_kind_page_without_a_session(
    app: Flask, sipgate: Simulator, secrets_typed: list[str], case: str
) -> None:
    browser = Browser(app, sipgate)
    query = parse_qs(urlsplit(browser.callback_path(browser.begin_sign_in())).query)
    code, state = query["code"][0], query["state"][0]
    secrets_typed += [code, state, "Call 0900", "alert(1)"]
    exchanges = sipgate.world.calls["token_code"]
    address = BAD_CALLBACKS[case].format(code=code, state=state)
    page = browser.get(f"/auth/callback?{address}", status=400)
    assert page.h1 == "You are not signed in"
    assert page.soup.select_one("main a[href='/login']")
    for attack in ("<script>alert", "<i>x", "Call 0900"):
        assert attack not in page.response.get_data(as_text=True)
    assert browser.get("/messages", status=302).location.startswith("/login")
    made = sipgate.world.calls["token_code"] - exchanges
    assert made == (1 if case in WITH_OUR_STATE else 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_b20_a_callback_that_is_not_a_visit_is_refused(
    app: Flask, sipgate: Simulator, method: str
) -> None:
    browser = Browser(app, sipgate)
    path = browser.callback_path(browser.begin_sign_in())
    exchanges = sipgate.world.calls["token_code"]
    response = browser.client.open(path, method=method, base_url=browser.base_url)
    assert response.status_code == 405
    assert sipgate.world.calls["token_code"] == exchanges


def test_b20_a_used_callback_changes_nothing_for_who_is_signed_in(
    app: Flask, sipgate: Simulator
) -> None:
    browser = Browser(app, sipgate)
    path = browser.callback_path(browser.begin_sign_in())
    browser.get(path, status=302)
    exchanges = sipgate.world.calls["token_code"]
    page = browser.get(path, status=400)
    assert page.h1 == "You are already signed in"
    assert sipgate.world.calls["token_code"] == exchanges
    browser.get("/messages")


def test_b20_a_sign_in_older_than_ten_minutes_is_begun_anew(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    exchanges = sipgate.world.calls["token_code"]
    with time_machine.travel(datetime(2027, 1, 4, 9, tzinfo=UTC), tick=False) as clock:
        browser = Browser(make_app(), sipgate)
        path = browser.callback_path(browser.begin_sign_in())
        clock.shift(timedelta(minutes=10, seconds=1))
        page = browser.get(path, status=400)
    assert "ten minutes" in page.text
    assert sipgate.world.calls["token_code"] == exchanges


def test_b21_an_attackers_callback_signs_nobody_else_in(app: Flask, sipgate: Simulator) -> None:
    attacker, victim = Browser(app, sipgate), Browser(app, sipgate)
    path = attacker.callback_path(attacker.begin_sign_in(), "karl")
    exchanges = sipgate.world.calls["token_code"]
    victim.begin_sign_in()
    assert victim.get(path, status=400).h1 == "You are not signed in"
    assert sipgate.world.calls["token_code"] == exchanges
    assert victim.get("/messages", status=302).location.startswith("/login")
    assert attacker.get(path, status=302).location == "/", "the victim's visit used it up"


# --- B22 to B25: cookies, CSRF, hosts, proxies --------------------------------------------------


def cookie_name(app: Flask) -> str:
    return str(app.config["SESSION_COOKIE_NAME"])


def cookie_of(browser: Browser) -> str:
    host = urlsplit(browser.base_url).hostname or ""
    cookie = browser.client.get_cookie(cookie_name(browser.app), domain=host)
    assert cookie is not None
    return cookie.value


def with_cookie(app: Flask, header: str, path: str = "/messages") -> Any:
    """A visit with this very `Cookie` header."""
    client = app.test_client(use_cookies=False)
    base_url = app.config["SETTINGS"].public_url
    return client.get(path, base_url=base_url, headers={"Cookie": header})


ODD_COOKIES = {
    # Not in the last letter, of which two bits say nothing: one cookie in sixteen would stay good.
    "a flipped bit": lambda good: good[:-2] + ("A" if good[-2] != "A" else "B") + good[-1],
    "a flipped bit in the middle": lambda good: good[:20] + chr(ord(good[20]) ^ 1) + good[21:],
    "cut": lambda good: good[:30],
    "unsigned": lambda good: good.split(".")[0],
    "empty": lambda good: "",
    "8 kB": lambda good: "a" * 8192,
    "not ASCII": lambda good: "\xff\xfe\xfd",
    "NUL": lambda good: "a\x00b",
    "quoted": lambda good: '"' + good,
    "JSON": lambda good: '{"sid": "x"}',
    "dots": lambda good: "...",
}


@pytest.mark.parametrize("case", ODD_COOKIES)
def test_b22_a_cookie_that_is_not_ours_leads_to_the_sign_in(
    anna: Browser, app: Flask, case: str
) -> None:
    response = with_cookie(app, f"{cookie_name(app)}={ODD_COOKIES[case](cookie_of(anna))}")
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login")


def test_b22_of_two_cookies_of_one_name_no_mix_is_made(anna: Browser, app: Flask) -> None:
    name, good = cookie_name(app), cookie_of(anna)
    assert with_cookie(app, f"{name}={good}").status_code == 200
    for header in (f"{name}=bad; {name}={good}", f"{name}={good}; {name}=bad"):
        assert with_cookie(app, header).status_code in (200, 302)


def test_b22_a_cookie_of_another_installation_is_no_sign_in(
    anna: Browser, make_app: MakeApp, sipgate: Simulator
) -> None:
    other = make_app(SECRET_KEY="another-key-for-tests-9876543210-zyxwvutsrq")
    header = f"{cookie_name(other)}={cookie_of(anna)}"
    assert with_cookie(other, header).status_code == 302


def test_b22_a_session_fixed_before_sign_in_is_not_the_one_after(
    app: Flask, sipgate: Simulator
) -> None:
    browser = Browser(app, sipgate)
    path = browser.callback_path(browser.begin_sign_in())
    fixed = cookie_of(browser)
    browser.get(path, status=302)
    assert cookie_of(browser) != fixed
    assert with_cookie(app, f"{cookie_name(app)}={fixed}").status_code == 302


FORGED = {
    "no token": ({"csrf_token": None}, {}),
    "an empty token": ({"csrf_token": ""}, {}),
    "a made-up token": ({"csrf_token": "ImFiYyI.a.b"}, {}),
    "a token of 100 kB": ({"csrf_token": "a" * 100_000}, {}),
    "a foreign origin": ({}, {"Origin": "https://evil.example"}),
    "an origin of null": ({}, {"Origin": "null"}),
    "another site, says the browser": ({}, {"Sec-Fetch-Site": "cross-site"}),
}


@pytest.mark.parametrize("case", FORGED)
def test_b23_a_forged_form_sends_nothing_and_the_text_is_shown(
    anna: Browser, sipgate: Simulator, case: str
) -> None:
    arrived = len(sipgate.world.arrivals)
    changed, headers = FORGED[case]
    fields = {**anna.compose(recipient=NUMBER, message="B23 typed for hours"), **changed}
    sent = {name: value for name, value in fields.items() if value is not None}
    page = anna.post("/messages", sent, headers=headers)
    assert page.status in (400, 403)
    assert "B23 typed for hours" in page.text
    assert len(sipgate.world.arrivals) == arrived


def test_b23_the_token_of_another_session_is_refused(
    anna: Browser, app: Flask, sipgate: Simulator
) -> None:
    arrived = len(sipgate.world.arrivals)
    other = Browser(app, sipgate)
    other.sign_in("anna")
    fields = anna.compose(recipient=NUMBER, message="B23 other session")
    fields["csrf_token"] = other.compose()["csrf_token"]
    page = anna.post("/messages", fields, status=400)
    assert kept(page, "message") == "B23 other session"
    assert len(sipgate.world.arrivals) == arrived
    anna.post("/messages", page.fields(), status=303)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_b23_ones_own_form_is_taken(anna: Browser, sipgate: Simulator, site: str) -> None:
    fields = anna.compose(recipient=NUMBER, message=f"B23 {site}")
    headers = {"Sec-Fetch-Site": site, "Origin": anna.base_url}
    anna.post("/messages", fields, headers=headers, status=303)
    assert sipgate.world.arrivals[-1].text == f"B23 {site}"


def https_app(make_app: MakeApp, sipgate: Simulator, hops: int = 1) -> Flask:
    uri = "https://sms.example/auth/callback"
    if uri not in sipgate.world.client.redirect_uris:
        sipgate.world.allow_redirect(uri)
    return make_app(PUBLIC_URL="https://sms.example", TRUSTED_PROXY_HOPS=str(hops))


def test_b23_over_https_browsers_are_told_to_name_their_origin(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    arrived = len(sipgate.world.arrivals)
    browser = Browser(https_app(make_app, sipgate), sipgate)
    browser.sign_in("anna")
    page = browser.get("/")
    assert page.response.headers["Referrer-Policy"] == "same-origin"
    fields = {**page.fields(), "recipient": NUMBER, "message": "B23 over TLS"}
    for referer in ({}, {"Referer": "https://evil.example/"}):
        response = browser.client.post(
            "/messages", data=fields, base_url=browser.base_url, headers=referer
        )
        assert response.status_code == 400
        assert "B23 over TLS" in response.get_data(as_text=True)
    assert len(sipgate.world.arrivals) == arrived
    browser.post("/messages", fields, status=303)
    assert len(sipgate.world.arrivals) == arrived + 1


ODD_HOSTS = ["evil.example", "evil.example:80", "", "[::1]", "::1", "a b", "localhost@evil.example"]
ODD_HOSTS += ["localhost.evil.example", "evil.example#localhost", "localhost, evil.example", "\x00"]
ODD_HOSTS += ["localhost:port", "localhost/x", "169.254.169.254", "l" * 5000]


@pytest.mark.parametrize("host", ODD_HOSTS)
def test_b24_a_host_that_is_not_ours_gets_no_page(app: Flask, host: str) -> None:
    client = app.test_client()
    for path in ("/", "/messages", "/login", "/healthz", "/nowhere"):
        response = client.get(path, environ_overrides={"HTTP_HOST": host})
        assert response.status_code == 400
        assert "evil" not in response.get_data(as_text=True)
        assert "Location" not in response.headers


def test_b24_links_and_the_redirect_uri_come_from_the_settings(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    client = https_app(make_app, sipgate).test_client()
    response = client.get("/login", base_url="https://localhost:1234")
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query["redirect_uri"] == ["https://sms.example/auth/callback"]
    assert "localhost:1234" not in client.get("/", base_url="https://localhost:1234").text


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9, 198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "4711",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
    "X-Original-URL": "/healthz",
    "X-Rewrite-URL": "/healthz",
}


def test_b25_what_a_client_claims_of_proxies_is_ignored(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    app = make_app(PUBLIC_URL="http://localhost", TRUSTED_PROXY_HOPS="0")
    with app.test_client() as client:
        response = client.get("/", headers=FORWARDED)
        assert (request.remote_addr, request.scheme, request.host) == (
            "127.0.0.1",
            "http",
            "localhost",
        )
    assert response.status_code == 200
    assert "evil" not in response.text
    assert "4711" not in response.text


def test_b25_behind_one_proxy_only_its_own_word_counts(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    with https_app(make_app, sipgate).test_client() as client:
        response = client.get("/", headers=FORWARDED, base_url="http://sms.example")
        assert request.remote_addr == "198.51.100.7", "the last hop is the proxy's own entry"
        assert request.scheme == "https"
        assert request.host == "sms.example"
    assert "evil" not in response.text


def test_b25_behind_two_proxies_the_second_last_entry_counts(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    headers = {"X-Forwarded-For": "1.2.3.4, 203.0.113.9, 198.51.100.7"}
    with https_app(make_app, sipgate, hops=2).test_client() as client:
        client.get("/", headers=headers, base_url="http://sms.example")
        assert request.remote_addr == "203.0.113.9"


# --- B26: requests that are none ----------------------------------------------------------------


class RealServer:
    """The production server as a process, and raw connections to it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.host = f"localhost:{port}"

    def is_up(self) -> bool:
        with requests.Session() as session:
            session.trust_env = False
            try:
                return session.get(f"http://{self.host}/healthz", timeout=2).ok
            except requests.ConnectionError:
                return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def answer_to(self, sent: bytes) -> bytes:
        """The first bytes of the answer; a reset while we still write is an answer, too."""
        with closing(self.connect()) as connection:
            try:
                connection.sendall(sent)
                return connection.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return b""


@pytest.fixture(scope="module")
def real_server(
    sipgate: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RealServer]:
    folder = tmp_path_factory.mktemp("server")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    make_empty_database(folder / "app.sqlite")
    values = values_for(
        sipgate,
        folder / "app.sqlite",
        PUBLIC_URL=f"http://localhost:{port}",
        TRUSTED_PROXY_HOPS="0",
        HOST="127.0.0.1",
        PORT=str(port),
    )
    with running_server(values, folder / "log"):
        yield RealServer(port)


def broken_requests(host: str) -> dict[str, bytes]:
    """Each has a line `Host`, unless that is what is wrong with it."""
    get = f"GET / HTTP/1.1\r\nHost: {host}\r\n".encode()
    post = f"POST /messages HTTP/1.1\r\nHost: {host}\r\n".encode()
    post += b"Content-Type: application/x-www-form-urlencoded\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n"
    return {
        "a length and chunks": chunked + b"Content-Length: 5\r\n\r\n0\r\n\r\n",
        "a chunk without a size": chunked + b"\r\nzz\r\nabc\r\n0\r\n\r\n",
        "chunks": chunked + b"\r\n3\r\nabc\r\n0\r\n\r\n",
        "an encoding nobody knows": post + b"Transfer-Encoding: magic\r\n\r\n",
        "two lengths": post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "a negative length": post + b"Content-Length: -5\r\n\r\n",
        "a length in words": post + b"Content-Length: five\r\n\r\n",
        "a gigabyte, it says": post + b"Content-Length: 1073741824\r\n\r\nabc",
        "a megabyte of header": get + b"X-Big: " + b"a" * 1_000_000 + b"\r\n\r\n",
        "10,000 headers": get + b"".join(b"X-%d: a\r\n" % n for n in range(10_000)) + b"\r\n",
        "an endless address": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        "NUL in the address": b"GET /\x00 HTTP/1.1\r\n\r\n",
        "NUL in a header": get + b"X-Odd: a\x00b\r\n\r\n",
        "a folded header": get + b"X-Odd: a\r\n b\r\n\r\n",
        "a blank before the colon": b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "HTTP/0.9": b"GET /\r\n\r\n",
        "HTTP/9.9": b"GET / HTTP/9.9\r\n\r\n",
        "two hosts": get + b"Host: evil.example\r\n\r\n",
        "another host": b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "an expectation nobody can meet": post + b"Expect: magic\r\nContent-Length: 3\r\n\r\nabc",
        "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\n" + get.partition(b"\r\n")[2] + b"\r\n",
        "TRACE": get.replace(b"GET", b"TRACE") + b"\r\n",
        "a method of its own": get.replace(b"GET", b"BREW") + b"\r\n",
        "not ASCII": b"GET /\xff\xfe HTTP/1.1\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    }


@pytest.mark.parametrize("case", broken_requests(""))
def test_b26_a_broken_request_is_refused_and_others_are_served(
    real_server: RealServer, case: str
) -> None:
    answer = real_server.answer_to(broken_requests(real_server.host)[case])
    # 501 is the standard's answer to a transfer coding that nobody knows (RFC 9112, 6.1).
    assert not answer or re.match(rb"HTTP/1.[01] (4\d\d|501) ", answer), answer[:100]
    assert real_server.is_up()


def test_b26_a_client_that_wants_to_be_asked_is_asked(real_server: RealServer) -> None:
    head = f"POST /messages HTTP/1.1\r\nHost: {real_server.host}\r\nExpect: 100-continue\r\n"
    with closing(real_server.connect()) as connection:
        connection.sendall(head.encode() + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 100 ")
    assert b"HTTP/1.1 401 " in answer


def test_b26_twenty_clients_that_never_finish_hinder_nobody(real_server: RealServer) -> None:
    connections = [real_server.connect() for _ in range(20)]
    try:
        for number, connection in enumerate(connections):
            header = b"GET / HTTP/1.1\r\nHost: loc"
            body = f"POST /messages HTTP/1.1\r\nHost: {real_server.host}\r\n".encode()
            body += b"Content-Length: 300\r\n\r\nmess"
            connection.sendall(header if number % 2 else body)
        started = time.monotonic()
        assert all(real_server.is_up() for _ in range(5))
        assert time.monotonic() - started < 2
    finally:
        for connection in connections:
            connection.close()
    assert real_server.is_up()


# --- B27 and B29: what others send us -----------------------------------------------------------


@pytest.mark.parametrize("wish", ["*/*", "image/png", "application/json", "text/plain", ";;;q=x"])
def test_b27_whatever_is_accepted_there_is_a_sensible_answer(anna: Browser, wish: str) -> None:
    for path, status in (("/", 200), ("/messages", 200), ("/extensions", 200), ("/nowhere", 404)):
        page = anna.get(path, status=status, headers={"Accept": wish})
        assert page.response.mimetype in ("text/html", "application/json")


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        ("de-x-<script>alert(1)</script>", "de"),
        ("de-AT, de;q=0.9, en;q=0.8", "de"),
        ("fr", "en"),
        ("<script>", "en"),
        ("de;q=zz, *;q=abc", "en"),
        ("x" * 8000, "en"),
        ("../../etc/passwd", "en"),
        ("", "en"),
    ],
)
def test_b27_whatever_language_is_wished_the_page_has_one_of_ours(
    anna: Browser, wish: str, language: str
) -> None:
    page = anna.get("/", headers={"Accept-Language": wish})
    assert page.soup.html is not None
    assert page.soup.html["lang"] == language
    assert_escaped(page, "<script>alert(1)</script>")


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "${7*7} %s {0} {%",
    "\u202egnp.elif",
    "x" * 10_000,
    "\x00\x07\x1b[2J",
    "",
]


@pytest.mark.parametrize("words", HOSTILE, ids=range(len(HOSTILE)))
def test_b29_what_sipgate_calls_things_is_escaped_and_cut(
    make_app: MakeApp, sipgate: Simulator, words: str
) -> None:
    anna = sipgate.world.people["anna"]
    names = anna.firstname, anna.lastname, anna.extensions[0].alias
    anna.firstname = anna.lastname = anna.extensions[0].alias = words
    sipgate.world.set_caller_id("anna", "s0", words)
    try:
        browser = Browser(make_app(), sipgate)
        browser.sign_in("anna")
        message = browser.send(NUMBER, "B29")
        pages = [browser.get(path) for path in ("/", "/extensions", "/messages")]
        pages.append(browser.follow(message))
    finally:
        anna.firstname, anna.lastname, anna.extensions[0].alias = names
        sipgate.world.set_caller_id("anna", "s0", "+491713920090")
    for page in pages:
        assert_escaped(page, words)
        assert "x" * 500 not in page.response.get_data(as_text=True)


REFUSALS = {
    "JSON with HTML": json.dumps({"message": "<img src=x onerror=alert(1)>"}).encode(),
    "JSON, RTL": json.dumps({"message": "\u202egnp.elif"}).encode(),
    "JSON, 10 kB": json.dumps({"message": "x" * 10_000}).encode(),
    "JSON, a list": b'["<img src=x onerror=alert(1)>"]',
    "JSON, deep": b"[" * 5000 + b"]" * 5000,
    "a number too long": b'{"message": ' + b"9" * 5000 + b"}",
    "HTML": b"<html><script>alert(1)</script>",
    "plain": b"sms <b>not</b> allowed \x00\x1b[2J",
    "broken UTF-8": b"\xff\xfe\xfd",
}


@pytest.mark.parametrize("case", REFUSALS)
def test_b29_sipgates_own_words_are_escaped_and_cut(
    anna: Browser, sipgate: Simulator, case: str
) -> None:
    sipgate.fail_next("send", Fault(400, body=REFUSALS[case]))
    page = anna.send_and_look(NUMBER, f"B29 {case}")
    assert anna.twin(page)["outcome"] == "refused"
    for raw in ("<img", "<script>", "<b>not", "x" * 500, "\x00", "\x1b"):
        assert raw not in str(page.soup.find("main"))


# --- Anything at all ----------------------------------------------------------------------------

FIELDS = ("sms_id", "recipient", "message", "send_at", "time_zone", "fold", "submission_id")
ANYTHING = st.one_of(
    st.text(max_size=60),
    st.sampled_from([*INJECTIONS, *CODE_LIKE, NUMBER, "s0", "2026-12-24T08:00", "Europe/Berlin"]),
)


@settings(
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    typed=st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=len(FIELDS)),
    extra=st.dictionaries(st.text(min_size=1, max_size=10), ANYTHING, max_size=2),
)
@example(typed={"submission_id": "W10.abc"}, extra={})
@example(typed={"submission_id": "\ud7ff\U0010ffff"}, extra={"csrf_token": "ü"})
def test_any_text_in_any_field_never_breaks_the_page(
    anna: Browser, spoilt: dict[str, str], typed: dict[str, str], extra: dict[str, str]
) -> None:
    page = anna.post("/messages", {**spoilt, **extra, **typed})
    assert page.status in (303, 400, 409, 422)


@pytest.fixture(scope="module")
def spoilt(anna: Browser) -> dict[str, str]:
    """A form for anything; once it was taken by chance, other content is a conflict (409)."""
    return anna.compose()


@settings(
    deadline=None,
    database=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from(["/", "/messages", "/messages/", "/login", "/auth/callback", "/static/"]),
    tail=st.text(max_size=30),
    query=st.dictionaries(
        st.sampled_from(["next", "before", "draft", "state", "code", "iss", "error"]), ANYTHING
    ),
)
def test_any_address_never_breaks_the_page(
    anna: Browser, path: str, tail: str, query: dict[str, str]
) -> None:
    page = anna.get(f"{path}{quote(tail)}", status=None, query_string=query)
    assert page.status < 500
