"""Who somebody is, and calls in their name."""

from webapp.signin.calls import (
    Credentials,
    PersonalToken,
    Result,
    SignInEnded,
    alarm_admins,
    outcome_of,
    with_one_refresh,
)

__all__ = [
    "Credentials",
    "PersonalToken",
    "Result",
    "SignInEnded",
    "alarm_admins",
    "outcome_of",
    "with_one_refresh",
]
