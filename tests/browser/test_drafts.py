"""What was typed and not sent is kept in the browser tab, for the one who typed it."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.visitor import Visitor

KEPT = "Object.values(sessionStorage).join(' ')"


def begin(visitor: Visitor, text: str = "Half a text") -> None:
    visitor.go("/")
    visitor.write("0171 39", text)


def becomes(visitor: Visitor, person: str) -> None:
    """Somebody else signs in with the same browser, without the first one signing out."""
    visitor.page.context.clear_cookies()
    visitor.go("/login")
    visitor.consent(person)


def restored(page: Page) -> bool:
    return page.get_by_text("Draft restored").is_visible()


def test_a_draft_is_still_there_after_reloading_and_after_another_page(anna: Visitor) -> None:
    begin(anna)
    anna.page.reload()
    expect(anna.message).to_have_value("Half a text")
    anna.go("/help")
    anna.go("/")
    expect(anna.to).to_have_value("0171 39")
    expect(anna.message).to_have_value("Half a text")
    assert restored(anna.page)


def test_a_restored_draft_can_be_discarded(anna: Visitor) -> None:
    begin(anna)
    anna.page.reload()
    anna.page.get_by_role("button", name="Discard").click()
    expect(anna.to).to_have_value("")
    expect(anna.message).to_have_value("")
    assert not restored(anna.page)
    anna.page.reload()
    expect(anna.button).to_have_text("Send now")
    expect(anna.message).to_have_value("")


def test_an_empty_form_says_nothing_of_a_draft(anna: Visitor) -> None:
    begin(anna)
    anna.write("", "")
    anna.page.reload()
    expect(anna.button).to_have_text("Send now")
    assert not restored(anna.page)


def test_a_sent_draft_is_gone(anna: Visitor) -> None:
    anna.send(text="All of it")
    assert "All of it" not in anna.page.evaluate(KEPT)
    anna.go("/")
    expect(anna.button).to_have_text("Send now")
    expect(anna.message).to_have_value("")


def test_looking_at_another_message_does_not_cost_the_next_draft(anna: Visitor) -> None:
    anna.send(text="The first")
    first = anna.page.url
    begin(anna, "The second")
    anna.page.goto(first)
    anna.go("/")
    expect(anna.message).to_have_value("The second")


def test_a_draft_that_was_not_taken_outlives_its_errors(anna: Visitor) -> None:
    anna.send(text="The first")
    first = anna.page.url
    begin(anna, "Wrongly addressed")
    anna.button.click()
    anna.see("There is one thing to correct")
    anna.page.goto(first)
    anna.go("/")
    expect(anna.message).to_have_value("Wrongly addressed")


def test_a_colleague_at_the_same_browser_never_sees_it(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Anna Sommer")
    begin(visitor, "For Anna's eyes")
    becomes(visitor, "Ben Wagner")
    expect(visitor.button).to_have_text("Send now")
    expect(visitor.message).to_have_value("")
    assert not restored(visitor.page)


def test_signing_out_leaves_nothing_behind(anna: Visitor) -> None:
    begin(anna, "Gone with me")
    anna.sign_out()
    assert "Gone with me" not in anna.page.evaluate(KEPT)


def test_signing_out_leaves_nothing_in_another_tab_either(anna: Visitor) -> None:
    begin(anna)
    other = anna.new_tab()
    begin(other, "Typed elsewhere")
    anna.sign_out()
    other.page.wait_for_function(f"!({KEPT}).includes('Typed elsewhere')")


def test_ending_all_sign_ins_leaves_nothing_behind(anna: Visitor) -> None:
    begin(anna, "Gone with all")
    anna.go("/sessions")
    anna.page.get_by_role("button", name="Sign out all devices").click()
    anna.see("You are signed out on all your devices.")
    assert "Gone with all" not in anna.page.evaluate(KEPT)


def test_a_sign_in_that_ended_elsewhere_leaves_nothing_behind(anna: Visitor) -> None:
    begin(anna, "Gone meanwhile")
    anna.page.context.clear_cookies()
    anna.go("/")
    assert "Gone meanwhile" not in anna.page.evaluate(KEPT)


def test_the_next_one_at_this_browser_finds_nothing_kept(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Anna Sommer")
    begin(visitor, "For Anna's eyes")
    becomes(visitor, "Ben Wagner")
    assert "Anna's eyes" not in visitor.page.evaluate(KEPT)


def test_another_tab_has_a_draft_of_its_own(
    anna: Visitor, new_visitor: Callable[..., Visitor]
) -> None:
    begin(anna, "In the first tab")
    other = anna.new_tab()
    other.go("/")
    expect(other.button).to_have_text("Send now")
    expect(other.message).to_have_value("")


# --- Look-alikes ----------------------------------------------------------------------------------


def test_plain_quotes_are_offered_and_swapped_only_on_request(anna: Visitor) -> None:
    anna.go("/")
    typed = "„Bis morgen“ – um 8…"
    anna.message.fill(typed)
    expect(anna.message).to_have_value(typed)
    swap = anna.page.get_by_role("button", name="Use plain quotes and dashes")
    swap.click()
    expect(anna.message).to_have_value('"Bis morgen" - um 8...')
    expect(anna.message).to_be_focused()
    expect(swap).to_be_hidden()
    expect(anna.page.locator("[data-dear]")).to_be_hidden()
    expect(anna.page.locator("[data-phone-text]")).to_have_text('"Bis morgen" - um 8...')


def test_no_swap_is_offered_that_would_not_make_it_cheaper(anna: Visitor) -> None:
    anna.go("/")
    anna.message.fill("„Bis morgen“ 👍🏽")
    expect(anna.page.locator("[data-dear]")).to_contain_text(
        "„ “ 👍🏽 makes this text more expensive:"
    )
    swap = anna.page.get_by_role("button", name="Use plain quotes and dashes")
    expect(swap).to_be_hidden()
