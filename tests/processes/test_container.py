"""The files for Docker: as far as they can be tried without it."""

import configparser
import json
import re
import subprocess
import sys
import time
import uuid
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import MakeApp, values_for
from tests.support import servers
from tests.support.pages import Browser
from tests.support.real_servers import free_port, running, wait_for
from webapp.config import PROJECT, setting_names
from webapp.database import db, installation, schema
from webapp.simulator import Simulator

SECRETS = ("SECRET_KEY", "SIPGATE_CLIENT_SECRET", "SIPGATE_TOKEN", "METRICS_TOKEN", "PASSWORD")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as pairs of instruction and rest."""
    text = (PROJECT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begins = max(index for index, (name, _rest) in enumerate(found) if name == "FROM")
    return found[begins:]


def rest_of(name: str) -> str:
    [rest] = [rest for found, rest in last_stage() if found == name]
    return rest


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
    return found


def is_ignored(path: str) -> bool:
    """What .dockerignore says of a path: the last line that fits decides, as Docker has it."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    ignored = False
    for line in (line.strip() for line in lines if line.strip() and not line.startswith("#")):
        pattern = line.removeprefix("!").removeprefix("**/")
        places = [path, *map(str, Path(path).parents)]
        if any(fnmatch(place, pattern) or fnmatch(Path(place).name, pattern) for place in places):
            ignored = not line.startswith("!")
    return ignored


# --- The image ----------------------------------------------------------------------------------


def test_everything_that_is_copied_exists_and_is_not_kept_out() -> None:
    copied = [rest.split() for name, rest in instructions() if name == "COPY"]
    sources = [part for parts in copied if "--from=build" not in parts for part in parts[:-1]]
    assert len(sources) >= 6
    for source in sources:
        assert (PROJECT / source).exists(), source
        assert not is_ignored(source), source


@pytest.mark.parametrize(
    "path", [".env", ".git/config", "instance/team-sms.sqlite", "tests/conftest.py"]
)
def test_what_is_secret_or_of_no_use_never_reaches_the_image(path: str) -> None:
    assert is_ignored(path)
    assert is_ignored("webapp/simulator/app.py")
    assert not is_ignored("webapp/web/messages.py")


def test_packages_come_with_their_hashes_and_without_a_compiler() -> None:
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert [one.split()[-1] for one in installs] == ["requirements.txt", "requirements-scale.txt"]
    for one in installs:
        assert "--require-hashes" in one
        assert "--only-binary :all:" in one
    assert not re.search(r"apt|gcc|build-essential", str(instructions()))
    assert "pip install" not in str(last_stage())


def test_it_runs_as_nobody_in_particular_and_holds_no_secret() -> None:
    names = [name for name, _rest in last_stage()]
    assert rest_of("USER") == "team-sms"
    assert names.index("USER") < names.index("CMD")
    given = re.findall(r"(\w+)=", " ".join(rest for name, rest in last_stage() if name == "ENV"))
    assert {"HOST", "PORT"} <= set(given)
    assert not [name for name in given if any(secret in name for secret in SECRETS)]
    assert {name for name in given if name in setting_names()} == {"HOST", "PORT"}


def test_it_is_the_python_that_the_tests_run_on() -> None:
    versions = {rest.split()[0] for name, rest in instructions() if name == "FROM"}
    assert versions == {"python:3.11-slim-bookworm"}
    assert ["RUN", "/opt/venv/bin/pybabel compile -d webapp/translations"] in [
        list(one) for one in instructions()
    ]


# --- Together -----------------------------------------------------------------------------------


def test_every_name_in_the_environment_is_a_setting(compose: dict[str, Any]) -> None:
    for name in ("web", "worker"):
        given = set(compose["services"][name]["environment"])
        assert given <= set(setting_names())
        assert not [one for one in given if any(secret in one for secret in SECRETS)]


def test_only_the_pages_can_be_reached_and_only_from_this_machine(compose: dict[str, Any]) -> None:
    published = {name: one.get("ports") for name, one in compose["services"].items()}
    ports = published.pop("web")
    assert [port.startswith("127.0.0.1:") for port in ports] == [True]
    assert set(published.values()) == {None}


def test_each_is_looked_after_and_what_must_last_has_a_volume(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"web", "worker", "database"}
    for name in ("worker", "database"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert "HEALTHCHECK" in dict(last_stage())  # the pages' own
    used = {one.split(":")[0] for s in services.values() for one in s.get("volumes", [])}
    assert used == set(compose["volumes"]) == {"state", "database"}
    assert all(one["restart"] == "unless-stopped" for one in services.values())


def test_each_runs_without_capabilities_on_a_file_system_that_it_cannot_write(
    compose: dict[str, Any],
) -> None:
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
    # Their images begin as root, and would need capabilities to become somebody else.
    assert compose["services"]["database"]["user"] == "postgres"


SANDBOX = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallFilter": "@system-service",
    "UMask": "0077",
}


def test_the_unit_for_systemd_may_write_only_where_the_database_is() -> None:
    text = (PROJECT / "docs" / "operations.md").read_text()
    [block] = re.findall(r"^```ini\n(.*?)^```$", text, re.M | re.S)
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block)
    service = unit["Service"]
    assert {name: service.get(name) for name in SANDBOX} == SANDBOX
    assert service["ReadWritePaths"] == f"{service['WorkingDirectory']}/instance"


def test_what_is_run_before_the_unit_also_compiles_the_translations() -> None:
    """The unit starts Python, not make: without this step every page would be English."""
    command = ["make", "--dry-run", "--always-make", "install"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    for catalog in (PROJECT / "webapp" / "translations").rglob("*.po"):
        assert f"-o {catalog.with_suffix('.mo').relative_to(PROJECT)}" in done.stdout


def test_the_app_is_given_longer_to_end_than_it_takes(compose: dict[str, Any]) -> None:
    from webapp.server import GRACE_S

    for name in ("web", "worker"):
        assert int(compose["services"][name]["stop_grace_period"].removesuffix("s")) > GRACE_S


def test_the_apps_role_in_the_database_is_no_superuser(
    compose: dict[str, Any], make_app: MakeApp, sipgate: Simulator
) -> None:
    """What makes the role is run in a PostgreSQL of our own, and the app with that role."""
    database = compose["services"]["database"]
    assert set(database["environment"]) == {"POSTGRES_PASSWORD"}, "the superuser is its own"
    address = compose["services"]["web"]["environment"]["DATABASE_URL"]
    name = f"role{uuid.uuid4().hex[:8]}"
    assert address.startswith("postgresql+psycopg://team_sms:")
    assert address.endswith("@database/team_sms")
    [script] = database["configs"]
    assert script["target"].startswith("/docker-entrypoint-initdb.d/")
    statements = compose["configs"][script["source"]]["content"]
    statements = re.sub(r"\$\{[^}]*\}", "Secret1", statements).replace("team_sms", name)
    server = servers.postgresql()
    try:
        for statement in statements.split(";\n"):
            server.run_sql(statement)
        found = server.run_sql(
            "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls,"
            " rolpassword IS NULL FROM pg_authid"
        )
        roles = {role: tuple(said) for role, *said in found}
        assert roles[name] == (False,) * 6
        assert roles["postgres"] == (True,) * 6
        app = make_app(DATABASE_URL=server.url(name).replace("postgres@", f"{name}:Secret1@"))
        with app.app_context():
            schema.upgrade_schema()
            installation.register_location()
        anna = Browser(app, sipgate)
        anna.sign_in()
        assert anna.twin(anna.send())["outcome"] == "accepted"
        with app.app_context():
            db.engine.dispose()
    finally:
        server.drop(name)
        server.run_sql(f"DROP ROLE IF EXISTS {name}")


@pytest.mark.slow  # two programs are started and ended
def test_the_commands_run_with_this_environment(
    compose: dict[str, Any],
    simulator: Simulator,
    postgresql_url: str,
    tmp_path: Path,
) -> None:
    """As in the containers, with a database of our own in the place of theirs."""
    port = free_port()
    here = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": postgresql_url,
    }
    environment = {name: here[name] for name in compose["services"]["web"]["environment"]}
    env_file = values_for(simulator, tmp_path / "unused.sqlite")
    env_file |= {"PUBLIC_URL": "https://sms.example", "TRUSTED_PROXY_HOPS": "1"}
    values = {**env_file, **environment}
    assert json.loads(rest_of("CMD"))[:2] == ["python", "-m"]
    assert json.loads(rest_of("CMD"))[2] == "webapp.server"
    web, worker = (
        [sys.executable, *command[1:]]
        for command in (json.loads(rest_of("CMD")), compose["services"]["worker"]["command"])
    )
    with (
        running(web, tmp_path / "web.log", values),
        running(worker, tmp_path / "worker.log", values),
    ):
        wait_for(f"http://127.0.0.1:{port}/healthz", tmp_path / "web.log")
        [_name, check] = rest_of("HEALTHCHECK").split(" CMD ")
        assert looked_after(json.loads(check), values)
        theirs = compose["services"]["worker"]["healthcheck"]["test"][1:]
        ours = [part.replace("http://web:5000", f"http://127.0.0.1:{port}") for part in theirs]
        until = time.monotonic() + 20
        while not looked_after(ours, values) and time.monotonic() < until:
            time.sleep(0.3)
        assert looked_after(ours, values)
    assert not looked_after(json.loads(check), values)
    for log in ("web.log", "worker.log"):
        assert "Traceback" not in (tmp_path / log).read_text()


def looked_after(command: list[str], values: dict[str, str]) -> bool:
    """Run a health check; whether it is content."""
    assert command[0] == "python"
    program = [sys.executable, *command[1:]]
    return subprocess.run(program, env=values, capture_output=True, check=False).returncode == 0
