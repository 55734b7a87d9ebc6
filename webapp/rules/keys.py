"""The keys made from SECRET_KEY: one for each purpose, so that none can stand in for another.

Three things keep derivations of their own, because they are at rest: tokens (`database.Encrypted`,
also by HKDF), and the hashes of a form's content and the ids of a test to oneself (`submissions`,
HMAC with a key that begins with its purpose). They are compared with what was stored long ago.
"""

import base64
from enum import StrEnum
from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Purpose(StrEnum):
    """What a key is for. The value goes into the key: to change it is to change the key."""

    COOKIE = "session cookie"
    CSRF = "csrf token"
    SUBMISSION = "submission id"
    QUEUE = "queue"
    CONTACT = "contact id"
    RATE = "rate count"


@lru_cache
def derived(secret_keys: tuple[str, ...], purpose: Purpose) -> tuple[str, ...]:
    """The keys for a purpose, in the order of SECRET_KEY: the newest, which signs, first."""

    def derive(key: str) -> str:
        info = f"team-sms {purpose}".encode()
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
        return base64.urlsafe_b64encode(hkdf.derive(key.encode())).decode()

    return tuple(derive(key) for key in secret_keys)


@lru_cache
def accepted(secret_keys: tuple[str, ...], purpose: Purpose) -> tuple[str, ...]:
    """The keys that may have signed what comes back, the one that signs now first.

    Last come the bare secrets, with which versions before 0.2 signed everything: nothing new is
    signed with them, and what they signed ends within 7 days, with its session. To be dropped with
    the release after this one.
    """
    return (*derived(secret_keys, purpose), *secret_keys)
