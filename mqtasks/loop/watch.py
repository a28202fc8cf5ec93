"""Polling for a change that nobody announces, often while things happen and seldom while not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock, SystemClock
from mqtasks.loop.loop import Loop, Observer

FASTEST: Final = 0.010
"""Seconds between polls within `QUIET_AFTER` of the last activity (P13)."""
SLOWEST: Final = 0.100
"""Seconds between polls once it has been quiet for a while."""
QUIET_AFTER: Final = 1.0
_SLOWER: Final = 1.25


class ChangeWatcher:
    """Calls ``on_change`` soon after the value that ``poll`` returns has changed.

    It polls every 10 ms within 1 s of the last change or `touch`, and then less and less often,
    down to every 100 ms. ``poll`` returns None while it cannot tell. The first value is no change.
    Both callables run in the watcher's thread; if one raises, the change is reported again later.
    Starts and stops as a `Loop`; its methods may be called from any thread.
    """

    def __init__(
        self,
        poll: Callable[[], int | None],
        on_change: Callable[[], None],
        *,
        name: str = "change-watcher",
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._poll = poll
        self._on_change = on_change
        self._clock = clock or SystemClock()
        self._last_value: int | None = None
        self._last_activity = self._clock.monotonic()
        self._delay = FASTEST
        self.loop = Loop(name, self.step, SLOWEST, clock=self._clock, observer=observer)

    def step(self) -> float:
        """Poll once, report a change, and return the seconds until the next poll."""
        value = self._poll()
        if value is not None and value != self._last_value:
            if self._last_value is not None:
                self._on_change()
                self._last_activity = self._clock.monotonic()
            self._last_value = value
        if self._clock.monotonic() - self._last_activity < QUIET_AFTER:
            self._delay = FASTEST
        else:
            self._delay = min(self._delay * _SLOWER, SLOWEST)
        return self._delay

    def touch(self) -> None:
        """Say that something happens here, so that changes elsewhere are likely: poll fast again.

        Cheap enough for a hot path: the thread is woken only if it has slowed down.
        """
        self._last_activity = self._clock.monotonic()
        if self._delay > FASTEST:
            self._delay = FASTEST
            self.loop.wake()

    def start(self) -> None:
        """Start polling; does nothing while it polls."""
        self.loop.start()

    def request_stop(self) -> None:
        """Ask it to stop and return at once."""
        self.loop.request_stop()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop polling; see `Loop.stop`."""
        return self.loop.stop(timeout)
