"""The record that one can read: filtered by member and by kind, and when members were last here.

Revision: 0016, after: 0015
"""

import sqlalchemy as sa
from alembic import op

from webapp.database import UTCDateTime

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_events_member_id_at", "events", ["member_id", "at"])
    op.create_index("ix_events_account_id_kind_at", "events", ["account_id", "kind", "at"])
    op.add_column("members", sa.Column("last_seen_at", UTCDateTime(), nullable=True))
    # What is known of before: a session that is still there, or else the last thing they did.
    op.execute(
        "UPDATE members SET last_seen_at = ("
        "SELECT max(at) FROM (SELECT max(at) AS at FROM events WHERE member_id = members.id"
        " UNION ALL SELECT max(last_seen_at) FROM sessions WHERE member_id = members.id) AS seen)"
    )


def downgrade() -> None:
    op.drop_column("members", "last_seen_at")
    op.drop_index("ix_events_account_id_kind_at", table_name="events")
    op.drop_index("ix_events_member_id_at", table_name="events")
