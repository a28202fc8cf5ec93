"""Deadlines of this process: the lease's, the tasks', and the fetch's."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock
from mqtasks.worker.board import Board
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.deadlines import expire
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.escalation import Escalation
from mqtasks.worker.fetcher import Fetcher
from mqtasks.worker.held import Cancel, Held, Phase
from mqtasks.worker.identity import Identity
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.outcome import Released
from mqtasks.worker.stacks import stack_of

_LEAST_WAIT: Final = 0.001
_TIMED: Final = frozenset({"", Cancel.LEASE})
"""Tasks cancelled for these causes, or not at all, are still held to their time."""
_MOST_ENDED: Final = 1024
"""Watched tasks beyond the running ones before those that have ended are sorted out."""


class Watchdog:
    """Cancels what has outlived a deadline.

    ``fenced()`` is called when the generation is over; ``settle(held)`` takes tasks that go back.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        board: Board,
        dispatcher: Dispatcher,
        canceller: Canceller,
        escalation: Escalation,
        fetcher: Fetcher,
        fenced: Callable[[], None],
        settle: Callable[[Held], None],
        options: RunnerOptions,
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._board = board
        self._dispatcher = dispatcher
        self._canceller = canceller
        self._escalation = escalation
        self._fetcher = fetcher
        self._fenced = fenced
        self._settle = settle
        self._log = options.log
        # A keeper in another process cannot wake this loop, so it looks at the board twice a beat.
        self._poll = options.heartbeat_interval / 2
        self._now = clock.monotonic
        self._most = _MOST_ENDED + 2 * board.parallelism
        self._lapsed = False
        self._lock = threading.Lock()
        self._order = itertools.count()
        self._deadlines: list[tuple[float, int, Held]] = []
        self.wake: Callable[[], None] = lambda: None
        """Called when a deadline was added that is earlier than all others."""

    def watch(self, held: Held) -> None:
        """Cancel a task when its deadline is over, unless it has ended before."""
        with self._lock:
            heapq.heappush(self._deadlines, (held.deadline, next(self._order), held))
            if len(self._deadlines) > self._most:
                self._deadlines = [e for e in self._deadlines if e[2].phase is not Phase.ENDED]
                heapq.heapify(self._deadlines)
            first = self._deadlines[0][2] is held
            if first:
                self._board.act_by = held.deadline
        if first:
            self.wake()

    def run_once(self) -> float:
        """Act on deadlines that are over; return seconds until the next may be."""
        if self._board.fenced and self._board.fenced == self._identity.generation:
            self._fenced()
        now = self._now()
        waits = [self._poll, self._hunt(now)]
        self._fetcher.expire(now)
        for held in self._dispatcher.impatient(now):
            held.outcome = Released("it must run alone, and others run here")
            self._settle(held)
        if self._identity.generation:
            trusted_for = self._board.trusted_until - now
            self._judge_lease(trusted_for)
            if trusted_for > 0:
                waits.append(trusted_for)
        return max(_LEAST_WAIT, min(waits))

    def _judge_lease(self, trusted_for: float) -> None:
        if trusted_for <= 0 and not self._lapsed:
            self._lapsed = True
            running = self._dispatcher.running()
            self._log.warning(
                "the lease of runner %s could not be renewed in time: nothing starts until it is,"
                " and %d running tasks are cancelled",
                self._identity.runner_id,
                len(running),
            )
            for held in running:
                self._canceller.cancel(held, Cancel.LEASE)
        elif trusted_for > 0 and self._lapsed:
            self._lapsed = False
            self._log.info("the lease of runner %s is renewed again", self._identity.runner_id)
            self._dispatcher.pump()

    def _hunt(self, now: float) -> float:
        """Cancel and break off what is due; return seconds until the next is."""
        timeouts, steps = self._time_out(now), self._escalation.run_once()
        with self._lock:
            # Whoever keeps the lease sees by it whether this process still comes to that.
            first = min(self._deadlines[0][0] if self._deadlines else float("inf"), now + steps)
            self._board.act_by = first if first < float("inf") else 0.0
        return min(timeouts, steps)

    def _time_out(self, now: float) -> float:
        over: list[Held] = []
        with self._lock:
            deadlines = self._deadlines
            while deadlines and (deadlines[0][0] <= now or deadlines[0][2].phase is Phase.ENDED):
                over.append(heapq.heappop(deadlines)[2])
            upcoming = deadlines[0][0] - now if deadlines else float("inf")
        over = [e for e in over if e.phase is not Phase.ENDED and e.cancel_reason in _TIMED]
        self._expire([held for held in over if held.phase is Phase.WAITING])
        for held in over:
            if held.phase is not Phase.ENDED:
                held.stack = stack_of(held)
                expired = held.expires and now >= held.expires
                self._canceller.cancel(held, Cancel.DEADLINE if expired else Cancel.TIMEOUT)
        return upcoming

    def _expire(self, waiting: list[Held]) -> None:
        """End tasks whose deadline is over before they got a slot; some may get one just now."""
        if not waiting:
            return
        over = set(waiting)
        for held in self._dispatcher.withdraw(over.__contains__):
            expire(held)
            self._settle(held)
