"""HTTP to sipgate: its REST API and its login server."""

from webapp.sipgate.client import SEND_DEADLINE_S, Authorization, Sipgate, client, setup_sipgate
from webapp.sipgate.records import (
    MAX_CONTACTS,
    AddressBook,
    Balance,
    CallerId,
    ContactEntry,
    Extension,
    HistoryEntry,
    Identity,
    Lack,
    Person,
    contact_entry,
    internal_entry,
)
from webapp.sipgate.responses import (
    MAX_RETRY_AFTER_S,
    OutcomeUnknown,
    Refused,
    SipgateError,
    Unauthorized,
    Unreachable,
)
from webapp.sipgate.transport import must_begin_by

__all__ = [
    "must_begin_by",
    "SEND_DEADLINE_S",
    "AddressBook",
    "Authorization",
    "Balance",
    "CallerId",
    "ContactEntry",
    "Extension",
    "HistoryEntry",
    "Identity",
    "Lack",
    "MAX_CONTACTS",
    "MAX_RETRY_AFTER_S",
    "OutcomeUnknown",
    "Person",
    "Refused",
    "Sipgate",
    "SipgateError",
    "Unauthorized",
    "Unreachable",
    "client",
    "contact_entry",
    "internal_entry",
    "setup_sipgate",
]
