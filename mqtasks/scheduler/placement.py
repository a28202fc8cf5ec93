"""Which task goes to which runner: a pure function over a snapshot.

Tenants that compete take turns, one task each (see `TenantTurns`); tasks without a tenant are those
of one more. The lanes of a tenant compete by the first task each of them has left: higher priority
first, where a task that waits gains one step of priority per ageing interval, then earlier due
time, then lower id. A lane's own order is kept. Each task goes to the least loaded runner that
fits. Where a task under a limit finds no free slot, what comes behind it may wait for slots at
other runners only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
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
    tenants: dict[str, int] = {}
    """Tenant -> how many of its tasks were assigned."""
    barrier: int | None = None
    """The lane whose tasks ran out though it may hold more: what follows would jump its queue."""


def place(
    fleet: Fleet,
    demands: Sequence[Demand],
    now_ms: int,
    *,
    ageing_ms: int = 10_000,
    most: int = sys.maxsize,
    turn_of: Callable[[str], int] = lambda _tenant: 0,
) -> Placement:
    """Assign up to ``most`` tasks to runners while one is left that fits; uses up ``fleet``.

    ``now_ms`` is the database's clock. Stops early at a barrier: when a lane with ``more`` has
    no task left, the lanes behind it must not be served before its next tasks are known.
    ``turn_of`` tells at which turn a tenant is served first; each task moves it one turn on.
    """
    placement = Placement({}, 0, {})
    groups: dict[str, list[Demand]] = {}
    for demand in demands:
        groups.setdefault(demand.signature.tenant, []).append(demand)
    queues = {
        tenant: turns
        for tenant, group in groups.items()
        if (turns := _Turns(fleet, group, now_ms, ageing_ms)).heap
    }
    if len(queues) == 1:
        ((tenant, turns),) = queues.items()
        _serve(turns, placement, most)
        placement.tenants[tenant] = placement.count
        return placement
    order = [(turn_of(tenant), turns.heap[0], tenant) for tenant, turns in queues.items()]
    heapify(order)
    while order and placement.count < most and placement.barrier is None:
        turn, _, tenant = order[0]
        turns = queues[tenant]
        before = placement.count
        _serve(turns, placement, before + 1)
        served = placement.count - before
        placement.tenants[tenant] = placement.tenants.get(tenant, 0) + served
        if turns.heap:
            heapreplace(order, (turn + served, turns.heap[0], tenant))
        else:
            heappop(order)
    return placement


def _serve(turns: _Turns, placement: Placement, most: int) -> None:
    """Serve the lanes of one tenant until ``most`` tasks are placed altogether."""
    while turns.heap and placement.count < most:
        number = turns.heap[0][3]
        demand = turns.demands[number]
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


class _Turns:
    """Whose turn it is: lanes by the rank of their next task."""

    def __init__(
        self, fleet: Fleet, demands: Sequence[Demand], now_ms: int, ageing_ms: int
    ) -> None:
        self._fleet = fleet
        self.demands = demands
        self._now_ms = now_ms
        self._ageing_ms = ageing_ms
        self.position = [0] * len(demands)
        # (aged priority ascending, due, id, demand): ids are unique, so demands never compare.
        self.heap = [self.entry(i) for i, demand in enumerate(demands) if demand.tasks]
        heapify(self.heap)

    def entry(self, number: int) -> tuple[int, int, int, int]:
        task = self.demands[number].tasks[self.position[number]]
        return (
            *rank(task.priority, task.run_at, task.id, self._now_ms, self._ageing_ms),
            number,
        )

    def serve(
        self, number: int, assigned: dict[int, list[AsyncTask]], most: int
    ) -> tuple[int, Unplaced | None]:
        """Place tasks of the lane on top until another's turn comes: how many, and why no more."""
        fleet, demand = self._fleet, self.demands[number]
        signature, tasks = demand.signature, demand.tasks
        now_ms, ageing_ms = self._now_ms, self._ageing_ms
        rival = min(self.heap[1:3]) if len(self.heap) > 1 else None
        runners = fleet.heap(signature)
        first = position = self.position[number]
        left = fleet.openings.left(signature)
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
        fleet.openings.take(signature, placed)
        if full and left != 0 and signature.limited:
            fleet.keep_slot(signature)  # those who come behind it may not fill what gets free
        if not full:
            return placed, None
        why = fleet.explain(signature)
        return placed, why or Unplaced(Reason.FULL, "this pass used up all room")


def rank(
    priority: int, run_at: int, task_id: int, now_ms: int, ageing_ms: int
) -> tuple[int, int, int]:
    """Return what lane heads are compared by; the lowest is served first."""
    return (-priority - max(0, now_ms - run_at) // ageing_ms, run_at, task_id)
