"""One person's browser: signs in, fills the real form, and does not give up.

It behaves as browsers and people do: a form whose answer was lost is sent again as it is, a
question is answered, an ended sign-in is renewed by the link on the page, and a batch that stopped
is told to go on.
"""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import requests

from tests.chaos.counting import Counts
from tests.chaos.plan import Kind, Order, Then
from tests.chaos.processes import PERSON_WAITS_S, Processes, Sipgate
from tests.chaos.reading import UNSETTLED, Page

PATIENCE_S = 300
"""Longer than any outage of a run: who is not answered by then was lost."""
LOOK_AFTER_BATCHES_EVERY = 10
AHEAD = {Kind.SOON: timedelta(minutes=4, seconds=30), Kind.PLANNED: timedelta(minutes=6)}
"""The form knows whole minutes; the hand-over is 5 minutes ahead, the least is 2."""


@dataclass(slots=True)
class Submission:
    """What became of an order's form, as its person saw it."""

    order: Order
    person: str
    address: str = ""
    """The page that the answer led to; empty if the form was turned down."""
    status: int = 0
    seen: dict[str, str] = field(default_factory=dict)
    """Settled outcomes that a page has shown, by message: they may never change again."""


class Browser:
    """A browser with its cookies. Each belongs to one thread; a second tab is a second session."""

    def __init__(
        self, person: str, processes: Processes, sipgate: Sipgate, counts: Counts, seed: str
    ) -> None:
        self.person = person
        self.submissions: list[Submission] = []
        self._urls = processes.app_urls
        self._is_over = processes.is_over
        self._sipgate = sipgate
        self._counts = counts
        self._chance = random.Random(seed)
        self._tab = _new_session()
        self._other_tab = _new_session()
        self._threads = ThreadPoolExecutor(1)
        self._stopped: dict[str, Submission] = {}

    def close(self) -> None:
        self._threads.shutdown()
        self._tab.close()
        self._other_tab.close()

    @property
    def _url(self) -> str:
        """One of the servers; each request may go to another, as behind a load balancer."""
        return self._urls[0] if len(self._urls) == 1 else self._chance.choice(self._urls)

    # What a person does

    def carry_out(self, order: Order) -> None:
        """Send an order's form, look at what became of it, and do what comes then."""
        submission = Submission(order, self.person)
        self.submissions.append(submission)
        fields = self._filled(order)
        self._arm(order)
        self._send(submission, fields)
        if not submission.address:
            return
        page = self.look(submission)
        if order.kind == Kind.MANY:
            self._stopped[submission.address] = submission
        self._afterwards(submission, page)
        if len(self.submissions) % LOOK_AFTER_BATCHES_EVERY == 0:
            self.go_on()

    def look(self, submission: Submission) -> Page:
        """Open the page of a message or a batch, and remember what it says for certain."""
        page = self.get(submission.address)
        if page.fate is not None:
            self._remember(submission, submission.address.rpartition("/")[2], page.fate)
        for row in page.rows:
            self._remember(submission, row.id, row.outcome)
        return page

    def go_on(self) -> bool:
        """Look after the batches that are not done: go on with those that stopped.

        Returns whether any is left.
        """
        for address, submission in list(self._stopped.items()):
            page = self.look(submission)
            if page.form(f"{address}/resume"):
                self._counts.add("batches told to go on")
                self._press(page, f"{address}/resume")
            elif not any(row.outcome in UNSETTLED for row in page.rows):
                del self._stopped[address]
        return bool(self._stopped)

    def send_after_all(self) -> None:
        """Send the planned messages that were paused or missed."""
        mine = {s.address for s in self.submissions if s.order.kind == Kind.PLANNED and s.address}
        for row in self.rows_of("paused", "missed"):
            address = f"/messages/{row.id}"
            if address in mine:
                self._counts.add("paused or missed ones sent after all")
                self._press(self.get(address), f"{address}/reschedule", when="now")

    def rows_of(self, *outcomes: str) -> list[Any]:
        """The messages of the list, of some outcomes or of all, from every page of it; those of a
        batch from its own page."""
        query = "&".join(f"outcome={outcome}" for outcome in outcomes)
        address, rows = f"/messages?{query}", []
        while address:
            page = self.get(address)
            rows += page.rows
            for batch in page.batches:
                rows += [
                    row for row in self.get(batch).rows if not outcomes or row.outcome in outcomes
                ]
            address = page.link("Older messages")
        return rows

    # How a browser does it

    def get(self, path: str) -> Page:
        """A page, whatever it takes: again while nobody answers, and after a new sign-in."""
        return Page(self._get(path).text)

    def twin(self, path: str) -> dict[str, Any] | None:
        """The JSON twin of a page; None where there is no such page."""
        answer = self._get(path, Accept="application/json")
        found: dict[str, Any] | None = None if answer.status_code == 404 else answer.json()
        return found

    def _get(self, path: str, **headers: str) -> requests.Response:
        for _ in self._tries(f"GET {path.partition('?')[0]}"):
            answer = self._once(lambda to=path: self._tab.get(self._url + to, headers=headers))
            if answer is None:
                continue
            if answer.status_code in (302, 303, 401):
                goes_to = _local(answer.headers.get("Location", "/login"))
                if goes_to.startswith("/login"):
                    self._sign_in(goes_to)
                else:  # it is too late to change a message: on to its page
                    path = goes_to
            elif answer.status_code not in (500, 502, 503):
                return answer
        raise AssertionError("tries end by themselves")

    def _sign_in(self, path: str = "/login") -> str:
        """Through sipgate's login and back; returns where the callback leads."""
        for _ in self._tries("a sign-in"):
            begun = self._once(lambda: self._tab.get(self._url + path))
            if begun is None or begun.status_code != 302:
                continue
            agreed = self._once(lambda at=begun.headers["Location"]: self._agree(at))
            if agreed is None or not agreed.is_redirect:
                continue
            back = agreed.headers["Location"]
            done = self._once(lambda at=back: self._tab.get(at))
            if done is not None and done.status_code == 302:
                self._counts.add("sign-ins")
                return _local(done.headers["Location"])
        raise AssertionError("tries end by themselves")

    def _tries(self, what: str) -> Iterator[None]:
        """Again and again, for as long as a person could wait; then it is lost, and that is said.

        Raises TimeoutError, also when the run was broken off.
        """
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if self._is_over.is_set():
                raise TimeoutError("the run was broken off")
            yield
        self._counts.wrong(f"{what} never worked")
        raise TimeoutError(what)

    def _agree(self, address: str) -> requests.Response:
        data = {"login_as": self.person, "decision": "allow"}
        return requests.post(address, data=data, allow_redirects=False, timeout=PERSON_WAITS_S)

    def _once(self, ask: Callable[[], requests.Response]) -> requests.Response | None:
        """One try; None, after a moment, if there was no answer."""
        try:
            answer = ask()
        except requests.RequestException:
            self._counts.add("requests without an answer")
            time.sleep(0.2 + self._chance.random() * 0.3)
            return None
        self._counts.add("answers")
        if answer.status_code >= 500:
            self._counts.add(f"answers {answer.status_code}")
            time.sleep(0.2)
        if answer.status_code == 500:
            self._counts.wrong(f"500 for {answer.request.method} {urlsplit(answer.url).path}")
        return answer

    # The form

    def _filled(self, order: Order) -> dict[str, str]:
        form = self._form_at("/")
        fields = {**form, "recipient": "\n".join(order.recipients), "message": order.text}
        if order.kind in AHEAD:
            at = datetime.now(UTC) + AHEAD[order.kind]
            fields.update(send_at=f"{at:%Y-%m-%dT%H:%M}", time_zone="UTC")
        return fields

    def _form_at(self, path: str) -> dict[str, str]:
        """The message form of a page; again until it is there (the list of extensions may be away,
        or the page was asked for before the sign-in)."""
        for _ in self._tries("the form"):
            page = self.get(path)
            form = page.form("/messages")
            if form is not None:
                return dict(form.fields)
            if page.link("Sign in with sipgate"):
                self._sign_in(page.link("Sign in with sipgate"))
            else:
                time.sleep(1)
        raise AssertionError("tries end by themselves")

    def _arm(self, order: Order) -> None:
        """Tell the simulator what goes wrong next; whoever sends next meets it."""
        fault = order.fault
        if fault is None:
            return
        self._counts.add(f"fault {fault.name}")
        if fault.expires_tokens:
            self._sipgate.expire_access_tokens()
        if fault.fault is not None:
            self._sipgate.fail_next(fault.endpoint, dict(fault.fault))

    def _send(self, submission: Submission, fields: dict[str, str]) -> None:
        """Post the form until it is answered for good: taken, or turned down."""
        if submission.order.is_doubled:
            self._post_twice(submission, fields)
        tries = self._tries(f"form {submission.order.number}")
        while not submission.address:
            next(tries)
            answer = self._post("/messages", fields)
            if answer is None:
                self._counts.add("forms sent again")
                continue
            next_fields = self._after(submission, answer, fields)
            if next_fields is None:
                return
            fields = next_fields

    def _post(self, path: str, fields: dict[str, str]) -> requests.Response | None:
        return self._once(lambda: self._tab.post(self._url + path, fields))

    def _post_twice(self, submission: Submission, fields: dict[str, str]) -> None:
        """The same form from two tabs at once. Whoever is taken is taken; both lead to one page."""
        self._counts.add("forms sent twice at once")
        other = self._threads.submit(self._post_in_other_tab, "/messages", fields)
        answers = [self._post("/messages", fields), other.result()]
        pages = {_local(a.headers["Location"]) for a in answers if a and a.status_code == 303}
        if len(pages) > 1:
            self._counts.wrong(f"form {submission.order.number} became {len(pages)} messages")
        if pages:
            submission.address, submission.status = pages.pop(), 303

    def _post_in_other_tab(self, path: str, fields: dict[str, str]) -> requests.Response | None:
        self._other_tab.cookies.update(self._tab.cookies)
        return self._once(lambda: self._other_tab.post(self._url + path, fields))

    def _after(
        self, submission: Submission, answer: requests.Response, fields: dict[str, str]
    ) -> dict[str, str] | None:
        """What to post next; None when the answer was final."""
        submission.status = answer.status_code
        if answer.status_code == 303:
            submission.address = _local(answer.headers["Location"])
            return None
        if answer.status_code == 503:
            return fields
        page = Page(answer.text)
        if answer.status_code == 401:
            return self._after_sign_in(
                submission, self._sign_in(page.link("Sign in again")), fields
            )
        form = page.form("/messages")
        if answer.status_code == 409 and form and "confirm" in form.buttons:
            return self._confirmed(submission, {**form.fields}, form.buttons["confirm"])
        if answer.status_code == 400 and form:
            self._counts.add("forms that had grown old")
            return {**form.fields}
        self._counts.add(f"forms turned down, {answer.status_code}")
        return None

    def _after_sign_in(
        self, submission: Submission, path: str, fields: dict[str, str]
    ) -> dict[str, str] | None:
        """The form that was kept; or nothing more to post, where the way back leads to what the
        form became before its answer was lost."""
        if path.startswith(("/messages/", "/batches/")):
            self._counts.add("forms found taken after a new sign-in")
            submission.address = path
            return None
        self._counts.add("forms kept over a new sign-in")
        return {**fields, **self._form_at(path)}

    def _confirmed(
        self, submission: Submission, fields: dict[str, str], code: str
    ) -> dict[str, str] | None:
        """Say yes to "this goes to many". Any other question here means that we forgot a form."""
        if not code.startswith("many-"):
            self._counts.wrong(f"form {submission.order.number} was asked about: {code}")
            return None
        return {**fields, "confirm": code}

    # Afterwards

    def _afterwards(self, submission: Submission, page: Page) -> None:
        then, address = submission.order.then, submission.address
        if then == Then.NOTHING:
            return
        self._counts.add(f"then {then}")
        if then == Then.WITHDRAW:
            self._press(page, f"{address}/cancel")
        elif then == Then.STOP:
            self._press(page, f"{address}/stop")
        else:
            self._change(submission, page, at_once=then == Then.RACE)

    def _change(self, submission: Submission, page: Page, *, at_once: bool) -> None:
        """Change a planned message's text; or let it go at once, and withdraw it meanwhile."""
        cancel = page.form(f"{submission.address}/cancel")
        edit = self.get(f"{submission.address}/edit").form(f"{submission.address}/edit")
        if cancel is None or edit is None:
            return
        if not at_once:
            changed = {**edit.fields, "message": f"{submission.order.text} (changed)"}
            self._post(edit.action, changed)
            return
        other = self._threads.submit(
            self._post_in_other_tab, edit.action, {**edit.fields, "send_at": ""}
        )
        time.sleep(self._chance.random() * 0.1)
        self._post(cancel.action, cancel.fields)
        other.result()

    def _press(self, page: Page, action: str, **fields: str) -> None:
        """Press the button of a form on the page, if it is still there. An answer that is lost is
        not waited for: the next look at the page tells."""
        form = page.form(action)
        if form is not None:
            self._post(action, {**form.fields, **fields})

    def _remember(self, submission: Submission, message_id: str, outcome: str) -> None:
        earlier = submission.seen.get(message_id)
        if earlier not in (None, outcome):
            self._counts.wrong(f"message {message_id} was {earlier}, then {outcome}")
        if outcome not in UNSETTLED:
            submission.seen[message_id] = outcome


class _Session(requests.Session):
    """A session that follows nothing, knows no proxies, and waits as long as a person."""

    def request(self, *args: Any, **options: Any) -> requests.Response:
        options.update(allow_redirects=False, timeout=PERSON_WAITS_S)
        return super().request(*args, **options)


def _new_session() -> _Session:
    session = _Session()
    session.trust_env = False
    session.headers["Accept-Language"] = "en"
    return session


def _local(address: str) -> str:
    """The path of an address, with its query."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
