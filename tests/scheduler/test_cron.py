"""Cron tasks fire once, whoever triggers them (P12)."""

from __future__ import annotations

import threading

from mqtasks.model import CronPolicy, TaskMetadata, TaskStatus


def test_p12_two_schedulers_make_each_firing_once(world, clock):
    one, two = world.leader("one"), world.scheduler("two")
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    for second in range(30):
        clock.advance(1)
        for scheduler in (one, two) if second % 2 else (two, one):
            scheduler.parts.cron.run_once()
    ids = sorted(task.metadata.id for task in world.service.query_task())
    assert ids == sorted(f"tick:{n}" for n in range(1, 31))


def test_p12_a_trigger_between_read_and_write_of_another_is_made_once(world, clock):
    one, two = world.leader("one"), world.scheduler("two")
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    inside = False

    def interleave(name: str) -> None:
        nonlocal inside
        if name == "trigger_many" and not inside:
            inside = True
            two.parts.cron.run_once()
            inside = False

    world.spy.before = interleave
    for _ in range(10):
        clock.advance(1)
        one.parts.cron.run_once()
    assert len(world.service.query_task()) == 10


def test_p12_schedulers_in_threads_make_each_firing_once(world, clock):
    schedulers = [world.scheduler(f"s{i}") for i in range(4)]
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *")
    together = threading.Barrier(len(schedulers))
    errors: list[Exception] = []

    def fire(step) -> None:
        try:
            for _ in range(10):
                if together.wait(10) == 0:
                    clock.advance(1)
                together.wait(10)
                step()
        except Exception as error:  # noqa: BLE001 - reported by the assertion below
            errors.append(error)
            together.abort()

    threads = [threading.Thread(target=fire, args=(s.parts.cron.run_once,)) for s in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not errors
    assert len(world.service.query_task()) == 10


def test_it_sleeps_until_the_next_firing_but_no_longer_than_its_poll(world, clock):
    scheduler = world.scheduler(cron_poll=5.0)
    assert scheduler.parts.cron.run_once() == 5.0
    world.service.create_cron_task(TaskMetadata("tick", "work"), "*/2 * * * * *")
    assert 0 < scheduler.parts.cron.run_once() <= 2.0


def test_m15_queue_one_runs_the_waiting_task_when_the_one_before_has_ended(world, clock):
    """The limit is the allocator's own, so it is exact whoever triggers and allocates."""
    leader = world.leader(leader_ttl=3600.0)
    world.runner("r1", parallelism=5)
    policy = CronPolicy(overlap="queue_one")
    world.service.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *", policy=policy)
    for _ in range(4):
        clock.advance(1)
        leader.parts.cron.run_once()
    leader.parts.allocate()
    states = {task.metadata.id: task.status for task in world.service.query_task()}
    assert states == {"tick:1": TaskStatus.RUNNING, "tick:2": TaskStatus.CREATED}
    assert world.finish() == 1
    leader.parts.allocate()
    states = {task.metadata.id: task.status for task in world.service.query_task()}
    assert states == {"tick:1": TaskStatus.COMPLETED, "tick:2": TaskStatus.RUNNING}
