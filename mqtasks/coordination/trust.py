"""For how long one unbroken, unflushed server has been watched (P3)."""

from __future__ import annotations

import threading

from mqtasks.clock import Clock


class Continuity:
    """Turns sightings of a server into the age of an unbroken watch. Thread safe.

    Two equal sightings prove that the server between them kept its data: it would have a new run
    id after a restart, and no sentinel, or another one, after a flush.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[object, ...] | None = None
        self._since = 0.0

    def seen(self, *identity: object) -> float:
        """Record a sighting; return the seconds since the first of an unbroken row of equals."""
        now = self._clock.monotonic()
        with self._lock:
            if identity != self._seen:
                self._seen = identity
                self._since = now
            return now - self._since

    def lost(self) -> None:
        """Record that the server could not be seen."""
        with self._lock:
            self._seen = None
