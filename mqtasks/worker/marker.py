"""Starts that storage must know of before they happen, or once they have lasted.

``started_at`` decides who is charged when a lease lapses (P8). Most tasks end before it would be
written. It is written ahead for those that were here before (epoch > 1) or have crashed, and
afterwards for those that run longer than one heartbeat interval.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.held import Cancel, Held, Phase
from mqtasks.worker.outcome import Released

_MAX_BATCH: Final = 1000


class Marker:
    """Writes starts; its callbacks say how to go on with a task.

    ``go(held)`` starts one whose start is written. ``drop(held)`` frees the slot of one that will
    not start here; its outcome is set, or None if it is not this runner's any more.
    """

    def __init__(
        self,
        runner_id: str,
        storage: TaskStorage,
        canceller: Canceller,
        go: Callable[[Held], None],
        drop: Callable[[Held], None],
    ) -> None:
        self._runner_id = runner_id
        self._storage = storage
        self._canceller = canceller
        self._go = go
        self._drop = drop
        self._inbox: deque[Held] = deque()
        self._batch: list[Held] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to write."""

    def submit(self, held: Held) -> None:
        """Write the start of a task that has a slot, then start it."""
        self._inbox.append(held)
        self.wake()

    def run_once(self) -> None:
        """Write and start what was submitted. After an error the next call goes on with it."""
        while True:
            while self._inbox and len(self._batch) < _MAX_BATCH:
                self._batch.append(self._inbox.popleft())
            for held in [held for held in self._batch if held.cancel_reason]:
                self._batch.remove(held)
                self._give_up(held, Released(held.cancel_reason))
            if not self._batch:
                return
            report = self._storage.mark_started(self._runner_id, [held.key for held in self._batch])
            lost, canceled = frozenset(report.lost), frozenset(report.canceled)
            batch, self._batch = self._batch, []
            for held in batch:
                if held.task_id in lost:
                    self._give_up(held, None)
                elif held.task_id in canceled:
                    self._give_up(held, Released(Cancel.CANCELED))
                else:
                    held.marked = True
                    self._go(held)

    def _give_up(self, held: Held, outcome: Released | None) -> None:
        held.outcome = outcome
        held.phase = Phase.ENDED
        self._drop(held)

    def mark(self, helds: Iterable[Held]) -> None:
        """Write the start of tasks that execute now, and cancel those that should not.

        Those marked before are left out.
        """
        todo: Sequence[Held] = [held for held in helds if not held.marked]
        for at in range(0, len(todo), _MAX_BATCH):
            part = todo[at : at + _MAX_BATCH]
            report = self._storage.mark_started(self._runner_id, [held.key for held in part])
            lost, canceled = frozenset(report.lost), frozenset(report.canceled)
            for held in part:
                held.marked = True
                if held.task_id in lost:
                    self._canceller.cancel(held, Cancel.REASSIGNED)
                elif held.task_id in canceled:
                    self._canceller.cancel(held, Cancel.CANCELED)
