"""Which task goes to which runner: a pure function over a snapshot.

Lanes compete by the first task each of them has left: higher priority first, where a task that
waits gains one step of priority per ageing interval, then earlier due time, then lower id. A
lane's own order is kept. Each task goes to the least loaded runner that fits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from heapq import heapify, heappop, heapreplace

import msgspec

from mqtasks.model import AsyncTask, LaneSignature
from mqtasks.scheduler.fleet import Fleet
from mqtasks.scheduler.unplaced import Reason, Unplaced


class Demand(msgspec.Struct, frozen=True):
    """The first tasks of one lane, in the lane's order."""

    lane: int
    signature: LaneSignature
    tasks: Sequence[AsyncTask]
    more: bool = False
    """Whether the lane may hold further tasks behind these."""


class Placement(msgspec.Struct):
    """What was decided."""

    assigned: dict[int, list[AsyncTask]]
    """Position of the runner in ``fleet.rooms`` -> its new tasks, in the order to start them."""
    count: int
    """How many tasks were assigned."""
    unplaced: dict[int, Unplaced]
    """Lane -> why its next task could not be placed."""
    barrier: int | None = None
    """The lane whose tasks ran out though it may hold more: what follows would jump its queue."""


def place(
    fleet: Fleet,
    demands: Sequence[Demand],
    now_ms: int,
    *,
    ageing_ms: int = 10_000,
    most: int = sys.maxsize,
) -> Placement:
    """Assign up to ``most`` tasks to runners while one is left that fits; uses up ``fleet``.

    ``now_ms`` is the database's clock. Stops early at a barrier: when a lane with ``more`` has
    no task left, the lanes behind it must not be served before its next tasks are known.
    """
    turns = _Turns(fleet, demands, now_ms, ageing_ms)
    placement = Placement({}, 0, {})
    while turns.heap and placement.count < most:
        number = turns.heap[0][3]
        demand = demands[number]
        placed, full = turns.serve(number, placement.assigned, most - placement.count)
        placement.count += placed
        position = turns.position[number]
        if full is not None:
            placement.unplaced[demand.lane] = full
            heappop(turns.heap)
        elif position < len(demand.tasks):
            heapreplace(turns.heap, turns.entry(number))
        elif demand.more:
            placement.barrier = demand.lane
            break
        else:
            heappop(turns.heap)
    return placement


class _Turns:
    """Whose turn it is: lanes by the rank of their next task."""

    def __init__(
        self, fleet: Fleet, demands: Sequence[Demand], now_ms: int, ageing_ms: int
    ) -> None:
        self._fleet = fleet
        self._demands = demands
        self._now_ms = now_ms
        self._ageing_ms = ageing_ms
        self.position = [0] * len(demands)
        # (aged priority ascending, due, id, demand): ids are unique, so demands never compare.
        self.heap = [self.entry(i) for i, demand in enumerate(demands) if demand.tasks]
        heapify(self.heap)

    def entry(self, number: int) -> tuple[int, int, int, int]:
        task = self._demands[number].tasks[self.position[number]]
        return (
            *rank(task.priority, task.run_at, task.id, self._now_ms, self._ageing_ms),
            number,
        )

    def serve(
        self, number: int, assigned: dict[int, list[AsyncTask]], most: int
    ) -> tuple[int, Unplaced | None]:
        """Place tasks of the lane on top until another's turn comes: how many, and why no more."""
        fleet, demand = self._fleet, self._demands[number]
        signature, tasks = demand.signature, demand.tasks
        now_ms, ageing_ms = self._now_ms, self._ageing_ms
        rival = min(self.heap[1:3]) if len(self.heap) > 1 else None
        runners = fleet.heap(signature)
        first = position = self.position[number]
        left = fleet.concurrency_left(signature)
        stop = min(len(tasks), position + (most if left is None else min(left, most)))
        full = left == 0
        if rival is None:
            runner, count = fleet.take_many(runners, signature, stop - position)
            if count:
                assigned.setdefault(runner, []).extend(tasks[position : position + count])
                position += count
        while position < stop:
            task = tasks[position]
            if (
                rival is not None
                and position > first
                and (*rank(task.priority, task.run_at, task.id, now_ms, ageing_ms), number) > rival
            ):
                break
            runner = fleet.take(runners, signature)
            if runner < 0:
                full = True
                break
            if runner in assigned:
                assigned[runner].append(task)
            else:
                assigned[runner] = [task]
            position += 1
        self.position[number] = position
        placed = position - first
        fleet.note_live(signature.executor, placed)
        if not full:
            return placed, None
        why = fleet.explain(signature)
        return placed, why or Unplaced(Reason.FULL, "this pass used up all room")


def rank(
    priority: int, run_at: int, task_id: int, now_ms: int, ageing_ms: int
) -> tuple[int, int, int]:
    """Return what lane heads are compared by; the lowest is served first."""
    return (-priority - max(0, now_ms - run_at) // ageing_ms, run_at, task_id)
