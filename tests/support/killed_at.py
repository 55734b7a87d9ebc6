"""Run one of our programs and SIGKILL it at a named point.

`python -m tests.support.killed_at POINT MODULE [PIECE]`.

With `frozen: POINT` it is stopped there once instead (SIGSTOP), until the test continues it, and a
claim is too old after `FROZEN_LIMIT_S`, so that no test has to wait for the real limit. With PIECE,
so many messages of a list are made in a transaction, so that a short list has several pieces.

The points are found from outside, by events of SQLAlchemy and by the standard library's HTTP
connection: the program itself is unchanged.
"""

import fcntl
import http.client
import importlib
import os
import signal
import smtplib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
import urllib3.connection
from sqlalchemy.engine.default import DefaultDialect

from webapp.messages import sending
from webapp.messages.lists import fill

FREEZE = "frozen: "
FROZEN_LIMIT_S = 2.0
SEND, TOKEN = "/sessions/sms", "/token"
Connection = http.client.HTTPConnection
IsStatement = Callable[[str, str], bool]


def is_claim(statement: str, values: str) -> bool:
    """A message becomes `sending`: taken from those that wait, or inserted as that."""
    is_write = statement.startswith(("UPDATE messages SET", "INSERT INTO messages"))
    return is_write and "'sending'" in values and "attempt" in statement and "tries" in statement


def is_result(statement: str, values: str) -> bool:
    """A message is settled as accepted."""
    return statement.startswith("UPDATE messages SET outcome") and "'accepted'" in values


def is_joint_claim(statement: str, values: str) -> bool:
    """The claim in a transaction that has settled another message before."""
    _marks.has_result |= is_result(statement, values)
    return _marks.has_result and is_claim(statement, values)


def is_piece(statement: str, _values: str) -> bool:
    """Messages are made from a list."""
    return statement.startswith("INSERT INTO messages") and "ON CONFLICT" in statement


def is_last_piece(statement: str, _values: str) -> bool:
    """The list is deleted, because all its messages are there."""
    return statement.startswith("UPDATE lists SET") and "deleted_at" in statement


def is_list_taken(statement: str, _values: str) -> bool:
    """A list becomes a batch."""
    return statement.startswith("INSERT INTO batches")


def is_alert(statement: str, _values: str) -> bool:
    """An episode of a trouble is written down."""
    return statement.startswith("INSERT INTO alerts")


def is_turn(statement: str, _values: str) -> bool:
    """It becomes a process's turn to tell by an outlet."""
    return statement.startswith("UPDATE alert_outlets SET next_at")


def is_told(statement: str, _values: str) -> bool:
    """It is written down that a mail was taken."""
    return statement.startswith("UPDATE alerts SET mailed_at") and "alerts.id <=" in statement


def around_mail(*, before: bool) -> None:
    data = smtplib.SMTP.data

    def data_or_die(self: Any, message: Any) -> Any:
        if before:
            die()
        answer = data(self, message)
        die()
        return answer

    smtplib.SMTP.data = data_or_die  # type: ignore[method-assign]


def die(*_: Any) -> None:
    if _ending == signal.SIGKILL:
        os.kill(os.getpid(), signal.SIGKILL)
        threading.Event().wait()
    elif _frozen.acquire(blocking=False):
        os.kill(os.getpid(), signal.SIGSTOP)
        # The kernel may stop another thread first; this one must not go on meanwhile.
        time.sleep(0.5)


_ending = signal.SIGKILL
_frozen = threading.Lock()


def freeze() -> None:
    """Stop at the point instead of dying, with a limit that a test can wait for."""
    global _ending  # noqa: PLW0603
    _ending = signal.SIGSTOP

    sending.BEGIN_WITHIN_S = sending.AGAIN_WITHIN_S = FROZEN_LIMIT_S


def before_commit_of(is_it: IsStatement) -> None:
    _mark(is_it)

    @sa.event.listens_for(sa.Engine, "commit")
    def at_commit(connection: sa.Connection) -> None:
        if _marks.hit:
            die()


def after_commit_of(is_it: IsStatement) -> None:
    _mark(is_it)

    commit = DefaultDialect.do_commit

    def commit_and_die(dialect: DefaultDialect, connection: Any) -> None:
        commit(dialect, connection)
        if not _marks.hit:
            return
        if _ending == signal.SIGSTOP and dialect.name == "sqlite":
            _marks.is_committed = True
        else:
            die()

    DefaultDialect.do_commit = commit_and_die  # type: ignore[method-assign]
    flock = fcntl.flock

    def flock_and_die(file: int, operation: int) -> None:
        """To stop while it is our turn to write would keep all others from writing: that is F85."""
        flock(file, operation)
        if operation == fcntl.LOCK_UN and _marks.is_committed:
            die()

    fcntl.flock = flock_and_die


class _Marks(threading.local):
    hit = False
    has_result = False
    is_committed = False


_marks = _Marks()


@sa.event.listens_for(sa.Engine, "begin")
def at_begin(_connection: sa.Connection) -> None:
    _marks.has_result = False


def before(is_it: IsStatement) -> None:
    _mark(is_it, die)


def _mark(is_it: IsStatement, do: Callable[[], None] = lambda: None) -> None:
    """Remember, per thread, that the statement in question was run; `do` something before it."""

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def see(
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, _many: Any
    ) -> None:
        if is_it(statement, str(values)):
            _marks.hit = True
            do()


def before_writing_to(path: str) -> None:
    _remember_paths()
    send = Connection.send

    def send_or_die(self: Any, data: Any) -> None:
        if self.sock is not None and self.asked_path.endswith(path):
            die()
        send(self, data)

    Connection.send = send_or_die  # type: ignore[method-assign]


def after_connecting_for(path: str) -> None:
    _remember_paths()
    connect = urllib3.connection.HTTPConnection.connect

    def connect_and_die(self: Any) -> None:
        connect(self)
        if self.asked_path.endswith(path):
            die()

    urllib3.connection.HTTPConnection.connect = connect_and_die  # type: ignore[method-assign]


def around_answer_of(path: str, *, before: bool) -> None:
    _remember_paths()
    getresponse = Connection.getresponse

    def getresponse_or_die(self: Any) -> Any:
        is_it = self.asked_path.endswith(path)
        if is_it and before:
            die()
        response = getresponse(self)
        if is_it:
            die()
        return response

    Connection.getresponse = getresponse_or_die  # type: ignore[method-assign]


def _remember_paths() -> None:
    putrequest = Connection.putrequest

    def remember(self: Any, method: str, url: str, *args: Any, **options: Any) -> None:
        self.asked_path = url.partition("?")[0]
        putrequest(self, method, url, *args, **options)

    Connection.putrequest = remember  # type: ignore[method-assign]


POINTS: dict[str, Callable[[], None]] = {
    "before the claim's commit": lambda: before_commit_of(is_claim),
    "after the claim's commit": lambda: after_commit_of(is_claim),
    "connecting": lambda: after_connecting_for(SEND),
    "connected": lambda: before_writing_to(SEND),
    "written": lambda: around_answer_of(SEND, before=True),
    "answered": lambda: around_answer_of(SEND, before=False),
    "after the result's commit": lambda: after_commit_of(is_result),
    "between a result and the next claim": lambda: before(is_joint_claim),
    "before the commit of both": lambda: before_commit_of(is_joint_claim),
    "after the commit of both": lambda: after_commit_of(is_joint_claim),
    "before a piece's commit": lambda: before_commit_of(is_piece),
    "after a piece's commit": lambda: after_commit_of(is_piece),
    "before the last piece's commit": lambda: before_commit_of(is_last_piece),
    "after the last piece's commit": lambda: after_commit_of(is_last_piece),
    "before the list's commit": lambda: before_commit_of(is_list_taken),
    "after the list's commit": lambda: after_commit_of(is_list_taken),
    "before the alert's commit": lambda: before_commit_of(is_alert),
    "after the alert's commit": lambda: after_commit_of(is_alert),
    "before the turn's commit": lambda: before_commit_of(is_turn),
    "after the turn's commit": lambda: after_commit_of(is_turn),
    "before the mail": lambda: around_mail(before=True),
    "after the mail": lambda: around_mail(before=False),
    "before the telling's commit": lambda: before_commit_of(is_told),
    "after the telling's commit": lambda: after_commit_of(is_told),
    "refresh answered": lambda: around_answer_of(TOKEN, before=False),
}


if __name__ == "__main__":
    point, module, *sizes = sys.argv[1:]
    for size in sizes:
        fill.PIECE = int(size)
    if point.startswith(FREEZE):
        freeze()
    POINTS[point.removeprefix(FREEZE)]()
    importlib.import_module(module).main()
