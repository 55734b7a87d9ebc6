"""The simulator's numbers that choose their outcome, and what the page says of each."""

import re
from pathlib import Path

import pytest

from tests.browser.visitor import Visitor
from webapp.simulator.outcomes import BY_NUMBER

NOTHING, MAYBE = "Nothing was sent", "We cannot tell whether it was sent"
LONGEST_SEND_MS = 40_000
ENDS_THE_SIGN_IN = "+491713920012"

SAID = {
    "+491713920001": ("refused", "did not accept the number or the time", NOTHING),
    "+491713920002": ("refused", "balance is too low", NOTHING),
    "+491713920003": ("refused", "You may not send with this extension", NOTHING),
    "+491713920004": ("refused", "did not understand our request", NOTHING),
    "+491713920005": ("refused", "slow down; you can send again at", NOTHING),
    "+491713920006": ("unknown", "an internal error", MAYBE),
    "+491713920007": ("unknown", "an internal error", MAYBE),
    "+491713920008": ("unknown", "did not reply in time", MAYBE),
    "+491713920009": ("unknown", "did not reply in time", MAYBE),
    "+491713920010": ("unknown", "it did not come from sipgate", MAYBE),
    "+491713920011": ("unknown", "pointed to another address", MAYBE),
    "+491713920012": ("refused", "Your sign-in had ended", NOTHING),
    "+491713920013": ("accepted", "Accepted by sipgate", "cannot see whether it reached"),
    "+491713920014": ("unknown", "did not reply in time", MAYBE),
    "+491713920015": ("accepted", "Accepted by sipgate", "cannot see whether it reached"),
    "+491713920016": ("accepted", "Accepted by sipgate", "cannot see whether it reached"),
}


def check_outcome(tab: Visitor, number: str) -> None:
    outcome, *sentences = SAID[number]
    assert (number, tab.outcome) == (number, outcome)
    for sentence in sentences:
        tab.see(sentence)


def test_every_reserved_number_is_in_the_table() -> None:
    assert set(SAID) == set(BY_NUMBER)


def test_the_documented_table_tells_the_same_outcomes() -> None:
    demo = Path(__file__).parents[2] / "docs" / "demo.md"
    rows = re.findall(
        r"^\| `0171 (39200\d\d)` \|.*\| (\w+)[^|]*\| ([\w ]+) \|$", demo.read_text(), re.M
    )
    told = {f"+49171{number}": (word.lower(), phone) for number, word, phone in rows}
    assert told == {
        number: (outcome, "the text" if BY_NUMBER[number].is_delivered else "nothing")
        for number, (outcome, *_sentences) in SAID.items()
    }


@pytest.mark.slow
def test_every_reserved_number_shows_its_outcome(anna: Visitor) -> None:
    """All at the same time, each in a tab: two of them take as long as a send may take."""
    tabs = {number: anna.new_tab() for number in SAID if number != ENDS_THE_SIGN_IN}
    for number in sorted(tabs, key=lambda number: BY_NUMBER[number].fault.mode != "hang"):
        tabs[number].go("/")
        tabs[number].write(number, f"To {number}")
        tabs[number].button.click(no_wait_after=True)
    for number, tab in tabs.items():
        tab.page.wait_for_url("**/messages/*", timeout=LONGEST_SEND_MS)
        check_outcome(tab, number)
        arrived = [text.text for text in tab.sipgate.phones.get(number, [])]
        assert arrived == ([f"To {number}"] if BY_NUMBER[number].is_delivered else [])
    assert len(anna.sent_texts()) == len(tabs)


def test_a_sign_in_that_ends_while_sending_leads_back_to_the_message(anna: Visitor) -> None:
    anna.go("/")
    anna.write(ENDS_THE_SIGN_IN, "Kept")
    anna.button.click()
    anna.consent("Anna Sommer")
    check_outcome(anna, ENDS_THE_SIGN_IN)
    anna.page.get_by_role("link", name="Send again").click()
    anna.to.fill("0171 3920050")
    anna.button.click()
    anna.see("Accepted by sipgate")
    assert anna.phone_texts() == ["Kept"]
