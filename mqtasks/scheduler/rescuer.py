"""Tasks of runners that are dead go back to the queue (P3, P4, P8, P9).

The storage lease decides who is dead. A live Redis key may delay the verdict, by two heartbeat
timeouts at most, and only while Redis itself has been watched for one; it can neither cause a
rescue nor prevent one. Before a lapsed lease counts at all, the database must have been watched
without interruption for one heartbeat timeout (`observation`). The rescue itself is fenced: in
one transaction storage raises the runner's generation, if the lease is still lapsed, and moves
its tasks. Nothing is ever taken from a runner whose lease is alive.

Failure handling: storage that cannot be reached ends the step and restarts the watch; Redis away
means that a lapsed lease suffices; a term that has ended is refused by storage (NotLeader) and ends
the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from mqtasks.errors import NotLeader, StorageUnavailable
from mqtasks.model import Leadership, RunnerRecord, RunnerState
from mqtasks.scheduler.foreign import ForeignRunners
from mqtasks.scheduler.observation import Observation
from mqtasks.service import TaskService
from mqtasks.storage.contract import RescueReport

_MOST_DELAY: Final = 2.0
"""Heartbeat timeouts for which a live Redis key may delay a rescue."""
_FORGET_INTERVAL: Final = 60.0

_log = logging.getLogger("mqtasks.scheduler")


class Rescuer:
    """Looks for dead runners in steps. For one thread; durations are seconds."""

    def __init__(
        self,
        service: TaskService,
        leadership: Callable[[], Leadership | None],
        on_doubt: Callable[[Leadership], None],
        *,
        heartbeat_timeout: float = 15.0,
        max_crashes: int = 3,
        interval: float = 1.0,
        forget_after: float = 86_400.0,
    ) -> None:
        """Judge with ``heartbeat_timeout``; call ``on_doubt`` when storage refuses the term."""
        self._service = service
        self._storage = service.storage
        self._heartbeats = service.heartbeats
        self._clock = service.clock
        self._leadership = leadership
        self._on_doubt = on_doubt
        self._timeout = heartbeat_timeout
        self._max_crashes = max_crashes
        self._interval = interval
        self._forget_ms = round(forget_after * 1000)
        self._forget_at = float("-inf")
        self._observation = Observation(service.storage, service.clock, heartbeat_timeout / 2)
        self._foreign = ForeignRunners(service, heartbeat_timeout, max_crashes)
        self.rescued = 0
        """Tasks taken from lost runners so far, whatever became of them."""

    def run_once(self) -> float:
        """Look once and rescue what is lost; return seconds until the next look.

        Does nothing on a standby. Raises StorageError.
        """
        leadership = self._leadership()
        if leadership is None:
            self._observation.restart()
            return self._interval
        try:
            self._look(leadership)
        except NotLeader:
            self._observation.restart()
            self._on_doubt(leadership)
        except StorageUnavailable:
            self._observation.restart()
            raise
        return self._interval

    def _look(self, leadership: Leadership) -> None:
        watched = self._observation.look(leadership.term)
        trusted = self._heartbeats.continuity() >= self._timeout
        judging = watched >= self._timeout
        for orphan in self._storage.orphans():
            if orphan.has_row:
                # It has stopped, or was fenced: no doubt is left, and nothing to wait for.
                report = self._storage.rescue_orphans(
                    leadership, orphan.runner_id, self._max_crashes
                )
                self._note(orphan.runner_id, "it has stopped", report)
            elif judging:
                report = self._foreign.rescue(leadership, orphan.runner_id, trusted=trusted)
                self._note(orphan.runner_id, "its tasks' heartbeats have expired", report)
        if judging:
            self._judge(leadership, trusted=trusted)
        now = self._clock.monotonic()
        if now >= self._forget_at:
            self._storage.forget_runners(self._forget_ms)
            self._forget_at = now + _FORGET_INTERVAL

    def _judge(self, leadership: Leadership, *, trusted: bool) -> None:
        lapsed = [
            runner
            for runner in self._storage.runners()
            if runner.state is not RunnerState.STOPPED and runner.lease_remaining_ms <= 0
        ]
        for runner in self._undefended(lapsed, trusted=trusted):
            began = self._clock.monotonic()
            report = self._storage.fence_lapsed(
                leadership, runner.id, runner.generation, self._max_crashes
            )
            if report is None:
                _log.info("runner %s renewed its lease at the last moment", runner.id)
            else:
                late = -runner.lease_remaining_ms / 1000
                self._note(runner.id, f"its lease lapsed {late:.1f} s ago", report)
                if not (report.requeued or report.canceled or report.failed):
                    _log.info("runner %s is gone: its lease lapsed %.1f s ago", runner.id, late)
            if not self._observation.call_ended(began):
                return  # the others may have been kept from renewing by what kept us waiting

    def _undefended(self, lapsed: list[RunnerRecord], *, trusted: bool) -> list[RunnerRecord]:
        """Return those whom no live key vouches for, or has for long enough."""
        if not lapsed or not trusted:
            return lapsed
        alive = self._heartbeats.alive_runners([runner.id for runner in lapsed]) or frozenset()
        longest_ms = _MOST_DELAY * self._timeout * 1000
        return [
            runner
            for runner in lapsed
            if runner.id not in alive or -runner.lease_remaining_ms > longest_ms
        ]

    def _note(self, runner_id: str, why: str, report: RescueReport) -> None:
        count = len(report.requeued) + len(report.canceled) + len(report.failed)
        if not count:
            return
        self.rescued += count
        _log.warning(
            "took %d tasks from runner %s: %s (%d queued again, %d canceled, %d failed)",
            count,
            runner_id,
            why,
            len(report.requeued),
            len(report.canceled),
            len(report.failed),
        )
        self._service.hint_rescued(report)
