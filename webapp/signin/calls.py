"""Calls in a member's name: what happens on a 401, and what each way to fail means."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from webapp.database import DATABASE_ERRORS, rollback
from webapp.database.audit import AlarmKind, alarm
from webapp.rules.outcomes import Outcome, Reason
from webapp.rules.times import now
from webapp.sipgate import Authorization, OutcomeUnknown, Refused, Unauthorized, Unreachable
from webapp.sipgate.login import LoginUnavailable

log = logging.getLogger(__name__)

DEFAULT_RETRY_AFTER_S = 60
_ALARMS = {Reason.UNTRUSTED: AlarmKind.UNTRUSTED, Reason.REDIRECTED: AlarmKind.REDIRECTED}

T = TypeVar("T")


class SignInEnded(Exception):
    """The token set is gone for good; its member must sign in again.

    `had_called`: sipgate answered 401 to a call first. Nothing was done in either case.
    """

    def __init__(self, *, had_called: bool = False) -> None:
        self.had_called = had_called
        super().__init__()


class Credentials(Protocol):
    """Authorizes calls for one person."""

    def current(self) -> Authorization:
        """The authorization to try first. Raises `SignInEnded` or `LoginUnavailable`."""
        ...

    def renewed(self, refused: Authorization) -> Authorization:
        """Another one after a 401. Raises the same."""
        ...

    def end(self) -> None:
        """Mark them as dead: sipgate refused them right after a refresh."""
        ...


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
        """Does nothing: a personal access token is revoked in sipgate's console."""

    def __repr__(self) -> str:
        return f"PersonalToken({self.token_id})"


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    retry_at: datetime | None = None

    @property
    def took_nothing(self) -> bool:
        """Whether it is as if nothing had been tried: a wish made meanwhile can be granted."""
        not_now = self.reason in (Reason.SIGN_IN_ENDED, Reason.RATE_LIMITED)
        return self.outcome == Outcome.NOT_SENT or not_now


def with_one_refresh(
    credentials: Credentials,
    call: Callable[[Authorization], T],
    again: Callable[[Authorization], T] | None = None,
) -> T:
    """Make a call; after a 401 make it once more (or `again`, if given) with a renewed token.

    Raises `SignInEnded` (also if the renewed token is refused), `LoginUnavailable`, or what the
    call raises.
    """
    authorization = credentials.current()
    try:
        return call(authorization)
    except Unauthorized:
        pass
    try:
        return (again or call)(credentials.renewed(authorization))
    except SignInEnded:
        raise SignInEnded(had_called=True) from None
    except Unauthorized:
        # If this cannot be saved, the next call finds out again.
        with suppress(*DATABASE_ERRORS):
            credentials.end()
        raise SignInEnded(had_called=True) from None


def outcome_of(
    credentials: Credentials,
    call: Callable[[Authorization], Outcome | None],
    again: Callable[[Authorization], Outcome | None] | None = None,
) -> Result:
    """Make a call that changes something or costs money, as `with_one_refresh` does.

    Returns how it ended, whatever happened: the outcome that the call returned, or `accepted`.
    """
    try:
        return Result(with_one_refresh(credentials, call, again) or Outcome.ACCEPTED)
    except SignInEnded as ended:
        outcome = Outcome.REFUSED if ended.had_called else Outcome.NOT_SENT
        return Result(outcome, Reason.SIGN_IN_ENDED)
    except LoginUnavailable:
        return Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY)
    except Refused as refused:
        return Result(Outcome.REFUSED, refused.reason, refused.detail, _retry_at(refused))
    except Unreachable as error:
        return Result(Outcome.NOT_SENT, error.reason)
    except OutcomeUnknown as error:
        return Result(Outcome.UNKNOWN, error.reason)
    except DATABASE_ERRORS:
        # The database is used before a request or after a 401 only, so nothing was sent.
        rollback()
        return Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)


def alarm_admins(result: Result) -> None:
    """Tell the admins if the installation itself is to blame. A failing database is only logged."""
    if result.reason not in _ALARMS:
        return
    try:
        alarm(_ALARMS[result.reason])
    except DATABASE_ERRORS:
        log.exception("an alarm was not kept: %s", result.reason)


def _retry_at(refused: Refused) -> datetime | None:
    if refused.reason != Reason.RATE_LIMITED:
        return None
    wait_s = refused.retry_after_s
    return now() + timedelta(seconds=DEFAULT_RETRY_AFTER_S if wait_s is None else wait_s)
