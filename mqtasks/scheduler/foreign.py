"""Runners without a runner row: foreign implementations of the reference API.

They hold no lease. They call `TaskService.heartbeat` for each task they run, so each task is
judged by itself: by ``last_heartbeat`` in its row, and by its Redis key, which may only delay.
"""

from __future__ import annotations

from typing import Final

from mqtasks.conditions import where
from mqtasks.model import Leadership, TaskStatus
from mqtasks.service import TaskService
from mqtasks.storage.contract import RescueReport

_MOST_DELAY: Final = 2.0
"""Heartbeat timeouts for which a live key may delay a rescue."""
_MOST_TASKS: Final = 5_000
"""Keys asked for in one step; the rest of a larger lot waits for the next."""


class ForeignRunners:
    """Rescues tasks of runners that have no row."""

    def __init__(self, service: TaskService, heartbeat_timeout: float, max_crashes: int) -> None:
        """Judge with ``heartbeat_timeout`` (seconds)."""
        self._storage = service.storage
        self._heartbeats = service.heartbeats
        self._timeout_ms = round(heartbeat_timeout * 1000)
        self._max_crashes = max_crashes

    def rescue(self, leadership: Leadership, runner_id: str, *, trusted: bool) -> RescueReport:
        """Rescue its silent tasks; ``trusted``: whether Redis may delay. Raises NotLeader."""
        if not trusted:
            return self._take(leadership, runner_id, 1.0)
        silent_before = self._storage.now_ms() - self._timeout_ms
        silent = self._storage.query(
            where.runner == runner_id,
            where.status.in_([TaskStatus.RUNNING, TaskStatus.CANCEL_REQUESTED]),
            where.last_heartbeat < silent_before,
            where.limit(_MOST_TASKS),
        )
        if not silent:
            return RescueReport()
        alive = self._heartbeats.alive_tasks([task.id for task in silent]) or frozenset()
        overdue = self._take(leadership, runner_id, 1.0 + _MOST_DELAY)
        rest = self._take(leadership, runner_id, 1.0, tuple(sorted(alive)))
        return RescueReport(
            overdue.requeued + rest.requeued,
            overdue.canceled + rest.canceled,
            overdue.failed + rest.failed,
        )

    def _take(
        self,
        leadership: Leadership,
        runner_id: str,
        timeouts: float,
        spared: tuple[int, ...] = (),
    ) -> RescueReport:
        return self._storage.rescue_orphans(
            leadership, runner_id, self._max_crashes, round(self._timeout_ms * timeouts), spared
        )
