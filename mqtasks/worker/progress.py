"""Progress reports on their way to storage: seldom, and never by the executor itself."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from mqtasks.clock import Clock
from mqtasks.model import Progress, encode_progress
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.held import Cancel, Held

INTERVAL: Final = 1.0
"""Seconds between two writes of one task's progress."""


class ProgressWriter:
    """Writes the last reported progress of each task about once a second. Safe in many threads."""

    def __init__(
        self,
        runner_id: str,
        storage: TaskStorage,
        canceller: Canceller,
        clock: Clock,
        database_ms: Callable[[], int],
    ) -> None:
        self._runner_id = runner_id
        self._storage = storage
        self._canceller = canceller
        self._now = clock.monotonic
        self._database_ms = database_ms
        self._lock = threading.Lock()
        self._dirty: set[Held] = set()
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to write."""

    def report(self, held: Held, data: bytes | Progress) -> None:
        """Remember a report; it is written soon, unless a later one replaces it."""
        held.progress = data
        with self._lock:
            first = not self._dirty
            self._dirty.add(held)
        if first:
            self.wake()

    def run_once(self) -> float | None:
        """Write what is due; return seconds until something else is, None if nothing waits."""
        with self._lock:
            dirty = list(self._dirty)
        if not dirty:
            return None
        now = self._now()
        rest = INTERVAL
        for held in dirty:
            due_in = held.progress_at + INTERVAL - now if held.progress_at else 0.0
            if due_in > 0:
                rest = min(rest, due_in)
            else:
                self.write(held)
        return rest

    def write(self, held: Held) -> None:
        """Write the progress of one task now, if there is something to write."""
        with self._lock:
            self._dirty.discard(held)
        data = held.progress
        if data is None:
            return
        held.progress = None
        held.progress_at = self._now()
        try:
            kept = self._storage.save_progress(self._runner_id, held.key, self._stored(data))
        except Exception:
            if held.progress is None:
                self.report(held, data)
            raise
        if not kept:
            self._canceller.cancel(held, Cancel.REASSIGNED)

    def _stored(self, data: bytes | Progress) -> bytes:
        if isinstance(data, Progress):
            data = encode_progress(replace(data, at=self._database_ms()))
        return data
