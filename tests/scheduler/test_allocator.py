"""What allocation passes over the memory store place, write and hint."""

from __future__ import annotations

import random

import pytest

from mqtasks.model import RunnerState, TaskEpoch, TaskStatus
from mqtasks.service.hints import AllocatedHint, decode_allocated
from mqtasks.storage.contract import ExecutorLimit


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
