"""A tenant is met soon, however many lanes others have (S11, P7)."""

from __future__ import annotations

import pytest

from mqtasks.model import TaskMetadata, TaskOptions, TaskStatus, lane_of, last_lane_beside
from mqtasks.scheduler.lane_scan import LaneScan
from mqtasks.scheduler.tenant_probe import TenantProbe
from tests.scheduler.harness import World


def fill(world: World, tenant: str, lanes: int) -> set[int]:
    """Give a tenant that many lanes; return them."""
    metadatas = [
        TaskMetadata(
            f"{tenant}-{i}", "work", options=TaskOptions(tenant=tenant, concurrency_key=f"k{i}")
        )
        for i in range(lanes)
    ]
    world.service.create_batch(metadatas)
    return {lane_of(item) for item in metadatas}


def test_the_lanes_of_a_tenant_lie_side_by_side(world):
    for tenant in ("", "a", "b"):
        lanes = fill(world, tenant, 50)
        (last,) = {last_lane_beside(lane) for lane in lanes}
        assert all(0 < lane <= last for lane in lanes)
        between = [lane for lane in world.storage.lanes(0, 1000) if min(lanes) <= lane <= last]
        assert set(between) == lanes


def test_s11_each_tenant_is_found_at_once_beside_large_ones(world):
    large = fill(world, "", 3_000) | fill(world, "large", 3_000)
    small = {name: fill(world, name, 3) for name in ("x", "y", "z")}
    probe = TenantProbe(world.spy)
    for _ in range(5):
        world.spy.reset()
        found = set(probe.look())
        assert all(lanes <= found for lanes in small.values())
        assert found <= large.union(*small.values())
        assert world.spy.calls["lanes"] <= 8


def test_s11_a_large_tenant_shows_other_lanes_at_each_look(world):
    lanes = fill(world, "large", 1_000)
    probe = TenantProbe(world.storage)
    seen: set[int] = set()
    for _ in range(20):
        seen.update(probe.look())
    assert seen == lanes


def test_s11_of_many_tenants_all_are_found_in_a_few_looks(world):
    lanes = set().union(*(fill(world, f"tenant {i}", 70) for i in range(40)))
    probe = TenantProbe(world.storage)
    tenants = {last_lane_beside(lane) for lane in lanes}
    seen: set[int] = set()
    for _ in range(2 * 40 // 8 + 2):
        seen.update(last_lane_beside(lane) for lane in probe.look())
    assert seen == tenants


def test_p7_one_page_of_lanes_is_one_read(world):
    fill(world, "a", 500)
    fill(world, "b", 499)
    scan = LaneScan(world.spy)
    for _ in range(3):
        world.spy.reset()
        assert len(scan.next_page()) == 999
        assert scan.complete
        assert world.spy.calls["lanes"] == 1


def test_p7_a_round_over_several_pages_looks_once_for_others(world):
    lanes = fill(world, "a", 2_500) | fill(world, "b", 10)
    scan = LaneScan(world.spy)
    seen: list[int] = []
    while True:
        seen += scan.next_page()
        if scan.complete:
            break
    assert set(seen) == lanes
    assert len(seen) <= len(lanes) + 2 * 64
    assert world.spy.calls["lanes"] <= 3 + 8


@pytest.mark.parametrize("rivals", [1, 5])
def test_s11_a_new_tenant_behind_thousands_of_lanes_starts_within_two_turns(world, rivals):
    """Without the look aside it would be met after as many passes as there are pages."""
    leader = world.leader(leader_ttl=600.0)
    world.runner(parallelism=4, max_wait_tasks=0)
    for i in range(rivals):
        fill(world, f"rival {i}", 6_000 // rivals)
    leader.parts.allocate()
    for turn in range(20):
        (task,) = world.create(executor="work", tenant=f"new {turn}")
        waited = 0
        while world.status(task) is TaskStatus.CREATED:
            world.finish(count=1)
            leader.parts.allocate()
            waited += 1
            assert waited <= 1 + rivals
