"""What is told, when, how often; on both databases, to real servers, and by processes that die."""

import re
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from tests.chaos.processes import Program
from tests.conftest import MakeApp, values_for
from tests.messages.test_faults_worker import later, plan
from tests.support import servers
from tests.support.outlets import ADDRESS, Hook, Mailbox
from tests.support.pages import Browser
from tests.support.raw_servers import wait_until
from tests.support.worker import put_clocks_back, send_to_many, work
from webapp.alerts import telling
from webapp.database import db, installation, transaction
from webapp.database.models import Alert, AlertOutlet, Message, TokenSet
from webapp.jobs import heartbeat, retention
from webapp.jobs.watch import Watch
from webapp.rules.alerts import AlertKind, Outlet
from webapp.rules.times import now
from webapp.simulator.faults import Fault
from webapp.simulator.server import Simulator

TEXT = "Geheimer Befund 4711"
METRICS_TOKEN = "a-word-that-only-the-operators-prometheus-knows"
NUMBER = re.compile(r"\+?\d[\d /-]{5,}\d")


class QuickWatch(Watch):
    EVERY_S = 0.05
    SILENT_FOR_S = 0.3


@pytest.fixture
def values(either_url: str, mailbox: Mailbox, hook: Hook) -> dict[str, str]:
    return {
        "DATABASE_URL": either_url,
        "SMTP_URL": f"smtp://127.0.0.1:{mailbox.port}",
        "ALERT_EMAIL": ADDRESS,
        "ALERT_WEBHOOK": f"http://127.0.0.1:{hook.port}/token",
    }


@pytest.fixture
def app(make_app: MakeApp, values: dict[str, str]) -> Flask:
    return make_app(**values)


def look(app: Flask, *, silent: bool | None = False, minutes: float = 0) -> None:
    """Look and tell, some minutes from now."""
    with later(minutes=minutes), app.app_context():
        telling.look_and_tell(worker_is_silent=silent)


def rows(app: Flask) -> list[tuple[str, int, bool]]:
    """Kind, episode, and whether it is over, in the order in which they began."""
    with app.app_context():
        found = db.session.scalars(sa.select(Alert).order_by(Alert.id))
        return [(one.kind, one.episode, one.ended_at is not None) for one in found]


def kinds(app: Flask) -> set[str]:
    return {kind for kind, _, is_over in rows(app) if not is_over}


def text_of(mailbox: Mailbox, place: int = -1) -> str:
    """Subject and content of a mail, on one line."""
    mail = mailbox.mails[place]
    return " ".join(f"{mail['Subject']}\n{mail.get_content()}".split())


# --- What is told ---------------------------------------------------------------------------------


def test_while_all_is_well_nobody_is_told(app: Flask, anna: Browser, mailbox: Mailbox) -> None:
    anna.send()
    plan(anna, "+491713920051")
    send_to_many(anna, 2)
    work(app)
    look(app)
    assert rows(app) == []
    assert mailbox.mails == []


def test_a_batch_that_was_paused_by_itself_is_told_with_how_many_wait(
    app: Flask, anna: Browser, sipgate: Simulator, mailbox: Mailbox, hook: Hook
) -> None:
    page = send_to_many(anna, 5, TEXT)
    sipgate.fail_next("send", Fault(402))
    work(app)
    look(app)
    assert kinds(app) == {AlertKind.BATCH, AlertKind.NOT_SENT}
    said = text_of(mailbox)
    assert "Sending of 1 message to several recipients was paused automatically." in said
    assert "4 messages are waiting." in said
    assert page.path in said
    assert [one["url"] for one in hook.told] == [anna.base_url + page.path]


def test_what_somebody_did_on_purpose_is_not_told(app: Flask, anna: Browser) -> None:
    page = send_to_many(anna, 3)
    anna.post(f"{page.path}/stop", page.fields(), status=303)
    look(app)
    assert rows(app) == []


def test_what_was_paused_on_purpose_and_then_forgotten_is_told_once_its_time_has_passed(
    app: Flask, anna: Browser
) -> None:
    plan(anna)
    leaving = anna.get("/logout")
    anna.post("/logout", {**leaving.fields(), "waiting": "pause"}, status=303)
    look(app)
    assert rows(app) == []
    with later(minutes=152):
        work(app)
    look(app, minutes=153)
    assert rows(app) == [("missed", 1, False)]


def test_a_planned_message_that_is_refused_or_unknown_is_told_and_one_of_a_click_is_not(
    app: Flask, anna: Browser, sipgate: Simulator, mailbox: Mailbox
) -> None:
    plan(anna), plan(anna, "+491713920051")
    sipgate.fail_next("send", Fault(400))
    sipgate.world.fail_from("send", 2, Fault(500))
    with later(minutes=61):
        work(app)
    sipgate.world.clear_faults()
    anna.send("+491713920001")
    look(app, minutes=62)
    assert sorted(rows(app)) == [("not_sent", 1, False), ("unknown", 1, False)]
    assert "1 planned message, or message of a list, was not sent." in text_of(mailbox)


def test_planned_messages_that_were_missed_are_told(
    app: Flask, anna: Browser, mailbox: Mailbox, sipgate: Simulator
) -> None:
    for last in range(3):
        plan(anna, f"+49171392005{last}")
    sipgate.stop()
    with later(minutes=152):
        work(app)
    look(app, minutes=153)
    assert rows(app) == [("missed", 1, False)] * 3
    assert mailbox.mails[0]["Subject"].startswith(
        "Team SMS: 3 messages were not sent: their time had passed / 3 Nachrichten"
    )
    assert "/messages?tab=attention" in text_of(mailbox)


def test_a_sign_in_that_ended_is_told_if_something_waits_for_the_next_day(
    app: Flask, anna: Browser, mailbox: Mailbox
) -> None:
    in_days = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M}"
    anna.send(send_at=in_days, time_zone="UTC")
    plan(anna, "+491713920051")
    with app.app_context(), transaction() as session:
        session.execute(sa.update(TokenSet).values(ended_at=now()))
    work(app)
    look(app)
    assert rows(app) == [("sign_in", 1, False)]
    said = text_of(mailbox)
    assert "The sign-in of 1 person has ended." in said
    assert "1 message that was to be sent within 24 hours is waiting." in said


def test_what_waits_for_a_sign_in_in_three_days_can_wait(app: Flask, anna: Browser) -> None:
    in_days = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT%H:%M}"
    anna.send(send_at=in_days, time_zone="UTC")
    with app.app_context(), transaction() as session:
        session.execute(sa.update(TokenSet).values(ended_at=now()))
    work(app)
    look(app)
    assert rows(app) == []
    look(app, minutes=60 * 49)
    assert rows(app) == [("sign_in", 1, False)]


def test_a_hold_and_a_silent_worker_are_told_in_both_languages(
    app: Flask, anna: Browser, mailbox: Mailbox
) -> None:
    plan(anna)
    with app.app_context():
        installation.hold()
    look(app, silent=True)
    said = text_of(mailbox)
    assert said.startswith("Team SMS: 2 things need attention / 2 ")
    assert "Sending is on hold: nothing is sent. 1 message is waiting." in said
    assert "(the worker) is not running. 1 message is waiting." in said
    assert "Der Versand ist angehalten" in said
    assert said.count("/operator") == 4


def test_no_mail_holds_a_number_a_name_or_a_text(
    app: Flask, anna: Browser, sipgate: Simulator, mailbox: Mailbox, hook: Hook
) -> None:
    plan(anna), send_to_many(anna, 5, TEXT)
    sipgate.world.fail_always("send", Fault(402))
    work(app)
    with later(minutes=61):
        work(app)
    sipgate.world.clear_faults()
    with app.app_context():
        installation.hold()
    look(app, silent=True, minutes=62)
    assert {"hold", "worker", "batch"} <= kinds(app)
    told = [text_of(mailbox), str(mailbox.mails[0]), *map(str, hook.told)]
    for said in told[:1] + told[2:]:
        plain = re.sub(r"https?://\S+", "", said)
        assert not NUMBER.search(plain), NUMBER.search(plain)
        for secret in (TEXT, "4711", "Befund", "Hello", "Anna", "Sommer"):
            assert secret not in said
    assert not re.search(r"1713920|17604069", told[1])


# --- Episodes -------------------------------------------------------------------------------------


def test_an_episode_is_told_once_and_its_end_is_not(app: Flask, mailbox: Mailbox) -> None:
    for minutes in range(0, 61, 5):
        look(app, silent=True, minutes=minutes)
    look(app, silent=False, minutes=62)
    look(app, silent=False, minutes=80)
    assert rows(app) == [("worker", 1, True)]
    assert len(mailbox.mails) == 1


def test_an_episode_that_comes_again_is_told_again(app: Flask, mailbox: Mailbox) -> None:
    for minutes, silent in ((0, True), (20, False), (40, True), (60, False), (80, True)):
        look(app, silent=silent, minutes=minutes)
    assert rows(app) == [("worker", 1, True), ("worker", 2, True), ("worker", 3, False)]
    assert len(mailbox.mails) == 3


def test_a_hold_that_is_released_and_set_again_between_two_looks_is_told_again(
    app: Flask, mailbox: Mailbox
) -> None:
    with app.app_context():
        installation.hold()
    look(app)
    with app.app_context():
        installation.release_hold()
        installation.hold()
    look(app, minutes=16)
    assert rows(app) == [("hold", 1, True), ("hold", 2, False)]
    assert len(mailbox.mails) == 2


def test_a_batch_that_is_resumed_and_paused_again_between_two_looks_is_told_again(
    app: Flask, anna: Browser, sipgate: Simulator
) -> None:
    page = send_to_many(anna, 5)
    for minutes in (0, 16):
        sipgate.fail_next("send", Fault(402))
        put_clocks_back(app)
        work(app)
        look(app, minutes=minutes)
        shown = anna.get(page.path)
        if minutes == 0:
            anna.post(f"{page.path}/resume", shown.fields(), status=303)
    assert [row for row in rows(app) if row[0] == "batch"] == [
        ("batch", 1, True),
        ("batch", 2, False),
    ]


def test_while_nobody_knows_whether_the_worker_is_silent_nothing_changes(app: Flask) -> None:
    look(app, silent=None)
    assert rows(app) == []
    look(app, silent=True)
    look(app, silent=None)
    assert rows(app) == [("worker", 1, False)]


def test_what_was_over_before_it_could_be_told_is_told_as_over(
    app: Flask, mailbox: Mailbox
) -> None:
    mailbox.whims.answer_to_data = "451 not now"
    look(app, silent=True)
    mailbox.whims.answer_to_data = "250 taken"
    look(app, silent=False, minutes=3)
    assert "This is over by now." in text_of(mailbox)


def test_a_great_many_are_told_in_one_mail_and_their_end_is_noted(
    app: Flask, anna: Browser, mailbox: Mailbox
) -> None:
    plan(anna)
    with app.app_context(), transaction() as session:
        first = session.scalars(sa.select(Message)).one()
        names = [column.key for column in sa.inspect(Message).columns]
        copied = {name: getattr(first, name) for name in names} | {"outcome": "missed"}
        for place in range(3_000):
            id_ = f"{place:032x}"
            session.execute(sa.insert(Message).values({**copied, "id": id_, "entry_id": id_}))
    look(app)
    assert "3000 messages were not sent: their time had passed." in text_of(mailbox)
    with app.app_context(), transaction() as session:
        session.execute(sa.update(Message).values(done_at=now()))
    look(app, minutes=20)
    assert {is_over for _, _, is_over in rows(app)} == {True}
    assert len(mailbox.mails) == 1


# --- At most one mail in a quarter of an hour -----------------------------------------------------


def test_what_comes_within_a_quarter_of_an_hour_is_collected(
    app: Flask, mailbox: Mailbox, hook: Hook
) -> None:
    look(app, silent=True)
    with app.app_context():
        installation.hold()
    for minutes in (1, 5, 14):
        look(app, silent=True, minutes=minutes)
        assert (len(mailbox.mails), len(hook.posts)) == (1, 1)
    look(app, silent=True, minutes=15.1)
    assert (len(mailbox.mails), len(hook.posts)) == (2, 2)
    assert "on hold" in text_of(mailbox)
    assert "worker" not in text_of(mailbox)


def test_a_clock_that_was_ahead_keeps_nothing_back(app: Flask, mailbox: Mailbox) -> None:
    look(app, silent=True, minutes=60 * 24 * 365)
    with app.app_context():
        installation.hold()
    look(app, silent=True)
    assert len(mailbox.mails) == 2


def test_of_several_processes_one_tells(
    make_app: MakeApp, values: dict[str, str], mailbox: Mailbox, hook: Hook
) -> None:
    apps = [make_app(**values) for _ in range(4)]
    ready = threading.Barrier(len(apps))

    def act(app: Flask) -> None:
        ready.wait()
        look(app, silent=True)

    look(apps[0])
    threads = [threading.Thread(target=act, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows(apps[0]) == [("worker", 1, False)]
    assert (len(mailbox.mails), len(hook.posts)) == (1, 1)


# --- Outlets that fail ----------------------------------------------------------------------------


def state(app: Flask, outlet: Outlet) -> AlertOutlet:
    with app.app_context():
        return db.session.get_one(AlertOutlet, outlet)


def test_a_failing_outlet_is_tried_after_growing_pauses_until_it_takes_it(
    app: Flask, mailbox: Mailbox, hook: Hook
) -> None:
    mailbox.whims.answer_to_data = "451 not now"
    tried = []
    for minutes in range(130):
        before = mailbox.commands.count("DATA")
        look(app, silent=True, minutes=minutes)
        if mailbox.commands.count("DATA") > before:
            tried.append(minutes)
    assert tried == [0, 1, 3, 8, 23, 53, 113]
    assert len(hook.posts) == 1, "the other one is not kept back"
    assert (state(app, Outlet.MAIL).failures, state(app, Outlet.MAIL).problem) == (7, "refused")
    mailbox.whims.answer_to_data = "250 taken"
    look(app, silent=True, minutes=173)
    assert len(mailbox.mails) == 1
    assert (state(app, Outlet.MAIL).failures, state(app, Outlet.MAIL).problem) == (0, "")


def test_a_mail_that_may_have_arrived_is_not_told_again_within_a_quarter_of_an_hour(
    app: Flask, mailbox: Mailbox
) -> None:
    mailbox.whims.cuts_after_data = True
    look(app, silent=True)
    mailbox.whims.cuts_after_data = False
    look(app, silent=True, minutes=14)
    assert len(mailbox.mails) == 1
    look(app, silent=True, minutes=15.1)
    assert len(mailbox.mails) == 2, "rather twice than never"


def test_what_was_told_and_what_failed_is_counted(
    make_app: MakeApp, values: dict[str, str], mailbox: Mailbox, sipgate: Simulator
) -> None:
    app = make_app(**values, METRICS_TOKEN=METRICS_TOKEN)
    mailbox.whims.answer_to_data = "451 not now"
    look(app, silent=True)
    page = Browser(app, sipgate).get(
        "/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"}
    )
    assert 'team_sms_alerts_total{outlet="webhook",result="told"} 1.0' in page.text
    assert 'team_sms_alerts_total{outlet="mail",result="failed"} 1.0' in page.text


def test_an_outlet_that_is_set_up_later_tells_what_lasts_and_not_what_is_over(
    make_app: MakeApp, values: dict[str, str], mailbox: Mailbox
) -> None:
    only_hook = {name: value for name, value in values.items() if name != "SMTP_URL"}
    app = make_app(**{**only_hook, "ALERT_EMAIL": ""})
    look(app, silent=True)
    look(app, silent=False)
    with app.app_context():
        installation.hold()
    look(app, minutes=20)
    look(make_app(**values), minutes=40)
    assert len(mailbox.mails) == 1
    assert "on hold" in text_of(mailbox)
    assert "worker" not in text_of(mailbox)
    look(make_app(**{**only_hook, "ALERT_EMAIL": ""}), minutes=60)
    with app.app_context():
        assert list(db.session.scalars(sa.select(AlertOutlet.name))) == ["webhook"]


def test_what_is_over_is_erased_after_a_month(app: Flask) -> None:
    look(app, silent=True)
    look(app, silent=False)
    with app.app_context():
        installation.hold()
    look(app)
    for days, left in ((29, 2), (31, 1)):
        with later(minutes=days * 24 * 60), app.app_context():
            retention.prune()
        assert len(rows(app)) == left


# --- Processes ------------------------------------------------------------------------------------

AT = {
    "before the alert's commit": 1,
    "after the alert's commit": 1,
    "before the turn's commit": 1,
    "after the turn's commit": 1,
    "before the mail": 1,
    "after the mail": 2,
    "before the telling's commit": 2,
    "after the telling's commit": 1,
}
"""How many mails there are in the end, if a process dies there while it tells."""


@pytest.fixture
def teller(
    tmp_path: Path, sipgate: Simulator, values: dict[str, str]
) -> Iterator[tuple[Program, Path]]:
    program = Program(
        "tests.support.killed_at", [], values_for(sipgate, tmp_path, **values), tmp_path / "log"
    )
    yield program, tmp_path / "log"
    program.kill()


@pytest.mark.slow  # starts a process
@pytest.mark.parametrize("point", AT)
def test_killed_at_any_point_no_alert_is_lost(
    app: Flask, mailbox: Mailbox, teller: tuple[Program, Path], point: str
) -> None:
    program, log = teller
    program._options = [point, "tests.support.lone_teller"]
    program.start()
    wait_until(lambda: not program.is_running, seconds=60)
    assert program.exit_code == -signal.SIGKILL, log.read_text()
    look(app, silent=True, minutes=14)
    assert len(mailbox.mails) <= 1, "not two within a quarter of an hour"
    look(app, silent=True, minutes=31)
    assert rows(app) == [("worker", 1, False)]
    assert len(mailbox.mails) == AT[point]
    look(app, silent=True, minutes=60)
    assert len(mailbox.mails) == AT[point]


def test_every_process_watches_and_a_silent_worker_is_told_once(
    make_app: MakeApp, values: dict[str, str], mailbox: Mailbox
) -> None:
    apps = [make_app(**values) for _ in range(2)]
    watches = [QuickWatch(app) for app in apps]
    for watch in watches:
        watch.start()
    try:
        wait_until(lambda: len(mailbox.mails) == 1, seconds=20)
        with apps[0].app_context():
            heartbeat.heartbeat("a")
        wait_until(lambda: rows(apps[0]) == [("worker", 1, True)], seconds=20)
    finally:
        for watch in watches:
            watch.stop()
            watch._thread.join(20)
    assert len(mailbox.mails) == 1


def test_a_mail_server_that_hangs_does_not_hold_up_messages(
    app: Flask, anna: Browser, mailbox: Mailbox
) -> None:
    page = send_to_many(anna, 3)
    mailbox.may_answer.clear()
    watch = QuickWatch(app)
    watch.start()
    try:
        wait_until(lambda: len(mailbox.mails) == 1, seconds=20)
        work(app)
        twin = anna.get(page.path, headers={"Accept": "application/json"}).json
        assert twin["counts"]["accepted"] == 3
    finally:
        mailbox.may_answer.set()
        watch.stop()
        watch._thread.join(20)


def test_without_an_outlet_nobody_watches(make_app: MakeApp, either_url: str) -> None:
    watch = QuickWatch(make_app(DATABASE_URL=either_url))
    watch.start()
    assert not watch._thread.is_alive()


@pytest.mark.slow  # starts a server with two processes
def test_a_real_server_tells_once_by_whichever_process_lives(
    app: Flask, values: dict[str, str], sipgate: Simulator, mailbox: Mailbox, tmp_path: Path
) -> None:
    """On PostgreSQL there is no worker, so that is told, too."""
    with app.app_context():
        installation.hold()
    mailbox.may_answer.clear()
    port = {"PORT": str(servers.free_port()), "WEB_PROCESSES": "2"}
    environment = values_for(sipgate, tmp_path, **values, **port)
    server = Program("tests.support.quick_watch", ["webapp.server"], environment, tmp_path / "log")
    server.start()
    try:
        wait_until(lambda: len(mailbox.mails) == 1, seconds=60)
        assert server.kill_oldest_child()
        mailbox.may_answer.set()
        with app.app_context(), transaction() as session:
            session.execute(sa.update(AlertOutlet).values(next_at=now()))
        wait_until(lambda: told_by_mail(app), seconds=60)
    finally:
        server.kill()
    assert len(mailbox.mails) <= 3
    assert "Sending is on hold" in text_of(mailbox, 0)


def told_by_mail(app: Flask) -> bool:
    with app.app_context():
        found = list(db.session.scalars(sa.select(Alert.mailed_at)))
        return bool(found) and None not in found
