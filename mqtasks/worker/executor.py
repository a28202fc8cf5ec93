"""Running one attempt of one task: from a slot to an outcome."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any

from mqtasks import errors
from mqtasks.clock import Clock
from mqtasks.errors import (
    MQTasksError,
    PayloadTooLarge,
    Snooze,
    TaskAborted,
    TaskInterrupted,
    TransactionAborted,
    Verdict,
)
from mqtasks.events import EventBus
from mqtasks.middleware import Failure, tell
from mqtasks.model import SUCCESS, AttemptOutcome, ExecuteResult
from mqtasks.process.interrupt import Guard, guard_of_thread
from mqtasks.retry import Rng, RunAgain
from mqtasks.worker.board import Board
from mqtasks.worker.context import Surroundings, TaskContext, current
from mqtasks.worker.deadlines import in_time, too_late
from mqtasks.worker.describe import capped, error_text, traceback_text
from mqtasks.worker.held import Cancel, Held, Phase
from mqtasks.worker.outcome import Committed, Failed, Outcome, Released

_INTERRUPTIONS = (TaskInterrupted, TaskAborted, asyncio.CancelledError)
_OUT_OF_TIME = frozenset({Cancel.TIMEOUT, Cancel.DEADLINE})
_STACK = "When its time was over (most recent call last):\n"


class Execution:
    """Runs executors and decides what their end means. Safe from many threads.

    ``finish(held)`` takes every held task whose outcome is set. ``ended(held)`` frees the slot of
    an async one; a thread frees its own, and takes the next task along. Nothing an executor does
    gets out of here, SystemExit and KeyboardInterrupt included: they fail the task, not the
    process.
    """

    def __init__(
        self,
        board: Board,
        clock: Clock,
        surroundings: Surroundings,
        finish: Callable[[Held], None],
        ended: Callable[[Held], None],
        *,
        max_result_bytes: int,
        rng: Rng,
        events: EventBus,
    ) -> None:
        self._board = board
        self._now = clock.monotonic
        self._surroundings = surroundings
        self._finish = finish
        self._ended = ended
        self._max_result_bytes = max_result_bytes
        self._rng = rng
        self._events = events

    def run(self, held: Held) -> None:
        """Run a plain executor in this thread."""
        if (held.cancel_reason or held.expires) and not self._may_start(held):
            self._end(held, self._unexecuted(held))
            return
        self._begin(held)
        value: Any = None
        raised: BaseException | None = None
        # A context of its own: what user code sets there must not leak into the next task.
        scope = Context()
        guard = held.guard = guard_of_thread()
        guard.owner = held  # as `Guard.enter`; and below, as `leave` where there is nothing to do
        try:
            try:
                value = scope.run(_call, TaskContext(held, self._surroundings), held)
            except BaseException as error:  # noqa: BLE001 - see the class
                raised = error
            guard.owner = None
            if guard.busy or guard.raised:
                guard.leave()
        except TaskAborted as error:  # it came when the executor had just ended
            raised = error
            guard.leave()
        if held.abandoned:
            return
        if raised is None:
            try:
                outcome = SUCCESS if value is None else self._success(held, value)
                outcome = self._returned(held, outcome)
            except BaseException as error:  # noqa: BLE001 - see the class
                raised = error
                outcome = self._failure(held, error)
        else:
            outcome = self._failure(held, raised)
        if held.completion is not None:
            outcome = self._transacted(held, held.completion, outcome)
        if held.executor.listeners and type(outcome) is Failed:
            scope.run(self._tell, held, outcome, raised)
        raised = None  # its traceback refers to this frame
        self._board.vacate(held.slot)
        self._end(held, outcome)

    async def run_async(self, held: Held) -> None:
        """Run an async executor in the current asyncio task, whose context is its own."""
        if not self._may_start(held):
            self._end_async(held, self._unexecuted(held))
            return
        self._begin(held)
        context = TaskContext(held, self._surroundings)
        current.set(context)
        raised: BaseException | None = None
        guard = held.guard = Guard()
        guard.enter(held)
        try:
            try:
                value = await held.executor.call(context, held.task)
            finally:
                guard.leave()
            outcome = SUCCESS if value is None else self._success(held, value)
        except BaseException as error:  # noqa: BLE001 - see the class
            raised = error
            outcome = self._failure(held, error)
        else:
            outcome = self._returned(held, outcome)
        if held.abandoned:
            return
        if held.completion is not None:
            outcome = self._transacted(held, held.completion, outcome)
        if held.executor.listeners and type(outcome) is Failed:
            self._tell(held, outcome, raised)
        raised = None  # its traceback refers to this frame
        self._board.vacate(held.slot)
        self._end_async(held, outcome)

    def _begin(self, held: Held) -> None:
        held.phase = Phase.EXECUTING
        # An isolated task, too: one that takes its runner down must be charged with that.
        self._board.occupy(held.slot, held.task_id, held.epoch, held.started)
        if self._events.wants("task.started"):
            self._events.emit(
                "task.started",
                task_id=held.task_id,
                executor=held.task.metadata.executor,
                runner=self._surroundings.runner_id,
                epoch=held.epoch,
                attempt=held.task.attempt,
            )

    def _unexecuted(self, held: Held) -> Outcome:
        """Return the end of a task that is not to be executed any more."""
        outcome = self._interrupted(held)
        self._report(held, outcome)
        return outcome

    def _report(self, held: Held, outcome: Outcome) -> None:
        """Tell the middlewares of a failure that nothing was raised for."""
        if held.executor.listeners and isinstance(outcome, Failed):
            self._tell(held, outcome, None)

    def _tell(self, held: Held, failed: Failed, error: BaseException | None) -> None:
        """Tell the middlewares of an attempt that has failed; a verdict is not a failure."""
        if failed.kind in {AttemptOutcome.SNOOZED, AttemptOutcome.CANCELED}:
            return
        failure = Failure(
            task=held.task,
            runner_id=self._surroundings.runner_id,
            attempt=held.task.attempt + 1,
            outcome=failed.kind,
            text=failed.error,
            error=error,
            will_retry=failed.delay_ms is not None,
            delay_ms=failed.delay_ms,
        )
        tell(held.executor.listeners, failure)

    def abandon(self, held: Held) -> bool:
        """End a task without its executor, which does not give up; return False if it just has.

        What it still does is fenced off: no write in its name is accepted any more.
        """
        guard = held.guard
        if guard is None or not guard.claim(held, lambda: setattr(held, "abandoned", True)):
            return False
        outcome = self._interrupted(held)
        if held.completed and held.completion is not None:
            outcome = Committed(held.completion)
        self._board.vacate(held.slot)
        self._end(held, outcome)
        if held.executor.listeners:
            # Who calls this watches over all tasks, and must not wait for user code.
            threading.Thread(target=self._report, args=(held, outcome), daemon=True).start()
        return True

    def _end(self, held: Held, outcome: Outcome) -> None:
        held.ended = self._now()
        held.outcome = outcome
        held.phase = Phase.ENDED
        self._finish(held)

    def _end_async(self, held: Held, outcome: Outcome) -> None:
        self._end(held, outcome)
        held.coroutine = None
        self._ended(held)

    # -- what an end means -----------------------------------------------------------------------

    def _success(self, held: Held, value: Any) -> Outcome:
        if type(value) is not bytes:
            if isinstance(value, Verdict):
                raise value
            if inspect.iscoroutine(value):
                value.close()
                raise MQTasksError(
                    f"the executor of {held.executor.code!r} returned a coroutine that nobody"
                    " awaits: declare it with `async def`"
                )
            value = self._surroundings.encode(value)
        if len(value) > self._max_result_bytes:
            raise PayloadTooLarge("the result", len(value), self._max_result_bytes)
        return ExecuteResult(value=value)

    def _failure(self, held: Held, error: BaseException) -> Outcome:
        reason = held.cancel_reason
        if reason:
            return self._interrupted(held, error)
        kind = AttemptOutcome.FAILED
        if isinstance(error, Verdict):
            return self._decided(held, error)
        return self._failed(held, error, error_text(error), traceback_text(error), kind)

    def _decided(self, held: Held, verdict: Verdict) -> Outcome:
        """Return what the executor itself has decided."""
        text = str(verdict)
        if isinstance(verdict, Snooze):
            snoozed = Failed(text, "", AttemptOutcome.SNOOZED, round(verdict.after * 1000))
            return in_time(held, snoozed, self._now())
        if isinstance(verdict, errors.Cancel):
            return Failed(text, "", AttemptOutcome.CANCELED)
        return self._failed(held, verdict, text, "", AttemptOutcome.FAILED)

    def _interrupted(self, held: Held, error: BaseException | None = None) -> Outcome:
        """Return what an end means that came after a cancellation."""
        reason = held.cancel_reason
        if reason in _OUT_OF_TIME:
            return self._timed_out(held, error)
        if reason == Cancel.CANCELED and held.abandoned:
            text = "canceled; it does not give up, and was abandoned"
            return Failed(text, held.stack, AttemptOutcome.CANCELED)
        if reason == Cancel.CANCELED and isinstance(error, TaskAborted):
            text = "canceled; it did not give up, and was broken off"
            return Failed(text, traceback_text(error), AttemptOutcome.CANCELED)
        if reason == Cancel.CANCELED and not isinstance(error, (*_INTERRUPTIONS, type(None))):
            return Failed(error_text(error), traceback_text(error))
        return Released(reason)

    def _returned(self, held: Held, outcome: Outcome) -> Outcome:
        """Return what it means that an executor returned, perhaps after a cancellation.

        One that was told has given up, and says so by returning; only one that does not know of
        it can have done all its work (P14). What ends CANCELED anyway is kept in the history.
        """
        reason = held.cancel_reason
        if not reason:
            return outcome
        if reason in _OUT_OF_TIME:
            return self._timed_out(held, None)
        return Released(reason) if held.told and reason != Cancel.CANCELED else outcome

    def _transacted(self, held: Held, result: ExecuteResult, outcome: Outcome) -> Outcome:
        """Return what an end means after a completion in the executor's own transaction.

        What is committed stands, whatever the executor did afterwards.
        """
        if self._surroundings.transactions.committed(held):
            return Committed(result)
        if not isinstance(outcome, ExecuteResult):
            return outcome
        error = TransactionAborted("the transaction that completes the task was not committed")
        return self._failed(held, error, error_text(error), "", AttemptOutcome.FAILED)

    def _timed_out(self, held: Held, error: BaseException | None) -> Outcome:
        final = held.cancel_reason == Cancel.DEADLINE
        text = f"timed out after {held.task.metadata.options.timeout:g} s"
        if final:
            text = too_late(held)
        trace = f"{_STACK}{held.stack}" if held.stack else ""
        if held.abandoned:
            text = f"{text}; it does not give up, and was abandoned"
        if error is not None:
            trace = f"{trace}\n{traceback_text(error)}" if trace else traceback_text(error)
            if not isinstance(error, _INTERRUPTIONS):
                text = f"{text}; then {error_text(error)}"
        if final:
            return Failed(text, trace, AttemptOutcome.TIMED_OUT)
        return self._failed(held, TimeoutError(text), text, trace, AttemptOutcome.TIMED_OUT)

    def _failed(
        self,
        held: Held,
        error: BaseException | None,
        text: str,
        trace: str,
        kind: AttemptOutcome,
    ) -> Outcome:
        task = held.task
        policy = held.executor.retry
        decision = policy.decide(task.metadata.options, task.attempt + 1, error, self._rng)
        if not isinstance(decision, RunAgain):
            return Failed(text, trace, kind)
        if decision.problem:
            text = capped(f"{text}\n{decision.problem}")
        return in_time(held, Failed(text, trace, kind, decision.delay_ms), self._now())

    def _may_start(self, held: Held) -> bool:
        """Return whether an allocated task is still to be executed."""
        if held.expires and self._now() >= held.expires and not held.cancel_reason:
            held.cancel_reason = Cancel.DEADLINE
        return not held.cancel_reason


def _call(context: TaskContext, held: Held) -> Any:
    current.set(context)
    return held.executor.call(context, held.task)
