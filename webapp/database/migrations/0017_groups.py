"""Groups: people that an account writes to again and again.

Revision: 0017, after: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

WHEN = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("account_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("columns", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", WHEN, nullable=False),
        sa.Column("changed_by_id", sa.Integer(), nullable=False),
        sa.Column("used_at", WHEN, nullable=False),
        sa.Column("deleted_at", WHEN, nullable=True),
        sa.ForeignKeyConstraint(
            ["changed_by_id"], ["members.id"], name="fk_groups_changed_by_id_members"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_groups"),
    )
    op.create_index("ix_groups_account_id_name", "groups", ["account_id", "name"])
    op.create_table(
        "group_people",
        sa.Column("group_id", sa.String(32), nullable=False),
        sa.Column("number", sa.String(16), nullable=False),
        sa.Column("cells", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name="fk_group_people_group_id_groups"
        ),
        sa.PrimaryKeyConstraint("group_id", "number", name="pk_group_people"),
    )
    op.create_index("ix_group_people_number", "group_people", ["number"])


def downgrade() -> None:
    op.drop_table("group_people")
    op.drop_table("groups")
