"""Unique windows of calls: which calls are the same, and for how long."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from mqtasks.errors import InvalidArgument, checked_seconds
from mqtasks.model import checked_id, executor_code
from mqtasks.model.window import UniqueWindow
from mqtasks.payload import CallSignature, comparable_call

_LEAST: Final = 0.001  # seconds


def changed_window(base: UniqueWindow | None, changes: Mapping[str, Any]) -> UniqueWindow | None:
    """Return ``base`` with ``unique_for`` and ``unique_key`` changed, where they are given.

    ``unique_for`` None means no window. Raises InvalidArgument for values that make no sense.
    """
    period: Any = changes.get("unique_for", None if base is None else base.seconds)
    key: Any = changes.get("unique_key", None if base is None else base.key)
    if period is None:
        if changes.get("unique_key") is not None:
            raise InvalidArgument("unique_key", key, "needs unique_for: say for how long")
        return None
    return UniqueWindow(_checked(period), None if key is None else checked_id("unique_key", key))


def unique_digest(
    window: UniqueWindow,
    executor: int | str,
    signature: CallSignature | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> bytes:
    """Return the 32 bytes that calls have in common which are the same. Raises PayloadError."""
    if window.key is None:
        kind, what = b"arguments", comparable_call(args, kwargs, signature)
    else:
        kind, what = b"key", window.key.encode()
    return hashlib.sha256(b"\0".join((executor_code(executor).encode(), kind, what))).digest()


def _checked(period: float | timedelta) -> float:
    try:
        seconds = checked_seconds("unique_for", period)
    except InvalidArgument:
        seconds = 0.0
    if seconds < _LEAST:
        raise InvalidArgument(
            "unique_for", period, "must be seconds >= 0.001 and <= 2**53, or a timedelta, or None"
        )
    return seconds
