"""What tasks reserve, with two schedulers that both lead (M13, P6)."""

from __future__ import annotations

import random
from typing import Any

import pytest

from mqtasks.storage.contract import RunnerLimit
from tests.scheduler.harness import World


@pytest.mark.parametrize(
    ("offered", "wanted", "fit"),
    [
        ({"cpu": 1.0}, {"cpu": 0.1}, 10),
        ({"memory": 64}, {"memory": 16}, 4),
        ({"resources": {"gpu": 3.0}}, {"resources": {"gpu": 1}}, 3),
    ],
    ids=["cpu", "memory", "gpu"],
)
def test_m13_p6_two_leaders_at_once_never_reserve_more_than_is_offered(
    world: World, offered: dict[str, Any], wanted: dict[str, Any], fit: int
):
    """Each decides on what it saw before the other wrote, on other tasks: storage counts again."""
    one, two = world.leader("one"), world.scheduler("two")
    two.parts.election._held = one.parts.election._held  # forced: both believe in one term
    runners = [world.runner(f"r{i}", parallelism=30, **offered) for i in range(2)]
    inside, chance = False, random.Random(fit)
    made = 0

    def interleave(name: str) -> None:
        nonlocal inside, made
        if name == "allocate_many" and not inside and chance.random() < 0.5:
            inside = True
            made += len(world.create(3, priority=made + 1, **wanted))
            two.parts.allocator.run_once()
            inside = False

    made += len(world.create(400, **wanted))
    world.spy.before = interleave
    done = most = 0
    while done < made:
        one.parts.allocator.run_once()
        owned = [len(world.live(r)) for r in runners]
        assert max(owned) <= fit
        most = max(most, *owned)
        done += sum(world.finish(r, chance.randint(0, fit)) for r in runners)
    assert most == fit
    assert one.parts.allocator.allocated + two.parts.allocator.allocated == done
    assert two.parts.allocator.allocated


def test_m13_only_runners_whose_new_tasks_reserve_are_named_in_the_transaction(world: World):
    leader = world.leader()
    world.runner("plain", "work")
    world.runner("boxes", "heavy", cpu=4.0, memory=9, resources={"gpu": 1.0})
    limits: list[tuple[Any, ...]] = []
    give = world.storage.allocate_many

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.storage, name)

        def allocate_many(self, allocations: Any, leadership: Any, given: Any) -> Any:
            limits.append(tuple(given))
            return give(allocations, leadership, given)

    world.spy.inner = Noting()  # type: ignore[assignment]
    world.create(1)
    leader.parts.allocator.run_once()
    world.create(1)
    world.create(1, "heavy", cpu=3.0)
    leader.parts.allocator.run_once()
    assert limits == [(), (RunnerLimit("boxes", 4.0, 9, {"gpu": 1.0}),)]
