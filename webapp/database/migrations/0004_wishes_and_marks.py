"""A wish that waits with a message, messages dealt with, forms whose message was erased, and the
mark by which a copy of the database is told from its original.

Revision: 0004, after: 0003
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TIME = webapp.database.UTCDateTime(timezone=True)


def upgrade() -> None:
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("wish", sa.String(8), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("done_at", TIME, nullable=True))
        batch_op.add_column(sa.Column("done_by_id", sa.Integer(), nullable=True))
        batch_op.create_foreign_key(
            op.f("fk_messages_done_by_id_members"), "members", ["done_by_id"], ["id"]
        )
    # What ended before this version asked for nobody's attention, and does not begin to now.
    op.execute(
        "UPDATE messages SET done_at = COALESCE(settled_at, created_at)"
        " WHERE outcome IN ('refused', 'not_sent')"
    )
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.alter_column("wish", existing_type=sa.String(8), server_default=None)
    op.add_column("submissions", sa.Column("erased_at", TIME, nullable=True))
    op.add_column(
        "installation", sa.Column("mark", sa.String(64), nullable=False, server_default="")
    )
    with op.batch_alter_table("installation", schema=None) as batch_op:
        batch_op.alter_column("mark", existing_type=sa.String(64), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("installation", schema=None) as batch_op:
        batch_op.drop_column("mark")
    # Without this column, a form whose message was erased could not be told from a new one.
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_column("erased_at")
    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("fk_messages_done_by_id_members"), type_="foreignkey")
        batch_op.drop_column("done_by_id")
        batch_op.drop_column("done_at")
        batch_op.drop_column("wish")
