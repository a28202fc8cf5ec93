"""Nothing starves: from the queue, past a runner's own waiting list, into an executor (M12)."""

from __future__ import annotations

from typing import Any

import pytest

from mqtasks.model import SUCCESS, NewTask, TaskMetadata, TaskOptions
from mqtasks.service.hints import decode_allocated
from mqtasks.storage.contract import Completion
from mqtasks.worker.held import hold
from mqtasks.worker.waiting import Waiting
from tests.scheduler.harness import World

TICK = 0.05
"""Seconds that each task takes; the runner has one slot."""
EXECUTOR: Any = None


class OneSlot:
    """A runner that executes what waits in the order of real runners."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.waiting = Waiting()
        world.runner("r1", "work", "other", parallelism=1, max_wait_tasks=50)
        notifier, keys = world.service.notifier, world.service.keys
        notifier.subscribe([keys.allocated("r1")], lambda _, hint: self.admit(hint))

    def admit(self, payload: bytes) -> None:
        """Let what was allocated wait, in the order of the hint."""
        hint = decode_allocated(payload, "r1")
        assert hint is not None
        for task in hint.tasks:
            self.waiting.push(hold(task, EXECUTOR, self.world.clock.monotonic()))

    def tick(self) -> int:
        """Execute the next task; return its id, 0 if there is none."""
        self.world.clock.advance(TICK)
        self.world.renew("r1")
        held = self.waiting.pop(self.world.clock.monotonic())
        if held is None:
            return 0
        done = Completion(held.task_id, held.epoch, SUCCESS)
        self.world.storage.complete_many("r1", [done])
        return held.task_id


@pytest.mark.parametrize(
    "rival",
    [{}, {"executor": "other"}, {"tenant": "b"}],
    ids=["same executor", "other executor", "other tenant"],
)
def test_m12_an_aged_task_reaches_an_executor_past_an_endless_stream(world, rival):
    """Three steps of priority lower, behind more than the runner can do."""
    leader = world.leader(leader_ttl=3600.0, ageing=10.0)
    runner = OneSlot(world)
    world.create(20, priority=3, **rival)
    leader.parts.allocate()
    (low,) = world.create()
    began = world.clock.monotonic()
    while (executed := runner.tick()) != low:
        assert executed, "the stream never ends"
        world.create(1, priority=3, **rival)
        leader.parts.allocate()
        waited = world.clock.monotonic() - began
        assert waited < 30 + 10, "starved"
    if "tenant" not in rival:
        assert world.clock.monotonic() - began > 20, "it aged; it did not jump the queue"


LIMITS: list[dict[str, Any]] = [
    {"concurrency_key": "k"},
    {"executor": "other", "concurrency": 3},
    {"executor": "other", "rate_limit": "100/s"},
]


@pytest.mark.parametrize("limit", LIMITS, ids=["key", "concurrency", "rate"])
@pytest.mark.parametrize(("priority", "least", "most"), [(9, 0, 2), (-2, 15, 35)])
def test_m12_p6_a_task_that_may_not_wait_at_a_runner_is_not_passed_by_for_ever(
    world, limit, priority, least, most
):
    """Others may, so that the runner always has the next task before a slot is free."""
    leader = world.leader(leader_ttl=3600.0, ageing=10.0)
    runner = OneSlot(world)
    world.create(20)
    leader.parts.allocate()
    (task,) = world.create(priority=priority, **limit)
    began = world.clock.monotonic()
    waiting_places = 0
    while (executed := runner.tick()) != task:
        assert executed, "the stream never ends"
        world.create(1)
        leader.parts.allocate()
        waiting_places = max(waiting_places, len(runner.waiting))
        assert world.clock.monotonic() - began < most, "starved"
    assert world.clock.monotonic() - began >= least, "it aged; it did not jump the queue"
    assert waiting_places > 1


def test_p6_where_nothing_waits_for_a_slot_the_waiting_places_are_filled(world):
    """A lane whose limit is used up keeps nobody from waiting at a runner."""
    leader = world.leader(leader_ttl=3600.0)
    runner = OneSlot(world)
    world.create(2, concurrency_key="k", priority=9)
    leader.parts.allocate()
    world.create(50)
    leader.parts.allocate()
    assert len(runner.waiting) == 2


def test_m12_the_order_is_priority_then_due_time_then_id(world):
    leader = world.leader(leader_ttl=3600.0)
    ids = {}
    for name, priority, delay in [
        ("late", 0, 2), ("soon", 0, 1), ("twin 1", 5, 3), ("twin 2", 5, 3), ("first", 9, 3),
    ]:  # fmt: skip
        world.clock.advance(0.001)
        now = world.clock.now_ms()
        made = NewTask(
            TaskMetadata(name, "work", options=TaskOptions(priority=priority)),
            run_at=now + delay * 1000,
        )
        ids[world.service.create_tasks([made])[0].task_id] = name
    world.clock.advance(5)
    runner = OneSlot(world)
    world.storage.promote_due(100)
    order = []
    for _ in range(len(ids)):
        leader.parts.allocate()
        order.append(ids[runner.tick()])
    assert order == ["first", "twin 1", "twin 2", "soon", "late"]
