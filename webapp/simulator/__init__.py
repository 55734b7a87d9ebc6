"""A simulated sipgate: OAuth, REST and the phones that get the texts, for demo and tests.

It stands alone: it imports nothing of the app and the app nothing of it. Tests start it as a
thread, `make demo` as a process.

    with running_simulator() as sipgate:
        sipgate.fail_next("send", Fault(mode="hang", deliver=True))
        ...
        assert sipgate.phones["+491713920020"][0].text == "Hello"

Modules: `people` (the cast), `outcomes` (numbers that choose their outcome), `world` (all state),
`records` (what is written down), `faults` (what can go wrong), `wire` (how it goes wrong), `grants`
and `oauth` (sign-in), `access`, `rest` and `send` (the API), `pages`, `control`, `app` (puts them
together), `server` (HTTP and threads).

Anna Sommer's personal token for HTTP Basic is `token-AB12CD` with the secret
`3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10`.
"""

from webapp.simulator.faults import Fault, oauth_error
from webapp.simulator.grants import Client
from webapp.simulator.records import Arrival, PhoneText
from webapp.simulator.server import Simulator, running_simulator
from webapp.simulator.world import DEMO_CLIENT, World

__all__ = [
    "DEMO_CLIENT",
    "Arrival",
    "Client",
    "Fault",
    "PhoneText",
    "Simulator",
    "World",
    "oauth_error",
    "running_simulator",
]
