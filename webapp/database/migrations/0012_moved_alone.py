"""A message of a batch that alone got another time is an entry of its own in the list.

Revision: 0012, after: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

BEFORE = ("batch_id", "outcome", "position")
AFTER = (*BEFORE, "entry_id")


def upgrade() -> None:
    op.create_index(name_of(AFTER), "messages", list(AFTER))
    op.drop_index(name_of(BEFORE), table_name="messages")


def downgrade() -> None:
    # Back to the entry of their batch, and to its time while others stand there.
    op.execute(
        "UPDATE messages SET entry_id = batch_id, shown_at = COALESCE((SELECT other.shown_at"
        " FROM messages AS other WHERE other.batch_id = messages.batch_id"
        " AND other.entry_id = other.batch_id LIMIT 1), shown_at)"
        " WHERE batch_id IS NOT NULL AND entry_id <> batch_id"
    )
    op.create_index(name_of(BEFORE), "messages", list(BEFORE))
    op.drop_index(name_of(AFTER), table_name="messages")


def name_of(columns: tuple[str, ...]) -> str:
    return "ix_messages_" + "_".join(columns)
