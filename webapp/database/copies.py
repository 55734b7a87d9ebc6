"""How a copy of a SQLite file is told from its original.

The row `installation.mark` names the file in which the database lives, and counts every write; a
file beside the database repeats the mark. A copy is another file than its row says. An old copy
written over the original is behind the count beside it. If the file with the mark is missing or
unreadable, it proves nothing and is written anew.
"""

import ctypes
import logging
import os
import re
import secrets
import struct
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

log = logging.getLogger(__name__)

SUFFIX = "mark"
_MARK = re.compile(r"([0-9a-f]{8})-([0-9a-f]{16})-([0-9a-f]{16})-([0-9]{16})")
_COUNT_FROM = 43
"""Where the count begins in a mark."""
# A copy's own writes must not move on the count that shows that it is one.
_COUNT_ON = (
    f"UPDATE installation SET mark = substr(mark, 1, {_COUNT_FROM})"  # noqa: S608 (a number)
    f" || printf('%016d', substr(mark, {_COUNT_FROM + 1}) + 1)"
    " WHERE id = 1 AND mark <> '' AND hold_reason NOT IN ('moved', 'backup') RETURNING mark"
)
_AT_FDCWD, _STATX_BTIME = -100, 0x800


@dataclass(frozen=True, slots=True)
class Mark:
    """Which database it is, in which file, and how often it was written. `birth_ns` is 0 on file
    systems that do not store it."""

    name: str
    inode: int
    birth_ns: int
    count: int

    def __str__(self) -> str:
        return f"{self.name}-{self.inode:016x}-{self.birth_ns:016x}-{self.count:016d}"


def new_mark(database: str) -> Mark:
    """For a new database, and for one that was released from hold."""
    return Mark(secrets.token_hex(4), os.stat(database).st_ino, _birth_ns(database), 0)


def read_mark(text: str) -> Mark | None:
    found = _MARK.match(text)
    if found is None:
        return None
    name, inode, birth_ns, count = found.groups()
    return Mark(name, int(inode, 16), int(birth_ns, 16), int(count))


def is_copy(stored: str, database: str) -> bool:
    """Whether the file is not the one that `stored`, the mark in its row, describes, or is an older
    state of it."""
    mark, beside = read_mark(stored), _read_beside(database)
    if mark is None:
        # Made by a version without marks. One beside it means that it was put back since.
        return beside is not None
    birth_ns = _birth_ns(database)
    is_reborn = bool(mark.birth_ns and birth_ns) and mark.birth_ns != birth_ns
    if is_reborn or mark.inode != os.stat(database).st_ino:
        return True
    return beside is not None and (beside.name != mark.name or beside.count > mark.count)


def changes(connection: sa.Connection) -> int:
    """How many rows this connection has changed so far."""
    driver: Any = connection.connection.driver_connection
    return int(driver.total_changes)


def count_on(connection: sa.Connection) -> str | None:
    """Count a write in the transaction that makes it; returns the mark to `repeat` after commit."""
    driver: Any = connection.connection.driver_connection
    found = driver.execute(_COUNT_ON).fetchone()
    return str(found[0]) if found else None


def repeat(mark: str, database: str) -> None:
    """Write the mark beside the database, after the commit: the row is never behind it.

    Without fsync: after a power cut the file may be older than the row, which does not count as a
    copy. The count in it never decreases, so a database put back under a running process is noticed
    at the next start.
    """
    try:
        beside = os.open(f"{database}.{SUFFIX}", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            known = os.pread(beside, len(mark), 0).decode("ascii", "replace")
            # Marks of one database differ in their counts alone, which have the same width.
            if known[:_COUNT_FROM] != mark[:_COUNT_FROM] or known < mark:
                os.pwrite(beside, mark.encode(), 0)
        finally:
            os.close(beside)
    except OSError as error:
        log.warning("the mark beside the database could not be written: %s", error.strerror)


def _read_beside(database: str) -> Mark | None:
    try:
        with open(f"{database}.{SUFFIX}", encoding="ascii", errors="replace") as beside:
            return read_mark(beside.read(100))
    except OSError:
        return None


def _birth_ns(path: str) -> int:
    """When a file was made, which differs in every copy; 0 if the system does not say.

    By `statx`, which Python lacks. The inode alone is not enough: two new disks often use the same.
    """
    try:
        statx = ctypes.CDLL(None).statx
    except (AttributeError, OSError):
        return int(getattr(os.stat(path), "st_birthtime", 0) * 1_000_000_000)
    result = ctypes.create_string_buffer(256)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, result) != 0:
        return 0
    (mask,) = struct.unpack_from("I", result, 0)
    seconds, nanoseconds = struct.unpack_from("qI", result, 80)
    return seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0
