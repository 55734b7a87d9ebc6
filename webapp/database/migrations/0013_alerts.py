"""Alerts: what somebody is told of unasked, and the ways to tell.

Revision: 0013, after: 0012
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    moment = webapp.database.UTCDateTime(timezone=True)
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("about", sa.String(32), nullable=False),
        sa.Column("episode", sa.Integer(), nullable=False),
        sa.Column("mark", sa.String(64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("began_at", moment, nullable=False),
        sa.Column("ended_at", moment, nullable=True),
        sa.Column("mailed_at", moment, nullable=True),
        sa.Column("posted_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("kind", "about", "episode", name="uq_alerts_kind_about_episode"),
    )
    op.create_table(
        "alert_outlets",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("next_at", moment, nullable=False),
        sa.Column("told_at", moment, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_alert_outlets"),
    )


def downgrade() -> None:
    op.drop_table("alert_outlets")
    op.drop_table("alerts")
