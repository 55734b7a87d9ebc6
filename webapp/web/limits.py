"""How often somebody may send: one limit shared by all views that send or prepare a message."""

from webapp.config import settings
from webapp.web import guard
from webapp.web.security import limiter

counts_as_send = limiter.shared_limit(
    lambda: settings.rate_limits.get("send", ""),  # empty: no limit
    scope="send",
    key_func=guard.rate_key,
)
"""A decorator for views: all that have it share the limit `send` of RATE_LIMITS."""
