"""Column types: aware datetimes in UTC, and text, bytes and JSON encrypted at rest."""

import base64
import json
import zlib
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from webapp.config import settings


class UTCDateTime(sa.TypeDecorator[datetime]):
    """Aware datetimes, stored in UTC. Raises `ValueError` for a naive one."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Encrypted(sa.TypeDecorator[str]):
    """Text encrypted with the app's secret keys: the newest encrypts, all of them decrypt.

    A value that no key decrypts (SECRET_KEY was replaced) is read as None: its sign-in has ended,
    which is a page, not a crash.
    """

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> bytes | None:
        return None if value is None else _fernet(settings.secret_key).encrypt(value.encode())

    def process_result_value(self, value: bytes | None, dialect: Any) -> str | None:
        return None if value is None else decrypted(value)


class EncryptedBytes(sa.TypeDecorator[bytes]):
    """Bytes, compressed and encrypted like `Encrypted`."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Any) -> bytes | None:
        return None if value is None else _sealed(value)

    def process_result_value(self, value: bytes | None, dialect: Any) -> bytes | None:
        return None if value is None else _opened(value)


class EncryptedJson(sa.TypeDecorator[Any]):
    """What JSON can hold, compressed and encrypted like `Encrypted`."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> bytes | None:
        if value is None:
            return None
        return _sealed(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())

    def process_result_value(self, value: bytes | None, dialect: Any) -> Any:
        opened = None if value is None else _opened(value)
        return None if opened is None else json.loads(opened)


def decrypted(value: bytes) -> str | None:
    """What `Encrypted` has stored; None if no key decrypts it."""
    try:
        return _fernet(settings.secret_key).decrypt(value).decode()
    except InvalidToken:
        return None


def _sealed(value: bytes) -> bytes:
    return _fernet(settings.secret_key).encrypt(zlib.compress(value))


def _opened(value: bytes) -> bytes | None:
    try:
        return zlib.decompress(_fernet(settings.secret_key).decrypt(value))
    except InvalidToken:
        return None


@lru_cache
def _fernet(secret_keys: tuple[str, ...]) -> MultiFernet:
    def derive(key: str) -> Fernet:
        hkdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"team-sms tokens at rest")
        return Fernet(base64.urlsafe_b64encode(hkdf.derive(key.encode())))

    return MultiFernet([derive(key) for key in secret_keys])
