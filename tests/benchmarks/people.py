"""Members with open sessions, their cookies and filled forms, made by the app's own code in this
process with the server's secret key: what a browser would have after signing in and opening `/`."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

from flask import Flask, session
from flask.sessions import SecureCookieSessionInterface
from flask_wtf.csrf import generate_csrf

from tests.benchmarks import client
from tests.benchmarks.upstream import EXTENSIONS
from webapp.database import transaction
from webapp.database.idempotency import SubmissionId
from webapp.database.models import BrowserSession, Member, TokenSet
from webapp.rules.times import now
from webapp.signin import flow

ACCOUNT = "1234567"
TEXT = "Your appointment is tomorrow at half past nine. Bring your card, and call us if you cannot."
SENDERS = {one["id"]: one["callerId"] for one in EXTENSIONS["items"]}
_numbers = count()


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in browser."""

    member_id: int
    cookie: str
    csrf_token: str
    sub: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Host": "127.0.0.1", "Cookie": f"session={self.cookie}", "Accept": "text/html"}


def sign_in(app: Flask, how_many: int, *, is_admin: bool = False) -> list[Person]:
    """New members, each with a session that was just checked and a token that lives."""
    return [_sign_in(app, is_admin) for _ in range(how_many)]


def _sign_in(app: Flask, is_admin: bool) -> Person:
    sid = secrets.token_urlsafe(32)
    with app.app_context(), transaction() as rows:
        name = f"Member {next(_numbers)}"
        member = Member(account_id=ACCOUNT, sub=secrets.token_hex(4), name=name, is_admin=is_admin)
        rows.add(member)
        rows.flush()
        tokens = TokenSet(
            member_id=member.id,
            access_token=secrets.token_urlsafe(600),  # a JWT's length
            refresh_token=secrets.token_urlsafe(400),
            expires_at=now() + timedelta(days=1),
            refresh_expires_at=now() + timedelta(days=30),
        )
        rows.add(tokens)
        rows.flush()
        rows.add(
            BrowserSession(
                id_hash=flow.hashed(sid),
                member_id=member.id,
                token_set_id=tokens.id,
                # The look every 15 minutes would be a call to sipgate that no send is about.
                checked_at=now() + timedelta(hours=6),
            )
        )
        member_id, sub = member.id, member.sub
    with app.test_request_context():
        session["sid"] = sid
        token = generate_csrf()
        serializer = SecureCookieSessionInterface().get_signing_serializer(app)
        assert serializer is not None
        return Person(member_id, str(serializer.dumps(dict(session))), token, sub)


def numbers() -> Iterator[str]:
    """German mobile numbers, each once: nobody is asked whether to send again."""
    return (f"+4915{next(_numbers):09d}" for _ in count())


def filled_form(app: Flask, person: Person, recipient: str) -> dict[str, str]:
    """What the form at `/` holds, filled; its id is fresh."""
    blank = SubmissionId(secrets.token_hex(16), person.member_id)
    with app.app_context():
        signed = replace(blank, senders=SENDERS).signed
    return {
        "csrf_token": person.csrf_token,
        "submission_id": signed,
        "sms_id": "s0",
        "recipient": recipient,
        "message": TEXT,
        "send_at": "",
        "time_zone": "Europe/Berlin",
    }


def send_request(app: Flask, person: Person, recipient: str) -> bytes:
    """A send of the page, ready to be put on the wire."""
    return client.post("/messages", person.headers, filled_form(app, person, recipient))
