"""Where a message stands in the list: at which time, and in which entry. A batch is one entry.

Revision: 0009, after: 0008
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = webapp.database.UTCDateTime(timezone=True)
WHOSE = ("member_id", "account_id")
NEEDS_ATTENTION = sa.text(
    "done_at IS NULL AND (outcome IN ('unknown', 'paused', 'missed')"
    " OR outcome IN ('refused', 'not_sent')"
    " AND (batch_id IS NOT NULL OR send_at IS NOT NULL OR expected_at IS NOT NULL))"
)
HAS_REASON = sa.text("reason <> ''")
BEFORE = (
    ("member_id", "created_at", "id"),
    ("account_id", "created_at", "id"),
    ("member_id", "outcome", "created_at", "id"),
    ("account_id", "outcome", "created_at", "id"),
    ("account_id", "recipient", "created_at", "id"),
)
AFTER = (
    ("member_id", "created_at"),
    ("account_id", "recipient", "created_at"),
    ("member_id", "shown_at", "entry_id"),
    ("account_id", "shown_at", "entry_id"),
    ("member_id", "outcome", "shown_at", "entry_id"),
    ("account_id", "outcome", "shown_at", "entry_id"),
    ("account_id", "recipient", "shown_at", "entry_id"),
)
EXTENSION = ("account_id", "extension_id", "shown_at", "entry_id", "member_id")


def upgrade() -> None:
    drop(BEFORE)
    drop_partial("attention")
    op.add_column("messages", sa.Column("shown_at", TIME, nullable=True))
    op.add_column("messages", sa.Column("entry_id", sa.String(32), nullable=True))
    op.execute(
        "UPDATE messages SET shown_at = COALESCE(send_at, created_at),"
        " entry_id = COALESCE(batch_id, id)"
    )
    # The messages of a batch were each written at a time of their own, moments apart.
    op.execute(
        "UPDATE messages SET shown_at = own.shown_at FROM ("
        " SELECT batch_id, COALESCE(MIN(send_at), MIN(created_at)) AS shown_at FROM messages"
        " WHERE batch_id IS NOT NULL GROUP BY batch_id"
        ") AS own WHERE messages.batch_id = own.batch_id"
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.alter_column("shown_at", existing_type=TIME, nullable=False)
        batch_op.alter_column("entry_id", existing_type=sa.String(32), nullable=False)
    create(AFTER)
    op.create_index("ix_messages_extension", "messages", list(EXTENSION))
    create_partial("attention", ("shown_at", "entry_id"), NEEDS_ATTENTION)
    create_partial("reason", ("reason", "shown_at", "entry_id"), HAS_REASON)


def downgrade() -> None:
    drop(AFTER)
    op.drop_index("ix_messages_extension", table_name="messages")
    drop_partial("attention")
    drop_partial("reason")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_column("entry_id")
        batch_op.drop_column("shown_at")
    create(BEFORE)
    create_partial("attention", ("created_at", "id", "batch_id"), NEEDS_ATTENTION)


def create(indexes: tuple[tuple[str, ...], ...]) -> None:
    for columns in indexes:
        op.create_index(name_of(columns), "messages", list(columns))


def drop(indexes: tuple[tuple[str, ...], ...]) -> None:
    for columns in indexes:
        op.drop_index(name_of(columns), table_name="messages")


def name_of(columns: tuple[str, ...]) -> str:
    return "ix_messages_" + "_".join(columns)


def create_partial(kind: str, columns: tuple[str, ...], where: sa.TextClause) -> None:
    for whose in WHOSE:
        op.create_index(
            f"ix_messages_{kind}_{whose}",
            "messages",
            [whose, *columns],
            sqlite_where=where,
            postgresql_where=where,
        )


def drop_partial(kind: str) -> None:
    for whose in WHOSE:
        op.drop_index(f"ix_messages_{kind}_{whose}", table_name="messages")
