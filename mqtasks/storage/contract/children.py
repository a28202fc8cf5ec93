"""Tasks that a running task makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mqtasks.model import Created, NewTask, TaskEpoch


class ChildOperations(ABC):
    """Creating tasks on behalf of an executor."""

    @abstractmethod
    def create_children(
        self, runner_id: str, owner: TaskEpoch, tasks: Sequence[NewTask]
    ) -> list[Created] | None:
        """As `TaskRecords.create_tasks`, fenced by the task that makes them.

        One transaction, which first locks the owner's row: only if that is live at this runner in
        this epoch the tasks are created. None: it is not, and nothing was written. So a worker
        that was thought dead makes no tasks beside those of its successor.
        """
