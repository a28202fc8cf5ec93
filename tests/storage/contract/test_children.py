"""Tasks made by a running task: only while it is owned (S12)."""

from __future__ import annotations

import pytest

from mqtasks.errors import InvalidArgument
from mqtasks.model import NewTask, TaskEpoch, TaskMetadata, TaskStatus
from tests.support.races import together
from tests.support.stage import new


def child(name="parent/work:0", **fields):
    return NewTask(TaskMetadata(name, "work"), "parent", child_of="parent", **fields)


def test_s12_an_owned_task_makes_children_once(stage):
    (owner,) = stage.running("parent")
    made = stage.storage.create_children("r1", owner, [child(), child("parent/work:1")])
    assert [item.is_new for item in made] == [True, True]
    again = stage.storage.create_children("r1", owner, [child(), child("parent/work:2")])
    assert [item.is_new for item in again] == [False, True]
    found = stage.storage.children(owner.task_id)
    assert [item.child_id for item in found] == [made[0].task_id, made[1].task_id, again[1].task_id]
    assert stage.task(made[0].task_id).parent_task_id == "parent"
    assert stage.storage.create_children("r1", owner, []) == []


def test_s12_nobody_else_makes_children_of_it(stage):
    (owner,) = stage.running("parent")
    stage.register("r2")
    stale = TaskEpoch(owner.task_id, owner.epoch - 1)
    unknown = TaskEpoch(owner.task_id + 1, owner.epoch)
    for runner_id, key in (("r2", owner), ("r1", stale), ("r1", unknown)):
        assert stage.storage.create_children(runner_id, key, [child()]) is None
    stage.storage.release_many("r1", [owner], "stops")
    assert stage.storage.create_children("r1", owner, [child()]) is None
    assert stage.storage.find(["parent/work:0"]) == {}


def test_s12_children_outlive_a_parent_that_has_ended(stage):
    (owner,) = stage.running("parent")
    (made,) = stage.storage.create_children("r1", owner, [child()])
    stage.complete([owner])
    assert stage.storage.create_children("r1", owner, [child("parent/work:1")]) is None
    assert stage.status(made.task_id) is TaskStatus.CREATED


def test_s12_children_wait_for_each_other_and_for_others(stage):
    (owner,) = stage.running("parent")
    stage.storage.create_tasks([new("other")])
    first, second = stage.storage.create_children(
        "r1", owner, [child(), child("parent/work:1", after=("parent/work:0", "other"))]
    )
    assert stage.status(first.task_id) is TaskStatus.CREATED
    assert stage.status(second.task_id) is TaskStatus.WAITING
    with pytest.raises(InvalidArgument, match="after"):
        stage.storage.create_children("r1", owner, [child("x", after=("nobody",))])


@pytest.mark.timeout(60)
def test_s12_a_rescue_and_children_never_cross(stage):
    """Whoever locks the parent's row first: all children are there before it moves, or none is."""
    if not stage.storage.capabilities.concurrent_writers:
        pytest.skip("needs two transactions at a time")
    for number in range(10):
        name = f"parent-{number}"
        (owner,) = stage.running(name)
        tasks = [
            NewTask(TaskMetadata(f"{name}/work:{n}", "work"), name, child_of=name) for n in range(5)
        ]
        made, _ = together(
            lambda: stage.storage.create_children("r1", owner, tasks),  # noqa: B023
            lambda: stage.storage.release_many("r1", [owner], "moves"),  # noqa: B023
        )
        stored = stage.storage.find(task.metadata.id for task in tasks)
        assert len(stored) == (0 if made is None else 5)
