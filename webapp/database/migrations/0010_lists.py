"""Lists: what a member uploaded, and batches whose messages are made from it.

Batches and messages of today keep their meaning: every batch has been filled since it was made. A
place in a batch is taken once from now on, so that messages can be made again and again.

Revision: 0010, after: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

IS_FILLING = sa.text("filled_at IS NULL AND list_id IS NOT NULL")
WAITS = sa.text("outcome IN ('held', 'queued')")
WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "lists",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(8), nullable=False),
        sa.Column("template_id", sa.String(32), nullable=True),
        *(
            sa.Column(name, sa.LargeBinary(), nullable=True)
            for name in ("name", "original", "content", "look", "mapping", "result", "plan")
        ),
        sa.Column("choices", sa.JSON(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.String(32), nullable=True),
        sa.Column("created_at", WHEN, nullable=False),
        sa.Column("touched_at", WHEN, nullable=False),
        sa.Column("deleted_at", WHEN, nullable=True),
        sa.ForeignKeyConstraint(["member_id"], ["members.id"], name="fk_lists_member_id_members"),
        sa.PrimaryKeyConstraint("id", name="pk_lists"),
    )
    op.create_index("ix_lists_member_id", "lists", ["member_id"])
    op.create_index("ix_lists_touched_at", "lists", ["touched_at"])
    for column in (
        sa.Column("total", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("filled_at", WHEN, nullable=True),
        sa.Column("wish", sa.String(8), nullable=False, server_default=sa.text("''")),
        sa.Column("list_id", sa.String(32), nullable=True),
        sa.Column("name", sa.LargeBinary(), nullable=True),
        sa.Column("template_id", sa.String(32), nullable=True),
        sa.Column("left_out", sa.LargeBinary(), nullable=True),
        sa.Column("left_out_counts", sa.JSON(), nullable=True),
    ):
        op.add_column("batches", column)
    op.add_column("messages", sa.Column("template_id", sa.String(32), nullable=True))
    op.execute(
        "UPDATE batches SET filled_at = created_at,"
        " total = (SELECT count(*) FROM messages WHERE batch_id = batches.id)"
    )
    _give_each_message_its_own_place()
    op.create_index(
        "ix_batches_filling",
        "batches",
        ["member_id"],
        sqlite_where=IS_FILLING,
        postgresql_where=IS_FILLING,
    )
    op.create_index(
        "uq_messages_batch_id_position", "messages", ["batch_id", "position"], unique=True
    )
    op.create_index(
        "ix_messages_waiting",
        "messages",
        ["batch_id", "position"],
        sqlite_where=WAITS,
        postgresql_where=WAITS,
    )


def downgrade() -> None:
    for name in ("ix_messages_waiting", "uq_messages_batch_id_position"):
        op.drop_index(name, table_name="messages")
    op.drop_index("ix_batches_filling", table_name="batches")
    op.drop_column("messages", "template_id")
    for name in (
        *("left_out_counts", "left_out", "template_id", "name"),
        *("list_id", "wish", "filled_at", "total"),
    ):
        op.drop_column("batches", name)
    op.drop_table("lists")


def _give_each_message_its_own_place() -> None:
    """Number the messages of a batch anew, in their order, where two have the same place. Nothing
    of ours wrote such rows."""
    connection = op.get_bind()
    twice = (
        "SELECT DISTINCT batch_id FROM messages WHERE batch_id IS NOT NULL"
        " GROUP BY batch_id, position HAVING count(*) > 1"
    )
    for (batch_id,) in connection.execute(sa.text(twice)).all():
        found = connection.execute(
            sa.text("SELECT id FROM messages WHERE batch_id = :batch ORDER BY position, id"),
            {"batch": batch_id},
        ).all()
        for place, (id_,) in enumerate(found):
            connection.execute(
                sa.text("UPDATE messages SET position = :place WHERE id = :id"),
                {"place": place, "id": id_},
            )
