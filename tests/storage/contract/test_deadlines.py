"""Deadlines of tasks that nobody runs: they end in time, whatever state they are in."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    AttemptOutcome,
    CronTask,
    NewTask,
    ResultCode,
    TaskEpoch,
    TaskMetadata,
    TaskOptions,
    TaskStatus,
)
from mqtasks.storage.contract import RetryRequest, Trigger
from tests.support.stage import FAILURE, row

LATE = 1.001
"""Seconds after its deadline at which a task has been looked at."""


def expired(stage, task_id):
    task = stage.task(task_id)
    return task.status is TaskStatus.COMPLETED and task.execute_result.code is ResultCode.FAILED


def test_a_created_task_fails_when_its_deadline_is_over(stage):
    (task_id,) = stage.create("t", deadline=10)
    (other,) = stage.create("plain")
    deadline = stage.now + 10_000
    assert stage.task(task_id).deadline == deadline
    assert stage.task(other).deadline == 0
    stage.clock.advance(10)
    assert stage.storage.expire_due(10) == ()  # its runner, if it had one, comes first
    stage.clock.advance(LATE)
    assert stage.storage.expire_due(10) == (task_id,)
    task = stage.task(task_id)
    moment = datetime.fromtimestamp(deadline / 1000, UTC).isoformat(timespec="seconds")
    assert task.execute_result.error == f"deadline of {moment} passed before it started"
    assert (task.status, task.completed_at) == (TaskStatus.COMPLETED, stage.now)
    assert (task.runner, task.epoch, task.attempt) == ("", 0, 0)
    assert stage.storage.attempts(task_id) == []  # there was no allocation
    assert stage.status(other) is TaskStatus.CREATED
    assert stage.storage.expire_due(10) == ()


def test_an_absolute_deadline_is_a_moment_of_the_databases_clock(stage):
    (task_id,) = stage.create("t", deadline_at=stage.now + 5_000)
    stage.clock.advance(4 + LATE)
    assert stage.storage.expire_due(10) == ()
    stage.clock.advance(1)
    assert stage.storage.expire_due(10) == (task_id,)


def test_delayed_and_retrying_tasks_end_as_well(stage):
    (delayed,) = stage.create("delayed", delay_duration=3600, deadline=10)
    (retrying,) = stage.running("retrying", deadline=10, max_retry_times=5)
    stage.storage.retry_many("r1", [RetryRequest(retrying.task_id, 1, 3_600_000, "boom")])
    (released,) = stage.running("released", deadline=10)
    stage.storage.release_many("r1", [released], "later")
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == (delayed, retrying.task_id, released.task_id)
    assert all(expired(stage, t) for t in (delayed, retrying.task_id, released.task_id))
    # The history holds what was allocated, and no more.
    outcomes = [
        [attempt.outcome for attempt in stage.storage.attempts(task_id)]
        for task_id in (delayed, retrying.task_id, released.task_id)
    ]
    assert outcomes == [[], [AttemptOutcome.FAILED], [AttemptOutcome.RELEASED]]
    # None of them can be promoted or allocated any more.
    stage.clock.advance(3600)
    assert stage.storage.promote_due(10) == 0
    assert stage.storage.lanes(0, 10) == []


def test_a_task_that_waits_for_another_ends_as_well(stage):
    stage.create("parent")
    late = TaskMetadata("child", "work", b"", TaskOptions(deadline=10))
    (made,) = stage.storage.create_tasks([NewTask(late, after=("parent",))])
    assert stage.status(made.task_id) is TaskStatus.WAITING
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == (made.task_id,)
    assert expired(stage, made.task_id)


def test_a_live_task_is_left_to_its_runner_and_looked_at_again(stage):
    running, asked = stage.running("running", "asked", deadline=10)
    stage.storage.cancel_many([asked.task_id])
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == ()
    assert stage.status(running.task_id) is TaskStatus.RUNNING
    assert stage.status(asked.task_id) is TaskStatus.CANCEL_REQUESTED
    # Its runner is lost, say, and the task is back in the queue: now it ends.
    stage.storage.release_many("r1", [running], "lost")
    assert stage.storage.expire_due(10) == ()
    stage.clock.advance(LATE * 2)
    assert stage.storage.expire_due(10) == (running.task_id,)
    assert stage.status(asked.task_id) is TaskStatus.CANCEL_REQUESTED


def test_ended_and_deleted_tasks_are_forgotten(stage):
    done, failed, gone = stage.running("done", "failed", "gone", deadline=10)
    (canceled,) = stage.create("canceled", deadline=10)
    stage.complete([done])
    stage.complete([failed], FAILURE)
    stage.storage.cancel_many([canceled])
    stage.storage.delete(where.task_id == gone.task_id)
    before = stage.everything()
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == ()
    assert stage.everything() == before


def test_a_batch_is_bounded_and_the_earliest_come_first(stage):
    ids = [stage.create(f"t{n}", deadline=10 + n)[0] for n in range(5)]
    stage.clock.advance(20)
    assert stage.storage.expire_due(2) == tuple(ids[:2])
    assert stage.storage.expire_due(2) == tuple(ids[2:4])
    assert stage.storage.expire_due(2) == (ids[4],)


def test_creating_a_task_again_moves_no_deadline(stage):
    (task_id,) = stage.create("t", deadline=10)
    assert stage.create("t", deadline=5) == [task_id]
    assert stage.create("t", deadline=3600) == [task_id]
    assert stage.create("t") == [task_id]
    stage.clock.advance(5 + LATE)
    assert stage.storage.expire_due(10) == ()  # looked at for the second one: it is not over
    stage.clock.advance(5)
    assert stage.storage.expire_due(10) == (task_id,)


def test_an_edit_lifts_a_deadline_or_sets_one(stage):
    had, has = stage.create("had", deadline=10)[0], stage.create("has")[0]
    plain, limited = TaskOptions(), TaskOptions(deadline=20)
    changes = []
    for task_id, options in ((had, plain), (has, limited)):
        task = stage.task(task_id)
        metadata = TaskMetadata(task.metadata.id, "work", b"", options)
        changes.append(row(metadata.id, id=task_id, options=options, run_at=task.run_at))
    assert stage.storage.update(changes, where.status == TaskStatus.CREATED) == 2
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == ()
    stage.clock.advance(10)
    assert stage.storage.expire_due(10) == (has,)
    assert stage.status(had) is TaskStatus.CREATED


def test_whoever_requeues_a_task_overrules_its_deadline(stage):
    (task_id,) = stage.create("t", deadline=10, priority=3)
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == (task_id,)
    assert stage.storage.requeue_many([task_id]) == (task_id,)
    task = stage.task(task_id)
    assert (task.status, task.deadline) == (TaskStatus.CREATED, 0)
    assert task.metadata.options == TaskOptions(priority=3)
    stage.clock.advance(3600)
    assert stage.storage.expire_due(10) == ()
    assert stage.storage.lane_tasks(task.lane, 10) == [stage.task(task_id)]


def test_a_cron_firing_has_its_deadline_from_its_own_creation(stage):
    metadata = TaskMetadata("c", "work", b"", TaskOptions(deadline=10))
    cron = CronTask(metadata=metadata, cron_expr="* * * * *", next_time=stage.now)
    stage.storage.add_cron_task(cron)
    stage.clock.advance(100)
    (stored,) = stage.storage.query_cron_task()
    task = TaskMetadata("c:0", "work", b"", metadata.options)
    trigger = Trigger(stored, stage.now + 60_000, NewTask(task, "c"))
    assert stage.storage.trigger_many([trigger]) == [True]
    stage.clock.advance(9)
    assert stage.storage.expire_due(10) == ()
    stage.clock.advance(1 + LATE)
    (task_id,) = stage.storage.expire_due(10)
    assert stage.task(task_id).metadata.id == "c:0"


def test_an_expired_task_cannot_be_allocated_by_who_has_read_it_before(stage):
    (task_id,) = stage.create("t", deadline=10)
    stage.register()
    seen = stage.task(task_id)
    stage.clock.advance(10 + LATE)
    assert stage.storage.expire_due(10) == (task_id,)
    with pytest.raises(AssertionError):
        stage.allocate([seen.id])
    assert expired(stage, task_id)
    assert stage.storage.heartbeat_many("r1", [TaskEpoch(task_id, 1)]).lost == (task_id,)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"deadline": -1}, "options.deadline"),
        ({"deadline_at": -1}, "options.deadline_at"),
        ({"deadline": float("nan")}, "options.deadline"),
        ({"deadline": 1.0, "deadline_at": 1}, "options.deadline"),
    ],
)
def test_unusable_deadlines_are_refused(stage, options, field):
    with pytest.raises(InvalidArgument) as caught:
        stage.create("t", **options)
    assert caught.value.field == field
