"""Lanes by seeks: complete and in order, whatever was remembered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mqtasks.storage.checks import MAX_NUMBER
from mqtasks.storage.mysql.seek import ENTRIES, SEEKS, LaneMemory, find_lanes

lanes = st.sets(st.integers(1, 400), max_size=150)


class Table:
    """Lanes that hold rows, and how often they were looked for."""

    def __init__(self, lanes, rows=1):
        self.lanes = sorted(lanes)
        self.rows = rows
        self.statements = 0
        self.widest = 0

    def seek(self, ranges):
        self.statements += 1
        self.widest = max(self.widest, len(ranges))
        return [
            (index, min((lane for lane in self.lanes if low < lane <= high), default=None))
            for index, (low, high) in enumerate(ranges)
        ]

    def entries(self, after):
        self.statements += 1
        found = [lane for lane in self.lanes if lane > after for _ in range(self.rows)]
        return found[:ENTRIES]


@given(lanes, lanes, st.integers(0, 400), st.integers(1, 200), st.sampled_from([1, 3, 600]))
def test_the_answer_never_depends_on_what_is_remembered(held, remembered, after, limit, rows):
    memory = LaneMemory()
    for lane in remembered:
        memory.met(lane)
    table = Table(held, rows)
    expected = [lane for lane in sorted(held) if lane > after][:limit]
    assert find_lanes(table.seek, memory, after, limit, table.entries) == expected
    assert table.widest <= SEEKS + 1


def test_lanes_met_before_are_found_by_one_statement():
    table = Table(range(10, 10 + SEEKS - 1))
    memory = LaneMemory()
    assert find_lanes(table.seek, memory, 0, 1000, table.entries) == table.lanes
    table.statements = 0
    assert find_lanes(table.seek, memory, 0, 1000, table.entries) == table.lanes
    assert table.statements == 1


def test_p7_a_page_of_lanes_with_a_row_each_is_a_few_statements_though_none_was_met_before():
    table = Table(range(10, 100_000, 7))
    memory = LaneMemory()
    at = 0
    for _ in range(5):
        page = find_lanes(table.seek, memory, at, 1000, table.entries)
        assert page == [lane for lane in table.lanes if lane > at][:1000]
        at = page[-1]
    assert table.statements <= 5 * 20


def test_a_lane_that_stays_empty_is_forgotten():
    memory = LaneMemory()
    memory.met(7)
    table = Table([])
    for _ in range(200):
        assert find_lanes(table.seek, memory, 0, 10, table.entries) == []
    assert memory.behind(0, 10) == []


def test_memory_is_bounded():
    memory = LaneMemory()
    for lane in range(1, 5000):
        memory.met(lane)
    assert len(memory.behind(0, MAX_NUMBER)) == 1024
