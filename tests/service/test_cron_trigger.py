"""Cron triggering: each firing once, whoever triggers (P12)."""

from __future__ import annotations

import itertools
import threading

import pytest

from mqtasks.clock import ManualClock
from mqtasks.conditions import where
from mqtasks.errors import InvalidCron
from mqtasks.events import bus
from mqtasks.model import CronPolicy, TaskMetadata
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage

EVERY_SECOND = "* * * * * *"
EACH = CronPolicy(misfire="all")


def firings(service: TaskService) -> list[str]:
    return [task.metadata.id for task in service.query_task(where.parent_task_id == "tick")]


def test_p12_each_second_fires_once_with_two_schedulers(clock: ManualClock) -> None:
    storage = MemoryTaskStorage(clock)
    services = [TaskService(storage, clock=clock) for _ in range(2)]
    services[0].create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)

    for _ in range(30):
        clock.advance(1)
        for service in services:
            service.trigger_due_cron()

    assert firings(services[0]) == [f"tick:{n}" for n in range(1, 31)]


def test_p12_schedulers_that_race_fire_each_time_once(clock: ManualClock) -> None:
    storage = MemoryTaskStorage(clock)
    services = [TaskService(storage, clock=clock) for _ in range(4)]
    services[0].create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)
    clock.advance(40)
    barrier = threading.Barrier(len(services))

    def trigger(service: TaskService) -> None:
        barrier.wait()
        service.trigger_due_cron()

    threads = [threading.Thread(target=trigger, args=(service,)) for service in services]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(firings(services[0])) == sorted(f"tick:{n}" for n in range(1, 41))


def test_the_fire_time_is_the_due_time_of_the_task(
    service: TaskService, clock: ManualClock
) -> None:
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)
    clock.advance(3)
    service.trigger_due_cron()

    run_at = [task.run_at for task in service.query_task(where.parent_task_id == "tick")]

    gaps = [later - earlier for earlier, later in itertools.pairwise(run_at)]

    assert gaps == [1000, 1000]


def test_a_gap_collapses_into_its_last_firing(service: TaskService, clock: ManualClock) -> None:
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND)
    clock.advance(3600)

    service.trigger_due_cron()

    assert firings(service) == ["tick:1"]
    [task] = service.query_task()
    assert clock.now_ms() - task.run_at < 1000


def test_a_long_gap_of_seconds_makes_up_for_the_limit_only(
    service: TaskService, clock: ManualClock
) -> None:
    policy = CronPolicy(misfire="all", misfire_limit=700)
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=policy)
    clock.advance(86_400)

    service.trigger_due_cron()

    assert len(firings(service)) == 700


def test_run_once_says_when_the_next_is_due(service: TaskService, clock: ManualClock) -> None:
    assert service.trigger_due_cron() is None
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND)
    clock.advance(1)

    wait = service.trigger_due_cron()

    assert wait is not None
    assert 0 < wait <= 1


def test_creating_twice_creates_once_and_bad_expressions_nothing(service: TaskService) -> None:
    assert service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND) is True
    assert service.create_cron_task(TaskMetadata("tick", 2), "@hourly") is False
    with pytest.raises(InvalidCron):
        service.create_cron_task(TaskMetadata("bad", 1), "61 * * * *")
    with pytest.raises(InvalidCron):
        service.create_cron_task(TaskMetadata("bad", 1), "@daily", "Mars/Olympus")

    assert [cron.metadata.executor for cron in service.query_cron_task()] == [1]


def test_p12_a_deleted_cron_that_returns_goes_on_counting(
    service: TaskService, clock: ManualClock
) -> None:
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)
    clock.advance(2)
    service.trigger_due_cron()
    assert service.delete_cron_task("tick")
    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)
    clock.advance(2)
    service.trigger_due_cron()

    assert firings(service) == [f"tick:{n}" for n in range(1, 5)]


def test_the_thread_triggers_until_stopped() -> None:
    service = TaskService(MemoryTaskStorage())
    heard = threading.Event()
    service.start_schedule_cron_task()
    service.start_schedule_cron_task()
    service.notifier.subscribe([service.keys.created], lambda *_: heard.set())

    service.create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND)

    assert heard.wait(10)
    service.stop_schedule_cron_task()
    service.stop_schedule_cron_task()
    assert firings(service)
    service.close()


def test_each_firing_is_told_once_and_by_the_scheduler_that_made_it(clock: ManualClock) -> None:
    storage = MemoryTaskStorage(clock)
    services = [TaskService(storage, clock=clock) for _ in range(2)]
    services[0].create_cron_task(TaskMetadata("tick", 1), EVERY_SECOND, policy=EACH)
    due = services[0].query_cron_task()[0].next_time
    told: list[tuple[object, ...]] = []
    forget = bus.subscribe("cron.fired", lambda _, fields: told.append(tuple(fields.values())))
    try:
        clock.advance(2)
        for service in services:
            service.trigger_due_cron()
    finally:
        forget()
    assert told == [("tick", 1, "tick:1", due), ("tick", 2, "tick:2", due + 1000)]
