"""Completing a task in a transaction of the executor's: both commit, or neither does (P9, P10).

The task's row is written last, right before the commit: a process that freezes earlier holds no
lock on it, so nobody has to wait for it to move the task.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from mqtasks.errors import InvalidTask, PayloadTooLarge, StorageError, TaskInterrupted
from mqtasks.model import ExecuteResult, TaskStatus
from mqtasks.process.interrupt import shield
from mqtasks.storage.contract import Completion, JoinedTransaction, TaskStorage
from mqtasks.worker.held import Cancel, Held


class Transactions:
    """Completions in callers' transactions, for all tasks of a runner. Safe from many threads."""

    def __init__(
        self,
        runner_id: str,
        storage: TaskStorage,
        now: Callable[[], float],
        max_result_bytes: int,
    ) -> None:
        self._runner_id = runner_id
        self._storage = storage
        self._now = now
        self._max_result_bytes = max_result_bytes

    def join(self, connection: Any, *, begin: bool) -> JoinedTransaction:
        """Take part in a transaction of the caller's."""
        return self._storage.join(connection, begin=begin)

    def complete(self, held: Held, value: bytes, joined: JoinedTransaction) -> None:
        """Write the completion; raises InvalidTask, TransactionAborted or TaskInterrupted."""
        self.demand_open(held)
        if held.cancel_reason in {Cancel.TIMEOUT, Cancel.DEADLINE}:
            raise TaskInterrupted(held.task_id, held.cancel_reason)
        if len(value) > self._max_result_bytes:
            raise PayloadTooLarge("the result", len(value), self._max_result_bytes)
        result = ExecuteResult(value=value)
        elapsed_ms = int((self._now() - held.started) * 1000)
        joined.complete(self._runner_id, Completion(held.task_id, held.epoch, result, elapsed_ms))
        held.completion = result

    def demand_open(self, held: Held) -> None:
        """Raise InvalidTask if an earlier transaction has completed the task."""
        if held.completion is not None and self.committed(held):
            why = "its completion was committed by an earlier transaction"
            raise InvalidTask(held.task_id, self._runner_id, held.epoch, why)

    def committed(self, held: Held) -> bool:
        """Return whether the completion that was written is committed; asks storage once."""
        if not held.completed:
            try:
                found = self._storage.load([held.task_id])
            except StorageError:
                return False  # a write that comes later will find out (P10)
            held.completed = any(
                task.status is TaskStatus.COMPLETED
                and (task.runner, task.epoch) == (self._runner_id, held.epoch)
                for task in found
            )
        return held.completed


class TaskTransaction:
    """The block of `TaskContext.transaction`. Set `result` inside it; use it once."""

    def __init__(
        self,
        held: Held,
        connection: Any,
        transactions: Transactions,
        encode: Callable[[Any], bytes],
    ) -> None:
        self._held = held
        self._connection = connection
        self._transactions = transactions
        self._encode = encode
        self.result: Any = None
        """The task's result, as the executor would return it. What it returns later is ignored."""

    def __enter__(self) -> Self:
        """Open the transaction, or take over the one that is open."""
        self._transactions.demand_open(self._held)
        joined: JoinedTransaction | None = None
        try:
            with shield:
                joined = self._joined = self._transactions.join(self._connection, begin=True)
        except BaseException:
            if joined is not None:
                joined.rollback()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Complete the task and commit; after any error roll back."""
        if kind is not None:
            self._joined.rollback()
            return
        begun = False
        try:
            value = self._encode(self.result)
            with shield:  # from here on no abortion leaves it open whether there was a commit
                begun = True
                self._commit(value)
        except BaseException:
            if not begun:
                self._joined.rollback()
            raise

    def _commit(self, value: bytes) -> None:
        held, joined = self._held, self._joined
        try:
            self._transactions.complete(held, value, joined)
        except BaseException:
            joined.rollback()
            raise
        try:
            joined.commit()
        except BaseException:
            joined.rollback()
            # The answer may be lost though the commit is not: the row tells.
            if self._transactions.committed(held):
                return
            raise
        held.completed = True
