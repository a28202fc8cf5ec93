"""A caller links tasks and commits late: no worker waits for it, and no parent is lost (S12)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import Created, DependencyOutcome, FailurePolicy
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.support.callers import by_pymysql
from tests.support.links import linked, resolve, statuses
from tests.support.stage import FAILURE, Stage, new

PATIENCE = 30


@pytest.fixture
def stage(mysql_url, clock):
    with MySQLTaskStorage(mysql_url, clock=clock) as storage:
        yield Stage(storage, clock)


@pytest.fixture(params=["REPEATABLE READ", "READ COMMITTED"])
def caller(request, mysql_url, stage):
    stage.storage.now_ms()
    with by_pymysql(mysql_url) as caller:
        caller.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {request.param}")
        caller.commit()
        yield caller


def link(stage, caller, *tasks):
    caller.execute("SELECT COUNT(*) FROM mqtasks_task")  # where a snapshot is taken
    return stage.storage.join(caller.target).create_tasks(tasks)


def test_s12_a_parent_ends_while_its_child_is_not_committed(stage, caller):
    (parent,) = stage.running("parent")
    link(stage, caller, linked("child", "parent"))
    assert not stage.complete([parent]).lost, "nobody is kept waiting"
    assert not resolve(stage.storage).waiting
    caller.commit()
    assert len(resolve(stage.storage).released) == 1
    assert statuses(stage.storage)["child"] == "CREATED"


def test_s12_no_parent_is_pruned_under_a_link_that_is_not_committed(stage, caller):
    """A latch: the pruner has judged the row, and waits for the caller to delete it."""
    (parent,) = stage.running("parent")
    [child] = link(stage, caller, linked("child", "parent"))
    stage.complete([parent])
    stage.clock.advance(10)
    began = threading.Event()

    def prune():
        began.set()
        return stage.storage.prune(0, 10, 0, 0).deleted

    with ThreadPoolExecutor(1) as threads:
        pruned = threads.submit(prune)
        assert began.wait(PATIENCE)
        with pytest.raises(TimeoutError):
            pruned.result(0.3)
        caller.commit()
        assert pruned.result(PATIENCE) == 0
    assert resolve(stage.storage).released == (child.task_id,)
    [seen] = stage.storage.parent_results(child.task_id)
    assert (seen.metadata_id, seen.outcome) == ("parent", DependencyOutcome.SUCCEEDED)


def test_s12_a_rollback_lets_the_pruner_go_on(stage, caller):
    (parent,) = stage.running("parent")
    stage.complete([parent])
    link(stage, caller, linked("child", "parent"))
    caller.rollback()
    stage.clock.advance(10)
    assert stage.storage.prune(0, 10, 0, 0).deleted == 1
    assert stage.storage.children(parent.task_id) == []


def test_s12_what_a_snapshot_shows_is_judged_by_the_resolver(stage, caller):
    """The parent had failed when the snapshot was taken, and runs again since."""
    (parent,) = stage.running("parent")
    stage.complete([parent], FAILURE)
    link(stage, caller, linked("child", "parent", on_failure=FailurePolicy.FAIL))
    stage.storage.requeue_many([parent.task_id])
    caller.commit()
    assert not resolve(stage.storage).failed
    stage.complete(stage.allocate([parent.task_id]))
    assert len(resolve(stage.storage).released) == 1


def test_s12_two_callers_link_to_each_other_s_parents_without_a_deadlock(stage, caller, mysql_url):
    stage.running("a", "b")
    with by_pymysql(mysql_url) as other:
        link(stage, caller, linked("one", "a"))
        link(stage, other, linked("two", "b"))
        link(stage, caller, linked("three", "b"))
        link(stage, other, linked("four", "a"))
        caller.commit()
        other.commit()
    assert set(statuses(stage.storage)) == {"a", "b", "one", "two", "three", "four"}


@pytest.mark.parametrize("rows", [10_000, 2], ids=["one statement", "several"])
def test_s12_a_plan_that_is_refused_leaves_nothing_in_the_callers_transaction(
    stage, caller, monkeypatch, rows
):
    monkeypatch.setattr("mqtasks.storage.mysql.session._MOST_ROWS", rows)
    plan = [
        replace(linked(name, *before), plan="p")
        for name, before in (("p/0", ()), ("p/1", ("p/0",)), ("p/2", ("p/1",)), ("p", ("p/2",)))
    ]
    caller.execute("SELECT COUNT(*) FROM mqtasks_task")
    stage.create("p/2")  # behind the snapshot
    joined = stage.storage.join(caller.target)
    with pytest.raises(InvalidArgument, match="id='p/2': is stored already"):
        joined.create_tasks(plan)
    joined.create_tasks([new("other")])
    caller.commit()
    assert set(statuses(stage.storage)) == {"p/2", "other"}
    stage.storage.delete(where.metadata_id == "p/2")

    caller.execute("SELECT COUNT(*) FROM mqtasks_task")
    made = stage.storage.create_tasks(plan)
    again = stage.storage.join(caller.target).create_tasks([*plan[:2], plan[3]])
    caller.commit()
    assert again == [Created(made[at].task_id, is_new=False) for at in (0, 1, 3)]
