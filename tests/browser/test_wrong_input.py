"""What is typed wrongly: said at once, at its field, and nothing typed is lost."""

from datetime import datetime, timedelta

from playwright.sync_api import expect

from tests.browser.visitor import Visitor

NEXT_WEEK = f"{datetime.now() + timedelta(days=7):%Y-%m-%dT%H:%M}"  # noqa: DTZ005 (a field's)


def fill_in_wrongly(visitor: Visitor) -> None:
    visitor.go("/")
    visitor.page.get_by_label("From", exact=True).select_option("s1")
    visitor.write("0171 hello", "A long text\nnot to be lost", at=NEXT_WEEK)
    visitor.show_zone()
    visitor.page.get_by_label("Time zone", exact=True).select_option("UTC")
    visitor.button.click()
    expect(visitor.page.get_by_text("There is one thing to correct")).to_be_visible()


def check_that_all_is_kept(visitor: Visitor) -> None:
    expect(visitor.page.get_by_label("From", exact=True)).to_have_value("s1")
    expect(visitor.to).to_have_value("0171 hello")
    expect(visitor.message).to_have_value("A long text\nnot to be lost")
    expect(visitor.send_at).to_have_value(NEXT_WEEK)
    expect(visitor.page.get_by_label("Time zone", exact=True)).to_have_value("UTC")
    assert visitor.sent_texts() == []


def test_a_wrong_number_keeps_everything_that_was_typed(writer: Visitor) -> None:
    fill_in_wrongly(writer)
    check_that_all_is_kept(writer)
    expect(writer.to).to_have_attribute("aria-invalid", "true")


def test_the_focus_moves_to_the_summary_and_its_link_to_the_field(writer: Visitor) -> None:
    fill_in_wrongly(writer)
    summary = writer.page.get_by_role("group", name="There is one thing to correct")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(writer.to).to_be_focused()


def test_a_corrected_form_is_sent(anna: Visitor) -> None:
    fill_in_wrongly(anna)
    anna.to.fill("0171 3920050")
    anna.button.click()
    anna.page.wait_for_url("**/messages/*")
    assert anna.outcome == "scheduled"
    assert anna.sent_texts() == ["A long text\nnot to be lost"]


def test_an_empty_form_says_what_is_missing(anna: Visitor) -> None:
    anna.go("/")
    anna.button.click()
    anna.see("There are 2 things to correct")
    anna.see("Enter a mobile number")
    anna.see("Enter a text")


def test_a_text_is_kept_when_the_sign_in_ends_while_it_is_written(anna: Visitor) -> None:
    anna.go("/")
    anna.write(text="Written for an hour")
    other = anna.new_tab()
    other.go("/")
    other.sign_out()
    anna.button.click()
    anna.see("your text is kept")
    anna.page.get_by_role("link", name="Sign in again").click()
    anna.consent("Anna Sommer")
    expect(anna.message).to_have_value("Written for an hour")
    anna.button.click()
    anna.page.wait_for_url("**/messages/*")
    assert anna.sent_texts() == ["Written for an hour"]
