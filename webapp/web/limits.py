"""How often somebody may send: one count for whatever sends, or makes what is sent."""

from webapp.config import settings
from webapp.web import guard
from webapp.web.security import limiter

counts_as_send = limiter.shared_limit(
    lambda: settings.rate_limits.get("send", ""),  # empty: no limit
    scope="send",
    key_func=guard.rate_key,
)
"""Marks a view. All that are marked share the limit `send` of RATE_LIMITS."""
