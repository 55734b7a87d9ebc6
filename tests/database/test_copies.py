"""A database that is a copy sends nothing and uses no sign-in; any other is never on hold."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import time_machine
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.support.pages import Browser
from tests.support.raw_servers import wait_until
from tests.support.worker import arrived, counts, put_clocks_back, send_to_many, work
from webapp.config import PROJECT
from webapp.database import alembic, db, installation, transaction
from webapp.database.models import TokenSet
from webapp.database.schema import upgrade_schema
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

pytestmark = pytest.mark.sqlite

Start = Callable[[], Flask]


@pytest.fixture
def database(tmp_path: Path, template_database: Path) -> Path:
    """A migrated database in a folder of its own."""
    home = tmp_path / "home"
    home.mkdir()
    return Path(shutil.copy(template_database, home / "app.sqlite"))


@pytest.fixture
def start(make_app: MakeApp, database: Path) -> Start:
    """Start the app on this test's database, as `make run` does; every start is another app."""

    def start() -> Flask:
        app = make_app(DATABASE_URL=f"sqlite:///{database}")
        with app.app_context():
            upgrade_schema()
            installation.register_location()
        return app

    return start


def stop(app: Flask) -> None:
    """The last connection ends, and with it SQLite's own files beside the database."""
    with app.app_context():
        db.engine.dispose()


def is_on_hold(app: Flask) -> bool:
    with app.app_context():
        return installation.hold_state() != installation.Hold.NONE


def beside(database: Path) -> Path:
    return Path(f"{database}.mark")


def write_over(old: Path, database: Path) -> None:
    """As `cp` does: the file stays, what it holds is another."""
    shutil.copyfile(old, database)


def put_in_place(old: Path, database: Path) -> None:
    """As `mv` does."""
    old.rename(database)


def remove_and_copy(old: Path, database: Path) -> None:
    """The new file may get the number that the old one had."""
    database.unlink()
    shutil.copyfile(old, database)


# --- F69: what holds ----------------------------------------------------------------------------


@pytest.mark.parametrize("put_back", [write_over, put_in_place, remove_and_copy])
def test_f69_an_old_copy_put_back_over_itself_is_on_hold_and_sends_nothing(
    start: Start, sipgate: Simulator, database: Path, put_back: Callable[[Path, Path], None]
) -> None:
    app = start()
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 3)
    stop(app)
    old = shutil.copyfile(database, f"{database}.old")
    work(app)
    assert counts(anna, page) == {"accepted": 3}
    stop(app)
    put_back(Path(old), database)
    again = start()
    assert is_on_hold(again)
    put_clocks_back(again)
    work(again)
    assert sum(arrived(sipgate).values()) == 3
    assert "on hold" in anna.get("/").soup.get_text()


def test_f69_a_copy_of_before_the_last_withdrawal_is_on_hold(
    start: Start, sipgate: Simulator, database: Path
) -> None:
    """Nothing was sent meanwhile, and no second has passed."""
    app = start()
    anna = Browser(app, sipgate)
    anna.sign_in()
    soon = f"{datetime.now(UTC) + timedelta(hours=5):%Y-%m-%dT%H:%M}"
    page = anna.send_and_look(send_at=soon, time_zone="UTC")
    stop(app)
    old = shutil.copyfile(database, f"{database}.old")
    anna.press(page, f"{page.path}/cancel")
    stop(app)
    write_over(Path(old), database)
    assert is_on_hold(start())


def test_f69_a_copy_from_before_there_were_marks_is_on_hold(start: Start, database: Path) -> None:
    app = start()
    without_mark(app)
    stop(app)
    beside(database).unlink()
    old = shutil.copyfile(database, f"{database}.old")
    stop(start())
    write_over(Path(old), database)
    assert is_on_hold(start())


def test_f69_an_old_copy_is_on_hold_after_another_one_was_released(
    start: Start, database: Path
) -> None:
    app = start()
    stop(app)
    old = Path(shutil.copyfile(database, f"{database}.old"))
    for _ in range(2):
        stop(start())
        write_over(old, database)
        app = start()
        assert is_on_hold(app)
        app.test_cli_runner().invoke(args=["release"])
        stop(app)


@pytest.mark.slow  # starts two processes
@pytest.mark.parametrize("with_mark", [True, False])
def test_f69_a_copy_at_the_same_path_on_another_machine_sends_nothing(
    start: Start, sipgate: Simulator, database: Path, tmp_path: Path, with_mark: bool
) -> None:
    """Another machine: a mount namespace in which another folder is at the same path."""
    app = start()
    anna = Browser(app, sipgate)
    anna.sign_in()
    page = send_to_many(anna, 3)
    stop(app)
    home, other = database.parent, tmp_path / "other"
    shutil.copytree(home, other, ignore=None if with_mark else shutil.ignore_patterns("*.mark"))
    values = values_for(sipgate, database)
    inside = f"mount --bind {other} {home} && exec {sys.executable} -m webapp.worker"
    here = Program("webapp.worker", [], values, tmp_path / "here.log")
    with elsewhere(inside, values):
        wait_until(lambda: state_of(other / "app.sqlite") == "moved", seconds=30)
        here.start()
        try:
            wait_until(lambda: counts(anna, page)["accepted"] == 3, seconds=30)
        finally:
            here.kill()
    assert sum(arrived(sipgate).values()) == 3
    assert state_of(database) == ""


# --- F69: what does not hold --------------------------------------------------------------------


def test_f69_restarts_never_hold(start: Start, database: Path) -> None:
    for _ in range(3):
        app = start()
        assert not is_on_hold(app)
        stop(app)
    assert stat.S_IMODE(beside(database).stat().st_mode) == 0o600


def test_f69_a_killed_process_and_one_that_still_runs_do_not_hold_the_next(start: Start) -> None:
    """None of these is stopped, so nothing is written at an end."""
    apps = [start() for _ in range(3)]
    assert not is_on_hold(apps[-1])


def test_f69_a_lost_or_torn_or_older_mark_beside_the_database_does_not_hold(
    start: Start, sipgate: Simulator, database: Path
) -> None:
    stop(start())
    older = beside(database).read_text()
    app = start()
    Browser(app, sipgate).sign_in()
    stop(app)
    for left in (None, "", older[:20], "\0" * len(older), older):
        if left is None:
            beside(database).unlink()
        else:
            beside(database).write_text(left)
        app = start()
        assert not is_on_hold(app), left
        stop(app)
        assert beside(database).read_text() not in (left, older), "it was not written anew"


def test_f69_an_upgrade_does_not_hold(start: Start, database: Path) -> None:
    app = start()
    without_mark(app)
    stop(app)
    beside(database).unlink()
    app = start()
    assert not is_on_hold(app)
    stop(app)
    assert not is_on_hold(start())


def test_f69_a_release_and_a_restart_do_not_hold(start: Start, database: Path) -> None:
    app = start()
    runner = app.test_cli_runner()
    runner.invoke(args=["hold"])
    stop(app)
    assert is_on_hold(start()), "a restart released it"
    runner.invoke(args=["release"])
    stop(app)
    for _ in range(2):
        app = start()
        assert not is_on_hold(app)
        stop(app)


def test_f69_a_released_copy_stays_released(start: Start, database: Path) -> None:
    stop(start())
    database.rename(f"{database}.old")
    shutil.copyfile(f"{database}.old", database)
    app = start()
    assert is_on_hold(app)
    app.test_cli_runner().invoke(args=["release"])
    stop(app)
    assert not is_on_hold(start())


@pytest.mark.slow  # starts two processes
def test_f69_a_new_container_on_the_same_volume_does_not_hold(
    start: Start, sipgate: Simulator, database: Path
) -> None:
    """Another mount namespace, host name and process numbers; the volume at the same path."""
    stop(start())
    home = database.parent
    inside = f"mount --bind {home} {home} && hostname another && {sys.executable} -c '{REGISTER}'"
    in_namespace("--mount --uts --pid --fork", inside, values_for(sipgate, database))
    assert state_of(database) == ""
    assert not is_on_hold(start())


@pytest.mark.slow  # starts two processes
def test_f69_a_reboot_does_not_hold(
    start: Start, sipgate: Simulator, database: Path, tmp_path: Path
) -> None:
    """The disk is mounted anew, as another device than before."""
    disk, home = tmp_path / "disk", database.parent
    with disk.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    values = values_for(sipgate, database)
    settle = f"{sys.executable} -c '{REGISTER}' && stat -c %d {database}"
    inside = (
        f"mount -o loop {disk} {tmp_path}/mnt && cp {database} {tmp_path}/mnt/ &&"
        f" umount {tmp_path}/mnt && "
        f"mount -o loop {disk} {home} && {settle} && umount {home} && "
        f"cp {disk} {disk}2 && mount -o loop {disk}2 {tmp_path}/mnt && "
        f"mount -o loop {disk} {home} && {settle} && umount {home} {tmp_path}/mnt"
    )
    (tmp_path / "mnt").mkdir()
    said = in_namespace("--mount", inside, values).split()
    assert said[0::2] == ["''", "''"], said
    assert said[1] != said[3], "the device is the same"


REGISTER = """
from webapp import create_app
from webapp.database import installation, schema
with create_app().app_context():
    schema.upgrade_schema()
    installation.register_location()
    print(repr(str(installation.hold_state())))
"""


# --- F70: backups -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["what?mode=ro", "100%25.sqlite", "with blank", "it's.sqlite", 'a"b', "file:x?y", "ü"]
)
def test_f70_a_backup_is_whole_and_on_hold_whatever_its_name(
    start: Start, tmp_path: Path, name: str
) -> None:
    target = tmp_path / "copies" / name
    target.parent.mkdir()
    result = start().test_cli_runner().invoke(args=["backup", str(target)])
    assert result.exit_code == 0, result.output
    assert [one.name for one in target.parent.iterdir()] == [name]
    assert is_whole_and_on_hold(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_f70_a_backup_never_takes_the_place_of_a_file(start: Start, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.write_text("what was there")
    result = start().test_cli_runner().invoke(args=["backup", str(target)])
    assert (result.exit_code, target.read_text()) == (1, "what was there")
    assert "exists already" in result.output


def test_f70_what_a_killed_backup_left_is_removed_by_the_next(start: Start, tmp_path: Path) -> None:
    left = tmp_path / "copy.unfinished-backup"
    left.write_bytes(b"half of it")
    assert start().test_cli_runner().invoke(args=["backup", f"{tmp_path}/copy"]).exit_code == 0
    assert not left.exists()
    assert is_whole_and_on_hold(tmp_path / "copy")


@pytest.mark.slow  # starts a process
def test_f70_a_disk_that_fills_up_leaves_a_whole_copy_on_hold_or_none(
    start: Start, sipgate: Simulator, database: Path, tmp_path: Path
) -> None:
    stop(start())
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    script = tmp_path / "script.py"
    script.write_text(FILL_UP)
    inside = f"{sys.executable} {script} {disk} {kept}"
    said = in_namespace("--mount", inside, values_for(sipgate, database)).splitlines()
    assert {line.split()[1] for line in said} == {"0", "1"}, said
    for line in said:
        size, code, count = line.split()
        copy = kept / size
        assert copy.exists() == (code == "0"), line
        assert count == code.translate({ord("0"): "1", ord("1"): "0"}), f"a file is left: {line}"
        if copy.exists():
            assert is_whole_and_on_hold(copy)


FILL_UP = f"""
import os, shutil, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from webapp import create_app
disk, kept = map(Path, sys.argv[1:])
app = create_app()
needed = os.stat(app.config["SETTINGS"].database_url.removeprefix("sqlite:///")).st_size // 1024
for size in [64, *range(needed - 32, needed + 64, 4), 2048]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={{size}}k", "none", disk], check=True)
    code = app.test_cli_runner().invoke(args=["backup", f"{{disk}}/copy"]).exit_code
    if (disk / "copy").exists():
        shutil.copy(disk / "copy", kept / str(size))
    print(size, code, len(list(disk.iterdir())))
    subprocess.run(["umount", disk], check=True)
"""


@pytest.mark.slow  # makes a backup for every line of the code that makes one
def test_f70_a_backup_that_is_killed_leaves_a_whole_copy_on_hold_or_none(
    start: Start, sipgate: Simulator, database: Path, tmp_path: Path
) -> None:
    stop(start())
    folder = tmp_path / "copies"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.killed_backups", folder],
        cwd=PROJECT,
        env={**os.environ, **values_for(sipgate, database)},
        capture_output=True,
        text=True,
        check=True,
    )
    made = sorted(folder.glob("*.sqlite"))
    assert int(done.stdout) > 30
    assert 1 < len(made) < int(done.stdout) - 10
    for copy in made:
        assert is_whole_and_on_hold(copy)
    for left in set(folder.iterdir()) - set(made):
        assert "unfinished-backup" in left.name
        assert stat.S_IMODE(left.stat().st_mode) == 0o600


def is_whole_and_on_hold(copy: Path) -> bool:
    # Not by its name, which may look like an address.
    looked_at = shutil.copy(copy, copy.parent.parent / "looked-at")
    with closing(sqlite3.connect(looked_at)) as connection:
        (is_whole,) = connection.execute("PRAGMA integrity_check").fetchone()
    is_held = state_of(Path(looked_at)) == "backup"
    os.unlink(looked_at)
    return (is_whole, is_held) == ("ok", True)


# --- F72: a copy on hold uses no sign-in --------------------------------------------------------


def test_f72_a_copy_on_hold_costs_its_original_no_sign_in(
    make_app: MakeApp, sipgate: Simulator, database: Path, tmp_path: Path
) -> None:
    options = {"SIPGATE_OPTIONAL_SCOPES": "history:read contacts:read balance:read"}
    original = make_app(DATABASE_URL=f"sqlite:///{database}", **options)
    with original.app_context():
        installation.register_location()
    anna = Browser(original, sipgate)
    anna.sign_in()
    sipgate.fail_next("send", Fault(500))
    unknown = anna.send_and_look("+491713920051")
    assert anna.twin(unknown)["outcome"] == "unknown"
    soon = f"{datetime.now(UTC) + timedelta(hours=40):%Y-%m-%dT%H:%M}"
    anna.send(send_at=soon, time_zone="UTC")
    ben = Browser(original, sipgate)
    ben.sign_in("ben")
    with original.app_context(), transaction() as session:  # his sign-in is about to end
        newest = sa.select(sa.func.max(TokenSet.id)).scalar_subquery()
        session.execute(
            sa.update(TokenSet).where(TokenSet.id == newest).values(leaving_at=TokenSet.created_at)
        )
    result = original.test_cli_runner().invoke(args=["backup", f"{tmp_path}/copy"])
    assert result.exit_code == 0

    copy = make_app(DATABASE_URL=f"sqlite:///{tmp_path}/copy", **options)
    with copy.app_context():
        installation.register_location()
    at_copy = Browser(copy, sipgate)
    for name in ("session", "__Host-session"):
        if cookie := anna.client.get_cookie(name):
            at_copy.client.set_cookie(name, cookie.value)
    before = dict(sipgate.world.calls)
    sipgate.world.expire_access_tokens()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2), tick=True):
        work(copy)
        for path in ("/", "/messages", "/senders", unknown.path):
            at_copy.get(path)
        at_copy.press(at_copy.get(unknown.path), f"{unknown.path}/look", status=200)
        at_copy.post("/logout", at_copy.get("/logout").fields("/logout"), status=303)
        work(copy)
    assert dict(sipgate.world.calls) == before, "the copy asked sipgate"

    page = anna.send("+491713920052")
    assert anna.twin(page)["outcome"] == "accepted"
    work(original)
    assert sipgate.world.calls["token_refresh"] == before.get("token_refresh", 0) + 1


@contextmanager
def elsewhere(inside: str, values: dict[str, str]) -> Iterator[None]:
    """A shell in a mount namespace of its own, from which nothing gets out."""
    in_namespace("--mount", "true", {})
    process = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", inside], cwd=PROJECT, env={**os.environ, **values}
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def in_namespace(kinds: str, inside: str, values: dict[str, str]) -> str:
    """Run a shell's line in namespaces of its own and return what it says."""
    tried = subprocess.run(
        ["unshare", *kinds.split(), "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip("this kernel lets nobody here mount anything in a namespace")
    done = subprocess.run(
        ["unshare", *kinds.split(), "sh", "-c", inside],
        cwd=PROJECT,
        env={**os.environ, **values},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def state_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT hold_reason FROM installation").fetchall()
    return str(rows[0][0]) if rows else ""


def without_mark(app: Flask) -> None:
    """As a version before this one left it."""
    with app.app_context():
        db.engine.dispose()
        alembic.downgrade("0003")
        db.engine.dispose()
