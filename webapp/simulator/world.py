"""The world: everything the simulator knows, in one thread-safe object.

Tests, control routes and pages read and change it here; `rest` and `oauth` are its HTTP interface.
All times are seconds since the epoch, by `now()`.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from threading import Event, RLock
from typing import Any

from webapp.simulator.faults import Fault, FaultPlan, canonical
from webapp.simulator.grants import Client, Grant, Grants
from webapp.simulator.people import TEXT_SENDER, Account, CallerId, Extension, Person, cast
from webapp.simulator.pricing import price
from webapp.simulator.records import (
    USUAL_PAGING,
    Arrival,
    HistoryEntry,
    Paging,
    PhoneText,
    e164,
)

DEMO_CLIENT = Client(
    # With a colon and a realm suffix, as sipgate issues them.
    client_id="1234567-0-team-sms-demo:third-party",
    client_secret="simulator-secret",
    redirect_uris=tuple(
        f"http://{host}/auth/callback"
        for host in ("localhost:5000", "127.0.0.1:5000", "localhost", "127.0.0.1")
    ),
)


class World:
    """One simulated sipgate. `clock` returns seconds since the epoch and is the only one asked."""

    def __init__(
        self,
        *,
        client: Client = DEMO_CLIENT,
        clock: Callable[[], float] = time.time,
        realms: tuple[str, ...] = ("third-party",),
        balance: int | None = None,
        requires_pkce: bool = False,
    ) -> None:
        self.client = client
        self.requires_pkce = requires_pkce
        self.realms = realms
        self.lock = RLock()
        self.halt = Event()
        self._clock = clock
        self._balance = balance
        self._set_up()

    def _set_up(self) -> None:
        self._offset_s = 0.0
        self.accounts = {account.id: account for account in cast()}
        self.people = {
            person.key: person for account in self.accounts.values() for person in account.people
        }
        self.grants = Grants(self.now)
        self.faults = FaultPlan()
        self.calls: Counter[str] = Counter()
        self.history_delay_s = 0.0
        self.paging: Paging = USUAL_PAGING  # of the contacts
        self._arrivals: list[Arrival] = []
        self._texts: list[PhoneText] = []
        self.alerts: list[tuple[float, dict[str, str]]] = []
        """What the app's webhook told, if it leads here: when, and `title`, `message`, `url`."""
        self._history = [self._first_text(), self._first_call()]
        if self._balance is not None:
            for account in self.accounts.values():
                account.balance = self._balance

    def reset(self) -> None:
        """Back to the first state; requests that hang are cut off. Client and realms stay."""
        with self.lock:
            self.renew_halt()
            self._set_up()

    def renew_halt(self) -> None:
        """Cut off the requests that hang or wait; later ones may hang again."""
        self.halt.set()
        self.halt = Event()

    def allow_redirect(self, uri: str) -> None:
        """Register one more redirect URI of the client; it survives a reset."""
        self.client = replace(self.client, redirect_uris=(*self.client.redirect_uris, uri))

    # Time

    def now(self) -> float:
        return self._clock() + self._offset_s

    def advance(self, seconds: float) -> None:
        """Move this world's clock; scheduled texts that become due arrive."""
        self._offset_s += seconds

    # What arrived

    @property
    def arrivals(self) -> list[Arrival]:
        """Every POST to `/sessions/sms` since the last reset, oldest first."""
        with self.lock:
            return list(self._arrivals)

    def arrivals_for(self, recipient: str) -> list[Arrival]:
        """Those for one recipient, in whichever spelling either is written."""
        wanted = e164(recipient)
        return [arrival for arrival in self.arrivals if e164(arrival.recipient) == wanted]

    @property
    def phones(self) -> dict[str, list[PhoneText]]:
        """The texts that have arrived, oldest first, by recipient (E.164)."""
        phones: dict[str, list[PhoneText]] = {}
        for text in self._texts_where(lambda text: text.due_at <= self.now()):
            phones.setdefault(text.recipient, []).append(text)
        return phones

    @property
    def scheduled(self) -> list[PhoneText]:
        """Accepted texts that are not due yet, the next one first."""
        return self._texts_where(lambda text: text.due_at > self.now())

    def _texts_where(self, wanted: Callable[[PhoneText], bool]) -> list[PhoneText]:
        with self.lock:
            return sorted(filter(wanted, self._texts), key=lambda text: text.due_at)

    def record_arrival(
        self,
        person: Person | None,
        payload: dict[str, object],
        *,
        status: int | None,
        accepted: bool,
    ) -> None:
        send_at: Any = payload.get("sendAt")
        with self.lock:
            arrival = Arrival(
                number=len(self._arrivals) + 1,
                at=self.now(),
                person=person.key if person else "",
                sms_id=str(payload.get("smsId", "")),
                recipient=str(payload.get("recipient", "")),
                text=str(payload.get("message", "")),
                send_at=send_at,
                status=status,
                accepted=accepted,
            )
            self._arrivals.append(arrival)

    def accept(
        self, person: Person, extension: Extension, recipient: str, text: str, due_at: float | None
    ) -> bool:
        """Take a text for an E.164 recipient and charge for it; False: the balance is too low."""
        with self.lock:
            if not self.charge(person, price(text)):
                return False
            now = self.now()
            sender = extension.sender
            self._texts.append(
                PhoneText(recipient, sender, text, now, due_at or now, person.key, extension.id)
            )
            self._history.append(
                HistoryEntry(
                    person.account_id,
                    person.key,
                    "SMS",
                    "OUTGOING",
                    sender,
                    recipient,
                    extension.id,
                    now,
                    text,
                    due_at,
                )
            )
            return True

    def charge(self, person: Person, amount: int) -> bool:
        """Take `amount` (1/10,000 EUR) from the account; False and nothing taken if it is short."""
        with self.lock:
            account = self.account_of(person)
            if account.balance < amount:
                return False
            account.balance -= amount
            return True

    def add_caller_id(self, extension: Extension, phonenumber: str, code: str) -> None:
        """A new, unproven caller id, and the text that carries its verification code."""
        with self.lock:
            new_id = max(entry.id for entry in extension.caller_ids) + 1
            extension.caller_ids.append(CallerId(new_id, phonenumber, False, False, code))
            words, now = f"Your sipgate verification code is {code}", self.now()
            self._texts.append(PhoneText(phonenumber, TEXT_SENDER, words, now, now, "", ""))

    def history(self, account_id: str) -> list[HistoryEntry]:
        """The account's entries that show by now, newest first."""
        until = self.now() - self.history_delay_s
        with self.lock:
            entries = [entry for entry in self._history if entry.account_id == account_id]
        visible = [entry for entry in entries if entry.created_at <= until]
        return sorted(visible, key=lambda entry: entry.created_at, reverse=True)

    # Who is there

    def account_of(self, person: Person) -> Account:
        return self.accounts[person.account_id]

    def is_present(self, person: Person) -> bool:
        return person.key in self.people

    def by_personal_token(self, token_id: str, token: str) -> Person | None:
        people = self.people.values()
        return next((one for one in people if one.personal_token == (token_id, token)), None)

    # What tests do to it

    def fail_next(self, endpoint: str, fault: Fault, times: int = 1) -> None:
        self.faults.fail_next(endpoint, fault, times)

    def fail_from(self, endpoint: str, n: int, fault: Fault) -> None:
        self.faults.fail_from(endpoint, n, fault)

    def fail_always(self, endpoint: str, fault: Fault) -> None:
        self.faults.fail_always(endpoint, fault)

    def clear_faults(self) -> None:
        """No new faults; requests that hang go on hanging."""
        self.faults.clear()

    def count(self, endpoint: str) -> None:
        with self.lock:
            self.calls[canonical(endpoint)] += 1

    def expire_access_tokens(self) -> None:
        with self.lock:
            self.grants.expire(self.grants.access_tokens.values())

    def expire_refresh_tokens(self) -> None:
        with self.lock:
            self.grants.expire(self.grants.refresh_tokens.values())

    def end_sessions(self, person: str | None = None) -> None:
        """End the sign-ins of one person (a key) or of all: 401, and `invalid_grant` on refresh."""
        with self.lock:
            self.grants.end(self.people[person] if person else None)

    def sign_in(self, person: str, scope: str, issuer: str) -> str:
        """A fresh access token of a new grant."""
        with self.lock:
            grant = Grant(self.people[person], self.client.client_id, scope)
            return str(self.grants.issue(grant, scope, issuer)["access_token"])

    def remove_extension(self, person: str, sms_id: str) -> None:
        with self.lock:
            owner = self.people[person]
            owner.extensions = [one for one in owner.extensions if one.id != sms_id]

    def remove_person(self, person: str) -> None:
        """Delete a web user: every token of theirs is dead, and others find them no more."""
        with self.lock:
            self.end_sessions(person)
            gone = self.people.pop(person)
            self.account_of(gone).people.remove(gone)

    def set_balance(self, account_id: str, amount: int) -> None:
        """`amount` in 1/10,000 EUR."""
        with self.lock:
            self.accounts[account_id].balance = amount

    def set_caller_id(self, person: str, sms_id: str, phonenumber: str) -> None:
        """Make a proven number (or `sipgate`) what recipients of this extension see."""
        with self.lock:
            extension = self.people[person].extension(sms_id)
            if extension is None:
                raise KeyError(sms_id)
            known = [one for one in extension.caller_ids if one.phonenumber == phonenumber]
            if not known:
                new_id = max(one.id for one in extension.caller_ids) + 1
                known = [CallerId(new_id, phonenumber, True, False)]
                extension.caller_ids += known
            extension.make_default(known[0])

    # Two old events, so that a history is never empty and never only our own

    def _first_text(self) -> HistoryEntry:
        return HistoryEntry(
            "1234567",
            "anna",
            "SMS",
            "INCOMING",
            "+491713920020",
            "+491713920090",
            "s0",
            self.now() - 7200,
            "Thank you, I will be there at ten.",
        )

    def _first_call(self) -> HistoryEntry:
        at = self.now() - 3600
        return HistoryEntry(
            "1234567", "anna", "CALL", "INCOMING", "+493023125123", "+493023125000", "p0", at
        )
