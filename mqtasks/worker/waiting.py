"""Tasks that wait for a slot: the highest priority first, then the order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mqtasks.worker.held import Held


class Waiting:
    """One queue per priority. Not locked: the dispatcher's lock covers it."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[Held]] = {}
        self._order: list[deque[Held]] = []

    def __len__(self) -> int:
        return sum(map(len, self._order))

    def __bool__(self) -> bool:
        return any(self._order)

    def push(self, held: Held) -> None:
        """Let a task wait behind those of its priority."""
        queue = self._queues.get(held.priority)
        if queue is None:
            queue = self._add(held.priority)
        queue.append(held)

    def pop(self) -> Held | None:
        """Take the next task, or None."""
        for queue in self._order:
            if queue:
                return queue.popleft()
        return None

    def take(self, wanted: Callable[[Held], bool], most: int | None = None) -> list[Held]:
        """Take out up to ``most`` tasks that are wanted, those that would start last first."""
        taken: list[Held] = []
        for queue in reversed(self._order):
            kept: list[Held] = []
            while queue:
                held = queue.pop()
                if (most is None or len(taken) < most) and wanted(held):
                    taken.append(held)
                else:
                    kept.append(held)
            queue.extend(reversed(kept))
        return taken

    def _add(self, priority: int) -> deque[Held]:
        # Priorities come and go; only those that are in use cost a look at each pop.
        self._queues = {key: queue for key, queue in self._queues.items() if queue}
        queue = self._queues[priority] = deque()
        self._order = [self._queues[key] for key in sorted(self._queues, reverse=True)]
        return queue
