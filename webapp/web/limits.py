"""How often somebody may do something. A marked view answers 429 where that was too often."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from flask import request
from werkzeug.exceptions import TooManyRequests

from webapp.config import settings
from webapp.database import limits
from webapp.database.limits import Limit, TooOften
from webapp.web import guard

View = TypeVar("View", bound=Callable[..., Any])


def counts_as_send(view: View) -> View:
    """Marks a view. All that are marked share the limit `send` of RATE_LIMITS."""
    return _counts(view, lambda: _require_room("send", guard.rate_key()))


def counts_as_list(view: View) -> View:
    """Marks the view that takes lists: the limit `list`."""
    return _counts(view, lambda: _require_room("list", guard.rate_key()))


def counts_as_reading(per_member: str) -> Callable[[View], View]:
    """Marks a view that reads contacts again; without limits, there is none here."""

    def check() -> None:
        if settings.rate_limits:
            _let_in("contacts", guard.rate_key(), per_member)

    return lambda view: _counts(view, check)


def require_room_to_sign_in() -> None:
    """One more sign-in from this address; raises 429."""
    _require_room("login", request.remote_addr or "")


def _require_room(kind: str, who: str) -> None:
    limit = settings.rate_limits.get(kind)
    if limit:
        _let_in(kind, who, limit)


def _let_in(kind: str, who: str, limit: str) -> None:
    try:
        limits.let_in(kind, who, Limit.parse(limit))
    except TooOften as refused:
        raise TooManyRequests(retry_after=math.ceil(refused.seconds)) from None


def _counts(view: View, check: Callable[[], None]) -> View:
    @functools.wraps(view)
    def counted(*args: Any, **kwargs: Any) -> Any:
        check()
        return view(*args, **kwargs)

    return counted  # type: ignore[return-value]
