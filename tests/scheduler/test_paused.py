"""Pauses in the allocator: what is held back, and why (S4)."""

from __future__ import annotations

import pytest

from mqtasks.model import LaneSignature, Pause, PauseKind, TaskStatus
from mqtasks.scheduler.paused import NOTHING, Paused
from mqtasks.scheduler.unplaced import Reason
from tests.scheduler.harness import World


def waiting(world: World) -> int:
    return world.storage.count_by_status(100)[TaskStatus.CREATED]


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("executor", "work", {}),
        ("key", "k", {"concurrency_key": "k"}),
        ("tenant", "t", {"tenant": "t"}),
    ],
)
def test_s4_what_is_paused_waits_and_says_so_until_it_is_resumed(world: World, kind, name, options):
    leader = world.leader()
    world.runner(parallelism=5)
    world.service.control.pause(kind, name, "bad release")
    world.create(1, **options)
    (other,) = world.create(1, executor="work" if kind != "executor" else "other")
    leader.parts.allocate()
    leader.parts.allocate()
    assert waiting(world) == (2 if kind == "executor" else 1)
    whys = [why for _lane, _sig, why in leader.parts.allocator.explain()]
    (why,) = [why for why in whys if why.reason is Reason.PAUSED]
    assert f"{kind} {name!r} is paused (bad release)" in str(why)

    world.service.control.resume(kind, name)
    world.clock.advance(1)
    leader.parts.allocate()
    assert waiting(world) == (1 if kind == "executor" else 0)
    assert world.task(other) is not None


def test_s4_a_cordoned_runner_keeps_what_it_has_and_gets_nothing_new(world: World):
    leader = world.leader()
    world.runner("r1", parallelism=5)
    world.create(2)
    leader.parts.allocate()
    world.service.control.pause("runner", "r1", "kernel update")
    world.clock.advance(1)
    world.create(2)
    leader.parts.allocate()
    assert (len(world.live()), waiting(world)) == (2, 2)
    world.runner("r2", parallelism=5)
    world.clock.advance(1)
    leader.parts.allocate()
    assert (len(world.live("r1")), len(world.live("r2"))) == (2, 2)
    assert waiting(world) == 0


def test_s4_an_idle_leader_sees_a_pause_though_its_view_of_the_runners_suffices(world: World):
    leader = world.leader()
    world.runner(parallelism=5)
    world.create(1)
    leader.parts.allocate()
    world.clock.advance(60)
    world.beat()
    world.service.control.pause("executor", "work")
    world.create(1)
    leader.parts.allocate()
    assert waiting(world) == 1


def test_nothing_paused_costs_one_small_read_each_half_second(world: World):
    leader = world.leader()
    world.runner(parallelism=50, max_wait_tasks=0)
    world.spy.reset()
    for _ in range(5):
        world.create(1)
        leader.parts.allocate()
    assert world.spy.calls["pauses"] == 1


def test_a_pause_of_a_runner_holds_no_task_of_that_name():
    paused = Paused([Pause(PauseKind.RUNNER, "work")])
    assert paused.holding(LaneSignature("work")) is None
    assert paused.runners == {"work"}
    assert NOTHING.explain(LaneSignature("work")) is None
