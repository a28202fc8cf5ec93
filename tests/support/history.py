"""Whether the history of every task is whole (M18)."""

from __future__ import annotations

from mqtasks.conditions import where
from mqtasks.model import AsyncTask, ResultCode, TaskStatus
from mqtasks.storage.contract import TaskStorage


def gaps(storage: TaskStorage) -> dict[str, list[int]]:
    """Return, by metadata id, the epochs that are neither told in the history nor going on.

    Each allocation has ended in a row of its own, was the success that the task's row itself tells
    of, or is live now. For tasks that nobody has edited: an edit raises an epoch by itself.
    """
    found: dict[str, list[int]] = {}
    for task in storage.query(where.everything()):
        told = {
            attempt.epoch
            for attempt in storage.attempts(task.id)
            if attempt.runner
            and attempt.outcome
            and 0 <= attempt.started_at <= attempt.ended_at
            and attempt.ended_at
        }
        missing = sorted(set(range(1, task.epoch + 1)) - told - _of_the_row(task))
        if missing:
            found[task.metadata.id] = missing
    return found


def _of_the_row(task: AsyncTask) -> set[int]:
    succeeded = (
        task.status is TaskStatus.COMPLETED
        and task.execute_result is not None
        and task.execute_result.code is ResultCode.SUCCESS
    )
    return {task.epoch} if task.status.is_live or succeeded else set()
