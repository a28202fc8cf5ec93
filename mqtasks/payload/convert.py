"""Values through msgspec, for what msgspec knows and a little more, with errors that say where.

Known beyond JSON's own types: datetime and its family, UUID, Decimal, enums, bytes (base64), sets
and tuples (lists), dataclasses, msgspec Structs, paths, and pydantic models. They come back as
themselves where the annotation says so, else as the plain values that were stored.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any, Final

import msgspec

_DEEPEST: Final = 64


def to_value_hook(value: Any) -> Any:
    """Return the plain form of an object that msgspec does not know; raise TypeError if none."""
    if isinstance(value, PurePath):
        return str(value)
    dump = getattr(value, "model_dump", None)  # pydantic's name; pydantic itself is not needed
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def from_value_hook(wanted: Any, value: Any) -> Any:
    """Return ``value`` as ``wanted``, a type that msgspec does not know; raise TypeError if not."""
    if isinstance(wanted, type) and issubclass(wanted, PurePath):
        if isinstance(value, str):
            return wanted(value)
        raise TypeError(f"Expected a path, got `{type(value).__name__}`")
    validate = getattr(wanted, "model_validate", None)
    if validate is not None:
        return validate(value)
    plain = typing.get_origin(wanted) or wanted
    try:
        if isinstance(value, plain):  # an abstract type that what JSON gives satisfies: Iterable
            return value
    except TypeError:
        pass  # a protocol that cannot be asked
    name = getattr(wanted, "__qualname__", str(wanted))
    raise TypeError(f"a {name} cannot be made from JSON; annotate it with a dataclass, or Any")


ENCODE_ERRORS: Final = (TypeError, ValueError, OverflowError, RecursionError)
"""What encoding may raise; UnicodeEncodeError and what a hook raises are among them."""
DECODE_ERRORS: Final = (msgspec.DecodeError, TypeError, ValueError, RecursionError)
"""What a decoder may raise; ValidationError is among them."""


def find_unencodable(
    encode: Callable[[Any], bytes], value: Any, path: str, depth: int = 0
) -> tuple[str, Any, str] | None:
    """Return path, value and reason of the innermost part that ``encode`` does not take."""
    try:
        encode(value)
    except ENCODE_ERRORS as error:
        reason = str(error)
    else:
        return None
    if depth == _DEEPEST:
        return path, value, "is nested too deeply, or contains itself"
    for name, part in _parts(value):
        found = find_unencodable(encode, part, f"{path}{name}", depth + 1)
        if found:
            return found
    return path, value, reason


def find_not_finite(value: Any, path: str) -> tuple[str, float] | None:
    """Return path and value of a nan or infinity in ``value``, which JSON would turn into null."""
    return _find_not_finite(msgspec.to_builtins(value, enc_hook=to_value_hook), path)


def _find_not_finite(value: Any, path: str) -> tuple[str, float] | None:
    if isinstance(value, float) and not math.isfinite(value):
        return path, value
    if isinstance(value, list | tuple | dict):
        for name, part in _parts(value):
            if found := _find_not_finite(part, f"{path}{name}"):
                return found
    return None


def _parts(value: Any) -> list[tuple[str, Any]]:
    """Return the parts of a container with how each is reached."""
    if isinstance(value, dict):
        keys = [(f".key({key!r})", key) for key in value if not isinstance(key, str)]
        return [*((f"[{key!r}]", part) for key, part in value.items()), *keys]
    if isinstance(value, list | tuple | set | frozenset):
        return [(f"[{number}]", part) for number, part in enumerate(value)]
    names: Iterable[str] = getattr(
        value, "__struct_fields__", getattr(value, "__dataclass_fields__", ())
    )
    return [(f".{name}", getattr(value, name)) for name in names if hasattr(value, name)]
