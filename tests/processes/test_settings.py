"""Settings, and the database they name: what is wrong is said in one sentence, at the start."""

import dataclasses
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from dotenv import dotenv_values

from tests.conftest import MakeApp
from tests.support import preloaded
from webapp import create_app
from webapp.config import PROJECT, SettingError, Settings, setting_names
from webapp.database import alembic, db
from webapp.database.schema import schema_state, upgrade_schema

SECRET = "Zq7-secret-of-the-client-that-nobody-may-see"
KEY = "Kx9-a-key-for-tests-0123456789-abcdefghijklm"
NEEDED = {
    "SECRET_KEY": KEY,
    "SIPGATE_CLIENT_ID": "1234567-0-team-sms:third-party",
    "SIPGATE_CLIENT_SECRET": SECRET,
}


# --- B28: wrong values --------------------------------------------------------------------------

WRONG = [
    ("SECRET_KEY", ""),
    ("SECRET_KEY", "   "),
    ("SECRET_KEY", ","),
    ("SECRET_KEY", "short-Zq7"),
    ("SECRET_KEY", "a" * 64),
    ("SECRET_KEY", f'"{KEY}"'),
    ("SECRET_KEY", f"'{KEY}'"),
    ("SECRET_KEY", f"{KEY},short-Zq7"),
    ("SECRET_KEY", "change-me-0123456789-abcdefghijklmnop"),
    ("SECRET_KEY", "your-secret-key-0123456789-abcdefghijkl"),
    ("SECRET_KEY", f"{KEY}\n{KEY}"),
    ("SIPGATE_CLIENT_ID", ""),
    ("SIPGATE_CLIENT_ID", '"quoted"'),
    ("SIPGATE_CLIENT_SECRET", ""),
    ("SIPGATE_CLIENT_SECRET", f'"{SECRET}"'),
    ("SIPGATE_CLIENT_SECRET", f"{SECRET}\nX-Evil: 1"),
    ("SIPGATE_CLIENT_SECRET", f"{SECRET}\x00"),
    ("SIPGATE_TOKEN", f"'{SECRET}'"),
    ("PUBLIC_URL", "http://sms.example"),
    ("PUBLIC_URL", "http://192.0.2.1:5000"),
    ("PUBLIC_URL", "sms.example"),
    ("PUBLIC_URL", "ftp://localhost"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "http://localhost:99999"),
    ("PUBLIC_URL", "http://localhost:0"),
    ("PUBLIC_URL", "http://[::1"),
    ("PUBLIC_URL", "http://localhost/sms"),
    ("PUBLIC_URL", "http://localhost?x=1"),
    ("PUBLIC_URL", "http://localhost#x"),
    ("PUBLIC_URL", "http://anna:Zq7@localhost"),
    ("SIPGATE_ISSUER", "http://login.example/auth/realms/x"),
    ("SIPGATE_ISSUER", "login.example"),
    ("SIPGATE_API_URL", "http://api.example/v2"),
    ("SIPGATE_API_URL", "https://anna:Zq7@api.example/v2"),
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "5000.0"),
    ("PORT", "five"),
    ("PORT", "٥٠٠٠"),
    ("PORT", "1" * 5000),
    ("WEB_THREADS", "0"),
    ("WEB_THREADS", "1001"),
    ("TRUSTED_PROXY_HOPS", "-1"),
    ("TRUSTED_PROXY_HOPS", "11"),
    ("TRUSTED_PROXY_HOPS", "yes"),
    ("DEFAULT_REGION", "Germany"),
    ("DEFAULT_REGION", "XX"),
    ("DEFAULT_TIME_ZONE", "Mars/Olympus"),
    ("DEFAULT_TIME_ZONE", "../../etc/passwd"),
    ("LOG_LEVEL", "LOUD"),
    ("SMTP_URL", "mail.example.com"),
    ("SMTP_URL", "https://anna:Zq7@mail.example.com"),
    ("SMTP_URL", "smtp://anna:Zq7@"),
    ("SMTP_URL", "smtp://anna:Zq7@mail.example.com:0"),
    ("SMTP_URL", "smtp://anna:Zq7@mail.example.com:99999"),
    ("SMTP_URL", "smtps://mail.example.com/Zq7"),
    ("ALERT_EMAIL", "office"),
    ("ALERT_EMAIL", "Office <office@example.com>"),
    ("ALERT_EMAIL", "büro@example.com"),
    ("ALERT_WEBHOOK", "ntfy.example.com/Zq7"),
    ("ALERT_WEBHOOK", "http://ntfy.example.com/Zq7"),
    ("ALERT_WEBHOOK", "ntfy+http://ntfy.example.com/Zq7"),
    ("ALERT_WEBHOOK", "ntfy+https://"),
    ("DATABASE_URL", "nonsense"),
    ("DATABASE_URL", "mysql://anna:Zq7@localhost/sms"),
    ("DATABASE_URL", "sqlite:////dev/null/team-sms.sqlite"),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_b28_a_wrong_value_is_one_sentence_that_names_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingError) as refused:
        create_app({**NEEDED, name: value})
    assert_one_sentence(str(refused.value), name)


def test_b28_https_without_a_trusted_proxy_names_the_other_setting() -> None:
    with pytest.raises(SettingError) as refused:
        Settings.from_mapping({**NEEDED, "PUBLIC_URL": "https://sms.example"})
    assert_one_sentence(str(refused.value), "TRUSTED_PROXY_HOPS")


@pytest.mark.parametrize(
    ("given", "value", "missing"),
    [
        ("ALERT_EMAIL", "office@example.com", "SMTP_URL"),
        ("SMTP_URL", "smtps://mail.example.com", "ALERT_EMAIL"),
    ],
)
def test_b28_alerts_by_mail_need_both_settings(given: str, value: str, missing: str) -> None:
    with pytest.raises(SettingError) as refused:
        Settings.from_mapping({**NEEDED, given: value})
    assert_one_sentence(str(refused.value), missing)


def assert_one_sentence(text: str, name: str) -> None:
    assert text.startswith(f"{name} "), text
    assert "\n" not in text
    assert re.search(r"[.)\"]\Z", text), text
    assert not re.search(r"\. [A-Z]", text), "more than one sentence"
    for secret in (KEY, SECRET, "Zq7"):
        assert secret not in text


def test_b28_no_secret_is_in_the_settings_own_words() -> None:
    settings = Settings.from_mapping({**NEEDED, "SIPGATE_TOKEN": "Zq7-personal-token"})
    assert "Zq7" not in repr(settings)
    assert KEY not in repr(settings)


def test_b28_settings_cannot_be_changed_afterwards() -> None:
    settings = Settings.from_mapping(NEEDED)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.port = 1  # type: ignore[misc]


# --- Defaults -----------------------------------------------------------------------------------


def test_what_is_needed_is_enough_and_the_rest_has_its_default() -> None:
    settings = Settings.from_mapping(NEEDED)
    assert settings.public_url == "http://localhost:5000"
    assert (settings.host, settings.port) == ("127.0.0.1", 5000)
    assert settings.sipgate_api_url == "https://api.sipgate.com/v2"
    assert settings.database_url.endswith("/instance/team-sms.sqlite")
    assert settings.sipgate_accounts == frozenset()
    assert not settings.admits("1234567"), "without SIPGATE_ACCOUNTS nobody may sign in"
    assert settings.scopes == ("sessions:sms:write", "sms:read", "users:read")
    assert (settings.default_region, settings.default_time_zone) == ("DE", "Europe/Berlin")
    assert (settings.trusted_proxy_hops, settings.log_level) == (0, "INFO")


def test_an_empty_value_is_as_good_as_none() -> None:
    switches = {"RATE_LIMITS", "QUIET_HOURS"}  # empty switches these off
    empty = {name: "" for name in setting_names() if name not in {*NEEDED, *switches}}
    assert Settings.from_mapping({**NEEDED, **empty}) == Settings.from_mapping(NEEDED)


def test_the_port_is_part_of_the_default_address() -> None:
    settings = Settings.from_mapping({**NEEDED, "PORT": "8123"})
    assert settings.public_url == "http://localhost:8123"
    assert settings.redirect_uri == "http://localhost:8123/auth/callback"


@pytest.mark.parametrize(
    ("client_id", "realm"),
    [
        ("1234567-0-team-sms:third-party", "third-party"),
        ("1234567-0-team-sms:sipgate-apps", "sipgate-apps"),
        ("a:b:c", "c"),
        ("without-suffix", "third-party"),
        ("empty:", "third-party"),
        ("odd:../../evil", "third-party"),
        ("odd:Upper Case", "third-party"),
    ],
)
def test_the_realm_is_the_client_ids_suffix(client_id: str, realm: str) -> None:
    settings = Settings.from_mapping({**NEEDED, "SIPGATE_CLIENT_ID": client_id})
    assert settings.sipgate_issuer == f"https://login.sipgate.com/auth/realms/{realm}"


def test_a_slash_at_the_end_of_an_address_means_nothing() -> None:
    given = {"PUBLIC_URL": "http://localhost:5000/", "SIPGATE_API_URL": "https://api.example/v2/"}
    settings = Settings.from_mapping({**NEEDED, **given})
    assert settings.public_url == "http://localhost:5000"
    assert settings.sipgate_api_url == "https://api.example/v2"


@pytest.mark.parametrize("given", ["1,2", "1 2", " 1 ,  2 ", "1\t2"])
def test_accounts_stand_apart_by_blanks_or_commas(given: str) -> None:
    settings = Settings.from_mapping({**NEEDED, "SIPGATE_ACCOUNTS": given})
    assert settings.sipgate_accounts == {"1", "2"}
    assert not settings.admits("12")


def test_several_keys_are_read_newest_first() -> None:
    second = KEY[::-1]
    settings = Settings.from_mapping({**NEEDED, "SECRET_KEY": f" {KEY} , {second}"})
    assert settings.secret_key == (KEY, second)


def test_quiet_hours_are_shown_as_they_are_set() -> None:
    settings = Settings.from_mapping({**NEEDED, "QUIET_HOURS": "21:30-06:15"})
    assert settings.shown()["QUIET_HOURS"] == "21:30-06:15"


# --- What is written about them -----------------------------------------------------------------

ASSIGNMENT = re.compile(r"^#? ?([A-Z][A-Z0-9_]+)=")


def test_env_example_has_every_setting_with_a_comment_and_nothing_else() -> None:
    lines = (PROJECT / ".env.example").read_text().splitlines()
    found = [match[1] for line in lines if (match := ASSIGNMENT.match(line))]
    assert sorted(found) == sorted(setting_names())
    for number, line in enumerate(lines):
        match = ASSIGNMENT.match(line)
        if match:
            above = [one for one in lines[max(0, number - 12) : number] if one.strip()]
            comments = [one for one in above if one.startswith("# ") and not ASSIGNMENT.match(one)]
            assert comments, f"{match[1]} has no comment"


def test_env_example_holds_no_value_that_would_pass_for_a_secret() -> None:
    text = (PROJECT / ".env.example").read_text()
    values = dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))
    with pytest.raises(SettingError):
        Settings.from_mapping(values)


def test_env_example_holds_the_defaults_and_leaves_open_what_is_needed() -> None:
    values = dotenv_values(PROJECT / ".env.example")
    assert [name for name, value in values.items() if value][0] == "HOST"
    filled = {name: value or "" for name, value in values.items()} | NEEDED
    assert Settings.from_mapping(filled) == Settings.from_mapping(NEEDED)


def test_the_four_that_must_be_set_come_first_and_the_readme_names_them() -> None:
    first = setting_names()[:4]
    assert sorted(first) == sorted({*NEEDED, "SIPGATE_ACCOUNTS"})
    assert list(dotenv_values(PROJECT / ".env.example"))[:4] == first
    text = (PROJECT / "README.md").read_text()
    assert [name for name in first if f"`{name}`" not in text] == []


def test_the_page_and_the_example_are_made_from_the_declarations() -> None:
    from docs import settings as documents

    advice = "run: python -m docs.settings"
    assert documents.PAGE.read_text() == documents.page(), advice
    assert documents.EXAMPLE.read_text() == documents.example(), advice


def test_the_page_has_a_row_with_sentences_for_every_setting() -> None:
    text = (PROJECT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| .* \| [A-Z].*\. \|$", text, re.MULTILINE)
    assert rows == setting_names()


# --- The programs that read them ----------------------------------------------------------------

LIMIT_S = 90
"""Longer than a program takes to start on a busy machine."""
SERVER = [sys.executable, "-m", "webapp.server"]
WORKER = [sys.executable, "-m", "webapp.worker"]
# Permissions do not stop root, who runs the tests in a container, unless it gives up this right
# (prctl PR_CAPBSET_DROP, CAP_DAC_OVERRIDE). For anybody else this changes nothing.
AS_OTHERS_WOULD = """
import ctypes, os, sys
getattr(ctypes.CDLL(None), "prctl", lambda *_: 0)(24, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
COMMAND = [sys.executable, "-m", "flask", "--app", "webapp"]
FLASK = [*COMMAND, "sms", "extensions"]


def refused(command: list[str], *, by_others: bool = False, **changed: str) -> str:
    """Start it with these settings; it must end by itself, with one line. Returns that line."""
    values = {**dict.fromkeys(setting_names(), ""), **NEEDED, "PORT": "1", **changed}
    env = {**os.environ, **values}
    if command[1] == "-m" and not by_others:
        ended = preloaded.run(command[2], command[3:], env, timeout_s=LIMIT_S)
    else:
        ended = subprocess.run(
            [sys.executable, "-c", AS_OTHERS_WOULD, *command],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    assert ended.returncode not in (0, 2), ended.stderr
    assert "Traceback" not in ended.stderr, ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, ended.stderr
    assert SECRET not in ended.stdout + ended.stderr
    assert KEY not in ended.stdout + ended.stderr
    return lines[0]


@pytest.mark.parametrize("command", [SERVER, FLASK], ids=["server", "flask"])
def test_b28_a_wrong_setting_ends_the_program_with_its_sentence(command: list[str]) -> None:
    line = refused(command, by_others=True, PUBLIC_URL="http://sms.example")
    assert "PUBLIC_URL must begin with https://" in line


def test_a_taken_port_is_one_sentence_that_names_it(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        line = refused(SERVER, PORT=port, DATABASE_URL=f"sqlite:///{tmp_path / 'new.sqlite'}")
    assert line == (
        f"Team SMS cannot start: PORT {port} is taken; stop the program that has it, or set PORT "
        "to another one."
    )


def test_an_address_of_another_machine_is_one_sentence(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'new.sqlite'}"
    line = refused(SERVER, HOST="192.0.2.1", PORT="5000", DATABASE_URL=database)
    assert line.startswith("Team SMS cannot start: HOST 192.0.2.1 with PORT 5000 cannot be used: ")


def test_a_driver_that_is_missing_is_one_sentence() -> None:
    without = "import sys; sys.modules['psycopg'] = None; from webapp.server import main; main()"
    address = "postgresql://sms@localhost/sms"
    line = refused([sys.executable, "-c", without], DATABASE_URL=address)
    assert line.startswith("Team SMS cannot start: DATABASE_URL ")
    assert "pip install -r requirements-scale.txt" in line


@pytest.mark.sqlite
def test_a_worker_of_its_own_on_sqlite_is_refused_in_one_sentence(database: Path) -> None:
    line = refused(WORKER, DATABASE_URL=f"sqlite:///{database}")
    assert line == (
        "Team SMS cannot start its worker: with a SQLite file the server carries the worker, so "
        "`make run` is all that is to be started."
    )


# --- F54: the database --------------------------------------------------------------------------


@pytest.fixture
def database(template_database: Path, tmp_path: Path) -> Path:
    """A good database of this version, which each test spoils in its way."""
    path = tmp_path / "app.sqlite"
    with closing(sqlite3.connect(template_database)) as source:
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(template_database, path)
    return path


def become_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999_from_the_future'")
        database.commit()


def become_garbage(path: Path) -> None:
    path.write_bytes(b"This is no database. " * 1000)


def become_shorter(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 // 4096 * 4096])


def become_read_only(path: Path) -> None:
    path.chmod(0o400)
    path.parent.chmod(0o500)


def become_a_read_only_file(path: Path) -> None:
    path.chmod(0o400)


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def lose_its_folder(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("a file where the folder was")


SPOILT = {
    "newer": (become_newer, "newer version"),
    "garbage": (become_garbage, "not a database"),
    "truncated": (become_shorter, "malformed"),
    "read-only": (become_read_only, "cannot be used"),
    "a read-only file": (become_a_read_only_file, "readonly"),
    "a folder": (become_a_folder, "unable to open"),
    "no folder": (lose_its_folder, "DATABASE_URL"),
}

BY_PERMISSIONS = ("read-only", "a read-only file")


@pytest.mark.sqlite
@pytest.mark.parametrize("case", SPOILT)
def test_f54_a_database_that_cannot_be_used_stops_the_server(database: Path, case: str) -> None:
    spoil, words = SPOILT[case]
    spoil(database)
    try:
        by_others = case in BY_PERMISSIONS
        line = refused(SERVER, by_others=by_others, DATABASE_URL=f"sqlite:///{database}")
    finally:
        if database.parent.is_dir():
            database.parent.chmod(0o700)
    assert line.startswith("Team SMS cannot start: ")
    assert words in line


@pytest.mark.sqlite
def test_f54_the_command_line_refuses_a_newer_database(database: Path) -> None:
    become_newer(database)
    assert "newer version" in refused(FLASK, DATABASE_URL=f"sqlite:///{database}")


@pytest.mark.sqlite
@pytest.mark.parametrize("case", ["newer", "garbage"])
@pytest.mark.parametrize(
    "arguments",
    [["hold"], ["release"], ["prune"], ["forget", "--number", "+491713920050"]],
    ids=lambda arguments: arguments[0],
)
def test_f54_a_command_says_why_it_cannot_use_the_database(
    database: Path, case: str, arguments: list[str]
) -> None:
    spoil, words = SPOILT[case]
    spoil(database)
    line = refused([*COMMAND, *arguments], DATABASE_URL=f"sqlite:///{database}")
    assert line.startswith("Error: ")
    assert words in line


@pytest.mark.sqlite
def test_f54_there_is_no_backup_of_what_is_no_database(database: Path, tmp_path: Path) -> None:
    become_garbage(database)
    target = tmp_path / "backup.sqlite"
    line = refused([*COMMAND, "backup", str(target)], DATABASE_URL=f"sqlite:///{database}")
    assert line == f"Error: {target} could not be written: file is not a database"
    assert not target.exists()


@pytest.mark.sqlite
def test_f54_a_refused_database_is_left_as_it_was(database: Path) -> None:
    become_newer(database)
    before = database.read_bytes()
    refused(SERVER, DATABASE_URL=f"sqlite:///{database}")
    assert database.read_bytes() == before


# --- Migrations ---------------------------------------------------------------------------------


def test_an_empty_database_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "app.sqlite"
    app = create_app({**NEEDED, "DATABASE_URL": f"sqlite:///{path}"})
    with app.app_context():
        assert schema_state() == "older"
        upgrade_schema()
        assert schema_state() == "current"
        upgrade_schema()
        db.engine.dispose()
    assert path.parent.stat().st_mode & 0o077 == 0, "others may look into the folder"
    assert path.stat().st_mode & 0o077 == 0, "others may read the database"


def test_the_models_are_what_the_migrations_make(make_app: MakeApp) -> None:
    with make_app().app_context():
        assert alembic.compare_metadata() == []


def test_migrations_lead_down_and_up_again(make_app: MakeApp) -> None:
    with make_app().app_context():
        before = tables()
        alembic.downgrade("base")
        assert tables() == {"alembic_version": ["version_num"]}
        assert schema_state() == "older"
        upgrade_schema()
        assert tables() == before
        assert alembic.compare_metadata() == []


def tables() -> dict[str, list[str]]:
    found = sa.inspect(db.engine)
    return {
        table: sorted(column["name"] for column in found.get_columns(table))
        for table in found.get_table_names()
    }
