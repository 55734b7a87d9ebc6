"""Messages that have no meaning after a moment, such as reminders after their appointment.

Revision: 0015, after: 0014
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TIME = webapp.database.UTCDateTime(timezone=True)
HAS_LIMIT = sa.text("not_after IS NOT NULL")


def upgrade() -> None:
    op.add_column("batches", sa.Column("rule", sa.JSON, nullable=True))
    op.add_column("messages", sa.Column("not_after", TIME, nullable=True))
    op.create_index(
        "ix_messages_not_after",
        "messages",
        ["account_id", "not_after"],
        sqlite_where=HAS_LIMIT,
        postgresql_where=HAS_LIMIT,
    )


def downgrade() -> None:
    op.drop_index("ix_messages_not_after", table_name="messages")
    op.drop_column("messages", "not_after")
    op.drop_column("batches", "rule")
