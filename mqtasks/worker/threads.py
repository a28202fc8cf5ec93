"""Threads for plain executors: made when first needed, never more than there are slots."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from mqtasks.worker.held import Held


class ExecutorThreads:
    """Runs plain tasks. ``execute(held)`` runs one; ``follow(held)`` names the next in its place.

    A thread that has nothing to follow with waits for the next `submit`. As each submitted task
    has a slot, there are never more threads than slots; those that were written off come on top.
    """

    def __init__(
        self, execute: Callable[[Held], None], follow: Callable[[Held], Held | None]
    ) -> None:
        self._execute = execute
        self._follow = follow
        self._inbox: SimpleQueue[Held | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._busy = 0
        self._made = 0
        self.lost = 0
        """Threads written off that have not come back."""

    def submit(self, held: Held) -> None:
        """Run a task on an idle thread, or on a new one."""
        self._inbox.put(held)
        with self._lock:
            self._busy += 1
            if self._busy <= self._count:
                return
            name = f"mqtasks-executor-{self._made}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._count += 1
            self._made += 1
        thread.start()

    def write_off(self) -> None:
        """Note that the thread of an abandoned task takes no other: its place is free."""
        with self._lock:
            self._count -= 1
            self._busy -= 1
            self.lost += 1

    def close(self) -> None:
        """Let idle threads end, and the others after their task. Submit nothing afterwards."""
        with self._lock:
            for _ in range(self._count):
                self._inbox.put(None)
            self._count = 0

    def _run(self) -> None:
        take, execute, follow = self._inbox.get, self._execute, self._follow
        while (held := take()) is not None:
            while held is not None:
                execute(held)
                if held.abandoned:
                    with self._lock:
                        self.lost -= 1
                    return
                held = follow(held)
            with self._lock:
                self._busy -= 1
