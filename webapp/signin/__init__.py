"""Who somebody is, and calls in their name."""

from webapp.signin.calls import (
    ALARMS,
    Credentials,
    PersonalToken,
    Result,
    SignInEnded,
    with_one_refresh,
)

__all__ = [
    "with_one_refresh",
    "ALARMS",
    "Credentials",
    "PersonalToken",
    "Result",
    "SignInEnded",
]
