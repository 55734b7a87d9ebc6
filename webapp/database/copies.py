"""What tells a copy of a SQLite file from its original.

The row `installation.mark` says in which file the database lives, and counts every write; a file
beside the database repeats the count. A copy is another file, so it finds out by itself. An old
copy that was written over the original is behind the count beside it. Where that file is missing or
unreadable it says nothing, and is written anew.
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
    """Which database it is, in which file (0 where its birth is not told), and how often it was
    written."""

    name: str
    inode: int
    birth_ns: int
    count: int

    def __str__(self) -> str:
        return f"{self.name}-{self.inode:016x}-{self.birth_ns:016x}-{self.count:016d}"


def new_mark(database: str) -> Mark:
    """For a database that begins here, or is said to be the one that counts."""
    return Mark(secrets.token_hex(4), os.stat(database).st_ino, _birth_ns(database), 0)


def read_mark(text: str) -> Mark | None:
    found = _MARK.match(text)
    if found is None:
        return None
    name, inode, birth_ns, count = found.groups()
    return Mark(name, int(inode, 16), int(birth_ns, 16), int(count))


def is_copy(params: str, database: str) -> bool:
    """Whether this file is not the one that its row (`said`) describes, or is older than it was."""
    mark, beside = read_mark(params), _read_beside(database)
    if mark is None:
        # A database from before there were marks has none beside it, unless it came back.
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
    """Count a write, in its own transaction; returns the mark to repeat once it is committed."""
    return connection.exec_driver_sql(_COUNT_ON).scalar()


def repeat(mark: str, database: str) -> None:
    """Write the mark beside the database, after its commit: the row is never behind it.

    Not waited for: after a power cut it may be older than the row, which is no sign of a copy. It
    never goes back: a file put back under a running process is found out at the next start.
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
    """When a file was made, which no copy repeats; 0 where nobody tells.

    Python has no `statx`. An inode's number alone is often the same on two new disks.
    """
    try:
        statx = ctypes.CDLL(None).statx
    except (AttributeError, OSError):
        return int(getattr(os.stat(path), "st_birthtime", 0) * 1_000_000_000)
    told = ctypes.create_string_buffer(256)
    if statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, told) != 0:
        return 0
    (mask,) = struct.unpack_from("I", told, 0)
    seconds, nanoseconds = struct.unpack_from("qI", told, 80)
    return seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0
