"""A step of a task: one part of its work whose result is stored, so that it is done once."""

from __future__ import annotations

import msgspec


class StepRecord(msgspec.Struct, frozen=True):
    """The stored result of one step; see `TaskContext.step`."""

    name: str
    """Unique within the task; 1 to 255 bytes of UTF-8."""
    number: int
    """In which order the steps were stored, from 1."""
    epoch: int
    """The allocation that stored it."""
    saved_at: int = 0
    """Unix ms on the database's clock; storage sets it."""
    value: bytes = b""
    """The result, as the task's codec wrote it."""
