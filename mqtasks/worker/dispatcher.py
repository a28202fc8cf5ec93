"""Who starts next: slots, priorities, the trust deadline, and tasks that must run alone.

The dispatcher owns `parallelism` slots. A task is started only while the lease is trusted (P3), the
highest priority first. Plain and async executors share the slots. A thread that ends a task takes
the next one along itself, so that under load a task costs no hand-over between threads.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from mqtasks.clock import Clock
from mqtasks.worker.board import Board
from mqtasks.worker.held import Cancel, Held, Phase, time_limit
from mqtasks.worker.waiting import Waiting


class Starter(Protocol):
    """Something that starts tasks which have been given a slot."""

    def submit(self, held: Held) -> None:
        """Start it soon, on another thread."""
        ...


class Dispatcher:
    """Gives slots to tasks. Safe from many threads; no callback runs under its lock.

    A task that must run alone (P8) starts at the first moment when nothing else runs. After
    ``solo_patience`` seconds such a moment is made: nothing starts before it has come. See
    `impatient` for the end of that.
    """

    def __init__(self, board: Board, clock: Clock, solo_patience: float) -> None:
        """Fill the slots of ``board``; `connect` must follow."""
        self._board = board
        self._now = clock.monotonic
        self._solo_patience = solo_patience
        self._lock = threading.Lock()
        self._waiting = Waiting()
        self._solos: deque[Held] = deque()
        self._solo: Held | None = None
        self._slots: list[Held | None] = [None] * board.parallelism
        self._free = list(range(board.parallelism - 1, -1, -1))
        self._closed = False
        self.started_total = 0
        """Tasks that were given a slot since the process began."""

    def connect(
        self,
        threads: Starter,
        coroutines: Starter,
        marker: Starter,
        watch: Callable[[Held], None],
    ) -> None:
        """Say who starts plain and async tasks, who writes a start first, and who times tasks."""
        self._threads = threads
        self._coroutines = coroutines
        self._marker = marker
        self._watch = watch

    # -- what comes in ---------------------------------------------------------------------------

    def offer(self, helds: Sequence[Held]) -> list[Held]:
        """Let tasks wait, and start what can start; return those refused because it is closed."""
        with self._lock:
            if self._closed:
                return list(helds)
            for held in helds:
                if held.solo:
                    self._solos.append(held)
                else:
                    self._waiting.push(held)
        self.pump()
        return []

    def pump(self) -> None:
        """Start what can start now. Call it when trust has come back."""
        self._pump(None)

    # -- what goes out ---------------------------------------------------------------------------

    def ended(self, held: Held) -> None:
        """Free the slot of a task that has ended, and start whatever can start."""
        self._pump(held)

    def _pump(self, ended: Held | None) -> None:
        now = self._now()
        started: list[Held] = []
        with self._lock:
            if ended is not None:
                self._vacate(ended)
            while (held := self._next(now)) is not None:
                started.append(held)
        for held in started:
            self._start(held)

    def follow(self, held: Held) -> Held | None:
        """Free the slot of a plain task that has ended; return the one to run next in its thread.

        Called by that thread. Anything else that can start now is started elsewhere.
        """
        others: list[Held] = []
        mine: Held | None = None
        with self._lock:
            self._vacate(held)
            while self._free and (following := self._next(held.ended)) is not None:
                if mine is None and not (following.must_mark or following.executor.is_async):
                    mine = following
                else:
                    others.append(following)
        if mine is not None and mine.deadline and mine.executor.isolated is None:
            self._watch(mine)
        for other in others:
            self._start(other)
        return mine

    def withdraw(self, wanted: Callable[[Held], bool], most: int | None = None) -> list[Held]:
        """Take tasks that wait out, those that would start last first; they never start here."""
        with self._lock:
            taken = self._waiting.take(wanted, most)
            solos = len(self._solos)
            for held in list(self._solos):
                if (most is None or len(taken) < most) and wanted(held):
                    self._solos.remove(held)
                    taken.append(held)
            for held in taken:
                held.phase = Phase.ENDED
            unblocked = len(self._solos) < solos
        if unblocked:
            self.pump()
        return taken

    def impatient(self, now: float) -> list[Held]:
        """Take out tasks that must run alone, and could not for too long; they may elsewhere.

        How long doubles with each epoch of the task, so that one which meets long tasks
        everywhere comes to its turn in the end, and is not handed around much.
        """
        if not self._solos or self._solo is not None:
            return []
        patience = self._solo_patience
        return self.withdraw(
            lambda held: held.solo and now - held.admitted >= patience * 2 ** min(held.epoch, 16)
        )

    def close(self) -> list[Held]:
        """Start nothing any more; return what waited."""
        with self._lock:
            self._closed = True
        return self.withdraw(lambda _: True)

    # -- what is there ---------------------------------------------------------------------------

    def running(self) -> list[Held]:
        """Return the tasks that have a slot, in no order."""
        with self._lock:
            return [held for held in self._slots if held is not None]

    @property
    def waiting_count(self) -> int:
        """How many tasks wait for a slot."""
        return len(self._waiting) + len(self._solos)

    @property
    def free_slots(self) -> int:
        """How many slots are free."""
        return len(self._free)

    # -- under the lock --------------------------------------------------------------------------

    def _next(self, now: float) -> Held | None:
        """Give a slot to the task that starts next; None if none may start."""
        if not self._free or self._closed or self._solo is not None:
            return None
        if now >= self._board.trusted_until:
            return None
        if self._solos and (
            not self._waiting or now - self._solos[0].admitted >= self._solo_patience
        ):
            if len(self._free) < len(self._slots):
                return None  # it starts once all others have ended, and nothing does before
            held = self._solo = self._solos.popleft()
        else:
            following = self._waiting.pop(now)
            if following is None:
                return None
            held = following
        slot = self._free.pop()
        self._slots[slot] = held
        held.slot = slot
        held.phase = Phase.STARTING
        held.started = now
        if held.expires or held.task.metadata.options.timeout:
            held.deadline = time_limit(held, now)
        self.started_total += 1
        return held

    def _vacate(self, held: Held) -> None:
        self._slots[held.slot] = None
        self._free.append(held.slot)
        if self._solo is held:
            self._solo = None

    # -- outside of it ---------------------------------------------------------------------------

    def _start(self, held: Held) -> None:
        if held.must_mark and not held.marked:
            self._marker.submit(held)  # comes back through `marked`
        else:
            self._begin(held)

    def marked(self, held: Held) -> None:
        """Start a task whose start has been written; its time counts from now."""
        now = self._now()
        if held.deadline:
            held.deadline = time_limit(held, now)
        held.started = now
        if now >= self._board.trusted_until:
            held.cancel_reason = held.cancel_reason or Cancel.LEASE
        elif self._closed:
            held.cancel_reason = held.cancel_reason or Cancel.SHUTDOWN
        self._begin(held)  # a cancelled task ends there before user code sees it

    def begun(self, held: Held) -> None:
        """Count an isolated task's time from now: its process is ready for it."""
        now = self._now()
        if held.deadline:
            held.deadline = time_limit(held, now)
        held.started = now
        if held.deadline:
            self._watch(held)

    def _begin(self, held: Held) -> None:
        if held.deadline and held.executor.isolated is None:
            self._watch(held)
        (self._coroutines if held.executor.is_async else self._threads).submit(held)
