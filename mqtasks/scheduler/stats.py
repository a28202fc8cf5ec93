"""The leader's snapshot for monitoring tools, published as one hash with a time to live."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from mqtasks._version import __version__
from mqtasks.model import Leadership, RunnerRecord, RunnerState, TaskStatus
from mqtasks.scheduler.signatures import Signatures
from mqtasks.scheduler.throughput import Throughput
from mqtasks.service import TaskService
from mqtasks.storage.contract import LaneLoad

_CAP: Final = 10_000
"""Counts stop here, so that a snapshot costs the same with any backlog."""
_SAMPLE: Final = 2_000
"""Rows of each status that are looked at for the counts by executor."""
_MOST_LANES: Final = 20
_TTL_INTERVALS: Final = 3
_COUNTED: Final = {
    "scheduled": TaskStatus.SCHEDULED,
    "created": TaskStatus.CREATED,
    "running": TaskStatus.RUNNING,
    "cancel_requested": TaskStatus.CANCEL_REQUESTED,
    "waiting": TaskStatus.WAITING,
}

Snapshot: TypeAlias = dict[str, str | int | float]


class Stats:
    """Takes and publishes snapshots. For one thread; durations are seconds."""

    def __init__(
        self,
        service: TaskService,
        leadership: Callable[[], Leadership | None],
        *,
        interval: float = 2.0,
    ) -> None:
        """Publish each ``interval``; the snapshot outlives three of them."""
        self._service = service
        self._storage = service.storage
        self._leadership = leadership
        self._interval = interval
        self._signatures = Signatures(service.storage)
        self._throughput = Throughput(service)

    def run_once(self) -> float:
        """Publish one snapshot; return seconds until the next. Nothing on a standby."""
        leadership = self._leadership()
        if leadership is None:
            self._throughput.restart()
        else:
            snapshot = self.snapshot(leadership)
            self._service.heartbeats.publish_stats(snapshot, _TTL_INTERVALS * self._interval)
        return self._interval

    def snapshot(self, leadership: Leadership) -> Snapshot:
        """Return the fields that ``docs/reference/redis-keys.md`` describes."""
        loads = self._storage.live_load()
        runners = [
            runner
            for runner in self._storage.runners()
            if runner.state is not RunnerState.STOPPED and runner.lease_remaining_ms > 0
        ]
        return {
            "leader": leadership.holder,
            "term": leadership.term,
            "at_ms": self._service.database_clock.now_ms(),
            "version": __version__,
            **_slots(runners, loads),
            **self._tasks(),
            **self._by_executor(loads),
            **self._throughput.measure([runner.id for runner in runners]),
        }

    def _tasks(self) -> Snapshot:
        counts = self._storage.count_by_status(_CAP)
        fields: Snapshot = {name: counts.get(status, 0) for name, status in _COUNTED.items()}
        due = [
            task.run_at
            for lane in self._storage.lanes(0, _MOST_LANES)
            for task in self._storage.lane_tasks(lane, 1)
        ]
        if due:
            waited_ms = max(0, self._service.database_clock.now_ms() - min(due))
            fields["oldest_created_s"] = round(waited_ms / 1000, 3)
        return fields

    def _by_executor(self, loads: Sequence[LaneLoad]) -> Snapshot:
        fields: dict[str, int] = {}
        for item in self._storage.count_by_executor(_SAMPLE):
            if item.status == TaskStatus.CREATED:
                name = f"executor:{item.executor}:created"
                fields[name] = fields.get(name, 0) + item.count
        signatures = self._signatures.of(load.lane for load in loads)
        for load in loads:
            signature = signatures.get(load.lane)
            if signature is not None:
                name = f"executor:{signature.executor}:running"
                fields[name] = fields.get(name, 0) + load.count
        return dict(fields)


def _slots(runners: Sequence[RunnerRecord], loads: Sequence[LaneLoad]) -> Snapshot:
    live: dict[str, int] = {}
    for load in loads:
        live[load.runner_id] = live.get(load.runner_id, 0) + load.count
    free = (max(0, runner.parallelism - live.get(runner.id, 0)) for runner in runners)
    return {
        "runners": len(runners),
        "slots": sum(runner.parallelism for runner in runners),
        "free_slots": sum(free),
    }
