"""Executions counted outside mqtasks: 16 bytes appended to a file in memory by each."""

from __future__ import annotations

import os
import struct
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_RECORD = struct.Struct("<QQ")


class Executions(NamedTuple):
    """What the file says."""

    total: int
    distinct: int
    most: int
    """How often the most frequent one ran."""
    first_ns: int
    last_ns: int

    @property
    def seconds(self) -> float:
        """From the first execution to the last."""
        return (self.last_ns - self.first_ns) / 1e9


class ExecutionLog:
    """Writes one record per execution. A write to an O_APPEND file is atomic."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def add(self, number: int) -> None:
        """Note that ``number`` is executed now."""
        os.write(self._fd, _RECORD.pack(number, time.monotonic_ns()))


def count(path: Path) -> int:
    """Return how many executions there were so far."""
    try:
        return path.stat().st_size // _RECORD.size
    except FileNotFoundError:
        return 0


def records(path: Path) -> list[tuple[int, int]]:
    """Return (number, monotonic ns) of each execution."""
    return list(_RECORD.iter_unpack(path.read_bytes()))


def summary(path: Path) -> Executions:
    """Return the totals of a file that is not empty."""
    entries = records(path)
    numbers = Counter(number for number, _ in entries)
    times = [at for _, at in entries]
    return Executions(len(entries), len(numbers), max(numbers.values()), min(times), max(times))


def memory_folder() -> str | None:
    """Return a folder that lives in memory; None where the system has none."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder for mkdtemp
