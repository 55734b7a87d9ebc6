"""Draw docs/architecture.svg anew: `.venv/bin/python -m docs.architecture`.

The picture is drawn from `FLOORS` of `tests/test_architecture.py`, which also checks that it is up to
date.
"""

from pathlib import Path
from xml.sax.saxutils import escape

from tests.test_architecture import FLOORS

FILE = Path(__file__).with_name("architecture.svg")
LEFT, WIDTH, TOP, STEP, BOX, GAP = 62, 688, 72, 74, 48, 8
HEIGHT = TOP + STEP * len(FLOORS) + 16
STYLE = """
  text { font: 15px system-ui, sans-serif; fill: #1f2328; }
  .name { font-weight: 600; font-size: 14px; }
  .small { font-size: 12px; fill: #57606a; }
  .row { fill: #f2efe9; }
  .box { fill: #fff; stroke: #b9b3a6; }
  .out { fill: #e3eef6; stroke: #7fa3bd; }
  .page { fill: #fff; }
  .arrow { fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#head); }
  #head path { fill: #57606a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6e3dc; } .small { fill: #a8a49b; } .row { fill: #24231f; } .page { fill: #171613; }
    .box { fill: #2f2d28; stroke: #5c584f; } .out { fill: #1e3442; stroke: #4f7892; }
    .arrow { stroke: #a8a49b; } #head path { fill: #a8a49b; }
  }
"""


def main() -> None:
    FILE.write_text(picture(FLOORS))


def picture(floors: tuple[dict[str, str], ...]) -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {HEIGHT}" width="960" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title about">',
        '<title id="title">The rooms of webapp/, floor by floor</title>',
        '<desc id="about">Eight floors of rooms, from the processes at the top to the pure rules '
        "at the bottom. A room imports only from lower floors. Outside: the browser, the database, "
        "sipgate or the simulator.</desc>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 8 4 0 8Z"/></marker></defs>',
        f'<rect class="page" width="960" height="{HEIGHT}" rx="8"/>',
        *box("browser", "people", LEFT, 10, 220, kind="out"),
    ]
    for place, rooms in enumerate(floors):
        parts += drawn_floor(len(floors) - place, rooms, TOP + STEP * place)
    parts.append(f'<path class="arrow" d="M{LEFT + 30} {10 + BOX} V{TOP + 8}"/>')
    below = next(place for place, rooms in enumerate(floors) if "sipgate" in rooms)
    y = TOP + STEP * below + 9
    parts += [
        f'<path class="arrow" d="M778 {y + BOX // 2} H806"/>',
        *box("database", "SQLite, PostgreSQL", 808, y - 30, 140, kind="out"),
        *box("sipgate", "or the simulator", 808, y + 30, 140, kind="out"),
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def drawn_floor(number: int, rooms: dict[str, str], y: int) -> list[str]:
    parts = [
        f'<rect class="row" x="16" y="{y}" width="762" height="{STEP - 8}" rx="8"/>',
        f'<text class="small" x="28" y="{y + 38}">{number}</text>',
    ]
    # Wider where more is to be said, and all together as wide as every other row.
    weights = [max(len(name) * 1.25, len(what)) + 3 for name, what in rooms.items()]
    width_left = WIDTH - GAP * (len(rooms) - 1) + 12
    x = float(LEFT)
    for weight, (name, what) in zip(weights, rooms.items(), strict=True):
        width = width_left * weight / sum(weights)
        parts += box(name, what, round(x), y + 9, round(width))
        x += width + GAP
    return parts


def box(name: str, what: str, x: int, y: int, width: int, kind: str = "box") -> list[str]:
    middle = x + width // 2
    return [
        f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{BOX}" rx="6"/>',
        f'<text class="name" x="{middle}" y="{y + 21}" text-anchor="middle">{escape(name)}</text>',
        f'<text class="small" x="{middle}" y="{y + 38}" text-anchor="middle">{escape(what)}</text>',
    ]


if __name__ == "__main__":
    main()
