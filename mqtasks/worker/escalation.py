"""What follows for tasks that were cancelled and do not give up: each step a moment later.

1. The cancellation itself: the executor sees it through its context, a coroutine gets
   CancelledError. Whoever looks at it, or gets it, has ``cancel_timeout`` seconds to end in order;
   whoever does not has ``abort_timeout``.
2. TaskAborted is raised in the thread of a plain executor. An event loop that has not even
   delivered the cancellation is blocked: a new one takes its place.
3. After ``abort_timeout`` again the task is abandoned: its end is reported without its executor,
   whose thread or coroutine is left alone, and its slot is free.

Tasks cancelled by a stop, or by a lease that lapsed, are not hunted: they may still win.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock
from mqtasks.errors import TaskAborted
from mqtasks.events import emit
from mqtasks.worker.eventloop import ExecutorLoop
from mqtasks.worker.executor import Execution
from mqtasks.worker.held import Cancel, Held, Phase
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.stacks import stack_of
from mqtasks.worker.threads import ExecutorThreads

_ENFORCED: Final = frozenset({Cancel.TIMEOUT, Cancel.DEADLINE, Cancel.CANCELED, Cancel.REASSIGNED})
_ASKED, _ABORTED = range(2)
_LEAST_REST: Final = 0.02
"""Seconds between two looks at a task that nothing can be done about yet."""


class Escalation:
    """Takes cancelled tasks from any thread; one thread runs the step.

    ``ended(held)`` frees the slot of an abandoned one. ``exhausted()`` is called when as many
    threads are lost as there are slots: only a new process gives them back.
    """

    def __init__(
        self,
        *,
        runner_id: str,
        execution: Execution,
        threads: ExecutorThreads,
        event_loop: ExecutorLoop,
        ended: Callable[[Held], None],
        exhausted: Callable[[], None],
        options: RunnerOptions,
        clock: Clock,
    ) -> None:
        self._runner_id = runner_id
        self._execution = execution
        self._threads = threads
        self._event_loop = event_loop
        self._ended = ended
        self._exhausted = exhausted
        self._grace = options.abort_timeout
        self._patience = max(options.cancel_timeout, options.abort_timeout)
        self._most_lost = options.parallelism
        self._log: logging.Logger = options.log
        self._now = clock.monotonic
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Held, float, int]] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when a task is due sooner than all others."""
        self.abandoned_total = 0
        """Tasks whose end was reported without their executor."""

    @property
    def lost(self) -> int:
        """Threads that abandoned tasks still hold."""
        return self._threads.lost + self._event_loop.lost

    def add(self, held: Held) -> None:
        """See to it that a task which has just been cancelled ends."""
        if held.cancel_reason not in _ENFORCED or held.executor.isolated is not None:
            return  # who drives the process of an isolated one sees to its end
        now = self._now()
        if self._push(now + self._grace, held, now, _ASKED):
            self.wake()

    def run_once(self) -> float:
        """Take the steps that are due; return seconds until the next is, inf if none is."""
        now = self._now()
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > now:
                    return self._due[0][0] - now if self._due else float("inf")
                _, _, held, asked, stage = heapq.heappop(self._due)
            if held.phase is not Phase.ENDED:
                self._step(held, asked, stage, now)

    def _push(self, due: float, held: Held, asked: float, stage: int) -> bool:
        with self._lock:
            heapq.heappush(self._due, (due, next(self._order), held, asked, stage))
            return self._due[0][2] is held

    def _step(self, held: Held, asked: float, stage: int, now: float) -> None:
        ask_ends = asked + (self._patience if held.told else self._grace)
        if now < ask_ends:
            self._push(ask_ends, held, asked, _ASKED)
        elif stage == _ASKED and self._abort(held):
            self._push(now + self._grace, held, asked, _ABORTED)
        elif (stage == _ABORTED or now >= ask_ends + self._grace) and self._abandon(held):
            self._note(held)
        else:
            # Not begun, about to end, or shielded while it talks to a database.
            self._push(now + max(self._grace / 4, _LEAST_REST), held, asked, stage)

    def _abort(self, held: Held) -> bool:
        if held.executor.is_async:
            if not held.told and self._event_loop.replace():
                self._log.error(
                    "task %d: the event loop has not reacted for %g s: a coroutine blocks it; a"
                    " new one takes its place, and what runs there stays there\n%s",
                    held.task_id,
                    self._grace,
                    self._event_loop.blocked_at,
                )
            return held.guard is not None
        guard = held.guard
        if guard is None:
            return False
        if not held.stack:
            held.stack = stack_of(held)
        return guard.strike(held, TaskAborted) or guard.raised

    def _abandon(self, held: Held) -> bool:
        if not held.stack:
            held.stack = stack_of(held)
        if not self._execution.abandon(held):
            return False
        self.abandoned_total += 1
        if not held.executor.is_async:
            self._threads.write_off()
        self._ended(held)
        return True

    def _note(self, held: Held) -> None:
        lost = self.lost
        self._log.error(
            "task %d (%s) was cancelled (%s) and does not give up: it is abandoned in the middle"
            " of\n%s%d threads of this process are lost in such tasks; isolation='process' is for"
            " code that cannot be interrupted",
            held.task_id,
            held.executor.code,
            held.cancel_reason,
            held.stack,
            lost,
        )
        emit(
            "task.abandoned",
            task_id=held.task_id,
            executor=held.task.metadata.executor,
            runner=self._runner_id,
            epoch=held.epoch,
            reason=held.cancel_reason,
            lost=lost,
        )
        if lost >= self._most_lost:
            self._exhausted()
