"""On paper: what a page says, without what one clicks."""

from playwright.sync_api import expect

from tests.browser.visitor import Visitor


def test_a_printed_page_has_the_message_and_no_controls(anna: Visitor) -> None:
    page = anna.quick.send_and_look(text="For the file")
    anna.go(page.path)
    anna.page.emulate_media(media="print")
    expect(anna.page.get_by_text("For the file").first).to_be_visible()
    expect(anna.page.get_by_role("heading", level=1)).to_be_visible()
    for control in (".top", ".tabs", "footer", "main button", "main .button", "main form"):
        for found in anna.page.locator(control).all():
            expect(found).to_be_hidden()


def test_a_printed_list_has_its_rows(anna: Visitor) -> None:
    anna.quick.send_and_look(text="For the file")
    anna.go("/messages")
    anna.page.emulate_media(media="print")
    expect(anna.page.locator("main table")).to_contain_text("For the file")
    expect(anna.page.get_by_role("search")).to_be_hidden()
