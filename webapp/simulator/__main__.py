"""The simulator as a process: `python -m webapp.simulator`. SIGTERM or Ctrl-C ends it.

For HTTP Basic Anna Sommer has the personal token `token-AB12CD` with the secret
`3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10`.
"""

import argparse
import signal
import sys
import threading
from types import FrameType

from webapp.simulator.grants import Client
from webapp.simulator.server import running_simulator
from webapp.simulator.world import DEMO_CLIENT, World


def main() -> None:
    options = _options()
    client = Client(
        options.client_id,
        options.client_secret,
        tuple(options.redirect_uri or DEMO_CLIENT.redirect_uris),
    )
    world = World(
        client=client,
        requires_pkce=options.require_pkce,
        realms=tuple(options.realm or ["third-party"]),
        balance=None if options.balance is None else round(options.balance * 10_000),
    )
    ended = _ended_by_signal()
    with running_simulator(world, port=options.port, control=options.control) as simulator:
        _say_hello(simulator.base_url, world)
        ended.wait()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m webapp.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=5001, help="0: any free one (default: 5001)")
    parser.add_argument("--client-id", default=DEMO_CLIENT.client_id)
    parser.add_argument("--client-secret", default=DEMO_CLIENT.client_secret)
    parser.add_argument("--redirect-uri", action="append", help="may be given several times")
    parser.add_argument("--realm", action="append", help="may be given several times")
    parser.add_argument("--balance", type=float, metavar="EUR", help="of each account")
    parser.add_argument("--require-pkce", action="store_true", help="refuse a sign-in without it")
    parser.add_argument("--control", action="store_true", help="open /_control, for tests only")
    return parser.parse_args()


def _ended_by_signal() -> threading.Event:
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    return ended


def _say_hello(base_url: str, world: World) -> None:
    lines = [
        f"Simulator: {base_url}   phones: {base_url}/phones",
        f"  client id      {world.client.client_id}",
        f"  redirect URIs  {' '.join(world.client.redirect_uris)}",
    ]
    for person in world.people.values():
        if person.personal_token is not None:
            lines.append(f"  {person.name}, HTTP Basic: {':'.join(person.personal_token)}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
