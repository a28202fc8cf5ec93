"""Pauses, which the allocator respects."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mqtasks.model import Pause, PauseKind


class PauseOperations(ABC):
    """What is paused. A pause is only a row: it changes no task.

    Names are in stored form; see `mqtasks.model.pause_name`.
    """

    @abstractmethod
    def pause(self, kind: PauseKind, name: str, reason: str = "") -> bool:
        """Write a pause; return False, and change nothing, if there is one already."""

    @abstractmethod
    def resume(self, kind: PauseKind, name: str) -> bool:
        """Lift a pause; False if there is none. Idempotent."""

    @abstractmethod
    def pauses(self) -> list[Pause]:
        """Return all pauses by kind and name."""
