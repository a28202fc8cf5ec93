"""Giving tasks to runners: epochs, runner rows, leadership and limits (P1, P2, P6)."""

from __future__ import annotations

import pytest

from mqtasks.errors import NotLeader
from mqtasks.model import AttemptOutcome, Leadership, RunnerState, TaskStatus
from mqtasks.storage.contract import Allocation, ExecutorLimit
from tests.support.stage import LEASE_MS, Stage, row


def give(stage: Stage, *allocations: Allocation, limits=(), by_hand=False):
    leadership = None if by_hand else stage.leadership
    return stage.storage.allocate_many(allocations, leadership, limits)


@pytest.fixture(params=[False, True], ids=["leader", "by hand"])
def by_hand(request):
    return request.param


def test_p1_allocating_raises_the_epoch_and_names_runner_and_generation(stage, by_hand):
    generation = stage.register()
    (task_id,) = stage.create("t1")
    stage.clock.advance(1)
    before = stage.task(task_id)
    assert give(stage, Allocation(task_id, 0, "r1", generation), by_hand=by_hand) == {task_id}
    task = stage.task(task_id)
    assert (task.status, task.runner, task.generation) == (TaskStatus.RUNNING, "r1", 1)
    assert (task.epoch, task.started_at, task.last_heartbeat) == (1, 0, stage.now)
    assert (task.run_at, task.created_at) == (before.run_at, before.created_at)


def test_p1_an_old_epoch_is_not_allocated(stage, by_hand):
    stage.register()
    (task_id,) = stage.add(row("t1", epoch=5))
    for epoch in (4, 6, 0):
        assert give(stage, Allocation(task_id, epoch, "r1", 1), by_hand=by_hand) == frozenset()
    assert stage.status(task_id) is TaskStatus.CREATED
    assert give(stage, Allocation(task_id, 5, "r1", 1), by_hand=by_hand) == {task_id}
    assert stage.task(task_id).epoch == 6


@pytest.mark.parametrize("status", [item for item in TaskStatus if item is not TaskStatus.CREATED])
def test_only_created_rows_are_given_by_the_leader(stage, status):
    stage.register()
    (task_id,) = stage.add(row("t1", status=status, runner="r0", epoch=1))
    before = stage.task(task_id)
    assert give(stage, Allocation(task_id, 1, "r1", 1)) == frozenset()
    assert stage.task(task_id) == before


@pytest.mark.parametrize("status", list(TaskStatus))
def test_by_hand_also_running_rows_of_another_runner_are_given(stage, status):
    stage.register()
    (task_id,) = stage.add(row("t1", status=status, runner="r0", epoch=1, started_at=5))
    given = give(stage, Allocation(task_id, 1, "r1", 1), by_hand=True)
    assert bool(given) == (status in {TaskStatus.CREATED, TaskStatus.RUNNING})
    if given:
        task = stage.task(task_id)
        assert (task.status, task.runner, task.epoch) == (TaskStatus.RUNNING, "r1", 2)
        assert task.started_at == 0


def test_by_hand_the_allocation_that_ends_is_kept_in_the_history(stage):
    stage.register()
    running, created = stage.add(
        row("t1", status=TaskStatus.RUNNING, runner="r0", epoch=1, started_at=5), row("t2")
    )
    batch = [Allocation(running, 1, "r1", 1), Allocation(created, 0, "r1", 1)]
    assert give(stage, *batch, by_hand=True) == {running, created}
    [attempt] = stage.storage.attempts(running)
    assert (attempt.epoch, attempt.runner, attempt.outcome) == (1, "r0", AttemptOutcome.LOST)
    assert (attempt.started_at, attempt.ended_at) == (5, stage.now)
    assert stage.storage.attempts(created) == []


def test_by_hand_a_running_row_is_not_given_to_its_own_runner(stage):
    (task,) = stage.running("t1")
    before = stage.task(task.task_id)
    assert give(stage, Allocation(task.task_id, 1, "r1", 1), by_hand=True) == frozenset()
    assert stage.task(task.task_id) == before


def test_one_allocation_of_a_task_wins_in_a_batch(stage):
    stage.register("r1")
    stage.register("r2")
    (task_id,) = stage.create("t1")
    twice = [Allocation(task_id, 0, "r1", 1), Allocation(task_id, 0, "r2", 1)]
    assert give(stage, *twice) == {task_id}
    assert stage.task(task_id).epoch == 1
    assert give(stage, *twice) == frozenset()
    assert stage.task(task_id).epoch == 1


def test_missing_tasks_are_left_out(stage):
    stage.register()
    (task_id,) = stage.create("t1")
    batch = [Allocation(task_id + 1000, 0, "r1", 1), Allocation(task_id, 0, "r1", 1)]
    assert give(stage, *batch) == {task_id}
    assert give(stage) == frozenset()


def test_p2_a_runner_takes_tasks_only_while_active(stage, by_hand):
    generation = stage.register()
    (task_id,) = stage.create("t1")
    wanted = Allocation(task_id, 0, "r1", generation)
    for state in (RunnerState.DRAINING, RunnerState.STOPPED):
        assert stage.storage.set_runner_state("r1", generation, state)
        # An allocation decided before the drain and written after it is refused.
        assert give(stage, wanted, by_hand=by_hand) == frozenset()
    assert stage.status(task_id) is TaskStatus.CREATED


def test_p2_a_drain_may_be_called_off(stage):
    generation = stage.register()
    stage.storage.set_runner_state("r1", generation, RunnerState.DRAINING)
    assert stage.storage.set_runner_state("r1", generation, RunnerState.ACTIVE)
    assert len(stage.allocate(stage.create("t1"))) == 1


def test_p2_an_allocation_names_the_generation(stage, by_hand):
    stage.register()
    assert stage.register() == 2
    (task_id,) = stage.create("t1")
    for generation in (1, 3, 0):
        wanted = Allocation(task_id, 0, "r1", generation)
        assert give(stage, wanted, by_hand=by_hand) == frozenset()
    assert give(stage, Allocation(task_id, 0, "r1", 2), by_hand=by_hand) == {task_id}


def test_p2_a_lapsed_lease_takes_no_tasks(stage, by_hand):
    stage.register()
    ids = stage.create("t1", "t2")
    stage.clock.advance(LEASE_MS / 1000 - 0.001)
    assert give(stage, Allocation(ids[0], 0, "r1", 1), by_hand=by_hand) == {ids[0]}
    stage.clock.advance(0.002)
    assert give(stage, Allocation(ids[1], 0, "r1", 1), by_hand=by_hand) == frozenset()


def test_p3_a_runner_without_a_row_is_accepted_only_by_hand(stage):
    (task_id,) = stage.create("t1")
    assert give(stage, Allocation(task_id, 0, "foreign", 0)) == frozenset()
    assert give(stage, Allocation(task_id, 0, "foreign", 0), by_hand=True) == {task_id}
    assert stage.task(task_id).runner == "foreign"


def test_refused_runners_do_not_keep_others_from_tasks(stage):
    stage.register("r1")
    stage.register("r2")
    stage.storage.set_runner_state("r1", 1, RunnerState.DRAINING)
    ids = stage.create("t1", "t2", "t3")
    batch = [
        Allocation(ids[0], 0, "r1", 1),
        Allocation(ids[1], 0, "r2", 1),
        Allocation(ids[2], 0, "none", 1),
    ]
    assert give(stage, *batch) == {ids[1]}


@pytest.mark.parametrize(
    "change", ["holder", "term", "lapsed", "released", "taken", "unknown lease"]
)
def test_p6_allocating_demands_leadership(stage, change):
    storage = stage.storage
    stage.register()
    (task_id,) = stage.create("t1")
    held = storage.acquire_lease("leader", "me", 5000)
    claimed = held
    if change == "holder":
        claimed = Leadership("leader", "you", held.term)
    elif change == "term":
        claimed = Leadership("leader", "me", held.term + 1)
    elif change == "unknown lease":
        claimed = Leadership("other", "me", held.term)
    elif change == "lapsed":
        stage.clock.advance(5.001)
    elif change == "released":
        storage.release_lease(held)
    else:
        stage.clock.advance(5.001)
        assert storage.acquire_lease("leader", "you", 5000).term == held.term + 1
    before = stage.everything()
    with pytest.raises(NotLeader) as raised:
        storage.allocate_many([Allocation(task_id, 0, "r1", 1)], claimed)
    assert (raised.value.holder, raised.value.term) == (claimed.holder, claimed.term)
    assert stage.everything() == before


def test_p6_a_new_term_of_the_same_holder_ends_the_old_one(stage):
    stage.register()
    (task_id,) = stage.create("t1")
    old = stage.storage.acquire_lease("leader", "me", 5000)
    current = stage.storage.acquire_lease("leader", "me", 5000)
    wanted = [Allocation(task_id, 0, "r1", 1)]
    with pytest.raises(NotLeader):
        stage.storage.allocate_many(wanted, old)
    assert stage.storage.allocate_many(wanted, current) == {task_id}


def test_p6_a_limit_counts_what_is_live_everywhere(stage, by_hand):
    stage.register("r1")
    stage.register("r2")
    ids = stage.create(*(f"t{n}" for n in range(8)))
    free = stage.create("free", executor="free")
    limits = [ExecutorLimit("work", 5), ExecutorLimit("unused", 0)]

    def ask(runner_id, wanted):
        batch = [Allocation(item, 0, runner_id, 1) for item in wanted]
        return give(stage, *batch, limits=limits, by_hand=by_hand)

    assert len(ask("r1", ids[:3])) == 3
    assert len(ask("r2", [*ids[3:], *free])) == 3
    assert stage.status(free[0]) is TaskStatus.RUNNING
    assert ask("r2", ids[3:]) == frozenset()


def test_p6_p9_a_task_asked_to_cancel_counts_until_it_has_ended(stage):
    (task,) = stage.running("t1")
    (waiting,) = stage.create("t2")
    wanted = Allocation(waiting, 0, "r1", 1)
    limits = [ExecutorLimit("work", 1)]
    stage.storage.cancel_many([task.task_id])
    assert give(stage, wanted, limits=limits) == frozenset()
    stage.complete([task])
    assert give(stage, wanted, limits=limits) == {waiting}


def test_p6_a_refused_allocation_takes_no_room(stage):
    stage.register()
    first, second = stage.create("t1", "t2")
    batch = [Allocation(first, 9, "r1", 1), Allocation(second, 0, "r1", 1)]
    assert give(stage, *batch, limits=[ExecutorLimit("work", 1)]) == {second}


def test_p6_a_limit_of_zero_or_of_less_than_what_is_live_gives_nothing(stage):
    stage.running("t1", "t2")
    (waiting,) = stage.create("t3")
    for most in (0, 1, 2):
        limits = [ExecutorLimit("work", most)]
        assert give(stage, Allocation(waiting, 0, "r1", 1), limits=limits) == frozenset()
    limits = [ExecutorLimit("work", 3)]
    assert give(stage, Allocation(waiting, 0, "r1", 1), limits=limits) == {waiting}


def test_p6_limits_name_executors_by_their_stored_form(stage):
    stage.register()
    first, second = stage.create("t1", "t2", executor=7)
    batch = [Allocation(first, 0, "r1", 1), Allocation(second, 0, "r1", 1)]
    assert len(give(stage, *batch, limits=[ExecutorLimit("0000000007", 1)])) == 1
