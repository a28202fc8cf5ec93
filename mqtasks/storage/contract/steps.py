"""Results of steps, and the cheap question which tasks have ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mqtasks.model import StepRecord, TaskEpoch


class StepOperations(ABC):
    """Rows keyed by (task, step name). They go when their task is deleted or pruned."""

    @abstractmethod
    def save_step(self, runner_id: str, task: TaskEpoch, step: StepRecord) -> StepRecord | None:
        """Store the result of a step; fenced, see `QueueOperations`.

        Written only if the task is live at this runner in this epoch, judged and written as one
        step against every other write of the task row; None: it is not, and nothing was written.
        A name that is stored already stays as it is. Returns the row as stored; so a write
        repeated after an unknown commit finds its own. ``saved_at`` and ``epoch`` of ``step`` are
        not looked at: the database's clock and the task's epoch are written.
        """

    @abstractmethod
    def steps(self, task_id: int) -> list[StepRecord]:
        """Return the stored steps of a task by their number."""


class WaitOperations(ABC):
    """What those who wait for tasks ask."""

    @abstractmethod
    def unended(self, task_ids: Sequence[int]) -> frozenset[int]:
        """Return which of these tasks are stored and have not ended. Reads no payload."""
