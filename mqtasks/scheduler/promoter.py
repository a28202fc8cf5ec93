"""SCHEDULED tasks become CREATED when they are due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.model import Leadership
from mqtasks.storage.contract import QueueOperations

_LOST_RACE: Final = 0.01
"""Seconds until the next look when somebody else promoted what was due."""


class Promoter:
    """Promotes due tasks in batches; one step works until nothing is due any more."""

    def __init__(
        self,
        storage: QueueOperations,
        leadership: Callable[[], Leadership | None],
        on_promoted: Callable[[], None],
        *,
        batch: int = 1_000,
        poll: float = 1.0,
    ) -> None:
        """Call ``on_promoted`` after each batch; look for new due times each ``poll`` seconds."""
        self._storage = storage
        self._leadership = leadership
        self._on_promoted = on_promoted
        self._batch = batch
        self._poll = poll

    def run_once(self) -> float:
        """Promote what is due; return seconds until the next task is, at most ``poll``.

        Does nothing on a standby. Raises StorageError.
        """
        while self._leadership() is not None:
            upcoming = self._storage.next_due_in_ms()
            if upcoming is None:
                return self._poll
            if upcoming > 0:
                return min(self._poll, upcoming / 1000)
            if not self._promote():
                return _LOST_RACE
        return self._poll

    def _promote(self) -> int:
        """Promote batch after batch while they are full; return how many tasks."""
        total = 0
        while self._leadership() is not None:
            promoted = self._storage.promote_due(self._batch)
            total += promoted
            if promoted:
                self._on_promoted()
            if promoted < self._batch:
                break
        return total
