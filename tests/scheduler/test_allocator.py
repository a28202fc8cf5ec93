"""Allocation passes over the memory store: what is placed, written and hinted, and how often."""

from __future__ import annotations

import random

import pytest

from mqtasks.errors import StorageUnavailable
from mqtasks.model import SUCCESS, RunnerState, TaskEpoch, TaskStatus
from mqtasks.scheduler.unplaced import Reason
from mqtasks.service.hints import AllocatedHint, decode_allocated
from mqtasks.storage.contract import Completion, ExecutorLimit


def hints_of(world, runner_id: str = "r1") -> list[AllocatedHint]:
    """Collect the hints that a runner gets from now on."""
    found: list[AllocatedHint] = []

    def heard(_channel: str, payload: bytes) -> None:
        hint = decode_allocated(payload, runner_id)
        assert hint is not None
        found.append(hint)

    world.service.notifier.subscribe([world.service.keys.allocated(runner_id)], heard)
    return found


class _Overriding:
    """A storage with some methods replaced."""

    def __init__(self, inner, **methods):
        self._inner = inner
        self.__dict__.update(methods)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def test_a_task_is_given_to_the_runner_that_registers_its_executor(world):
    leader = world.leader()
    world.runner("r1", "mail")
    world.runner("r2", "work")
    (task,) = world.create(executor="work")
    leader.parts.allocate()
    stored = world.task(task)
    assert (stored.status, stored.runner, stored.epoch) == (TaskStatus.RUNNING, "r2", 1)


def test_the_hint_carries_the_rows_as_they_are_stored(world):
    leader = world.leader()
    world.runner(parallelism=5)
    hints = hints_of(world)
    ids = world.create(3, priority=2)
    leader.parts.allocate()
    (hint,) = hints
    assert hint.generation == world.generations["r1"]
    assert [item.id for item in hint.tasks] == ids
    for item in hint.tasks:
        stored = world.task(item.id)
        assert (item.epoch, item.status, item.runner) == (1, TaskStatus.RUNNING, "r1")
        assert (item.generation, item.priority) == (stored.generation, stored.priority)
        assert item.metadata == stored.metadata


def test_a_released_task_goes_out_with_the_next_epoch(world):
    leader = world.leader()
    world.runner()
    hints = hints_of(world)
    (task,) = world.create()
    leader.parts.allocate()
    world.storage.release_many("r1", [TaskEpoch(task, 1)], "test")
    leader.parts.allocate()
    assert [hint.tasks[0].epoch for hint in hints] == [1, 2]
    assert world.task(task).epoch == 2


def test_a_full_backlog_goes_out_in_batches_and_asks_for_the_next_pass_at_once(world):
    leader = world.leader(allocate_batch=100)
    world.runner(parallelism=250, max_wait_tasks=0)
    world.create(300)
    passes = leader.parts.allocator
    assert passes.run_once() == 0.0
    assert passes.run_once() == 0.0
    assert passes.run_once() > 0
    assert len(world.live()) == 250
    assert passes.allocated == 250


def test_capacity_is_what_storage_counts(world):
    leader = world.leader()
    world.runner(parallelism=4, max_wait_tasks=0)
    world.create(10)
    leader.parts.allocate()
    assert len(world.live()) == 4
    leader.parts.allocate()
    assert len(world.live()) == 4
    world.finish(count=3)
    leader.parts.allocate()
    assert len(world.live()) == 4
    assert world.storage.count_by_status(100)[TaskStatus.COMPLETED] == 3


def test_p6_others_may_wait_at_a_runner_starting_with_its_parallelism(world):
    leader = world.leader()
    world.runner("wide", parallelism=4, max_wait_tasks=256)
    world.create(20)
    leader.parts.allocate()
    assert len(world.live("wide")) == 8
    world.runner("narrow", "mail", parallelism=4, max_wait_tasks=2)
    world.create(20, executor="mail")
    world.clock.advance(1)
    leader.parts.allocate()
    assert len(world.live("narrow")) == 6


def test_p6_a_fast_runner_gets_what_it_starts_in_a_fifth_of_a_second(world):
    leader = world.leader()
    world.runner(parallelism=10, max_wait_tasks=256)
    world.create(6_000)
    for _ in range(50):
        leader.parts.election.run_once()
        leader.parts.allocate()
        world.clock.advance(0.1)
        world.finish(count=50)  # 500 per second, as long as it has that many
    leader.parts.allocate()
    assert len(world.live()) == pytest.approx(10 + 0.2 * 500, abs=15)


def test_p6_tasks_under_a_limit_get_a_free_slot_and_never_wait(world):
    leader = world.leader()
    world.runner(parallelism=3, max_wait_tasks=256)
    world.create(10, executor="work", concurrency=5)
    leader.parts.allocate()
    assert len(world.live()) == 3, "of the five that may be live, two have no slot"
    world.finish(count=1)
    leader.parts.allocate()
    assert len(world.live()) == 3


@pytest.mark.parametrize("limit", [1, 5])
def test_p6_the_limit_holds_over_the_fleet(world, limit):
    leader = world.leader()
    for i in range(4):
        world.runner(f"r{i}", parallelism=4)
    world.create(50, concurrency=limit)
    done = 0
    while done < 50:
        leader.parts.allocate()
        live = sum(len(world.live(f"r{i}")) for i in range(4))
        assert live == min(limit, 50 - done)
        done += sum(world.finish(f"r{i}", 1) for i in range(4))


@pytest.mark.parametrize(("limit", "count"), [(1, 600), (5, 3_000)])
def test_p6_two_leaders_at_once_never_exceed_a_limit(world, limit, count):
    """Each decides on what it saw before the other wrote, also on other tasks: storage counts."""
    one, two = world.leader("one"), world.scheduler("two")
    two.parts.election._held = one.parts.election._held  # forced: both believe in one term
    runners = [world.runner(f"r{i}", parallelism=3) for i in range(4)]
    world.create(count, concurrency=limit)
    inside, chance = False, random.Random(limit)
    urgent: list[int] = []

    def interleave(name: str) -> None:
        nonlocal inside
        if name == "allocate_many" and not inside and chance.random() < 0.5:
            inside = True
            urgent.extend(world.create(1, concurrency=limit, priority=len(urgent) + 1))
            two.parts.allocator.run_once()
            inside = False

    world.spy.before = interleave
    done = 0
    while done < count + len(urgent):
        one.parts.allocator.run_once()
        live = sum(len(world.live(r)) for r in runners)
        assert live <= limit
        ended = sum(world.finish(r) for r in runners)
        assert ended == live
        done += ended
    assert one.parts.allocator.allocated
    assert two.parts.allocator.allocated
    assert one.parts.allocator.allocated + two.parts.allocator.allocated == done


def test_p6_of_two_limits_of_one_executor_the_lower_goes_into_the_transaction(world):
    leader = world.leader()
    world.runner(parallelism=10)
    world.create(3, concurrency=7)
    world.create(3, concurrency=2, priority=1)
    limits = []
    allocate_many = world.storage.allocate_many

    def note(allocations, leadership, given_limits):
        limits.extend(given_limits)
        return allocate_many(allocations, leadership, given_limits)

    world.spy.inner = _Overriding(world.storage, allocate_many=note)
    leader.parts.allocator.run_once()
    assert limits == [ExecutorLimit("work", 2)]
    assert len(world.live()) == 2


def test_p6_a_deposed_leader_writes_nothing_and_steps_down(world):
    old, new = world.leader("old"), world.scheduler("new")
    world.runner()
    (task,) = world.create()
    # The lease is taken away though the old leader still trusts it.
    world.storage.release_lease(old.parts.election.leadership())
    new.parts.election.run_once()
    assert old.leading
    assert new.leading
    assert old.parts.allocator.run_once() > 0
    assert not old.leading
    assert world.status(task) is TaskStatus.CREATED
    new.parts.allocate()
    assert world.status(task) is TaskStatus.RUNNING


def test_a_standby_reads_and_writes_nothing(world):
    world.leader("one")
    standby = world.scheduler("two")
    world.runner()
    world.create()
    world.spy.reset()
    assert standby.parts.allocator.run_once() > 0
    assert not world.spy.calls


@pytest.mark.parametrize("state", [RunnerState.DRAINING, RunnerState.STOPPED])
def test_p2_only_active_runners_get_tasks(world, state):
    leader = world.leader()
    world.runner()
    world.storage.set_runner_state("r1", world.generations["r1"], state)
    (task,) = world.create()
    leader.parts.allocate()
    assert world.status(task) is TaskStatus.CREATED


def test_p2_an_allocation_decided_before_a_drain_is_refused_after_it(world):
    leader = world.leader()
    world.runner("r1", parallelism=8)
    world.runner("r2", parallelism=8)
    ids = world.create(8)

    def drain(name: str) -> None:
        if name == "allocate_many":
            world.storage.set_runner_state("r1", world.generations["r1"], RunnerState.DRAINING)

    world.spy.before = drain
    leader.parts.allocator.run_once()
    assert not world.live("r1")
    assert len(world.live("r2")) == 4
    leader.parts.allocator.run_once()
    assert {item.task_id for item in world.live("r2")} == set(ids)


def test_a_runner_whose_lease_has_lapsed_gets_nothing(world):
    leader = world.leader(leader_ttl=60.0)
    world.runner()
    world.clock.advance(16)
    (task,) = world.create()
    leader.parts.allocate()
    assert world.status(task) is TaskStatus.CREATED


def test_what_storage_refuses_is_not_tried_again_without_a_pause(world):
    leader = world.leader(allocate_batch=1)
    world.runner(parallelism=5)
    ids = world.create(3)
    world.spy.before = lambda name: (
        world.storage.cancel_many(ids) if name == "allocate_many" else None
    )
    assert leader.parts.allocator.run_once() == 0.05
    assert not world.live()


def test_higher_priority_first_also_across_lanes(world):
    leader = world.leader()
    world.runner("r1", "a", "b", parallelism=1)
    (low,) = world.create(executor="a")
    (high,) = world.create(executor="b", priority=1)
    leader.parts.allocate()
    assert world.status(high) is TaskStatus.RUNNING
    assert world.status(low) is TaskStatus.CREATED


def test_a_lane_that_waits_catches_up_with_higher_priority(world, clock):
    leader = world.leader(leader_ttl=600.0, leader_renew=1.0, ageing=10.0)
    world.runner("r1", "a", "b", parallelism=1)
    (low,) = world.create(executor="a")
    for _ in range(35):
        clock.advance(1)
        world.renew("r1")
        world.finish()
        world.create(executor="b", priority=3)
        leader.parts.allocate()
        if world.status(low) is TaskStatus.RUNNING:
            break
    else:
        raise AssertionError("the task of lower priority starved")


def test_m12_a_low_priority_does_not_starve_behind_its_own_executor(world, clock):
    leader = world.leader(leader_ttl=600.0, leader_renew=1.0, ageing=10.0)
    world.runner("r1", parallelism=1)
    (low,) = world.create(priority=-3)
    for _ in range(80):
        clock.advance(1)
        world.renew("r1")
        world.finish()
        world.create(priority=3)
        leader.parts.allocate()
        if world.status(low) is TaskStatus.RUNNING:
            break
    else:
        raise AssertionError("the task of lower priority starved")


def test_tasks_spread_over_idle_runners(world):
    leader = world.leader()
    for i in range(4):
        world.runner(f"r{i}", parallelism=4)
    world.create(8)
    leader.parts.allocate()
    assert [len(world.live(f"r{i}")) for i in range(4)] == [2, 2, 2, 2]


@pytest.mark.parametrize("wanted", [{"cpu": 0.8}, {"memory": 400}, {"cpu": 0.1, "memory": 400}])
def test_resources_are_reserved_while_a_task_is_live(world, wanted):
    leader = world.leader()
    world.runner(parallelism=10, max_wait_tasks=10, cpu=2.0, memory=1000)
    world.create(5, **wanted)
    leader.parts.allocate()
    assert len(world.live()) == 2
    world.finish(count=1)
    leader.parts.allocate()
    assert len(world.live()) == 2


def test_labels_decide(world):
    leader = world.leader()
    world.runner("plain", parallelism=5)
    world.runner("gpu", parallelism=5, labels={"gpu": "yes"})
    world.create(3, labels={"gpu": "yes"})
    leader.parts.allocate()
    assert len(world.live("gpu")) == 3


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
