"""Deadlines of tasks that no runner has."""

from __future__ import annotations

from abc import ABC, abstractmethod


class DeadlineOperations(ABC):
    """What is beyond the runner's part: it judges the deadlines of the tasks that it holds.

    Creating, adding and updating a task with a deadline notes it; a task without one costs nothing.
    """

    @abstractmethod
    def expire_due(self, limit: int) -> tuple[int, ...]:
        """End tasks as FAILED whose deadline is over and that nobody runs; return their ids.

        Looks at up to ``limit`` deadlines, the earliest first, within about a second after they
        are over. CREATED, SCHEDULED and WAITING tasks become COMPLETED with the reason as their
        error; epoch, attempts and history stay as they are. Live ones are left to their runners,
        and looked at again a moment later. One that is COMPLETED, or CANCELED, or whose deadline
        was lifted, is forgotten. Changes nothing when called again.
        """
