"""Calls in somebody's name: what authorises them, the one refresh after a 401, and what came of it.

The only place that says what happens on a 401.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from webapp.database.audit import AlarmKind
from webapp.rules.outcomes import Outcome, Reason
from webapp.sipgate import Authorization, Unauthorized

T = TypeVar("T")


class SignInEnded(Exception):
    """The token set is gone for good; its member must sign in again."""


class Credentials(Protocol):
    """Something that can authorise calls for one person."""

    def current(self) -> Authorization:
        """An authorisation to try with; raises `SignInEnded` or `LoginAway`."""
        ...

    def renewed(self, refused: Authorization) -> Authorization:
        """Another one after a 401; raises the same."""
        ...

    def end(self) -> None:
        """sipgate takes none of it any more: whoever holds it must sign in again."""
        ...


def with_one_refresh(credentials: Credentials, call: Callable[[Authorization], T]) -> T:
    """Make a call, and once more with a renewed token after a 401.

    Raises `SignInEnded` (also when the renewed token is refused), `LoginAway`, or what `call` does.
    """
    authorization = credentials.current()
    try:
        return call(authorization)
    except Unauthorized:
        renewed = credentials.renewed(authorization)
    try:
        return call(renewed)
    except Unauthorized:
        credentials.end()
        raise SignInEnded from None


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A personal access token (command line only). It cannot be renewed."""

    token_id: str
    token: str

    def current(self) -> Authorization:
        return Authorization.personal(self.token_id, self.token)

    def renewed(self, refused: Authorization) -> Authorization:
        raise SignInEnded

    def end(self) -> None:
        """Only sipgate's console can end it."""

    def __repr__(self) -> str:
        return f"PersonalToken({self.token_id})"


ALARMS = {Reason.UNTRUSTED: AlarmKind.UNTRUSTED, Reason.REDIRECTED: AlarmKind.REDIRECTED}


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime | None = None

    @property
    def took_nothing(self) -> bool:
        """Whether it is as if nothing had been tried: what was wished meanwhile can be done."""
        not_now = self.reason in (Reason.SIGN_IN_ENDED, Reason.RATE_LIMITED)
        return self.outcome == Outcome.NOT_SENT or not_now
