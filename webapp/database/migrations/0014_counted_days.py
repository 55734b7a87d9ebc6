"""The messages of ended days, counted for the overview.

Revision: 0014, after: 0013

Nothing is counted here: the worker counts the days of before within minutes, and until then the
overview counts the messages themselves.
"""

import sqlalchemy as sa
from alembic import op

from webapp.database import UTCDateTime, triggers

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    bounds = (("until", UTCDateTime()), ("since", UTCDateTime()))
    op.create_table(
        "counted_days",
        sa.Column("account_id", sa.String(64), primary_key=True),
        *(sa.Column(name, kind, primary_key=True) for name, kind in bounds),
    )
    op.create_table(
        "day_counts",
        sa.Column("account_id", sa.String(64), primary_key=True),
        sa.Column("member_id", sa.Integer(), primary_key=True, autoincrement=False),
        *(sa.Column(name, kind, primary_key=True) for name, kind in bounds),
        sa.Column("counts", sa.JSON(), nullable=False),
    )
    triggers.install(op.get_bind())


def downgrade() -> None:
    triggers.remove(op.get_bind())
    op.drop_table("day_counts")
    op.drop_table("counted_days")
