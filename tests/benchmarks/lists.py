"""The list of messages with its filters, one number's page, the overview: with a thousand messages
behind them, and with a million."""

import statistics
import time
from datetime import timedelta

import sqlalchemy as sa

from tests.benchmarks import client, people, rows
from tests.benchmarks.serving import Place, cpu_s, database_cpu_s
from tests.benchmarks.table import Table
from webapp import create_app
from webapp.database import db
from webapp.database.installation import register_location
from webapp.database.models import CountedDay, Message
from webapp.database.schema import upgrade_schema
from webapp.messages import overview
from webapp.rules.times import now

FEW, MANY = 1_000, 1_000_000
MOST = 1.5
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def day(ago: int) -> str:
    return (now() - timedelta(days=ago)).date().isoformat()


BY = {
    "": "",
    ", by outcome": "?outcome=refused",
    ", by outcomes": "?outcome=refused&outcome=not_sent&outcome=cancelled",
    ", by an outcome there is none of": "?outcome=cancelled",
    ", needs attention (nothing does)": "?tab=attention",
    ", planned": "?tab=planned",
    ", by days": f"?from={day(70)}&to={day(5)}",
    ", by extension": "?extension=s0",
    ", by an extension there is none of": "?extension=s9",
    ", by template": f"?template={rows.TEMPLATE}",
    ", by a template there is none of": f"?template={'0' * 32}",
    ", by reason": "?reason=rejected",
    ", by a reason there is none of": "?reason=balance",
    ", its last page": "?before={last}",
}
LISTS = {
    f"{whose}{by}": f"/messages{query}"
    for whose in ("own list", "account's list (admin)")
    for by, query in BY.items()
} | {
    "account's list (admin), by member": "/messages?member={sub}",
    "one number's page": "/numbers/{number}",
    "one number's page (admin of the account)": "/numbers/{number}",
}
OVERVIEWS = {
    f"{whose}{by}": f"/overview{query}"
    for whose in ("own overview", "account's overview (admin)")
    for by, query in (("", ""), (", a year", "?days=365"))
}
MOST_MS = 100
SEARCHES = {
    "own list, search for a common word": "/messages?q=garden",
    "own list, search for a number with many": f"/messages?q={rows.NUMBER[1:]}",
    "own list, search for a rare word (1 of 5,000)": f"/messages?q={rows.RARE}",
    "own list, search for a word that is nowhere": "/messages?q=Xylophon",
}


class Filled:
    """A server whose account has so many messages, a member and an admin of it."""

    def __init__(self, place: Place, kind: str, count: int) -> None:
        name = f"lists-{kind}-{count}"
        values = place.settings(name, DATABASE_URL=place.database(kind, name))
        app = create_app(values)
        with app.app_context():
            upgrade_schema()
            register_location()
        own = people.sign_in(app, 1)[0]
        others = people.sign_in(app, 9)
        admin = people.sign_in(app, 1, is_admin=True)[0]
        rows.fill_history(app, count, own, others)
        with app.app_context():
            _count_days()
            self._ids = {"sub": own.sub, "number": _one_to(rows.NUMBER), "last": _oldest(51)}
        self._headers = {"own": own.headers, "admin": admin.headers}
        self._server = place.app(values)
        self._at = client.Connection(values["PUBLIC_URL"])
        self._is_sqlite = kind == "sqlite"

    def contestant(self, which: str, path: str) -> client.Contestant:
        headers = self._headers["admin" if "admin" in which else "own"]
        request = client.get(path.format(**self._ids), headers)
        return client.Contestant(client.asker(self._at, request), self._cpu_s)

    def _cpu_s(self) -> float:
        own = cpu_s(self._server)
        return own if self._is_sqlite else own + database_cpu_s()


def _count_days() -> None:
    """All that have ended, as the worker does within some minutes."""
    before, found = -1, 0
    while found > before:
        overview.count_ended_days()
        before = found
        found = db.session.scalar(sa.select(sa.func.count()).select_from(CountedDay)) or 0


def _one_to(number: str) -> str | None:
    return db.session.scalar(sa.select(Message.id).where(Message.recipient == number).limit(1))


def _oldest(place: int) -> str | None:
    """The message that so many others of its member are older than, or as old as."""
    mine = sa.select(sa.func.min(Message.member_id)).scalar_subquery()
    oldest = sa.select(Message.id).where(Message.member_id == mine, Message.batch_id.is_(None))
    return db.session.scalar(oldest.order_by(Message.shown_at).offset(place).limit(1))


def measure(
    place: Place, times: int, rounds: int, *, many: int = MANY, databases: list[str]
) -> Table:
    """Processor time a page, of the app and of PostgreSQL if that is the database; the sizes take
    turns."""
    table = Table("Lists")
    for kind in databases:
        few = Filled(place, kind, FEW)
        began = time.monotonic()
        lots = Filled(place, kind, many)
        took_s = time.monotonic() - began
        table.notes.append(f"{NAMES[kind]}: {many:,} rows were put in within {took_s:.0f} s.")
        for which, path in LISTS.items():
            _compare(table, kind, which, path, few, lots, (times, rounds), many)
        for which, path in OVERVIEWS.items():
            _time(table, kind, which, lots.contestant(which, path), times * rounds, many)
        for which, path in SEARCHES.items():
            _compare(table, kind, which, path, few, lots, (5, 1), many)
    return table


def _compare(
    table: Table,
    kind: str,
    which: str,
    path: str,
    few: Filled,
    lots: Filled,
    how_often: tuple[int, int],
    many: int,
) -> None:
    times, rounds = how_often
    ask = {"few": few.contestant(which, path), "many": lots.contestant(which, path)}
    client.interleaved(ask, 10 if rounds > 1 else 1)
    found = [client.interleaved(ask, times) for _ in range(rounds)]
    ratios = [one["many"].cpu / one["few"].cpu for one in found]
    medians = {name: statistics.median(one[name].cpu for one in found) for name in ask}
    is_met = statistics.median(ratios) <= MOST
    table.add(
        f"{NAMES[kind]}: {which}: {many:,} / {FEW:,} messages, processor time",
        client.spread(ratios),
        f"{medians['many']:.1f} ms, {medians['few']:.1f} ms",
        "" if which in SEARCHES else f"at most {MOST}",
        None if which in SEARCHES else is_met,
    )


def _time(
    table: Table, kind: str, which: str, page: client.Contestant, times: int, many: int
) -> None:
    client.interleaved({"page": page}, 10)
    found = client.interleaved({"page": page}, times)["page"]
    table.add(
        f"{NAMES[kind]}: {which}: {many:,} messages, by the clock",
        f"{found.wall:.1f} ms",
        f"{found.cpu:.1f} ms of processor time",
        f"at most {MOST_MS} ms",
        found.wall <= MOST_MS,
    )
