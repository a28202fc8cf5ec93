"""Tasks that wait: canceling, editing and requeueing them, looking at them, keeping parents."""

from __future__ import annotations

import pytest

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    DependencyOutcome,
    ExecuteResult,
    FailurePolicy,
    ResultCode,
    TaskMetadata,
    TaskStatus,
)
from tests.support.links import linked, resolve
from tests.support.stage import FAILURE

RUN = FailurePolicy.RUN


def create(stage, *tasks):
    return [item.task_id for item in stage.storage.create_tasks(tasks)]


def outcomes(stage, child_id):
    return [item.outcome for item in stage.storage.dependencies(child_id)]


def fail(stage, parent):
    stage.complete([parent], FAILURE)


# --- steering ----------------------------------------------------------------------------------


def test_a_waiting_task_is_canceled_at_once_and_what_waits_for_it_follows(stage):
    (parent,) = stage.running("parent")
    child, grandchild = create(stage, linked("child", "parent"), linked("grandchild", "child"))
    assert stage.storage.cancel_many([child]).canceled == (child,)
    assert stage.status(child) is TaskStatus.CANCELED
    assert outcomes(stage, child) == [DependencyOutcome.DROPPED]
    assert resolve(stage.storage).canceled == (grandchild,)
    stage.complete([parent])
    report = resolve(stage.storage)
    assert (report.waiting, report.released) == (False, ())
    assert stage.status(child) is TaskStatus.CANCELED


def test_a_parent_that_is_requeued_in_time_is_waited_for_again(stage):
    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    fail(stage, parent)
    stage.storage.requeue_many([parent.task_id])
    assert resolve(stage.storage).canceled == ()
    stage.complete(stage.allocate([parent.task_id]))
    assert resolve(stage.storage).released == (child,)


def test_a_canceled_child_that_is_requeued_waits_no_more(stage):
    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    stage.storage.cancel_many([child])
    assert stage.storage.requeue_many([child]) == (child,)
    assert stage.status(child) is TaskStatus.CREATED
    fail(stage, parent)
    resolve(stage.storage)
    assert stage.status(child) is TaskStatus.CREATED


def test_an_edit_of_a_waiting_task_is_seen_when_it_is_released(stage):
    from msgspec.structs import replace

    from mqtasks.conditions import where
    from mqtasks.model import TaskOptions

    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    task = stage.task(child)
    metadata = TaskMetadata("child", "other", b"new", TaskOptions(delay_duration=7))
    edited = replace(task, metadata=metadata)
    assert stage.storage.update([edited], where.status == TaskStatus.WAITING) == 1
    assert stage.storage.lanes(0, 10) == []
    stage.complete([parent])
    resolve(stage.storage)
    after = stage.task(child)
    assert (after.status, after.run_at) == (TaskStatus.SCHEDULED, stage.now + 7000)
    assert after.metadata.context == b"new"


def test_a_waiting_task_past_its_deadline_waits_for_nothing_more(stage):
    stage.running("parent")
    child, after = create(
        stage, linked("child", "parent", deadline=5), linked("after", "child", on_failure=RUN)
    )
    stage.clock.advance(60)
    assert stage.storage.expire_due(10) == (child,)
    assert outcomes(stage, child) == [DependencyOutcome.DROPPED]
    assert resolve(stage.storage).released == (after,)
    assert not resolve(stage.storage).waiting


def test_m16_a_waiting_task_may_be_edited(stage):
    from mqtasks.service import TaskService

    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    edited = TaskService(stage.storage, clock=stage.clock).control.edit(child, context=b"new")
    assert (edited.status, edited.metadata.context) == (TaskStatus.WAITING, b"new")
    stage.complete([parent])
    assert resolve(stage.storage).released == (child,)
    assert stage.task(child).metadata.context == b"new"


def test_a_deleted_child_takes_its_links_along(stage):
    from mqtasks.conditions import where

    (parent,) = stage.create("parent")
    (child,) = create(stage, linked("child", "parent"))
    assert stage.storage.delete(where.task_id == child) == 1
    assert stage.storage.dependencies(child) == []
    assert stage.storage.children(parent) == []
    assert not resolve(stage.storage).waiting


# --- looking -----------------------------------------------------------------------------------


def test_results_of_parents_come_in_the_order_of_after(stage):
    a, b = stage.running("a", "b")
    (child,) = create(stage, linked("child", "b", "a", child_of="a", on_failure=RUN))
    stage.complete([a], ExecuteResult(ResultCode.SUCCESS, "", b"1"))
    seen = stage.storage.parent_results(child)
    assert [(item.metadata_id, item.result) for item in seen] == [
        ("b", None),
        ("a", ExecuteResult(ResultCode.SUCCESS, "", b"1")),
    ]
    fail(stage, b)
    resolve(stage.storage)
    seen = stage.storage.parent_results(child)
    assert [item.result for item in seen] == [FAILURE, ExecuteResult(value=b"1")]
    assert [item.outcome.name for item in seen] == ["FAILED", "SUCCEEDED"]
    assert stage.storage.parent_results(a.task_id) == []


def test_children_are_found_by_their_parent(stage):
    (maker,) = stage.running("maker")
    ids = create(
        stage,
        linked("spawned", child_of="maker"),
        linked("waits", "maker"),
        linked("both", "maker", child_of="maker"),
    )
    assert [stage.status(child).name for child in ids] == ["CREATED", "WAITING", "WAITING"]
    found = stage.storage.children(maker.task_id)
    assert [item.child_id for item in found] == ids
    assert [item.outcome.name for item in found] == ["SPAWNED", "OPEN", "OPEN"]
    assert [item.child_id for item in stage.storage.children(maker.task_id, ids[0], 1)] == [ids[1]]
    assert stage.storage.parent_results(ids[0]) == []
    fail(stage, maker)
    assert resolve(stage.storage).canceled == tuple(ids[1:])
    assert stage.status(ids[0]) is TaskStatus.CREATED


# --- pruning -----------------------------------------------------------------------------------


def test_a_parent_is_kept_until_all_that_waited_for_it_have_ended(stage):
    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    create(stage, linked("spawned", child_of="parent"))
    stage.complete([parent])
    stage.clock.advance(10)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 0
    resolve(stage.storage)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 0, "the child may ask for its result"
    task = stage.allocate([child])
    assert stage.storage.prune(0, 10, 0, 0).deleted == 0
    stage.complete(task)
    stage.clock.advance(10)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 2
    assert stage.storage.dependencies(child) == []


def test_a_row_that_only_made_others_is_not_kept_for_them(stage):
    (maker,) = stage.running("maker")
    (child,) = create(stage, linked("spawned", child_of="maker"))
    stage.complete([maker])
    stage.clock.advance(10)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 1
    assert outcomes(stage, child) == [DependencyOutcome.SPAWNED]


def test_a_step_takes_at_least_one_parent(stage):
    with pytest.raises(InvalidArgument, match="limit=0: must be >= 1"):
        stage.storage.resolve_dependencies(limit=0)
    stage.running("parent")
    create(stage, linked("child", "parent"))
    assert stage.storage.resolve_dependencies(limit=10**6).waiting
