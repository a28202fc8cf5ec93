"""Tasks created, completed and failed per second, from what is cheap to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mqtasks.conditions import where
from mqtasks.errors import CoordinationUnavailable
from mqtasks.service import TaskService

_MOST_RUNNERS: Final = 1_000


class Throughput:
    """Differences between two looks at totals. For one thread.

    Storage numbers tasks one by one, so the highest id tells how many were created. What ended is
    told by the totals in the runners' heartbeats, which no status count over history could.
    """

    def __init__(self, service: TaskService) -> None:
        """Begin with nothing to compare with."""
        self._service = service
        self._newest: tuple[float, int] | None = None
        self._ended: tuple[float, dict[tuple[str, int], tuple[int, int]]] | None = None

    def restart(self) -> None:
        """Forget the last look, as after a pause that would blur the rates."""
        self._newest = self._ended = None

    def measure(self, runner_ids: Sequence[str]) -> dict[str, float]:
        """Return the rates since the last look; those not known at the moment are left out."""
        return {**self._created(), **self._finished(runner_ids)}

    def _created(self) -> dict[str, float]:
        newest = self._service.storage.query(where.task_id_desc(), where.limit(1))
        now = self._service.clock.monotonic()
        before, self._newest = self._newest, (now, newest[0].id if newest else 0)
        if before is None or now <= before[0]:
            return {}
        return {"created_per_s": _per_second(self._newest[1] - before[1], now - before[0])}

    def _finished(self, runner_ids: Sequence[str]) -> dict[str, float]:
        try:
            beats = self._service.heartbeats.runner_details(runner_ids[:_MOST_RUNNERS])
        except CoordinationUnavailable:
            self._ended = None
            return {}
        now = self._service.clock.monotonic()
        totals = {
            (beat.runner_id, beat.generation): (beat.completed_total, beat.failed_total)
            for beat in beats
        }
        before, self._ended = self._ended, (now, totals)
        if before is None or now <= before[0]:
            return {}
        completed = failed = 0
        for key, (completed_total, failed_total) in totals.items():
            known = before[1].get(key, (0, 0))
            completed += max(0, completed_total - known[0])
            failed += max(0, failed_total - known[1])
        elapsed = now - before[0]
        return {
            "completed_per_s": _per_second(completed, elapsed),
            "failed_per_s": _per_second(failed, elapsed),
        }


def _per_second(count: int, elapsed: float) -> float:
    return round(max(0, count) / elapsed, 3)
