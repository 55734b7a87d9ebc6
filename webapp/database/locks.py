"""Locks on a thing that has no row of its own, until the transaction ends.

On PostgreSQL they are advisory locks. SQLite needs none: it has one writer at a time anyway.
"""

import hashlib

import sqlalchemy as sa
from sqlalchemy.orm import Session


def share(session: Session | sa.Connection, thing: str) -> None:
    """Keep others from having it alone. Take it before any row's lock."""
    _lock(session, sa.func.pg_advisory_xact_lock_shared, thing)


def have_alone(session: Session, thing: str) -> None:
    """Wait until nobody shares it, and keep others from sharing it. Take it before any row's
    lock."""
    _lock(session, sa.func.pg_advisory_xact_lock, thing)


def _lock(
    session: Session | sa.Connection, function: sa.sql.functions._FunctionGenerator, thing: str
) -> None:
    bind = session.get_bind() if isinstance(session, Session) else session
    if bind.dialect.name == "postgresql":
        digest = hashlib.sha256(thing.encode()).digest()
        key = int.from_bytes(digest[:8], signed=True)
        session.execute(sa.select(function(sa.literal(key, sa.BigInteger))))
