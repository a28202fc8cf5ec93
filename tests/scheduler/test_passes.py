"""When the allocator looks, how much a look costs, and what it says of tasks that wait."""

from __future__ import annotations

import pytest

from mqtasks.errors import StorageUnavailable
from mqtasks.model import SUCCESS, RunnerState, TaskStatus
from mqtasks.scheduler.unplaced import Reason
from mqtasks.storage.contract import Completion

# -- why tasks wait --------------------------------------------------------------------------------


def test_it_explains_why_tasks_wait(world):
    leader = world.leader()
    world.runner(parallelism=1)
    world.create(2)
    world.create(1, executor="nobody")
    world.create(1, labels={"gpu": "yes"})
    world.create(1, memory=5)
    leader.parts.allocate()
    leader.parts.allocate()
    reasons = {why.reason for _lane, _signature, why in leader.parts.allocator.explain()}
    assert reasons == {Reason.FULL, Reason.NO_EXECUTOR, Reason.LABELS}
    world.finish()
    leader.parts.allocate()
    assert len(leader.parts.allocator.explain(most=2)) == 2


def test_what_does_not_wait_any_more_is_not_explained(world):
    leader = world.leader()
    (task,) = world.create()
    leader.parts.allocate()
    assert [why.reason for _l, _s, why in leader.parts.allocator.explain()] == [Reason.NO_RUNNER]
    world.runner()
    world.clock.advance(0.5)
    leader.parts.allocate()
    assert world.status(task) is TaskStatus.RUNNING
    assert leader.parts.allocator.explain() == []


def test_p7_it_explains_every_lane_of_a_round_over_several_pages(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner()
    for i in range(2_100):
        world.create(executor=f"unknown-{i}")
    leader.parts.allocate()
    assert len(leader.parts.allocator.explain(most=5_000)) == 2_100


# -- when to look again ----------------------------------------------------------------------------


def test_idle_passes_cost_one_statement_and_are_rare_while_hints_flow(world):
    leader = world.leader()
    world.runner()
    leader.parts.allocate()
    world.spy.reset()
    assert leader.parts.allocator.run_once() == 10.0
    assert world.spy.calls == {"lanes": 1}


def test_tasks_that_wait_for_room_are_looked_at_twice_a_second(world):
    leader = world.leader()
    world.create()
    leader.parts.allocate()
    assert leader.parts.allocator.run_once() == 0.5


def test_without_hints_it_polls_fast_after_work_and_slower_while_idle(world):
    world.service.notifier.close()
    leader = world.leader(fast_poll=0.05, slow_poll=0.5)
    world.runner()
    world.create()
    assert leader.parts.allocate() == 0.05
    world.finish()
    delays = [leader.parts.allocate() for _ in range(12)]
    assert delays == sorted(delays)
    assert delays[0] < 0.1
    assert delays[-1] == 0.5
    world.create()
    assert leader.parts.allocate() == 0.05


def test_an_idle_system_decides_on_what_it_saw_last(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=3)
    leader.parts.allocate()
    used = []
    for _ in range(6):
        (task,) = world.create()
        world.spy.reset()
        leader.parts.allocate()
        assert world.status(task) is TaskStatus.RUNNING
        world.finish()
        used.append(world.spy.calls["live_load"])
    # Three slots by the last view, then it looks again, because they seem to be taken.
    assert used == [0, 0, 0, 1, 0, 0]


def test_what_it_saw_last_is_not_relied_on_for_long(world, clock):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=100)
    leader.parts.allocate()
    clock.advance(1.1)
    (task,) = world.create()
    world.spy.reset()
    order: list[str] = []
    world.spy.before = order.append
    leader.parts.allocate()
    assert world.status(task) is TaskStatus.RUNNING
    assert order.index("allocate_many") < order.index("live_load"), "the task need not wait for it"


def test_what_it_saw_last_is_not_enough_to_leave_a_task_waiting(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner("r1", "work", parallelism=1)
    leader.parts.allocate()
    world.create(3)
    leader.parts.allocate()
    assert len(world.live()) == 1
    world.finish()
    world.runner("r2", "work", parallelism=1)
    world.clock.advance(0.5)
    leader.parts.allocate()
    assert (len(world.live("r1")), len(world.live("r2"))) == (1, 1)


def test_a_pass_that_failed_half_way_does_not_rely_on_what_it_saw(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=2)
    leader.parts.allocate()
    world.create(2)

    def lose_the_answer(name: str) -> None:
        if name == "allocate_many":
            world.spy.before = lambda _name: None
            leader.parts.allocator.run_once()
            raise StorageUnavailable("connection lost after the commit")

    world.spy.before = lose_the_answer
    with pytest.raises(StorageUnavailable):
        leader.parts.allocator.run_once()
    world.create(5)
    leader.parts.allocate()
    assert len(world.live()) == 2


def test_lanes_that_nobody_fits_do_not_make_it_look_twice(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=2)
    world.create(2)
    leader.parts.allocate()
    world.finish()
    world.create(1, executor="nobody")
    leader.parts.allocate()
    world.spy.reset()
    assert leader.parts.allocator.run_once() == 0.5
    assert world.spy.calls == {"lanes": 1}


def test_a_runner_that_stopped_since_it_was_seen_is_noticed_at_once(world):
    leader = world.leader(leader_ttl=600.0)
    world.runner("r1", parallelism=2)
    leader.parts.allocate()
    world.storage.set_runner_state("r1", world.generations["r1"], RunnerState.STOPPED)
    world.runner("r2", parallelism=2)
    (task,) = world.create()
    leader.parts.allocate()
    assert world.task(task).runner == "r2"


def test_hints_are_not_merged_while_a_slot_is_free(world):
    leader = world.leader()
    world.runner(parallelism=2)
    world.create()
    leader.parts.allocate()
    assert leader.parts.allocator.gap <= 0.002


def test_hints_are_merged_while_tasks_wait_at_every_runner(world):
    leader = world.leader()
    world.runner(parallelism=2, max_wait_tasks=50)
    world.create(10)
    leader.parts.allocate()
    assert leader.parts.allocator.gap == 0.02


# -- many lanes ------------------------------------------------------------------------------------


def test_p7_a_pass_over_many_lanes_is_bounded_and_all_get_their_turn(world):
    leader = world.leader(leader_ttl=600.0)
    executors = [f"e{i}" for i in range(2_500)]
    for executor in executors:
        world.create(executor=executor)
    world.runner("r1", *executors, parallelism=10_000)
    leader.parts.election.run_once()
    world.spy.reset()
    assert leader.parts.allocator.run_once() == 0.0
    assert world.spy.calls["lane_tasks"] <= 64
    assert world.spy.rows_read <= 1_000 + 64
    leader.parts.allocate()
    assert len(world.live()) == 2_500


def test_p7_of_many_lanes_the_urgent_one_is_served_soon(world):
    leader = world.leader(leader_ttl=600.0)
    executors = [f"e{i}" for i in range(300)]
    world.runner("r1", *executors, parallelism=1)
    for executor in executors:
        world.create(2, executor=executor)
    (urgent,) = world.create(executor="e150", priority=1)
    for _ in range(10):
        leader.parts.allocator.run_once()
        if world.status(urgent) is TaskStatus.RUNNING:
            break
        world.finish()
    else:
        raise AssertionError("the urgent task waited for more than ten others")


@pytest.mark.parametrize("kind", ["unknown executor", "no label", "limit used up", "no memory"])
def test_p7_a_backlog_that_cannot_be_placed_costs_a_pass_next_to_nothing(world, kind):
    leader = world.leader(leader_ttl=600.0)
    world.runner("r1", "work", "limited", parallelism=4)

    def cost() -> tuple[int, int]:
        (task,) = world.create()
        world.spy.reset()
        leader.parts.allocator.run_once()
        assert world.status(task) is TaskStatus.RUNNING
        world.storage.complete_many("r1", [Completion(task, 1, SUCCESS)])
        return sum(world.spy.calls.values()), world.spy.rows_read

    cost()  # whatever is remembered from now on
    calls, rows = cost()
    if kind == "unknown executor":
        world.create(5_000, executor="nobody")
    elif kind == "no label":
        world.create(5_000, labels={"gpu": "yes"})
    elif kind == "no memory":
        world.create(5_000, memory=1)
    else:
        world.create(5_000, executor="limited", concurrency=1)
        leader.parts.allocate()
        assert len(world.live()) == 1
    leader.parts.allocate()
    calls_behind, rows_behind = cost()
    assert calls_behind < 2 * calls
    assert rows_behind == rows
