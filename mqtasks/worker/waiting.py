"""Tasks that wait for a slot: tenants in turn, of each the highest priority, then the first come.

A task that has waited here for `PATIENCE` goes before those of higher priority: a runner is given
work for a moment only, so whoever waits longer is being passed by, and ageing has brought it here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from mqtasks.worker.held import Held

PATIENCE: Final = 1.0
"""Seconds after which a waiting task goes before those of higher priority of its tenant."""


class Waiting:
    """One line per tenant. Not locked: the dispatcher's lock covers it."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._turns: deque[_Line] = deque()

    def __len__(self) -> int:
        return sum(map(len, self._turns))

    def __bool__(self) -> bool:
        return any(self._turns)

    def push(self, held: Held) -> None:
        """Let a task wait behind those of its tenant and priority."""
        tenant = held.task.metadata.options.tenant
        line = self._lines.get(tenant)
        if line is None:
            line = self._add(tenant)
        line.push(held)

    def pop(self, now: float) -> Held | None:
        """Take the next task, or None; ``now`` is monotonic seconds."""
        turns = self._turns
        for _ in range(len(turns)):
            line = turns[0]
            if len(turns) > 1:
                turns.rotate(-1)
            held = line.pop(now)
            if held is not None:
                return held
        return None

    def take(self, wanted: Callable[[Held], bool], most: int | None = None) -> list[Held]:
        """Take out up to ``most`` tasks that are wanted, those that would start last first.

        Of several tenants the one with the most waiting tasks gives first.
        """
        taken: list[Held] = []
        for line in sorted(self._turns, key=len, reverse=True):
            line.take(wanted, most, taken)
        return taken

    def _add(self, tenant: str) -> _Line:
        # Tenants come and go; only those that wait cost a look at each pop.
        self._lines = {name: line for name, line in self._lines.items() if line}
        line = self._lines[tenant] = _Line()
        self._turns = deque(item for item in self._turns if item)
        self._turns.append(line)
        return line


class _Line:
    """The tasks of one tenant: one queue per priority."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Held]] = {}
        self._order: list[deque[Held]] = []

    def __len__(self) -> int:
        return sum(map(len, self._order))

    def __bool__(self) -> bool:
        return any(self._order)

    def push(self, held: Held) -> None:
        queue = self._queues.get(held.priority)
        if queue is None:
            queue = self._add(held.priority)
        queue.append(held)

    def pop(self, now: float) -> Held | None:
        order = self._order
        if len(order) == 1:
            return order[0].popleft() if order[0] else None
        oldest: deque[Held] | None = None
        for queue in order:
            if queue and (oldest is None or queue[0].admitted < oldest[0].admitted):
                oldest = queue
        if oldest is None:
            return None
        if now - oldest[0].admitted < PATIENCE:
            oldest = next(queue for queue in order if queue)
        return oldest.popleft()

    def take(self, wanted: Callable[[Held], bool], most: int | None, taken: list[Held]) -> None:
        for queue in reversed(self._order):
            kept: list[Held] = []
            while queue:
                held = queue.pop()
                if (most is None or len(taken) < most) and wanted(held):
                    taken.append(held)
                else:
                    kept.append(held)
            queue.extend(reversed(kept))

    def _add(self, priority: int) -> deque[Held]:
        # Priorities come and go; only those that are in use cost a look at each pop.
        self._queues = {key: queue for key, queue in self._queues.items() if queue}
        queue = self._queues[priority] = deque()
        self._order = [self._queues[key] for key in sorted(self._queues, reverse=True)]
        return queue
