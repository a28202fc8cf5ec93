"""From allocated rows, however they came, to tasks that wait here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from mqtasks.clock import Clock
from mqtasks.model import AsyncTask, TaskStatus
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.deadlines import expire
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.executors import Executor
from mqtasks.worker.held import Cancel, Held, Holdings, Phase, hold
from mqtasks.worker.once import Once
from mqtasks.worker.outcome import Released

_NOTHING = Executor("", lambda _context, _task: None, is_async=False)


class Admission:
    """Admits each (task, epoch) once, up to ``capacity`` tasks. Safe from many threads.

    Tasks without an executor here are given back, never failed: the scheduler does not send any,
    but whoever allocates by hand may. ``settle(held)`` takes those, canceled ones, and those whose
    deadline is over; ``watch(held)`` those that have one.
    """

    def __init__(
        self,
        *,
        capacity: int,
        executors: Mapping[int | str, Executor],
        once: Once,
        holdings: Holdings,
        dispatcher: Dispatcher,
        canceller: Canceller,
        settle: Callable[[Held], None],
        watch: Callable[[Held], None],
        database_ms: Callable[[], int],
        clock: Clock,
        log: logging.Logger,
    ) -> None:
        self._capacity = capacity
        self._executors = executors
        self._once = once
        self._holdings = holdings
        self._dispatcher = dispatcher
        self._canceller = canceller
        self._settle = settle
        self._watch = watch
        self._database_ms = database_ms
        self._now = clock.monotonic
        self._log = log
        self._lock = threading.Lock()
        self.open = False
        """Whether rows are wanted: registered, and not stopping."""

    @property
    def room(self) -> int:
        """How many more tasks may be held."""
        return max(0, self._capacity - len(self._holdings))

    def admit(self, tasks: Sequence[AsyncTask]) -> bool:
        """Take rows that are live and this runner's; return False if some did not fit."""
        with self._lock:
            if not self.open:
                return True
            fresh, left_out = self._once.admit(tasks, self.room)
            accepted = self._hold(fresh)
            for held in self._dispatcher.offer(accepted):
                self._holdings.discard(held)
        return not left_out

    def _hold(self, tasks: list[AsyncTask]) -> list[Held]:
        now = self._now()
        executors = self._executors
        accepted = []
        for task in tasks:
            executor = executors.get(task.metadata.executor)
            held = hold(task, executor or _NOTHING, now)
            earlier = self._holdings.add(held)
            if earlier is not None:
                self._superseded(earlier)
            if executor is None:
                self._log.warning(
                    "task %d: no executor %r here, it is given back",
                    task.id,
                    task.metadata.executor,
                )
                self._refuse(held, "executor not registered here")
            elif task.status is TaskStatus.CANCEL_REQUESTED:
                self._refuse(held, Cancel.CANCELED)
            elif task.deadline and not self._in_time(held, now):
                expire(held)
                self._settle(held)
            else:
                accepted.append(held)
        return accepted

    def _in_time(self, held: Held, now: float) -> bool:
        """Return whether a task with a deadline may start; if so it is watched from now on."""
        left = (held.task.deadline - self._database_ms()) / 1000
        held.expires = held.deadline = now + left
        if left > 0:
            self._watch(held)
        return left > 0

    def _refuse(self, held: Held, reason: str) -> None:
        held.phase = Phase.ENDED
        held.outcome = Released(reason)
        self._settle(held)

    def _superseded(self, earlier: Held) -> None:
        """This runner got the task again: what it held of it is over."""
        if not self._dispatcher.withdraw(lambda held: held is earlier):
            self._canceller.cancel(earlier, Cancel.REASSIGNED)
