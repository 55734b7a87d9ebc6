"""Numbers that want no more texts, and the key they are hashed with (made at the next start).

Revision: 0008, after: 0007
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blocked_numbers",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("number_hash", sa.String(64), nullable=False),
        sa.Column("number", sa.String(16), nullable=True),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("noted_by_id", sa.Integer(), nullable=False),
        sa.Column("noted_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_blocked_numbers"),
        sa.ForeignKeyConstraint(
            ["noted_by_id"], ["members.id"], name="fk_blocked_numbers_noted_by_id_members"
        ),
        sa.UniqueConstraint(
            "account_id", "number_hash", name="uq_blocked_numbers_account_id_number_hash"
        ),
    )
    op.create_index(
        "ix_blocked_numbers_account_id_noted_at_id",
        "blocked_numbers",
        ["account_id", "noted_at", "id"],
    )
    op.add_column(
        "installation",
        sa.Column("number_key", sa.String(64), nullable=False, server_default=""),
    )
    with op.batch_alter_table("installation", schema=None) as batch_op:
        batch_op.alter_column("number_key", existing_type=sa.String(64), server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("installation", schema=None) as batch_op:
        batch_op.drop_column("number_key")
    op.drop_table("blocked_numbers")
