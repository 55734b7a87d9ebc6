"""Pages: the form beside a bare one, and the history with a thousand and a million messages."""

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from tests.benchmarks import client, people, rows
from tests.benchmarks.serving import Place, cpu_s
from tests.benchmarks.table import Table
from webapp import create_app
from webapp.rules.times import now


def day(ago: int) -> str:
    return (now() - timedelta(days=ago)).date().isoformat()


FEW, MANY = 1_000, 1_000_000
MOST_TO_BARE = 1.7
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
    ", by reason": "?reason=rejected",
    ", by a reason there is none of": "?reason=balance",
}
LISTS = {
    f"{whose}{by}": f"/messages{query}"
    for whose in ("own list", "account's list (admin)")
    for by, query in BY.items()
} | {"account's list (admin), by member": "/messages?member={sub}"}
SEARCHES = {
    "own list, search for a common word": "/messages?q=garden",
    "own list, search for a rare word (1 of 5,000)": f"/messages?q={rows.RARE}",
    "own list, search for a word that is nowhere": "/messages?q=Xylophon",
}


def measure(place: Place, times: int, rounds: int, *, many: int = MANY) -> Table:
    table = Table("Pages")
    _form(place, table, times, rounds)
    _history(place, table, times, rounds, many)
    return table


def _form(place: Place, table: Table, times: int, rounds: int) -> None:
    values = place.settings("form")
    server = place.app(values)
    bare_server, bare_url = place.bare(values)
    person = people.sign_in(create_app(values), 1)[0]
    page, bare = client.Connection(values["PUBLIC_URL"]), client.Connection(bare_url)
    place.upstream.reset()
    ask = client.get("/", person.headers)
    page.ask(ask)
    before = place.upstream.state()["requests"]
    found = [
        client.interleaved(
            {
                "form": client.Contestant(_asker(page, ask), partial(cpu_s, server)),
                "bare": client.Contestant(
                    _asker(bare, client.get("/form", {"Host": "127.0.0.1"})),
                    partial(cpu_s, bare_server),
                ),
            },
            times,
        )
        for _ in range(rounds)
    ]
    # It is asked for again after a minute, and counted as what it is: one a minute a member.
    more = place.upstream.state()["requests"] - before
    ratios = [one["form"].cpu / one["bare"].cpu for one in found]
    ours, bares = (statistics.median(one[name].cpu for one in found) for name in ("form", "bare"))
    met = statistics.median(ratios) <= MOST_TO_BARE
    table.add(
        "form / bare page with a form, processor time",
        client.spread(ratios),
        f"{ours:.2f} ms, {bares:.2f} ms",
        f"at most {MOST_TO_BARE}",
        met,
    )
    table.add(
        "the same, by the clock",
        client.spread([one["form"].wall / one["bare"].wall for one in found]),
    )
    table.add(
        f"requests to sipgate for {times * rounds} forms, extensions known",
        str(more),
        "",
        "0",
        more == 0,
    )


def _asker(at: client.Connection, request: bytes) -> Callable[[], None]:
    def ask() -> None:
        answer = at.ask(request)
        assert answer.status == 200, (answer.status, answer.body[:1000])

    return ask


def _history(place: Place, table: Table, times: int, rounds: int, many: int) -> None:
    few_url, few = _filled(place, FEW)
    began = time.monotonic()
    many_url, lots = _filled(place, many)
    table.notes.append(f"{many:,} rows were put in within {time.monotonic() - began:.0f} s.")
    at = {FEW: client.Connection(few_url), many: client.Connection(many_url)}
    for which, path in {**LISTS, **SEARCHES}.items():
        who = int("account" in which)
        ask = {
            name: client.Contestant(
                _asker(at[count], client.get(path.format(sub=of[0].sub), of[who].headers))
            )
            for name, count, of in (("few", FEW, few), ("many", many, lots))
        }
        is_search = which in SEARCHES
        client.interleaved(ask, 1 if is_search else 10)
        count = max(3, times // 50) if is_search else max(10, times // 3)
        found = [client.interleaved(ask, count) for _ in range(1 if is_search else rounds)]
        ratios = [one["many"].wall / one["few"].wall for one in found]
        medians = {name: statistics.median(one[name].wall for one in found) for name in ask}
        figure, met = statistics.median(ratios), None
        if not is_search:
            met = figure <= 1.5
        table.add(
            f"{which}: {many:,} / {FEW:,} messages",
            f"{figure:.2f}" if is_search else client.spread(ratios),
            f"{medians['many']:.1f} ms, {medians['few']:.1f} ms",
            "" if is_search else "at most 1.5",
            met,
        )


def _filled(place: Place, count: int) -> tuple[str, tuple[people.Person, people.Person]]:
    """A server whose account has so many messages; a member and an admin."""
    values = place.settings(f"history-{count}")
    place.app(values)
    app = create_app(values)
    own = people.sign_in(app, 1)[0]
    others = people.sign_in(app, 9)
    admin = people.sign_in(app, 1, is_admin=True)[0]
    rows.fill_history(app, count, own, others)
    return values["PUBLIC_URL"], (own, admin)
