"""The list by message template.

Revision: 0011, after: 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

HAS_TEMPLATE = sa.text("template_id IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_messages_template",
        "messages",
        ["account_id", "template_id", "shown_at", "entry_id", "member_id"],
        sqlite_where=HAS_TEMPLATE,
        postgresql_where=HAS_TEMPLATE,
    )


def downgrade() -> None:
    op.drop_index("ix_messages_template", table_name="messages")
