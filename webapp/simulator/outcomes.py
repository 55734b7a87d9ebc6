"""Recipients that choose the outcome: one table, shown on the start page and in docs/demo.md.

The numbers are the Bundesnetzagentur's for films and books: nobody can ever own one. Any other
number, and every number of these blocks that is not in the table, is simply accepted.
"""

from dataclasses import dataclass

from webapp.simulator.faults import REDIRECT_TARGET, Fault

BLOCKS = (
    ("+491713920000", "+491713920099"),
    ("+4917604069000", "+4917604069099"),
)
"""First and last number of each block."""

_MAINTENANCE = b"<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to a text to `number`: in words, and as the fault that is played."""

    number: str
    words: str
    fault: Fault

    @property
    def is_delivered(self) -> bool:
        return self.fault.deliver


def _outcome(ending: int, words: str, fault: Fault) -> Outcome:
    return Outcome(f"+4917139200{ending:02d}", words, fault)


OUTCOMES = (
    _outcome(1, "Refused: 400, the recipient is invalid", Fault(400)),
    _outcome(2, "Refused: 402, the balance is too low", Fault(402)),
    _outcome(3, "Refused: 403, not allowed to use this extension", Fault(403)),
    _outcome(4, "Refused: 404, wrong path", Fault(404)),
    _outcome(5, "Too fast: 429, try again in 120 seconds", Fault(429, (("Retry-After", "120"),))),
    _outcome(6, "Server error: 500", Fault(500)),
    _outcome(7, "Server error: 503 with an HTML page", Fault(503, body=_MAINTENANCE, deliver=True)),
    _outcome(8, "No answer at all", Fault(mode="hang", deliver=True)),
    _outcome(9, "Connection reset instead of an answer", Fault(mode="reset", deliver=True)),
    _outcome(10, "200 with an HTML page, as from a captive portal", Fault(200, body=_MAINTENANCE)),
    _outcome(11, "Redirect: 302", Fault(302, (("Location", REDIRECT_TARGET),), mode="redirect")),
    _outcome(12, "Not signed in: 401, every time", Fault(401)),
    _outcome(13, "Accepted, but slowly: after 3 seconds", Fault(delay_s=3, deliver=True)),
    _outcome(14, "No answer at all", Fault(mode="hang")),
    _outcome(15, "Accepted: 200 with JSON", Fault(200, body=b'{"ok":true}', deliver=True)),
    _outcome(16, "Accepted, then the answer breaks off", Fault(mode="break_body", deliver=True)),
)

BY_NUMBER = {outcome.number: outcome for outcome in OUTCOMES}
