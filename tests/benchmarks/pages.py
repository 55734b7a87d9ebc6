"""The page with the form, beside a bare one."""

import statistics
from functools import partial

from tests.benchmarks import client, people
from tests.benchmarks.serving import Place, cpu_s
from tests.benchmarks.table import Table
from webapp import create_app

MOST_TO_BARE = 1.7


def measure(place: Place, times: int, rounds: int) -> Table:
    table = Table("The form's page")
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
                "form": client.Contestant(client.asker(page, ask), partial(cpu_s, server)),
                "bare": client.Contestant(
                    client.asker(bare, client.get("/form", {"Host": "127.0.0.1"})),
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
    return table
