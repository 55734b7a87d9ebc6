"""200 people who send at once, with sipgate taking 300 ms."""

import statistics
from collections import Counter

from tests.benchmarks import client, people
from tests.benchmarks.client import Waited
from tests.benchmarks.serving import BODY, Place, cpu_s
from tests.benchmarks.table import Table
from webapp import create_app

PEOPLE = 200
DELAY_MS = 300
THREADS = 64
SPREAD_S = 2.0
LEAST = {1: 0.8, 2: 0.9}
"""Of what the threads allow, by how many processes they are in."""


def measure(place: Place, sends: int, rounds: int) -> Table:
    table = Table(f"{PEOPLE} people at once, {DELAY_MS} ms upstream")
    for threads, processes in ((THREADS, 1), (THREADS, 2), (PEOPLE, 1)):
        _with_threads(place, table, threads, processes, sends, rounds)
    return table


def _with_threads(
    place: Place, table: Table, threads: int, processes: int, sends: int, rounds: int
) -> None:
    """So many threads in all, on one SQLite file."""
    values = place.settings(
        f"crowd-{threads}-{processes}",
        WEB_THREADS=str(threads // processes),
        WEB_PROCESSES=str(processes),
    )
    name = f"{threads} threads" + (f" in {processes} processes" if processes > 1 else "")
    server = place.app(values)
    _, bare_url = place.bare(values)
    url = values["PUBLIC_URL"]
    app = create_app(values)
    members = people.sign_in(app, PEOPLE)
    place.upstream.reset()
    connection = client.Connection(url)
    for person in members:
        assert connection.ask(client.get("/", person.headers)).status == 200
    numbers = people.numbers()
    fields = {"sms_id": "s0", "recipient": BODY["recipient"], "message": people.TEXT}
    bare = client.post("/pooled", {"Host": "127.0.0.1", "Connection": "close"}, fields)

    def prepared(count: int) -> list[bytes]:
        chosen = [members[place % PEOPLE] for place in range(count)]
        return [people.send_request(app, person, next(numbers)) for person in chosen]

    place.upstream.reset(DELAY_MS)
    client.crowd(url, prepared(threads))
    client.crowd(bare_url, [bare] * threads)
    before = cpu_s(server)
    least = LEAST[processes] if threads == THREADS else 0.9
    _throughput(table, name, threads, least, url, prepared(sends), bare_url, [bare] * sends)
    cpu_ms = (cpu_s(server) - before) * 1000 / sends
    table.add(f"{name}: processor time of the server a send", f"{cpu_ms:.1f} ms")
    for how, within_s in (("in one instant", 0.0), (f"within {SPREAD_S:.0f} s", SPREAD_S)):
        waves = [
            (
                _wave(url, prepared(PEOPLE), within_s),
                _wave(bare_url, [bare] * PEOPLE, within_s),
            )
            for _ in range(rounds)
        ]
        _tell_wave(table, f"{name}, {PEOPLE} sends {how}", waves, threads, within_s)


def _throughput(
    table: Table,
    name: str,
    threads: int,
    least: float,
    url: str,
    requests: list[bytes],
    bare_url: str,
    bare: list[bytes],
) -> None:
    limit = threads / (DELAY_MS / 1000)
    took, answers = client.stream(url, requests, PEOPLE)
    bare_took, bare_answers = client.stream(bare_url, bare, PEOPLE)
    assert not _turned_down(bare_answers)
    taken = len(requests) - sum(_turned_down(answers).values())
    share = taken / took / limit
    bare_share = len(bare) / bare_took / limit
    table.add(
        f"{name}: sends a second, of what the threads allow",
        f"{share:.2f}",
        f"{taken / took:.0f} of {limit:.0f}; bare view {bare_share:.2f}",
        f"at least {least}",
        share >= least,
    )
    _tell_turned_down(table, name, answers)
    waited = [one.ms for one in answers]
    table.add(
        f"{name}: from one send of a person to the next",
        f"{statistics.median(waited):.0f} ms",
        f"95 %: {client.percentile(waited, 95):.0f} ms, at most {max(waited):.0f} ms",
    )


def _wave(url: str, requests: list[bytes], within_s: float) -> list[Waited]:
    return client.crowd(url, requests, within_s)[1]


def _turned_down(answers: list[Waited]) -> Counter[int]:
    """How many were not taken, by status."""
    return Counter(one.status for one in answers if one.status != 303)


def _tell_turned_down(table: Table, name: str, answers: list[Waited]) -> None:
    found = _turned_down(answers)
    shown = ", ".join(f"{count} with {status}" for status, count in found.items())
    table.add(
        f"{name}: sends not taken, of {len(answers):,}",
        str(sum(found.values())),
        shown,
        "0",
        not found,
    )


def _tell_wave(
    table: Table,
    what: str,
    waves: list[tuple[list[Waited], list[Waited]]],
    threads: int,
    within_s: float,
) -> None:
    ours = [client.percentile([one.ms for one in wave[0]], 95) / DELAY_MS for wave in waves]
    bare = [client.percentile([one.ms for one in wave[1]], 95) / DELAY_MS for wave in waves]
    at_once = -(-PEOPLE // threads) if within_s == 0 else 1
    most = 1.3 * at_once
    found = statistics.median(ours)
    rounds = f" ({at_once} rounds)" if at_once > 1 else ""
    _tell_turned_down(table, what, [one for wave in waves for one in wave[0]])
    table.add(
        f"{what}: 95 % answered / upstream",
        client.spread(ours),
        f"bare view {client.spread(bare)}",
        f"at most {most:.1f}{rounds}",
        found <= most,
    )
