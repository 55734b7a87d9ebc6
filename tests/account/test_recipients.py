"""The field "To": numbers, names of contacts, lines of a spreadsheet."""

import pytest
from flask import Flask

from tests.conftest import MakeApp
from tests.support.pages import Browser, Page
from webapp.simulator.server import Simulator

EMIL, FRIEDA = "+491713920020", "+491713920021"
OTHER = "+491713920050"


@pytest.fixture
def app(keep_app: MakeApp) -> Flask:
    return keep_app(SIPGATE_OPTIONAL_SCOPES="contacts:read")


@pytest.fixture
def writer(anna: Browser) -> Browser:
    """Anna, whose contacts are known."""
    anna.get("/contacts")
    return anna


def read(browser: Browser, typed: str) -> Page:
    token = browser.get("/").fields("/messages")["csrf_token"]
    return browser.post("/recipients", {"recipient": typed, "csrf_token": token}, status=200)


def numbers_in(browser: Browser, typed: str) -> list[str]:
    return [one["number"] for one in read(browser, typed).json["recipients"]]


@pytest.mark.parametrize(
    ("typed", "numbers"),
    [
        ("Emil Fischer", [EMIL]),
        ("Emil Fischer, Frieda Großmann", [EMIL, FRIEDA]),
        ("0171 3920050\nEmil Fischer", [OTHER, EMIL]),
        ("Fischer;0171 3920050", [OTHER]),
        ("Emil Fischer;0171 3920020", [EMIL]),
        # Words beside a number; but a contact whose number is another one is meant, too.
        ("Emil Fischer;0171 3920050", [EMIL, OTHER]),
        ("Name\tMobile\nMüller\t0171 3920050", [OTHER]),
        ("Emil", [""]),
        ("emil fischer\x00", [""]),
    ],
)
def test_numbers_names_and_lines_of_a_table_are_understood(
    writer: Browser, typed: str, numbers: list[str]
) -> None:
    assert numbers_in(writer, typed) == numbers


def test_a_name_is_sent_to_its_only_number(writer: Browser, sipgate: Simulator) -> None:
    writer.send("Emil Fischer")
    assert [one.recipient for one in sipgate.world.arrivals] == [EMIL]


def test_a_name_with_two_numbers_is_asked_about(writer: Browser, sipgate: Simulator) -> None:
    page = writer.send("Hans Ölmann", status=422)
    assert "several for “Hans Ölmann”" in page.error_at("recipient")
    assert page.fields("/messages")["recipient"] == "Hans Ölmann"
    assert sipgate.world.arrivals == []


def test_contacts_of_others_have_no_names_here(writer: Browser) -> None:
    assert numbers_in(writer, "Ida Privat") == [""]


def test_tokens_carry_names_first_names_and_what_is_wrong(writer: Browser) -> None:
    answer = read(writer, "0171 3920021\nLabor Nord\n0171 12\nMüller\t0171 3920050").json
    frieda, lab, wrong, mueller = answer["recipients"]
    assert (frieda["shown"], frieda["first_name"]) == ("Frieda Großmann", "Frieda")
    assert (lab["shown"], lab["first_name"]) == ("Labor Nord", "")
    assert wrong["shown"] == "0171 12"
    assert "too short" in wrong["problem"]
    assert (mueller["shown"], mueller["number"]) == ("Müller", OTHER)
    assert answer["note"] == wrong["problem"]


def test_doubles_are_told(writer: Browser) -> None:
    typed = "0171 3920020, +491713920020, Emil Fischer, 0171 3920021"
    told = "1 number was there twice; it gets one message."
    assert read(writer, typed).json["note"] == told
    assert told in writer.send(typed, status=409).text


def test_every_wrong_one_is_named(writer: Browser) -> None:
    page = writer.send("0171 12\n0171 3920050\nnobody", status=422)
    error = page.error_at("recipient")
    assert "0171 12" in error
    assert "nobody" in error
    tokens = page.soup.select("[data-recipients] button")
    assert [token.get("class") for token in tokens] == [["wrong"], None, ["wrong"]]


def test_reading_them_asks_nothing_of_sipgate_and_sends_nothing(
    writer: Browser, sipgate: Simulator
) -> None:
    read(writer, "")
    before = dict(sipgate.world.calls)
    read(writer, "\n".join(f"0171 39200{n}" for n in range(10, 99)))
    assert dict(sipgate.world.calls) == before
