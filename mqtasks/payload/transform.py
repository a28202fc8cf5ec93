"""Hooks around stored bytes: encryption, signing, compression.

A transformed payload starts with ``x``, the length of the transform's name (one byte) and the name;
the rest is what `PayloadTransform.encode` returned. So a reader knows which transform it needs, and
several can be in use at once: the first one writes, all of them read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from mqtasks.errors import InvalidArgument, PayloadError

MARK: Final = b"x"
_LONGEST_NAME: Final = 32


@runtime_checkable
class PayloadTransform(Protocol):
    """Turns the bytes of a payload into those that are stored, and back.

    Both methods are called from many threads at once. ``decode`` raises when the bytes are not
    its own, or were tampered with; the task then fails with a PayloadError, and is not retried.
    """

    @property
    def name(self) -> str:
        """1 to 32 ASCII characters, kept in front of each payload: never change it."""
        ...

    def encode(self, data: bytes) -> bytes:
        """Return what is stored for ``data``."""
        ...

    def decode(self, data: bytes) -> bytes:
        """Return what ``encode`` was given."""
        ...


class Envelope:
    """The transforms of one application. Immutable; safe in many threads."""

    def __init__(self, transforms: Iterable[PayloadTransform] = ()) -> None:
        """Write through the first of ``transforms``; read through any of them.

        Raises InvalidArgument for a name that is no name, or used twice.
        """
        by_name: dict[str, PayloadTransform] = {}
        for transform in transforms:
            if not isinstance(transform, PayloadTransform):
                raise InvalidArgument(
                    "transforms", transform, "must have a name, encode(data) and decode(data)"
                )
            name = transform.name
            if not (name.isascii() and name.isprintable() and 0 < len(name) <= _LONGEST_NAME):
                raise InvalidArgument(
                    "transforms", name, f"its name must be 1 to {_LONGEST_NAME} ASCII characters"
                )
            if name in by_name:
                raise InvalidArgument("transforms", name, "names two transforms")
            by_name[name] = transform
        self.by_name: Final[Mapping[str, PayloadTransform]] = MappingProxyType(by_name)
        self._writer = next(iter(by_name.values()), None)

    def __bool__(self) -> bool:
        """Whether payloads are transformed when written."""
        return self._writer is not None

    def seal(self, data: bytes) -> bytes:
        """Return the stored form of a payload. Raises PayloadError if the transform fails."""
        writer = self._writer
        if writer is None:
            return data
        try:
            body = writer.encode(data)
        except Exception as error:
            raise PayloadError(f"transform {writer.name!r} failed: {_reason(error)}") from error
        name = writer.name.encode()
        return b"".join((MARK, bytes([len(name)]), name, body))

    def open(self, data: bytes) -> bytes:
        """Return the payload inside a stored one; one that is not transformed as it is.

        Raises PayloadError for a transform that is not at hand here, or that refuses the bytes.
        """
        if data[:1] != MARK:
            return data
        size = data[1] if len(data) > 1 else 0
        name = bytes(data[2 : 2 + size]).decode("ascii", "replace")
        reader = self.by_name.get(name)
        if reader is None:
            known = ", ".join(map(repr, self.by_name)) or "none"
            raise PayloadError(
                f"the payload was written through transform {name!r}; those at hand here: {known}."
                " Give it to MQTasks(transforms=[...]) in every process that reads tasks"
            )
        try:
            return reader.decode(bytes(data[2 + size :]))
        except Exception as error:
            raise PayloadError(
                f"transform {name!r} cannot read the payload: {_reason(error)}; it was written"
                " with another key, or changed since"
            ) from error


def _reason(error: Exception) -> str:
    """Return an error in words; some, like cryptography's InvalidToken, have none."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


PLAIN: Final = Envelope()
