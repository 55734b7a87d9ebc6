"""`docs/faults.md` ties each fault and each bad input to the tests that carry its id.

`python -m tests.test_matrix` writes the table anew; the test keeps it true. An id without a test
stands in `NOT_YET`, with the reason, and leaves it when its first test is written.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).resolve().parent
TABLE = TESTS.parent / "docs" / "faults.md"
IDS = [f"F{n:02}" for n in range(1, 87)] + [f"B{n:02}" for n in range(1, 31)]
NAME = re.compile(r"test_([fb]\d\d)_")

NOT_YET = {
    "F45": "`make chaos`; a small run is tests/processes/test_chaos.py",
    "F62": "tests/rules/test_times.py and B10",
    "F63": "B10 when submitted; F60 when handed over",
}


REMAINS = """
## What remains

- **A process frozen between its last look and its first byte.** A claim has an age (F68): right
  before the first byte of a request the process looks at a clock that nobody sets, and begins
  nothing for a claim older than 20 seconds (40 after a 401). Between that look and the write lie a
  few instructions. A process that stands still exactly there, for longer than the 80 seconds after
  which its message becomes "unknown", writes its request when it wakes. If somebody has said "not
  sent" and sent it again by then, the text arrives twice. Nothing on our side of the line can close
  this gap, for sipgate knows no id that would tell it the two are one.
"""


def names_by_id() -> dict[str, list[str]]:
    """`F06` to `test_faults_send.py: test_f06_…`, in the order of files and lines."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (match := NAME.match(node.name)):
                place = path.relative_to(TESTS).as_posix()
                found[match[1].upper()].append(f"`{place}`: {node.name}")
    return {key: sorted(names) for key, names in found.items()}


def table() -> str:
    found = names_by_id()
    lines = [
        "# Faults and bad input, and what tests them",
        "",
        "Written by `python -m tests.test_matrix`; a test keeps it true.",
        "",
        "| id | tests |",
        "|---|---|",
    ]
    for id_ in IDS:
        cell = "<br>".join(found[id_]) if id_ in found else f"none: {NOT_YET[id_]}"
        lines.append(f"| {id_} | {cell} |")
    return "\n".join(lines) + "\n" + REMAINS


def test_every_fault_has_a_test_or_a_reason() -> None:
    found = names_by_id()
    assert not [id_ for id_ in IDS if id_ not in found and id_ not in NOT_YET]
    assert not [id_ for id_ in NOT_YET if id_ in found], "tested now: take it out of NOT_YET"
    assert not set(found) - set(IDS), "a test carries an id that no fault has"


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text() == table(), "run: python -m tests.test_matrix"


if __name__ == "__main__":
    TABLE.write_text(table())
