"""How an isolated task is made to give up: asked, broken off, killed."""

from __future__ import annotations

import time
from typing import Final

from mqtasks.worker.held import Cancel
from mqtasks.worker.isolation.frames import GiveUp
from mqtasks.worker.isolation.process import ChildProcess

STEP: Final = 0.3
"""Seconds between two rungs, so that the last one comes within 1 s."""


class Ladder:
    """The rungs, one after the other, for one task; times are `time.monotonic` seconds.

    1. A message: the task's context says that it is cancelled.
    2. SIGTERM: TaskAborted is raised in it, as soon as a line of Python runs.
    3. SIGUSR1 and SIGKILL: its stacks are written down, and the process is ended.

    A runner that stops gives its tasks ``cancel_timeout`` seconds to notice by themselves, and
    uses force in the last second of them.
    """

    def __init__(self, child: ChildProcess, reason: str, cancel_timeout: float) -> None:
        self._child = child
        self.reason: Final = reason
        patience = STEP
        if reason == Cancel.SHUTDOWN:
            patience = max(0.0, cancel_timeout - 3 * STEP)
        now = time.monotonic()
        self._rungs = [(now, self._ask), (now + patience, self._abort)]
        self._rungs.append((now + patience + STEP, self._kill))
        self.broke_off: bool = False
        """Force was used: the process is not to be used again."""

    def climb(self) -> float | None:
        """Take the rungs that are due; return seconds until the next, None after the last."""
        while self._rungs:
            at, action = self._rungs[0]
            rest = at - time.monotonic()
            if rest > 0:
                return rest
            del self._rungs[0]
            action()
        return None

    def _ask(self) -> None:
        self._child.wire.send(GiveUp(self.reason))

    def _abort(self) -> None:
        self.broke_off = True
        self._child.terminate(self.reason)

    def _kill(self) -> None:
        self._child.kill()
