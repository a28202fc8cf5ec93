"""Steering beyond single tasks, over every storage: pauses, edits, many at once (M16, S4, S6)."""

from __future__ import annotations

import pytest

from mqtasks.conditions import where
from mqtasks.errors import (
    CronNotFound,
    InvalidArgument,
    InvalidCondition,
    PayloadTooLarge,
    TaskNotFound,
)
from mqtasks.model import PauseKind, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.service import TaskService
from mqtasks.service.control import Bulk
from mqtasks.storage.contract import Allocation
from tests.support.stage import FAILURE


@pytest.fixture
def service(storage, clock):
    return TaskService(storage, clock=clock)


@pytest.fixture
def control(service):
    return service.control


def statuses(service):
    return [task.status for task in service.query_task()]


# --- pausing -----------------------------------------------------------------------------------


def test_s4_things_are_paused_by_the_names_users_know(control):
    assert control.pause("executor", 7, "bad release")
    assert control.pause("key", "customer-1")
    assert not control.pause(PauseKind.EXECUTOR, 7)
    assert [(item.kind, item.name) for item in control.pauses()] == [
        (PauseKind.EXECUTOR, "0000000007"),
        (PauseKind.KEY, "customer-1"),
    ]
    assert control.resume("executor", 7)
    assert not control.resume("executor", 7)


def test_s4_a_cron_task_is_paused_in_its_own_row(service, control):
    service.create_cron_task(TaskMetadata("nightly", "work"), "* * * * *")
    assert control.pause("cron", "nightly")
    assert not control.pause("cron", "nightly")
    (cron,) = service.query_cron_task()
    assert cron.paused
    assert service.storage.next_cron_in_ms() is None
    assert control.resume("cron", "nightly")
    assert service.storage.next_cron_in_ms() is not None
    with pytest.raises(CronNotFound, match="'weekly' is not stored"):
        control.pause("cron", "weekly")


def test_an_unknown_kind_names_those_there_are(control):
    with pytest.raises(InvalidArgument, match="executor, key, tenant, runner"):
        control.pause("queue", "x")


# --- editing -----------------------------------------------------------------------------------


def test_m16_a_failed_task_is_edited_and_run_again_with_its_history(stage, service, control):
    (failed,) = stage.running("a")
    stage.complete([failed], FAILURE)
    options = TaskOptions(priority=5, max_retry_times=2)
    edited = control.edit(failed.task_id, context=b"better", options=options)
    assert edited.metadata.context == b"better"
    assert edited.priority == 5
    assert edited.status is TaskStatus.COMPLETED
    assert service.requeue(failed.task_id) == (failed.task_id,)
    task = service.get(failed.task_id)
    assert (task.status, task.epoch) == (TaskStatus.CREATED, failed.epoch)
    assert len(service.attempts(failed.task_id)) == 1


def test_m16_whoever_decided_on_the_old_text_is_fenced_by_an_edit(stage, service, control):
    stage.register("r1")
    task_id = service.create(TaskMetadata("a", "work", b"old"))
    seen = service.get(task_id)
    control.edit(task_id, context=b"new")
    given = service.storage.allocate_many([Allocation(task_id, seen.epoch, "r1", 1)])
    assert given == frozenset()
    again = service.get(task_id)
    assert service.storage.allocate_many([Allocation(task_id, again.epoch, "r1", 1)]) == {task_id}
    assert service.get(task_id).metadata.context == b"new"


def test_an_edit_may_move_a_task_to_another_lane(service, control):
    task_id = service.create(TaskMetadata("a", "work"))
    before = service.get(task_id)
    after = control.edit(task_id, executor="other")
    assert after.lane != before.lane
    assert [task.id for task in service.storage.lane_tasks(after.lane, 5)] == [task_id]
    assert service.storage.lane_tasks(before.lane, 5) == []


def test_what_runs_or_has_succeeded_is_not_edited(stage, control):
    running, done = stage.running("running", "done")
    stage.complete([done])
    with pytest.raises(InvalidArgument, match="is running: cancel it first"):
        control.edit(running.task_id, context=b"x")
    with pytest.raises(InvalidArgument, match="has succeeded: create a new task"):
        control.edit(done.task_id, context=b"x")
    with pytest.raises(TaskNotFound):
        control.edit(12345, context=b"x")


def test_an_edit_is_checked_like_a_new_task(service, control):
    task_id = service.create(TaskMetadata("a", "work", b"old"))
    with pytest.raises(InvalidArgument, match="jitter"):
        control.edit(task_id, options=TaskOptions(jitter=2))
    with pytest.raises(PayloadTooLarge):
        control.edit(task_id, context=bytes(service.max_payload_bytes + 1))
    assert service.get(task_id).metadata.context == b"old"


# --- many at once ------------------------------------------------------------------------------


def test_s6_failed_tasks_are_requeued_by_filter_after_a_dry_run(stage, service, control):
    failed = stage.running("a", "b", "c")
    stage.complete(failed, FAILURE)
    (done,) = stage.running("done")
    stage.complete([done])
    ids = tuple(item.task_id for item in failed)

    assert control.requeue_where(where.everything(), dry_run=True) == Bulk(3, 0, ids)
    assert TaskStatus.CREATED not in statuses(service)
    assert control.requeue_where(where.task_id <= ids[1]) == Bulk(2, 2, ids[:2])
    assert control.requeue_where(where.everything(), where.limit(5)) == Bulk(1, 1, ids[2:])
    assert service.get(done.task_id).status is TaskStatus.COMPLETED


def test_canceled_tasks_are_requeued_when_asked_for(stage, service, control):
    (task_id,) = stage.create("a")
    service.cancel(task_id)
    assert control.requeue_where(where.everything()) == Bulk(0, 0)
    assert control.requeue_where(where.everything(), canceled=True) == Bulk(1, 1, (task_id,))


def test_m16_open_tasks_are_canceled_by_filter(stage, service, control):
    (running,) = stage.running("running")
    waiting = stage.create("w1", "w2", executor="mail")
    assert control.cancel_where(where.executor == "mail", dry_run=True).matched == 2
    assert control.cancel_where(where.executor == "mail") == Bulk(2, 2, tuple(waiting))
    assert control.cancel_where(where.everything()) == Bulk(1, 1, (running.task_id,))
    assert service.get(running.task_id).status is TaskStatus.CANCEL_REQUESTED
    assert control.cancel_where(where.executor == "mail") == Bulk(0, 0)


def test_a_long_list_is_worked_off_in_chunks_and_tells_its_progress(service, control):
    service.create_batch([TaskMetadata(f"t{number}", "work") for number in range(2500)])
    told: list[int] = []
    report = control.cancel_where(where.executor == "work", progress=told.append)
    assert (report.matched, report.changed, len(report.examples)) == (2500, 2500, 10)
    assert told == [1000, 2000, 2500]


def test_acting_on_all_needs_to_be_said(control):
    for act in (control.cancel_where, control.requeue_where):
        with pytest.raises(InvalidCondition, match="everything"):
            act(where.limit(5))
