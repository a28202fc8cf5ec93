"""Ended rows go when their retention is over, in chunks."""

from __future__ import annotations

import hashlib

import pytest
from msgspec.structs import replace

from mqtasks.conditions import where
from mqtasks.errors import StorageConflict
from mqtasks.model import CronPolicy, FiringKind, TaskMetadata
from mqtasks.scheduler import Scheduler
from tests.scheduler.harness import World
from tests.support.stage import new


@pytest.fixture
def leader(world: World) -> Scheduler:
    return world.leader(
        leader_ttl=3600.0, retention_success=100.0, retention_failure=200.0, prune_batch=10
    )


def ended(world, leader, count: int) -> None:
    world.runner("r1", parallelism=count)
    world.create(count)
    leader.parts.allocate()
    assert world.finish() == count


def test_a_sweep_goes_in_chunks_with_pauses_and_rests_at_the_end(world, clock, leader):
    ended(world, leader, 35)
    clock.advance(101)
    delays: list[float] = []
    while not delays or delays[-1] < 60:
        delays.append(leader.parts.pruner.run_once())
    assert len(delays) in {4, 5}
    assert all(0.05 <= delay < 60 for delay in delays[:-1])
    assert world.storage.query() == []
    assert leader.parts.pruner.deleted == 35


def test_a_chunk_that_took_long_is_followed_by_a_longer_pause(world, clock, leader):
    ended(world, leader, 35)
    clock.advance(101)
    world.spy.before = lambda name: clock.advance(0.5) if name == "prune" else None
    assert leader.parts.pruner.run_once() == pytest.approx(2.0)


def test_rows_within_their_retention_stay(world, clock, leader):
    ended(world, leader, 5)
    world.create(3)
    clock.advance(99)
    leader.parts.pruner.run_once()
    assert len(world.storage.query(where.everything())) == 8
    clock.advance(2)
    leader.parts.pruner.run_once()
    assert len(world.storage.query()) == 3


def test_failures_are_kept_for_longer(world, clock, leader):
    (task,) = world.create()
    world.storage.cancel_many([task])
    clock.advance(199)
    leader.parts.pruner.run_once()
    assert world.storage.load([task])
    clock.advance(2)
    leader.parts.pruner.run_once()
    assert not world.storage.load([task])


def test_a_standby_prunes_nothing_and_starts_over_when_it_leads(world, clock, leader):
    ended(world, leader, 35)
    clock.advance(101)
    leader.parts.pruner.run_once()
    leader.parts.election.resign()
    world.spy.reset()
    assert leader.parts.pruner.run_once() == 60
    assert not world.spy.calls
    assert len(world.storage.query()) == 25


def test_a_sweep_that_was_broken_off_starts_over(world, clock, leader):
    canceled = world.create(5)
    world.storage.cancel_many(canceled)
    ended(world, leader, 30)
    clock.advance(101)
    leader.parts.pruner.run_once()
    assert world.storage.load(canceled)
    leader.parts.election.resign()
    leader.parts.pruner.run_once()
    clock.advance(100)
    leader.parts.election.run_once()
    leader.parts.pruner.run_once()
    assert not world.storage.load(canceled)


def test_expired_windows_go_in_chunks_too(world, clock, leader):
    def create(count: int, name: str, period_ms: int) -> None:
        tasks = [
            replace(new(f"{name}{number}"), unique_key=key(name, number), unique_ms=period_ms)
            for number in range(count)
        ]
        assert all(made.is_new for made in world.storage.create_tasks(tasks))

    create(25, "short", 1000)
    create(3, "long", 60_000)
    clock.advance(2)
    pruner = leader.parts.pruner
    delays = [pruner.run_once() for _ in range(3)]
    assert [delay < 60 for delay in delays] == [True, True, False]
    assert pruner.windows_deleted == 25
    assert world.storage.prune_windows(100) == 0


def key(name: str, number: int) -> bytes:
    return hashlib.sha256(f"{name}{number}".encode()).digest()


def test_p12_records_of_firings_go_with_the_longer_retention(world, clock, leader):
    world.service.create_cron_task(
        TaskMetadata("tick", "work"), "* * * * * *", policy=CronPolicy(misfire="all")
    )
    for _ in range(12):
        clock.advance(1)
        world.service.trigger_due_cron()
    clock.advance(195)
    leader.parts.pruner.run_once()
    kept = world.storage.cron_firings("tick", 100, FiringKind.SCHEDULED)
    assert [item.task for item in kept] == [f"tick:{n}" for n in range(12, 7, -1)]
    assert leader.parts.pruner.firings_deleted == 7
    clock.advance(60)
    assert leader.parts.pruner.run_once() == pytest.approx(60.0)
    assert world.storage.cron_firings("tick", 100, FiringKind.SCHEDULED) == []


def test_a_window_that_a_caller_holds_keeps_nothing_else_from_going(
    world, clock, leader, monkeypatch
):
    def held(_limit: int) -> int:
        raise StorageConflict("1205: Lock wait timeout exceeded")

    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    clock.advance(1)
    world.service.trigger_due_cron()
    clock.advance(201)
    monkeypatch.setattr(leader.parts.pruner._storage, "prune_windows", held, raising=False)
    with pytest.raises(StorageConflict):
        leader.parts.pruner.run_once()
    assert leader.parts.pruner.firings_deleted == 1
