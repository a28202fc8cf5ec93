"""A counter that many threads may raise."""

from __future__ import annotations

import threading


class Counter:
    """``+=`` on an attribute can lose counts between threads; this does not."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, count: int = 1) -> None:
        """Raise the count."""
        with self._lock:
            self._value += count

    @property
    def value(self) -> int:
        """The count so far."""
        return self._value
