"""How fast each runner gets through its tasks, measured from what it owns from pass to pass."""

from __future__ import annotations

from math import exp, inf
from typing import Final

_WINDOW: Final = 0.05
"""Seconds over which finished tasks are counted at least: shorter ones measure batching."""
_MEMORY: Final = 0.5
"""Seconds after which an old rate has lost two thirds of its weight."""
_AHEAD: Final = 0.2
"""Seconds of work that may wait at a runner (P6)."""


class RunnerPace:
    """The rate of one generation of one runner. Times are monotonic seconds."""

    __slots__ = ("_began", "_busy", "_done", "_expected", "rate")

    def __init__(self, live: int, parallelism: int, now: float) -> None:
        """Start to watch a runner that owns ``live`` tasks now."""
        self.rate: float | None = None
        """Tasks per second; None until it has been seen at work."""
        self._expected = live
        self._began = now
        self._done = 0
        self._busy = live >= parallelism

    def allocated(self, count: int) -> None:
        """Say that it was given ``count`` tasks since it was seen last."""
        self._expected += count

    def seen(self, live: int, parallelism: int, now: float) -> None:
        """Say that it owns ``live`` tasks now: what is missing has ended.

        While it was not busy all the time it could have done more than it did: then a lower rate
        says nothing, and only a higher one counts.
        """
        self._done += max(0, self._expected - live)
        self._expected = live
        busy = live >= parallelism
        elapsed = now - self._began
        if elapsed < _WINDOW:
            self._busy = self._busy and busy
            return
        latest = self._done / elapsed
        saturated = self._busy and busy
        if self.rate is None:
            if self._done or saturated:
                self.rate = latest
        elif saturated or latest > self.rate:
            self.rate += (latest - self.rate) * (1 - exp(-elapsed / _MEMORY))
        self._began, self._done, self._busy = now, 0, busy

    def may_wait(self, parallelism: int, cap: int) -> int:
        """Return how many tasks may wait there: about 0.2 s of work, at most ``cap``."""
        if self.rate is None:
            return min(parallelism, cap)
        return min(round(self.rate * _AHEAD), cap)

    def lasts(self, waiting: int) -> float:
        """Return in how many seconds ``waiting`` tasks will have been started; 0.0 if none wait."""
        if waiting <= 0:
            return 0.0
        return waiting / self.rate if self.rate else inf
