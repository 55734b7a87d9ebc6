"""The database. From outside, import names from here, and models from `webapp.database.models`."""

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
    AWAY,
    COUNTS_WRITES,
    db,
    detached,
    forget,
    insert,
    may_have_committed,
    put,
    release,
    rows_changed,
    table,
    transaction,
)
from webapp.database.types import Encrypted, UTCDateTime

__all__ = [
    "AWAY",
    "COUNTS_WRITES",
    "Encrypted",
    "UTCDateTime",
    "alembic",
    "beside_database",
    "close_connections",
    "db",
    "detached",
    "forget",
    "insert",
    "is_reachable",
    "make_private",
    "may_have_committed",
    "migrating",
    "put",
    "release",
    "rows_changed",
    "setup_database",
    "table",
    "transaction",
]
