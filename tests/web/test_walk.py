"""Every address by every method, as everybody who might try: nobody reaches what is another's.

The addresses come from the app's own map, so a route that is added later is walked, too; without a
line in `ROUTES` it fails here, saying what to write. Visitors: a stranger; Karl of another account,
whose ids are the same as Anna's (`w0`, `s0`); Ben, Anna's colleague; and Anna, the admin, at what
is Ben's and at what is Karl's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.routing import Rule

from tests.conftest import MakeApp
from tests.support import lists
from tests.support.pages import Browser, Page
from tests.support.rows import Rows, stored_rows
from tests.support.worker import send_to_many
from tests.web.test_access import PUBLIC
from webapp.database import db
from webapp.database.models import BrowserSession, Member
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE")
MISSING = "0" * 32


@dataclass(frozen=True, kw_only=True)
class Route:
    """What to expect of an endpoint."""

    of: str = ""
    """The kind of object that its address names, a key of `objects_of`; empty: none."""
    admin: int = 404
    """What the account's admin gets for a colleague's; 303 is a change that admins may make."""
    shared: int = 404
    """What everybody of the account gets; 303 is a change that they all may make."""
    status: int = 200
    """Without an object: what everybody gets who is signed in, and sends an empty form."""
    not_by_ben: int | None = None
    """Without an object: what somebody gets who is no admin, if that is something else."""
    is_own: str = ""
    """Not walked by members, because it changes the visitor's own: what."""


ROUTES = {
    "signin.ask_logout": Route(),
    "signin.callback": Route(status=400),
    "signin.end_all_sessions": Route(is_own="ends the visitor's own sessions"),
    "signin.end_session": Route(of="session"),
    "signin.login": Route(status=302),
    "signin.logout": Route(is_own="ends the visitor's own session"),
    "signin.sessions": Route(),
    "attention.batch_done": Route(of="batch", admin=409),  # the outcome named needs nobody
    "attention.count": Route(),
    "attention.done": Route(of="message", admin=409),
    "attention.release": Route(status=303),
    "attention.send_missed": Route(of="batch"),
    "attention.reschedule": Route(of="message"),
    "batches.cancel": Route(of="batch", admin=303),
    "batches.resume": Route(of="batch"),
    "batches.show": Route(of="batch", admin=200),
    "batches.stop": Route(of="batch", admin=303),
    "batches.left_out": Route(of="batch"),
    "batches.report": Route(of="batch", admin=200),
    "batches.again": Route(of="batch"),
    "lists.columns": Route(of="list"),
    "lists.delete": Route(of="list"),
    "lists.example": Route(),
    "lists.index": Route(),
    "lists.new": Route(),
    "lists.save": Route(of="list"),
    "lists.upload": Route(status=422),
    "list_check.choose": Route(of="list"),
    "list_check.remind": Route(of="list"),
    "list_check.send": Route(status=404),  # the form names no list
    "list_check.show": Route(of="list"),
    "list_check.test": Route(of="list"),
    "blocked.add": Route(status=422),
    "blocked.export": Route(not_by_ben=404),
    "blocked.index": Route(),
    "blocked.lift": Route(of="blocked", admin=409),
    "contacts.index": Route(),
    "contacts.read_again": Route(status=303),
    "extensions.index": Route(),
    "groups.add": Route(of="group", shared=422),
    "groups.create": Route(status=422),
    "groups.delete": Route(of="group", shared=303),
    "groups.export": Route(of="group", shared=403, admin=200),
    "groups.index": Route(),
    "groups.keep_list": Route(of="list"),
    "groups.needed": Route(of="group", shared=303),
    "groups.remove": Route(of="group", shared=303),
    "groups.rename": Route(of="group", shared=422),
    "groups.restore": Route(of="group"),  # it is not deleted
    "groups.show": Route(of="group", shared=200),
    "history.export": Route(),
    "history.index": Route(),
    "history.number": Route(of="message", admin=200),
    "message_templates.change": Route(of="template", shared=303),
    "message_templates.create": Route(status=422),
    "message_templates.delete": Route(of="template", shared=303),
    "message_templates.edit": Route(of="template", shared=200),
    "message_templates.index": Route(),
    "message_templates.insert": Route(status=422),
    "message_templates.new": Route(),
    "message_templates.restore": Route(of="template"),  # it is not deleted
    "message_templates.use": Route(of="template", shared=302),
    "compose.again": Route(of="message"),
    "messages.cancel": Route(of="message", admin=303),
    "messages.change": Route(of="message"),
    "compose.compose": Route(),
    "compose.create": Route(status=422),
    "messages.edit": Route(of="message"),
    "messages.look": Route(of="message"),
    "messages.settle": Route(of="message"),
    "messages.show": Route(of="message", admin=200),
    "compose.read_recipients": Route(),
    "compose.test": Route(status=422),
    "help.about": Route(),
    "operator.healthz": Route(),
    "help.help_page": Route(),
    "help.language": Route(status=303),
    "operator.metrics_page": Route(status=404),  # no METRICS_TOKEN is set
    "operator.operator": Route(not_by_ben=403),
    "operator.readyz": Route(status=503),  # no worker runs here
    "overview.export": Route(),
    "overview.index": Route(),
    "record.ask_end": Route(of="member", admin=200),
    "record.end": Route(of="member", admin=303),
    "record.export": Route(not_by_ben=403),
    "record.index": Route(not_by_ben=403),
    "senders.add": Route(status=404),  # the form names no extension
    "senders.choose": Route(of="extension"),
    "senders.waiting": Route(of="extension"),
    "senders.enter_code": Route(of="extension"),
    "senders.index": Route(),
    "senders.prove": Route(of="extension"),
    "senders.remove": Route(of="extension"),
    "install.favicon": Route(),
    "install.manifest": Route(),
    "static": Route(),
}

WHAT_TO_DO = (
    "give {} a line in ROUTES of tests/web/test_walk.py: of which kind of object its address names "
    "one "
    "(a new kind needs objects in `objects_of`), and what an admin gets for a colleague's"
)

NOT_COMPARED = {
    "sign_ins": "GET /login begins one",
    "installation": "its mark counts every write once the app knows its place",
    "kept_answers": "what sipgate last said, asked for at most once a minute",
}


def objects_of(browser: Browser, app: Flask, digits: str) -> dict[str, list[str]]:
    """Objects of every kind that belong to this browser's member; `digits` keep numbers apart."""
    browser.sipgate.fail_next("send", Fault(mode="close"))
    sent = [browser.send_and_look(f"+491713{digits}2", "unknown")]
    send_at = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    when = {"send_at": send_at, "time_zone": "UTC"}
    sent.append(browser.send_and_look(f"+491713{digits}3", "planned", **when))
    batch = send_to_many(browser, 2, f"to many {digits}")
    with app.app_context():
        me = sa.select(Member.id).order_by(Member.id.desc()).limit(1)
        mine = sa.select(BrowserSession.public_id).where(
            BrowserSession.member_id == me.scalar_subquery()
        )
        sessions = list(db.session.scalars(mine))
        member_id = db.session.scalars(me).one()
    return {
        "member": [str(member_id)],
        "message": [last_part(page) for page in sent],
        "batch": [last_part(batch)],
        "list": [uploaded_list(browser)],
        "template": [made_template(browser)],
        "group": [made_group(browser)],
        "blocked": [noted_number(browser, f"+491713{digits}4")],
        # `s0` is everybody's; these are in nobody else's list.
        "extension": OWN_EXTENSIONS.get(digits[-1], []),
        "session": sessions,
    }


OWN_EXTENSIONS = {"0": ["s1"], "1": ["s2"]}
"""Of Anna and of Ben, by the last of the digits that keep their numbers apart."""


def made_template(browser: Browser) -> str:
    form = browser.get("/message-templates/new")
    text = {**form.fields(), "name": "Mine", "text": "Hello ((name))"}
    browser.post("/message-templates/new", text, status=303)
    links = browser.get("/message-templates").soup.select("main .panel a")
    return str(links[0]["href"]).rpartition("/")[2]


def made_group(browser: Browser) -> str:
    fields = {**browser.get("/groups").fields("/groups"), "name": "Mine"}
    return browser.post("/groups", fields, status=303).location.rpartition("/")[2]


def uploaded_list(browser: Browser) -> str:
    return lists.checked(browser, lists.people(2)).path.split("/")[2]


def noted_number(browser: Browser, number: str) -> str:
    fields = {**browser.get("/blocked").fields("/blocked"), "number": number}
    browser.post("/blocked", fields, status=303)
    lift = browser.get("/blocked").soup.select_one("main form[action$='/lift']")
    assert lift is not None
    return str(lift["action"]).split("/")[2]


def last_part(page: Page) -> str:
    return page.path.rpartition("/")[2]


@dataclass(frozen=True)
class Answer:
    """What came back; `main` is the page's own part. Read with less care than by `tests.pages`,
    which would take a minute for all these."""

    status: int
    main: str


@dataclass(frozen=True)
class Walk:
    """The app with three members, and what belongs to each."""

    app: Flask
    sipgate: Simulator
    browsers: dict[str, Browser]
    objects: dict[str, dict[str, list[str]]]

    def rules(self) -> Iterator[tuple[Rule, Route]]:
        for rule in self.app.url_map.iter_rules():
            assert rule.endpoint in ROUTES, WHAT_TO_DO.format(rule.endpoint)
            yield rule, ROUTES[rule.endpoint]

    def allowed(self, rule: Rule) -> set[str]:
        """The methods that some route takes at this address; `/messages/release` is also that of
        a message which never was."""
        return set(self.app.url_map.bind("").allowed_methods(address(rule, MISSING)))

    def methods(self, rule: Rule) -> list[str]:
        """Those to try here: the route's own, and those that no route takes at this address."""
        others = self.allowed(rule) - set(rule.methods or ())
        return [method for method in METHODS if method not in others]

    def state(self) -> tuple[Rows, int]:
        """All rows that a visitor must not change, and how many requests have reached sipgate."""
        rows = stored_rows(self.app, without=NOT_COMPARED)
        for seen in rows["sessions"] + rows["members"]:
            del seen["last_seen_at"]
        return rows, len(self.sipgate.world.arrivals)

    def open(self, browser: Browser, method: str, path: str, data: dict[str, str]) -> Answer:
        send = browser.client.open
        headers = {"Referer": f"{browser.base_url}/"}
        response = send(path, method=method, base_url=browser.base_url, data=data, headers=headers)
        page = response.get_data().decode(errors="replace")  # an icon is no text
        main = page.partition("<main")[2].partition("</main>")[0]
        response.close()
        return Answer(response.status_code, main)


@pytest.fixture
def walk(make_app: MakeApp, sipgate: Simulator) -> Walk:
    app = make_app()
    browsers, objects = {"stranger": Browser(app, sipgate)}, {}
    for place, person in enumerate(("anna", "ben", "karl")):
        browsers[person] = Browser(app, sipgate)
        browsers[person].sign_in(person)
        objects[person] = objects_of(browsers[person], app, f"92008{place}")
    return Walk(app, sipgate, browsers, objects)


def address(rule: Rule, value: str) -> str:
    given = "app.css" if rule.endpoint == "static" else value
    # A number is the id that sipgate gave a sender; whose it is says the extension before it.
    return re.sub(r"<[^>]+>", given, re.sub(r"<int:[^>]+>", "123456", rule.rule))


def harmful(browser: Browser) -> dict[str, str]:
    """A good form of the visitor's own, with what any of the actions could want."""
    fields = browser.compose(recipient="+491713920099", message="Hello")
    return {**fields, "outcome": "accepted", "waiting": "hand_over", "confirm": "yes"}


def test_b16_a_stranger_reaches_nothing_at_any_address(walk: Walk) -> None:
    visitor = walk.browsers["stranger"]
    before = walk.state()
    for rule, route in walk.rules():
        for id_ in walk.objects["anna"].get(route.of, [MISSING])[:1]:
            for method in walk.methods(rule):
                status = walk.open(visitor, method, address(rule, id_), {}).status
                where = f"{method} {rule.rule}: {status}"
                if method not in (rule.methods or ()):
                    assert status == 405, where
                elif rule.endpoint in PUBLIC:
                    assert status < 500 or rule.endpoint == "operator.readyz", where
                else:
                    assert status == (401 if method == "POST" else 302), where
        assert walk.state() == before, f"{rule.rule} changed something"


PAIRS = [("karl", "anna"), ("ben", "anna"), ("anna", "ben"), ("anna", "karl")]
"""Who visits, and whose objects."""


@pytest.mark.parametrize(("visitor", "owner"), PAIRS, ids=[f"{v}-at-{o}s" for v, o in PAIRS])
def test_b16_what_is_anothers_is_as_missing_as_what_never_was(
    walk: Walk, visitor: str, owner: str
) -> None:
    browser, data = walk.browsers[visitor], harmful(walk.browsers[visitor])
    is_admin = (visitor, owner) == ("anna", "ben")
    are_colleagues = "karl" not in (visitor, owner)
    before = walk.state()
    for rule, route in walk.rules():
        for id_ in walk.objects[owner].get(route.of, []):
            for method in walk.methods(rule):
                expected = route.shared if are_colleagues else 404
                expected = route.admin if is_admin and expected in (403, 404) else expected
                if method == "POST" and expected == 303:
                    continue  # allowed, and tested where the feature is
                page = walk.open(browser, method, address(rule, id_), data)
                where = f"{method} {rule.rule} of {owner} by {visitor}: {page.status}"
                if method not in (rule.methods or ()):
                    assert page.status == 405, where
                    continue
                assert page.status == expected, where
                if method != "HEAD" and page.status == 404:
                    missing = walk.open(browser, method, address(rule, MISSING), data)
                    assert missing == page, where
        assert walk.state() == before, f"{rule.rule} of {owner} by {visitor} changed something"


@pytest.mark.parametrize("visitor", ["anna", "ben", "karl"])
def test_b17_every_other_address_answers_members_as_the_table_says(
    walk: Walk, visitor: str
) -> None:
    browser = walk.browsers[visitor]
    token = {"csrf_token": browser.compose()["csrf_token"]}
    before = walk.state()
    for rule, route in walk.rules():
        if route.of or route.is_own:
            continue
        for method in walk.methods(rule):
            page = walk.open(browser, method, address(rule, ""), token)
            where = f"{method} {rule.rule} by {visitor}: {page.status}"
            if method not in walk.allowed(rule):
                assert page.status == 405, where
            elif method in (rule.methods or ()):
                special = route.not_by_ben if visitor == "ben" else None
                assert page.status == (special or route.status), where
        assert walk.state() == before, f"{rule.rule} by {visitor} changed something"


def test_the_table_names_no_route_that_is_gone(walk: Walk) -> None:
    assert not set(ROUTES) - {rule.endpoint for rule in walk.app.url_map.iter_rules()}
    assert {route.of for route in ROUTES.values()} - {""} == set(walk.objects["anna"])
