"""Which lanes a pass visits, and how much of each it reads (P7)."""

from __future__ import annotations

import pytest

from mqtasks.model import LaneSignature, NewTask, TaskMetadata, TaskOptions, lane_of
from mqtasks.scheduler.lane_scan import Candidate, LaneReader, LaneScan
from tests.scheduler.harness import World

WORK = LaneSignature("work")
NOW, AGEING = 1_000_000, 10_000


def fill(world: World, lanes: int) -> list[int]:
    for i in range(lanes):
        world.create(executor=f"e{i}")
    return world.storage.lanes(0, 10**6)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9, 10, 11, 23])
def test_a_round_visits_every_lane_once(world, count):
    lanes = fill(world, count)
    scan = LaneScan(world.storage, page=5)
    for _ in range(3):
        seen = []
        while True:
            seen += scan.next_page()
            if scan.complete:
                break
        assert sorted(seen) == lanes


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_a_round_that_was_broken_off_goes_on_where_it_was_and_misses_none(world, pages):
    lanes = fill(world, 17)
    scan = LaneScan(world.storage, page=5)
    for _ in range(pages):
        scan.next_page()
    first = lanes[5 * pages % 17 :][:5]
    scan.end_round()
    seen = scan.next_page()
    assert seen == first
    while not scan.complete:
        seen += scan.next_page()
    assert set(seen) == set(lanes)


def test_it_reads_about_as_many_rows_as_there_is_room(world):
    world.create(1_000)
    (lane,) = world.storage.lanes(0, 1)
    reader = LaneReader(world.spy)
    (demand,) = reader.read([(lane, WORK, 500)], 20, NOW, AGEING)
    assert len(demand.tasks) == 20
    assert not demand.more, "what follows has no room in this pass anyway"


@pytest.fixture
def four(world) -> tuple[LaneReader, list[Candidate]]:
    """A reader that knows how large the rows of four long lanes are."""
    for executor in "abcd":
        world.create(1_000, executor=executor)
    candidates: list[Candidate] = [(lane, WORK, 500) for lane in world.storage.lanes(0, 10)]
    reader = LaneReader(world.spy)
    reader.remember(reader.read(candidates, 100, NOW, AGEING), frozenset(), None)
    return reader, candidates


def test_several_lanes_share_twice_the_room(four):
    reader, candidates = four
    demands = reader.read(candidates, 100, NOW, AGEING)
    assert [len(demand.tasks) for demand in demands] == [50] * 4
    assert all(demand.more for demand in demands)


def test_a_lane_that_was_read_too_little_gets_more_next_time(four):
    reader, candidates = four
    demands = reader.read(candidates, 100, NOW, AGEING)
    reader.remember(demands, frozenset(), candidates[1][0])
    lengths = [len(demand.tasks) for demand in reader.read(candidates, 100, NOW, AGEING)]
    assert lengths == [50, 100, 50, 50]


def test_large_payloads_are_read_in_small_numbers(world):
    payload = bytes(1024 * 1024)
    world.service.create_tasks(
        [NewTask(TaskMetadata(f"big-{i}", "work", payload)) for i in range(100)]
    )
    (lane,) = world.storage.lanes(0, 1)
    reader = LaneReader(world.spy)
    candidates = [(lane, WORK, 5_000)]
    first = reader.read(candidates, 5_000, NOW, AGEING)
    assert len(first[0].tasks) == 64
    assert first[0].more
    reader.remember(first, frozenset(), None)
    assert len(reader.read(candidates, 5_000, NOW, AGEING)[0].tasks) == 15


def test_p7_of_too_many_lanes_the_known_urgent_ones_come_first_and_others_in_turn(world):
    lanes = fill(world, 20)
    reader = LaneReader(world.spy, most_reads=4)
    candidates = [(lane, WORK, 1) for lane in lanes]
    for _ in range(5):
        reader.remember(reader.read(candidates, 4, NOW, AGEING), frozenset(), None)
    metadata = TaskMetadata("urgent", "e17", options=TaskOptions(priority=7))
    world.service.create(metadata)
    urgent = lane_of(metadata)
    lanes = world.storage.lanes(0, 100)
    candidates = [(lane, WORK, 1) for lane in lanes]
    visited: list[set[int]] = []
    for _ in range(12):
        demands = reader.read(candidates, 4, NOW, AGEING)
        reader.remember(demands, frozenset(), None)
        visited.append({demand.lane for demand in demands})
    assert set.union(*visited) == set(lanes)
    first = next(i for i, seen in enumerate(visited) if urgent in seen)
    assert all(urgent in seen for seen in visited[first:]), "once known it is read each time"
