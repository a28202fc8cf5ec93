"""Ended rows, expired windows and old firings are deleted when their time is over, in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock
from mqtasks.model import Leadership
from mqtasks.storage.contract import TaskStorage

_SHARE: Final = 4
"""A chunk is followed by a pause this many times as long, so that a sweep takes a fifth at most."""
_SHORTEST_PAUSE: Final = 0.05


class Pruner:
    """Sweeps the table by primary key, one transaction per step, and starts over after a pause."""

    def __init__(
        self,
        storage: TaskStorage,
        leadership: Callable[[], Leadership | None],
        clock: Clock,
        *,
        retention_success: float = 7 * 86_400.0,
        retention_failure: float = 30 * 86_400.0,
        interval: float = 60.0,
        batch: int = 500,
    ) -> None:
        """Keep rows for the given retentions (seconds); pause ``interval`` between two sweeps."""
        self._storage = storage
        self._leadership = leadership
        self._clock = clock
        self._success_ms = round(retention_success * 1000)
        self._failure_ms = round(retention_failure * 1000)
        self._interval = interval
        self._batch = batch
        self._next_id = 0
        self.deleted = 0
        """Task rows deleted so far."""
        self.windows_deleted = 0
        """Unique windows deleted so far."""
        self.firings_deleted = 0
        """Records of cron firings deleted so far; they are kept for the longer retention."""

    def run_once(self) -> float:
        """Look at one chunk of each; return seconds until the next. Nothing on a standby."""
        if self._leadership() is None:
            self._next_id = 0
            return self._interval
        began = self._clock.monotonic()
        report = self._storage.prune(self._next_id, self._batch, self._success_ms, self._failure_ms)
        self.deleted += report.deleted
        self._next_id = report.next_id
        kept_ms = max(self._success_ms, self._failure_ms)
        firings = self._storage.prune_firings(self._batch, kept_ms)
        self.firings_deleted += firings
        # Last: a caller whose transaction is open may hold an expired one, and fail this.
        windows = self._storage.prune_windows(self._batch)
        self.windows_deleted += windows
        if not report.next_id and max(windows, firings) < self._batch:
            return self._interval
        return max(_SHORTEST_PAUSE, _SHARE * (self._clock.monotonic() - began))
