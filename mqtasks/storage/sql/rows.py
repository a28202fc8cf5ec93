"""Task rows to records and back. `task_from` is on the hot path: one call, no loops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mqtasks.model import (
    DEFAULT_OPTIONS,
    SUCCESS,
    AsyncTask,
    Attempt,
    ExecuteResult,
    LaneSignature,
    ResultCode,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
    executor_code,
    executor_value,
    lane_of,
    options_from_bytes,
    options_to_bytes,
    signature_of,
)
from mqtasks.storage.checks import stored_text

Row = tuple[Any, ...]
"""One row as a session returns it: int, float, str (keys), bytes (payloads) or None."""

TASK_NUMBERS: Final = (
    "task_id",
    "status",
    "runner_generation",
    "epoch",
    "attempt",
    "crashes",
    "reassigned",
    "priority",
    "lane",
    "run_at",
    "last_heartbeat",
    "created_at",
    "started_at",
    "completed_at",
    "COALESCE(result_code, -1)",
)
"""The integers of a task row, in the order `task_from` takes them."""
TASK_TEXTS: Final = (
    "metadata_id",
    "executor",
    "context",
    "options",
    "parent_task_id",
    "runner",
    "error",
    "result",
    "progress",
)
"""The rest of a task row, in the order `task_from` takes it."""

_UNQUEUED: Final = frozenset({int(TaskStatus.SCHEDULED), int(TaskStatus.WAITING)})
_STATUS: Final = {int(status): status for status in TaskStatus}


def task_from(  # noqa: PLR0917 - one argument per column
    numbers: Iterable[int],
    metadata_id: str,
    executor: str,
    context: bytes,
    options: bytes,
    parent_task_id: str,
    runner: str,
    error: bytes | None,
    value: bytes | None,
    progress: bytes | None,
) -> AsyncTask:
    """Return the record of one row of TASK_NUMBERS and TASK_TEXTS."""
    (
        task_id,
        status,
        generation,
        epoch,
        attempt,
        crashes,
        reassigned,
        priority,
        lane,
        run_at,
        last_heartbeat,
        created_at,
        started_at,
        completed_at,
        code,
    ) = numbers
    return AsyncTask(
        id=task_id,
        metadata=TaskMetadata(
            metadata_id,
            executor_value(executor),
            context,
            options_from_bytes(options) if options else DEFAULT_OPTIONS,
        ),
        parent_task_id=parent_task_id,
        status=_STATUS[status],
        runner=runner,
        generation=generation,
        epoch=epoch,
        attempt=attempt,
        crashes=crashes,
        reassigned=reassigned,
        priority=priority,
        lane=lane,
        run_at=run_at,
        last_heartbeat=last_heartbeat,
        created_at=created_at,
        started_at=started_at,
        completed_at=completed_at,
        execute_result=None if code < 0 else result_of(code, error, value),
        progress=progress or b"",
    )


def result_of(code: int, error: bytes | None, value: bytes | None) -> ExecuteResult:
    """Return the result kept in (result_code, error, result)."""
    if not code and not error and not value:
        return SUCCESS
    return ExecuteResult(ResultCode(code), (error or b"").decode(), value or b"")


def stored_error(error: str) -> bytes | None:
    """Return free text as the bytes of a BLOB column; None for none."""
    return stored_text(error).encode() or None


def retention_ms(options: TaskOptions) -> int | None:
    """Return a task's own retention as it is stored."""
    return None if options.retention is None else round(options.retention * 1000)


def queue_keys(status: int, lane: int, priority: int) -> tuple[int, int]:
    """Return (queue_lane, queue_rank): what the hot index holds for a row in this status."""
    return (0, 0) if status in _UNQUEUED else (lane, -priority)


def record_values(task: AsyncTask, now: int) -> Row:
    """Return the values of ``insert_records`` for a whole record; zero times become ``now``."""
    metadata = task.metadata
    lane = lane_of(metadata)
    code, error, value = result_values(task.execute_result)
    return (
        metadata.id,
        executor_code(metadata.executor),
        metadata.context,
        options_to_bytes(metadata.options),
        task.parent_task_id,
        int(task.status),
        task.runner,
        task.generation,
        task.epoch,
        task.attempt,
        task.crashes,
        task.reassigned,
        task.priority,
        lane,
        *queue_keys(task.status, lane, task.priority),
        task.run_at or now,
        task.created_at or now,
        task.last_heartbeat,
        task.started_at,
        task.last_heartbeat,
        task.completed_at,
        code,
        error,
        value,
        task.progress or None,
        retention_ms(metadata.options),
    )


def result_values(result: ExecuteResult | None) -> tuple[int | None, bytes | None, bytes | None]:
    """Return (result_code, error, result) as they are stored."""
    if result is None:
        return None, None, None
    return int(result.code), stored_error(result.error), result.value or None


def attempt_from_row(row: Row) -> Attempt:
    """Return the record of one row of ``attempts``."""
    task_id, epoch, runner, outcome, started_at, ended_at, error, traceback = row
    return Attempt(
        task_id=task_id,
        epoch=epoch,
        runner=runner,
        outcome=outcome,
        started_at=started_at,
        ended_at=ended_at,
        error=error.decode(),
        traceback=traceback.decode(),
    )


def signature_from(executor: str, options: bytes) -> LaneSignature:
    """Return the placement signature of a row."""
    return signature_of(
        TaskMetadata("", executor_value(executor), options=options_from_bytes(options))
    )
