"""Steps in memory."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

from msgspec.structs import replace

from mqtasks.model import FINAL, StepRecord, TaskEpoch
from mqtasks.storage.checks import checked_step
from mqtasks.storage.contract import StepOperations, WaitOperations
from mqtasks.storage.memory.base import MemoryBase

_FINAL: Final = frozenset(map(int, FINAL))


class MemorySteps(MemoryBase, StepOperations, WaitOperations):
    """See `StepOperations` and `WaitOperations`."""

    def save_step(self, runner_id: str, task: TaskEpoch, step: StepRecord) -> StepRecord | None:
        """Store the result of a step; fenced. None if the task is lost."""
        checked_step(step)
        with self._transaction as now:
            row = self._tables.live.get(runner_id, {}).get(task.task_id)
            if row is None or row.epoch != task.epoch:
                return None
            stored = self._tables.steps.setdefault(task.task_id, {})
            return stored.setdefault(step.name, replace(step, epoch=task.epoch, saved_at=now))

    def steps(self, task_id: int) -> list[StepRecord]:
        """Return the stored steps of a task by their number."""
        with self._transaction:
            stored = self._tables.steps.get(task_id, {})
            return sorted(stored.values(), key=attrgetter("number", "name"))

    def unended(self, task_ids: Sequence[int]) -> frozenset[int]:
        """Return which of these tasks are stored and have not ended."""
        rows = self._tables.rows
        with self._transaction:
            return frozenset(
                task_id
                for task_id in task_ids
                if task_id in rows and rows[task_id].status not in _FINAL
            )
