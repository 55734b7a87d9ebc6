"""The cast: two invented companies, their people, extensions and contacts.

`w0` and `s0` exist in both companies, as they do in every real sipgate account, so that a client
that takes them for unique fails. Every number is in a block that the Bundesnetzagentur reserves for
fiction. `rest` decides who may do what.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

TEXT_SENDER = "sipgate"
"""Sender of an extension without a proven number of its own: a word, not a number."""

OPENING_BALANCE = 98_765_400
"""9,876.54 EUR in 1/10,000 EUR: enough for a load test, so that 402 comes only when asked for."""


@dataclass(slots=True)
class CallerId:
    """A sender that an extension may show. `verification_code` is None where none was sent."""

    id: int
    phonenumber: str
    verified: bool
    is_default: bool
    verification_code: str | None = None

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "phonenumber": self.phonenumber,
            "verified": self.verified,
            "defaultNumber": self.is_default,
        }


@dataclass(slots=True)
class Extension:
    """A Web SMS extension (`s0`) with its possible senders; exactly one of them is the default."""

    id: str
    alias: str
    caller_ids: list[CallerId]

    @property
    def sender(self) -> str:
        """What recipients see: a number in E.164, or the word `sipgate`."""
        return next(entry.phonenumber for entry in self.caller_ids if entry.is_default)

    def find(self, caller_id: int) -> CallerId | None:
        return next((entry for entry in self.caller_ids if entry.id == caller_id), None)

    def make_default(self, chosen: CallerId) -> None:
        for entry in self.caller_ids:
            entry.is_default = entry is chosen

    def to_json(self) -> dict[str, object]:
        return {"id": self.id, "alias": self.alias, "callerId": self.sender}


@dataclass(slots=True)
class Person:
    """A web user. `key` is a handle for tests and for the sign-in form; sipgate has none."""

    key: str
    account_id: str
    user_id: str
    firstname: str
    lastname: str
    email: str
    admin: bool | str
    """sipgate's specification says boolean, its own client says string: the cast has both."""
    extensions: list[Extension]
    personal_token: tuple[str, str] | None = None
    """Id and secret for HTTP Basic."""

    @property
    def name(self) -> str:
        return f"{self.firstname} {self.lastname}"

    @property
    def is_admin(self) -> bool:
        return self.admin in (True, "true")

    def extension(self, sms_id: object) -> Extension | None:
        return next((entry for entry in self.extensions if entry.id == sms_id), None)


@dataclass(frozen=True, slots=True)
class Contact:
    """An address book entry. `scope`: PRIVATE (of `owner`, a person's key), SHARED or INTERNAL."""

    name: str
    numbers: tuple[tuple[str, tuple[str, ...]], ...]
    """Numbers as people type them, each with its types (`cell`, `work`, …), possibly none."""
    scope: str
    emails: tuple[str, ...] = ()
    organization: tuple[tuple[str, ...], ...] = ()
    owner: str = ""
    id: str = field(default_factory=lambda: str(uuid4()))

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "picture": None,
            "emails": [{"email": email, "type": ["work"]} for email in self.emails],
            "numbers": [{"number": number, "type": list(types)} for number, types in self.numbers],
            "addresses": [],
            "organization": [list(unit) for unit in self.organization],
            "scope": self.scope,
        }


@dataclass(slots=True)
class Account:
    """A company. `id` is sipgate's `masterSipId`; `balance` is in 1/10,000 EUR."""

    id: str
    company: str
    people: list[Person]
    contacts: list[Contact]
    balance: int = OPENING_BALANCE

    def person(self, user_id: str) -> Person | None:
        return next((entry for entry in self.people if entry.user_id == user_id), None)

    def extension_ids(self) -> Iterator[str]:
        return (entry.id for person in self.people for entry in person.extensions)


def cast() -> list[Account]:
    """Both companies in their first state; new objects with every call."""
    return [_praxis(), _werkstatt()]


def _praxis() -> Account:
    anna = Person(
        "anna",
        "1234567",
        "w0",
        "Anna",
        "Sommer",
        "anna.sommer@praxis.example",
        True,
        [
            _extension("s0", "SMS of the practice", "+491713920090"),
            _extension("s1", "SMS of the reception"),
        ],
        ("token-AB12CD", "3f9d1c52-7a64-4c0e-9b1d-2e8f5a6c7d10"),
    )
    ben = Person(
        "ben",
        "1234567",
        "w1",
        "Ben",
        "Wagner",
        "ben.wagner@praxis.example",
        "false",
        [_extension("s2", "SMS of Ben Wagner")],
    )
    clara = Person("clara", "1234567", "w2", "Clara", "Neu", "clara.neu@praxis.example", False, [])
    return Account("1234567", "Praxis Dr. Sommer", [anna, ben, clara], _praxis_contacts())


def _werkstatt() -> Account:
    karl = Person(
        "karl",
        "7654321",
        "w0",
        "Karl",
        "Krause",
        "karl@krause.example",
        True,
        [_extension("s0", "SMS of the workshop")],
    )
    customer = Contact("Gerda Lang", (("+4917604069017", ("cell",)),), "SHARED")
    return Account("7654321", "Werkstatt Krause", [karl], [customer])


def _praxis_contacts() -> list[Contact]:
    """Numbers in several spellings, a landline, an entry without any number: as in real life."""
    return [
        Contact(
            "Emil Fischer", (("+491713920020", ("cell",)),), "SHARED", ("emil@fischer.example",)
        ),
        Contact("Frieda Großmann", (("0171 392 00 21", ("cell", "home")),), "SHARED"),
        Contact("Labor Nord", (("49 30 23125 123", ("work",)),), "SHARED", (), (("Labor Nord",),)),
        Contact(
            "Hans Ölmann", (("+4917604069002", ()), ("030 23125 456", ())), "PRIVATE", owner="anna"
        ),
        Contact("Ida Privat", (("+4917604069003", ("cell",)),), "PRIVATE", owner="ben"),
        Contact(
            "Clara Neu", (("+491713920091", ("cell",)),), "INTERNAL", ("clara.neu@praxis.example",)
        ),
        Contact("Nur E-Mail", (), "SHARED", ("nur@mail.example",)),
    ]


def _extension(sms_id: str, alias: str, number: str | None = None) -> Extension:
    senders = [CallerId(0, TEXT_SENDER, verified=True, is_default=number is None)]
    if number is not None:
        senders.append(CallerId(123456, number, verified=True, is_default=True))
    return Extension(sms_id, alias, senders)
