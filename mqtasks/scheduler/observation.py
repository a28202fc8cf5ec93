"""For how long one database has been watched without interruption (P4, P13).

Whoever judges that a runner is dead must have given it the chance to renew: the same server, its
clock running evenly, this scheduler leading and awake all the while. Anything else starts the
watch again: another server, a step of its clock against our own, a gap between two looks, a new
term, an error, a call that took long (on SQLite: it waited for the write lock, as every renewal
did).
"""

from __future__ import annotations

from typing import Final

from mqtasks.clock import Clock
from mqtasks.errors import StorageError
from mqtasks.storage.contract import TaskRecords

_LARGEST_STEP: Final = 1.0
"""Seconds by which database and own clock may drift apart between two looks."""
_LONGEST_CALL: Final = 1.0


class Observation:
    """Looks at the server's identity and clock. For one thread; times are seconds."""

    def __init__(self, storage: TaskRecords, clock: Clock, longest_gap: float) -> None:
        """Allow ``longest_gap`` between two looks."""
        self._storage = storage
        self._clock = clock
        self._longest_gap = longest_gap
        self._seen: tuple[str, int] | None = None
        self._since = 0.0
        self._last = 0.0
        self._offset = 0.0

    def look(self, term: int) -> float:
        """Look once; return for how long the watch has gone on, 0.0 if it starts now.

        ``term`` is that of the present leadership. An error of storage restarts the watch, and
        is raised.
        """
        began = self._clock.monotonic()
        try:
            identity = self._storage.server_identity()
            database = self._storage.now_ms() / 1000
        except StorageError:
            self.restart()
            raise
        ended = self._clock.monotonic()
        offset = database - (began + ended) / 2
        interrupted = (
            self._seen != (identity, term)
            or began - self._last > self._longest_gap
            or ended - began > _LONGEST_CALL
            or abs(offset - self._offset) > _LARGEST_STEP
        )
        if interrupted:
            self._seen, self._since = (identity, term), ended
        self._last, self._offset = ended, offset
        return ended - self._since

    def call_ended(self, began: float) -> bool:
        """Say that a write begun at monotonic ``began`` has ended; False if it took too long.

        Then others may have waited as long for the same lock, and the watch starts again.
        """
        if self._clock.monotonic() - began <= _LONGEST_CALL:
            return True
        self.restart()
        return False

    def restart(self) -> None:
        """Forget what was seen: the next look begins another watch."""
        self._seen = None
