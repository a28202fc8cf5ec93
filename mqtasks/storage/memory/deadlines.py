"""Deadlines in memory: a heap of moments to look at tasks."""

from __future__ import annotations

import heapq

from mqtasks.model import ExecuteResult, ResultCode, TaskStatus
from mqtasks.storage.contract.deadlines import DeadlineOperations
from mqtasks.storage.deadlines import judge
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.rows import Row


class MemoryDeadlines(MemoryBase, DeadlineOperations):
    """See `DeadlineOperations`."""

    def expire_due(self, limit: int) -> tuple[int, ...]:
        """End tasks as FAILED whose deadline is over and that nobody runs; return their ids."""
        tables, ended = self._tables, []
        with self._transaction as now:
            due = tables.deadlines
            for _ in range(limit):
                if not due or due[0][0] > now:
                    break
                task_id = heapq.heappop(due)[1]
                row = tables.rows.get(task_id)
                if row is None:
                    continue
                error, again = judge(row.status, row.options, row.created_at, now)
                if error:
                    self._expire(row, error, now)
                    ended.append(task_id)
                elif again:
                    heapq.heappush(due, (again, task_id))
        return tuple(sorted(ended))

    def _expire(self, row: Row, error: str, now: int) -> None:
        tables = self._tables
        tables.unlink(row)
        tables.edges.drop(row.task_id)
        row.status = int(TaskStatus.COMPLETED)
        row.result = ExecuteResult(ResultCode.FAILED, error)
        row.completed_at = now
        tables.link(row)
