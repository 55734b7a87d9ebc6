"""sipgate's own npm client against the simulator: a judge of the wire that we did not write."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from webapp.simulator import Simulator, running_simulator

HERE = Path(__file__).parents[1] / "npm"
RECIPIENT = "+491713920020"
INSTALL_TIMEOUT_S = 180
CLIENT_TIMEOUT_S = 60

pytestmark = pytest.mark.npm


def skip_or_fail(reason: str) -> None:
    """Skip, unless TEST_REQUIRE names npm: then what is missing is a failure."""
    if "npm" in os.environ.get("TEST_REQUIRE", "").split():
        pytest.fail(f"TEST_REQUIRE names npm, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the client, installed as locked."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            skip_or_fail(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("npm")
    for name in ("package.json", "package-lock.json", ".npmrc", "client.cjs"):
        shutil.copy(HERE / name, folder)
    install = ["npm", "ci", "--ignore-scripts"]
    done = subprocess.run(
        install, cwd=folder, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        skip_or_fail(f"npm could not install the client: {done.stderr[-500:]}")
    return folder


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def seen(client_folder: Path, simulator: Simulator) -> dict[str, Any]:
    """What the client reports of one run as Anna Sommer."""
    anna = simulator.world.people["anna"]
    assert anna.personal_token is not None
    token_id, personal_token = anna.personal_token
    environment = {
        "PATH": os.environ["PATH"],
        "https_proxy": simulator.base_url,
        "CLIENT_TOKEN": simulator.access_token("anna"),
        "CLIENT_TOKEN_ID": token_id,
        "CLIENT_PERSONAL_TOKEN": personal_token,
        "CLIENT_RECIPIENT": RECIPIENT,
    }
    done = subprocess.run(
        ["node", "client.cjs"],
        cwd=client_folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=CLIENT_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_client_reads_the_user_and_the_extensions(seen: dict[str, Any]) -> None:
    assert seen["userId"] == "w0"
    assert [(one["id"], one["callerId"]) for one in seen["extensions"]] == [
        ("s0", "+491713920090"),
        ("s1", "sipgate"),
    ]


def test_texts_of_the_client_arrive_now_and_later(
    seen: dict[str, Any], simulator: Simulator
) -> None:
    arrived = [(text.text, text.sender) for text in simulator.phones[RECIPIENT]]
    assert arrived == [
        ("now", "+491713920090"),
        ("by personal token", "+491713920090"),
        ("from a caller id", "sipgate"),
    ]
    assert [text.text for text in simulator.world.scheduled] == ["later"]


def test_client_finds_its_texts_in_the_history(seen: dict[str, Any]) -> None:
    assert {entry["text"] for entry in seen["history"]} == {
        "now",
        "later",
        "by personal token",
        "from a caller id",
    }
    assert {entry["target"] for entry in seen["history"]} == {RECIPIENT}


def test_client_reads_the_shared_contacts(seen: dict[str, Any]) -> None:
    assert "Emil Fischer" in seen["contacts"]
    assert "Hans Ölmann" not in seen["contacts"]


def test_client_understands_the_refusal_of_a_foreign_extension(seen: dict[str, Any]) -> None:
    assert seen["refusal"] == "Invalid SMS extension"


def test_lock_file_names_no_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    installed = [package for path, package in packages.items() if path]
    assert all("integrity" in package for package in installed)
    assert not any("resolved" in package for package in installed)
