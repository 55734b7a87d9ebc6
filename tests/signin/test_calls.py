"""What becomes of a call in a member's name: the one refresh, and each way to fail."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import sqlalchemy as sa
from flask import Flask

from webapp.database import db
from webapp.database.audit import AlarmKind, alarms
from webapp.rules.outcomes import Outcome, Reason
from webapp.signin import Result, SignInEnded, alarm_admins, outcome_of, with_one_refresh
from webapp.sipgate import Authorization, OutcomeUnknown, Refused, Unauthorized, Unreachable
from webapp.sipgate.login import LoginUnavailable

OLD, NEW = Authorization("Bearer old"), Authorization("Bearer new")
DATABASE_GONE = sa.exc.OperationalError("SELECT", {}, ConnectionError())
Step = Authorization | Exception


def happen(step: Step) -> Authorization:
    if isinstance(step, Exception):
        raise step
    return step


@dataclass
class OwnCredentials:
    """Credentials of which each step gives what the test says."""

    first: Step = OLD
    second: Step = NEW
    at_end: Exception | None = None
    refused: list[Authorization] = field(default_factory=list)
    has_ended: bool = False

    def current(self) -> Authorization:
        return happen(self.first)

    def renewed(self, refused: Authorization) -> Authorization:
        self.refused.append(refused)
        return happen(self.second)

    def end(self) -> None:
        self.has_ended = True
        if self.at_end:
            raise self.at_end


@dataclass
class Calls:
    """A call that ends as the test says, one answer after the other."""

    answers: list[Exception | Outcome | None]
    made_with: list[Authorization] = field(default_factory=list)

    def __call__(self, authorization: Authorization) -> Outcome | None:
        self.made_with.append(authorization)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_call_that_is_taken_is_made_once() -> None:
    credentials, call = OwnCredentials(), Calls([None])
    assert outcome_of(credentials, call) == Result(Outcome.ACCEPTED)
    assert call.made_with == [OLD]
    assert outcome_of(credentials, Calls([Outcome.SCHEDULED])) == Result(Outcome.SCHEDULED)


def test_after_a_401_the_second_call_is_made_with_the_renewed_token() -> None:
    credentials, first, second = OwnCredentials(), Calls([Unauthorized()]), Calls([None])
    assert outcome_of(credentials, first, again=second) == Result(Outcome.ACCEPTED)
    assert (first.made_with, second.made_with) == ([OLD], [NEW])
    assert credentials.refused == [OLD]
    assert not credentials.has_ended


FAILURES: dict[str, tuple[Exception, Result]] = {
    "unreachable": (
        Unreachable(Reason.UNTRUSTED),
        Result(Outcome.NOT_SENT, Reason.UNTRUSTED),
    ),
    "unknown": (
        OutcomeUnknown(Reason.SERVER_ERROR),
        Result(Outcome.UNKNOWN, Reason.SERVER_ERROR),
    ),
    "refused": (
        Refused(Reason.BALANCE, 402, "empty"),
        Result(Outcome.REFUSED, Reason.BALANCE, "empty"),
    ),
    "database": (DATABASE_GONE, Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY)),
}


@pytest.mark.parametrize(("error", "result"), FAILURES.values(), ids=FAILURES)
@pytest.mark.parametrize("is_second", [False, True])
def test_each_way_to_fail_has_one_meaning_and_is_not_tried_again(
    app: Flask, error: Exception, result: Result, is_second: bool
) -> None:
    call = Calls([Unauthorized(), error] if is_second else [error])
    with app.app_context():
        assert outcome_of(OwnCredentials(), call) == result
    assert call.answers == []
    assert len(call.made_with) == (2 if is_second else 1)


CREDENTIALS: dict[str, tuple[Callable[[], OwnCredentials], Result, int]] = {
    "ended before": (
        lambda: OwnCredentials(first=SignInEnded()),
        Result(Outcome.NOT_SENT, Reason.SIGN_IN_ENDED),
        0,
    ),
    "ended at the refresh": (
        lambda: OwnCredentials(second=SignInEnded()),
        Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED),
        1,
    ),
    "login server away before": (
        lambda: OwnCredentials(first=LoginUnavailable()),
        Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY),
        0,
    ),
    "login server away at the refresh": (
        lambda: OwnCredentials(second=LoginUnavailable()),
        Result(Outcome.NOT_SENT, Reason.LOGIN_AWAY),
        1,
    ),
    "database away before": (
        lambda: OwnCredentials(first=DATABASE_GONE),
        Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY),
        0,
    ),
    "database away at the refresh": (
        lambda: OwnCredentials(second=DATABASE_GONE),
        Result(Outcome.NOT_SENT, Reason.DATABASE_AWAY),
        1,
    ),
}


@pytest.mark.parametrize(("made", "result", "calls"), CREDENTIALS.values(), ids=CREDENTIALS)
def test_without_a_token_nothing_more_is_asked_and_no_sign_in_ends(
    app: Flask, made: Callable[[], OwnCredentials], result: Result, calls: int
) -> None:
    credentials, call = made(), Calls([Unauthorized()])
    with app.app_context():
        assert outcome_of(credentials, call) == result
    assert len(call.made_with) == calls
    assert not credentials.has_ended


@pytest.mark.parametrize("at_end", [None, DATABASE_GONE], ids=["saved", "database away"])
def test_401_after_the_refresh_ends_the_sign_in_and_nothing_is_asked_a_third_time(
    at_end: Exception | None,
) -> None:
    credentials = OwnCredentials(at_end=at_end)
    call = Calls([Unauthorized(), Unauthorized()])
    assert outcome_of(credentials, call) == Result(Outcome.REFUSED, Reason.SIGN_IN_ENDED)
    assert credentials.has_ended
    assert call.made_with == [OLD, NEW]


def test_whoever_only_reads_learns_that_the_sign_in_has_ended() -> None:
    for credentials, was_called in (
        (OwnCredentials(first=SignInEnded()), False),
        (OwnCredentials(second=SignInEnded()), True),
        (OwnCredentials(), True),
    ):
        with pytest.raises(SignInEnded) as ended:
            with_one_refresh(credentials, Calls([Unauthorized(), Unauthorized()]))
        assert ended.value.had_called == was_called


def test_an_alarm_is_kept_and_one_that_cannot_be_kept_is_no_failure(app: Flask) -> None:
    with app.app_context():
        alarm_admins(Result(Outcome.NOT_SENT, Reason.UNREACHABLE))
        assert alarms() == []
        alarm_admins(Result(Outcome.NOT_SENT, Reason.UNTRUSTED))
        assert alarms() == [AlarmKind.UNTRUSTED]
        sa.event.listen(db.engine, "before_cursor_execute", fail)
        alarm_admins(Result(Outcome.UNKNOWN, Reason.REDIRECTED))


def fail(*_: object) -> None:
    raise DATABASE_GONE
