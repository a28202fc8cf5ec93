"""Progress on its way from a child to its runner: the last report counts, and not too often."""

from __future__ import annotations

import threading
import time
from typing import Final

from mqtasks.model import Progress, TaskEpoch
from mqtasks.worker.held import Held
from mqtasks.worker.isolation.frames import Reported
from mqtasks.worker.isolation.wire import ChildWire

INTERVAL: Final = 0.05
"""Seconds between two messages."""


class Reports:
    """Sends the first report at once, and what follows as seldom as the interval says."""

    def __init__(self, wire: ChildWire) -> None:
        self._wire = wire
        self._lock = threading.Lock()
        self._latest: tuple[TaskEpoch, bytes | Progress] | None = None
        self._timer: threading.Timer | None = None
        self._sent = 0.0

    def report(self, held: Held, data: bytes | Progress) -> None:
        """Send a report, soon. From any thread."""
        with self._lock:
            self._latest = held.key, data
            if self._timer is not None:
                return
            rest = self._sent + INTERVAL - time.monotonic()
            if rest <= 0:
                self._send()
                return
            self._timer = threading.Timer(rest, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Send the last report now, if it was not sent yet."""
        with self._lock:
            timer, self._timer = self._timer, None
            if timer is not None:
                timer.cancel()
            self._send()

    def _send(self) -> None:
        latest, self._latest = self._latest, None
        if latest is None:
            return
        self._sent = time.monotonic()
        execution, data = latest
        if isinstance(data, Progress):
            self._wire.send(Reported(execution, None, data))
        else:
            self._wire.send(Reported(execution, data, None))
