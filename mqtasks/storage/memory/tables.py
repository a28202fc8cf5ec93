"""The rows of the memory storage and their indexes, kept together by two functions."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from typing import TypeVar

import msgspec

from mqtasks.model import (
    LIVE,
    Attempt,
    CronFiring,
    CronTask,
    FiringKind,
    Leadership,
    Pause,
    PauseKind,
    RunnerRecord,
    StepRecord,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.checks import MAX_NUMBER
from mqtasks.storage.deadlines import first_look
from mqtasks.storage.memory.edges import Edges
from mqtasks.storage.memory.ordered import Ordered
from mqtasks.storage.memory.rows import Row

_Group = TypeVar("_Group", int, str)
_LIVE = frozenset(map(int, LIVE))


class RunnerRow(msgspec.Struct):
    """One runner: its record (the lease left out), lease expiry and when it was stopped."""

    record: RunnerRecord
    expires_at: int
    stopped_at: int = 0


class LeaseRow(msgspec.Struct):
    """One lease; an empty holder gave it up."""

    holder: str
    term: int
    expires_at: int


class CronRow(msgspec.Struct):
    """One cron definition, and whether it is deleted."""

    record: CronTask
    deleted: bool = False


class Tables:
    """All rows. Every change of a task row happens between `unlink` and `link`.

    The caller holds the storage's lock.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.ids: Ordered[int] = Ordered()
        self.by_metadata: dict[str, int] = {}
        self.by_status: dict[int, dict[int, Row]] = {int(item): {} for item in TaskStatus}
        self.scheduled: Ordered[tuple[int, int]] = Ordered()
        self.queues: dict[int, Ordered[tuple[int, int, int]]] = {}
        self.lanes: Ordered[int] = Ordered()
        self.live: dict[str, dict[int, Row]] = {}
        self.live_lanes: dict[int, dict[int, Row]] = {}
        self.live_executors: dict[str, int] = defaultdict(int)
        self.buckets: dict[str, int] = {}
        self.attempts: dict[int, dict[int, Attempt]] = {}
        self.steps: dict[int, dict[str, StepRecord]] = {}
        self.edges = Edges()
        self.runners: dict[str, RunnerRow] = {}
        self.leases: dict[str, LeaseRow] = {}
        self.windows: dict[bytes, tuple[int, str, int]] = {}
        self.deadlines: list[tuple[int, int]] = []
        """A heap: when to look at which task."""
        self.pauses: dict[tuple[PauseKind, str], Pause] = {}
        self.crons: dict[str, CronRow] = {}
        self.due_crons: Ordered[tuple[int, int]] = Ordered()
        self.cron_ids: dict[int, str] = {}
        self.firings: dict[tuple[int, FiringKind], dict[int, CronFiring]] = defaultdict(dict)
        """By definition and kind, then by fire time."""
        self.shortest_retention = MAX_NUMBER
        self._last_id = 0

    # -- rows ----------------------------------------------------------------------------------

    def next_id(self) -> int:
        """Return the id for the next new row."""
        self._last_id += 1
        return self._last_id

    def insert(self, row: Row) -> None:
        """Store a new row; its metadata id must not be stored."""
        self.rows[row.task_id] = row
        self.ids.add(row.task_id)
        self.by_metadata[row.metadata_id] = row.task_id
        self.link(row)
        self.note_retention(row)
        self.note_deadline(row)

    def delete(self, row: Row) -> None:
        """Remove a row and its history."""
        self.unlink(row)
        del self.rows[row.task_id]
        self.ids.remove(row.task_id)
        del self.by_metadata[row.metadata_id]
        self.attempts.pop(row.task_id, None)
        self.steps.pop(row.task_id, None)
        self.edges.forget(row.task_id)

    def link(self, row: Row) -> None:
        """Enter a row into the indexes, by what it holds now."""
        task_id, status = row.task_id, row.status
        self.by_status[status][task_id] = row
        if status == TaskStatus.CREATED:
            queue = self.queues.get(row.lane)
            if queue is None:
                queue = self.queues[row.lane] = Ordered()
                self.lanes.add(row.lane)
            queue.add((-row.priority, row.run_at, task_id))
        elif status in _LIVE:
            self.live.setdefault(row.runner, {})[task_id] = row
            self.live_lanes.setdefault(row.lane, {})[task_id] = row
            self.live_executors[row.executor] += 1
        elif status == TaskStatus.SCHEDULED:
            self.scheduled.add((row.run_at, task_id))

    def unlink(self, row: Row) -> None:
        """Take a row out of the indexes, before what they are made of changes."""
        task_id, status = row.task_id, row.status
        del self.by_status[status][task_id]
        if status == TaskStatus.CREATED:
            queue = self.queues[row.lane]
            queue.remove((-row.priority, row.run_at, task_id))
            if not len(queue):
                del self.queues[row.lane]
                self.lanes.remove(row.lane)
        elif status in _LIVE:
            _discard(self.live, row.runner, task_id)
            _discard(self.live_lanes, row.lane, task_id)
            self.live_executors[row.executor] -= 1
        elif status == TaskStatus.SCHEDULED:
            self.scheduled.remove((row.run_at, task_id))

    def note_retention(self, row: Row) -> None:
        """Remember the shortest retention any row ever asked for: it bounds the pruner's sweep."""
        retention = options_from_bytes(row.options).retention
        if retention is not None:
            self.shortest_retention = min(self.shortest_retention, round(retention * 1000))

    def note_deadline(self, row: Row) -> None:
        """Note when to look at a row, if it has a deadline."""
        at = first_look(row.options, row.created_at)
        if at:
            heapq.heappush(self.deadlines, (at, row.task_id))

    def history(self, attempt: Attempt) -> None:
        """Write an attempt row."""
        self.attempts.setdefault(attempt.task_id, {})[attempt.epoch] = attempt

    def live_of(self, runner_id: str) -> Iterator[Row]:
        """Yield the live rows of a runner by ascending id; they may be changed meanwhile."""
        owned = self.live.get(runner_id, {})
        return iter([owned[task_id] for task_id in sorted(owned)])

    # -- leases --------------------------------------------------------------------------------

    def leads(self, leadership: Leadership, now: int) -> bool:
        """Return whether a leadership is still held: holder, term and time."""
        lease = self.leases.get(leadership.name)
        return (
            lease is not None
            and lease.holder == leadership.holder
            and lease.term == leadership.term
            and lease.expires_at > now
        )


def _discard(groups: dict[_Group, dict[int, Row]], key: _Group, task_id: int) -> None:
    group = groups[key]
    del group[task_id]
    if not group:
        del groups[key]
