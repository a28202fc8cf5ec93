"""The whole scheduler: deterministic steps (P15), threads that start, wake and stop."""

from __future__ import annotations

import threading

import pytest

from mqtasks import events
from mqtasks.clock import SystemClock
from mqtasks.coordination.local import LocalNotifier
from mqtasks.model import NewTask, RunnerRecord, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.scheduler.pacing import PacedWake
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage

QUIET = SchedulerOptions(safety_poll=60.0, slow_poll=60.0, fast_poll=60.0)
"""With these a test can only pass because hints wake the loops."""


def test_p15_one_step_of_everything_runs_without_threads(world, clock):
    scheduler = world.scheduler()
    before = threading.active_count()
    world.runner(parallelism=5)
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    (delayed,) = world.create(delay_duration=1)
    clock.advance(1)
    delay = scheduler.run_once()
    assert 0 < delay <= 1.0
    assert scheduler.leading
    assert world.status(delayed) is TaskStatus.RUNNING
    assert {item.metadata.id for item in world.service.query_task()} == {"work-0", "tick:1"}
    assert world.redis.stats()["leader"] == "s1"
    assert threading.active_count() <= before + 1, "the service's hint sender at most"


def test_p15_a_standby_step_triggers_cron_and_nothing_else(world, clock):
    world.leader("one")
    standby = world.scheduler("two")
    world.runner()
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    clock.advance(1)
    standby.run_once()
    assert not standby.leading
    (task,) = world.service.query_task()
    assert task.metadata.id == "tick:1"
    assert task.status is TaskStatus.CREATED


def test_p6_losing_the_database_ends_all_leader_work_within_the_trust_window(world, clock):
    leader = world.leader()
    world.create(10, delay_duration=1)
    clock.advance(4.0)
    world.spy.reset()
    for part in (leader.parts.promoter, leader.parts.rescuer, leader.parts.pruner):
        part.run_once()
    leader.parts.allocate()
    leader.parts.stats.run_once()
    assert not world.spy.calls


def test_leadership_is_announced_to_listeners(world):
    seen: list[tuple[str, object]] = []
    stop = events.subscribe("scheduler.", lambda name, fields: seen.append((name, fields["term"])))
    try:
        scheduler = world.scheduler()
        scheduler.run_once()
        scheduler.run_once()
        scheduler.stop()
    finally:
        stop()
    assert seen == [("scheduler.leading", 1), ("scheduler.deposed", 1)]


# -- threads ---------------------------------------------------------------------------------------


@pytest.fixture
def service():
    """A service on the real clock, with a runner that takes tasks."""
    with TaskService(MemoryTaskStorage(), LocalNotifier(), clock=SystemClock()) as made:
        record = RunnerRecord(id="r1", holder="h", executors=("work",), parallelism=100)
        made.storage.register_runner(record, 60_000, 3)
        yield made


@pytest.fixture
def allocated(service):
    """Set when a runner is told of an allocation."""
    heard = threading.Event()
    service.notifier.subscribe([service.keys.allocated("r1")], lambda *_: heard.set())
    return heard


def test_a_created_hint_wakes_the_allocator(service, allocated):
    with Scheduler(service, QUIET) as scheduler:
        service.create(TaskMetadata("first", "work"))
        assert allocated.wait(5)
        allocated.clear()
        service.create(TaskMetadata("second", "work"))
        assert allocated.wait(5)
        assert scheduler.leading


def test_a_delayed_task_starts_on_time(service, allocated):
    with Scheduler(service, QUIET):
        began = service.clock.monotonic()
        options = TaskOptions(delay_duration=0.3)
        service.create_tasks([NewTask(TaskMetadata("later", "work", options=options))])
        assert allocated.wait(5)
        assert 0.25 <= service.clock.monotonic() - began < 1.0


def test_a_standby_leads_soon_after_the_leader_has_stopped(service, allocated):
    leads = threading.Event()
    terms: list[int] = []

    def note(_name: str, fields) -> None:
        terms.append(fields["term"])
        if fields["holder"] == "second":
            leads.set()

    stop_listening = events.subscribe("scheduler.leading", note)
    first, second = Scheduler(service, QUIET, holder="first"), Scheduler(service, holder="second")
    try:
        first.parts.election.run_once()
        first.start()
        second.start()
        assert first.stop(5)
        assert leads.wait(5)
        service.create(TaskMetadata("task", "work"))
        assert allocated.wait(5)
        assert terms == [1, 2]
    finally:
        stop_listening()
        assert second.stop(5)


def test_start_and_stop_may_be_called_repeatedly(service, allocated):
    scheduler = Scheduler(service, QUIET)
    assert scheduler.stop(5)
    for name in ("one", "two"):
        scheduler.start()
        scheduler.start()
        service.create(TaskMetadata(name, "work"))
        assert allocated.wait(5)
        allocated.clear()
        assert scheduler.stop(5)
        assert scheduler.stop(5)
        assert not scheduler.leading
        assert not [t for t in threading.enumerate() if t.name.startswith("mqtasks-scheduler")]


def test_stopping_from_the_hint_of_an_allocation_does_not_hang(service):
    scheduler = Scheduler(service, QUIET)
    done = threading.Event()

    def stop(*_: object) -> None:
        scheduler.request_stop()
        done.set()

    service.notifier.subscribe([service.keys.allocated("r1")], stop)
    scheduler.start()
    service.create(TaskMetadata("task", "work"))
    assert done.wait(5)
    assert scheduler.stop(5)


def test_the_paced_wake_merges_signals_within_the_gap():
    clock = SystemClock()
    wake = PacedWake(lambda: 0.05)
    wake.set()
    began = clock.monotonic()
    assert wake.wait(1.0)
    assert clock.monotonic() - began >= 0.045
    assert not wake.wait(0.0)


def test_the_paced_wake_without_a_gap_is_immediate():
    clock = SystemClock()
    wake = PacedWake(lambda: 0.0)
    wake.set()
    began = clock.monotonic()
    assert wake.wait(5.0)
    assert clock.monotonic() - began < 1.0
    assert not wake.wait(0.01)
