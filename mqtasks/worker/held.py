"""What a runner holds: one record per task from admission until its end is committed."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

from mqtasks.model import AsyncTask, ExecuteResult, Progress, TaskEpoch
from mqtasks.process.interrupt import Guard
from mqtasks.worker.executors import Executor
from mqtasks.worker.outcome import Outcome

if TYPE_CHECKING:
    import asyncio


class Phase(IntEnum):
    """How far a held task has come in this process."""

    WAITING = 0
    STARTING = 1
    """Has a slot; waits for its start to be written, or for a thread."""
    EXECUTING = 2
    ENDED = 3
    """Has an outcome that is not committed yet."""


class Cancel:
    """Why an executor is told to give up; what `TaskContext.cancel_reason` says."""

    CANCELED = "canceled"
    """Somebody asked for it; the task ends as CANCELED."""
    TIMEOUT = "timeout"
    """It ran longer than its timeout; counts as a failed attempt."""
    DEADLINE = "deadline"
    """The task's deadline is over; it fails for good."""
    REASSIGNED = "reassigned"
    """Storage says that the task is not this runner's any more."""
    LEASE = "lease lapsed"
    """The lease could not be renewed in time, so somebody else may own the task by now."""
    SHUTDOWN = "shutdown"
    """The runner stops; the task is given back and burns no attempt."""


class Held(msgspec.Struct, eq=False):
    """One task at this runner. Not locked: each field has one writer, readers take what is there.

    The fields after ``executor`` that a task without surprises never needs stay at their defaults.
    """

    task: AsyncTask
    task_id: int
    epoch: int
    priority: int
    executor: Executor
    admitted: float
    """When it was admitted; monotonic seconds, as are all times here."""
    must_mark: bool
    """Its start is written to storage before it happens: it had an earlier epoch, or a crash."""
    solo: bool
    """It runs alone: a runner has died under it before (P8), not only a process of its own."""
    phase: Phase = Phase.WAITING
    slot: int = -1
    started: float = 0.0
    ended: float = 0.0
    deadline: float = 0.0
    """When its time is over, by its timeout or its deadline; 0 = never."""
    expires: float = 0.0
    """When the task's deadline is over, all attempts included; 0 = never."""
    marked: bool = False
    """Storage knows that it has started."""
    outcome: Outcome | None = None
    completion: ExecuteResult | None = None
    """Written in a transaction of the executor's, whose commit may be open."""
    completed: bool = False
    """That transaction is known to be committed."""
    cancel_reason: str = ""
    told: bool = False
    """The executor has seen that it shall give up, or had it thrown at it."""
    cancel_event: threading.Event | None = None
    """Made by the first executor that waits for a cancellation."""
    coroutine: asyncio.Task[Any] | None = None
    """Set while an async executor runs."""
    guard: Guard | None = None
    """Of the thread that runs it."""
    abandoned: bool = False
    """Its end was reported without its executor, which does not give up."""
    stack: str = ""
    """Where it was when its time was over."""
    progress: bytes | Progress | None = None
    """Reported, and not written yet."""
    progress_at: float = 0.0
    """When progress was last written."""

    @property
    def key(self) -> TaskEpoch:
        """The allocation, as storage wants it named."""
        return TaskEpoch(self.task_id, self.epoch)


def hold(task: AsyncTask, executor: Executor, now: float) -> Held:
    """Return the record of a task admitted ``now``."""
    crashed = task.crashes > 0
    return Held(
        task,
        task.id,
        task.epoch,
        task.priority,
        executor,
        now,
        task.epoch > 1 or crashed,
        crashed and (executor.isolated is None or task.reassigned > 0),
    )


def time_limit(held: Held, start: float) -> float:
    """Return when the time of a task that starts then is over; 0 = never."""
    timeout = held.task.metadata.options.timeout
    over = start + timeout if timeout else 0.0
    return held.expires if held.expires and not 0 < over <= held.expires else over


class Holdings:
    """All tasks of this process whose end is not committed, by task id. Safe from many threads.

    Of two epochs of one task only the later one is listed: the earlier one is no longer ours, and
    merely occupies its slot until its executor gives up.
    """

    def __init__(self) -> None:
        self._held: dict[int, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Held) -> Held | None:
        """List a task; return the record of an earlier epoch that it replaces."""
        earlier = self._held.get(held.task_id)
        self._held[held.task_id] = held
        return earlier

    def get(self, task_id: int) -> Held | None:
        """Return the record of a task, if it is held."""
        return self._held.get(task_id)

    def discard(self, held: Held) -> None:
        """Forget a task whose end is settled. Does nothing for a record that was replaced."""
        if self._held.get(held.task_id) is held:
            del self._held[held.task_id]

    def all(self) -> list[Held]:
        """Return what is held now."""
        return list(self._held.values())

    def settle(self, helds: Iterable[Held]) -> tuple[list[int], list[int]]:
        """Forget tasks whose end is committed; return their ids and epochs."""
        held_by_id = self._held
        ids: list[int] = []
        epochs: list[int] = []
        for held in helds:
            task_id = held.task_id
            if held_by_id.get(task_id) is held:
                del held_by_id[task_id]
            ids.append(task_id)
            epochs.append(held.epoch)
        return ids, epochs
