"""One send through the page, beside the bare view and beside the one call that it is about."""

import itertools
import statistics
from collections import deque
from functools import partial

import requests
import sqlalchemy as sa
from flask import Flask

from tests.benchmarks import client, people
from tests.benchmarks.client import Contestant, Taken
from tests.benchmarks.people import Person
from tests.benchmarks.serving import BODY, Place, cpu_s
from tests.benchmarks.table import Table
from webapp import create_app
from webapp.account.cache import FRESH
from webapp.database import rows_changed, transaction
from webapp.database.models import KeptAnswer
from webapp.rules.times import now

Round = dict[str, Taken]
"""What each contestant took."""
HEADERS = {"Authorization": "Bearer a", "Accept": "application/json"}
PEOPLE = 10
"""They send in turn, so that nobody sends more in a day than people do."""
PAGE, BARE, ANEW, DIRECT = "page", "bare, kept connection", "bare, new connection", "direct call"
OLD, SHOWN = "page, extensions asked for again", "its result page"


def measure(place: Place, times: int, rounds: int) -> Table:
    """All at once in turn, `times` a round; the median of the rounds' ratios counts."""
    table = Table("One send")
    plain = Scene(place, "send", tls=False)
    for delay_ms in (0, 50):
        found = plain.measure(times if delay_ms == 0 else max(10, times // 3), rounds, delay_ms)
        _tell(table, f"{delay_ms} ms upstream", found)
        if delay_ms == 0:
            _cpu_ratio(table, "send / bare view, processor time", found, PAGE, BARE, 3.5)
            _cpu_ratio(table, "its result page / bare view, processor time", found, SHOWN, BARE)
            _ratio(table, "send / bare view, kept connection", found, PAGE, BARE)
            _ratio(table, "send / bare view, new connection", found, PAGE, ANEW)
            _ratio(table, "send / direct call", found, PAGE, DIRECT)
        else:
            _ratio(table, "send / direct call, 50 ms upstream", found, PAGE, DIRECT, 1.3)
            _ratio(table, "the same, extensions asked for again", found, OLD, DIRECT)
    tls = Scene(place, "tls", tls=True)
    found = tls.measure(times, rounds, 0)
    _tell(table, "TLS upstream", found)
    _ratio(table, "send / bare view, new connection, TLS", found, PAGE, ANEW, 1.0)
    _ratio(table, "send / bare view, kept connection, TLS", found, PAGE, BARE)
    return table


class Scene:
    """The app, the bare app and people, before the stand-in with or without TLS."""

    def __init__(self, place: Place, name: str, *, tls: bool) -> None:
        self._upstream = place.upstream
        values = place.settings(name, tls=tls)
        server = place.app(values)
        bare_server, bare_url = place.bare(values)
        self._cpu_s, self._bare_cpu_s = partial(cpu_s, server), partial(cpu_s, bare_server)
        self._app = create_app(values)
        self._people = itertools.cycle(people.sign_in(self._app, PEOPLE))
        self._numbers = people.numbers()
        self._page, self._bare = (
            client.Connection(values["PUBLIC_URL"]),
            client.Connection(bare_url),
        )
        self._direct = requests.Session()
        self._direct.trust_env = False
        self._direct.verify = str(place.upstream.bundle)
        self._api_url = values["SIPGATE_API_URL"]
        self._shown: deque[bytes] = deque(maxlen=client.IN_A_ROW)

    def measure(self, times: int, rounds: int, delay_ms: float) -> list[Round]:
        self._upstream.reset(delay_ms)
        self._round(5)
        found = []
        for _ in range(rounds):
            self._upstream.reset(delay_ms)
            found.append(self._round(times))
            self._check(times)
        return found

    def _round(self, times: int) -> Round:
        """Forms are made beforehand, each for one send; pages are opened, as people do."""
        senders = [next(self._people) for _ in range(times)]
        for person in dict.fromkeys(senders):
            opened = self._page.ask(client.get("/", person.headers))
            assert opened.status == 200, opened
        send, later = (
            iter([(p, people.send_request(self._app, p, next(self._numbers))) for p in senders])
            for _ in range(2)
        )
        fields = {"sms_id": "s0", "recipient": BODY["recipient"], "message": people.TEXT}
        pooled, anew = (
            client.post("/pooled", {"Host": "127.0.0.1"}, fields),
            client.post("/anew", {"Host": "127.0.0.1"}, fields),
        )
        contestants = {
            PAGE: Contestant(lambda: self._send(*next(send)), self._cpu_s),
            SHOWN: Contestant(self._show, self._cpu_s),
            BARE: Contestant(lambda: self._expect(self._bare, pooled, 303), self._bare_cpu_s),
            ANEW: Contestant(lambda: self._expect(self._bare, anew, 303), self._bare_cpu_s),
            DIRECT: Contestant(self._call),
        }
        taken = client.interleaved(contestants, times)
        again = Contestant(
            lambda: self._send(*next(later)), self._cpu_s, lambda: _forget_extensions(self._app)
        )
        return taken | client.interleaved({OLD: again}, self._later(times))

    def _later(self, times: int) -> int:
        return max(1, times // 5 // client.IN_A_ROW) * client.IN_A_ROW

    def _send(self, person: Person, request: bytes) -> None:
        answer = self._expect(self._page, request, 303)
        self._shown.append(client.get(answer.location, person.headers))

    def _show(self) -> None:
        self._shown.rotate()
        self._expect(self._page, self._shown[0], 200)

    def _expect(self, at: client.Connection, request: bytes, status: int) -> client.Answer:
        answer = at.ask(request)
        assert answer.status == status, (answer.status, answer.body[:2000])
        return answer

    def _call(self) -> None:
        body = {**BODY, "message": people.TEXT}
        url = f"{self._api_url}/sessions/sms"
        assert self._direct.post(url, json=body, headers=HEADERS, timeout=20).status_code == 204

    def _check(self, times: int) -> None:
        """Every send reached the stand-in, once."""
        state = self._upstream.state()
        sent = times + self._later(times)
        assert state["recipients"] == sent + 1, state
        assert state["sends"] == sent + 3 * times, state
        # Opened pages may ask for the extensions, too; sends that were to ask for them have.
        assert state["requests"] >= state["sends"] + self._later(times), state


def _forget_extensions(app: Flask) -> None:
    """As if everybody had opened their page more than a minute ago."""
    old = now() - FRESH
    with app.app_context(), transaction() as rows:
        rows_changed(rows, sa.update(KeptAnswer).values(fetched_at=old, asked_at=old))


def _tell(table: Table, where: str, rounds: list[Round]) -> None:
    for name in rounds[0]:
        tail = statistics.median(client.percentile(one[name].wall_ms, 95) for one in rounds)
        cpu = statistics.median(one[name].cpu for one in rounds)
        walls = client.spread([one[name].wall for one in rounds])
        beside = f"95 %: {tail:.2f} ms; processor: {cpu:.2f} ms"
        table.add(f"{where}: {name}", f"{walls} ms", beside)


def _ratio(
    table: Table, what: str, rounds: list[Round], ours: str, other: str, most: float | None = None
) -> None:
    _add_ratio(table, what, [one[ours].wall / one[other].wall for one in rounds], most)


def _cpu_ratio(
    table: Table, what: str, rounds: list[Round], ours: str, other: str, most: float | None = None
) -> None:
    _add_ratio(table, what, [one[ours].cpu / one[other].cpu for one in rounds], most)


def _add_ratio(table: Table, what: str, ratios: list[float], most: float | None) -> None:
    found = statistics.median(ratios)
    target = f"at most {most}" if most else ""
    table.add(what, client.spread(ratios), "", target, found <= most if most else None)
