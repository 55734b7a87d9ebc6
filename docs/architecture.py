"""Draw docs/architecture.svg anew: `.venv/bin/python docs/architecture.py`.

`ROWS` is the picture; `tests/test_architecture.py` has the exact order, and checks that the picture
shows every module and that no row imports from one above it.
"""

from pathlib import Path
from xml.sax.saxutils import escape

FILE = Path(__file__).with_name("architecture.svg")
ROWS: dict[str, dict[str, str]] = {
    "Doors": {
        "views": "pages",
        "cli": "command line",
        "tasks": "from the queue",
        "worker": "its process",
        "server": "the web process",
        "demo": "to try it",
    },
    "Forms and words": {
        "forms": "what was typed",
        "questions": "before it goes",
        "words": "codes to sentences",
    },
    "Daily work": {
        "contacts": "names, numbers",
        "message_templates": "texts to start from",
        "history": "found again",
        "senders": "own numbers",
        "housekeeping": "what must end",
    },
    "Messages": {
        "outbox": "forms, taken once",
        "sending": "writes outcomes",
        "claims": "who sends it",
        "wishes": "asked meanwhile",
        "waiting": "planned, queued",
        "batches": "many at once",
        "settling": "the unknown",
        "attention": "what did not go",
    },
    "People": {
        "members": "who is it",
        "account": "what sipgate knows",
        "oauth": "signing in",
        "tokens": "refreshed once",
        "submissions": "forms, once",
    },
    "The installation": {
        "installation": "home, hold, signs of life",
        "record": "who did what",
        "i18n": "language, dates",
        "security": "headers, cookies, limits",
    },
    "sipgate": {
        "sipgate": "the REST interface",
        "entries": "its long lists",
        "answers": "what they mean",
        "login_server": "its sign-in",
        "wire": "time limits",
    },
    "Stored": {
        "models": "tables",
        "schema": "its version",
        "database": "transactions",
        "copies": "told apart",
        "extensions": "what is shared",
        "outcomes": "the words for them",
        "keys": "one a purpose",
    },
    "Pure": {
        "sms": "texts, segments",
        "recipients": "numbers",
        "times": "zones, clocks",
        "config": "settings",
        "logs": "lines",
        "metrics": "counts",
    },
}
LEFT, WIDTH, TOP, STEP, BOX, GAP = 166, 584, 72, 74, 48, 8
HEIGHT = TOP + STEP * len(ROWS) + 16
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
    FILE.write_text(picture())


def picture() -> str:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {HEIGHT}" width="960" '
        f'height="{HEIGHT}" role="img" aria-labelledby="title about">',
        '<title id="title">The modules of webapp/, in layers</title>',
        '<desc id="about">Rows of modules, from the doors at the top to the pure rules at the '
        "bottom. A module imports only from its own row and the rows below. Outside: the browser, "
        "the database, sipgate or the simulator.</desc>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 8 4 0 8Z"/></marker></defs>',
        f'<rect class="page" width="960" height="{HEIGHT}" rx="8"/>',
        *box("browser", "people", LEFT, 10, 220, kind="out"),
    ]
    for place, (row, modules) in enumerate(ROWS.items()):
        parts += drawn_row(row, modules, TOP + STEP * place)
    parts.append(f'<path class="arrow" d="M{LEFT + 30} {10 + BOX} V{TOP + 8}"/>')
    for row, name, what in (("sipgate", "sipgate", "or the simulator"), ("Stored", "database", "SQLite, PostgreSQL")):
        y = TOP + STEP * list(ROWS).index(row) + 9
        parts += [f'<path class="arrow" d="M778 {y + BOX // 2} H806"/>', *box(name, what, 808, y, 140, kind="out")]
    return "\n".join([*parts, "</svg>"]) + "\n"


def drawn_row(row: str, modules: dict[str, str], y: int) -> list[str]:
    parts = [
        f'<rect class="row" x="16" y="{y}" width="762" height="{STEP - 8}" rx="8"/>',
        f'<text class="small" x="28" y="{y + 38}">{escape(row)}</text>',
    ]
    # Wider where more is to be said, and all together as wide as every other row.
    weights = [max(len(name) * 1.25, len(what)) + 3 for name, what in modules.items()]
    room = WIDTH - GAP * (len(modules) - 1) + 12
    x = float(LEFT)
    for weight, (name, what) in zip(weights, modules.items(), strict=True):
        width = room * weight / sum(weights)
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
