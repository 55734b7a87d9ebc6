"""One message, through the page, to sipgate, and what the page then says."""

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask, has_app_context
from requests.adapters import HTTPAdapter

from tests.support.pages import Browser
from webapp.database import db, end_read, transaction
from webapp.simulator.server import Simulator
from webapp.sipgate import Authorization, client


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


def test_nothing_is_open_in_the_database_while_somebody_else_is_waited_for(
    app: Flask, stranger: Browser, sipgate: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_while_asking: list[tuple[str, bool]] = []
    send = HTTPAdapter.send

    def watched(adapter: HTTPAdapter, request: Any, *args: Any, **options: Any) -> Any:
        if has_app_context():  # else it is the test's own browser
            open_while_asking.append((request.url, db.session.in_transaction()))
        return send(adapter, request, *args, **options)

    monkeypatch.setattr(HTTPAdapter, "send", watched)
    stranger.sign_in("anna")
    stranger.get("/")
    stranger.send_and_look("0171 3920050", "Ihr Termin ist morgen um 8 Uhr.")
    stranger.get("/senders")
    stranger.post("/logout", stranger.get("/").fields("/logout"), status=303)
    with app.app_context():
        db.session.scalar(sa.text("SELECT 1"))
        client().balance(Authorization.bearer(sipgate.access_token("anna")))
    asked = [url.rpartition("/")[2] for url, _ in open_while_asking]
    assert {"token", "userinfo", "w0", "sms", "callerids", "logout", "balance"} <= set(asked), asked
    assert not [url for url, is_open in open_while_asking if is_open]


def test_who_waits_inside_of_a_write_is_told_so(app: Flask) -> None:
    with (
        app.app_context(),
        pytest.raises(RuntimeError, match="a write is open"),
        transaction(),
    ):
        end_read()
    with app.app_context():
        end_read()
