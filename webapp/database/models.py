"""The tables, as models without behaviour.

Which room writes which table is checked by `tests/test_architecture.py`.
"""

import secrets
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column, relationship

from webapp.database import Encrypted, EncryptedBytes, EncryptedJson, UTCDateTime
from webapp.database.engine import alembic
from webapp.rules.outcomes import Outcome
from webapp.rules.times import now

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def new_id() -> str:
    """An id nobody can guess: 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)


GUESSES = "guesses:"
"""Prefix of `KeptAnswer.kind`: how many codes were tried for a number."""


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {
        datetime: UTCDateTime,
        dict[str, Any]: sa.JSON,
    }


class Member(Base, kw_only=True):
    """A person of a sipgate account. `sub` alone is not a person: every account has a `w0`."""

    __tablename__ = "members"
    __table_args__ = (sa.UniqueConstraint("account_id", "sub"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    sub: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(200))
    is_admin: Mapped[bool] = mapped_column(default=False)
    last_extension_id: Mapped[str | None] = mapped_column(sa.String(64), default=None)
    own_number: Mapped[str] = mapped_column(sa.String(16), default="")
    """Where a test to oneself goes (E.164); empty until the member has entered it."""
    last_seen_at: Mapped[datetime | None] = mapped_column(default=None)
    """When they last used the app in a browser, to the minute; None: never."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)


class SignIn(Base, kw_only=True):
    """A sign-in that was begun. The callback with its state takes it, once."""

    __tablename__ = "sign_ins"

    state_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    browser_hash: Mapped[str] = mapped_column(sa.String(64))
    verifier: Mapped[str] = mapped_column(Encrypted)
    next_path: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[datetime] = mapped_column(default_factory=now, index=True)


class TokenSet(Base, kw_only=True):
    """The tokens of one sign-in. `lease` admits one refresh at a time."""

    __tablename__ = "token_sets"

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), index=True)
    access_token: Mapped[str | None] = mapped_column(Encrypted)
    refresh_token: Mapped[str | None] = mapped_column(Encrypted)
    expires_at: Mapped[datetime]
    refresh_expires_at: Mapped[datetime | None] = mapped_column(default=None)
    scope: Mapped[str] = mapped_column(sa.Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    lease: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    lease_until: Mapped[datetime | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    refreshed_at: Mapped[datetime] = mapped_column(default_factory=now)
    leaving_at: Mapped[datetime | None] = mapped_column(default=None)
    """When its member signed out; it is revoked once the last message that needs it has gone."""


class BrowserSession(Base, kw_only=True):
    """A signed-in browser. The cookie holds the id, this row only its hash."""

    __tablename__ = "sessions"

    id_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), index=True)
    token_set_id: Mapped[int] = mapped_column(sa.ForeignKey("token_sets.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    last_seen_at: Mapped[datetime] = mapped_column(default_factory=now)
    checked_at: Mapped[datetime] = mapped_column(default_factory=now)
    public_id: Mapped[str] = mapped_column(sa.String(32), default_factory=new_id, index=True)
    device: Mapped[str] = mapped_column(sa.String(200), default="")
    member: Mapped[Member] = relationship(init=False, lazy="joined", innerjoin=True)


class KeptAnswer(Base, kw_only=True):
    """What sipgate last told us about a member, and when we last asked.

    `kind` is `extensions`, `balance`, `contacts` (the answer is in the table `contacts`), or
    `guesses:` and a hash of extension and caller ID (how many codes were tried).
    """

    __tablename__ = "kept_answers"

    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    fetched_at: Mapped[datetime | None] = mapped_column(default=None)
    asked_at: Mapped[datetime] = mapped_column(default_factory=now)


class Contact(Base, kw_only=True):
    """A number of a contact, as one member sees it at sipgate; all are replaced together."""

    __tablename__ = "contacts"
    __table_args__ = (
        sa.Index(None, "member_id", "number"),
        sa.Index(None, "member_id", "name"),
    )

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    """Made from its content, so that it is the same after the next reading."""
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    name: Mapped[str] = mapped_column(sa.String(200))
    organization: Mapped[str] = mapped_column(sa.String(200), default="")
    typed: Mapped[str] = mapped_column(sa.String(64))
    """The number as written at sipgate."""
    number: Mapped[str | None] = mapped_column(sa.String(16), default=None)
    """In E.164; None if nothing can be sent to it."""
    is_private: Mapped[bool] = mapped_column(default=False)


class MessageTemplate(Base, kw_only=True):
    """A text that an account's members start from. Deleted ones can be brought back for a while."""

    __tablename__ = "message_templates"
    __table_args__ = (sa.Index(None, "account_id", "name"),)

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(80))
    text: Mapped[str] = mapped_column(sa.Text)
    version: Mapped[int] = mapped_column(default=1)
    changed_at: Mapped[datetime] = mapped_column(default_factory=now)
    changed_by_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    changed_by: Mapped[Member] = relationship(init=False)


class Draft(Base, kw_only=True):
    """A form that could not be taken because its sign-in had ended; for its member alone."""

    __tablename__ = "drafts"

    submission: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), index=True)
    fields: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default_factory=now)


class Submission(Base, kw_only=True):
    """A form that was taken: its one-time id, a keyed hash of its content, and what it became.

    That is a message, a batch, or a request for the code of an own number, with its `outcome`.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        # The requests for a code, which count as texts of their day.
        sa.Index(
            None,
            "member_id",
            "created_at",
            sqlite_where=sa.text("outcome IS NOT NULL"),
            postgresql_where=sa.text("outcome IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    content_hash: Mapped[str] = mapped_column(sa.String(64))
    message_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("messages.id"), index=True, default=None
    )
    batch_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("batches.id"), index=True, default=None
    )
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    erased_at: Mapped[datetime | None] = mapped_column(default=None)
    """When its message was erased. The id stays, so that the form is not taken again."""
    outcome: Mapped[str | None] = mapped_column(sa.String(16), default=None)
    """Of a request for a code; None for a form that became messages, which have their own."""
    reason: Mapped[str | None] = mapped_column(sa.String(32), default=None)


class UploadedList(Base, kw_only=True):
    """A list of people that a member uploaded, until it is sent or 24 hours pass. Only its member
    sees it. Once it is deleted, the row stays for a while without anything of what it held.
    """

    __tablename__ = "lists"

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), index=True)
    source: Mapped[str] = mapped_column(sa.String(8))
    """`file`, `cells` or `group`."""
    template_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    name: Mapped[str | None] = mapped_column(Encrypted, default=None)
    original: Mapped[bytes | None] = mapped_column(EncryptedBytes, default=None, deferred=True)
    """What was uploaded, so that it can be read again differently; until page 2 is saved."""
    content: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """Columns and rows as read."""
    look: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """How it was read: format, character set, sheet, what is asked about."""
    mapping: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """What the member chose on page 2; None until then."""
    result: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """What the check found for each row; None until it was checked."""
    plan: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """What its batch sends to whom, from the moment it was taken."""
    choices: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    """Which rows are left out, on page 3; None: as preset."""
    version: Mapped[int] = mapped_column(default=1)
    batch_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    """The batch it became."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    touched_at: Mapped[datetime] = mapped_column(default_factory=now, index=True)
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)


class Group(Base, kw_only=True):
    """People that an account writes to again and again. Deleted ones can be brought back for a
    while."""

    __tablename__ = "groups"
    __table_args__ = (sa.Index(None, "account_id", "name"),)

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    name: Mapped[str] = mapped_column(sa.String(80))
    columns: Mapped[list[str]] = mapped_column(sa.JSON)
    """The names of what is known of its people, besides their numbers."""
    version: Mapped[int] = mapped_column(default=1)
    changed_at: Mapped[datetime] = mapped_column(default_factory=now)
    changed_by_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    used_at: Mapped[datetime] = mapped_column(default_factory=now)
    """When somebody last wrote to it, or made it."""
    deleted_at: Mapped[datetime | None] = mapped_column(default=None)
    changed_by: Mapped[Member] = relationship(init=False)


class GroupPerson(Base, kw_only=True):
    """A person of a group: a number (E.164), and what is known by the names of its columns."""

    __tablename__ = "group_people"

    group_id: Mapped[str] = mapped_column(sa.ForeignKey("groups.id"), primary_key=True)
    number: Mapped[str] = mapped_column(sa.String(16), primary_key=True, index=True)
    cells: Mapped[dict[str, Any]]


IS_FILLING = sa.text("filled_at IS NULL AND list_id IS NOT NULL")
"""Which batches' messages are still being made from a list. An index repeats this text exactly."""
IS_FILLED = sa.text("(filled_at IS NOT NULL OR list_id IS NULL)")


class Batch(Base, kw_only=True):
    """One submission to many recipients. Its messages carry the outcomes."""

    __tablename__ = "batches"
    __table_args__ = (
        sa.Index(
            "ix_batches_filling",
            "member_id",
            sqlite_where=IS_FILLING,
            postgresql_where=IS_FILLING,
        ),
    )

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"), index=True)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    active_at: Mapped[datetime] = mapped_column(default_factory=now)
    """When one of its messages was last claimed, or it was last resumed."""
    stop_reason: Mapped[str] = mapped_column(sa.String(32), default="")
    unknowns_in_a_row: Mapped[int] = mapped_column(default=0)
    is_open: Mapped[bool] = mapped_column(default=False)
    """Whether a first clear answer came; until then at most three messages are sent at once."""
    total: Mapped[int] = mapped_column(default=0, server_default="0")
    """How many messages it has, or will have once it is filled."""
    filled_at: Mapped[datetime | None] = mapped_column(default_factory=now)
    """When all its messages were there. A batch from a list waits for that."""
    wish: Mapped[str] = mapped_column(sa.String(8), default="", server_default=sa.text("''"))
    """A `FillWish`."""
    list_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    """The list it was made from."""
    name: Mapped[str | None] = mapped_column(Encrypted, default=None)
    """The list's name, which may name people; erased after 30 days."""
    template_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    left_out: Mapped[Any] = mapped_column(EncryptedJson, default=None, nullable=True, deferred=True)
    """Rows that were not sent: the row's number, the phone number as typed, and why; erased after 7
    days."""
    left_out_counts: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    """How many rows were left out, by reason."""
    rule: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    """Of reminders: how long before its appointment each goes."""
    member: Mapped[Member] = relationship(init=False)

    @property
    def is_filling(self) -> bool:
        """Whether its messages are still being made from a list."""
        return self.filled_at is None and self.list_id is not None


NEEDS_ATTENTION = sa.text(
    "done_at IS NULL AND (outcome IN ('unknown', 'paused', 'missed')"
    " OR outcome IN ('refused', 'not_sent')"
    " AND (batch_id IS NOT NULL OR send_at IS NOT NULL OR expected_at IS NOT NULL))"
)
"""Which messages need somebody: those that did not go, unless the page said so at the click. The
indexes repeat this text exactly: a database uses them only if it recognises the condition."""
HAS_REASON = sa.text("reason <> ''")
HAS_TEMPLATE = sa.text("template_id IS NOT NULL")
HAS_LIMIT = sa.text("not_after IS NOT NULL")


WAITS = sa.text("outcome IN ('held', 'queued')")
"""Which messages wait for the worker. An index repeats this text exactly."""


class Message(Base, kw_only=True):
    """One text to one recipient, and what became of it.

    A new one stands in the list at the time it is planned for, or else at that of its writing; the
    messages of a batch have these in common, so that they are one entry.
    """

    __tablename__ = "messages"
    __table_args__ = (
        sa.Index(None, "member_id", "created_at"),
        sa.Index(None, "account_id", "recipient", "created_at"),
        # The list, by what it is filtered by; the attention that somebody needs is below.
        sa.Index(None, "member_id", "shown_at", "entry_id"),
        sa.Index(None, "account_id", "shown_at", "entry_id"),
        sa.Index(None, "member_id", "outcome", "shown_at", "entry_id"),
        sa.Index(None, "account_id", "outcome", "shown_at", "entry_id"),
        sa.Index(None, "account_id", "recipient", "shown_at", "entry_id"),
        sa.Index(
            "ix_messages_extension",
            *("account_id", "extension_id", "shown_at", "entry_id", "member_id"),
        ),
        sa.Index(
            "ix_messages_template",
            *("account_id", "template_id", "shown_at", "entry_id", "member_id"),
            sqlite_where=HAS_TEMPLATE,
            postgresql_where=HAS_TEMPLATE,
        ),
        *(
            sa.Index(
                f"ix_messages_reason_{whose}",
                *(whose, "reason", "shown_at", "entry_id"),
                sqlite_where=HAS_REASON,
                postgresql_where=HAS_REASON,
            )
            for whose in ("member_id", "account_id")
        ),
        sa.Index(
            "ix_messages_not_after",
            *("account_id", "not_after"),
            sqlite_where=HAS_LIMIT,
            postgresql_where=HAS_LIMIT,
        ),
        sa.Index(None, "outcome", "sending_since"),
        sa.Index(None, "outcome", "due_at"),
        sa.Index(None, "outcome", "look_at"),
        sa.Index(None, "batch_id", "outcome", "position", "entry_id"),
        sa.Index("uq_messages_batch_id_position", "batch_id", "position", unique=True),
        sa.Index(
            "ix_messages_waiting",
            *("batch_id", "position"),
            sqlite_where=WAITS,
            postgresql_where=WAITS,
        ),
        *(
            sa.Index(
                f"ix_messages_attention_{whose}",
                *(whose, "shown_at", "entry_id"),
                sqlite_where=NEEDS_ATTENTION,
                postgresql_where=NEEDS_ATTENTION,
            )
            for whose in ("member_id", "account_id")
        ),
    )

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    member_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    account_id: Mapped[str] = mapped_column(sa.String(64))
    extension_id: Mapped[str] = mapped_column(sa.String(64))
    extension_alias: Mapped[str] = mapped_column(sa.String(200), default="")
    caller_id: Mapped[str] = mapped_column(sa.String(200), default="")
    recipient: Mapped[str] = mapped_column(sa.String(16))
    text: Mapped[str] = mapped_column(sa.Text)
    segment_count: Mapped[int]
    send_at: Mapped[datetime | None] = mapped_column(default=None)
    time_zone: Mapped[str] = mapped_column(sa.String(64), default="")
    outcome: Mapped[Outcome] = mapped_column(
        sa.Enum(
            Outcome,
            native_enum=False,
            length=16,
            values_callable=lambda kind: [member.value for member in kind],
        )
    )
    reason: Mapped[str] = mapped_column(sa.String(32), default="")
    detail: Mapped[str | None] = mapped_column(sa.Text, default=None)
    retry_at: Mapped[datetime | None] = mapped_column(default=None)
    attempt: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    sending_since: Mapped[datetime | None] = mapped_column(default=None)
    settled_at: Mapped[datetime | None] = mapped_column(default=None)
    settled_how: Mapped[str] = mapped_column(sa.String(16), default="")
    """Empty: by sipgate's answer; `history`: found in it; `person`: a member said so."""
    settled_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("members.id"), default=None)
    batch_id: Mapped[str | None] = mapped_column(sa.ForeignKey("batches.id"), default=None)
    position: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime | None] = mapped_column(default=None)
    """While it waits: when it may be claimed."""
    expected_at: Mapped[datetime | None] = mapped_column(default=None)
    """While it waits: the time from which lateness counts."""
    first_tried_at: Mapped[datetime | None] = mapped_column(default=None)
    tries: Mapped[int] = mapped_column(default=0)
    look_at: Mapped[datetime | None] = mapped_column(default=None)
    """While it is unknown: when to look in sipgate's history next."""
    looks: Mapped[int] = mapped_column(default=0)
    wish: Mapped[str] = mapped_column(sa.String(8), default="")
    """While it is `sending`: what becomes of it if sipgate provably takes nothing: `cancel` or
    `pause`. Empty: it waits and is tried again."""
    done_at: Mapped[datetime | None] = mapped_column(default=None)
    """When somebody marked a message that did not go as done; until then it needs attention."""
    done_by_id: Mapped[int | None] = mapped_column(sa.ForeignKey("members.id"), default=None)
    previous_id: Mapped[str | None] = mapped_column(
        sa.ForeignKey("messages.id"), index=True, default=None
    )
    template_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    """The message template that it was written from."""
    not_after: Mapped[datetime | None] = mapped_column(default=None)
    """The appointment that it reminds of: from then on it is not sent."""
    created_at: Mapped[datetime] = mapped_column(default_factory=now)
    shown_at: Mapped[datetime] = mapped_column(init=False)
    """Where it stands in the list: a message for now when it was taken, a planned one at its time,
    a batch's at that of the batch, until it alone gets another time."""
    entry_id: Mapped[str] = mapped_column(sa.String(32), init=False)
    """The entry of the list it belongs to: the id of its batch, or its own. A message of a batch
    that alone got another time is an entry of its own."""
    member: Mapped[Member] = relationship(init=False, foreign_keys=[member_id])
    settled_by: Mapped[Member | None] = relationship(init=False, foreign_keys=[settled_by_id])
    done_by: Mapped[Member | None] = relationship(init=False, foreign_keys=[done_by_id])

    def __post_init__(self) -> None:
        self.shown_at = self.send_at or self.created_at
        self.entry_id = self.batch_id or self.id


class CountedDay(Base, kw_only=True):
    """An ended day whose messages stand counted in `day_counts`. A trigger deletes the row in the
    transaction that changes one of them (`webapp/database/triggers.py`)."""

    __tablename__ = "counted_days"

    account_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    until: Mapped[datetime] = mapped_column(primary_key=True)
    """Exclusive. Before `since` in the key, so that nothing is found at once for today."""
    since: Mapped[datetime] = mapped_column(primary_key=True)


class DayCount(Base, kw_only=True):
    """How many messages of a day there are, by what: of a member, or of the whole account. It holds
    only while there is the row of `counted_days`."""

    __tablename__ = "day_counts"

    account_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    member_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """0: everybody's."""
    until: Mapped[datetime] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(primary_key=True)
    counts: Mapped[dict[str, Any]]


class BlockedNumber(Base, kw_only=True):
    """A number that wants no more texts from this account.

    Recognised by its hash, so that it stays blocked when the number itself was erased. The hash is
    keyed (`Installation.number_key`): all German mobile numbers could be tried in minutes.
    """

    __tablename__ = "blocked_numbers"
    __table_args__ = (
        sa.UniqueConstraint("account_id", "number_hash"),
        sa.Index(None, "account_id", "noted_at", "id"),
    )

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True, default_factory=new_id)
    account_id: Mapped[str] = mapped_column(sa.String(64))
    number_hash: Mapped[str] = mapped_column(sa.String(64))
    number: Mapped[str | None] = mapped_column(sa.String(16))
    """In E.164; None once it was erased."""
    how: Mapped[str] = mapped_column(sa.String(16))
    noted_by_id: Mapped[int] = mapped_column(sa.ForeignKey("members.id"))
    noted_at: Mapped[datetime] = mapped_column(default_factory=now)
    noted_by: Mapped[Member] = relationship(init=False)


class Slowdown(Base, kw_only=True):
    """sipgate asked this account to slow down; nothing is sent for it until then."""

    __tablename__ = "slowdowns"

    account_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    until: Mapped[datetime]


class RateCount(Base, kw_only=True):
    """How often somebody did something since they began to. `who` is a keyed hash of a member or
    an address."""

    __tablename__ = "rate_counts"

    kind: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    who: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    count: Mapped[int]
    ends_at: Mapped[datetime] = mapped_column(index=True)
    """When it is counted from one again."""


class Event(Base, kw_only=True):
    """The audit trail: who did what. Rows are only added; they hold no text and no number."""

    __tablename__ = "events"
    __table_args__ = (
        sa.Index(None, "account_id", "at"),
        sa.Index(None, "member_id", "at"),
        sa.Index(None, "account_id", "kind", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    at: Mapped[datetime] = mapped_column(default_factory=now)
    kind: Mapped[str] = mapped_column(sa.String(32))
    account_id: Mapped[str] = mapped_column(sa.String(64), default="")
    member_id: Mapped[int | None] = mapped_column(sa.ForeignKey("members.id"), default=None)
    message_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    batch_id: Mapped[str | None] = mapped_column(sa.String(32), default=None)
    note: Mapped[str] = mapped_column(sa.String(100), default="")


class Worker(Base, kw_only=True):
    """A worker process and its last heartbeat."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    beat_at: Mapped[datetime]


class Installation(Base, kw_only=True):
    """The one row that says where this database lives and whether sending is on hold."""

    __tablename__ = "installation"

    id: Mapped[int] = mapped_column(primary_key=True)
    home: Mapped[str] = mapped_column(sa.Text)
    mark: Mapped[str] = mapped_column(sa.String(64), default="")
    """Repeated in a file beside a SQLite database: a copy of the database alone does not match."""
    hold_reason: Mapped[str] = mapped_column(sa.String(32), default="")
    """Empty: not on hold."""
    held_at: Mapped[datetime | None] = mapped_column(default=None)
    number_key: Mapped[str] = mapped_column(sa.String(64), default="")
    """What numbers that want no more texts are hashed with. Not derived from SECRET_KEY: changing
    that would unblock everybody."""


class Alarm(Base, kw_only=True):
    """Something about the set-up that an admin must know; one row for each kind."""

    __tablename__ = "alarms"

    kind: Mapped[str] = mapped_column(sa.String(32), primary_key=True)
    last_at: Mapped[datetime]


class Alert(Base, kw_only=True):
    """An episode of something that needs somebody, and whether they were told. It holds no number,
    no name and no text."""

    __tablename__ = "alerts"
    __table_args__ = (sa.UniqueConstraint("kind", "about", "episode"),)

    id: Mapped[int] = mapped_column(primary_key=True, init=False)
    kind: Mapped[str] = mapped_column(sa.String(16))
    about: Mapped[str] = mapped_column(sa.String(32))
    """The id of the message, batch or member; empty for what concerns all."""
    episode: Mapped[int]
    """Counts how often this has begun: 1, 2, …"""
    mark: Mapped[str] = mapped_column(sa.String(64), default="")
    """What distinguishes one episode from the next, where the database knows it."""
    count: Mapped[int]
    """How many messages it concerned when it was noticed."""
    began_at: Mapped[datetime] = mapped_column(default_factory=now)
    ended_at: Mapped[datetime | None] = mapped_column(default=None)
    mailed_at: Mapped[datetime | None] = mapped_column(default=None)
    posted_at: Mapped[datetime | None] = mapped_column(default=None)


class AlertOutlet(Base, kw_only=True):
    """A way to tell of alerts that is set up, and how it fared."""

    __tablename__ = "alert_outlets"

    name: Mapped[str] = mapped_column(sa.String(16), primary_key=True)
    next_at: Mapped[datetime] = mapped_column(default_factory=now)
    """Before this it tells nothing: a quarter of an hour after it was last tried, or as long as it
    pauses after a failure."""
    told_at: Mapped[datetime | None] = mapped_column(default=None)
    failures: Mapped[int] = mapped_column(default=0)
    """How often it has failed in a row."""
    problem: Mapped[str] = mapped_column(sa.String(16), default="")


# What migrations are compared with.
alembic.metadatas = {"default": Base.metadata}
