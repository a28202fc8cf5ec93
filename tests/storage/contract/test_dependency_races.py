"""Links between tasks while others write the same rows: nothing starts twice, nothing stays (S12).

The latches hold a transaction open while somebody else arrives; the races only meet.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mqtasks.conditions import where
from mqtasks.errors import InvalidArgument
from mqtasks.model import SUCCESS, DependencyOutcome, FailurePolicy, TaskStatus
from mqtasks.storage.contract import Completion
from tests.support.links import linked, resolve, statuses
from tests.support.races import race, together
from tests.support.stage import FAILURE, Stage, new

PATIENCE = 30
MANY = 40


@pytest.fixture
def two(opener, clock):
    """The same storage twice."""
    return opener(clock), opener(clock)


@pytest.fixture
def locking(two):
    """The same, where two transactions can meet at a row."""
    if not two[0].capabilities.concurrent_writers:
        pytest.skip("no row locks: writers come one after the other anyway")
    return two


@pytest.fixture
def stage(two, clock):
    return Stage(two[0], clock)


def pairs(stage, count=MANY, **options):
    """Create running parents with a child each; return them, and the children's ids."""
    parents = stage.running(*(f"p{n}" for n in range(count)))
    made = stage.storage.create_tasks(
        [linked(f"c{n}", f"p{n}", **options) for n in range(count)],
    )
    return parents, [item.task_id for item in made]


def open_links(storage):
    return [
        link
        for task in storage.query()
        for link in storage.dependencies(task.id)
        if link.outcome is DependencyOutcome.OPEN
    ]


def during(storage, hold, arrive):
    """Run ``hold`` in a transaction; ``arrive`` must wait until that has committed."""
    began = threading.Event()

    def late():
        began.set()
        return arrive()

    with ThreadPoolExecutor(1) as threads:

        def work(session):
            hold(session)
            arriving = threads.submit(late)
            assert began.wait(PATIENCE)
            with pytest.raises(TimeoutError):
                arriving.result(0.2)  # it waits for the row
            return arriving

        return storage.database.transact(work).result(PATIENCE)


def creating(*tasks):
    from mqtasks.storage.sql.create import create_linked

    return lambda session: create_linked(session, tasks)


# --- resolvers ---------------------------------------------------------------------------------


def test_s12_two_resolvers_release_each_child_once(two, stage):
    parents, children = pairs(stage)
    stage.complete(parents)
    found = together(*(lambda storage=storage: resolve(storage, 3) for storage in two))
    released = [task_id for report in found for task_id in report.released]
    assert sorted(released) == children
    assert not resolve(stage.storage).waiting


def test_s12_two_resolvers_apply_a_policy_once(two, stage):
    parents, children = pairs(stage)
    stage.complete(parents, FAILURE)
    found = together(*(lambda storage=storage: resolve(storage, 3) for storage in two))
    canceled = [task_id for report in found for task_id in report.canceled]
    assert sorted(canceled) == children
    assert all(len(stage.storage.attempts(child)) == 1 for child in children)


def test_s12_fan_in_is_released_once_by_the_last_of_two_resolvers(two, stage):
    parents = stage.running(*(f"p{n}" for n in range(MANY)))
    [child] = stage.storage.create_tasks([linked("child", *(f"p{n}" for n in range(MANY)))])
    stage.complete(parents)
    found = together(*(lambda storage=storage: resolve(storage, 3) for storage in two))
    assert [task_id for report in found for task_id in report.released] == [child.task_id]
    assert stage.status(child.task_id) is TaskStatus.CREATED


def test_s12_a_resolver_that_comes_second_starts_nothing_again(locking, stage):
    """A latch: both have seen the parent end before either writes."""
    from mqtasks.storage.sql.dependencies import _settle

    (parent,), (child,) = pairs(stage, 1)
    stage.complete([parent])
    edges = [(parent.task_id, child)]

    def second():
        return locking[1].database.transact(lambda session: _settle(session, edges))

    moved = during(locking[0], lambda session: _settle(session, edges), second)
    assert not any(moved.values())
    (task,) = stage.allocate([child])
    assert task.epoch == 1
    assert not any(locking[1].database.transact(lambda db: _settle(db, edges)).values())
    assert stage.status(child) is TaskStatus.RUNNING


# --- creation ----------------------------------------------------------------------------------


def test_s12_a_parent_cannot_end_unseen_while_its_child_is_created(locking, stage):
    """A latch: the share lock. The completion waits, and then is seen by the resolver."""
    (parent,) = stage.running("parent")
    report = during(
        locking[1],
        creating(linked("child", "parent")),
        lambda: stage.complete([parent]),
    )
    assert not report.lost
    assert statuses(stage.storage) == {"parent": "COMPLETED", "child": "WAITING"}
    assert len(resolve(stage.storage).released) == 1


def test_s12_a_child_created_while_its_parent_ends_sees_the_end(locking, stage):
    """A latch the other way: the completion is written, but not committed."""
    from mqtasks.storage.sql.work import complete_in

    (parent,) = stage.running("parent")
    done = Completion(parent.task_id, parent.epoch, SUCCESS)
    [child] = during(
        locking[0],
        lambda session: complete_in(session, "r1", [done]),
        lambda: locking[1].create_tasks([linked("child", "parent")]),
    )
    assert stage.status(child.task_id) is TaskStatus.CREATED


def test_s12_no_parent_is_pruned_under_a_child_that_is_being_created(locking, stage):
    (parent,) = stage.running("parent")
    stage.complete([parent])
    stage.clock.advance(10)
    report = during(
        locking[1],
        creating(linked("child", "parent")),
        lambda: stage.storage.prune(0, 10, 0, 0),
    )
    assert report.deleted == 0
    assert statuses(stage.storage) == {"parent": "COMPLETED", "child": "CREATED"}


def test_s12_a_parent_pruned_between_two_looks_at_it_is_none(locking, stage, monkeypatch):
    """It was found by its name, and is gone when its row is to be locked."""
    from mqtasks.storage.sql import create

    original = create.create_in
    pruned: list[int] = []

    def late(session, ordered):
        made = original(session, ordered)
        if not pruned:
            pruned.append(locking[1].prune(0, 10, 0, 0).deleted)
        return made

    monkeypatch.setattr(create, "create_in", late)
    (parent,) = stage.running("parent")
    stage.complete([parent])
    with pytest.raises(InvalidArgument, match="'parent': is not stored"):
        locking[0].create_tasks([linked("child", "parent")])
    assert statuses(stage.storage) == {}
    assert pruned == [1]


def test_s12_children_race_the_end_of_their_parents(two, stage):
    ours, theirs = two
    parents = stage.running(*(f"p{n}" for n in range(MANY)))

    def end(parent):
        return lambda: ours.complete_many("r1", [Completion(parent.task_id, parent.epoch, SUCCESS)])

    def make(number):
        return lambda: theirs.create_tasks([linked(f"c{number}", f"p{number}")])

    race([[end(parent) for parent in parents], [make(n) for n in range(MANY)]])
    resolve(stage.storage)
    found = statuses(stage.storage)
    assert {found[f"c{n}"] for n in range(MANY)} == {"CREATED"}
    assert not resolve(stage.storage).waiting


# --- steering ----------------------------------------------------------------------------------


def test_s12_cancellations_race_the_resolver(two, stage):
    ours, theirs = two
    parents, children = pairs(stage)
    stage.complete(parents)
    found = together(
        lambda: [resolve(ours, 2)],
        lambda: [theirs.cancel_many([child]) for child in children],
    )
    assert [item for report in found[1] for item in report.canceled] == children
    assert {stage.status(child) for child in children} == {TaskStatus.CANCELED}
    assert open_links(stage.storage) == []
    assert not resolve(stage.storage).waiting


def test_s12_a_cancellation_that_comes_second_ends_what_was_released(locking, stage):
    from mqtasks.storage.sql.dependencies import _settle

    (parent,), (child,) = pairs(stage, 1)
    stage.complete([parent])
    report = during(
        locking[0],
        lambda session: _settle(session, [(parent.task_id, child)]),
        lambda: locking[1].cancel_many([child]),
    )
    assert report.canceled == (child,)
    assert stage.status(child) is TaskStatus.CANCELED


def test_s12_a_resolver_that_comes_second_leaves_a_canceled_child(locking, stage):
    (parent,), (child,) = pairs(stage, 1)
    stage.complete([parent])

    def cancel(session):
        session.rows_in("lock_tasks", [child])
        session.run_in("cancel_waiting", [child])

    assert during(locking[0], cancel, lambda: resolve(locking[1])).released == ()
    assert stage.status(child) is TaskStatus.CANCELED
    assert open_links(stage.storage) == []


def test_s12_a_parent_requeued_while_the_resolver_waits_is_judged_again(locking, stage):
    (parent,), (child,) = pairs(stage, 1)
    stage.complete([parent], FAILURE)

    def requeue(session):
        session.rows_in("lock_ended", [parent.task_id])
        session.run_in("requeue", [parent.task_id])

    assert during(locking[0], requeue, lambda: resolve(locking[1])).canceled == ()
    assert stage.status(child) is TaskStatus.WAITING
    stage.complete(stage.allocate([parent.task_id]))
    assert resolve(stage.storage).released == (child,)


def test_s12_children_deleted_under_the_resolver_leave_no_link(two, stage):
    ours, theirs = two
    parents, children = pairs(stage, on_failure=FailurePolicy.FAIL)
    stage.complete(parents, FAILURE)
    together(
        lambda: [resolve(ours, 2)],
        lambda: [theirs.delete(where.task_id == child) for child in children],
    )
    assert not resolve(stage.storage).waiting
    assert [stage.storage.children(parent.task_id) for parent in parents] == [[]] * MANY


def test_s12_batches_that_wait_for_each_others_tasks_do_not_block_each_other(two, stage):
    """Each names parents that the other has just made, in the other order."""
    names = [f"t{n}" for n in range(MANY)]
    stage.storage.create_tasks([new(name) for name in names])

    def make(storage, mark, parents):
        return lambda: storage.create_tasks(
            [linked(f"{mark}{n}", *parents[n:]) for n in range(0, MANY, 8)]
        )

    made = together(make(two[0], "a", names), make(two[1], "b", names[::-1]))
    assert all(item.is_new for answer in made for item in answer)
