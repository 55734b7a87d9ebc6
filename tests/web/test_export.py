"""The export for spreadsheets: each message once, and no cell that a program would calculate."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import MakeApp
from tests.support.pages import Browser
from webapp.database import db, transaction
from webapp.database.models import Message
from webapp.simulator.server import Simulator

NUMBER = "+491713920050"
REFUSED = "+491713920002"
SEPARATORS = ",;\t"
LANGUAGES = {"en": ",", "de": ";"}


def exported(browser: Browser, language: str = "en", query: str = "") -> str:
    answer = browser.get(f"/messages.csv{query}", headers={"Accept-Language": language})
    return answer.response.get_data(as_text=True).removeprefix("\ufeff")


def texts(export: str, separator: str = ",") -> list[str]:
    return [row[8] for row in csv.reader(io.StringIO(export, newline=""), delimiter=separator)][1:]


def change_text(app: Flask, text: str) -> None:
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Message).values(text=text))


# --- Each message once --------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 450])
def test_a_filter_that_is_named_again_and_again_is_named_once(
    anna: Browser, app: Flask, count: int
) -> None:
    anna.send(NUMBER, "Accepted")
    anna.send(REFUSED, "Refused")
    asked: list[str] = []
    with app.app_context():
        engine = db.engine
    sa.event.listen(engine, "before_cursor_execute", lambda *said: asked.append(said[2]))
    query = "?" + "&".join(["outcome=accepted", "outcome=nothing", "outcome=refused"] * count)
    assert texts(exported(anna, query=query)) == ["Refused", "Accepted"]
    page = anna.get(f"/messages{query}")
    assert len([one for one in asked if "FROM messages" in one]) < 20
    cells = [cell.get_text(strip=True) for cell in page.soup.select("main table .cell-text")]
    assert cells == ["Refused", "Accepted"]
    [link] = [str(a["href"]) for a in page.soup.select("main a") if "messages.csv" in str(a)]
    assert link.count("outcome=") == 2
    assert texts(exported(anna, query=link.removeprefix("/messages.csv"))) == [
        "Refused",
        "Accepted",
    ]


# --- Formulas -----------------------------------------------------------------------------------


def fragments(export: str) -> Iterator[str]:
    """What any reader may take for a cell: split by each separator, with quotes and without."""
    for separator in SEPARATORS:
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for source in (io.StringIO(export, newline=""), re.split(r"[\r\n]", export)):
                for row in csv.reader(source, delimiter=separator, quoting=quoting):
                    yield from row
        for line in export.splitlines():
            yield from line.split(separator)


def calculates(fragment: str) -> bool:
    """Whether a program might: what counts is the first sign that is neither blank nor quote."""
    skipped = {"Cc", "Cf", "Zs", "Zl", "Zp"}
    plain = unicodedata.normalize("NFKC", fragment)
    signs = [one for one in plain if one != '"' and unicodedata.category(one) not in skipped]
    return signs[:1] != [] and signs[0] in "=+-@\u2212"


FORMULAS = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "a;=1+1",
    "a,=1+1",
    "a\t=1+1",
    "a\n=1+1",
    "a\r=1+1",
    "a\r\n=1+1",
    "a\u2028=1+1",
    'a";=1+1;"',
    'a;"=1+1"',
    '"=1+1',
    " =1+1",
    "\u00a0=1+1",
    "\ufeff=1+1",
    "\u200b=1+1",
    "\t=1+1",
    "\uff1d1+1",
    "a;\uff0b1",
    "\uff201",
    "\u22121",
    ";;;==1;=",
    "'=1;=2",
    'x;=cmd|" /C calc"!A0;y',
    'x";"=1',
    '";"=1',
    '";=1',
    '"";=1',
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_of_the_export_is_a_formula_whatever_it_is_split_by(
    app: Flask, anna: Browser, text: str, language: str
) -> None:
    anna.send()
    change_text(app, text)
    export = exported(anna, language)
    assert [one for one in fragments(export) if calculates(one)] == []
    # What stands in the cell is the text, with apostrophes where it might have been calculated.
    kept = texts(export, LANGUAGES[language])[0]
    assert kept.replace("'", "") == text.replace("'", "")


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.text(alphabet=" ;,\t\n\r\v\x85\"'=+-@\uff1d\uff0b\u200b\u2028aä1|", max_size=12),
    language=st.sampled_from(sorted(LANGUAGES)),
)
def test_no_mixture_of_separators_quotes_and_signs_is_a_formula(
    app: Flask, anna: Browser, text: str, language: str
) -> None:
    if not anna.sipgate.world.arrivals:
        anna.send()
    change_text(app, text)
    export = exported(anna, language)
    assert [one for one in fragments(export) if calculates(one)] == []
    assert texts(export, LANGUAGES[language])[0].replace("'", "") == text.replace("'", "")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize(
    "text",
    [
        "Bis 9:30, Raum 4; danke!",
        "a - b = c",
        "1+1=2",
        "me@example.org",
        'Er sagt: "gut"',
        "zwei\nZeilen",
    ],
)
def test_an_ordinary_text_is_exported_as_it_is(
    app: Flask, anna: Browser, text: str, language: str
) -> None:
    anna.send()
    change_text(app, text)
    assert texts(exported(anna, language), LANGUAGES[language]) == [text]


def test_a_cell_begins_with_no_tab_or_line_break(app: Flask, anna: Browser) -> None:
    anna.send()
    for text, kept in (("\t=1", "'\t'=1"), ("\nx", "'\nx"), ("\rx", "'\rx")):
        change_text(app, text)
        assert texts(exported(anna)) == [kept]


def test_a_name_and_a_sender_are_no_formula_either(app: Flask, anna: Browser) -> None:
    anna.send()
    with app.app_context(), transaction() as rows:
        rows.execute(sa.update(Message).values(caller_id="x;=1"))
        rows.execute(sa.text("UPDATE members SET name = 'x\t@1'"))
    found = [one for one in fragments(exported(anna)) if calculates(one)]
    assert found == []


# --- For an office --------------------------------------------------------------------------------


@time_machine.travel("2026-12-01T12:00:00Z", tick=True)
def test_times_are_also_local_and_the_cost_is_there_where_a_price_is_set(
    make_app: MakeApp, sipgate: Simulator
) -> None:
    anna = Browser(make_app(SEGMENT_PRICE="0.075"), sipgate)
    anna.sign_in()
    anna.send(REFUSED, "Refused")
    anna.send(NUMBER, "x" * 161, send_at="2026-12-24T08:00", time_zone="America/New_York")
    head, planned, refused = csv.reader(io.StringIO(exported(anna)))
    assert head[9:] == ["Written, local time", "Planned for, local time", "Cost"]
    assert planned[1] == "2026-12-24T13:00:00+00:00"
    assert planned[10:] == ["2026-12-24 14:00", ""]
    assert refused[11] == ""
    written = datetime.fromisoformat(refused[0]).astimezone(ZoneInfo("Europe/Berlin"))
    assert refused[9] == f"{written:%Y-%m-%d %H:%M}"
    anna.send(NUMBER, "y" * 161)
    rows = list(csv.reader(io.StringIO(exported(anna, "de")), delimiter=";"))
    assert [row[11] for row in rows[1:]] == ["", "0,15", ""]


def test_without_a_price_there_is_no_cost(anna: Browser) -> None:
    anna.send()
    _head, row = csv.reader(io.StringIO(exported(anna)))
    assert row[11] == ""
