"""Steps in SQL."""

from __future__ import annotations

from collections.abc import Sequence

from mqtasks.model import StepRecord, TaskEpoch
from mqtasks.storage.checks import checked_step
from mqtasks.storage.sql.base import SqlBase, nothing, when_disabled
from mqtasks.storage.sql.dialect import DuplicateKey, Session


class SqlSteps(SqlBase):
    """See `StepOperations` and `WaitOperations`."""

    @when_disabled(nothing)
    def save_step(self, runner_id: str, task: TaskEpoch, step: StepRecord) -> StepRecord | None:
        """Store the result of a step; fenced. None if the task is lost."""
        checked_step(step)

        def work(session: Session) -> StepRecord | None:
            # One statement, which locks the task row: no rescue comes between look and write.
            try:
                written = session.run(
                    "save_step",
                    step.name,
                    step.number,
                    step.value,
                    task.task_id,
                    runner_id,
                    task.epoch,
                )
            except DuplicateKey:
                written = 1
            row = session.one("step", task.task_id, step.name) if written else None
            return None if row is None else _step(row)

        return self._db.single(work)

    @when_disabled(list[StepRecord])
    def steps(self, task_id: int) -> list[StepRecord]:
        """Return the stored steps of a task by their number."""
        return [_step(row) for row in self._db.read(lambda db: db.rows("steps", task_id))]

    @when_disabled(frozenset[int])
    def unended(self, task_ids: Sequence[int]) -> frozenset[int]:
        """Return which of these tasks are stored and have not ended."""
        ids = sorted(set(task_ids))
        return frozenset(row[0] for row in self._db.read(lambda db: db.rows_in("unended", ids)))


def _step(row: Sequence[object]) -> StepRecord:
    return StepRecord(*row)  # type: ignore[arg-type]  # the columns of `steps`
