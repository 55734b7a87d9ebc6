"""The keys derived from SECRET_KEY: one for each purpose, so that none can stand in for another.

Stored values keep derivations of their own, because they are compared with what was stored long
ago: tokens (`database/types.py`, also HKDF), and the hashes of a form's content and the ids of a
test to oneself (`database/idempotency.py`, HMAC with a key that begins with the purpose).
"""

import base64
from enum import StrEnum
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Purpose(StrEnum):
    """What a key is for. Changing a value changes the key."""

    COOKIE = "session cookie"
    CSRF = "csrf token"
    SUBMISSION = "submission id"
    QUEUE = "queue"
    CONTACT = "contact id"


@lru_cache
def derived(secret_keys: tuple[str, ...], purpose: Purpose) -> tuple[str, ...]:
    """The keys for a purpose, in the order of SECRET_KEY: the first one signs."""

    def derive(key: str) -> str:
        info = f"team-sms {purpose}".encode()
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return base64.urlsafe_b64encode(hkdf.derive(key.encode())).decode()

    return tuple(derive(key) for key in secret_keys)


@lru_cache
def accepted(secret_keys: tuple[str, ...], purpose: Purpose) -> tuple[str, ...]:
    """The keys whose signatures are accepted, the one that signs first.

    Last come the bare secrets, with which versions before December 2026 signed everything. Nothing
    new is signed with them, and what they signed ends within 7 days, with its session. The release
    after 0.1.0 drops them.
    """
    return (*derived(secret_keys, purpose), *secret_keys)
