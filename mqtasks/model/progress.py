"""How far a task is, as its executor tells it."""

from __future__ import annotations

from typing import Final

import msgspec

_MARK: Final = b"\x00mq1"
"""In front of the JSON of an envelope; other bytes are a bare report."""
MAX_MESSAGE: Final = 1000
"""Characters of a message; the rest is cut off."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a task has told about its progress; see `TaskContext.progress`."""

    fraction: float | None = None
    """From 0.0 to 1.0; None = it has told none."""
    message: str = ""
    at: int = 0
    """When it was stored: unix ms on the database's clock; 0 = not known."""
    raw: bytes = b""
    """What `TaskContext.report_progress` was given last: bytes as they were, anything else as
    `PayloadCodec.decode_result` reads it."""


def encode_progress(progress: Progress) -> bytes:
    """Return the stored form; a record without fraction and message is its bare report."""
    if progress.fraction is None and not progress.message:
        return progress.raw
    return _MARK + msgspec.json.encode(progress)


def decode_progress(data: bytes) -> Progress | None:
    """Return what was stored; None for nothing."""
    if not data:
        return None
    if data.startswith(_MARK):
        try:
            return msgspec.json.decode(memoryview(data)[len(_MARK) :], type=Progress)
        except msgspec.DecodeError:
            pass  # somebody's own bytes that look like ours
    return Progress(raw=data)
