"""Pauses in memory."""

from __future__ import annotations

from mqtasks.model import Pause, PauseKind, checked_id
from mqtasks.storage.contract import PauseOperations
from mqtasks.storage.memory.base import MemoryBase


class MemoryPauses(MemoryBase, PauseOperations):
    """See `PauseOperations`."""

    def pause(self, kind: PauseKind, name: str, reason: str = "") -> bool:
        """Write a pause; return False, and change nothing, if there is one already."""
        checked_id("pause.name", name)
        with self._transaction as now:
            if (kind, name) in self._tables.pauses:
                return False
            self._tables.pauses[kind, name] = Pause(kind, name, reason, now)
            return True

    def resume(self, kind: PauseKind, name: str) -> bool:
        """Lift a pause; False if there is none. Idempotent."""
        with self._transaction:
            return self._tables.pauses.pop((kind, name), None) is not None

    def pauses(self) -> list[Pause]:
        """Return all pauses by kind and name."""
        with self._transaction:
            return [self._tables.pauses[key] for key in sorted(self._tables.pauses)]
