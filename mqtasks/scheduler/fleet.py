"""The runners of one scheduling pass: who fits what, and how much room is left.

Pure: built from records, it reads no storage and no clock. Runners that register the same
executors and carry the same labels form a *class*; a signature is matched against classes, never
against every runner, and the runners that match share one heap per kind of demand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heapreplace
from typing import Final, TypeAlias

import msgspec

from mqtasks.model import LaneSignature
from mqtasks.scheduler.limits import Openings
from mqtasks.scheduler.unplaced import Reason, Unplaced
from mqtasks.storage.contract import RunnerLimit
from mqtasks.storage.reservations import SLACK

NOTHING_OFFERED: Final = RunnerLimit("")

_Class: TypeAlias = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
_Heap: TypeAlias = list[tuple[float, int, int]]
_Rules: TypeAlias = tuple[tuple[str, str, tuple[str, ...]], ...]
_Demand: TypeAlias = tuple[int, bool, float, int, tuple[tuple[str, float], ...]]


class RunnerRoom(msgspec.Struct, frozen=True, kw_only=True):
    """One runner that takes tasks, and what it holds already."""

    id: str
    generation: int
    executors: tuple[str, ...]
    labels: dict[str, str] = {}
    parallelism: int = 1
    """Tasks it executes at once; more than that wait there."""
    most: int = 1
    """Live tasks it may own at present, those that wait included."""
    live: int = 0
    """Live tasks it owns."""
    cpu: float = 0.0
    """Cores not reserved yet."""
    memory: int = 0
    """Bytes not reserved yet."""
    resources: dict[str, float] = {}
    """Named amounts not reserved yet."""
    offered: RunnerLimit = NOTHING_OFFERED
    """All that it offers, reserved or not."""


class FitIndex:
    """Which runners may run what. Worth keeping while the runners stay the same."""

    def __init__(self, runners: Iterable[tuple[tuple[str, ...], Mapping[str, str]]]) -> None:
        """Index runners by their executors and labels; answers are positions in ``runners``."""
        classes: dict[_Class, list[int]] = {}
        for position, (executors, labels) in enumerate(runners):
            key = (executors, tuple(sorted(labels.items())))
            classes.setdefault(key, []).append(position)
        self._members = list(classes.values())
        groups: dict[tuple[str, ...], set[int]] = {}
        self._by_label: dict[tuple[str, str], set[int]] = {}
        self._by_name: dict[str, set[int]] = {}
        for number, (executors, pairs) in enumerate(classes):
            groups.setdefault(executors, set()).add(number)
            for pair in pairs:
                self._by_label.setdefault(pair, set()).add(number)
                self._by_name.setdefault(pair[0], set()).add(number)
        self._groups = list(groups.values())
        self._by_executor: dict[str, tuple[int, ...]] = {}
        for group, executors in enumerate(groups):
            for executor in set(executors):
                self._by_executor[executor] = (*self._by_executor.get(executor, ()), group)
        self._classes_of: dict[tuple[int, ...], frozenset[int]] = {}
        self._pool_of: dict[tuple[str, tuple[tuple[str, str], ...], _Rules], int] = {}
        self._pool_by_classes: dict[frozenset[int], int] = {}
        self.pools: list[tuple[int, ...]] = []
        """Sets of runners that fit together; signatures that match the same ones share a pool."""

    def pool(self, executor: str, labels: tuple[tuple[str, str], ...], rules: _Rules = ()) -> int:
        """Return the number of the pool of runners that register and carry these."""
        key = (executor, labels, rules)
        found = self._pool_of.get(key)
        if found is None:
            classes = self._classes(executor, labels, rules)
            found = self._pool_by_classes.get(classes)
            if found is None:
                found = self._pool_by_classes[classes] = len(self.pools)
                members = (i for number in classes for i in self._members[number])
                self.pools.append(tuple(sorted(members)))
            self._pool_of[key] = found
        return found

    def registered(self, executor: str) -> int:
        """Return how many runners register an executor."""
        return sum(len(self._members[number]) for number in self._classes(executor, (), ()))

    def _classes(
        self, executor: str, labels: tuple[tuple[str, str], ...], rules: _Rules
    ) -> frozenset[int]:
        groups = self._by_executor.get(executor, ())
        classes = self._classes_of.get(groups)
        if classes is None:
            classes = frozenset().union(*(self._groups[group] for group in groups))
            self._classes_of[groups] = classes
        sets = [self._by_label.get(pair, set()) for pair in labels]
        unwanted: set[int] = set()
        for label, operator, values in rules:
            if operator == "exists":
                sets.append(self._by_name.get(label, set()))
                continue
            having = set().union(*(self._by_label.get((label, value), set()) for value in values))
            if operator == "in":
                sets.append(having)
            else:
                unwanted |= having
        if sets:
            sets.sort(key=len)
            classes = frozenset(sets[0].intersection(*sets[1:], classes))
        return classes - unwanted if unwanted else classes


class Fleet:
    """Runners with the room they have left; placing uses it up. For one pass and one thread."""

    def __init__(
        self,
        rooms: Sequence[RunnerRoom],
        openings: Openings | None = None,
        *,
        turn: int = 0,
        index: FitIndex | None = None,
    ) -> None:
        """Start from ``rooms`` and what limits and rates leave open.

        ``turn`` decides who comes first among equals: raise it from pass to pass. ``index`` is
        the `FitIndex` of the same runners in the same order, if there is one from before.
        """
        self.rooms = rooms
        self.openings = openings or Openings()
        self.live = [room.live for room in rooms]
        self._index = index or FitIndex((room.executors, room.labels) for room in rooms)
        self._turn = turn
        self._cpu = [room.cpu for room in rooms]
        self._memory = [room.memory for room in rooms]
        self._resources = [dict(room.resources) for room in rooms]
        self._heaps: dict[_Demand, _Heap] = {}
        self._room_of: dict[_Demand, int] = {}
        self._kept: set[int] = set()

    def total_room(self) -> int:
        """Return how many tasks all runners together could take now."""
        return sum(
            max(0, room.most - live) for room, live in zip(self.rooms, self.live, strict=True)
        )

    def someone_waits(self) -> bool:
        """Return whether a runner owns more tasks than it executes at once."""
        return any(
            live > room.parallelism for room, live in zip(self.rooms, self.live, strict=True)
        )

    def room(self, signature: LaneSignature) -> int:
        """Return how many tasks of a signature would fit if nothing else were placed before."""
        left = self.openings.left(signature)
        if left == 0:
            return 0
        key = self._demand_key(signature)
        room = self._room_of.get(key)
        if room is None:
            room = self._room_of[key] = sum(
                self._room_at(i, signature) for i in self._index.pools[key[0]]
            )
        return room if left is None else min(room, left)

    def fits_nobody(self, signature: LaneSignature) -> bool:
        """Return whether no runner registers the executor and has the labels, busy or not."""
        return not self._index.pools[self._pool(signature)]

    def only_busy(self, signature: LaneSignature) -> bool:
        """Return whether nothing but a free slot keeps a task under a limit from being given."""
        if not signature.limited or self.openings.left(signature) == 0:
            return False
        return any(self._could(i, signature) for i in self._index.pools[self._pool(signature)])

    def keep_slot(self, signature: LaneSignature) -> None:
        """Let no more tasks wait at one of the runners for a signature, so that a slot gets free.

        Tasks under a limit never wait at a runner, so others that do would pass them by for ever.
        """
        pool = self._index.pools[self._pool(signature)]
        if self._kept.isdisjoint(pool):
            fitting = [i for i in pool if self._could(i, signature)]
            if fitting:
                self._kept.add(min(fitting, key=self._load))

    def heap(self, signature: LaneSignature) -> _Heap:
        """Return the runners for a signature, least loaded first: the argument of `take`."""
        key = self._demand_key(signature)
        heap = self._heaps.get(key)
        if heap is None:
            count = len(self.rooms)
            turn = self._turn
            heap = [
                (self._load(i), (i - turn) % count, i)
                for i in self._index.pools[key[0]]
                if self._room_at(i, signature)
            ]
            heapify(heap)
            self._heaps[key] = heap
        return heap

    def take(self, heap: _Heap, signature: LaneSignature) -> int:
        """Take room for one task at the least loaded runner; return its position, or -1.

        Load only ever grows and room only ever shrinks within a pass. So an entry whose load has
        changed through another heap is put back, and one without room is dropped for good.
        """
        cpu, memory, resources = signature.cpu, signature.memory, signature.resources
        slots_only = signature.limited
        while heap:
            load, tie, i = heap[0]
            room, live = self.rooms[i], self.live[i]
            slots_only_here = slots_only or i in self._kept
            limit = min(room.parallelism, room.most) if slots_only_here else room.most
            if (
                live >= limit
                or (cpu and self._cpu[i] + SLACK < cpu)
                or (memory and self._memory[i] < memory)
                or (resources and self._fold(i, resources) < 1)
            ):
                heappop(heap)
                continue
            current = self._load(i)
            if current != load:
                heapreplace(heap, (current, tie, i))
                continue
            self.live[i] = live + 1
            self._cpu[i] -= cpu
            self._memory[i] -= memory
            for name, amount in resources:
                self._resources[i][name] -= amount
            heapreplace(heap, (self._load(i), tie, i))
            return i
        return -1

    def take_many(self, heap: _Heap, signature: LaneSignature, wanted: int) -> tuple[int, int]:
        """As `take`, for up to ``wanted`` tasks at once where only one runner is left.

        Returns its position and how many it takes; -1 and 0 if there are several, or none.
        """
        if len(heap) != 1:
            return -1, 0
        i = heap[0][2]
        count = min(wanted, self._room_at(i, signature))
        if count <= 0:
            return -1, 0
        self.live[i] += count
        self._cpu[i] -= count * signature.cpu
        self._memory[i] -= count * signature.memory
        for name, amount in signature.resources:
            self._resources[i][name] -= count * amount
        return i, count

    def free_slots(self, signature: LaneSignature) -> dict[int, int]:
        """Return where tasks of a signature could start at once: runner position -> how many."""
        slots = {}
        for i in self._index.pools[self._demand_key(signature)[0]]:
            idle = min(self.rooms[i].parallelism - self.live[i], self._room_at(i, signature))
            if idle > 0:
                slots[i] = idle
        return slots

    def explain(self, signature: LaneSignature) -> Unplaced | None:
        """Return why a task of this signature cannot be placed now; None if it can."""
        if not self.rooms:
            return Unplaced(Reason.NO_RUNNER, "start a worker, or see why its lease lapsed")
        pool = self._index.pools[self._pool(signature)]
        if not pool:
            return self._explain_fit(signature)
        closed = self.openings.explain(signature)
        if closed is not None:
            return closed
        plain = msgspec.structs.replace(signature, cpu=0.0, memory=0, resources=())
        open_runners = [i for i in pool if self._room_at(i, plain)]
        if not open_runners:
            return Unplaced(Reason.FULL, f"{len(pool)} runners fit, none has a free place")
        return self._explain_resources(signature, open_runners)

    def _explain_resources(
        self, signature: LaneSignature, runners: Sequence[int]
    ) -> Unplaced | None:
        cpu = max(self._cpu[i] for i in runners)
        if cpu + SLACK < signature.cpu:
            return Unplaced(
                Reason.CPU, f"{signature.cpu:g} cores wanted, short by {signature.cpu - cpu:g}"
            )
        roomy = [i for i in runners if self._cpu[i] + SLACK >= signature.cpu]
        memory = max(self._memory[i] for i in roomy)
        if memory < signature.memory:
            return Unplaced(
                Reason.MEMORY,
                f"{signature.memory} bytes wanted, short by {signature.memory - memory}",
            )
        roomy = [i for i in roomy if self._memory[i] >= signature.memory]
        for name, amount in signature.resources:
            most = max(self._resources[i].get(name, 0.0) for i in roomy)
            if most + SLACK < amount:
                return Unplaced(
                    Reason.RESOURCE, f"{amount:g} of {name!r} wanted, short by {amount - most:g}"
                )
            roomy = [i for i in roomy if self._fold(i, ((name, amount),))]
        return None

    def _explain_fit(self, signature: LaneSignature) -> Unplaced:
        registered = self._index.registered(signature.executor)
        if not registered:
            return Unplaced(
                Reason.NO_EXECUTOR,
                f"{signature.executor!r} is registered by none of {len(self.rooms)} runners",
            )
        wanted = [f"{key}={value}" for key, value in signature.labels]
        for key, operator, values in signature.rules:
            shown = f"{'not ' * (operator == 'not')}in ({', '.join(values)})"
            wanted.append(f"{key} exists" if operator == "exists" else f"{key} {shown}")
        return Unplaced(Reason.LABELS, f"{', '.join(wanted)} unmatched by {registered} runners")

    def _pool(self, signature: LaneSignature) -> int:
        return self._index.pool(signature.executor, signature.labels, signature.rules)

    def _demand_key(self, signature: LaneSignature) -> _Demand:
        pool = self._pool(signature)
        limited = signature.limited
        return (pool, limited, signature.cpu, signature.memory, signature.resources)

    def _fold(self, i: int, resources: Sequence[tuple[str, float]]) -> int:
        """Return how many times a runner has all of these left."""
        have = self._resources[i]
        return min(int((have.get(name, 0.0) + SLACK) / amount) for name, amount in resources)

    def _room_at(self, i: int, signature: LaneSignature) -> int:
        room = self.rooms[i]
        slots_only = signature.limited or i in self._kept
        limit = min(room.parallelism, room.most) if slots_only else room.most
        free = limit - self.live[i]
        if free > 0 and signature.cpu:
            free = min(free, int((self._cpu[i] + SLACK) / signature.cpu))
        if free > 0 and signature.memory:
            free = min(free, self._memory[i] // signature.memory)
        if free > 0 and signature.resources:
            free = min(free, self._fold(i, signature.resources))
        return max(0, free)

    def _could(self, i: int, signature: LaneSignature) -> bool:
        """Return whether a runner would take a task if it had a free slot."""
        return (
            self.rooms[i].most > 0
            and self._cpu[i] + SLACK >= signature.cpu
            and self._memory[i] >= signature.memory
            and (not signature.resources or self._fold(i, signature.resources) > 0)
        )

    def _load(self, i: int) -> float:
        """Return 0.0 for an idle runner, 1.0 when it is busy, 2.0 when nothing more may wait."""
        room = self.rooms[i]
        waiting = self.live[i] - room.parallelism
        if waiting < 0:
            return self.live[i] / room.parallelism
        return 1.0 + waiting / max(1, room.most - room.parallelism)
