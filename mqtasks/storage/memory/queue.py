"""The scheduler's and the operator's side of the queue in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.model import (
    DEFAULT_OPTIONS,
    AsyncTask,
    Attempt,
    AttemptOutcome,
    LaneSignature,
    Leadership,
    ResultCode,
    RunnerState,
    TaskMetadata,
    TaskStatus,
    executor_value,
    options_from_bytes,
    signature_of,
)
from mqtasks.storage.contract import (
    Allocation,
    CancelReport,
    LaneLoad,
    LaneSample,
    Limit,
    QueueOperations,
)
from mqtasks.storage.deadlines import lifted
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.rows import Row
from mqtasks.storage.quota import Quota, needs_keys
from mqtasks.storage.reservations import Reservations

_IDLE: Final = frozenset(
    {int(TaskStatus.CREATED), int(TaskStatus.SCHEDULED), int(TaskStatus.WAITING)}
)


class MemoryQueue(MemoryBase, QueueOperations):
    """See `QueueOperations`; the worker's side is `MemoryWork`."""

    # -- scheduler side ------------------------------------------------------------------------

    def promote_due(self, limit: int) -> int:
        """Turn up to ``limit`` due SCHEDULED rows into CREATED; return how many."""
        tables = self._tables
        promoted = 0
        with self._transaction as now:
            for run_at, task_id in tables.scheduled.take(limit):
                if run_at > now:
                    break
                row = tables.rows[task_id]
                tables.unlink(row)
                row.status = TaskStatus.CREATED
                tables.link(row)
                promoted += 1
        return promoted

    def next_due_in_ms(self) -> int | None:
        """Return milliseconds until the earliest SCHEDULED row is due; None = none."""
        with self._transaction as now:
            first = self._tables.scheduled.first()
            return None if first is None else first[0] - now

    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows, ascending."""
        with self._transaction:
            return self._tables.lanes.since(after + 1, limit)

    def lane_tasks(self, lane: int, limit: int) -> list[AsyncTask]:
        """Return the first CREATED rows of a lane: highest priority, then run_at, then id."""
        tables = self._tables
        with self._transaction:
            queue = tables.queues.get(lane)
            if queue is None:
                return []
            return [tables.rows[key[2]].record() for key in queue.take(limit)]

    def allocate_many(
        self,
        allocations: Sequence[Allocation],
        leadership: Leadership | None = None,
        limits: Sequence[Limit] = (),
    ) -> frozenset[int]:
        """Give tasks to runners and return the ids that were given."""
        if not allocations:
            return frozenset()
        tables = self._tables
        given: set[int] = set()
        with self._transaction as now:
            self._demand_leadership(leadership, now)
            by_hand = leadership is None
            quota = self._quota(limits, now) if limits else None
            open_runners: dict[tuple[str, int], bool] = {}
            for item in allocations:
                runner = (item.runner_id, item.generation)
                is_open = open_runners.get(runner)
                if is_open is None:
                    is_open = open_runners[runner] = self._takes_tasks(*runner, now, by_hand)
                row = tables.rows.get(item.task_id)
                if not is_open or row is None or not _is_free(row, item, by_hand):
                    continue
                if quota is not None:
                    admits = quota.admits if row.status == TaskStatus.CREATED else quota.moves
                    if not admits(item.runner_id, _signature(row)):
                        continue
                if row.status == TaskStatus.RUNNING:
                    tables.history(_displaced(row, now))
                tables.unlink(row)
                row.status = TaskStatus.RUNNING
                row.runner, row.generation = runner
                row.epoch += 1
                row.started_at = 0
                row.last_heartbeat = row.allocated_at = now
                tables.link(row)
                given.add(item.task_id)
            if quota is not None:
                tables.buckets.update(quota.changed())
        return frozenset(given)

    def rate_buckets(self, buckets: Sequence[str]) -> dict[str, int]:
        """Return when these token buckets will be full again: unix microseconds."""
        with self._transaction:
            known = self._tables.buckets
            return {bucket: known[bucket] for bucket in buckets if bucket in known}

    def live_load(self) -> list[LaneLoad]:
        """Return how many live rows each runner owns, by lane."""
        with self._transaction:
            counts: dict[tuple[str, int], int] = {}
            for runner_id, owned in self._tables.live.items():
                for row in owned.values():
                    key = (runner_id, row.lane)
                    counts[key] = counts.get(key, 0) + 1
        return [LaneLoad(runner, lane, counts[runner, lane]) for runner, lane in sorted(counts)]

    def lane_signatures(self, lanes: Sequence[int]) -> list[LaneSample]:
        """Return the signature of lanes that have live or CREATED rows."""
        tables = self._tables
        samples: list[LaneSample] = []
        with self._transaction:
            for lane in sorted(set(lanes)):
                live = tables.live_lanes.get(lane)
                if live:
                    samples.append(LaneSample(lane, _signature(next(iter(live.values())))))
                elif lane in tables.queues:
                    first = tables.queues[lane].take(1)[0]
                    samples.append(LaneSample(lane, _signature(tables.rows[first[2]])))
        return samples

    # -- producer and operator side ------------------------------------------------------------

    def cancel_many(self, task_ids: Sequence[int]) -> CancelReport:
        """Cancel: waiting rows end as CANCELED, RUNNING becomes CANCEL_REQUESTED."""
        tables = self._tables
        canceled: list[int] = []
        requested: list[tuple[int, str]] = []
        ignored: list[int] = []
        with self._transaction as now:
            for task_id in sorted(set(task_ids)):
                row = tables.rows.get(task_id)
                if row is not None and row.status in _IDLE:
                    if row.status == TaskStatus.WAITING:
                        tables.edges.drop(task_id)
                    tables.unlink(row)
                    row.status = TaskStatus.CANCELED
                    row.completed_at = now
                    tables.link(row)
                    canceled.append(task_id)
                elif row is not None and row.status == TaskStatus.RUNNING:
                    tables.unlink(row)
                    row.status = TaskStatus.CANCEL_REQUESTED
                    tables.link(row)
                    requested.append((task_id, row.runner))
                elif row is not None and row.status == TaskStatus.CANCEL_REQUESTED:
                    requested.append((task_id, row.runner))
                else:
                    ignored.append(task_id)
        return CancelReport(tuple(canceled), tuple(requested), tuple(ignored))

    def requeue_many(self, task_ids: Sequence[int], *, keep_steps: bool = True) -> tuple[int, ...]:
        """Run FAILED and CANCELED tasks again; return the ids that were requeued."""
        tables = self._tables
        requeued: list[int] = []
        with self._transaction as now:
            for task_id in sorted(set(task_ids)):
                row = tables.rows.get(task_id)
                if row is None or not _may_run_again(row):
                    continue
                tables.unlink(row)
                row.status = TaskStatus.CREATED
                row.runner, row.generation = "", 0
                row.run_at = now
                row.attempt = row.crashes = row.reassigned = 0
                row.started_at = row.completed_at = 0
                row.result = None
                left = lifted(row.options)
                if left is not None:
                    row.options = left
                tables.link(row)
                if not keep_steps:
                    tables.steps.pop(task_id, None)
                requeued.append(task_id)
        return tuple(requeued)

    # -- shared; the caller holds the lock -----------------------------------------------------

    def _quota(self, limits: Sequence[Limit], now: int) -> Quota:
        tables = self._tables
        live_keys: dict[str, int] = {}
        for live in tables.live_lanes.values() if needs_keys(limits) else ():
            key = _signature(next(iter(live.values()))).key
            live_keys[key] = live_keys.get(key, 0) + len(live)
        full = [name for name, full_at in tables.buckets.items() if full_at <= now * 1000]
        for name in full:
            del tables.buckets[name]
        reservations = Reservations(limits)
        for runner_id in reservations.runners:
            by_lane: dict[int, list[Row]] = {}
            for row in tables.live.get(runner_id, {}).values():
                by_lane.setdefault(row.lane, []).append(row)
            for rows in by_lane.values():
                reservations.take(runner_id, _signature(rows[0]), len(rows))
        return Quota(
            limits,
            tables.live_executors,
            live_keys,
            reservations,
            buckets=tables.buckets,
            now_us=now * 1000,
        )

    def _takes_tasks(self, runner_id: str, generation: int, now: int, by_hand: bool) -> bool:  # noqa: FBT001 - private
        runner = self._tables.runners.get(runner_id)
        if runner is None:
            return by_hand
        return (
            runner.record.state is RunnerState.ACTIVE
            and runner.record.generation == generation
            and runner.expires_at > now
        )


def _is_free(row: Row, item: Allocation, by_hand: bool) -> bool:  # noqa: FBT001 - private
    if row.epoch != item.epoch:
        return False
    if row.status == TaskStatus.CREATED:
        return True
    return by_hand and row.status == TaskStatus.RUNNING and row.runner != item.runner_id


def _may_run_again(row: Row) -> bool:
    if row.status == TaskStatus.CANCELED:
        return True
    failed = row.result is not None and row.result.code is ResultCode.FAILED
    return row.status == TaskStatus.COMPLETED and failed


def _signature(row: Row) -> LaneSignature:
    options = options_from_bytes(row.options) if row.options else DEFAULT_OPTIONS
    return signature_of(
        TaskMetadata(row.metadata_id, executor_value(row.executor), options=options)
    )


def _displaced(row: Row, now: int) -> Attempt:
    return Attempt(
        task_id=row.task_id,
        epoch=row.epoch,
        runner=row.runner,
        outcome=int(AttemptOutcome.LOST),
        started_at=row.started_at,
        ended_at=now,
    )
