"""Signing in through sipgate's page, being refused, and signing out for good."""

import pytest
from playwright.sync_api import expect

from tests.browser.visitor import Visitor


def test_a_refused_consent_is_explained_and_can_be_tried_again(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Anna Sommer", button="Cancel")
    visitor.see("You are not signed in")
    visitor.see("You did not allow access at sipgate")
    visitor.page.get_by_role("link", name="Sign in again").click()
    visitor.consent("Anna Sommer")
    expect(visitor.message).to_be_visible()


def test_a_person_of_another_account_learns_which_number_to_ask_for(visitor: Visitor) -> None:
    visitor.go("/login")
    visitor.consent("Karl Krause")
    visitor.see("Your account may not use this app yet")
    visitor.see("7654321")
    visitor.see("SIPGATE_ACCOUNTS")


def test_a_bookmark_leads_through_the_sign_in_to_its_page(visitor: Visitor) -> None:
    visitor.go("/extensions")
    visitor.consent("Anna Sommer")
    expect(visitor.page).to_have_url(f"{visitor.url}/extensions")
    visitor.see("SMS of the practice")


def test_the_old_cookie_is_useless_after_signing_out(anna: Visitor) -> None:
    anna.go("/messages")
    old = anna.page.context.cookies()
    anna.sign_out()
    anna.page.context.clear_cookies()
    anna.page.context.add_cookies([{**cookie, "expires": -1} for cookie in old])  # type: ignore
    anna.go("/messages")
    assert anna.page.url.startswith(anna.sipgate.base_url)
    anna.go("/")
    expect(anna.page.get_by_role("link", name="Sign in with sipgate")).to_be_visible()


@pytest.mark.goes_back
def test_going_back_after_signing_out_shows_nothing_private(anna: Visitor) -> None:
    anna.send(text="For your eyes only")
    anna.sign_out()
    anna.page.go_back(wait_until="commit")
    anna.page.wait_for_url(f"{anna.sipgate.base_url}/**")
    assert "For your eyes only" not in anna.page.content()


def test_signing_out_ends_the_sign_in_at_sipgate(anna: Visitor) -> None:
    anna.go("/")
    anna.sign_out()
    assert anna.sipgate.world.calls["logout"] == 1
