"""The judge: every form and every message against the ledger of what arrived.

It asks the pages, as people do: the history for the words and for messages nobody asked for, the
JSON twin of every message, and the page of every form that was taken.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.browser import Browser, Submission
from tests.chaos.counting import Counts
from tests.chaos.plan import Kind
from tests.chaos.processes import Sipgate
from tests.chaos.reading import LEFT, NOT_LEFT, UNSETTLED

INTERRUPTED = "interrupted"
MAX_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Told:
    """A message as the app tells it: its twin, and its word in the history."""

    twin: dict[str, Any]
    word: str


@dataclass(slots=True)
class Report:
    """What was found. `violations` is empty after a good run."""

    counts: Counts
    submissions: int = 0
    turned_down: int = 0
    messages: int = 0
    arrivals: int = 0
    accepted: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    unknown_arrived: int = 0
    kills: int = 0
    parallelism: int = 0
    sending_s: float = 0.0
    seconds: float = 0.0
    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    disagreeing: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)

    @property
    def interrupted_limit(self) -> int:
        return self.kills * self.parallelism

    @property
    def violations(self) -> list[str]:
        """What must not be, in sentences."""
        found = [*self.duplicates, *self.lost, *self.disagreeing, *self.unexplained]
        if self.unknown[INTERRUPTED] > self.interrupted_limit:
            found.append(f"{self.unknown[INTERRUPTED]} interrupted: more than can be")
        if self.counts["kills"] != self.kills:
            found.append(f"{self.counts['kills']} kills instead of {self.kills}")
        return found + self.counts.wrongs


def judge(browsers: list[Browser], sipgate: Sipgate, counts: Counts) -> Report:
    """Compare everything with the ledger."""
    report = Report(counts)
    submissions = [one for browser in browsers for one in browser.submissions]
    arrivals = sipgate.arrivals()
    accepted: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    unclear: Counter[str] = Counter()
    for arrival in arrivals:
        if arrival["accepted"]:
            accepted[arrival["recipient"]].append(arrival)
        if _is_unclear(arrival["status"]):
            unclear[arrival["recipient"]] += 1
    report.submissions = len(submissions)
    report.arrivals = len(arrivals)
    report.accepted = sum(map(len, accepted.values()))
    told = _ask(browsers, report)
    _check_forms(submissions, told, accepted, report)
    senders = {number: one.person for one in submissions for number in one.order.recipients}
    for number, one in told.items():
        _check_message(number, one, accepted[number], unclear, report)
        _check_content(number, one, accepted[number], senders.get(number, ""), report)
    _check_stories(submissions, told, report)
    for number, found in accepted.items():
        if len(found) > 1:
            report.duplicates.append(f"{number} got {len(found)} texts")
        if found and number not in told:
            report.lost.append(f"{number} got a text that the history does not know")
    return report


def _is_unclear(status: int | None) -> bool:
    """Whether the answer said nothing: none at all, a page, a redirect, a fault of sipgate's."""
    return status is None or status in (200, 302) or status >= 500


def _ask(browsers: list[Browser], report: Report) -> dict[str, Told]:
    """Every message of the history, by its recipient."""
    told: dict[str, Told] = {}
    for browser in {browser.person: browser for browser in browsers}.values():
        for row in browser.rows_of():
            twin = browser.twin(f"/messages/{row.id}")
            if twin is None:
                report.lost.append(f"message {row.id} has no page")
                continue
            earlier = told.get(twin["recipient"])
            if earlier and earlier.twin["id"] != twin["id"]:
                report.duplicates.append(f"two messages for {twin['recipient']}")
            told[twin["recipient"]] = Told(twin, row.outcome)
    report.messages = len(told)
    return told


def _check_forms(
    submissions: list[Submission],
    told: dict[str, Told],
    accepted: dict[str, list[dict[str, Any]]],
    report: Report,
) -> None:
    """A form that was taken has all its messages; one that was turned down has none."""
    for one in submissions:
        order = one.order
        if not one.address:
            report.turned_down += 1
            kept = [number for number in order.recipients if number in told]
            report.disagreeing += [f"{number}: turned down, but kept" for number in kept]
            continue
        missing = [number for number in order.recipients if number not in told]
        report.lost += [f"{number}: form {order.number} was taken" for number in missing]
        if order.kind != Kind.MANY and not missing:
            found = told[order.recipients[0]].twin["id"]
            if one.address != f"/messages/{found}":
                report.disagreeing.append(f"form {order.number} leads to another message")


def _check_message(
    number: str,
    one: Told,
    arrivals: list[dict[str, Any]],
    unclear: Counter[str],
    report: Report,
) -> None:
    """What the pages say of a message, and what arrived."""
    outcome, reason = one.twin["outcome"], one.twin["reason"]
    report.outcomes[outcome] += 1
    if one.word != outcome:
        report.disagreeing.append(f"{number}: the page says {one.word}, its twin {outcome}")
    if outcome in UNSETTLED:
        report.lost.append(f"{number}: still {outcome} at the end ({reason})")
    if outcome in LEFT and len(arrivals) != 1:
        report.disagreeing.append(f"{number}: {outcome}, but {len(arrivals)} texts arrived")
    if outcome in NOT_LEFT and arrivals:
        report.disagreeing.append(f"{number}: {outcome} ({reason}), but a text arrived")
    if outcome == "unknown":
        report.unknown[reason] += 1
        report.unknown_arrived += len(arrivals)
        # A request that was reset before its body is in the ledger, but without its number.
        if reason != INTERRUPTED and not unclear[number] and not _take(unclear, ""):
            report.unexplained.append(f"{number}: unknown ({reason}), but sipgate was clear")


def _take(counter: Counter[str], key: str) -> bool:
    counter[key] -= 1
    return counter[key] >= 0


def _check_content(
    number: str, one: Told, arrivals: list[dict[str, Any]], sender: str, report: Report
) -> None:
    """What arrived is what the page shows, and it came from whoever asked for it."""
    for arrival in arrivals:
        pairs = {
            "text": (one.twin["message"], arrival["text"]),
            "extension": (one.twin["sms_id"], arrival["sms_id"]),
            # The ledger does not know whose token it was if that expired while it answered.
            "sender": (sender, arrival["person"] or sender),
        }
        report.disagreeing += [
            f"{number}: another {name} arrived"
            for name, (ours, theirs) in pairs.items()
            if ours != theirs
        ]


def _check_stories(submissions: list[Submission], told: dict[str, Told], report: Report) -> None:
    """What a page once said for certain, it says to the end."""
    outcomes = {one.twin["id"]: one.twin["outcome"] for one in told.values()}
    for submission in submissions:
        for message_id, seen in submission.seen.items():
            if outcomes.get(message_id) != seen:
                report.disagreeing.append(
                    f"message {message_id} was {seen}, then {outcomes.get(message_id)}"
                )


def table(report: Report) -> str:
    """The result for people."""
    counts = report.counts
    lines = [
        ("forms submitted", report.submissions),
        ("  sent twice at once", counts["forms sent twice at once"]),
        ("  sent again, their answer was lost", counts["forms sent again"]),
        ("  kept over a new sign-in", counts["forms kept over a new sign-in"]),
        ("  found taken after one", counts["forms found taken after a new sign-in"]),
        ("  turned down", report.turned_down),
        ("messages", report.messages),
        *((f"  {name}", count) for name, count in report.outcomes.most_common()),
        ("arrivals at sipgate", report.arrivals),
        ("  accepted there", report.accepted),
        ("SIGKILLs", counts["kills"]),
        *((f"  {name}", count) for name, count in counts.beginning("killed ").items()),
        *counts.beginning("trouble ").items(),
        ("faults ordered", sum(counts.beginning("fault ").values())),
        *((f"  {name}", count) for name, count in counts.beginning("fault ").items()),
        ("requests without an answer", counts["requests without an answer"]),
        ("sign-ins", counts["sign-ins"]),
        ("batches told to go on", counts["batches told to go on"]),
        ("withdrawn at the moment of sending", counts["then race"]),
        ("tracebacks in the logs", counts["tracebacks in the logs"]),
        ("unknown outcomes", report.outcomes["unknown"]),
        *((f"  {reason}", count) for reason, count in report.unknown.most_common()),
        ("  of them arrived", report.unknown_arrived),
        (f"interrupted by kills, at most {report.interrupted_limit}", report.unknown[INTERRUPTED]),
        ("unknown though sipgate was clear, must be 0", len(report.unexplained)),
        ("duplicates, must be 0", len(report.duplicates)),
        ("lost, must be 0", len(report.lost)),
        ("pages that disagree, must be 0", len(report.disagreeing)),
        ("other violations, must be 0", len(counts.wrongs)),
        ("seconds of sending", round(report.sending_s)),
        ("seconds in all", round(report.seconds)),
    ]
    shown = [f"{name:<48}{count:>8}" for name, count in lines]
    wrong = report.violations
    shown += [f"  ! {sentence}" for sentence in wrong[:MAX_SHOWN]]
    if len(wrong) > MAX_SHOWN:
        shown.append(f"  ! and {len(wrong) - MAX_SHOWN} more")
    return "\n".join([*shown, "FAILED" if wrong else "passed"])
