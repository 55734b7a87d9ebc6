"""Forms that asked for a code move from the kept answers to the used forms of all kinds.

Revision: 0006, after: 0005
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PREFIX = "sender:"
CUT_ID_CHARACTERS = 25
"""So much of a form's id the kept answers have; the app finds it by that, too."""
ASKED_FOR_A_CODE = sa.text("outcome IS NOT NULL")
INDEX = "ix_submissions_member_id_created_at"

TIME = webapp.database.UTCDateTime(timezone=True)
kept_answers = sa.table(
    "kept_answers",
    sa.column("member_id", sa.Integer()),
    sa.column("kind", sa.String()),
    sa.column("value", sa.JSON()),
    sa.column("asked_at", TIME),
)
submissions = sa.table(
    "submissions",
    sa.column("id", sa.String()),
    sa.column("member_id", sa.Integer()),
    sa.column("content_hash", sa.String()),
    sa.column("created_at", TIME),
    sa.column("outcome", sa.String()),
    sa.column("reason", sa.String()),
)


def upgrade() -> None:
    op.add_column("submissions", sa.Column("outcome", sa.String(16), nullable=True))
    op.add_column("submissions", sa.Column("reason", sa.String(32), nullable=True))
    op.create_index(
        INDEX,
        "submissions",
        ["member_id", "created_at"],
        sqlite_where=ASKED_FOR_A_CODE,
        postgresql_where=ASKED_FOR_A_CODE,
    )
    is_form = kept_answers.c.kind.startswith(PREFIX)
    kept = op.get_bind().execute(sa.select(kept_answers).where(is_form)).all()
    moved = [
        {
            "id": row.kind.removeprefix(PREFIX),
            "member_id": row.member_id,
            "content_hash": row.value["content"],
            "created_at": row.asked_at,
            "outcome": row.value["outcome"],
            "reason": row.value["reason"] or None,
        }
        for row in kept
    ]
    if moved:
        op.bulk_insert(submissions, moved)
    op.execute(sa.delete(kept_answers).where(is_form))


def downgrade() -> None:
    is_form = submissions.c.outcome.is_not(None)
    used = op.get_bind().execute(sa.select(submissions).where(is_form)).all()
    moved = [
        {
            "kind": f"{PREFIX}{row.id[:CUT_ID_CHARACTERS]}",
            "member_id": row.member_id,
            "value": {
                "content": row.content_hash,
                "outcome": row.outcome,
                "reason": row.reason or "",
            },
            "asked_at": row.created_at,
        }
        for row in used
    ]
    if moved:
        op.bulk_insert(kept_answers, moved)
    op.execute(sa.delete(submissions).where(is_form))
    op.drop_index(INDEX, table_name="submissions")
    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_column("reason")
        batch_op.drop_column("outcome")
