"""The database: the room's door. Models are imported from `webapp.database.models`."""

from webapp.database.engine import (
    alembic,
    beside_database,
    close_connections,
    is_reachable,
    make_private,
    migrating,
    setup_database,
)
from webapp.database.session import (
    COUNTS_WRITES,
    DATABASE_ERRORS,
    commit_or_find,
    db,
    detached,
    end_read,
    insert,
    may_have_committed,
    rollback,
    rows_changed,
    table,
    transaction,
    upsert,
)
from webapp.database.types import Encrypted, UTCDateTime

__all__ = [
    "COUNTS_WRITES",
    "DATABASE_ERRORS",
    "Encrypted",
    "UTCDateTime",
    "alembic",
    "beside_database",
    "close_connections",
    "commit_or_find",
    "db",
    "detached",
    "end_read",
    "insert",
    "is_reachable",
    "make_private",
    "may_have_committed",
    "migrating",
    "rollback",
    "rows_changed",
    "setup_database",
    "table",
    "transaction",
    "upsert",
]
