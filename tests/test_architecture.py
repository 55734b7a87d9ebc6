"""The rules of the house that no reader should have to check: rooms, doors, templates, routes.

A failure says what to do instead. A rule that no longer fits is changed here, with its reason.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from flask import Flask

from webapp.config import PROJECT

WEBAPP = PROJECT / "webapp"
TEMPLATES = PROJECT / "templates"

FLOORS: tuple[dict[str, str], ...] = (
    {
        "server": "the web process",
        "worker": "the worker's process",
        "samples": "the demo's past",
    },
    {"__init__": "create_app"},
    {"web": "pages and forms", "cli": "the command line"},
    {"doctor": "one look at everything"},
    {"jobs": "what runs without a browser"},
    {"alerts": "word of trouble"},
    {"i18n": "the language of pages"},
    {"messages": "a message's whole life", "account": "what sipgate knows of a member"},
    {"signin": "who somebody is, and calls in their name"},
    {
        "database": "tables, transactions",
        "sipgate": "the REST API and the login server",
        "demo": "to try it",
    },
    {
        "rules": "texts, numbers, times, outcomes",
        "telemetry": "logs, metrics",
        "config": "settings",
        "simulator": "a stand-in for sipgate",
        "list_reader": "a script of its own",
    },
)
"""The rooms of `webapp/`, top floor first. A room imports from lower floors only; rooms of one
floor do not know each other. `docs/architecture.py` draws its picture from this table."""

DOORS = {
    "database": {
        "",
        "audit",
        "daily_limit",
        "idempotency",
        "installation",
        "limits",
        "locks",
        "models",
        "schema",
        "triggers",
    },
    "sipgate": {"", "login", "transport"},
    "signin": {"", "flow", "sessions", "tokens"},
}
"""Where a room may be entered from outside: "" is what its `__init__` exports, by name. Rooms that
are not listed here are entered by any of their modules."""


# --- Reading the code ---------------------------------------------------------------------------


def sources(folder: Path = WEBAPP) -> list[Path]:
    """Our modules, without the migrations and, from outside, without the simulator."""
    found = sorted(folder.rglob("*.py"))
    skipped = {"migrations"} if "simulator" in folder.parts else {"migrations", "simulator"}
    return [path for path in found if not skipped & set(path.relative_to(PROJECT).parts)]


def name_of(path: Path) -> str:
    """`web.messages`, or `__init__` for the package itself."""
    parts = list(path.relative_to(WEBAPP).with_suffix("").parts)
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def room_of(name: str) -> str:
    return name.partition(".")[0]


def floor_of(name: str) -> int:
    """Counted from the top."""
    for number, floor in enumerate(FLOORS):
        if room_of(name) in floor:
            return number
    raise AssertionError(f"webapp/{room_of(name)} is in no floor: give it a place in FLOORS")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Every import as (module, name): `from flask import request` is `("flask", "request")`."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write `from webapp import …`, not a relative one"
            yield from ((node.module or "", alias.name) for alias in node.names)


def modules_imported(path: Path) -> set[str]:
    """The modules of ours that this one imports: `web.guard`, or `database` for a name of its
    `__init__`."""
    found = set()
    for module, name in imports(path):
        if module == "webapp" or module.startswith("webapp."):
            inside = f"{module}.{name}".removeprefix("webapp.")
            is_inside = is_module(inside) and name not in exports(module.removeprefix("webapp."))
            found.add(inside if is_inside else module.removeprefix("webapp."))
    return {"__init__" if name == "webapp" else name for name in found}


def is_module(name: str) -> bool:
    path = WEBAPP.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or path.is_dir()


@cache
def exports(room: str) -> frozenset[str]:
    """What a room's `__init__` offers by name: its `__all__`."""
    path = WEBAPP / room / "__init__.py"
    for node in tree_of(path).body if path.exists() else []:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def packages_imported(path: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imports(path)}


def names_imported(path: Path, module: str) -> set[str]:
    return {name for found, name in imports(path) if found == module}


def of(*rooms: str) -> list[Path]:
    """The files of these rooms, or of single modules."""
    found = [p for p in sources() if room_of(name_of(p)) in rooms or name_of(p) in rooms]
    assert found, f"no such room: {rooms}"
    return found


# --- Who imports whom ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_room_imports_only_from_lower_floors(path: Path) -> None:
    name = name_of(path)
    for other in modules_imported(path):
        if room_of(other) == room_of(name):
            continue
        assert floor_of(other) > floor_of(name), (
            f"{name} must not import {other}, which is on the same floor or above: move what it "
            "needs down, or pass it in as an argument"
        )


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_room_is_entered_by_its_door(path: Path) -> None:
    name = name_of(path)
    for other in modules_imported(path):
        room, _, module = other.partition(".")
        if room != room_of(name) and room in DOORS:
            assert module in DOORS[room], (
                f"{name} must not import webapp.{other}: take it from webapp.{room}, which exports "
                "what others may use"
            )


def test_every_floor_holds_only_rooms_that_exist() -> None:
    listed = {name for floor in FLOORS for name in floor} - {"simulator"}
    assert listed == {room_of(name_of(path)) for path in sources()}


def test_the_picture_is_drawn_from_the_floors() -> None:
    from docs import architecture

    assert architecture.FILE.read_text() == architecture.picture(FLOORS), (
        "run: python -m docs.architecture"
    )


BANNED = [
    (("rules",), ("flask", "sqlalchemy", "requests")),
    (("sipgate",), ("sqlalchemy", "flask_wtf")),
    (("messages", "account", "jobs"), ("flask_wtf", "wtforms", "requests")),
    (("i18n",), ("sqlalchemy", "requests", "authlib")),
    (("web.forms",), ("sqlalchemy", "requests", "authlib")),
    (("web",), ("requests", "urllib3", "authlib", "gunicorn")),
    (("cli",), ("requests", "flask_wtf", "wtforms", "sqlalchemy")),
]


@pytest.mark.parametrize(("rooms", "packages"), BANNED, ids=[row[0][0] for row in BANNED])
def test_a_room_knows_nothing_of_what_others_are_for(
    rooms: tuple[str, ...], packages: tuple[str, ...]
) -> None:
    for path in of(*rooms):
        known = packages_imported(path) & set(packages)
        assert not known, (
            f"{name_of(path)} must not know {', '.join(known)}: the floors below have what it needs"
        )


def test_only_these_rooms_speak_http() -> None:
    for path in sources():
        if {"requests", "urllib3", "httpx", "authlib"} & packages_imported(path):
            assert room_of(name_of(path)) in ("sipgate", "signin", "alerts"), (
                f"{name_of(path)}: call sipgate.client() instead"
            )


def test_the_request_is_known_only_where_requests_are_answered() -> None:
    for path in sources():
        if "request" in names_imported(path, "flask"):
            assert room_of(name_of(path)) in ("web", "telemetry", "i18n"), (
                f"{name_of(path)} must not read the request: let the view pass what it needs"
            )


def test_only_the_guard_and_the_choice_of_language_know_the_session() -> None:
    for path in sources():
        if "session" in names_imported(path, "flask"):
            assert name_of(path) in ("web.guard", "i18n.formats"), (
                f"{name_of(path)}: add a function to web/guard.py, which alone knows the keys"
            )


WRITERS = {
    "Message": ("messages", "jobs.retention"),
    "TokenSet": ("signin", "jobs.retention"),
    "BrowserSession": ("signin", "jobs.retention"),
}


@pytest.mark.parametrize("table", WRITERS)
def test_a_table_is_written_by_its_room_alone(table: str) -> None:
    pattern = re.compile(rf"\b{table}\(|\b(?:update|delete|insert)\((?:table\()?{table}\)")
    for path in sources():
        name = name_of(path)
        if name != "database.models" and not {name, room_of(name)} & set(WRITERS[table]):
            assert not pattern.search(path.read_text()), (
                f"{name} must not write {table}: add a function to {WRITERS[table][0]}"
            )


def test_migrations_form_one_chain() -> None:
    after: dict[str, str] = {}
    for path in sorted((WEBAPP / "database" / "migrations").glob("0*.py")):
        names = dict(re.findall(r'^(revision|down_revision) = "(\w+)"', path.read_text(), re.M))
        before = names.get("down_revision", "")
        assert before not in after, f"{path.name} and {after[before]} follow the same migration"
        after[before] = path.name


def test_pages_hold_no_sql_text_and_no_address_of_sipgate() -> None:
    pattern = re.compile(r"sipgate\.com|/sessions/sms|openid-connect|\btext\(\s*[\"']")
    for path in of("web"):
        found = pattern.search(path.read_text())
        assert not found, f"{name_of(path)}: {found and found[0]!r} belongs to a lower floor"


def test_the_simulator_and_the_app_know_nothing_of_each_other() -> None:
    for path in sources(WEBAPP / "simulator"):
        foreign = {one for one in modules_imported(path) if room_of(one) != "simulator"}
        assert not foreign, f"simulator/{path.name} must not know the app: {foreign}"
    for path in sources():
        if name_of(path) != "demo":
            assert "simulator" not in map(room_of, modules_imported(path)), (
                f"{name_of(path)}: sipgate is reached by its addresses only, simulated or not"
            )


# --- Sizes --------------------------------------------------------------------------------------

MAX_FUNCTION_LINES = 45


def everything() -> list[Path]:
    return [*sources(), *sources(WEBAPP / "simulator")]


def test_functions_can_be_read_at_a_glance() -> None:
    for path in everything():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= MAX_FUNCTION_LINES, (
                    f"{path.name}: {node.name} has {lines} lines; give its steps names of their own"
                )


def test_every_module_says_what_it_owns() -> None:
    for path in everything():
        words = ast.get_docstring(tree_of(path))
        assert words, f"{path.name}: begin with a docstring that says what the module owns"


# --- Routes -------------------------------------------------------------------------------------

BOTH_SHOW_AND_TAKE: set[str] = set()
"""Endpoints that answer GET with a form and take it by POST at the same address."""


def test_a_route_either_shows_or_changes(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        methods = set(rule.methods or ()) - {"HEAD", "OPTIONS"}
        if rule.endpoint not in BOTH_SHOW_AND_TAKE:
            assert methods in ({"GET"}, {"POST"}), (
                f"{rule.endpoint} answers {sorted(methods)}: what changes something is a POST of "
                "its own, what shows something a GET"
            )


def test_views_are_declared_with_their_method() -> None:
    for path in of("web"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef):
                names = [
                    one.func.attr
                    for one in node.decorator_list
                    if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)
                ]
                assert "route" not in names, (
                    f"{name_of(path)}.{node.name}: write @blueprint.get or @blueprint.post"
                )


# --- Templates ----------------------------------------------------------------------------------

CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


def templates() -> list[Path]:
    found = sorted([*TEMPLATES.rglob("*.html"), *(WEBAPP / "simulator").rglob("*.html")])
    assert len(found) > 8
    return found


@pytest.mark.parametrize(
    "path", templates(), ids=lambda path: f"{path.parent.parent.name}-{path.stem}"
)
def test_a_template_escapes_everything_and_has_nothing_inline(path: Path) -> None:
    source = path.read_text()
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|Markup", source), (
        f"{path.name}: nothing is marked safe; build it from escaped parts in a macro"
    )
    html = CODE.sub("", source)
    for tag in re.findall(r"<script\b[^>]*>", html):
        assert "src=" in tag, f"{path.name}: put the script into a file of static/"
    assert not re.search(r"<style\b|<[a-z][^>]*\sstyle\s*=", html), (
        f"{path.name}: put the style into the stylesheet"
    )
    assert not re.search(r"<[a-z][^>]*\son[a-z]+\s*=", html), (
        f"{path.name}: add the listener in a module of static/"
    )
    assert not re.search(r"(?:src|href|action)\s*=\s*[\"']?(?:https?:)?//", html), (
        f"{path.name}: nothing is loaded from elsewhere"
    )


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.stem)
def test_a_template_begins_with_what_it_is_given(path: Path) -> None:
    assert path.read_text().startswith("{# "), (
        f"{path.name}: begin with a comment that says what the page is and lists its parameters"
    )


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.html")), ids=lambda path: path.stem)
def test_macros_are_made_once_not_for_every_page(path: Path) -> None:
    assert not re.search(r"{%.*\bimport\b.*\bwith context\b", path.read_text()), (
        f"{path.name}: import macros without context, and give them what they need as arguments"
    )


def test_no_code_marks_text_as_safe() -> None:
    for path in everything():
        assert not re.search(r"\bMarkup\(|markupsafe", path.read_text()), (
            f"{path.name}: leave escaping to the templates"
        )
