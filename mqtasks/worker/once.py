"""At most one start per (task, epoch), whatever fetches and hints deliver (P5)."""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mqtasks.model import AsyncTask

_Commit: TypeAlias = "tuple[float, array[int], array[int]]"
"""When it was noted, task ids, epochs: packed, as a busy runner remembers some 100,000 of them."""


class Once:
    """Remembers which allocations have been admitted to this process. Safe from many threads.

    Epochs of a task only grow (P1), so the highest admitted one is all there is to remember. A
    finished pair is kept until nothing can deliver it again: until a fetch begun after its commit
    has ended (an older one may still return the row as RUNNING), and until every hint sent before
    its commit has become too old to be believed.
    """

    def __init__(self, keep_for: float) -> None:
        """Keep finished pairs for at least ``keep_for`` seconds."""
        self._keep_for = keep_for
        self._lock = threading.Lock()
        self._epochs: dict[int, int] = {}
        self._finished: deque[_Commit] = deque()
        self._finished_count = 0
        self._seen_by_fetch = 0.0
        """Commits up to here are covered by a fetch that has begun later and has ended."""

    def admit(self, tasks: Iterable[AsyncTask], room: int) -> tuple[list[AsyncTask], bool]:
        """Return those that were not admitted before, and whether ``room`` left out others."""
        epochs = self._epochs
        fresh: list[AsyncTask] = []
        with self._lock:
            for task in tasks:
                task_id = task.id
                if task.epoch > epochs.get(task_id, 0):
                    if len(fresh) >= room:
                        return fresh, True
                    epochs[task_id] = task.epoch
                    fresh.append(task)
        return fresh, False

    def knows(self, task_id: int, epoch: int) -> bool:
        """Return whether this allocation, or a later one of the task, was admitted."""
        return self._epochs.get(task_id, 0) >= epoch

    def finished(self, task_ids: Sequence[int], epochs: Sequence[int], now: float) -> None:
        """Note allocations whose end was committed before ``now`` (monotonic)."""
        commit = (now, array("Q", task_ids), array("L", epochs))
        with self._lock:
            self._finished.append(commit)
            self._finished_count += len(commit[1])

    @property
    def finished_count(self) -> int:
        """How many finished pairs are remembered."""
        return self._finished_count

    def finished_since(self, moment: float) -> set[tuple[int, int]]:
        """Return (task id, epoch) pairs whose commit was noted at or after ``moment``."""
        with self._lock:
            commits = [commit for commit in self._finished if commit[0] >= moment]
        return {pair for _, ids, epochs in commits for pair in zip(ids, epochs, strict=True)}

    def fetched(self, begun: float, now: float) -> None:
        """Note that a fetch begun at ``begun`` has ended, and forget what that allows."""
        known = self._epochs
        with self._lock:
            self._seen_by_fetch = max(self._seen_by_fetch, begun)
            until = min(self._seen_by_fetch, now - self._keep_for)
            while self._finished and self._finished[0][0] < until:
                _, ids, epochs = self._finished.popleft()
                self._finished_count -= len(ids)
                for task_id, epoch in zip(ids, epochs, strict=True):
                    if known.get(task_id) == epoch:
                        del known[task_id]
