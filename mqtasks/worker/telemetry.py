"""What a runner tells: events, log lines, and the totals on its board."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mqtasks.events import EventBus
from mqtasks.model import AttemptOutcome, ExecuteResult
from mqtasks.storage.contract import WriteReport
from mqtasks.storage.contract.records import UNCOUNTED
from mqtasks.worker.held import Held
from mqtasks.worker.outcome import Committed, Failed, Released

_UNDECIDED = frozenset({AttemptOutcome.SNOOZED, AttemptOutcome.CANCELED})
"""The executor's own verdicts, which are no failures."""


class Telemetry:
    """Follows what was committed. One thread at a time calls it."""

    def __init__(self, runner_id: str, events: EventBus, log: logging.Logger) -> None:
        self._runner_id = runner_id
        self._events = events
        self._log = log
        self.completed_total = 0
        """Successes committed since the process began."""
        self.failed_total = 0
        """Failed attempts committed since the process began."""
        self.lost_total = 0
        """Outcomes that storage refused, because the task was not this runner's any more."""

    def settled(self, helds: Sequence[Held], report: WriteReport) -> None:
        """Tell about outcomes that storage has taken, or refused as lost."""
        if report.lost:
            lost = frozenset(report.lost)
            self._lost(helds, lost)
            helds = [held for held in helds if held.task_id not in lost]
        for held in helds:
            kind = type(held.outcome)
            if kind is ExecuteResult or kind is Committed:
                self.completed_total += 1
            elif isinstance(held.outcome, Failed) and held.outcome.kind not in _UNDECIDED:
                self.failed_total += 1
        wants = self._events.wants
        if wants("task.finished") or wants("task.retried") or wants("task.released"):
            canceled = frozenset(report.canceled)
            for held in helds:
                self._emit(held, canceled=held.task_id in canceled)

    def dropped(self, held: Held, error: Exception) -> None:
        """Tell that storage takes neither the outcome of a task nor an error instead."""
        self._log.error(
            "task %d (epoch %d): no outcome could be stored, it will be given back: %s: %s",
            held.task_id,
            held.epoch,
            type(error).__name__,
            error,
        )

    def _lost(self, helds: Sequence[Held], lost: frozenset[int]) -> None:
        self.lost_total += len(lost)
        for held in helds:
            if held.task_id in lost and not isinstance(held.outcome, Released):
                self._log.warning(
                    "task %d (epoch %d) has ended here, but is not this runner's any more; its"
                    " outcome is dropped%s",
                    held.task_id,
                    held.epoch,
                    f" (cancelled: {held.cancel_reason})" if held.cancel_reason else "",
                )

    def _emit(self, held: Held, *, canceled: bool) -> None:
        task, outcome, emit = held.task, held.outcome, self._events.emit
        ids = {
            "task_id": held.task_id,
            "executor": task.metadata.executor,
            "runner": self._runner_id,
            "epoch": held.epoch,
        }
        error = outcome.error if isinstance(outcome, Failed) else ""
        if isinstance(outcome, Released) and not canceled:
            emit("task.released", **ids)
        elif isinstance(outcome, Failed) and outcome.delay_ms is not None and not canceled:
            attempt = task.attempt + (outcome.kind not in UNCOUNTED)
            emit("task.retried", **ids, attempt=attempt, delay_ms=outcome.delay_ms, error=error)
        else:
            end = "canceled" if canceled else "failed" if error else "success"
            seconds = max(0.0, held.ended - held.started)
            emit("task.finished", **ids, outcome=end, seconds=seconds, error=error)
