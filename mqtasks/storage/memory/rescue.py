"""Taking tasks from runners that may not have them any more, in memory (P4, P8, P14)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from mqtasks.model import (
    FINAL,
    Attempt,
    AttemptOutcome,
    ExecuteResult,
    Leadership,
    ResultCode,
    RunnerState,
    TaskEpoch,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.checks import LEASE_LAPSED, RUNNER_GONE, cap_error
from mqtasks.storage.contract import Orphans, RescueReport, RunnerOperations
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.rows import Row
from mqtasks.storage.memory.tables import RunnerRow


class MemoryRescue(MemoryBase, RunnerOperations):
    """See `RunnerOperations`; runner rows themselves are `MemoryRunners`."""

    def report_dead(
        self,
        runner_id: str,
        generation: int,
        started: Sequence[TaskEpoch],
        max_crashes: int,
        cause: str = "",
    ) -> RescueReport | None:
        """Stop a runner whose process is known dead and rescue its tasks at once."""
        handed_over = {(item.task_id, item.epoch) for item in started}
        with self._transaction as now:
            runner = self._tables.runners.get(runner_id)
            if runner is None or runner.record.generation != generation:
                return None
            _fence(runner, now)
            return self._rescue(
                self._tables.live_of(runner_id),
                lambda row: (row.task_id, row.epoch) in handed_over,
                max_crashes,
                cause or RUNNER_GONE,
                now,
            )

    def fence_lapsed(
        self, leadership: Leadership, runner_id: str, generation: int, max_crashes: int
    ) -> RescueReport | None:
        """Fence one runner whose lease has lapsed and rescue its tasks."""
        with self._transaction as now:
            self._demand_leadership(leadership, now)
            runner = self._tables.runners.get(runner_id)
            if (
                runner is None
                or runner.record.generation != generation
                or runner.record.state is RunnerState.STOPPED
                or runner.expires_at >= now
            ):
                return None
            _fence(runner, now)
            rows = self._tables.live_of(runner_id)
            return self._rescue(rows, was_started, max_crashes, LEASE_LAPSED, now)

    def orphans(self) -> list[Orphans]:
        """Return runner ids that own live rows but are STOPPED or have no row."""
        found: list[Orphans] = []
        with self._transaction:
            for runner_id in sorted(self._tables.live):
                runner = self._tables.runners.get(runner_id)
                if runner is None or runner.record.state is RunnerState.STOPPED:
                    found.append(Orphans(runner_id, runner is not None))
        return found

    def rescue_orphans(
        self,
        leadership: Leadership,
        runner_id: str,
        max_crashes: int,
        silent_ms: int = 0,
        spared: Sequence[int] = (),
    ) -> RescueReport:
        """Rescue live rows of a runner that is STOPPED, or has no row."""
        kept = frozenset(spared)
        with self._transaction as now:
            self._demand_leadership(leadership, now)
            runner = self._tables.runners.get(runner_id)
            rows = self._tables.live_of(runner_id)
            if runner is None:
                silent = [
                    row
                    for row in rows
                    if row.last_heartbeat < now - silent_ms and row.task_id not in kept
                ]
                return self._rescue(silent, _seems_started, max_crashes, RUNNER_GONE, now)
            if runner.record.state is not RunnerState.STOPPED:
                return RescueReport()
            return self._rescue(rows, was_started, max_crashes, RUNNER_GONE, now)

    def absolve(self, runner_id: str, tasks: Sequence[TaskEpoch]) -> int:
        """Take back crash charges of a runner that was fenced but lives; return how many."""
        tables = self._tables
        absolved = 0
        with self._transaction:
            for item in tasks:
                history = tables.attempts.get(item.task_id, {})
                attempt = history.get(item.epoch)
                if (
                    attempt is None
                    or attempt.runner != runner_id
                    or attempt.outcome != AttemptOutcome.CRASHED
                ):
                    continue
                history[item.epoch] = replace(attempt, outcome=int(AttemptOutcome.FENCED))
                row = tables.rows[item.task_id]
                if row.status not in FINAL:
                    row.crashes = max(0, row.crashes - 1)
                absolved += 1
        return absolved

    # -- shared; the caller holds the lock -----------------------------------------------------

    def _rescue(
        self,
        rows: Iterable[Row],
        started: Callable[[Row], bool],
        max_crashes: int,
        cause: str,
        now: int,
    ) -> RescueReport:
        requeued: list[int] = []
        canceled: list[int] = []
        failed: list[int] = []
        for row in rows:
            crashed = started(row)
            self._tables.history(
                Attempt(
                    task_id=row.task_id,
                    epoch=row.epoch,
                    runner=row.runner,
                    outcome=int(AttemptOutcome.CRASHED if crashed else AttemptOutcome.LOST),
                    started_at=row.started_at,
                    ended_at=now,
                    error=cause,
                )
            )
            self._tables.unlink(row)
            row.crashes += crashed
            if row.status == TaskStatus.CANCEL_REQUESTED:
                row.status = TaskStatus.CANCELED
                row.completed_at = now
                canceled.append(row.task_id)
            else:
                row.reassigned += 1
                error = self._capped(row, max_crashes)
                if error is None:
                    row.status = TaskStatus.CREATED
                    row.disown()
                    requeued.append(row.task_id)
                else:
                    row.status = TaskStatus.COMPLETED
                    row.result = ExecuteResult(ResultCode.FAILED, error)
                    row.completed_at = now
                    failed.append(row.task_id)
            self._tables.link(row)
        return RescueReport(tuple(requeued), tuple(canceled), tuple(failed))

    def _capped(self, row: Row, max_crashes: int) -> str | None:
        most = options_from_bytes(row.options).max_reassign_times
        return cap_error(row.crashes, max_crashes, row.reassigned, most)


def was_started(row: Row) -> bool:
    """Return whether storage knows that the executor of this allocation was started."""
    return row.started_at > 0


def _seems_started(row: Row) -> bool:
    return row.started_at > 0 or row.last_heartbeat > row.allocated_at


def _fence(runner: RunnerRow, now: int) -> None:
    record = runner.record
    if record.state is not RunnerState.STOPPED:
        runner.stopped_at = now
    runner.record = replace(record, generation=record.generation + 1, state=RunnerState.STOPPED)
