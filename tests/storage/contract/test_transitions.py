"""Every operation on a task of every state: nothing but TRANSITIONS is ever written (P9)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.model import (
    SUCCESS,
    TRANSITIONS,
    AttemptOutcome,
    FailurePolicy,
    NewTask,
    RunnerState,
    TaskEpoch,
    TaskStatus,
)
from mqtasks.storage.contract import Allocation, Completion, RetryRequest
from tests.support.links import linked
from tests.support.stage import FAILURE, LEASE_MS, MAX_CRASHES, Stage, new

Operation = Callable[[Stage, TaskEpoch], object]


def _to_running(stage: Stage, task: TaskEpoch) -> None:
    stage.allocate([task.task_id])


def _to_asked(stage: Stage, task: TaskEpoch) -> None:
    _to_running(stage, task)
    stage.storage.cancel_many([task.task_id])


def _to_succeeded(stage: Stage, task: TaskEpoch) -> None:
    _to_running(stage, task)
    stage.complete([task])


def _to_failed(stage: Stage, task: TaskEpoch) -> None:
    _to_running(stage, task)
    stage.complete([task], FAILURE)


def _to_scheduled(stage: Stage, task: TaskEpoch) -> None:
    _to_running(stage, task)
    stage.storage.retry_many("r1", [RetryRequest(task.task_id, 1, 0, "boom")])


STATES: dict[str, tuple[TaskStatus, Operation]] = {
    "created": (TaskStatus.CREATED, lambda stage, task: None),
    "scheduled": (TaskStatus.SCHEDULED, _to_scheduled),
    "running": (TaskStatus.RUNNING, _to_running),
    "cancel requested": (TaskStatus.CANCEL_REQUESTED, _to_asked),
    "succeeded": (TaskStatus.COMPLETED, _to_succeeded),
    "failed": (TaskStatus.COMPLETED, _to_failed),
    "canceled": (
        TaskStatus.CANCELED,
        lambda stage, task: stage.storage.cancel_many([task.task_id]),
    ),
    "waiting": (TaskStatus.WAITING, lambda stage, task: None),
    "waiting till later": (TaskStatus.WAITING, lambda stage, task: None),
    "waiting, or failed": (TaskStatus.WAITING, lambda stage, task: None),
}
WAITING = {
    "waiting": linked("t1", "parent"),
    "waiting till later": linked("t1", "parent", delay_duration=60),
    "waiting, or failed": linked("t1", "parent", on_failure=FailurePolicy.FAIL),
}


def _create(stage: Stage, state: str) -> int:
    tasks: list[NewTask] = [WAITING.get(state, new("t1"))]
    if state in WAITING:
        stage.register("r3")
        stage.allocate(stage.create("parent"), "r3")
    return stage.storage.create_tasks(tasks)[0].task_id


def _end_parent(stage: Stage, result) -> None:
    for parent in stage.storage.find(["parent"]).values():
        stage.storage.complete_many("r3", [Completion(parent.id, 1, result)])
    stage.storage.resolve_dependencies()


def _fence(stage: Stage, task: TaskEpoch) -> None:
    stage.clock.advance(LEASE_MS / 1000 + 1)
    stage.storage.fence_lapsed(stage.leadership, "r1", 1, MAX_CRASHES)


def _expire(stage: Stage, task: TaskEpoch) -> None:
    found = stage.task(task.task_id)
    metadata = replace(found.metadata, options=replace(found.metadata.options, deadline=1))
    stage.storage.update([replace(found, metadata=metadata)], where.everything())
    stage.clock.advance(10)
    stage.storage.expire_due(10)


OPERATIONS: dict[str, Operation] = {
    "promote": lambda stage, task: stage.storage.promote_due(10),
    "allocate": lambda stage, task: stage.storage.allocate_many(
        [Allocation(task.task_id, stage.task(task.task_id).epoch, "r1", 1)], stage.leadership
    ),
    "allocate by hand": lambda stage, task: stage.storage.allocate_many(
        [Allocation(task.task_id, stage.task(task.task_id).epoch, "r2", 1)]
    ),
    "succeed": lambda stage, task: stage.complete([task]),
    "fail": lambda stage, task: stage.complete([task], FAILURE),
    "fail as canceled": lambda stage, task: stage.complete(
        [task], FAILURE, outcome=int(AttemptOutcome.CANCELED)
    ),
    "snooze": lambda stage, task: stage.storage.retry_many(
        "r1", [RetryRequest(task.task_id, 1, 10, "", outcome=int(AttemptOutcome.SNOOZED))]
    ),
    "retry": lambda stage, task: stage.storage.retry_many(
        "r1", [RetryRequest(task.task_id, 1, 10, "boom")]
    ),
    "release": lambda stage, task: stage.storage.release_many("r1", [task], "drain"),
    "release unstarted": lambda stage, task: stage.storage.release_unstarted("r1", 1, "drain"),
    "mark started": lambda stage, task: stage.storage.mark_started("r1", [task]),
    "heartbeat": lambda stage, task: stage.storage.heartbeat_many("r1", [task]),
    "progress": lambda stage, task: stage.storage.save_progress("r1", task, b"x"),
    "resolve": lambda stage, task: stage.storage.resolve_dependencies(),
    "parents succeed": lambda stage, task: _end_parent(stage, SUCCESS),
    "parents fail": lambda stage, task: _end_parent(stage, FAILURE),
    "cancel": lambda stage, task: stage.storage.cancel_many([task.task_id]),
    "expire": _expire,
    "requeue": lambda stage, task: stage.storage.requeue_many([task.task_id]),
    "register": lambda stage, task: stage.register(),
    "report dead": lambda stage, task: stage.storage.report_dead("r1", 1, [task], 3),
    "report dead, capped": lambda stage, task: stage.storage.report_dead("r1", 1, [task], 0),
    "fence": _fence,
    "rescue orphans": lambda stage, task: (
        stage.storage.set_runner_state("r1", 1, RunnerState.STOPPED),
        stage.storage.rescue_orphans(stage.leadership, "r1", MAX_CRASHES),
    ),
}

TAKEN_AWAY = {"running": TaskStatus.CREATED, "cancel requested": TaskStatus.CANCELED}
PUT_BACK = {"running": TaskStatus.SCHEDULED, "cancel requested": TaskStatus.CANCELED}
ENDED = {"running": TaskStatus.COMPLETED, "cancel requested": TaskStatus.CANCELED}

CHANGES: dict[str, dict[str, TaskStatus]] = {
    "promote": {"scheduled": TaskStatus.CREATED},
    "allocate": {"created": TaskStatus.RUNNING},
    "allocate by hand": {"created": TaskStatus.RUNNING, "running": TaskStatus.RUNNING},
    "succeed": ENDED,
    "fail": ENDED,
    "fail as canceled": {
        "running": TaskStatus.CANCELED,
        "cancel requested": TaskStatus.CANCELED,
    },
    "retry": PUT_BACK,
    "snooze": PUT_BACK,
    "release": TAKEN_AWAY,
    "release unstarted": TAKEN_AWAY,
    "mark started": {},
    "heartbeat": {},
    "progress": {},
    "cancel": {
        "created": TaskStatus.CANCELED,
        "scheduled": TaskStatus.CANCELED,
        "running": TaskStatus.CANCEL_REQUESTED,
        **dict.fromkeys(WAITING, TaskStatus.CANCELED),
    },
    "resolve": {},
    "parents succeed": {
        "waiting": TaskStatus.CREATED,
        "waiting till later": TaskStatus.SCHEDULED,
        "waiting, or failed": TaskStatus.CREATED,
    },
    "parents fail": {
        "waiting": TaskStatus.CANCELED,
        "waiting till later": TaskStatus.CANCELED,
        "waiting, or failed": TaskStatus.COMPLETED,
    },
    "expire": {
        "created": TaskStatus.COMPLETED,
        "scheduled": TaskStatus.COMPLETED,
        **dict.fromkeys(WAITING, TaskStatus.COMPLETED),
    },
    "requeue": {"failed": TaskStatus.CREATED, "canceled": TaskStatus.CREATED},
    "register": TAKEN_AWAY,
    "report dead": TAKEN_AWAY,
    "report dead, capped": ENDED,
    "fence": TAKEN_AWAY,
    "rescue orphans": TAKEN_AWAY,
}
"""By operation and state, what the status becomes. Everything else changes no status."""


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STATES)
def test_p9_each_operation_writes_only_the_transition_it_is_for(stage, state, operation):
    stage.register("r1")
    stage.register("r2")
    task_id = _create(stage, state)
    task = TaskEpoch(task_id, 1)
    status, reach = STATES[state]
    reach(stage, task)
    before = stage.task(task_id)
    assert before.status is status
    OPERATIONS[operation](stage, task)
    after = stage.task(task_id)
    if state in CHANGES[operation]:
        assert after.status is CHANGES[operation][state]
        assert after.status in TRANSITIONS[status]
    else:
        assert (after.status, after.runner, after.epoch) == (status, before.runner, before.epoch)
    given = after.status is TaskStatus.RUNNING and operation.startswith("allocate")
    assert after.epoch == before.epoch + (given and state in CHANGES[operation])


def test_p9_the_table_above_shows_every_transition():
    seen = {
        (STATES[state][0], status)
        for changes in CHANGES.values()
        for state, status in changes.items()
    }
    assert seen == {(old, status) for old, news in TRANSITIONS.items() for status in news}
