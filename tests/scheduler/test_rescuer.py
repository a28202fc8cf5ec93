"""Dead runners lose their tasks on time; live ones never do (P3, P4, P8, P9)."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from mqtasks.coordination.base import TaskBeat
from mqtasks.errors import StorageUnavailable
from mqtasks.model import AttemptOutcome, RunnerState, TaskEpoch, TaskStatus
from mqtasks.scheduler import Scheduler
from mqtasks.storage.contract import Allocation
from tests.scheduler.harness import TIMEOUT, World

PASS = 1.0


@pytest.fixture
def leader(world: World) -> Scheduler:
    """A leader that has watched for long enough to judge, with two live runners."""
    made = world.leader()
    for runner_id in ("dying", "living"):
        world.runner(runner_id, parallelism=100)
    world.pass_time(made, TIMEOUT + 1, "dying", "living")
    return made


def held_by(world: World, runner_id: str, count: int = 10, **options: Any) -> list[int]:
    """Create tasks and give them to one runner."""
    ids = world.create(count, **options)
    tasks = world.storage.load(ids)
    generation = world.generations[runner_id]
    world.storage.allocate_many(
        [Allocation(item.id, item.epoch, runner_id, generation) for item in tasks]
    )
    return ids


def owners(world: World, ids: list[int]) -> set[str]:
    return {world.task(task).runner for task in ids}


def time_until_moved(world: World, leader: Scheduler, ids: list[int], *alive: str) -> float:
    """Let time pass until every task has left runner "dying"; return how many seconds."""
    for half_seconds in range(1, 200):
        world.pass_time(leader, 0.5, *alive)
        if "dying" not in owners(world, ids):
            return half_seconds / 2
    raise AssertionError("never rescued")


# -- P3: who is dead -----------------------------------------------------------------------------


def test_p3_a_killed_runner_is_rescued_after_one_timeout_and_a_pass(world, leader):
    ids = held_by(world, "dying")
    took = time_until_moved(world, leader, ids, "living")
    assert TIMEOUT - 0.5 <= took <= TIMEOUT + PASS
    assert owners(world, ids) == {"living"}
    assert {world.task(task).epoch for task in ids} == {2}


def test_p3_nothing_is_taken_from_a_runner_whose_lease_is_alive(world, leader):
    ids = held_by(world, "dying")
    world.redis.go_away()
    world.pass_time(leader, 20 * TIMEOUT, "dying", "living")
    assert owners(world, ids) == {"dying"}
    assert {world.task(task).epoch for task in ids} == {1}


def test_p3_with_redis_down_a_dead_runner_is_rescued_on_time(world, leader):
    ids = held_by(world, "dying")
    world.beat("dying")
    world.redis.go_away()
    assert time_until_moved(world, leader, ids, "living") <= TIMEOUT + PASS


def test_p3_a_redis_that_is_flushed_again_and_again_blocks_no_rescue(world, leader):
    ids = held_by(world, "dying")
    waited = 0.0
    while "dying" in owners(world, ids):
        world.beat("dying")  # somebody else's process with its id, say
        world.redis.flush()
        world.beat("dying")
        world.pass_time(leader, 2.0, "living")
        waited += 2.0
        assert waited <= TIMEOUT + 2.0 + PASS


def test_p3_while_renewals_are_blocked_a_live_key_keeps_the_tasks(world, leader):
    ids = held_by(world, "dying")
    for _ in range(round(2 * TIMEOUT)):
        world.beat("dying")  # its heartbeats flow, its renewals do not
        world.pass_time(leader, 1.0, "living")
    assert owners(world, ids) == {"dying"}
    # The key expires too: within one pass the tasks move.
    world.redis.forget_runner("dying")
    world.pass_time(leader, PASS, "living")
    assert owners(world, ids) == {"living"}


def test_p3_a_key_delays_by_no_more_than_two_timeouts(world, leader):
    ids = held_by(world, "dying")
    waited = 0.0
    while "dying" in owners(world, ids):
        world.beat("dying")
        world.pass_time(leader, 0.5, "living")
        waited += 0.5
        assert waited <= 3 * TIMEOUT + PASS
    assert waited >= 3 * TIMEOUT


def test_p3_evicting_every_key_moves_nothing(world, leader):
    ids = held_by(world, "dying", 50)
    for _ in range(60):
        world.redis.evict()
        world.renew("dying", "living")
        world.pass_time(leader, 1.0)
    assert owners(world, ids) == {"dying"}


def test_p3_a_redis_watched_for_less_than_a_timeout_vouches_for_nobody(world, leader):
    ids = held_by(world, "dying")
    world.redis.go_away()
    world.pass_time(leader, TIMEOUT - 1, "living")
    world.redis.come_back()
    world.beat("dying")
    assert time_until_moved(world, leader, ids, "living") <= 1 + PASS


# -- P4: observation and fencing -----------------------------------------------------------------


def away(world: World) -> None:
    def fail(_name: str) -> None:
        raise StorageUnavailable("connection refused")

    world.spy.before = fail


def test_p4_after_a_database_outage_nothing_is_taken_from_those_that_come_back(world, leader):
    ids = held_by(world, "dying")
    away(world)
    for _ in range(60):
        world.clock.advance(1.0)
        for step in (leader.parts.rescuer.run_once, leader.parts.election.run_once):
            with contextlib.suppress(StorageUnavailable):
                step()
    world.spy.before = lambda _name: None
    # Every lease has lapsed for 45 s. The runners come back within the timeout, one late.
    world.pass_time(leader, TIMEOUT - 2)
    assert owners(world, ids) == {"dying"}
    world.renew("dying", "living")
    world.pass_time(leader, 2 * TIMEOUT, "dying", "living")
    assert owners(world, ids) == {"dying"}
    assert {world.task(task).epoch for task in ids} == {1}


@pytest.mark.parametrize("call", ["server_identity", "now_ms", "orphans", "runners"])
def test_p4_whatever_cannot_reach_the_database_restarts_the_watch(world, leader, call):
    ids = held_by(world, "dying")
    world.pass_time(leader, TIMEOUT - 0.5, "living")

    def fail(name: str) -> None:
        if name == call:
            raise StorageUnavailable("connection reset")

    world.spy.before = fail
    with pytest.raises(StorageUnavailable):
        leader.parts.rescuer.run_once()
    world.spy.before = lambda _name: None
    world.pass_time(leader, TIMEOUT - 1, "living")
    assert owners(world, ids) == {"dying"}
    world.pass_time(leader, 2 * PASS, "living")
    assert owners(world, ids) == {"living"}


def test_p4_who_does_not_come_back_after_an_outage_is_rescued_a_timeout_later(world, leader):
    ids = held_by(world, "dying")
    world.clock.advance(60)  # the scheduler was suspended as long as the database was away
    assert time_until_moved(world, leader, ids, "living") <= TIMEOUT + 2 * PASS + 0.5


def test_p4_a_new_leader_watches_for_a_timeout_first(world, leader):
    ids = held_by(world, "dying")
    world.pass_time(leader, TIMEOUT - 1, "living")
    leader.parts.election.resign()
    second = world.scheduler("second")
    world.pass_time(second, TIMEOUT - 1, "living")
    assert owners(world, ids) == {"dying"}
    world.pass_time(second, 2 * PASS, "living")
    assert owners(world, ids) == {"living"}


@pytest.mark.parametrize("step", [-600.0, 600.0])
def test_p4_p13_a_step_of_the_database_clock_costs_no_live_runner_its_tasks(world, leader, step):
    ids = held_by(world, "dying")
    world.pass_time(leader, 5, "dying", "living")
    world.clock.step_wall(step)
    # All leases look lapsed (or endless) now; renewals come with the next beat, 3 s later.
    world.pass_time(leader, 3)
    world.pass_time(leader, 3 * TIMEOUT, "dying", "living")
    assert owners(world, ids) == {"dying"}


def test_p4_a_renewal_that_comes_between_the_look_and_the_fence_wins(world, leader):
    ids = held_by(world, "dying")
    world.pass_time(leader, TIMEOUT - 0.5, "living")
    world.clock.advance(1)
    world.spy.before = lambda name: world.renew("dying") if name == "fence_lapsed" else None
    leader.run_once()
    assert world.spy.calls["fence_lapsed"] == 1
    assert owners(world, ids) == {"dying"}


def test_p4_a_fenced_runner_cannot_renew(world, leader):
    ids = held_by(world, "dying")
    time_until_moved(world, leader, ids, "living")
    assert world.renew("dying") == frozenset()


def test_p13_after_a_fence_that_waited_for_the_lock_nobody_else_is_judged(world, leader):
    third = world.runner("third", parallelism=10)
    first_ids, third_ids = held_by(world, "dying"), held_by(world, third)
    world.pass_time(leader, TIMEOUT - 0.5, "living")
    world.clock.advance(1)

    def wait_for_lock(name: str) -> None:
        if name == "fence_lapsed":
            world.clock.advance(1.5)

    world.spy.before = wait_for_lock
    leader.run_once()
    assert world.spy.calls["fence_lapsed"] == 1
    world.spy.before = lambda _name: None
    assert "dying" not in owners(world, first_ids)
    world.renew(third)
    world.pass_time(leader, 2 * TIMEOUT, "living", third)
    assert owners(world, third_ids) == {third}


def test_p6_a_deposed_leader_rescues_nothing(world, leader):
    ids = held_by(world, "dying")
    world.pass_time(leader, TIMEOUT - 0.5, "living")
    usurper = world.scheduler("usurper")

    def depose(name: str) -> None:
        if name == "fence_lapsed":
            world.storage.release_lease(leader.parts.election.leadership())
            usurper.parts.election.run_once()

    world.clock.advance(1)
    world.spy.before = depose
    leader.run_once()
    assert owners(world, ids) == {"dying"}
    assert not leader.leading


# -- stopped runners -----------------------------------------------------------------------------


def test_p2_live_rows_of_a_stopped_runner_are_rescued_at_the_next_pass(world, leader):
    ids = held_by(world, "dying")
    world.storage.set_runner_state("dying", world.generations["dying"], RunnerState.STOPPED)
    world.clock.advance(PASS)
    leader.run_once()
    assert owners(world, ids) == {"living"}


def test_rows_of_runners_that_stopped_long_ago_are_forgotten(world):
    leader = world.leader(forget_runners_after=3600.0)
    world.runner("gone")
    world.storage.set_runner_state("gone", world.generations["gone"], RunnerState.STOPPED)
    leader.run_once()
    world.clock.advance(3590)
    leader.run_once()
    assert [item.id for item in world.storage.runners()] == ["gone"]
    world.clock.advance(61)
    leader.run_once()
    assert world.storage.runners() == []


# -- P8: crashes ---------------------------------------------------------------------------------


def test_p8_only_started_tasks_are_charged(world, leader):
    started, waiting = held_by(world, "dying", 3), held_by(world, "dying", 4)
    world.storage.mark_started("dying", [TaskEpoch(task, 1) for task in started])
    time_until_moved(world, leader, started + waiting, "living")
    assert {world.task(task).crashes for task in started} == {1}
    assert {world.task(task).crashes for task in waiting} == {0}
    for task in started:
        assert world.storage.attempts(task)[0].outcome == AttemptOutcome.CRASHED
    for task in waiting:
        assert world.storage.attempts(task)[0].outcome == AttemptOutcome.LOST


def test_p8_a_task_that_keeps_killing_its_runner_ends_failed(world):
    leader = world.leader(max_crashes=2)
    (poison,) = world.create()
    for life in range(3):
        world.runner("r1")
        world.pass_time(leader, 1, "r1")
        assert world.task(poison).epoch == life + 1
        world.start("r1")
        world.pass_time(leader, 2 * TIMEOUT)
    stored = world.task(poison)
    assert stored.status is TaskStatus.COMPLETED
    assert stored.crashes == 3
    assert stored.execute_result is not None
    assert "crash" in stored.execute_result.error
    assert len(world.storage.attempts(poison)) == 3


# -- P9: cancellation ----------------------------------------------------------------------------


def test_p9_a_task_being_canceled_at_a_dead_owner_ends_canceled_and_never_runs_again(world, leader):
    (asked, other) = ids = held_by(world, "dying", 2)
    world.start("dying")
    world.storage.cancel_many([asked])
    assert world.status(asked) is TaskStatus.CANCEL_REQUESTED
    world.pass_time(leader, TIMEOUT + PASS, "living")
    assert world.status(asked) is TaskStatus.CANCELED
    assert owners(world, ids[1:]) == {"living"}
    world.pass_time(leader, TIMEOUT, "living")
    assert world.status(asked) is TaskStatus.CANCELED
    assert world.status(other) is TaskStatus.RUNNING


# -- runners without a row -----------------------------------------------------------------------


def allocated_by_hand(world: World, runner_id: str = "foreign") -> int:
    (task,) = world.create()
    world.service.allocate(world.task(task), runner_id)
    return task


def test_p3_a_foreign_runner_keeps_what_it_sends_heartbeats_for(world, leader):
    kept, silent = allocated_by_hand(world), allocated_by_hand(world)
    for _ in range(40):
        world.service.heartbeat(world.task(kept))
        world.pass_time(leader, 1.0, "living")
    assert world.task(kept).runner == "foreign"
    assert world.task(silent).runner == "living"


def test_p3_a_task_key_delays_the_rescue_from_a_foreign_runner(world, leader):
    task = allocated_by_hand(world)
    waited = 0.0
    while world.task(task).runner == "foreign":
        world.redis.beat_tasks([TaskBeat(task, "foreign", 1)], TIMEOUT)
        world.pass_time(leader, 0.5, "living")
        waited += 0.5
        assert waited <= 3 * TIMEOUT + PASS
    assert waited >= 3 * TIMEOUT


def test_p3_without_redis_a_silent_foreign_runner_loses_its_tasks_after_one_timeout(world, leader):
    task = allocated_by_hand(world)
    world.redis.go_away()
    world.pass_time(leader, TIMEOUT - 1, "living")
    assert world.task(task).runner == "foreign"
    world.pass_time(leader, 1 + 2 * PASS, "living")
    assert world.task(task).runner == "living"


def test_p4_a_foreign_runner_is_not_judged_before_the_watch_is_over(world):
    task = allocated_by_hand(world)
    leader = world.leader()
    world.runner("living")
    world.clock.advance(5 * TIMEOUT)  # its heartbeats could not be written, either
    world.pass_time(leader, TIMEOUT - 1, "living")
    assert world.task(task).runner == "foreign"


def test_a_standby_judges_nobody(world, leader):
    standby = world.scheduler("standby")
    world.spy.reset()
    standby.parts.rescuer.run_once()
    assert not world.spy.calls
