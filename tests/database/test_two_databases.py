"""What must hold on SQLite and on PostgreSQL alike, and what only a server can do to us."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, database_name, values_for
from tests.support import servers
from tests.support.pages import Browser
from tests.support.raw_servers import another_tab, expect, in_parallel, wait_until
from tests.support.servers import CuttingProxy, cutting_proxy
from tests.support.worker import (
    LONE_WORKER,
    arrived,
    counts,
    put_clocks_back,
    send_to_many,
    work,
)
from webapp import create_app
from webapp.database import audit, db, installation, transaction
from webapp.database.audit import AlarmKind
from webapp.database.idempotency import SubmissionId
from webapp.database.models import Batch, Draft, Member, Message, Slowdown, TokenSet
from webapp.database.schema import SchemaError, schema_state, upgrade_schema
from webapp.jobs.tasks import queue
from webapp.messages import changes, claims, drafts, sending
from webapp.rules.outcomes import Outcome
from webapp.signin import sessions
from webapp.signin.tokens import TokenSetCredentials
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator
from webapp.sipgate import Identity, Person

START_S = 30
"""Longer than a process takes to start on a busy machine."""
NUMBER = "+491713920050"


@pytest.fixture
def app(keep_app: MakeApp, either_url: str) -> Flask:
    return keep_app(DATABASE_URL=either_url)


@pytest.fixture
def server_app(make_app: MakeApp, postgresql_url: str) -> Flask:
    """The app on PostgreSQL, whatever the run's own database is."""
    return make_app(DATABASE_URL=postgresql_url)


@pytest.fixture
def annas(server_app: Flask, sipgate: Simulator) -> Browser:
    """Anna's browser at that app."""
    browser = Browser(server_app, sipgate)
    browser.sign_in("anna")
    return browser


def together(count: int, call: Callable[[], object]) -> list[object]:
    """The same at once in several threads."""
    return in_parallel(*[call] * count)


def inside(app: Flask, call: Callable[[], object]) -> Callable[[], object]:
    """In an app context of its own, as each request and each task has."""

    def run() -> object:
        with app.app_context():
            return call()

    return run


# --- On both ------------------------------------------------------------------------------------


def test_f25_eight_that_need_a_refresh_at_once_make_one(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", Fault(delay_s=0.2))
    with app.app_context():
        token_set_id = db.session.scalar(sa.select(TokenSet.id))
        credentials = TokenSetCredentials(int(token_set_id or 0))
        refused = credentials.current()
    headers = together(8, inside(app, lambda: credentials.renewed(refused).header))
    assert len(set(headers)) == 1
    assert sipgate.world.calls["token_refresh"] == 1
    expect(anna, anna.send(NUMBER), "accepted")


@pytest.mark.slow  # starts four processes
def test_f47_four_workers_with_four_schedulers_send_each_message_once(
    app: Flask, anna: Browser, sipgate: Simulator, either_url: str, tmp_path: Path
) -> None:
    page = send_to_many(anna, 100)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Batch).values(is_open=True))
    workers = []
    for place in range(4):
        values = values_for(sipgate, tmp_path, DATABASE_URL=either_url, SEND_CONCURRENCY="4")
        workers.append(Program(LONE_WORKER, [], values, tmp_path / f"{place}.log"))
    try:
        for worker in workers:
            worker.start()
        wait_until(lambda: counts(anna, page) == {"accepted": 100}, seconds=2 * START_S)
    finally:
        for worker in workers:
            worker.kill()
    assert len(arrived(sipgate)) == sum(arrived(sipgate).values()) == 100


def test_f64_withdrawing_or_changing_and_claiming_have_one_winner(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 60)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(batch_id=None))
        ids = list(session.scalars(sa.select(Message.id)))
        member = session.scalars(sa.select(Member)).one()
        session.expunge(member)
    assert page.status == 200
    withdrawn: set[str] = set()

    def withdraw(id_: str) -> None:
        became = changes.withdraw(db.session.get_one(Message, id_), member)
        if became == Outcome.CANCELLED:  # else it is being sent, and this is wished
            withdrawn.add(id_)

    def send(id_: str) -> None:
        message = claims.claim(id_)
        if message:
            sending.deliver_claimed(message)

    for id_ in ids:
        in_parallel(
            inside(app, lambda id_=id_: withdraw(id_)), inside(app, lambda id_=id_: send(id_))
        )
    with app.app_context():
        found = {one.id: one for one in db.session.scalars(sa.select(Message))}
    for id_ in ids:
        outcome = Outcome.CANCELLED if id_ in withdrawn else Outcome.ACCEPTED
        assert found[id_].outcome == outcome
        assert arrived(sipgate)[found[id_].recipient] == (0 if id_ in withdrawn else 1)


def test_the_daily_limit_holds_for_forms_that_come_at_once(
    make_app: MakeApp, either_url: str, sipgate: Simulator
) -> None:
    app = make_app(DATABASE_URL=either_url, DAILY_LIMIT="3")
    anna = Browser(app, sipgate)
    anna.sign_in("anna")
    forms = [anna.compose(recipient=f"+4917139203{n:02d}", message="Hi") for n in range(8)]
    tabs = [another_tab(anna) for _ in forms]
    in_parallel(
        *(
            lambda tab=tab, form=form: tab.post("/messages", form, status=None)
            for tab, form in zip(tabs, forms, strict=True)
        )
    )
    assert sum(arrived(sipgate).values()) == 3


def test_a_first_sign_in_in_several_browsers_at_once_is_one_member(
    app: Flask, sipgate: Simulator
) -> None:
    identity, person = Identity(account_id="1234567", sub="w7"), Person("Somebody", False)
    found = together(8, inside(app, lambda: sessions.save_member(identity, person).id))
    assert len(set(found)) == 1


def test_what_many_write_first_at_once_is_written_once_and_breaks_nothing(
    app: Flask, anna: Browser
) -> None:
    with app.app_context():
        member_id = int(db.session.scalar(sa.select(Member.id)) or 0)
    submission = SubmissionId("0" * 32, member_id)

    def write() -> None:
        drafts.keep_draft(submission, {"message": "typed"})
        installation.register_location()
        audit.alarm(AlarmKind.REDIRECTED)

    together(8, inside(app, write))
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Draft)) == 1


def test_eight_429s_at_once_slow_the_account_down_and_leave_nothing_unknown(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 8)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Batch).values(is_open=True))
        batch_id = str(session.scalar(sa.select(Batch.id)))
    sipgate.world.fail_always("send", Fault(429, (("Retry-After", "600"),), delay_s=0.2))
    taken: list[claims.Claim] = []
    with app.app_context():
        taken = [one for _ in range(8) if (one := claims.claim_next(batch_id))]
    in_parallel(*(inside(app, lambda one=one: sending.deliver_claimed(one)) for one in taken))
    assert counts(anna, page) == {"queued": 8}
    with app.app_context():
        assert db.session.scalar(sa.select(sa.func.count()).select_from(Slowdown)) == 1


def test_a_batch_begins_with_three_at_once_however_many_lanes_claim(
    app: Flask, anna: Browser
) -> None:
    send_to_many(anna, 20)
    with app.app_context():
        batch_id = str(db.session.scalar(sa.select(Batch.id)))
    found = together(12, inside(app, lambda: claims.claim_next(batch_id)))
    assert len([one for one in found if one]) == 3


# --- Only a server can do this ------------------------------------------------------------------


@pytest.mark.slow  # starts a process, and PostgreSQL five times
def test_f51_postgresql_restarted_again_and_again_doubles_and_loses_nothing(
    server_app: Flask, annas: Browser, sipgate: Simulator, postgresql_url: str, tmp_path: Path
) -> None:
    page = send_to_many(annas, 100)
    sipgate.world.fail_always("send", Fault(delay_s=0.05, deliver=True))
    values = values_for(sipgate, tmp_path, DATABASE_URL=postgresql_url, SEND_CONCURRENCY="4")
    worker = Program("webapp.worker", [], values, tmp_path / "worker.log")
    worker.start()
    try:
        wait_until(lambda: len(arrived(sipgate)) > 3, seconds=START_S)
        for _ in range(5):
            servers.postgresql().restart_at_once()
            annas.get("/messages")  # the first request after it works
            time.sleep(0.4)
    finally:
        worker.end()
    assert worker.exit_code == 0, worker.log.read_text()
    sipgate.world.clear_faults()
    put_clocks_back(server_app)
    work(server_app)
    end = counts(annas, page)
    if end["paused"]:  # three unknowns in a row stop a batch, as they should
        annas.press(annas.get(page.path), f"{page.path}/resume")
        work(server_app)
        end = counts(annas, page)
    assert end["accepted"] + end["unknown"] == 100
    assert end["unknown"] <= 5 * 4
    assert set(arrived(sipgate).values()) == {1}
    with server_app.app_context():
        query = sa.select(Message.recipient).where(Message.outcome == Outcome.ACCEPTED)
        assert set(db.session.scalars(query)) <= set(arrived(sipgate))


@pytest.fixture
def proxy() -> Iterator[CuttingProxy]:
    with cutting_proxy(servers.postgresql()) as one:
        yield one


@pytest.fixture
def cut_off(
    make_app: MakeApp, postgresql_url: str, tmp_path: Path, proxy: CuttingProxy, sipgate: Simulator
) -> Browser:
    """Anna's browser at an app that reaches PostgreSQL only through the cutting proxy."""
    name = sa.engine.make_url(postgresql_url).database or ""
    url = servers.postgresql().url(name, host=servers.LOOPBACK, port=proxy.port)
    browser = Browser(make_app(DATABASE_URL=url), sipgate)
    browser.sign_in("anna")
    return browser


@pytest.mark.parametrize("refuse_for_s", [0, 1.5])
def test_f52_a_lost_answer_to_the_commit_of_a_form_sends_it_once(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator, refuse_for_s: float
) -> None:
    form = cut_off.compose(recipient=NUMBER, message="Hello")
    proxy.lose_answer_to("INSERT INTO messages", refuse_for_s=refuse_for_s)
    answer = cut_off.post("/messages", form, status=303)
    assert proxy.cuts == 1
    expect(cut_off, answer, "accepted")
    assert cut_off.post("/messages", form, status=303).location == answer.location
    assert arrived(sipgate) == {NUMBER: 1}


@pytest.mark.parametrize("path", ["/messages", "/test-message"])
def test_f76_a_form_whose_commit_is_unanswered_is_not_called_unsent(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator, path: str
) -> None:
    form = cut_off.compose(recipient=NUMBER, message="Hello", own_number=NUMBER)
    proxy.lose_answer_to("INSERT INTO messages", refuse_for_s=10)
    page = cut_off.post(path, form, status=503)
    assert proxy.cuts == 1
    assert "may have been sent all the same" in page.text
    assert "check Messages" in page.text
    assert "sent nothing" not in page.text
    assert "Hello" in page.text
    assert [link["href"] for link in page.soup.select("main a")] == ["/messages"]
    wait_until(lambda: cut_off.get("/messages", status=None).status == 200, seconds=START_S)
    assert "Hello" in cut_off.get("/messages").text, "it was taken, and the page was right"
    answer = cut_off.post(path, form, status=303)
    put_clocks_back(cut_off.app)
    if path == "/messages":
        expect(cut_off, answer, "unknown", "interrupted")
    assert sipgate.world.arrivals == []


def test_f76_what_else_may_have_been_done_is_not_called_undone(
    cut_off: Browser, proxy: CuttingProxy
) -> None:
    page = send_to_many(cut_off, 3)
    form = page.fields(f"{page.path}/stop")
    proxy.lose_answer_to("UPDATE batches", refuse_for_s=10)
    answer = cut_off.post(f"{page.path}/stop", form, status=503)
    assert proxy.cuts == 1
    assert "It may have worked all the same" in answer.text
    assert "sent nothing" not in answer.text


def test_f52_a_lost_answer_to_the_commit_of_a_claim_sends_it_once(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator
) -> None:
    page = send_to_many(cut_off, 3)
    proxy.lose_answer_to("tries=", refuse_for_s=0.5)
    work(cut_off.app)
    assert proxy.cuts == 1
    assert counts(cut_off, page) == {"accepted": 3}
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.parametrize("refuse_for_s", [0, 1.5])
def test_f52_a_lost_answer_to_the_commit_of_a_result_and_a_claim_sends_both_once(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator, refuse_for_s: float
) -> None:
    page = send_to_many(cut_off, 3)
    with cut_off.app.app_context(), transaction() as rows:
        rows.execute(sa.update(Batch).values(is_open=True))
    proxy.lose_answer_to("settled_at=", refuse_for_s=refuse_for_s)
    work(cut_off.app)
    assert proxy.cuts == 1
    assert counts(cut_off, page) == {"accepted": 3}
    assert set(arrived(sipgate).values()) == {1}


@pytest.mark.parametrize("refuse_for_s", [0, 1.5])
def test_f52_a_lost_answer_to_the_commit_of_a_result_is_written_again(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator, refuse_for_s: float
) -> None:
    form = cut_off.compose(recipient=NUMBER, message="Hello")
    proxy.lose_answer_to("settled_at=", refuse_for_s=refuse_for_s)
    expect(cut_off, cut_off.post("/messages", form, status=303), "accepted")
    assert proxy.cuts == 1
    assert arrived(sipgate) == {NUMBER: 1}


def test_a_database_that_fails_between_claim_and_request_leaves_no_unknown(
    cut_off: Browser, proxy: CuttingProxy, sipgate: Simulator
) -> None:
    form = cut_off.compose(recipient=NUMBER, message="Hello")
    # What is read next is the token to send with.
    proxy.cut_at("FROM token_sets", after="INSERT INTO messages")
    answer = cut_off.post("/messages", form, status=303)
    assert proxy.cuts == 1
    expect(cut_off, answer, "not_sent", "database_away", says="nothing was sent")
    assert sipgate.world.arrivals == []


def test_a_database_that_goes_when_a_page_is_made_does_not_spoil_the_page(
    cut_off: Browser, proxy: CuttingProxy
) -> None:
    # What a page has read ends with it.
    proxy.cut_at("COMMIT", after="JOIN sessions")
    assert "Messages" in cut_off.get("/messages", status=200).text
    assert proxy.cuts == 1
    cut_off.get("/messages", status=200)


@pytest.fixture
def read_only() -> Iterator[Callable[[bool], None]]:
    """Let PostgreSQL take no writes, or take them again; at the end it does in any case."""
    yield lambda is_so: servers.postgresql().take_writes(not is_so)
    servers.postgresql().take_writes(True)


@pytest.mark.parametrize("planned", [False, True])
def test_f77_a_yes_that_comes_while_postgresql_takes_no_writes_is_written_when_it_does_again(
    server_app: Flask,
    annas: Browser,
    sipgate: Simulator,
    read_only: Callable[[bool], None],
    planned: bool,
) -> None:
    sipgate.fail_next("send", Fault(delay_s=1, deliver=True))
    if planned:
        send_to_many(annas, 2)
        sender = Thread(target=work, args=[server_app])
    else:
        form = annas.compose(recipient=NUMBER, message="Hello")
        sender = Thread(target=another_tab(annas).post, args=["/messages", form])
    sender.start()
    wait_until(lambda: sipgate.world.calls["send"] == 1)
    other = annas.compose(recipient=NUMBER, message="Other")
    read_only(True)
    annas.get("/messages")
    annas.post("/messages", other, status=503)
    time.sleep(1.5)  # by now the answer has come, and could not be written
    read_only(False)
    sender.join()
    with server_app.app_context():
        found = set(db.session.scalars(sa.select(Message.outcome)))
    assert found == {Outcome.ACCEPTED}
    assert set(arrived(sipgate).values()) == {1}


def test_f77_a_refreshed_sign_in_survives_a_postgresql_that_takes_no_writes_when_it_is_answered(
    server_app: Flask, annas: Browser, sipgate: Simulator, read_only: Callable[[bool], None]
) -> None:
    form = annas.compose(recipient=NUMBER, message="Hello")
    sipgate.world.expire_access_tokens()
    sipgate.fail_next("refresh", Fault(delay_s=1, deliver=True))
    sender = Thread(target=another_tab(annas).post, args=["/messages", form])
    sender.start()
    wait_until(lambda: sipgate.world.calls["token_refresh"] == 1)
    read_only(True)
    time.sleep(1.5)  # by now the tokens have come, and could not be saved
    read_only(False)
    sender.join()
    assert arrived(sipgate) == {NUMBER: 1}
    sipgate.world.expire_access_tokens()
    other = annas.compose(recipient="+491713920051", message="Hello again")
    again = annas.post("/messages", other, status=303)
    expect(annas, again, "accepted")


def test_f77_a_claim_while_postgresql_takes_no_writes_sends_nothing_and_goes_later(
    server_app: Flask, annas: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(annas, 2)
    woken = [queue.dequeue() for _ in range(2)]  # a wake-up cannot be taken meanwhile, either
    servers.postgresql().take_writes(False)
    try:
        for task in woken:
            task.execute()
    finally:
        servers.postgresql().take_writes(True)
    assert sipgate.world.arrivals == []
    put_clocks_back(server_app)
    work(server_app)
    assert counts(annas, page) == {"accepted": 2}


def test_f77_a_server_that_starts_while_postgresql_takes_no_writes_waits(
    server_app: Flask,
) -> None:
    servers.postgresql().take_writes(False)
    later = threading.Timer(1.0, servers.postgresql().take_writes, [True])
    later.start()
    try:
        inside(server_app, upgrade_schema)()
    finally:
        later.join()
        servers.postgresql().take_writes(True)


@pytest.mark.slow  # starts a process
def test_f77_a_worker_that_starts_while_postgresql_takes_no_writes_waits_and_then_sends(
    server_app: Flask, annas: Browser, sipgate: Simulator, postgresql_url: str, tmp_path: Path
) -> None:
    page = send_to_many(annas, 2)
    values = values_for(sipgate, tmp_path, DATABASE_URL=postgresql_url)
    worker = Program("webapp.worker", [], values, tmp_path / "worker.log")
    servers.postgresql().take_writes(False)
    try:
        worker.start()
        wait_until(lambda: "registering again" in worker.log.read_text(), seconds=START_S)
        servers.postgresql().take_writes(True)
        wait_until(lambda: counts(annas, page) == {"accepted": 2}, seconds=START_S)
    finally:
        servers.postgresql().take_writes(True)
        worker.end()
    assert worker.exit_code == 0, worker.log.read_text()


def test_many_processes_that_start_at_once_migrate_once(sipgate: Simulator, tmp_path: Path) -> None:
    server, name = servers.postgresql(), database_name(tmp_path / "empty")
    server.create(name)
    apps = [
        create_app(values_for(sipgate, tmp_path, DATABASE_URL=server.url(name))) for _ in range(4)
    ]
    try:
        in_parallel(*(inside(app, upgrade_schema) for app in apps))
        for app in apps:
            assert inside(app, schema_state)() == "current"
    finally:
        for app in apps:
            inside(app, lambda: db.engine.dispose())()
        server.drop(name)


def test_a_missing_postgresql_is_one_sentence(sipgate: Simulator, tmp_path: Path) -> None:
    name = database_name(tmp_path)
    url = f"postgresql://nobody:secret-word@127.0.0.1:{servers.free_port()}/{name}"
    app = create_app(values_for(sipgate, tmp_path, DATABASE_URL=url))
    with app.app_context(), pytest.raises(SchemaError) as error:
        upgrade_schema()
    assert str(error.value).startswith("The database cannot be used: ")
    assert "\n" not in str(error.value)
    assert "secret-word" not in str(error.value)


def test_a_backup_of_postgresql_is_left_to_its_own_tool(server_app: Flask, tmp_path: Path) -> None:
    result = server_app.test_cli_runner().invoke(args=["backup", str(tmp_path / "copy")])
    assert result.exit_code == 1
    assert result.output.strip() == (
        "Error: use pg_dump for PostgreSQL, and `flask hold` first after a restore"
    )
    assert not (tmp_path / "copy").exists()


def test_f55_a_restored_postgresql_sends_nothing_between_hold_and_release(
    server_app: Flask, annas: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(annas, 3)
    run = server_app.test_cli_runner()
    assert "On hold" in run.invoke(args=["hold"]).output
    work(server_app)
    assert sipgate.world.arrivals == []
    run.invoke(args=["release"])
    put_clocks_back(server_app)
    work(server_app)
    assert counts(annas, page) == {"accepted": 3}
