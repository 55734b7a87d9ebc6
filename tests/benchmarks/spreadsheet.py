"""A list of 20,000 people from the upload to the last text: what its member waits for, what others
notice meanwhile, and the pace beside a plain loop of `requests.post`."""

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from bs4 import BeautifulSoup

from tests.benchmarks import client, people
from tests.benchmarks.serving import Place, Use, cpu_s, serving_pid, use_of
from tests.benchmarks.table import Table
from tests.chaos.processes import Program
from tests.lists import made
from tests.support import servers
from webapp import create_app
from webapp.database.installation import register_location
from webapp.database.schema import upgrade_schema

DELAY_MS = 100
TEXT = "Hello ((Vorname)) ((Nachname)), your appointment is on ((Termin)) at ((Uhrzeit))."
HEADS = ("Handy", "Vorname", "Nachname", "Termin", "Uhrzeit", "Ort")
MAX_CHECK_S, MAX_PAGE_S, MAX_GROWTH_MB, MAX_SLOWER, LEAST_SHARE = 8.0, 1.0, 100, 3.0, 0.9
LOOKS = 5
BYSTANDER_EVERY_S = 0.02
CALM_S = 3.0
PLAIN_POSTS = 1_000
WAIT_S = 900


@dataclass(slots=True)
class Site:
    """A server with its worker, and who works there."""

    name: str
    url: str
    server: Program
    worker: Program
    person: people.Person

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.headers.update({**self.person.headers, "Host": self.url.rpartition("/")[2]})
        return session


@dataclass(slots=True)
class Watched:
    """What a bystander and the server's memory saw while something was done."""

    waits_ms: list[float] = field(default_factory=list)
    most_mb: float = 0.0


def measure(place: Place, count: int, lanes: int, *, databases: list[str]) -> Table:
    table = Table(f"A list of {count:,} people, {DELAY_MS} ms upstream, SEND_CONCURRENCY {lanes}")
    content = _spreadsheet(count)
    for database in databases:
        site = (_on_sqlite if database == "sqlite" else _on_postgresql)(place, lanes)
        _measure(place, table, site, content, count, lanes)
        site.worker.end()
        site.server.end()
    return table


def _spreadsheet(count: int) -> bytes:
    numbers = people.numbers()
    rows = [HEADS] + [
        (next(numbers), f"Anne {n}", f"Öhler {n}", "24.11.2026", "14:30", "Köln")
        for n in range(count)
    ]
    return made.xlsx(
        "".join(
            made.row(n, *(made.text(f"{'ABCDEF'[i]}{n}", cell) for i, cell in enumerate(cells)))
            for n, cells in enumerate(rows, 1)
        )
    )


def _on_sqlite(place: Place, lanes: int) -> Site:
    values = place.settings("lists", SEND_CONCURRENCY=str(lanes))
    server = place.app(values)
    person = people.sign_in(create_app(values), 1)[0]
    return Site("SQLite", values["PUBLIC_URL"], server, server, person)


def _on_postgresql(place: Place, lanes: int) -> Site:
    database = f"bench{time.monotonic_ns()}"
    servers.postgresql().create(database)
    url = servers.postgresql().url(database)
    values = place.settings("lists", DATABASE_URL=url, SEND_CONCURRENCY=str(lanes))
    app = create_app(values)
    with app.app_context():
        upgrade_schema()
        register_location()
    server = place.app(values)
    worker = place.start(Program("webapp.worker", [], values, place.folder / "worker.log"))
    return Site("PostgreSQL", values["PUBLIC_URL"], server, worker, people.sign_in(app, 1)[0])


def _measure(
    place: Place, table: Table, site: Site, content: bytes, count: int, lanes: int
) -> None:
    session, name = site.session(), site.name
    place.upstream.reset()
    calm = Watched()
    with _watching(site, calm):
        time.sleep(CALM_S)
    before, used = use_of(serving_pid(site.server)), cpu_s(site.server)
    busy = Watched()
    with _watching(site, busy):
        page, upload_s = _timed(lambda: _upload(session, site, content))
        check, check_s = _timed(lambda: _save(session, site, page))
    cpu = cpu_s(site.server) - used
    looks = [_timed(lambda: _get(session, check))[1] for _ in range(LOOKS)]
    time.sleep(CALM_S)
    after = use_of(serving_pid(site.server))
    _tell_check(table, name, upload_s, check_s, looks, cpu)
    _tell_others(table, name, calm, busy, before, after)
    _get(session, _save(session, site, _upload(session, site, content)))
    again = use_of(serving_pid(site.server)).pss_mb - after.pss_mb
    table.add(f"{name}: after a second list it has", f"{again:+.0f} MB more")
    plain = [_plain_pace(place, lanes)]
    place.upstream.reset(DELAY_MS)
    batch = _send(table, site, session, check, count)
    pace = _follow(place, table, site, session, batch, count)
    state = place.upstream.state()
    once = state["sends"] == state["recipients"] == count
    table.add(f"{name}: sent exactly once", f"{state['sends']:,}", "", f"{count:,}", once)
    plain.append(_plain_pace(place, lanes))
    limit = lanes / (DELAY_MS / 1000)
    table.add(
        f"{name}: messages a second, of what {lanes} at once allow",
        f"{pace / limit:.2f}",
        f"{pace:.0f} of {limit:.0f}; a plain loop before and after "
        f"{' and '.join(f'{one / limit:.2f}' for one in plain)}",
        f"at least {LEAST_SHARE}",
        pace / limit >= LEAST_SHARE,
    )


def _tell_check(
    table: Table, name: str, upload_s: float, check_s: float, looks: list[float], cpu: float
) -> None:
    table.add(f"{name}: upload of the spreadsheet, read", f"{upload_s:.1f} s")
    target = f"below {MAX_CHECK_S:.0f} s"
    table.add(f"{name}: check", f"{check_s:.1f} s", "", target, check_s < MAX_CHECK_S)
    table.add(f"{name}: processor time of the server for both", f"{cpu:.1f} s")
    page_s = statistics.median(looks)
    target = f"below {MAX_PAGE_S:.0f} s"
    shown = client.spread(looks)
    table.add(f"{name}: page of the check", f"{page_s:.2f} s", shown, target, page_s < MAX_PAGE_S)


def _tell_others(
    table: Table, name: str, calm: Watched, busy: Watched, before: Use, after: Use
) -> None:
    ratio = statistics.median(busy.waits_ms) / statistics.median(calm.waits_ms)
    shown = f"{_waits(calm)}, {_waits(busy)}"
    what = f"{name}: another page meanwhile / before"
    table.add(what, f"{ratio:.1f}", shown, f"at most {MAX_SLOWER:.0f}", ratio <= MAX_SLOWER)
    growth, left = busy.most_mb - before.pss_mb, after.pss_mb - before.pss_mb
    table.add(
        f"{name}: the web process grew by, and {CALM_S:.0f} s later",
        f"{growth:.0f} MB, {left:.0f} MB",
        f"{before.pss_mb:.0f} MB before",
        f"below {MAX_GROWTH_MB} MB",
        growth < MAX_GROWTH_MB,
    )


def _waits(seen: Watched) -> str:
    waits = seen.waits_ms
    return f"{statistics.median(waits):.0f} ms (95 %: {client.percentile(waits, 95):.0f})"


@contextmanager
def _watching(site: Site, into: Watched) -> Iterator[None]:
    """Open another page again and again, and look at the server's memory, until the block ends."""
    is_over = threading.Event()
    ask = client.get("/messages", site.person.headers)
    pid = serving_pid(site.server)

    def visit() -> None:
        connection = client.Connection(site.url)
        while not is_over.wait(BYSTANDER_EVERY_S):
            into.waits_ms.append(client.timed_ms(lambda: connection.ask(ask)))
        connection.close()

    def weigh() -> None:
        while not is_over.wait(0.1):
            into.most_mb = max(into.most_mb, use_of(pid).pss_mb)

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(visit), pool.submit(weigh)]
        try:
            yield
        finally:
            is_over.set()
        for one in done:
            one.result()


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    found = call()
    return found, time.perf_counter() - began


def _upload(session: requests.Session, site: Site, content: bytes) -> str:
    """Returns the address of its second page."""
    answer = session.post(
        f"{site.url}/batches/new",
        data={"csrf_token": site.person.csrf_token},
        files={"file": ("list.xlsx", content)},
        allow_redirects=False,
        timeout=60,
    )
    assert answer.status_code == 303, answer.text[:2000]
    return site.url + urlsplit(answer.headers["Location"]).path


def _save(session: requests.Session, site: Site, page: str) -> str:
    """Send the second page with a text; returns the address of the check."""
    form = _fields(session.get(page, timeout=60).text, urlsplit(page).path)
    answer = session.post(page, data={**form, "message": TEXT}, allow_redirects=False, timeout=120)
    assert answer.status_code == 303, answer.text[:2000]
    return site.url + urlsplit(answer.headers["Location"]).path


def _get(session: requests.Session, page: str) -> str:
    answer = session.get(page, timeout=60)
    assert answer.status_code == 200, answer.text[:2000]
    return answer.text


def _fields(page: str, action: str) -> dict[str, str]:
    """What a form of the page would send as it is, without its boxes that are not ticked."""
    form = BeautifulSoup(page, "html.parser").select_one(f"form[action='{action}']")
    assert form is not None, f"no form {action}"
    found = {}
    for one in form.select("input[name], textarea[name]"):
        if one.get("type") not in ("checkbox", "radio", "submit"):
            found[str(one["name"])] = str(one.get("value", one.get_text()))
    for one in form.select("select[name]"):
        option = one.select_one("option[selected]") or one.select_one("option")
        found[str(one["name"])] = str(option.get("value", option.get_text())) if option else ""
    return found


def _send(table: Table, site: Site, session: requests.Session, check: str, count: int) -> str:
    """Answer what is asked, and send; returns the address of the batch."""
    form = _fields(_get(session, check), "/batches")
    asked, ask_s = _timed(lambda: session.post(f"{site.url}/batches", data=form, timeout=60))
    assert asked.status_code == 409, asked.text[:2000]
    button = BeautifulSoup(asked.text, "html.parser").select_one("main button[name=confirm]")
    assert button is not None
    form = {**_fields(asked.text, "/batches"), "confirm": str(button["value"])}
    form["typed_count"] = str(count)
    sent, send_s = _timed(
        lambda: session.post(f"{site.url}/batches", data=form, allow_redirects=False, timeout=60)
    )
    assert sent.status_code == 303, sent.text[:2000]
    shown = f"the question before it {ask_s:.2f} s"
    table.add(f"{site.name}: the form that sends it", f"{send_s:.2f} s", shown)
    return site.url + urlsplit(sent.headers["Location"]).path


def _follow(
    place: Place, table: Table, site: Site, session: requests.Session, batch: str, count: int
) -> float:
    """Wait until all messages are made and sent; returns how many went a second, from the first to
    the last."""
    began = time.monotonic()
    while _twin(session, batch)["is_filling"]:
        assert time.monotonic() - began < WAIT_S, "the list is not made"
        time.sleep(0.1)
    table.add(f"{site.name}: all messages made after", f"{time.monotonic() - began:.1f} s")
    used = cpu_s(site.worker)
    while (state := place.upstream.state())["sends"] < count:
        assert time.monotonic() - began < WAIT_S, state
        time.sleep(0.2)
    took_s = state["last_at"] - state["arrived_at"][0] + DELAY_MS / 1000
    while _twin(session, batch)["counts"]["accepted"] < count:
        assert time.monotonic() - began < WAIT_S, _twin(session, batch)
        time.sleep(0.2)
    cpu_ms = (cpu_s(site.worker) - used) * 1000 / count
    table.add(f"{site.name}: processor time a message", f"{cpu_ms:.2f} ms")
    return count / took_s


def _twin(session: requests.Session, batch: str) -> dict[str, Any]:
    found: dict[str, Any] = session.get(
        batch, headers={"Accept": "application/json"}, timeout=60
    ).json()
    return found


def _plain_pace(place: Place, lanes: int) -> float:
    """Posts a second of as many threads that do nothing but `requests.post`."""
    place.upstream.reset(DELAY_MS)
    url = f"{place.upstream.http}/v2/sessions/sms"

    def post(n: int) -> None:
        body = {"smsId": "s0", "recipient": f"+4915{n:09d}", "message": "Hello"}
        requests.post(url, json=body, timeout=20).raise_for_status()

    began = time.monotonic()
    with ThreadPoolExecutor(lanes) as pool:
        list(pool.map(post, range(PLAIN_POSTS)))
    return PLAIN_POSTS / (time.monotonic() - began)
