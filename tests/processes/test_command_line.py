"""`flask --app webapp sms …` as somebody types it: exit codes, sentences, and what is stored."""

import json
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from flask import Flask

from tests.conftest import MakeApp, values_for
from tests.support import preloaded
from tests.support.pages import Browser
from tests.support.rows import stored_rows
from webapp.cli import sms_group
from webapp.simulator.faults import Fault
from webapp.simulator.server import LOOPBACK, Simulator

TOKEN_ID, TOKEN = "token-AB12CD", "3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10"
OWNER = {"SIPGATE_TOKEN_ID": TOKEN_ID, "SIPGATE_TOKEN": TOKEN}
NUMBER = "+491713920050"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(**OWNER)


@pytest.fixture
def flask(app: Flask, sipgate: Simulator, tmp_path: Path) -> Run:
    """Run `flask …` as a process on this test's database; no secret may be in its output."""

    def run(*arguments: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        values = values_for(sipgate, tmp_path / "app.sqlite", **{**OWNER, **changed})
        command = ["--app", "webapp", *arguments]
        ended = preloaded.run("flask", command, {**os.environ, **values})
        output = ended.stdout + ended.stderr
        assert "Traceback" not in output, output
        for secret in (TOKEN, sipgate.client.client_secret, values["SECRET_KEY"], "dG9rZW4t"):
            assert secret not in output
        return ended

    return run


@pytest.fixture
def flask_sms(flask: Run) -> Run:
    return lambda *arguments, **changed: flask("sms", *arguments, **changed)


@pytest.fixture
def sms(app: Flask) -> Callable[..., Any]:
    """The same inside this process, for the many ways to mistype."""

    def run(*arguments: str) -> Any:
        result = app.test_cli_runner().invoke(args=["sms", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert TOKEN not in result.output
        return result

    return run


def only_message(app: Flask) -> dict[str, Any]:
    (row,) = stored_rows(app)["messages"]
    return row


def test_extensions_are_listed_one_a_line(flask_sms: Run) -> None:
    ended = flask_sms("extensions")
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "s0\tSMS of the practice\t+491713920090",
        "s1\tSMS of the reception\tsipgate",
    ]


def test_an_accepted_message_exits_0_and_is_on_annas_page(
    flask_sms: Run, sipgate: Simulator, anna: Browser
) -> None:
    ended = flask_sms("send", "--from", "s1", "--to", "0171 3920050", "--text", "Grüße, 8 €")
    assert ended.returncode == 0
    assert ended.stdout.startswith("Accepted by sipgate on ")
    assert "Grüße" not in ended.stderr
    assert "1713920050" not in ended.stderr
    (text,) = sipgate.phones[NUMBER]
    assert (text.text, text.sms_id, text.person) == ("Grüße, 8 €", "s1", "anna")
    page = anna.get("/messages")
    assert "Grüße, 8 €" in page.text
    assert "Anna Sommer" in page.text


def test_a_colleague_does_not_see_what_annas_token_sent(
    flask_sms: Run, new_browser: Callable[[], Browser]
) -> None:
    flask_sms("send", "--from", "s0", "--to", NUMBER, "--text", "by Anna's token")
    ben = new_browser()
    ben.sign_in("ben")
    assert "by Anna's token" not in ben.get("/messages").text


def test_a_scheduled_message_exits_0_and_says_when(flask_sms: Run, sipgate: Simulator) -> None:
    moment = (datetime.now(UTC) + timedelta(days=3)).replace(second=0, microsecond=0)
    typed = f"{moment.astimezone(ZoneInfo('Europe/Berlin')):%Y-%m-%dT%H:%M}"
    ended = flask_sms("send", "--from", "s0", "--to", NUMBER, "--text", "later", "--at", typed)
    assert ended.returncode == 0
    assert "sipgate has it and will send it on " in ended.stdout
    assert "It can no longer be recalled." in ended.stdout
    assert sipgate.world.arrivals[-1].send_at == int(moment.timestamp())


def test_a_refused_message_exits_3_and_says_that_nothing_was_sent(
    flask_sms: Run, sipgate: Simulator, app: Flask
) -> None:
    ended = flask_sms("send", "--from", "s0", "--to", "+491713920002", "--text", "too dear")
    assert ended.returncode == 3
    assert "balance is too low. Nothing was sent." in ended.stdout
    assert (only_message(app)["outcome"], only_message(app)["reason"]) == (
        "refused",
        "balance",
    )


def test_an_unknown_outcome_exits_5_and_says_where_to_look(
    flask_sms: Run, sipgate: Simulator, app: Flask
) -> None:
    ended = flask_sms("send", "--from", "s0", "--to", "+491713920006", "--text", "who knows")
    assert ended.returncode == 5
    assert "We cannot tell whether it was sent." in ended.stdout
    assert only_message(app)["outcome"] == "unknown"
    assert len(sipgate.world.arrivals) == 1


@contextmanager
def sipgate_that_leaves(simulator: Simulator, after: int) -> Iterator[str]:
    """A relay that refuses connections after this many calls; yields its address."""
    with closing(socket.create_server((LOOPBACK, 0))) as listener:

        def relay() -> None:
            for number in range(after):
                connection, _ = listener.accept()
                if number == after - 1:
                    listener.close()
                with connection, socket.create_connection((LOOPBACK, simulator.port)) as there:
                    asked = connection.recv(65536)
                    there.sendall(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                    while answer := there.recv(65536):
                        connection.sendall(answer)

        thread = threading.Thread(target=relay)
        port = listener.getsockname()[1]
        thread.start()
        yield f"http://{LOOPBACK}:{port}/v2"
        thread.join(timeout=10)
        assert not thread.is_alive(), "fewer calls than expected"


def test_a_message_that_never_left_exits_4_and_says_so(
    flask_sms: Run, sipgate: Simulator, app: Flask
) -> None:
    with sipgate_that_leaves(sipgate, after=3) as address:
        ended = flask_sms(
            "send", "--from", "s0", "--to", NUMBER, "--text", "x", SIPGATE_API_URL=address
        )
    assert ended.returncode == 4
    assert "sipgate could not be reached. Nothing was sent." in ended.stdout
    assert only_message(app)["outcome"] == "not_sent"
    assert sipgate.world.arrivals == []


def test_a_missing_option_exits_2(flask_sms: Run, sipgate: Simulator) -> None:
    ended = flask_sms("send", "--from", "s0", "--to", NUMBER)
    assert ended.returncode == 2
    assert "--text" in ended.stderr
    assert sipgate.world.calls == {}


MISTYPED = {
    "a short code": ({"--to": "110"}, "--to", "Call emergency services by phone"),
    "letters": ({"--to": "0151-FLOWERS"}, "--to", "digits only"),
    "two numbers": ({"--to": f"{NUMBER},{NUMBER}"}, "--to", "each number on its own line"),
    "no number": ({"--to": ""}, "--to", "Enter a mobile number"),
    "a colleague's extension": ({"--from": "s2"}, "--from", "none of your extensions"),
    "no extension": ({"--from": ""}, "--from", "none of your extensions"),
    "no text": ({"--text": "  "}, "--text", "Enter a text."),
    "eleven segments": ({"--text": "a" * 1531}, "--text", "11 parts"),
    "a control character": ({"--text": "a\x07b"}, "--text", "U+0007"),
    "half a character": ({"--text": "a\udced\udca0b"}, "--text", "broken character"),
    "the past": ({"--at": "2020-01-01T08:00"}, "--at", "at least 2 minutes"),
    "far away": ({"--at": "2099-01-01T08:00"}, "--at", "30 days"),
    "no time": ({"--at": "tomorrow"}, "--at", "Enter a day and a time"),
}


@pytest.mark.parametrize("case", MISTYPED)
def test_a_wrong_argument_exits_2_and_names_it(
    sms: Callable[..., Any], sipgate: Simulator, case: str
) -> None:
    changed, option, words = MISTYPED[case]
    options = {"--from": "s0", "--to": NUMBER, "--text": "Hello", **changed}
    result = sms("send", *(part for pair in options.items() for part in pair))
    assert result.exit_code == 2
    assert option in result.output
    assert words in result.output
    assert sipgate.world.arrivals == []


def test_a_token_that_sipgate_does_not_take_exits_1(make_app: MakeApp, sipgate: Simulator) -> None:
    app = make_app(SIPGATE_TOKEN_ID=TOKEN_ID, SIPGATE_TOKEN="not-the-secret-Zq7")
    result = app.test_cli_runner().invoke(args=["sms", "extensions"])
    assert result.exit_code == 1
    assert result.output == "Error: sipgate does not take the personal access token.\n"


def test_without_a_token_the_two_settings_are_named(make_app: MakeApp, sipgate: Simulator) -> None:
    for given in ({}, {"SIPGATE_TOKEN_ID": TOKEN_ID}, {"SIPGATE_TOKEN": TOKEN}):
        result = make_app(**given).test_cli_runner().invoke(args=["sms", "extensions"])
        assert result.exit_code == 1
        assert result.output == "Error: SIPGATE_TOKEN_ID and SIPGATE_TOKEN must be set.\n"
    assert sipgate.world.calls == {}


@pytest.mark.parametrize("endpoint", ["userinfo", "extensions"])
@pytest.mark.parametrize("command", ["extensions", "send"])
def test_sipgate_being_away_beforehand_exits_1_and_sends_nothing(
    sms: Callable[..., Any], sipgate: Simulator, command: str, endpoint: str
) -> None:
    sipgate.world.fail_always(endpoint, Fault(503))
    options = ["--from", "s0", "--to", NUMBER, "--text", "x"] if command == "send" else []
    result = sms(command, *options)
    assert result.exit_code == 1
    assert "sipgate could not be asked" in result.output
    assert sipgate.world.arrivals == []


def test_a_name_that_cannot_be_read_does_not_keep_the_message_back(
    sms: Callable[..., Any], sipgate: Simulator, app: Flask
) -> None:
    sipgate.world.fail_always("user", Fault(403))
    assert sms("send", "--from", "s0", "--to", NUMBER, "--text", "x").exit_code == 0
    assert only_message(app)["account_id"] == "1234567"


# --- What is written beside the outcome ---------------------------------------------------------

SEND = ("sms", "send", "--from", "s0", "--to", NUMBER, "--text", "A text")
SHORT = "short-for-a-token"  # the start warns about it


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (SEND, 0),
        ((*SEND[:-3], "+491713920002", *SEND[-2:]), 3),
        ((*SEND[:-3], "+491713920006", *SEND[-2:]), 5),
        (("sms", "extensions"), 0),
        (("hold",), 0),
        (("release",), 0),
        (("prune",), 0),
        (("forget", "--number", NUMBER), 0),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else value[0],
)
def test_a_command_writes_its_sentence_and_nothing_else(
    flask: Run, arguments: tuple[str, ...], code: int
) -> None:
    ended = flask(*arguments, LOG_LEVEL="", METRICS_TOKEN=SHORT)
    assert ended.returncode == code
    assert ended.stdout.strip()
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("more", "changed"),
    [(("-v",), {}), (("--verbose",), {}), ((), {"LOG_LEVEL": "INFO"})],
    ids=["-v", "--verbose", "LOG_LEVEL"],
)
def test_log_lines_are_written_when_somebody_asked_for_them(
    flask: Run, app: Flask, more: tuple[str, ...], changed: dict[str, str]
) -> None:
    ended = flask(*SEND, *more, **changed)
    assert ended.returncode == 0
    assert ended.stdout.startswith("Accepted by sipgate on ")
    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    assert only_message(app)["id"] in [line.get("message_id") for line in lines]
    assert "A text" not in ended.stderr
    assert NUMBER[1:] not in ended.stderr


def test_what_is_wrong_is_one_sentence_on_standard_error(flask: Run, sipgate: Simulator) -> None:
    sipgate.world.fail_always("userinfo", Fault(503))
    ended = flask(*SEND, METRICS_TOKEN=SHORT)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr == "Error: sipgate could not be asked whose token this is.\n"


def test_every_command_takes_v(app: Flask) -> None:
    commands = {**app.cli.commands, **sms_group.commands}
    del commands["sms"], commands["db"]  # a group, and Flask-Alembic's own
    assert {"backup", "extensions", "send"} <= set(commands)
    for name, command in commands.items():
        options = [option for param in command.params for option in param.opts]
        assert {"-v", "--verbose"} <= set(options), f"add @verbose_option to {name}"


def test_flask_run_logs_as_a_server_does(flask: Run) -> None:
    with closing(socket.create_server((LOOPBACK, 0))) as taken:
        ended = flask("run", "--port", str(taken.getsockname()[1]), METRICS_TOKEN=SHORT)
    assert ended.returncode == 1
    assert "METRICS_TOKEN has fewer than 32 characters" in ended.stderr
