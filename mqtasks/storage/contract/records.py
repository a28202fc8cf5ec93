"""Records of the storage contract: parameters and answers of its batch operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from mqtasks.model import (
    AttemptOutcome,
    CronTask,
    ExecuteResult,
    FiringState,
    LaneSignature,
    NewTask,
    RateLimit,
)


class Capabilities(msgspec.Struct, frozen=True):
    """What a storage can do beyond the contract; tests skip by these names, with the reason."""

    name: str
    """``memory``, ``sqlite`` or ``mysql``."""
    cross_process: bool
    """Whether several processes may open it at once."""
    concurrent_writers: bool
    """Whether two transactions can write at the same time (row locks)."""
    change_counter: bool
    """Whether `change_count` tells cheaply that somebody committed something."""
    host_clock: bool
    """Whether the database's clock is the clock of the host that asks."""


class Allocation(msgspec.Struct, frozen=True):
    """Give task ``task_id``, seen at ``epoch``, to this generation of a runner."""

    task_id: int
    epoch: int
    runner_id: str
    generation: int


class ExecutorLimit(msgspec.Struct, frozen=True):
    """At most ``most`` live tasks of this executor (stored form) over the whole fleet."""

    executor: str
    most: int


class KeyLimit(msgspec.Struct, frozen=True):
    """At most ``most`` live tasks with this concurrency key over the whole fleet."""

    key: str
    most: int


class RateRule(msgspec.Struct, frozen=True):
    """Tasks of this bucket (see `executor_bucket`, `key_bucket`) start at this rate at most."""

    bucket: str
    rate: RateLimit


class RunnerLimit(msgspec.Struct, frozen=True):
    """What live tasks of a runner reserve must fit into what its present generation offers."""

    runner_id: str
    cpu: float = 0.0
    """Cores."""
    memory: int = 0
    """Bytes."""
    resources: Mapping[str, float] = {}
    """Named amounts; what is not named is not offered."""


Limit: TypeAlias = ExecutorLimit | KeyLimit | RateRule | RunnerLimit


def executor_bucket(executor: str) -> str:
    """Return the name of the token bucket of an executor (stored form)."""
    return f"executor:{executor}"


def key_bucket(key: str) -> str:
    """Return the name of the token bucket of a concurrency key."""
    return f"key:{key}"


class Owned(msgspec.Struct, frozen=True):
    """A live row of a runner, without its payload. ``status`` is RUNNING or CANCEL_REQUESTED."""

    task_id: int
    epoch: int
    status: int


class LaneLoad(msgspec.Struct, frozen=True):
    """How many live tasks of one lane one runner owns."""

    runner_id: str
    lane: int
    count: int


class LaneSample(msgspec.Struct, frozen=True):
    """A lane and the signature of one of its rows."""

    lane: int
    signature: LaneSignature


class Completion(msgspec.Struct, frozen=True):
    """One executed task: its result, how long it ran (ms), and a traceback if it failed.

    ``outcome`` is the `AttemptOutcome` kept in the history when ``result`` is a failure; CANCELED
    says that the executor wants the task to end as CANCELED, its reason is the result's error.
    """

    task_id: int
    epoch: int
    result: ExecuteResult
    elapsed_ms: int = 0
    traceback: str = ""
    outcome: int = 1


UNCOUNTED = frozenset({int(AttemptOutcome.CRASHED), int(AttemptOutcome.SNOOZED)})
"""Outcomes of attempts that do not count as failed ones when the task is to run again."""


class RetryRequest(msgspec.Struct, frozen=True):
    """One attempt that is not the last: the task runs again ``delay_ms`` from now.

    ``outcome`` is the `AttemptOutcome` kept in the history. CRASHED counts as a crash, SNOOZED as
    nothing, all others as a failed attempt.
    """

    task_id: int
    epoch: int
    delay_ms: int
    error: str
    traceback: str = ""
    elapsed_ms: int = 0
    outcome: int = 1


class WriteReport(msgspec.Struct, frozen=True):
    """What a batch of fenced writes did.

    ``lost``: task ids whose row no longer shows (runner, epoch, live status), unless it already
    shows the very outcome asked for (a repeated write after an unknown commit is a success).
    ``canceled``: task ids that were CANCEL_REQUESTED and were ended as CANCELED instead.
    Everything else was applied as asked.
    """

    lost: tuple[int, ...] = ()
    canceled: tuple[int, ...] = ()


APPLIED = WriteReport()


class CancelReport(msgspec.Struct, frozen=True):
    """What a cancellation did: ended at once; asked of these runners; not possible any more."""

    canceled: tuple[int, ...] = ()
    requested: tuple[tuple[int, str], ...] = ()
    """(task id, runner id)"""
    ignored: tuple[int, ...] = ()
    """Ended already, or not stored."""


class RescueReport(msgspec.Struct, frozen=True):
    """What taking tasks from a lost runner did, as task ids."""

    requeued: tuple[int, ...] = ()
    """Back to CREATED; epoch kept."""
    canceled: tuple[int, ...] = ()
    """Were CANCEL_REQUESTED."""
    failed: tuple[int, ...] = ()
    """Reached a cap: crashes > max_crashes, or reassigned more than max_reassign_times."""


class Renewal(msgspec.Struct, frozen=True):
    """Renew the lease of this generation of a runner."""

    runner_id: str
    generation: int


class Orphans(msgspec.Struct, frozen=True):
    """A runner id that owns live rows though its runner row is stopped or missing."""

    runner_id: str
    has_row: bool
    """False: no runner row, so a foreign runner judged by heartbeats of its tasks (P3)."""


class Trigger(msgspec.Struct, frozen=True):
    """One scheduled firing: the row as read, the next fire time, and the task to create."""

    cron: CronTask
    next_time: int
    task: NewTask | None = None
    """None: no task is made, and the row only moves on to ``next_time``."""
    fire_time: int = 0
    """The moment that is recorded, unix ms; 0 = the row's next_time as read."""
    state: FiringState = FiringState.FIRED
    """What is recorded: FIRED exactly if there is a task."""

    @property
    def moment(self) -> int:
        """The moment that the firing is recorded for, unix ms."""
        return self.fire_time or self.cron.next_time


class ExecutorCount(msgspec.Struct, frozen=True):
    """How many tasks of one executor (stored form) are in one status.

    ``failed`` tells the FAILED among the COMPLETED apart.
    """

    executor: str
    status: int
    failed: bool
    count: int


class PruneReport(msgspec.Struct, frozen=True):
    """One chunk of the pruner: rows deleted, and where the next chunk starts (0 = sweep done)."""

    deleted: int
    next_id: int
