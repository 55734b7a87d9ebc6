"""What a database still knows of lists a day later: nothing, and nothing readable before."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.conftest import MakeApp
from tests.support import lists, servers
from tests.support.pages import Browser
from tests.support.rows import stored_bytes, stored_rows
from tests.support.worker import work
from webapp.database import db, transaction
from webapp.database.models import Batch, UploadedList
from webapp.jobs import retention
from webapp.rules.times import now
from webapp.simulator import Simulator

SENT = lists.csv_of(
    [
        (number, name, "Xylophonkrankheit")
        for number, name in zip(lists.numbers(3), ("Annemie", "Bartolo", "Cyprian"), strict=True)
    ]
    + [("0176 5558", "Wegelassene", "")],
    "Handy;Vorname;Diagnose",
)
UNSENT = lists.csv_of(
    [(number, "Niegesendet") for number in lists.numbers(400, first=5000)],
    "Handy;Vorname",
)
OF_THE_LISTS = (b"Xylophonkrankheit", b"Niegesendet", b"Wegelassene", b"17604075001", b"4075001")
OF_MESSAGES = (b"Annemie", b"17604070001")


@pytest.fixture
def app(make_app: MakeApp, either_url: str) -> Flask:
    return make_app(DATABASE_URL=either_url)


def use_lists(app: Flask, browser: Browser) -> None:
    """One is sent, of which a row is left out; one is checked and left."""
    check = lists.checked(browser, SENT)
    lists.send(browser, lists.leave_out(browser, check, "errors"))
    work(app)
    lists.checked(browser, UNSENT)


def let_a_day_pass(app: Flask, days: float = 1.1) -> None:
    past = now() - timedelta(days=days)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(UploadedList).values(touched_at=past))
        session.execute(sa.update(Batch).values(created_at=past))
    work(app)
    with app.app_context():
        retention.prune()


def test_of_lists_only_messages_are_left_a_day_later(app: Flask, anna: Browser) -> None:
    use_lists(app, anna)
    assert not any(one in stored_bytes(app) for one in OF_THE_LISTS)
    let_a_day_pass(app)
    assert not any(one in stored_bytes(app) for one in OF_THE_LISTS)
    assert all(one in stored_bytes(app) for one in OF_MESSAGES)
    held = ("name", "original", "content", "look", "mapping", "result", "plan")
    assert {row[name] for row in stored_rows(app)["lists"] for name in held} == {None}
    let_a_day_pass(app, days=8)
    assert [row["left_out"] for row in stored_rows(app)["batches"]] == [None]
    let_a_day_pass(app, days=31)
    assert [row["name"] for row in stored_rows(app)["batches"]] == [None]


def test_a_dump_of_postgresql_holds_nothing_of_lists_and_its_files_nothing_readable(
    make_app: MakeApp, postgresql_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=postgresql_url)
    browser = Browser(app, sipgate)
    browser.sign_in("anna")
    use_lists(app, browser)
    row = next(row for row in stored_rows(app)["lists"] if row["content"] is not None)
    encrypted = [str(row[name])[-90:-50].encode() for name in ("content", "result")]
    in_dump = [one.hex().encode() for one in encrypted]
    assert all(one in dump_of(app) for one in in_dump)
    assert any(one in files_of(app) for one in encrypted)
    let_a_day_pass(app)
    dump = dump_of(app)
    assert not any(one in dump for one in (*in_dump, *OF_THE_LISTS))
    assert all(one in dump for one in OF_MESSAGES)
    assert not any(one in files_of(app) for one in OF_THE_LISTS)
    run_apart(app, "VACUUM FULL lists")
    run_apart(app, "CHECKPOINT")
    assert not any(one in files_of(app) for one in (*encrypted, *OF_THE_LISTS))


def dump_of(app: Flask) -> bytes:
    with app.app_context():
        return servers.postgresql().dump(str(db.engine.url.database))


def files_of(app: Flask) -> bytes:
    """The database's own files, with what PostgreSQL has not cleared away."""
    run_apart(app, "CHECKPOINT")
    with app.app_context(), db.engine.connect() as connection:
        name = sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
        folder = servers.postgresql().folder / "data" / "base" / str(connection.scalar(name))
    found = [path.read_bytes() for path in Path(folder).iterdir() if path.is_file()]
    assert found
    return b"".join(found)


def run_apart(app: Flask, statement: str) -> None:
    with app.app_context(), db.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text(statement))
