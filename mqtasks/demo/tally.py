"""Executions counted outside mqtasks: one fixed-size record per event, appended to a file.

A write of a few bytes to a file opened with O_APPEND is atomic, whichever process makes it, and
survives the SIGKILL of its writer. So what the tables say about executions can be held against it.
"""

from __future__ import annotations

import functools
import os
import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

_RECORD: Final = struct.Struct("<QIB3x")


class Event(IntEnum):
    """What happened to an execution."""

    STARTED = 1
    FINISHED = 2
    """The executor is about to return; its completion may still be refused or lost."""


class Entry(NamedTuple):
    """One event of one execution of one task."""

    task_id: int
    epoch: int
    event: Event


def note(path: str, task_id: int, epoch: int, event: Event) -> None:
    """Append one record. Safe from any thread and process."""
    os.write(_opened(path), _RECORD.pack(task_id, epoch, event))


def read(path: Path) -> Iterator[Entry]:
    """Yield all records so far, in the order they were written."""
    if path.exists():
        data = path.read_bytes()
        whole = len(data) // _RECORD.size * _RECORD.size
        for task_id, epoch, event in _RECORD.iter_unpack(data[:whole]):
            yield Entry(task_id, epoch, Event(event))


@functools.lru_cache(maxsize=4)
def _opened(path: str) -> int:
    """Return a descriptor that stays open as long as the process: workers write all the time."""
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
