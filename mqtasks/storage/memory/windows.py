"""Unique windows in memory. The caller of the functions holds the lock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from mqtasks.model import Created, NewTask
from mqtasks.storage.contract import WindowOperations
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.tables import Tables
from mqtasks.storage.windows import Window, held_by


class MemoryWindows(MemoryBase, WindowOperations):
    """See `WindowOperations`."""

    def prune_windows(self, limit: int) -> int:
        """Delete up to ``limit`` expired windows, the oldest first; return how many."""
        windows = self._tables.windows
        with self._transaction as now:
            past = nsmallest(limit, ((at, key) for key, (_, _, at) in windows.items() if at <= now))
            for _, key in past:
                del windows[key]
            return len(past)


def open_windows(tables: Tables, tasks: Sequence[NewTask], now: int) -> dict[bytes, Created]:
    """Return the windows among those of a batch that are open now."""
    held: dict[bytes, Created] = {}
    for task in tasks:
        window = tables.windows.get(task.unique_key)
        if window is not None and window[2] > now:
            held[task.unique_key] = held_by(*window[:2])
    return held


def keep_windows(tables: Tables, taken: Iterable[Window], now: int) -> None:
    """Write windows."""
    for window in taken:
        tables.windows[window.key] = (window.task_id, window.metadata_id, now + window.period_ms)
