"""Contacts, message templates, one's own number; indexes for filters and for one number's page.

Revision: 0003, after: 0002
"""

import sqlalchemy as sa
from alembic import op

import webapp.database

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MESSAGE_INDEXES = (
    ("member_id", "outcome", "created_at", "id"),
    ("account_id", "outcome", "created_at", "id"),
    ("account_id", "recipient", "created_at", "id"),
)


def upgrade() -> None:
    op.create_table(
        "contacts",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("organization", sa.String(length=200), nullable=False),
        sa.Column("typed", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=16), nullable=True),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["member_id"], ["members.id"], name=op.f("fk_contacts_member_id_members")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contacts")),
    )
    op.create_index("ix_contacts_member_id_number", "contacts", ["member_id", "number"])
    op.create_index("ix_contacts_member_id_name", "contacts", ["member_id", "name"])
    op.create_table(
        "message_templates",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("changed_at", webapp.database.UTCDateTime(timezone=True), nullable=False),
        sa.Column("changed_by_id", sa.Integer(), nullable=False),
        sa.Column("deleted_at", webapp.database.UTCDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["changed_by_id"],
            ["members.id"],
            name=op.f("fk_message_templates_changed_by_id_members"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message_templates")),
    )
    op.create_index(
        "ix_message_templates_account_id_name", "message_templates", ["account_id", "name"]
    )
    op.add_column("members", sa.Column("own_number", sa.String(16), nullable=True))
    op.execute("UPDATE members SET own_number = ''")
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.alter_column("own_number", existing_type=sa.String(16), nullable=False)
    # Kept answers have a new shape now; they are asked for again.
    op.execute("DELETE FROM kept_answers")
    with op.batch_alter_table("kept_answers", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=sa.String(32), type_=sa.String(64))
    for columns in MESSAGE_INDEXES:
        op.create_index(f"ix_messages_{'_'.join(columns)}", "messages", list(columns))


def downgrade() -> None:
    for columns in MESSAGE_INDEXES:
        op.drop_index(f"ix_messages_{'_'.join(columns)}", "messages")
    op.execute("DELETE FROM kept_answers")
    with op.batch_alter_table("kept_answers", schema=None) as batch_op:
        batch_op.alter_column("kind", existing_type=sa.String(64), type_=sa.String(32))
    with op.batch_alter_table("members", schema=None) as batch_op:
        batch_op.drop_column("own_number")
    op.drop_table("message_templates")
    op.drop_table("contacts")
