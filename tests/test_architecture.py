"""The house rules that no reader should have to check: who imports whom, sizes, templates, routes.

A failure says what to do instead. A rule that no longer fits is changed here, with its reason.
"""

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from webapp.config import PROJECT

WEBAPP = PROJECT / "webapp"
TEMPLATES = PROJECT / "templates"

LAYERS = (
    ("config", "outcomes", "sms", "times", "wire", "logs", "keys"),
    ("metrics",),
    ("extensions", "recipients", "answers"),
    ("security", "entries", "copies"),
    ("sipgate",),
    ("database",),
    ("models", "schema"),
    ("i18n", "login_server", "submissions", "record"),
    ("installation",),
    ("oauth", "tokens", "wishes"),
    ("account", "members", "claims"),
    ("sending", "contacts", "message_templates", "attention"),
    ("outbox", "history", "housekeeping"),
    ("waiting", "settling", "senders"),
    ("words", "tasks", "batches"),
    ("forms",),
    ("questions",),
    ("views",),
    ("cli", "demo"),
    ("__init__",),
    ("worker",),
    ("server",),
)
"""Each module imports only from the rows above its own."""

MAX_FUNCTION_LINES = 45
MAX_MODULE_LINES = 400
LONGER_MODULES: dict[str, str] = {
    "words": "one table of sentences",
    "members": "who is signed in and what is theirs, until the two are rooms of their own",
}
"""Modules that may be longer, and why."""


# --- Reading the code ---------------------------------------------------------------------------


def sources(folder: Path = WEBAPP) -> list[Path]:
    """Our modules, without the migrations (generated) and, from outside, without the simulator."""
    found = sorted(folder.rglob("*.py"))
    skipped = {"migrations"} if "simulator" in folder.parts else {"migrations", "simulator"}
    return [path for path in found if not skipped & set(path.relative_to(PROJECT).parts)]


def name_of(path: Path) -> str:
    """`views.messages`, or `__init__` for the package itself."""
    parts = list(path.relative_to(WEBAPP).with_suffix("").parts)
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def layer_of(name: str) -> int:
    head = name.partition(".")[0]
    for number, row in enumerate(LAYERS):
        if head in row:
            return number
    raise AssertionError(f"webapp/{head}.py is in no layer: give it a row in LAYERS")


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
    """The modules of ours that this one imports, as `name_of` calls them."""
    found = set()
    for module, name in imports(path):
        if module == "webapp" and name:
            found.add(name if is_module(name) else "__init__")
        elif module.startswith("webapp."):
            found.add(module.removeprefix("webapp."))
    return found


def is_module(name: str) -> bool:
    return (WEBAPP / f"{name}.py").exists() or (WEBAPP / name).is_dir()


def packages_imported(path: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imports(path)}


def names_imported(path: Path, module: str) -> set[str]:
    return {name for found, name in imports(path) if found == module}


def of(*names: str) -> list[Path]:
    """The files of these modules; a package counts with all of its own."""
    found = [path for path in sources() if name_of(path).partition(".")[0] in names]
    assert found, f"no such module: {names}"
    return found


# --- Who imports whom ---------------------------------------------------------------------------


def test_the_picture_shows_every_module_and_no_row_imports_from_one_above_it() -> None:
    spec = importlib.util.spec_from_file_location("drawing", PROJECT / "docs" / "architecture.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    rows = [set(modules) for modules in drawing.ROWS.values()]
    place = {name: number for number, row in enumerate(rows) for name in row}
    shown = set(place) | {"__init__"}
    assert shown == {name for layer in LAYERS for name in layer}, "docs/architecture.py: ROWS"
    for path in sources():
        own = name_of(path).partition(".")[0]
        for other in {name.partition(".")[0] for name in modules_imported(path)} - {"__init__"}:
            assert own == "__init__" or place[other] >= place[own], f"{own} imports {other}"
    assert drawing.FILE.read_text() == drawing.picture(), "run: python docs/architecture.py"


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_a_module_imports_only_from_the_layers_above_it(path: Path) -> None:
    name = name_of(path)
    own = layer_of(name)
    for other in modules_imported(path):
        if other.partition(".")[0] == name.partition(".")[0]:
            continue  # inside one package
        assert layer_of(other) < own, (
            f"{name} must not import {other}, which stands beside or below it: move what it needs "
            "up, or pass it in as an argument"
        )


def test_every_layer_holds_only_modules_that_exist() -> None:
    listed = {name for row in LAYERS for name in row}
    assert listed == {name_of(path).partition(".")[0] for path in sources()}


BANNED = [
    (("config", "outcomes", "sms", "times", "recipients"), ("flask", "sqlalchemy", "requests")),
    (("sending", "models", "account"), ("flask", "flask_wtf", "wtforms", "requests")),
    (("sipgate", "answers", "wire", "login_server"), ("sqlalchemy", "flask_wtf")),
    (("claims", "waiting", "batches", "settling", "tasks"), ("flask_wtf", "wtforms", "requests")),
    (("words", "i18n"), ("sqlalchemy", "requests", "authlib")),
    (("forms",), ("sqlalchemy", "requests", "authlib")),
    (("views",), ("requests", "urllib3", "authlib", "gunicorn")),
    (("cli",), ("requests", "flask_wtf", "wtforms", "sqlalchemy")),
]


@pytest.mark.parametrize(("names", "packages"), BANNED, ids=[row[0][0] for row in BANNED])
def test_a_module_knows_nothing_of_what_others_are_for(
    names: tuple[str, ...], packages: tuple[str, ...]
) -> None:
    for path in of(*names):
        known = packages_imported(path) & set(packages)
        assert not known, (
            f"{name_of(path)} must not know {', '.join(known)}: the layers above have what it needs"
        )


def test_only_the_clients_of_sipgate_speak_http() -> None:
    speakers = {"sipgate", "answers", "wire", "login_server", "tokens"}
    for path in sources():
        if {"requests", "urllib3", "httpx"} & packages_imported(path):
            assert name_of(path) in speakers, f"{name_of(path)}: call sipgate.client() instead"


def test_forms_and_words_open_no_database_session() -> None:
    for path in of("forms", "words", "i18n"):
        assert "db" not in names_imported(path, "webapp.extensions"), (
            f"{name_of(path)}: let a view or `account` load it, and pass it in"
        )
        assert not {"transaction", "release"} & names_imported(path, "webapp.database")


def test_the_request_is_known_only_where_requests_are_answered() -> None:
    allowed = {"members", "security", "logs", "metrics", "i18n", "forms"}
    for path in sources():
        if "request" in names_imported(path, "flask"):
            name = name_of(path)
            assert name in allowed or name.startswith("views."), (
                f"{name} must not read the request: let the view pass what it needs"
            )


def test_only_members_and_the_choice_of_language_know_the_session() -> None:
    for path in sources():
        if "session" in names_imported(path, "flask"):
            assert name_of(path) in ("members", "i18n"), (
                f"{name_of(path)}: add a function to members.py, which alone knows the keys"
            )


WRITERS = (
    "models",
    "outbox",
    "sending",
    "claims",
    "waiting",
    "wishes",
    "batches",
    "settling",
    "attention",
    "housekeeping",
)


def test_only_sending_and_its_neighbours_make_and_change_messages() -> None:
    pattern = re.compile(r"\bMessage\(|\b(?:update|delete|insert)\((?:table\()?Message\)")
    for path in sources():
        if name_of(path) not in WRITERS:
            assert not pattern.search(path.read_text()), (
                f"{name_of(path)}: outcomes are written by sending.py and its neighbours alone; "
                "add a function there"
            )


def test_views_hold_no_sql_and_no_address_of_sipgate() -> None:
    pattern = re.compile(r"sipgate\.com|/sessions/sms|openid-connect|\btext\(\s*[\"']")
    for path in of("views"):
        found = pattern.search(path.read_text())
        assert not found, f"{name_of(path)}: {found and found[0]!r} belongs to a module above"


def test_the_simulator_and_the_app_know_nothing_of_each_other() -> None:
    for path in sources(WEBAPP / "simulator"):
        foreign = {one for one in modules_imported(path) if not one.startswith("simulator")}
        assert not foreign, f"simulator/{path.name} must not know the app: {foreign}"
    for path in sources():
        if name_of(path) != "demo":
            assert not {one for one in modules_imported(path) if one.startswith("simulator")}, (
                f"{name_of(path)}: sipgate is reached by its addresses only, simulated or not"
            )


# --- Sizes --------------------------------------------------------------------------------------


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


def test_modules_are_about_one_thing() -> None:
    for path in everything():
        lines = len(path.read_text().splitlines())
        if name_of(path) not in LONGER_MODULES:
            assert lines <= MAX_MODULE_LINES, (
                f"{path.name} has {lines} lines: split it along what it is about"
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
    for path in of("views"):
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


def test_no_code_marks_text_as_safe() -> None:
    for path in everything():
        assert not re.search(r"\bMarkup\(|markupsafe", path.read_text()), (
            f"{path.name}: leave escaping to the templates"
        )
