"""Encryption of payloads with Fernet (AES-128-CBC and HMAC-SHA256) from ``cryptography``."""

from __future__ import annotations

from typing import Any, Final

from mqtasks.errors import ConfigError


class FernetTransform:
    """Encrypts and signs arguments and results; see `PayloadTransform`.

    ``key`` and ``old_keys`` are 32 random bytes in URL-safe base64, as ``Fernet.generate_key()``
    makes them. ``key`` writes, all of them read, so that a key can be rotated: add the new one as
    an old one everywhere, then put it first everywhere, and drop the former when no task written
    with it is left. Needs ``pip install 'mqtasks[encryption]'``. Raises ConfigError without it, or
    for a key that is none. Safe in many threads. Its ``repr`` shows no key.
    """

    name: Final = "fernet"

    def __init__(self, key: str | bytes, *old_keys: str | bytes) -> None:
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError:
            raise ConfigError(
                "encryption needs the package cryptography: pip install 'mqtasks[encryption]'"
            ) from None
        try:
            self._fernet: Any = MultiFernet([Fernet(each) for each in (key, *old_keys)])
        except (ValueError, TypeError):
            raise ConfigError(
                "a Fernet key is 32 bytes in URL-safe base64; make one with"
                " cryptography.fernet.Fernet.generate_key()"
            ) from None

    def encode(self, data: bytes) -> bytes:
        """Return ``data`` encrypted with the first key."""
        token: bytes = self._fernet.encrypt(data)
        return token

    def decode(self, data: bytes) -> bytes:
        """Return what was encrypted with any of the keys; raises InvalidToken otherwise."""
        plain: bytes = self._fernet.decrypt(data)
        return plain

    def __repr__(self) -> str:
        """Return the class's name alone."""
        return "FernetTransform(...)"
