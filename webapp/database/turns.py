"""The processes on one SQLite file write in turn, as the threads of each do.

A file beside the database says whose turn it is, by `flock`, which ends with its process; another
says who is next, so that a busy process cannot take turn after turn. Where the files cannot be had,
SQLite's own lock decides, which is as safe and less fair.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import sqlalchemy as sa

log = logging.getLogger(__name__)

FIRST_LOOK_S, LAST_LOOK_S = 0.0002, 0.005
"""How long somebody who waits sleeps between two looks: longer, the longer it takes."""


@contextmanager
def writers_turn(database: str, ends_at: float) -> Iterator[None]:
    """Raises SQLAlchemy's `TimeoutError` where the turn has not come at `ends_at` (monotonic)."""
    files = _files(database, os.getpid())
    if files is None:
        yield
        return
    files.next.take(ends_at)
    try:
        files.writing.take(ends_at)
    finally:
        files.next.give_back()
    try:
        yield
    finally:
        files.writing.give_back()


class _Lock:
    """A file that one process at a time has locked. A fork must open it anew: it would share it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def take(self, ends_at: float) -> None:
        wait_s = FIRST_LOOK_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > ends_at:
                    raise sa.exc.TimeoutError("another process is writing") from None
            time.sleep(wait_s)
            wait_s = min(wait_s * 1.2, LAST_LOOK_S)

    def give_back(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


class _Files:
    def __init__(self, database: str) -> None:
        self.writing = _Lock(f"{database}.writing")
        self.next = _Lock(f"{database}.next")


@lru_cache(maxsize=8)
def _files(database: str, _process: int) -> _Files | None:
    try:
        return _Files(database)
    except OSError as error:
        log.warning("the processes cannot write in turn: %s", error.strerror)
        return None
