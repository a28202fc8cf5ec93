"""An estimate of the database's clock that costs no round trip.

Only for judging the *age of hints*: due times, leases and expiry are always judged by the
database itself, inside the statement that acts on them (G9).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from mqtasks.clock import Clock

REFRESH_SECONDS: Final = 60.0


class DatabaseClock:
    """Database time as own monotonic time plus an offset measured once a minute.

    Safe to use from many threads. The error is at most the round trip of the measuring call plus
    the drift of a minute.
    """

    def __init__(self, read_ms: Callable[[], int], clock: Clock) -> None:
        """Measure with ``read_ms`` (the storage's ``now_ms``) against ``clock``."""
        self._read_ms = read_ms
        self._clock = clock
        self._lock = threading.Lock()
        self._offset_ms = 0.0
        self._measured_at: float | None = None

    def now_ms(self) -> int:
        """Return the estimated database time in unix ms; raises StorageError if never measured."""
        now = self._clock.monotonic()
        measured = self._measured_at
        if measured is None or now - measured > REFRESH_SECONDS:
            self._measure()
            now = self._clock.monotonic()
        return int(now * 1000 + self._offset_ms)

    def _measure(self) -> None:
        with self._lock:
            before = self._clock.monotonic()
            database_ms = self._read_ms()
            after = self._clock.monotonic()
            self._offset_ms = database_ms - (before + after) * 500
            self._measured_at = after
