"""Tasks that a running task makes, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from mqtasks.model import Created, NewTask, TaskEpoch
from mqtasks.storage.checks import check_new
from mqtasks.storage.contract import ChildOperations
from mqtasks.storage.memory.tasks import MemoryTasks


class MemoryChildren(MemoryTasks, ChildOperations):
    """See `ChildOperations`."""

    def create_children(
        self, runner_id: str, owner: TaskEpoch, tasks: Sequence[NewTask]
    ) -> list[Created] | None:
        """Create tasks, fenced by the task that makes them; None if that is lost."""
        for task in tasks:
            check_new(task)
        with self._transaction as now:
            row = self._tables.live.get(runner_id, {}).get(owner.task_id)
            if row is None or row.epoch != owner.epoch:
                return None
            return self._create_any(tasks, now)
