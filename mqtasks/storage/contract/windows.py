"""Unique windows: a key that belongs to one task for a while."""

from __future__ import annotations

from abc import ABC, abstractmethod


class WindowOperations(ABC):
    """What is beyond `TaskRecords.create_tasks`, which opens windows and respects them."""

    @abstractmethod
    def prune_windows(self, limit: int) -> int:
        """Delete up to ``limit`` expired windows, the oldest first; return how many.

        It changes nothing that anybody could see but the space they take.
        """
