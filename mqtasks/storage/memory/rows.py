"""Task rows as the memory storage keeps them: mutable, with everything shared left out."""

from __future__ import annotations

import msgspec

from mqtasks.model import (
    AsyncTask,
    ExecuteResult,
    NewTask,
    TaskMetadata,
    TaskStatus,
    executor_code,
    executor_value,
    lane_of,
    options_from_bytes,
    options_to_bytes,
)
from mqtasks.storage.checks import checked_result, checked_status


class Row(msgspec.Struct, gc=False):
    """One task row. Attributes carry the names of `mqtasks.conditions.FIELDS` where it has one.

    Options are kept encoded: every record handed out gets options of its own, exactly as the SQL
    storages do it, so that nobody reaches a stored dict.
    """

    task_id: int
    metadata_id: str
    executor: str
    context: bytes
    options: bytes
    parent_task_id: str
    lane: int
    priority: int
    run_at: int
    created_at: int
    status: int = TaskStatus.CREATED
    runner: str = ""
    generation: int = 0
    epoch: int = 0
    attempt: int = 0
    crashes: int = 0
    reassigned: int = 0
    last_heartbeat: int = 0
    started_at: int = 0
    completed_at: int = 0
    allocated_at: int = 0
    """When the allocation was written: a later heartbeat proves that somebody runs the task."""
    result: ExecuteResult | None = None
    progress: bytes = b""

    @property
    def result_code(self) -> int | None:
        """How it ended, as conditions compare it; None = no result is stored."""
        return None if self.result is None else int(self.result.code)

    def record(self) -> AsyncTask:
        """Return this row as a record that shares nothing mutable with it."""
        return AsyncTask(
            id=self.task_id,
            metadata=TaskMetadata(
                self.metadata_id,
                executor_value(self.executor),
                self.context,
                options_from_bytes(self.options),
            ),
            parent_task_id=self.parent_task_id,
            status=TaskStatus(self.status),
            runner=self.runner,
            generation=self.generation,
            epoch=self.epoch,
            attempt=self.attempt,
            crashes=self.crashes,
            reassigned=self.reassigned,
            priority=self.priority,
            lane=self.lane,
            run_at=self.run_at,
            last_heartbeat=self.last_heartbeat,
            created_at=self.created_at,
            started_at=self.started_at,
            completed_at=self.completed_at,
            execute_result=self.result,
            progress=self.progress,
        )

    def disown(self) -> None:
        """Forget the runner; the epoch stays (P1)."""
        self.runner = ""
        self.generation = 0
        self.started_at = 0

    def overwrite(self, task: AsyncTask) -> None:
        """Write every field of ``task`` but id, metadata id and created_at."""
        metadata = task.metadata
        self.executor = executor_code(metadata.executor)
        self.context = metadata.context
        self.options = options_to_bytes(metadata.options)
        self.parent_task_id = task.parent_task_id
        self.lane = lane_of(metadata)
        self.priority = task.priority
        self.run_at = task.run_at
        self.status = int(checked_status(task.status))
        self.runner = task.runner
        self.generation = task.generation
        if task.epoch != self.epoch or not self.allocated_at:
            self.allocated_at = task.last_heartbeat
        self.epoch = task.epoch
        self.attempt = task.attempt
        self.crashes = task.crashes
        self.reassigned = task.reassigned
        self.last_heartbeat = task.last_heartbeat
        self.started_at = task.started_at
        self.completed_at = task.completed_at
        result = task.execute_result
        self.result = None if result is None else checked_result(result)
        self.progress = task.progress


def new_row(task_id: int, task: NewTask, now: int) -> Row:
    """Return the row of a task created now: WAITING, or SCHEDULED if it is due later."""
    metadata = task.metadata
    options = metadata.options
    if task.after:
        run_at, status = task.run_at, TaskStatus.WAITING
    else:
        run_at = task.run_at or now + round(options.delay_duration * 1000)
        status = TaskStatus.SCHEDULED if run_at > now else TaskStatus.CREATED
    return Row(
        task_id,
        metadata.id,
        executor_code(metadata.executor),
        metadata.context,
        options_to_bytes(options),
        task.parent_task_id,
        lane_of(metadata),
        options.priority,
        run_at,
        now,
        status,
    )


def row_of(task_id: int, task: AsyncTask, now: int) -> Row:
    """Return the row of a whole record that is added; zero times become now."""
    row = new_row(task_id, NewTask(task.metadata, task.parent_task_id), task.created_at or now)
    row.overwrite(task)
    row.run_at = task.run_at or now
    return row
