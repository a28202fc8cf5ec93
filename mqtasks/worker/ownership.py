"""Comparing what storage says this runner owns with what it holds, both ways (P3)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mqtasks.model import TaskEpoch, TaskStatus
from mqtasks.storage.contract import Owned
from mqtasks.worker.held import Held, Holdings, Phase
from mqtasks.worker.once import Once


class Findings(msgspec.Struct, frozen=True):
    """What a comparison has found."""

    lost: list[Held]
    """Held, but not owned: give up."""
    canceled: list[Held]
    """Held, and somebody asked to cancel it."""
    orphaned: list[TaskEpoch]
    """Owned for two intervals, admitted once, and not held any more: give back."""
    unknown: list[int]
    """Owned, and never admitted here: load and start."""


class Ownership:
    """The comparison. One thread at a time calls it."""

    def __init__(self, holdings: Holdings, once: Once, interval: float) -> None:
        """Call a task orphaned when it was seen so for two ``interval`` seconds."""
        self._holdings = holdings
        self._once = once
        self._patience = 2 * interval
        self._orphaned_since: dict[TaskEpoch, float] = {}

    def compare(self, owned: Sequence[Owned], begun: float, now: float) -> Findings:
        """Judge an answer of `TaskStorage.owned` that was asked for at ``begun``.

        Tasks admitted or committed since then are left alone: the answer may be older than them.
        """
        by_id = {row.task_id: row for row in owned}
        lost: list[Held] = []
        canceled: list[Held] = []
        for held in self._holdings.all():
            if held.phase is Phase.ENDED or held.admitted >= begun:
                continue
            row = by_id.get(held.task_id)
            if row is None or row.epoch != held.epoch:
                lost.append(held)
            elif row.status == TaskStatus.CANCEL_REQUESTED:
                canceled.append(held)
        unknown: list[int] = []
        unheld: list[TaskEpoch] = []
        for row in owned:
            if not self._once.knows(row.task_id, row.epoch):
                unknown.append(row.task_id)
                continue
            mine = self._holdings.get(row.task_id)
            if mine is None or mine.epoch != row.epoch:
                unheld.append(TaskEpoch(row.task_id, row.epoch))
        return Findings(lost, canceled, self._orphans(unheld, begun, now), unknown)

    def _orphans(self, unheld: Sequence[TaskEpoch], begun: float, now: float) -> list[TaskEpoch]:
        if not unheld and not self._orphaned_since:
            return []
        recent = self._once.finished_since(begun)
        since = {
            pair: self._orphaned_since.get(pair, now)
            for pair in unheld
            if (pair.task_id, pair.epoch) not in recent
        }
        self._orphaned_since = since
        return [pair for pair, first in since.items() if now - first >= self._patience]
