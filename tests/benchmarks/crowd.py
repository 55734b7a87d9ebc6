"""200 people who send at once, with sipgate taking 300 ms."""

import statistics

from tests.benchmarks import client, people
from tests.benchmarks.client import Waited
from tests.benchmarks.serving import BODY, Place, serving_pid, use_of
from tests.benchmarks.table import Table
from webapp import create_app

PEOPLE = 200
DELAY_MS = 300
THREADS = 64
SPREAD_S = 2.0


def measure(place: Place, sends: int, rounds: int) -> Table:
    table = Table(f"{PEOPLE} people at once, {DELAY_MS} ms upstream")
    for threads in (THREADS, PEOPLE):
        _with_threads(place, table, threads, sends, rounds)
    return table


def _with_threads(place: Place, table: Table, threads: int, sends: int, rounds: int) -> None:
    values = place.settings(f"crowd-{threads}", WEB_THREADS=str(threads))
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
    before, pid = use_of(serving_pid(server)), serving_pid(server)
    _throughput(place, table, threads, url, prepared(sends), bare_url, [bare] * sends)
    cpu_ms = (use_of(pid).cpu_s - before.cpu_s) * 1000 / sends
    table.add(f"{threads} threads: processor time of the server a send", f"{cpu_ms:.1f} ms")
    for name, within_s in (("in one instant", 0.0), (f"within {SPREAD_S:.0f} s", SPREAD_S)):
        waves = [
            (
                _wave(url, prepared(PEOPLE), within_s),
                _wave(bare_url, [bare] * PEOPLE, within_s),
            )
            for _ in range(rounds)
        ]
        _tell_wave(table, f"{threads} threads, {PEOPLE} sends {name}", waves, threads, within_s)


def _throughput(
    place: Place,
    table: Table,
    threads: int,
    url: str,
    requests: list[bytes],
    bare_url: str,
    bare: list[bytes],
) -> None:
    limit = threads / (DELAY_MS / 1000)
    took, answers = client.stream(url, requests, PEOPLE)
    _all_well(answers)
    bare_took, bare_answers = client.stream(bare_url, bare, PEOPLE)
    _all_well(bare_answers)
    share = len(requests) / took / limit
    bare_share = len(bare) / bare_took / limit
    table.add(
        f"{threads} threads: sends a second, of what the threads allow",
        f"{share:.2f}",
        f"{len(requests) / took:.0f} of {limit:.0f}; bare view {bare_share:.2f}",
        "at least 0.9",
        share >= 0.9,
    )


def _wave(url: str, requests: list[bytes], within_s: float) -> list[Waited]:
    answers = client.crowd(url, requests, within_s)[1]
    _all_well(answers)
    return answers


def _all_well(answers: list[Waited]) -> None:
    assert {answer.status for answer in answers} == {303}, {a.status for a in answers}


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
    table.add(
        f"{what}: 95 % answered / upstream",
        client.spread(ours),
        f"bare view {client.spread(bare)}",
        f"at most {most:.1f}{rounds}",
        found <= most,
    )
