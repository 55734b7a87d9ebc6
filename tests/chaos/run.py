"""A run from beginning to end: send under faults and kills, wait until all is settled, judge."""

import queue
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from tests.chaos import judge
from tests.chaos.browser import Browser
from tests.chaos.counting import Counts
from tests.chaos.judge import Report
from tests.chaos.plan import PEOPLE, Order, kill_points, make_orders
from tests.chaos.processes import SEND_CONCURRENCY, Processes, Sipgate
from tests.chaos.reading import UNSETTLED
from webapp.database.models import Message

BROWSERS_EACH = 4
SETTLE_LIMIT_S = 600
"""Planned messages are due within two minutes, a dead sender's row becomes unknown after 80 s, and
what was put back is found by the sweep of every minute: so this is several times what it takes."""
TELL_EVERY_S = 10
OLD = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of it. `is_hurried`: at the end the rows' clocks are put back instead of waiting,
    for a run within the tests."""

    submissions: int
    kills: int
    seed: int
    database: str = "sqlite"
    """Or `postgresql`: two servers and two workers, whose database has troubles of its own."""
    is_hurried: bool = False


def run(options: Options, folder: Path) -> Report:
    """Do it all in `folder`, which keeps the database and the logs, and return what was found."""
    started = time.monotonic()
    counts = Counts()
    with Processes(folder, options.database) as processes, _sipgate(processes) as sipgate:
        browsers = [
            Browser(person, processes, sipgate, counts, f"{options.seed} {person} {place}")
            for place in range(BROWSERS_EACH)
            for person in PEOPLE
        ]
        try:
            _send(options, browsers, processes, counts)
            sending_s = time.monotonic() - started
            sipgate.clear_faults()
            _settle(options, browsers, processes, counts)
            report = judge.judge(browsers, sipgate, counts)
            report.parallelism = SEND_CONCURRENCY + 2 * len(browsers)
            report.kills = options.kills
            report.sending_s = sending_s
            report.seconds = time.monotonic() - started
            counts.add("tracebacks in the logs", processes.tracebacks())
            return report
        finally:
            for browser in browsers:
                browser.close()


@contextmanager
def _sipgate(processes: Processes) -> Iterator[Sipgate]:
    with closing(Sipgate(processes.sipgate_url)) as sipgate:
        yield sipgate


class _Work:
    """The orders still to be carried out, and how many are done."""

    def __init__(self, orders: list[Order]) -> None:
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
        for order in orders:
            self._orders.put(order)
        self._lock = threading.Lock()
        self.total = len(orders)
        self.begun = 0

    def next(self) -> Order | None:
        try:
            order = self._orders.get_nowait()
        except queue.Empty:
            return None
        with self._lock:
            self.begun += 1
        return order


def _send(options: Options, browsers: list[Browser], processes: Processes, counts: Counts) -> None:
    """Carry out all orders, in as many threads as there are browsers, while the killer is about."""
    work = _Work(make_orders(options.seed, options.submissions))
    threads = [
        threading.Thread(target=_kill, args=(options, work, processes, counts)),
        threading.Thread(target=_trouble, args=(options, work, processes, counts)),
        *(threading.Thread(target=_carry_out, args=(b, work, processes, counts)) for b in browsers),
    ]
    try:
        for thread in threads:
            thread.start()
        while alive := [thread for thread in threads if thread.is_alive()]:
            alive[0].join(TELL_EVERY_S)
            _restart(processes, counts)
            _tell(f"{work.begun} of {work.total} forms, {counts['kills']} kills")
    except BaseException:
        processes.is_over.set()  # Ctrl-C: the threads end by themselves
        raise


def _carry_out(browser: Browser, work: _Work, processes: Processes, counts: Counts) -> None:
    while not processes.is_over.is_set() and (order := work.next()) is not None:
        try:
            browser.carry_out(order)
        except TimeoutError:
            pass  # noted where it happened
        except Exception as error:
            counts.wrong(f"form {order.number}: {type(error).__name__}: {error}")


def _kill(options: Options, work: _Work, processes: Processes, counts: Counts) -> None:
    """SIGKILL something at random moments; all the kills that were asked for."""
    chance = random.Random(f"{options.seed} killer")
    for point in kill_points(options.seed, options.submissions, options.kills):
        while work.begun < point:
            if processes.is_over.wait(0.05):
                return
        time.sleep(chance.random())
        which = chance.choice(processes.killable)
        processes.kill(which)
        counts.add("kills")
        counts.add(f"killed {which}")


def _trouble(options: Options, work: _Work, processes: Processes, counts: Counts) -> None:
    """PostgreSQL's connections are cut, it takes no writes for seconds, it is restarted at once: as
    often as there are kills."""
    if not processes.troubles:
        return
    chance = random.Random(f"{options.seed} troubles")
    for place, point in enumerate(kill_points(-options.seed, options.submissions, options.kills)):
        while work.begun < point:
            if processes.is_over.wait(0.05):
                return
        time.sleep(chance.random())
        name = list(processes.troubles)[place % len(processes.troubles)]
        processes.troubles[name]()
        counts.add(f"trouble {name}")


def _restart(processes: Processes, counts: Counts) -> None:
    """Nothing may end that nobody has killed; whatever did is started again, and told."""
    for sentence in processes.restart_if_ended():
        counts.wrong(sentence)


def _settle(
    options: Options, browsers: list[Browser], processes: Processes, counts: Counts
) -> None:
    """Until nothing waits or is being sent; people go on with what was paused."""
    _restart(processes, counts)
    processes.wait_for_web()
    is_aged = not options.is_hurried
    until = time.monotonic() + SETTLE_LIMIT_S
    while time.monotonic() < until:
        left = _look_after(browsers)
        _tell(f"{left} messages are not settled")
        if not left:
            return
        if not is_aged:
            _put_clocks_back(processes)
        _restart(processes, counts)
        time.sleep(0.5 if options.is_hurried else 5)


def _look_after(browsers: list[Browser]) -> int:
    """Everybody looks after what is theirs; returns how many messages are not settled."""
    for browser in browsers:
        browser.go_on()
    for browser in browsers:
        browser.send_after_all()
    people = {browser.person: browser for browser in browsers}
    return len({row.id for one in people.values() for row in one.rows_of(*UNSETTLED)})


def _put_clocks_back(processes: Processes) -> None:
    """As if two minutes had passed: what is planned is due, and what a killed process was sending
    is stale. Both programs are ended first, so that nothing is really under way."""
    processes.end_app()
    engine, past = sa.create_engine(processes.database_url), datetime.now(UTC) - OLD
    with engine.begin() as rows:
        for column, outcomes in (("sending_since", ("sending",)), ("due_at", ("held", "queued"))):
            old = sa.update(Message).where(Message.outcome.in_(outcomes)).values({column: past})
            rows.execute(old)
    engine.dispose()
    processes.start_app()


def _tell(words: str) -> None:
    """How far it is, for who waits for it."""
    sys.stderr.write(f"  {words}\n")
