"""The done loop: commits whatever has ended, in batches as large as the load makes them.

A step takes what ended while the last commit ran, so one task alone is committed at once, and under
load a statement serves up to 1,000. While storage is away outcomes stay buffered: sent when it is
back, they may still win (P10, P14).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from mqtasks.clock import Clock
from mqtasks.errors import StorageConflict, StorageUnavailable
from mqtasks.model import ExecuteResult, ResultCode
from mqtasks.storage.contract import APPLIED, Completion, RetryRequest, TaskStorage, WriteReport
from mqtasks.worker.held import Held, Holdings
from mqtasks.worker.once import Once
from mqtasks.worker.outcome import Committed, Failed, Released
from mqtasks.worker.progress import ProgressWriter
from mqtasks.worker.telemetry import Telemetry

MAX_BATCH: Final = 1000
"""Most rows of one statement."""
_OUTAGES: Final = (StorageUnavailable, StorageConflict)


class Completer:
    """Takes ended tasks from any thread; one thread at a time runs its step.

    ``on_committed(helds, canceled)`` is called after each commit, with the ids of those that ended
    as CANCELED though they said otherwise.
    """

    def __init__(
        self,
        *,
        runner_id: str,
        storage: TaskStorage,
        holdings: Holdings,
        once: Once,
        progress: ProgressWriter,
        telemetry: Telemetry,
        clock: Clock,
    ) -> None:
        self._runner_id = runner_id
        self._storage = storage
        self._holdings = holdings
        self._once = once
        self._progress = progress
        self._telemetry = telemetry
        self._now = clock.monotonic
        self._ended: deque[Held] = deque()
        self._signaled = False
        self._batch: list[Held] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when there is something to commit."""
        self.on_committed: Callable[[Sequence[Held], Sequence[int]], None] = (
            lambda _helds, _canceled: None
        )

    def add(self, held: Held) -> None:
        """Take a task whose outcome is set. Returns at once."""
        self._ended.append(held)
        if not self._signaled:  # a step that clears it still finds what came before
            self._signaled = True
            self.wake()

    @property
    def pending(self) -> int:
        """How many outcomes are not committed."""
        return len(self._ended) + len(self._batch)

    def run_once(self) -> None:
        """Commit all that has ended.

        Raises StorageUnavailable or StorageConflict; what was not committed stays buffered.
        """
        self._signaled = False
        while True:
            if not self._batch:
                self._take()
            if not self._batch:
                return
            self._flush_progress()
            self._commit(self._batch)
            self._batch = []

    def _take(self) -> None:
        ended, batch = self._ended, self._batch
        while ended and len(batch) < MAX_BATCH:
            batch.append(ended.popleft())

    def _flush_progress(self) -> None:
        for held in self._batch:
            if held.progress is not None and type(held.outcome) is not Committed:
                self._progress.write(held)

    def _commit(self, helds: list[Held]) -> None:
        for part, write in self._parts(helds):
            try:
                report = write(part)
            except _OUTAGES:
                # What is committed already shows its outcome; repeating it is a success (P10).
                raise
            except Exception as error:  # noqa: BLE001 - one bad row must not hold up the others
                if len(part) > 1:
                    for held in part:
                        self._commit([held])
                else:
                    self._refused(part[0], error)
                continue
            self._settle(part, report)

    def _parts(
        self, helds: list[Held]
    ) -> list[tuple[list[Held], Callable[[list[Held]], WriteReport]]]:
        """Return tasks by the operation that writes their outcome."""
        ended: list[Held] = []
        retried: list[Held] = []
        committed: list[Held] = []
        released: dict[str, list[Held]] = {}
        for held in helds:
            outcome = held.outcome
            if isinstance(outcome, ExecuteResult):
                ended.append(held)
            elif isinstance(outcome, Committed):
                committed.append(held)
            elif isinstance(outcome, Released):
                released.setdefault(outcome.reason, []).append(held)
            elif isinstance(outcome, Failed) and outcome.delay_ms is not None:
                retried.append(held)
            else:
                ended.append(held)
        parts: list[tuple[list[Held], Callable[[list[Held]], WriteReport]]] = []
        if ended:
            parts.append((ended, self._complete))
        if committed:
            parts.append((committed, lambda _: APPLIED))
        if retried:
            parts.append((retried, self._retry))
        parts.extend((part, self._release) for part in released.values())
        return parts

    def _complete(self, helds: list[Held]) -> WriteReport:
        return self._storage.complete_many(self._runner_id, [_completion(held) for held in helds])

    def _retry(self, helds: list[Held]) -> WriteReport:
        return self._storage.retry_many(self._runner_id, [_retry(held) for held in helds])

    def _release(self, helds: list[Held]) -> WriteReport:
        outcome = helds[0].outcome
        reason = outcome.reason if isinstance(outcome, Released) else ""
        return self._storage.release_many(self._runner_id, [held.key for held in helds], reason)

    def _settle(self, helds: list[Held], report: WriteReport = APPLIED) -> None:
        if report.lost:
            # Whoever took them may have charged a crash; this process shows that there was none.
            # Before they are forgotten: after an outage the write, and this, are done again.
            lost = frozenset(report.lost)
            keys = [held.key for held in helds if held.task_id in lost]
            self._storage.absolve(self._runner_id, keys)
        self._once.finished(*self._holdings.settle(helds), self._now())
        self._telemetry.settled(helds, report)
        self.on_committed(helds, report.canceled)

    def _refused(self, held: Held, error: Exception) -> None:
        """Storage does not take this outcome, whatever it is: say so in the row instead."""
        if isinstance(held.outcome, Failed) and held.outcome.error.startswith(_NOT_STORED):
            self._telemetry.dropped(held, error)
            self._settle([held])
            return
        held.outcome = Failed(f"{_NOT_STORED}: {type(error).__name__}: {error}"[:4096])
        self._commit([held])


_NOT_STORED: Final = "the outcome could not be stored"


def _completion(held: Held) -> Completion:
    outcome = held.outcome
    elapsed_ms = int((held.ended - held.started) * 1000)
    if isinstance(outcome, ExecuteResult):
        return Completion(held.task_id, held.epoch, outcome, elapsed_ms)
    assert isinstance(outcome, Failed)  # noqa: S101 - `_parts` has sorted the others out
    result = ExecuteResult(ResultCode.FAILED, outcome.error)
    return Completion(held.task_id, held.epoch, result, elapsed_ms, outcome.traceback, outcome.kind)


def _retry(held: Held) -> RetryRequest:
    outcome = held.outcome
    assert isinstance(outcome, Failed)  # noqa: S101 - as above
    return RetryRequest(
        held.task_id,
        held.epoch,
        outcome.delay_ms or 0,
        outcome.error,
        outcome.traceback,
        int((held.ended - held.started) * 1000),
        outcome.kind,
    )
