"""A wake-up signal for one waiting thread, as quick as the operating system allows."""

from __future__ import annotations

import threading
from typing import Protocol


class Waitable(Protocol):
    """What a loop waits on. Not `threading.Event`: here `wait` consumes the signal."""

    def set(self) -> None:
        """Let one `wait` return at once, now or in future. Signals not yet consumed merge."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether a signal came, and consume it."""
        ...


class Wake:
    """A signal made of one bare lock, which is held while there is no signal.

    Both methods are a single call into C: nothing lies between a signal and its waiter, and `set`
    may be called from a signal handler. An Event cannot: the interrupted code may hold its lock.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Signal. Safe from any thread, any number of times, and from signal handlers."""
        try:  # noqa: SIM105 - `suppress` is Python code that a signal could interrupt half-way
            self._lock.release()
        except RuntimeError:
            pass  # signalled already and not consumed yet: the two merge

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for a signal and consume it; False = none came."""
        if timeout <= 0:
            return self._lock.acquire(blocking=False)
        return self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))
