"""Running attempts of isolated tasks: what their processes say, or do not, becomes outcomes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from mqtasks.model import SUCCESS, AttemptOutcome, ExecuteResult
from mqtasks.retry import retry_delay_ms
from mqtasks.storage.checks import cap_error
from mqtasks.worker.deadlines import in_time
from mqtasks.worker.describe import capped, error_text
from mqtasks.worker.executor import Execution
from mqtasks.worker.held import Cancel, Held
from mqtasks.worker.isolation.attempt import (
    Answer,
    Died,
    GivenUp,
    IsolatedAttempt,
    NotReady,
)
from mqtasks.worker.isolation.call import IsolatedCall
from mqtasks.worker.isolation.deaths import cause, stacks
from mqtasks.worker.isolation.frames import Gone, Succeeded
from mqtasks.worker.isolation.pool import ChildPool
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.outcome import Committed, Failed, Outcome, Released

_LATER_MS: Final = 5000
_TRIES: Final = 3
"""Processes that may die before they begin with a task, one after the other, until it fails."""
_NO_STACK: Final = "The process did not write its stacks down: it had no time, or blocks SIGUSR1."


class IsolatedExecution(Execution):
    """Runs isolated executors; one thread of the runner waits for each. Safe from many threads."""

    def connect(
        self, pool: ChildPool, options: RunnerOptions, begun: Callable[[Held], None]
    ) -> None:
        """Say where processes come from; ``begun(held)`` starts the clock of a task."""
        self._pool = pool
        self._options = options
        self._begun = begun

    def run(self, held: Held) -> None:
        """Run a task in a child process, to its end or the end of the child."""
        if not self._may_start(held):
            self._end(held, self._unexecuted(held))
            return
        call = held.executor.isolated
        assert call is not None  # noqa: S101 - else it would not come here
        try:
            outcome = self._attempt(held, call)
        except OSError as error:  # no process to be had, no descriptors
            outcome = self._later(held, f"no process could be started: {error_text(error)}", "")
        except Exception as error:  # no sense in its words
            self._surroundings.log.exception("task %d: no work with its process", held.task_id)
            text = f"the process of the task could not be used: {error_text(error)}"
            outcome = self._failed(held, None, text, "", AttemptOutcome.FAILED)
            self._report(held, outcome)
        self._board.vacate(held.slot)
        self._end(held, outcome)

    def _attempt(self, held: Held, call: IsolatedCall) -> Outcome:
        answer = self._converse(held, call)
        for _ in range(_TRIES - 1):
            if not (isinstance(answer, Died) and answer.harmless):
                break
            answer = self._converse(held, call)
        outcome = self._outcome(held, answer)
        if not isinstance(answer, Gone):  # else its process has told its own middlewares
            self._report(held, outcome)
        return outcome

    def _converse(self, held: Held, call: IsolatedCall) -> Answer:
        child = self._pool.take()
        memory = call.memory_limit or self._options.isolated_memory
        attempt = IsolatedAttempt(
            held,
            call,
            child,
            begin=self._start,
            report=self._surroundings.report_progress,
            start_timeout=self._options.isolated_start_timeout,
            cancel_timeout=self._options.cancel_timeout,
            memory=memory,
        )
        usable = False
        try:
            answer = attempt.run()
            usable = not attempt.broke_off and _reusable(answer, memory)
        finally:
            if usable:
                self._pool.give_back(child)
            else:
                child.end()
        return answer

    def _start(self, held: Held) -> None:
        self._begun(held)
        self._begin(held)

    # -- what came of it -------------------------------------------------------------------------

    def _outcome(self, held: Held, answer: Answer) -> Outcome:
        match answer:
            case Succeeded(value=value, committed=True):
                held.completed = True
                return Committed(ExecuteResult(value=value))
            case Succeeded(value=value):
                held.completion = None
                outcome = ExecuteResult(value=value) if value else SUCCESS
                return self._returned(held, outcome)  # it may not have heard of a cancellation
            case Gone(failed=failed, released=released):
                held.completion = None
                return failed or Released(released)
            case GivenUp():
                return self._interrupted(held)
            case NotReady(error=error, traceback=traceback):
                text = capped(f"the process for isolated tasks {error}")
                return self._failed(held, None, text, traceback, AttemptOutcome.FAILED)
            case Died():
                return self._died(held, answer)

    def _died(self, held: Held, death: Died) -> Outcome:
        trace = stacks(death.dump)
        if not (death.started or death.reason):
            text = f"its process {cause(death.code)}, before it began with the task"
            if death.ready or death.code == -signal.SIGKILL:
                return self._later(held, text, trace)
            return self._failed(held, None, text, trace, AttemptOutcome.FAILED)
        if held.completion is not None and self._surroundings.transactions.committed(held):
            return Committed(held.completion)
        held.completion = None
        if death.reason:
            return self._killed(held, death.reason, trace or _NO_STACK)
        return self._crashed(held, f"its process {cause(death.code)}", trace)

    def _later(self, held: Held, text: str, trace: str) -> Outcome:
        """Let a task wait that the host has no process for: it is charged with nothing."""
        self._surroundings.log.error("task %d is put off: %s", held.task_id, text)
        later = Failed(text, trace, AttemptOutcome.SNOOZED, _LATER_MS)
        return in_time(held, later, self._now())

    def _killed(self, held: Held, reason: str, trace: str) -> Outcome:
        if reason == Cancel.CANCELED:
            text = "canceled; it did not give up, and its process was ended"
            return Failed(text, trace, AttemptOutcome.CANCELED)
        outcome = self._interrupted(held)
        if not isinstance(outcome, Failed):
            return outcome
        text = f"{outcome.error}; it did not give up, and its process was ended"
        return replace(outcome, error=text, traceback=trace)

    def _crashed(self, held: Held, text: str, trace: str) -> Outcome:
        task, options = held.task, held.task.metadata.options
        crashes = task.crashes + 1
        capped_by = cap_error(
            crashes, self._options.max_crashes, task.reassigned, options.max_reassign_times
        )
        if capped_by is not None:
            return Failed(f"{capped_by}; the last time {text}", trace, AttemptOutcome.CRASHED)
        delay_ms = retry_delay_ms(options, crashes, self._rng)
        crashed = Failed(text, trace, AttemptOutcome.CRASHED, delay_ms)
        return in_time(held, crashed, self._now())


def _reusable(answer: Answer, memory: int) -> bool:
    """Return whether the process may have another task; ``memory`` is its limit in bytes.

    With more than half of it in use, the next task might fail for what an earlier one has left.
    """
    match answer:
        case Succeeded(data=data) | Gone(data=data, aborted=False):
            return not 0 < memory // 2 < data
        case GivenUp():
            return True
    return False
