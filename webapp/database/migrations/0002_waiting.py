"""Waiting messages, batches, workers, the record, the hold.

Revision: 0002, after: 0001
"""

import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


REQUIRED: dict[str, dict[str, sa.types.TypeEngine[Any]]] = {
    "messages": {
        "settled_how": sa.String(16),
        "position": sa.Integer(),
        "tries": sa.Integer(),
        "looks": sa.Integer(),
    },
    "sessions": {
        "checked_at": webapp.database.UTCDateTime(timezone=True),
        "public_id": sa.String(32),
        "device": sa.String(200),
    },
    "token_sets": {"refreshed_at": webapp.database.UTCDateTime(timezone=True)},
}


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("last_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_alarms")),
    )
    op.create_table(
        "installation",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("hold_reason", sa.String(length=32), nullable=False),
        sa.Column("held_at", webapp.database.UTCDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installation")),
    )
    op.create_table(
        "slowdowns",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("until", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_slowdowns")),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("beat_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.Column("active_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.Column("stop_reason", sa.String(length=32), nullable=False),
        sa.Column("unknowns_in_a_row", sa.Integer(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_batches_member_id_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_batches_member_id"), ["member_id"], unique=False)

    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=True),
        sa.Column("message_id", sa.String(length=32), nullable=True),
        sa.Column("batch_id", sa.String(length=32), nullable=True),
        sa.Column("note", sa.String(length=100), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_events_member_id_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_events_account_id_at"), ["account_id", "at"], unique=False
        )

    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.add_column(sa.Column("settled_how", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("settled_by_id", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("batch_id", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("position", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("due_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("expected_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("first_tried_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("tries", sa.Integer(), nullable=True))
        batch_op.add_column(
            sa.Column("look_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("looks", sa.Integer(), nullable=True))
        batch_op.create_index(
            batch_op.f("ix_messages_batch_id_outcome_position"),
            ["batch_id", "outcome", "position"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_messages_outcome_due_at"), ["outcome", "due_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_messages_outcome_look_at"), ["outcome", "look_at"], unique=False
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_messages_settled_by_id_members"), "members", ["settled_by_id"], ["id"]
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_messages_batch_id_batches"), "batches", ["batch_id"], ["id"]
        )

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("checked_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("public_id", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("device", sa.String(length=200), nullable=True))
        batch_op.create_index(batch_op.f("ix_sessions_public_id"), ["public_id"], unique=False)

    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("batch_id", sa.String(length=32), nullable=True))
        batch_op.alter_column("message_id", existing_type=sa.VARCHAR(length=32), nullable=True)
        batch_op.create_index(batch_op.f("ix_submissions_batch_id"), ["batch_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_submissions_batch_id_batches"), "batches", ["batch_id"], ["id"]
        )

    with op.batch_alter_table("token_sets", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("refreshed_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(
            sa.Column("leaving_at", webapp.database.UTCDateTime(timezone=True), nullable=True)
        )

    _fill_new_columns()


def _fill_new_columns() -> None:
    """Old rows get values that keep their meaning; only then may the columns be required."""
    op.execute("UPDATE messages SET settled_how = '', position = 0, tries = 0, looks = 0")
    op.execute("UPDATE sessions SET checked_at = created_at, device = ''")
    op.execute("UPDATE token_sets SET refreshed_at = created_at")
    rows = sa.table("sessions", sa.column("id_hash"), sa.column("public_id"))
    bind = op.get_bind()
    for id_hash in bind.execute(sa.select(rows.c.id_hash)).scalars().all():
        bind.execute(
            rows.update().where(rows.c.id_hash == id_hash).values(public_id=secrets.token_hex(16))
        )
    for table, columns in REQUIRED.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, kind in columns.items():
                batch_op.alter_column(name, existing_type=kind, nullable=False)


def downgrade() -> None:
    with op.batch_alter_table("token_sets", schema=None) as batch_op:
        batch_op.drop_column("leaving_at")
        batch_op.drop_column("refreshed_at")

    with op.batch_alter_table("submissions", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_submissions_batch_id_batches"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_submissions_batch_id"))
        batch_op.alter_column("message_id", existing_type=sa.VARCHAR(length=32), nullable=False)
        batch_op.drop_column("batch_id")

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sessions_public_id"))
        batch_op.drop_column("device")
        batch_op.drop_column("public_id")
        batch_op.drop_column("checked_at")

    with op.batch_alter_table("messages", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_messages_batch_id_batches"), type_="foreignkey")
        batch_op.drop_constraint(
            batch_op.f("fk_messages_settled_by_id_members"), type_="foreignkey"
        )
        batch_op.drop_index(batch_op.f("ix_messages_outcome_look_at"))
        batch_op.drop_index(batch_op.f("ix_messages_outcome_due_at"))
        batch_op.drop_index(batch_op.f("ix_messages_batch_id_outcome_position"))
        batch_op.drop_column("looks")
        batch_op.drop_column("look_at")
        batch_op.drop_column("tries")
        batch_op.drop_column("first_tried_at")
        batch_op.drop_column("expected_at")
        batch_op.drop_column("due_at")
        batch_op.drop_column("position")
        batch_op.drop_column("batch_id")
        batch_op.drop_column("settled_by_id")
        batch_op.drop_column("settled_how")

    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_events_account_id_at"))

    op.drop_table("events")
    with op.batch_alter_table("batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_batches_member_id"))

    op.drop_table("batches")
    op.drop_table("workers")
    op.drop_table("slowdowns")
    op.drop_table("installation")
    op.drop_table("alarms")
