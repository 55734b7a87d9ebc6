"""The output: one table a part, in Markdown, each line with its target and whether it is met."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Line:
    """`figure` is what `target` is about; `is_met` is None where there is no target."""

    what: str
    figure: str
    beside: str = ""
    target: str = ""
    is_met: bool | None = None


@dataclass(slots=True)
class Table:
    """A part's figures. `notes` are sentences below it."""

    title: str
    lines: list[Line] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, what: str, figure: str, beside: str = "", target: str = "", met: bool | None = None
    ) -> None:
        self.lines.append(Line(what, figure, beside, target, met))
        sys.stderr.write(f"  {what}: {figure} {beside}\n")

    def as_text(self) -> str:
        rows = [("What", "Figure", "Measured", "Target", "Met")]
        rows += [(one.what, one.figure, one.beside, one.target, _word(one)) for one in self.lines]
        lines = [_row(rows[0]), "|" + "---|" * len(rows[0]), *(_row(row) for row in rows[1:])]
        return "\n".join([f"### {self.title}", "", *lines, "", *self.notes]).rstrip() + "\n"


def _word(line: Line) -> str:
    return "" if line.is_met is None else "yes" if line.is_met else "**no**"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
