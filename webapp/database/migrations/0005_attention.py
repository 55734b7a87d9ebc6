"""What needs somebody is counted on every page: from an index that holds nothing else.

Revision: 0005, after: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NEEDS_ATTENTION = sa.text(
    "done_at IS NULL AND (outcome IN ('unknown', 'paused', 'missed')"
    " OR outcome IN ('refused', 'not_sent')"
    " AND (batch_id IS NOT NULL OR send_at IS NOT NULL OR expected_at IS NOT NULL))"
)


def upgrade() -> None:
    for whose in ("member_id", "account_id"):
        op.create_index(
            f"ix_messages_attention_{whose}",
            "messages",
            [whose, "created_at", "id", "batch_id"],
            sqlite_where=NEEDS_ATTENTION,
            postgresql_where=NEEDS_ATTENTION,
        )


def downgrade() -> None:
    for whose in ("member_id", "account_id"):
        op.drop_index(f"ix_messages_attention_{whose}", table_name="messages")
