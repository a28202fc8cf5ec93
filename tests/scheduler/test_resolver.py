"""Tasks that wait begin, or end, when those they wait for have ended (S12)."""

from __future__ import annotations

import pytest

from mqtasks.model import FailurePolicy, NewTask, TaskMetadata, TaskStatus
from mqtasks.scheduler import resolver as policy


@pytest.fixture
def resolver(world):
    return world.leader(slow_poll=0.5, resolve_batch=10).parts.resolver


def after(world, name: str, *parents: str, on_failure=FailurePolicy.CANCEL, **fields) -> int:
    new = NewTask(TaskMetadata(name, "work"), after=parents, on_failure=on_failure, **fields)
    task_id: int = world.service.create_tasks([new])[0].task_id
    return task_id


def test_s12_a_task_waits_until_its_parents_have_succeeded(world, clock, resolver):
    world.runner(parallelism=4)
    world.create(2)
    child = after(world, "child", "work-0", "work-1")
    scheduler = world.leader("s1")
    scheduler.run_once()
    assert world.status(child) is TaskStatus.WAITING
    world.finish(count=1)
    scheduler.run_once()
    assert world.status(child) is TaskStatus.WAITING
    world.finish()
    scheduler.run_once()
    scheduler.run_once()
    assert world.status(child) is TaskStatus.RUNNING


def test_s12_an_idle_pass_costs_one_read(world, resolver):
    world.create(3)
    world.spy.reset()
    assert resolver.run_once() == 1.0
    assert world.spy.calls == {"resolve_dependencies": 1}
    assert resolver.gap == policy.GAP
    assert not resolver.waiting


def test_s12_while_something_waits_runners_are_asked_to_tell_what_ends(world, clock, resolver):
    asked = []
    world.service.notifier.subscribe([world.service.keys.waiting], lambda *_: asked.append(1))
    world.create(1)
    after(world, "child", "work-0")
    assert resolver.run_once() == policy.GAP_WAITING, "what ended before they were asked"
    assert resolver.run_once() == 0.5
    assert (len(asked), resolver.waiting) == (1, True)
    clock.advance(3)
    resolver.run_once()
    assert len(asked) == 2


def test_s12_what_ends_is_told_and_may_end_others(world, resolver):
    ended: list[int] = []
    world.service.hint_ended = ended.extend
    (parent,) = world.create(1)
    child = after(world, "child", "work-0")
    grandchild = after(world, "grandchild", "child", on_failure=FailurePolicy.FAIL)
    last = after(world, "last", "grandchild", on_failure=FailurePolicy.RUN)
    world.storage.cancel_many([parent])
    while True:
        resolver.run_once()
        if not resolver.moved:
            break
    assert ended == [child, grandchild]
    assert world.status(child) is TaskStatus.CANCELED
    assert world.status(grandchild) is TaskStatus.COMPLETED
    assert world.status(last) is TaskStatus.CREATED
    assert (resolver.released, resolver.given_up) == (1, 2)


def test_s12_a_pass_takes_as_many_steps_as_it_needs(world, resolver):
    parents = world.create(35)
    for number in range(35):
        after(world, f"child-{number}", f"work-{number}")
    after(world, "all", *(f"child-{number}" for number in range(35)))
    world.storage.cancel_many(parents[:-1])
    world.spy.reset()
    resolver.run_once()
    assert world.spy.calls["resolve_dependencies"] >= 4
    assert resolver.given_up == 35, "34 children, and what waits for them"


def test_s12_a_standby_looks_at_nothing(world):
    standby = world.scheduler("s2").parts.resolver
    world.create(1)
    after(world, "child", "work-0")
    world.spy.reset()
    assert standby.run_once() == 1.0
    assert not world.spy.calls


def test_s12_a_pass_stops_when_leadership_is_lost(world):
    scheduler = world.leader(resolve_batch=1)
    parents = world.create(3)
    for number in range(3):
        after(world, f"child-{number}", f"work-{number}")
    world.storage.cancel_many(parents)
    world.spy.reset()
    world.spy.before = lambda name: (
        name == "resolve_dependencies" and scheduler.parts.election.resign()
    )
    scheduler.parts.resolver.run_once()
    assert world.spy.calls["resolve_dependencies"] == 1


def test_s12_two_schedulers_that_both_lead_start_each_child_once(world, clock):
    """Whoever resolves first wins; the other finds nothing left to do."""
    world.runner(parallelism=100)
    parents = world.create(20)
    children = [after(world, f"child-{n}", f"work-{n}") for n in range(20)]
    first, second = world.leader("s1"), world.scheduler("s2")
    stolen = second.parts.resolver
    stolen._leadership = first.parts.election.leadership
    world.storage.cancel_many(parents[:5])
    first.run_once()
    world.finish()
    raced: list[float] = []

    def interleave(name):
        if name == "resolve_dependencies" and not raced:
            raced.append(0)
            stolen.run_once()

    world.spy.before = interleave
    first.parts.resolver.run_once()
    assert first.parts.resolver.released + stolen.released == 15
    assert sum(world.status(child) is TaskStatus.CREATED for child in children) == 15
