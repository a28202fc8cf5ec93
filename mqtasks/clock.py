"""The two clocks of a process, injected everywhere so that tests decide what time it is.

Wall time (`now_ms`) is for records of the memory and SQLite storages, where the host's clock *is*
the database's clock. Everything that measures a duration or a deadline uses `monotonic`, which
counts time spent suspended where the system offers such a clock: a laptop that slept through its
lease must not believe that it still holds it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

_BOOT_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class Clock(Protocol):
    """What mqtasks asks of a clock. Implementations are safe to call from many threads."""

    def now_ms(self) -> int:
        """Return the wall clock in unix milliseconds, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back; counts suspend if possible."""
        ...


class SystemClock:
    """The real clocks of this host."""

    def now_ms(self) -> int:
        """Return the host's wall clock in unix milliseconds, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Return CLOCK_BOOTTIME seconds on Linux, ``time.monotonic()`` elsewhere."""
        if _BOOT_CLOCK is None:
            return time.monotonic()
        return time.clock_gettime(_BOOT_CLOCK)


class ManualClock:
    """A clock that moves only when told to; for tests and simulation."""

    def __init__(self, now_ms: int = 1_700_000_000_000, monotonic: float = 1_000.0) -> None:
        """Start at ``now_ms`` unix milliseconds and ``monotonic`` seconds."""
        self._lock = threading.Lock()
        self._now_ms = now_ms
        self._monotonic = monotonic

    def now_ms(self) -> int:
        """Return the wall time that was set, unix milliseconds."""
        with self._lock:
            return self._now_ms

    def monotonic(self) -> float:
        """Return the monotonic time that was set, in seconds."""
        with self._lock:
            return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by ``seconds`` (>= 0)."""
        if seconds < 0:
            msg = f"a clock cannot be advanced by {seconds} seconds; use step_wall to go back"
            raise ValueError(msg)
        with self._lock:
            self._now_ms += round(seconds * 1000)
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Step only the wall clock, as an operator or NTP would; may be negative."""
        with self._lock:
            self._now_ms += round(seconds * 1000)
