"""One message, through the page, to sipgate, and what the page then says."""

from tests.pages import Browser
from webapp.simulator.server import Simulator


def test_a_message_is_sent_once_and_its_page_says_accepted(
    anna: Browser, sipgate: Simulator
) -> None:
    page = anna.send_and_look("0171 3920050", "Ihr Termin ist morgen um 8 Uhr.")
    assert page.status == 200
    assert "Accepted by sipgate" in page.text
    assert [text.text for text in sipgate.phones["+491713920050"]] == [
        "Ihr Termin ist morgen um 8 Uhr."
    ]
    assert len(sipgate.world.arrivals) == 1
