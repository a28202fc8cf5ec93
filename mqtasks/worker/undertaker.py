"""Reporting dead runners, for as long as it takes, without holding up anybody."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mqtasks.service import TaskService
from mqtasks.worker.keeper import LeaseKeeper
from mqtasks.worker.ward import Ward


class Undertaker:
    """Takes runners whose process has ended. Safe from many threads; one runs the step."""

    def __init__(self, service: TaskService, keeper: LeaseKeeper) -> None:
        self._service = service
        self._keeper = keeper
        self._dead: deque[tuple[Ward, Callable[[], None]]] = deque()
        self.wake: Callable[[], None] = lambda: None
        """Called when there is somebody to report."""

    def take(self, ward: Ward, done: Callable[[], None]) -> None:
        """Report a runner dead soon, and call ``done()`` afterwards."""
        self._dead.append((ward, done))
        self.wake()

    def run_once(self) -> None:
        """Report all; raises StorageError, and the next call goes on."""
        while self._dead:
            ward, done = self._dead[0]
            report = self._keeper.bury(ward)
            self._dead.popleft()
            self._service.heartbeats.forget_runner(ward.runner_id)
            if report is not None:
                self._service.hint_rescued(report)
            done()
