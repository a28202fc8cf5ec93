"""States of a task and of a runner, and the one table of allowed transitions."""

from __future__ import annotations

from enum import IntEnum


class TaskStatus(IntEnum):
    """State of an async task. The numbers are stored; they never change meaning."""

    CREATED = 0
    """May be allocated now."""
    RUNNING = 1
    """Allocated to a runner (started there, or waiting to be)."""
    COMPLETED = 2
    """Ended; ``execute_result.code`` says SUCCESS or FAILED."""
    CANCELED = 3
    """Ended by a cancellation; never runs again unless it is requeued."""
    SCHEDULED = 4
    """Becomes CREATED at ``run_at``."""
    CANCEL_REQUESTED = 5
    """Still owned by its runner, which may only end it as CANCELED."""
    WAITING = 6
    """Becomes CREATED (or SCHEDULED) when the tasks it waits for have ended."""

    @property
    def is_final(self) -> bool:
        """Whether nothing but a requeue or the pruner touches the row any more."""
        return self in FINAL

    @property
    def is_live(self) -> bool:
        """Whether a runner owns the task: it counts in limits, capacity, checks and rescue."""
        return self in LIVE


class ResultCode(IntEnum):
    """How a COMPLETED task ended."""

    SUCCESS = 0
    FAILED = 1


class RunnerState(IntEnum):
    """State of a runner row."""

    ACTIVE = 1
    """Takes tasks."""
    DRAINING = 2
    """Finishes what it started; nothing is allocated to it."""
    STOPPED = 3
    """Gone; tasks it still owned are rescued at the next pass."""


class AttemptOutcome(IntEnum):
    """Why an allocation ended without success."""

    FAILED = 1
    """The executor raised."""
    TIMED_OUT = 2
    """The executor outlived its timeout."""
    CRASHED = 3
    """The process died (or its lease lapsed) while the executor ran: charged as a crash."""
    LOST = 4
    """The runner was lost before the executor started: charged to nobody."""
    RELEASED = 5
    """The runner gave the task back."""
    CANCELED = 6
    """A cancellation ended it."""
    FENCED = 7
    """First counted as CRASHED, but the runner came back and showed that it was only fenced."""
    SNOOZED = 8
    """The executor asked to run later: charged to nobody."""


class FailurePolicy(IntEnum):
    """What becomes of a waiting task when one of its parents failed, was canceled, or is gone."""

    CANCEL = 0
    """It ends as CANCELED at once, the cause in its history; so do those that wait for it."""
    RUN = 1
    """A parent that ended badly counts as one that ended: it runs, and sees what became of each."""
    FAIL = 2
    """It ends as COMPLETED, FAILED at once, the cause as its error."""


FINAL = frozenset({TaskStatus.COMPLETED, TaskStatus.CANCELED})
LIVE = frozenset({TaskStatus.RUNNING, TaskStatus.CANCEL_REQUESTED})

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.WAITING: frozenset(
        {
            TaskStatus.CREATED,  # its parents have ended
            TaskStatus.SCHEDULED,  # likewise, but it is due later
            TaskStatus.CANCELED,  # canceled; or a parent ended badly, and its policy says so
            TaskStatus.COMPLETED,  # a parent ended badly, and its policy says: FAILED; a deadline
        }
    ),
    # due; canceled before it was due; or FAILED by then, because of its deadline
    TaskStatus.SCHEDULED: frozenset(
        {TaskStatus.CREATED, TaskStatus.CANCELED, TaskStatus.COMPLETED}
    ),
    # allocated; canceled before it was allocated; or FAILED by then, because of its deadline
    TaskStatus.CREATED: frozenset({TaskStatus.RUNNING, TaskStatus.CANCELED, TaskStatus.COMPLETED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.COMPLETED,  # success, or failure with no retry left
            TaskStatus.SCHEDULED,  # retry (backoff lives in run_at), or a snooze
            TaskStatus.CREATED,  # released, or taken from a lost runner
            TaskStatus.CANCEL_REQUESTED,  # somebody asked
            TaskStatus.CANCELED,  # the executor itself said so
            TaskStatus.RUNNING,  # reassigned: another runner, epoch + 1
        }
    ),
    TaskStatus.CANCEL_REQUESTED: frozenset({TaskStatus.CANCELED}),
    # an operator's requeue; the epoch is kept
    TaskStatus.COMPLETED: frozenset({TaskStatus.CREATED}),
    TaskStatus.CANCELED: frozenset({TaskStatus.CREATED}),
}
"""From each state, the states it may change to. Nothing else is ever written."""
