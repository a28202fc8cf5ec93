"""Tasks that wait for others: links, policies, resolving, looking (S12)."""

from __future__ import annotations

import pytest

from mqtasks.errors import InvalidArgument
from mqtasks.model import (
    MAX_PARENTS,
    AttemptOutcome,
    CronTask,
    DependencyOutcome,
    ExecuteResult,
    FailurePolicy,
    ResultCode,
    TaskMetadata,
    TaskStatus,
    firing_id,
)
from mqtasks.storage.contract import Trigger
from tests.support.links import linked, resolve, statuses
from tests.support.stage import FAILURE, new

CANCEL, RUN, FAIL = FailurePolicy.CANCEL, FailurePolicy.RUN, FailurePolicy.FAIL


def create(stage, *tasks):
    return [item.task_id for item in stage.storage.create_tasks(tasks)]


def outcomes(stage, child_id):
    return [item.outcome for item in stage.storage.dependencies(child_id)]


# --- waiting -----------------------------------------------------------------------------------


def test_s12_a_task_waits_until_its_parent_has_succeeded(stage):
    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent"))
    assert stage.status(child) is TaskStatus.WAITING
    seen = resolve(stage.storage)
    assert (seen.released, seen.waiting) == ((), True)
    stage.complete([parent])
    assert resolve(stage.storage).released == (child,)
    task = stage.task(child)
    assert (task.status, task.run_at, task.epoch) == (TaskStatus.CREATED, stage.now, 0)
    assert [item.id for item in stage.storage.lane_tasks(task.lane, 5)] == [child]
    assert not resolve(stage.storage).waiting


def test_a_waiting_task_is_nowhere_in_the_queue(stage):
    stage.register()
    _, child = create(stage, new("parent", "other"), linked("child", "parent", priority=9))
    task = stage.task(child)
    assert task.lane not in stage.storage.lanes(0, 10)
    assert stage.storage.lane_tasks(task.lane, 5) == []
    assert stage.storage.next_due_in_ms() is None
    assert stage.storage.promote_due(10) == 0
    assert stage.storage.unended([child]) == {child}
    assert stage.storage.count_by_status(10)[TaskStatus.WAITING] == 1
    with pytest.raises(AssertionError):
        stage.allocate([child])


def test_s12_fan_in_waits_for_all(stage):
    parents = stage.running("a", "b", "c")
    (child,) = create(stage, linked("child", "a", "b", "c"))
    for count, parent in enumerate(parents, 1):
        stage.complete([parent])
        released = resolve(stage.storage).released
        assert released == ((child,) if count == 3 else ())


def test_s12_fan_out_lets_all_children_go(stage):
    (parent,) = stage.running("parent")
    children = create(stage, *(linked(f"c{n}", "parent") for n in range(25)))
    stage.complete([parent])
    first = stage.storage.resolve_dependencies(limit=10)
    assert first.released == tuple(children[:10])
    assert first.next_parent == parent.task_id - 1
    assert resolve(stage.storage, limit=10).released == tuple(children[10:])


def test_a_pass_goes_on_where_the_last_step_stopped(stage):
    parents = stage.running(*(f"p{n}" for n in range(7)))
    children = create(stage, *(linked(f"c{n}", f"p{n}") for n in range(7)))
    stage.complete(parents[5:])
    step = stage.storage.resolve_dependencies(limit=3)
    assert (step.next_parent, step.released) == (parents[2].task_id, ())
    step = stage.storage.resolve_dependencies(step.next_parent, limit=3)
    assert (step.next_parent, step.released) == (parents[5].task_id, (children[5],))
    step = stage.storage.resolve_dependencies(step.next_parent, limit=3)
    assert (step.next_parent, step.released) == (None, (children[6],))


def test_s12_a_chain_created_at_once_runs_link_by_link(stage):
    stage.register()
    ids = create(stage, linked("c", "b"), linked("b", "a"), new("a"))
    assert statuses(stage.storage) == {"a": "CREATED", "b": "WAITING", "c": "WAITING"}
    for name, task_id in (("b", ids[1]), ("c", ids[0])):
        stage.complete(stage.allocate([ids[2] if name == "b" else ids[1]]))
        assert resolve(stage.storage).released == (task_id,)


def test_a_delay_begins_when_the_parents_have_ended(stage):
    (parent,) = stage.running("parent")
    (child,) = create(stage, linked("child", "parent", delay_duration=60))
    assert stage.task(child).run_at == 0
    stage.clock.advance(100)
    stage.complete([parent])
    assert resolve(stage.storage).released == (child,)
    task = stage.task(child)
    assert (task.status, task.run_at) == (TaskStatus.SCHEDULED, stage.now + 60_000)
    assert stage.storage.next_due_in_ms() == 60_000
    stage.clock.advance(60)
    assert stage.storage.promote_due(5) == 1


def test_a_due_time_holds_beside_the_parents(stage):
    parents = stage.running("a", "b")
    soon, past = create(
        stage,
        linked("soon", "a", run_at=stage.now + 5000, priority=3),
        linked("past", "b", run_at=stage.now - 5000),
    )
    assert stage.task(soon).run_at == stage.now + 5000
    stage.complete(parents)
    assert resolve(stage.storage).released == (soon, past)
    assert stage.status(soon) is TaskStatus.SCHEDULED
    task = stage.task(past)
    assert (task.status, task.run_at) == (TaskStatus.CREATED, stage.now - 5000)


# --- policies ----------------------------------------------------------------------------------


def fail(stage, parent):
    stage.complete([parent], FAILURE)


def cancel(stage, parent):
    stage.storage.cancel_many([parent.task_id])
    stage.complete([parent])


def delete(stage, parent):
    from mqtasks.conditions import where

    stage.storage.delete(where.task_id == parent.task_id)


ENDINGS = {
    "failed": (fail, DependencyOutcome.FAILED, "parent 'parent' failed: boom"),
    "canceled": (cancel, DependencyOutcome.CANCELED, "parent 'parent' was canceled"),
    "deleted": (delete, DependencyOutcome.MISSING, "parent 2 of `after` was deleted"),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("policy", FailurePolicy)
def test_s12_the_policy_decides_when_a_parent_ends_badly(stage, ending, policy):
    _, parent = stage.running("good", "parent")
    end, outcome, cause = ENDINGS[ending]
    (child,) = create(stage, linked("child", "good", "parent", on_failure=policy))
    end(stage, parent)
    report = resolve(stage.storage)
    task = stage.task(child)
    if policy is RUN:
        assert (report.released, task.status) == ((), TaskStatus.WAITING), "one is still open"
        assert outcomes(stage, child) == [DependencyOutcome.OPEN, outcome]
        return
    assert outcomes(stage, child) == [DependencyOutcome.DROPPED, outcome]
    assert task.completed_at == stage.now
    if policy is CANCEL:
        assert (report.canceled, task.status) == ((child,), TaskStatus.CANCELED)
        attempt = stage.attempt(child)
        assert (attempt.epoch, attempt.runner) == (0, "")
        assert (attempt.outcome, attempt.error) == (AttemptOutcome.CANCELED, cause)
    else:
        assert (report.failed, task.status) == ((child,), TaskStatus.COMPLETED)
        assert task.execute_result == ExecuteResult(ResultCode.FAILED, cause)
        assert stage.storage.attempts(child) == []
    assert not resolve(stage.storage).waiting


def test_s12_run_runs_once_all_have_ended_however(stage):
    parents = stage.running("a", "b")
    (child,) = create(stage, linked("child", "a", "b", on_failure=RUN))
    fail(stage, parents[0])
    assert resolve(stage.storage).released == ()
    stage.complete(parents[1:])
    assert resolve(stage.storage).released == (child,)
    assert [item.outcome for item in stage.storage.parent_results(child)] == [
        DependencyOutcome.FAILED,
        DependencyOutcome.SUCCEEDED,
    ]


def test_the_first_bad_parent_in_the_order_given_is_the_cause(stage):
    first, second = stage.running("first", "second")
    (child,) = create(stage, linked("child", "second", "first", on_failure=FAIL))
    fail(stage, first)
    fail(stage, second)
    resolve(stage.storage)
    result = stage.task(child).execute_result
    assert result is not None
    assert result.error == "parent 'second' failed: boom"


def test_s12_a_cancellation_goes_down_the_tree(stage):
    (root,) = stage.running("root")
    create(
        stage,
        linked("child", "root"),
        linked("grandchild", "child"),
        linked("failing", "grandchild", on_failure=FAIL),
        linked("tidy up", "failing", on_failure=RUN),
    )
    fail(stage, root)
    for _ in range(4):
        resolve(stage.storage)
    assert statuses(stage.storage) == {
        "root": "COMPLETED",
        "child": "CANCELED",
        "grandchild": "CANCELED",
        "failing": "COMPLETED",
        "tidy up": "CREATED",
    }


def causes(stage):
    """Return what is kept of the end of each task, by metadata id."""
    said = {}
    for task in stage.storage.query():
        said[task.metadata.id] = task.execute_result.error if task.execute_result else ""
        for attempt in stage.storage.attempts(task.id):
            said[task.metadata.id] = attempt.error
    return said


def test_s12_each_that_ends_because_of_a_failure_knows_where_it_began(stage):
    (root,) = stage.running("root")
    tree = [
        linked("child", "root"),
        linked("grandchild", "child"),
        linked("failing", "grandchild", on_failure=FAIL),
        linked("last", "failing"),
    ]
    create(stage, *tree)
    stage.complete([root], ExecuteResult(ResultCode.FAILED, "ValueError: page 13 (because\n lost)"))
    for _ in range(4):
        resolve(stage.storage)
    began = "(because 'root' failed: ValueError: page 13 (because lost))"
    assert causes(stage) == {
        "root": "ValueError: page 13 (because\n lost)",
        "child": "parent 'root' failed: ValueError: page 13 (because lost)",
        "grandchild": f"parent 'child' was canceled {began}",
        "failing": f"parent 'grandchild' was canceled {began}",
        "last": f"parent 'failing' failed {began}",
    }
    (late,) = create(stage, linked("late", "grandchild"))
    assert stage.attempt(late).error == f"parent 'grandchild' was canceled {began}"


def test_s12_a_cancellation_without_a_reason_takes_none_of_an_earlier_attempt(stage):
    (root,) = stage.running("root")
    create(stage, linked("child", "root"))
    stage.storage.release_many("r1", [root], "its runner is gone")
    stage.storage.cancel_many([root.task_id])
    resolve(stage.storage)
    assert causes(stage)["child"] == "parent 'root' was canceled"


def test_s12_a_long_cause_is_cut(stage):
    (root,) = stage.running("root")
    create(stage, linked("child", "root"), linked("grandchild", "child"))
    stage.complete([root], ExecuteResult(ResultCode.FAILED, "ä" * 5000))
    for _ in range(2):
        resolve(stage.storage)
    said = causes(stage)
    assert said["child"] == f"parent 'root' failed: {'ä' * 299}…"
    assert said["grandchild"].startswith("parent 'child' was canceled (because 'root' failed: ä")
    assert said["grandchild"].endswith("ä…)")
    assert len(said["grandchild"]) < 400


# --- at creation -------------------------------------------------------------------------------


def test_s12_parents_that_have_ended_are_judged_at_once(stage):
    good, bad = stage.running("good", "bad")
    stage.complete([good])
    fail(stage, bad)
    children = create(
        stage,
        linked("ready", "good", priority=2),
        linked("later", "good", delay_duration=5),
        linked("canceled", "good", "bad"),
        linked("failed", "bad", on_failure=FAIL),
        linked("anyway", "bad", on_failure=RUN),
        linked("after canceled", "canceled"),
    )
    assert [stage.status(child).name for child in children] == [
        "CREATED", "SCHEDULED", "CANCELED", "COMPLETED", "CREATED", "WAITING",
    ]  # fmt: skip
    assert stage.attempt(children[2]).error == "parent 'bad' failed: boom"
    assert stage.task(children[1]).run_at == stage.now + 5000
    assert stage.task(children[0]).run_at == stage.now
    assert resolve(stage.storage).canceled == (children[5],)
    assert not resolve(stage.storage).waiting


def test_what_is_decided_at_once_waits_for_nobody_else(stage):
    (bad,) = stage.running("bad")
    stage.create("open")
    fail(stage, bad)
    (child,) = create(stage, linked("child", "open", "bad"))
    assert outcomes(stage, child) == [DependencyOutcome.DROPPED, DependencyOutcome.FAILED]
    assert not resolve(stage.storage).waiting


def test_a_task_that_is_stored_keeps_the_links_it_has(stage):
    (a,) = stage.running("a")
    stage.create("b")
    (child,) = create(stage, linked("child", "a"))
    for links in (["b"], ["gone"], []):
        (again,) = stage.storage.create_tasks([linked("child", *links)])
        assert (again.task_id, again.is_new) == (child, False)
    assert [item.parent_id for item in stage.storage.dependencies(child)] == [a.task_id]
    other, same = stage.storage.create_tasks([linked("other", "child"), linked("child", "b")])
    assert (other.is_new, same.is_new) == (True, False)
    assert [item.parent_id for item in stage.storage.dependencies(other.task_id)] == [child]


def test_of_two_of_one_name_in_a_batch_the_first_counts(stage):
    a, b = stage.create("a", "b")
    made = stage.storage.create_tasks([linked("child", "b"), linked("child", "a")])
    assert [item.is_new for item in made] == [True, False]
    assert [item.parent_id for item in stage.storage.dependencies(made[0].task_id)] == [b]
    assert stage.storage.children(a) == []


def test_a_parent_named_twice_is_one(stage):
    stage.create("a", "b")
    (child,) = create(stage, linked("child", "a", "b", "a"))
    assert [item.position for item in stage.storage.dependencies(child)] == [0, 1]


BAD = {
    "missing": ([linked("child", "a", "nobody")], "after='nobody': is not stored"),
    "maker missing": ([linked("child", child_of="nobody")], "child_of='nobody': is not stored"),
    "itself": ([linked("child", "child")], "cannot wait for itself"),
    "own maker": ([linked("child", child_of="child")], "cannot wait for itself"),
    "circle": ([linked("x", "y"), linked("y", "z"), linked("z", "a", "x")], "is a circle"),
    "policy": ([linked("child", "a", on_failure=9)], "must be a FailurePolicy"),
    "a list": ([linked("child", "a", after=["a"])], "must be a tuple"),
    "no id": ([linked("child", "")], "must not be empty"),
    "too many": (
        [linked("child", *(f"p{n}" for n in range(MAX_PARENTS + 1)))],
        "the limit is 10000",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_s12_links_that_cannot_be_are_refused_and_nothing_is_written(stage, case):
    stage.create("a")
    tasks, match = BAD[case]
    before = stage.everything()
    with pytest.raises(InvalidArgument, match=match):
        stage.storage.create_tasks([new("other"), *tasks])
    assert stage.everything() == before
    assert not resolve(stage.storage).waiting


def test_no_cron_firing_waits(stage):
    cron = CronTask(metadata=TaskMetadata("nightly", "work"), cron_expr="0 0 * * *")
    stage.storage.add_cron_task(cron)
    (stored,) = stage.storage.query_cron_task()
    stage.create("a")
    task = linked(firing_id("nightly", 1), "a")
    with pytest.raises(InvalidArgument, match="waits for no other task"):
        stage.storage.trigger_many([Trigger(stored, stage.now, task)])
