"""Hints that many callers want sent and nobody should wait for.

A producer that creates tasks one by one would otherwise pay a Redis round trip for each. The
sender publishes from a thread of its own: at once when it is idle, and merged while it is busy.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from mqtasks.coordination.base import Notifier
from mqtasks.process.interrupt import shield

MOST_WAITING: Final = 100
"""Most hints of `HintSender.send_each` that wait while Redis is slow."""


class HintSender:
    """Publish payload-free hints soon, merged per channel. Safe from many threads, fork-safe."""

    def __init__(self, notifier: Notifier) -> None:
        """Publish through ``notifier``; the thread starts with the first hint."""
        self._notifier = notifier
        self._wake = threading.Condition()
        self._pending: dict[str, bytes] = {}
        self._more: list[tuple[str, bytes]] = []
        self._sending = False
        self._closed = False
        self._thread: threading.Thread | None = None
        self._pid = 0

    def send(self, channel: str, payload: bytes = b"") -> None:
        """Publish soon; a hint still waiting for the same channel is replaced."""
        with shield, self._wake:
            if self._closed:
                return
            self._pending[channel] = payload
            if self._thread is None or self._pid != os.getpid():
                self._start()
            self._wake.notify()

    def send_each(self, channel: str, payload: bytes) -> None:
        """Publish soon, beside what is waiting; while too much waits it is dropped."""
        with shield, self._wake:
            if self._closed or len(self._more) >= MOST_WAITING:
                return
            self._more.append((channel, payload))
            if self._thread is None or self._pid != os.getpid():
                self._start()
            self._wake.notify()

    def flush(self, timeout: float = 1.0) -> bool:
        """Wait up to ``timeout`` seconds until nothing is waiting; return whether that is so."""
        with self._wake:
            if self._thread is None or self._pid != os.getpid():
                return not self._pending and not self._more
            return self._wake.wait_for(
                lambda: not (self._pending or self._more or self._sending), timeout
            )

    def close(self, timeout: float = 1.0) -> None:
        """Send what is waiting, then stop the thread. Idempotent."""
        self.flush(timeout)
        with self._wake:
            self._closed = True
            self._wake.notify_all()
            thread = self._thread if self._pid == os.getpid() else None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _start(self) -> None:
        # After a fork the parent's thread does not exist here, though its object does.
        self._pid = os.getpid()
        self._sending = False
        self._thread = threading.Thread(target=self._run, name="mqtasks-hints", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._sending = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._pending or self._more or self._closed)
                if not (self._pending or self._more):
                    return
                batch = [*self._pending.items(), *self._more]
                self._pending.clear()
                self._more.clear()
                self._sending = True
            self._notifier.publish_many(batch)
