"""The worker's side of the queue in memory: every write fenced by runner and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from mqtasks.model import (
    AsyncTask,
    Attempt,
    AttemptOutcome,
    ExecuteResult,
    ResultCode,
    TaskEpoch,
    TaskStatus,
)
from mqtasks.storage.checks import checked_result, stored_text
from mqtasks.storage.contract import (
    APPLIED,
    UNCOUNTED,
    Completion,
    Owned,
    QueueOperations,
    RetryRequest,
    WriteReport,
)
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.rows import Row

_WAITING: Final = frozenset({int(TaskStatus.CREATED), int(TaskStatus.SCHEDULED)})
_Named: TypeAlias = Completion | RetryRequest | TaskEpoch


class Report:
    """A WriteReport in the making."""

    __slots__ = ("canceled", "lost")

    def __init__(self) -> None:
        self.lost: list[int] = []
        self.canceled: list[int] = []

    def done(self) -> WriteReport:
        """Return what happened."""
        if not self.lost and not self.canceled:
            return APPLIED
        return WriteReport(tuple(self.lost), tuple(self.canceled))


class Told(NamedTuple):
    """What a worker said about an attempt that has ended."""

    error: str
    traceback: str
    started_at: int


class MemoryWork(MemoryBase, QueueOperations):
    """See `QueueOperations`; the scheduler's side is `MemoryQueue`."""

    def owned(self, runner_id: str, generation: int) -> list[Owned]:
        """Return every live row of this generation of a runner, payloads left out."""
        with self._transaction:
            return [
                Owned(row.task_id, row.epoch, row.status)
                for row in self._tables.live_of(runner_id)
                if row.generation == generation
            ]

    def load(self, task_ids: Sequence[int]) -> list[AsyncTask]:
        """Return the stored tasks with these ids, by ascending id."""
        rows = self._tables.rows
        with self._transaction:
            return [rows[task_id].record() for task_id in sorted(set(task_ids) & rows.keys())]

    def complete_many(self, runner_id: str, completions: Sequence[Completion]) -> WriteReport:
        """End tasks as COMPLETED with their results; fenced."""
        results = [checked_result(item.result) for item in completions]
        report = Report()
        with self._transaction as now:
            for item, result in zip(completions, results, strict=True):
                row = self._owned_row(runner_id, item)
                if row is None:
                    done = self._ended_with(runner_id, item, result)
                    self._miss(report, runner_id, item, applied=done)
                    continue
                told = Told(result.error, item.traceback, now - item.elapsed_ms)
                failed = result.code is ResultCode.FAILED
                gave_up = failed and item.outcome == AttemptOutcome.CANCELED
                if gave_up or row.status == TaskStatus.CANCEL_REQUESTED:
                    self._cancel(row, told, now)
                    report.canceled.append(item.task_id)
                    continue
                if failed:
                    self._remember(row, item.outcome, told, now)
                    row.crashes += item.outcome == AttemptOutcome.CRASHED
                self._tables.unlink(row)
                row.status = TaskStatus.COMPLETED
                row.result = result
                row.started_at = told.started_at
                row.completed_at = now
                self._tables.link(row)
        return report.done()

    def retry_many(self, runner_id: str, retries: Sequence[RetryRequest]) -> WriteReport:
        """Turn attempts into SCHEDULED, attempt + 1 (or crashes + 1, or neither); fenced."""
        report = Report()
        with self._transaction as now:
            for item in retries:
                row = self._owned_row(runner_id, item)
                if row is None:
                    done = self._gave_back(runner_id, item, item.outcome)
                    self._miss(report, runner_id, item, applied=done)
                    continue
                told = Told(item.error, item.traceback, now - item.elapsed_ms)
                if row.status == TaskStatus.CANCEL_REQUESTED:
                    self._cancel(row, told, now)
                    report.canceled.append(item.task_id)
                    continue
                self._remember(row, item.outcome, told, now)
                self._tables.unlink(row)
                row.status = TaskStatus.SCHEDULED
                row.run_at = now + item.delay_ms
                row.crashes += item.outcome == AttemptOutcome.CRASHED
                row.attempt += item.outcome not in UNCOUNTED
                row.disown()
                self._tables.link(row)
        return report.done()

    def release_many(
        self, runner_id: str, releases: Sequence[TaskEpoch], reason: str
    ) -> WriteReport:
        """Give tasks back: CREATED, no runner, epoch and attempt kept; fenced."""
        report = Report()
        with self._transaction as now:
            for item in releases:
                row = self._owned_row(runner_id, item)
                if row is None:
                    done = self._gave_back(runner_id, item, AttemptOutcome.RELEASED)
                    self._miss(report, runner_id, item, applied=done)
                elif self._release(row, reason, now):
                    report.canceled.append(item.task_id)
        return report.done()

    def release_unstarted(self, runner_id: str, generation: int, reason: str) -> int:
        """Give back every live row of the runner's generation that has not been started."""
        released = 0
        with self._transaction as now:
            for row in self._tables.live_of(runner_id):
                if row.generation == generation and not row.started_at:
                    self._release(row, reason, now)
                    released += 1
        return released

    def mark_started(self, runner_id: str, started: Sequence[TaskEpoch]) -> WriteReport:
        """Write started_at (if 0) and last_heartbeat now; fenced."""
        report = Report()
        with self._transaction as now:
            for item in started:
                row = self._owned_row(runner_id, item)
                if row is None:
                    report.lost.append(item.task_id)
                    continue
                row.started_at = row.started_at or now
                row.last_heartbeat = now
                if row.status == TaskStatus.CANCEL_REQUESTED:
                    report.canceled.append(item.task_id)
        return report.done()

    def heartbeat_many(self, runner_id: str, beats: Sequence[TaskEpoch]) -> WriteReport:
        """Write last_heartbeat now where the row's epoch <= the caller's; else lost."""
        report = Report()
        with self._transaction as now:
            for item in beats:
                row = self._tables.live.get(runner_id, {}).get(item.task_id)
                if row is None or row.epoch > item.epoch:
                    report.lost.append(item.task_id)
                    continue
                row.last_heartbeat = now
                if row.status == TaskStatus.CANCEL_REQUESTED:
                    report.canceled.append(item.task_id)
        return report.done()

    def save_progress(self, runner_id: str, task: TaskEpoch, progress: bytes) -> bool:
        """Write the progress of a task; fenced. False if the task is lost."""
        with self._transaction:
            row = self._owned_row(runner_id, task)
            if row is None:
                return False
            row.progress = bytes(progress)
            return True

    # -- shared; the caller holds the lock -----------------------------------------------------

    def _owned_row(self, runner_id: str, item: _Named) -> Row | None:
        row = self._tables.live.get(runner_id, {}).get(item.task_id)
        return row if row is not None and row.epoch == item.epoch else None

    def _miss(self, report: Report, runner_id: str, item: _Named, *, applied: bool) -> None:
        """Report a write that matched no row, unless it was ``applied`` before (P10)."""
        row = self._tables.rows.get(item.task_id)
        if applied:
            return
        ended_here = row is not None and row.runner == runner_id and row.epoch == item.epoch
        if row is not None and ended_here and row.status == TaskStatus.CANCELED:
            report.canceled.append(item.task_id)
        else:
            report.lost.append(item.task_id)

    def _ended_with(self, runner_id: str, item: _Named, result: ExecuteResult) -> bool:
        row = self._tables.rows.get(item.task_id)
        return (
            row is not None
            and row.status == TaskStatus.COMPLETED
            and row.runner == runner_id
            and row.epoch == item.epoch
            and row.result == result
        )

    def _gave_back(self, runner_id: str, item: _Named, outcome: int) -> bool:
        row = self._tables.rows.get(item.task_id)
        past = self._tables.attempts.get(item.task_id, {}).get(item.epoch)
        return (
            row is not None
            and row.epoch == item.epoch
            and row.status in _WAITING
            and past is not None
            and past.runner == runner_id
            and past.outcome == outcome
        )

    def _remember(self, row: Row, outcome: int, told: Told, now: int) -> None:
        self._tables.history(
            Attempt(
                task_id=row.task_id,
                epoch=row.epoch,
                runner=row.runner,
                outcome=int(outcome),
                started_at=told.started_at,
                ended_at=now,
                error=stored_text(told.error),
                traceback=stored_text(told.traceback),
            )
        )

    def _cancel(self, row: Row, told: Told, now: int) -> None:
        self._remember(row, AttemptOutcome.CANCELED, told, now)
        self._tables.unlink(row)
        row.status = TaskStatus.CANCELED
        row.completed_at = now
        self._tables.link(row)

    def _release(self, row: Row, reason: str, now: int) -> bool:
        """Give a live row back; return whether it ended as CANCELED instead."""
        told = Told(reason, "", row.started_at)
        if row.status == TaskStatus.CANCEL_REQUESTED:
            self._cancel(row, told, now)
            return True
        self._remember(row, AttemptOutcome.RELEASED, told, now)
        self._tables.unlink(row)
        row.status = TaskStatus.CREATED
        row.run_at = min(row.run_at, now)
        row.disown()
        self._tables.link(row)
        return False
