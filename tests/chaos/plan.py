"""What is to happen: forms, faults and kills, all from one seed.

The seed fixes what is done, by whom and in which order it is begun. How the threads and processes
meet is the machine's business, so two runs with one seed are alike, never the same.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PEOPLE = ("anna", "ben", "karl")
"""Those of the simulator's cast who have an extension, in two accounts."""

MAX_BATCH = 100
MAINTENANCE = "<!doctype html><title>Maintenance</title><h1>We will be back soon</h1>"


class Kind(StrEnum):
    """What a form asks for."""

    NOW = "now"
    SOON = "soon"  # planned, but so close that sipgate gets it at once
    PLANNED = "planned"  # kept by us until its hand-over
    MANY = "many"


class Then(StrEnum):
    """What its member does after the form was taken."""

    NOTHING = "nothing"
    WITHDRAW = "withdraw"
    CHANGE = "change"
    RACE = "race"  # "send it now" in one tab and "withdraw" in another, at the same moment
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Order:
    """One form: who, what, to whom; what goes wrong meanwhile, and what happens afterwards."""

    number: int
    kind: Kind
    is_doubled: bool
    """The same form leaves twice at once, as browsers do when a connection dies."""
    recipients: tuple[str, ...]
    text: str
    fault: "Fault | None"
    then: Then


@dataclass(frozen=True, slots=True, eq=False)
class Fault:
    """What the simulator is told just before a form is sent."""

    name: str
    endpoint: str = "send"
    fault: Mapping[str, Any] | None = None
    expires_tokens: bool = False
    """Every access token dies first, so that whoever sends must refresh."""


def _answer(status: int, name: str = "", **fields: Any) -> Fault:
    return Fault(name or str(status), fault={"status": status, **fields})


def _too_fast(seconds: str) -> Fault:
    return _answer(429, f"429, again in {seconds} s", headers=[["Retry-After", seconds]])


def _broken(mode: str, *, is_sent: bool, **fields: Any) -> Fault:
    name = f"{mode}, sent" if is_sent else mode
    return Fault(name, fault={"mode": mode, "deliver": is_sent, **fields})


def _refresh(name: str, **fields: Any) -> Fault:
    return Fault(f"tokens expired, {name}", "token_refresh", fields, expires_tokens=True)


FAULTS = {
    _answer(400): 10,
    _answer(402): 1,
    _answer(401): 6,
    _too_fast("0"): 6,
    _too_fast("1"): 6,
    _answer(500): 8,
    _answer(500, "500, sent", deliver=True): 4,
    _answer(503, "503 page, sent", body=MAINTENANCE, deliver=True): 6,
    _answer(200, "200 page", body=MAINTENANCE): 3,
    Fault("redirect", fault={"mode": "redirect"}): 2,
    Fault("slow, sent", fault={"delay_s": 1, "deliver": True}): 3,
    _broken("hang", is_sent=True): 1,
    _broken("reset", is_sent=False): 6,
    _broken("reset", is_sent=True): 6,
    _broken("close", is_sent=False): 6,
    _broken("close", is_sent=True): 6,
    _broken("reset_early", is_sent=False): 3,
    _broken("break_body", is_sent=True): 5,
    Fault("tokens expired", expires_tokens=True): 6,
    _refresh("refresh answer lost", mode="reset", deliver=True): 1,
    _refresh("refresh 503", status=503): 2,
}
"""What can happen, and how often of each other. A 402 stops a whole batch, a hang costs twenty
seconds, and a lost refresh answer ends a sign-in: so those are rare."""

FAULT_SHARE = 0.25
DOUBLED_SHARE = 0.15
KINDS = {Kind.NOW: 84, Kind.SOON: 6, Kind.PLANNED: 8, Kind.MANY: 2}
AFTER_PLANNED = {Then.NOTHING: 40, Then.WITHDRAW: 20, Then.CHANGE: 20, Then.RACE: 20}
AFTER_MANY = {Then.NOTHING: 70, Then.STOP: 15, Then.WITHDRAW: 15}
TEXTS = (
    "Your appointment is tomorrow at 9.",
    "Grüße aus der Praxis €",
    "Fertig 👍🏽",
    "Zeile\nzwei",
)


def make_orders(seed: int, count: int) -> list[Order]:
    """The forms of a run. Every message has a recipient of its own: that is how arrivals are told
    apart."""
    chance = random.Random(seed)
    orders: list[Order] = []
    used = 0
    for number in range(count):
        kind = _pick(chance, KINDS)
        size = chance.randint(2, MAX_BATCH) if kind == Kind.MANY else 1
        recipients = tuple(f"+49151{used + place:08d}" for place in range(size))
        used += size
        orders.append(
            Order(
                number=number,
                kind=kind,
                is_doubled=chance.random() < DOUBLED_SHARE,
                recipients=recipients,
                text=f"{number}: {chance.choice(TEXTS)}",
                fault=_pick(chance, FAULTS) if chance.random() < FAULT_SHARE else None,
                then=_what_then(chance, kind),
            )
        )
    return orders


def kill_points(seed: int, submissions: int, kills: int) -> list[int]:
    """After how many submissions each kill comes: one at a random place in each equal part."""
    chance = random.Random(f"{seed} kills")
    part = submissions / max(1, kills)
    return [int(part * (place + chance.random())) for place in range(kills)]


def _what_then(chance: random.Random, kind: Kind) -> Then:
    if kind == Kind.PLANNED:
        return _pick(chance, AFTER_PLANNED)
    return _pick(chance, AFTER_MANY) if kind == Kind.MANY else Then.NOTHING


def _pick(chance: random.Random, weights: Mapping[Any, int]) -> Any:
    return chance.choices(list(weights), list(weights.values()))[0]
