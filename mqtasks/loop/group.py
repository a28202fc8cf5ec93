"""Several loops that start and stop as one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mqtasks.clock import Clock, SystemClock


class LoopLike(Protocol):
    """What starts and stops as a `Loop` does: any method at any time, repeatedly."""

    def start(self) -> None:
        """Begin to run; does nothing if it runs already."""
        ...

    def request_stop(self) -> None:
        """Ask it to stop and return at once."""
        ...

    def stop(self, timeout: float | None = None) -> bool:
        """Stop, wait up to ``timeout`` seconds (None: until done); return whether it has ended."""
        ...


class LoopGroup:
    """Loops, or groups of them, that start and stop together. Safe from many threads.

    They start in the given order. On stop all are asked first and then awaited in reverse order,
    so that the whole takes as long as the slowest. If one cannot start, those before it are
    stopped, and its error is raised.
    """

    def __init__(self, loops: Iterable[LoopLike], clock: Clock | None = None) -> None:
        self.loops: tuple[LoopLike, ...] = tuple(loops)
        self._clock = clock or SystemClock()

    def start(self) -> None:
        """Start those that do not run."""
        for position, loop in enumerate(self.loops):
            try:
                loop.start()
            except BaseException:
                LoopGroup(self.loops[:position], self._clock).stop()
                raise

    def request_stop(self) -> None:
        """Ask each to stop, the last one first, and return at once."""
        for loop in reversed(self.loops):
            loop.request_stop()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop all within ``timeout`` seconds altogether; return whether all have ended."""
        self.request_stop()
        deadline = None if timeout is None else self._clock.monotonic() + timeout
        ended = True
        for loop in reversed(self.loops):
            rest = None if deadline is None else max(deadline - self._clock.monotonic(), 0.0)
            ended = loop.stop(rest) and ended
        return ended
