"""Counts for monitoring: right when small, bounded when large."""

from __future__ import annotations

from mqtasks.model import AsyncTask, ExecuteResult, ResultCode, TaskMetadata, TaskStatus
from mqtasks.storage.contract import ExecutorCount, TaskStorage


def test_tasks_are_counted_by_executor_status_and_failure(storage: TaskStorage) -> None:
    def row(name: str, executor: int | str, status: TaskStatus, **fields: object) -> AsyncTask:
        metadata = TaskMetadata(name, executor)
        return AsyncTask(metadata=metadata, status=status, **fields)  # type: ignore[arg-type]

    failed = ExecuteResult(ResultCode.FAILED, "boom")
    storage.add(
        row("a", "mail", TaskStatus.CREATED),
        row("b", "mail", TaskStatus.CREATED),
        row("c", 7, TaskStatus.COMPLETED, execute_result=failed),
        row("d", 7, TaskStatus.COMPLETED, execute_result=ExecuteResult()),
    )

    counted = sorted(storage.count_by_executor(100), key=lambda item: (item.executor, item.failed))

    assert counted == [
        ExecutorCount("0000000007", TaskStatus.COMPLETED, False, 1),
        ExecutorCount("0000000007", TaskStatus.COMPLETED, True, 1),
        ExecutorCount("mail", TaskStatus.CREATED, False, 2),
    ]
    assert sum(item.count for item in storage.count_by_executor(1)) == 2
