"""A wake-up signal that merges what comes in quick succession."""

from __future__ import annotations

from collections.abc import Callable

from mqtasks.loop import Wake


class PacedWake:
    """As `Wake`, but after each step signals are let through only once a gap is over.

    ``gap()`` is asked when the waiting begins, in seconds; a stop is delayed by it, too, so it
    should be a fraction of a second. A step that asks to run again at once is not held up.
    """

    def __init__(self, gap: Callable[[], float]) -> None:
        self._gap = gap
        self._signal = Wake()
        self._pause = Wake()  # never set: it only passes time

    def set(self) -> None:
        """Signal; safe from any thread."""
        self._signal.set()

    def wait(self, timeout: float) -> bool:
        """Wait out the gap, then up to the rest of ``timeout`` seconds for a signal."""
        if timeout > 0:
            gap = min(self._gap(), timeout)
            if gap > 0:
                self._pause.wait(gap)
                timeout -= gap
        return self._signal.wait(timeout)
