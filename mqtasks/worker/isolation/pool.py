"""The children of a runner that wait for tasks: kept warm, replaced when worn out."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from mqtasks.worker.isolation.frames import Prepare
from mqtasks.worker.isolation.process import ChildProcess

_IDLE_FOR: Final = 60.0
"""Seconds without a task after which a child is let go, when another one comes back."""
_END_TIMEOUT: Final = 2.0

_log = logging.getLogger("mqtasks.worker")


class ChildPool:
    """Children by need: as many as tasks run at once. Safe from many threads."""

    def __init__(self, module: str, prepare: Callable[[], Prepare], tasks_per_child: int) -> None:
        """Start children by ``module``; each is told ``prepare()`` first.

        ``tasks_per_child`` is how many tasks one executes before it is replaced; 0 = any number.
        """
        self._module = module
        self._prepare = prepare
        self._most_tasks = tasks_per_child
        self._lock = threading.Lock()
        self._idle: list[ChildProcess] = []
        self._closed = False

    def take(self) -> ChildProcess:
        """Return the child that was used last, or a new one, which is not ready yet.

        Raises OSError or ConfigError if none can be started.
        """
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is None:
                return ChildProcess(self._module, self._prepare())
            if child.alive:
                return child
            child.discard()

    def give_back(self, child: ChildProcess) -> None:
        """Keep a child for the next task, unless it has had its number of them."""
        now = time.monotonic()
        child.idle_since = now
        worn = 0 < self._most_tasks <= child.tasks
        with self._lock:
            cold = [c for c in self._idle if now - c.idle_since > _IDLE_FOR]
            self._idle = [c for c in self._idle if c not in cold]
            if worn or self._closed:
                cold.append(child)
            else:
                self._idle.append(child)
        for old in cold:
            old.discard()

    @property
    def idle(self) -> list[int]:
        """The process ids of those that wait, the one to be used next last."""
        with self._lock:
            return [child.pid for child in self._idle]

    def close(self) -> None:
        """Let all that wait end, and by force those that do not. No child is kept afterwards."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.wire.shut()
        deadline = time.monotonic() + _END_TIMEOUT
        for child in idle:
            if not child.wait(max(0.0, deadline - time.monotonic())):
                _log.warning("isolated process %d does not end by itself; it is killed", child.pid)
                child.kill(dump=False)
            child.discard()
