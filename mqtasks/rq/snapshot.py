"""What the view shows: executors and runners at one moment, read from storage and heartbeats."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mqtasks.coordination.base import Heartbeats, RunnerBeat
from mqtasks.errors import CoordinationUnavailable
from mqtasks.model import RunnerRecord, RunnerState, TaskStatus, executor_value
from mqtasks.service import TaskService
from mqtasks.storage.contract import ExecutorCount, TaskStorage

CAP: Final = 10_000
"""Tasks of each status that are looked at, so that looking costs the same with any history."""

_log = logging.getLogger("mqtasks.rq")

_FIELDS: Final[dict[tuple[int, bool], str]] = {
    (TaskStatus.CREATED, False): "queued",
    (TaskStatus.SCHEDULED, False): "scheduled",
    (TaskStatus.RUNNING, False): "started",
    (TaskStatus.CANCEL_REQUESTED, False): "started",
    (TaskStatus.COMPLETED, False): "finished",
    (TaskStatus.COMPLETED, True): "failed",
    (TaskStatus.CANCELED, False): "canceled",
    (TaskStatus.WAITING, False): "deferred",
}


@dataclass(frozen=True)
class QueueCounts:
    """Tasks of one executor, in rq's words; too low where `Snapshot.capped`."""

    queued: int = 0
    """CREATED."""
    scheduled: int = 0
    """SCHEDULED."""
    started: int = 0
    """RUNNING and CANCEL_REQUESTED, those that still wait at their runner included."""
    finished: int = 0
    """COMPLETED with SUCCESS."""
    failed: int = 0
    """COMPLETED with FAILED."""
    canceled: int = 0
    """CANCELED."""
    deferred: int = 0
    """WAITING."""


@dataclass(frozen=True)
class RunnerSight:
    """One runner that has not stopped."""

    record: RunnerRecord
    queues: tuple[str, ...]
    """Its executors as queue names."""
    running: int
    """Tasks it executes now by its heartbeat, or those it owns where there is no heartbeat."""
    finished: int
    """Successes since its process began; 0 where there is no heartbeat."""
    failed: int
    """Failed attempts, likewise."""

    @property
    def state(self) -> str:
        """``busy`` or ``idle`` as rq says, or else ``draining`` or ``lapsed``."""
        if self.record.lease_remaining_ms <= 0:
            return "lapsed"
        if self.record.state is RunnerState.DRAINING:
            return "draining"
        return "busy" if self.running else "idle"


@dataclass(frozen=True)
class Snapshot:
    """All executors (by queue name, in order of their codes) and runners (by id)."""

    queues: Mapping[str, QueueCounts]
    runners: Sequence[RunnerSight]
    capped: bool
    """Whether some status has at least `CAP` tasks, so that some counts are too low."""


def take_snapshot(service: TaskService) -> Snapshot:
    """Read a snapshot; writes nothing. Raises StorageError; a Redis that is away raises nothing."""
    storage = service.storage
    records = [item for item in storage.runners() if item.state is not RunnerState.STOPPED]
    counted = storage.count_by_executor(CAP)
    codes = {item.executor for item in counted}
    codes.update(code for record in records for code in record.executors)
    totals: dict[str, Counter[str]] = {code: Counter() for code in codes}
    looked: Counter[int] = Counter()
    for item in counted:
        totals[item.executor][_field(item)] += item.count
        looked[item.status] += item.count
    return Snapshot(
        queues={queue_name(code): QueueCounts(**totals[code]) for code in sorted(codes)},
        runners=_sights(storage, service.heartbeats, records),
        capped=any(count >= CAP for count in looked.values()),
    )


def queue_name(code: str) -> str:
    """Return an executor code in its stored form as people know it: an int without zeros."""
    return str(executor_value(code))


def _field(item: ExecutorCount) -> str:
    failed = item.failed and item.status == TaskStatus.COMPLETED
    return _FIELDS[item.status, failed]


def _sights(
    storage: TaskStorage, heartbeats: Heartbeats, records: Sequence[RunnerRecord]
) -> list[RunnerSight]:
    owned: Counter[str] = Counter()
    for load in storage.live_load():
        owned[load.runner_id] += load.count
    beats = _beats(heartbeats, [record.id for record in records])
    sights: list[RunnerSight] = []
    for record in records:
        beat = beats.get(record.id)
        if beat is not None and beat.generation != record.generation:
            beat = None  # of an earlier process with the same id
        sights.append(
            RunnerSight(
                record=record,
                queues=tuple(queue_name(code) for code in record.executors),
                running=owned[record.id] if beat is None else beat.running,
                finished=0 if beat is None else beat.completed_total,
                failed=0 if beat is None else beat.failed_total,
            )
        )
    return sights


def _beats(heartbeats: Heartbeats, runner_ids: Sequence[str]) -> dict[str, RunnerBeat]:
    if not runner_ids:
        return {}
    try:
        return {beat.runner_id: beat for beat in heartbeats.runner_details(runner_ids)}
    except CoordinationUnavailable as error:
        _log.debug("no counters of runners: %s", error)
        return {}
