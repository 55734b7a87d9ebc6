"""What the tests start ends with them, also when their own process is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import preloaded
from tests.support.raw_servers import wait_until
from webapp.config import PROJECT

KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
WITH_POSTGRESQL = f"""
from tests.support.servers import PostgreSQL
server = PostgreSQL()
print(server.folder, (server.folder / "data/postmaster.pid").read_text().split()[0])
{KILLED}
"""
WITH_A_PROGRAM = f"""
import os
from tests.support import preloaded
options = ["--port", "0", "--client-secret", "secret-of-a-test"]
print(preloaded.start("webapp.simulator", options, os.environ, 2).pid, flush=True)
{KILLED}
"""


def said_before_it_was_killed(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-u", "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    return done.stdout.decode().split()


def is_there(pid: str) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.slow  # starts PostgreSQL
def test_a_postgresql_server_ends_with_whoever_started_it() -> None:
    folder, pid = said_before_it_was_killed(WITH_POSTGRESQL)
    wait_until(lambda: not is_there(pid) and not Path(folder).exists(), seconds=30)


@pytest.mark.skipif(preloaded.ADDRESS not in os.environ, reason="programs are not forked here")
def test_a_program_ends_with_whoever_started_it() -> None:
    [pid] = said_before_it_was_killed(WITH_A_PROGRAM)
    wait_until(lambda: not is_there(pid), seconds=30)


@pytest.mark.skipif(preloaded.ADDRESS not in os.environ, reason="programs are not forked here")
def test_a_forked_program_is_as_one_that_was_started() -> None:
    """In what tests rely on: exit codes, sentences of `sys.exit`, arguments, environment."""
    commands = [
        ("webapp.simulator", ["--port", "none"], {}),
        ("flask", ["--app", "webapp", "sms", "nothing"], {}),
        ("webapp.server", [], {"PUBLIC_URL": "http://sms.example"}),
    ]
    for module, options, changed in commands:
        env = {**os.environ, **changed}
        forked = preloaded.run(module, options, env)
        started = subprocess.run(
            [sys.executable, "-m", module, *options],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            started.returncode,
            started.stdout,
            started.stderr,
        )
        assert started.returncode
