"""Showing runners and their long tasks as alive, to whoever looks at Redis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mqtasks.clock import Clock
from mqtasks.coordination.base import Heartbeats, TaskBeat
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.ward import Ward


class Beats:
    """Writes the keys of all wards. Apart from the leases, so that a slow Redis delays no renewal.

    A task gets a key of its own once it has run for a heartbeat interval.
    """

    def __init__(
        self, heartbeats: Heartbeats, wards: Iterable[Ward], options: RunnerOptions, clock: Clock
    ) -> None:
        """``wards`` is iterated anew by each step."""
        self._heartbeats = heartbeats
        self._wards = wards
        self._interval = options.heartbeat_interval
        self._ttl = options.heartbeat_timeout
        self._now = clock.monotonic

    def run_once(self) -> None:
        """Write the keys once. Never raises for Redis."""
        wards = [ward for ward in self._wards if ward.live]
        if not wards:
            return
        self._heartbeats.beat_runners([ward.beat() for ward in wards], self._ttl)
        beats = self._tasks(wards)
        if beats:
            self._heartbeats.beat_tasks(beats, self._ttl)

    def _tasks(self, wards: Sequence[Ward]) -> list[TaskBeat]:
        since = self._now() - self._interval
        return [
            TaskBeat(task.task_id, ward.runner_id, task.epoch)
            for ward in wards
            for task in ward.board.executing(since)
        ]
