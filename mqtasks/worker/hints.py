"""What hints are worth: rows that may be used as they are, or a reason to look at storage (P5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from mqtasks.errors import StorageError
from mqtasks.service.hints import decode_allocated, decode_revoked
from mqtasks.worker.admission import Admission
from mqtasks.worker.identity import Identity

_MOST_QUEUED: Final = 1024
"""Hints kept while nobody looks; what is dropped beyond costs a fetch."""
_CLOCK_ERROR_MS: Final = 1000
"""How far in the future a hint may seem to come from: both sides only estimate database time."""


class HintIntake:
    """Takes hints from the notifier's thread and acts on them in its own step.

    Rows are used only if the hint is authentic, of this generation, and younger than
    ``fresh_for`` seconds on the database's clock. ``look()`` asks for a look at storage,
    ``give_back(n)`` for handing back ``n`` tasks that have not started.
    """

    def __init__(
        self,
        identity: Identity,
        admission: Admission,
        look: Callable[[], None],
        give_back: Callable[[int], object],
        *,
        database_ms: Callable[[], int],
        fresh_for: float,
        key: bytes,
    ) -> None:
        self._identity = identity
        self._admission = admission
        self._look = look
        self._give_back = give_back
        self._database_ms = database_ms
        self._fresh_ms = round(fresh_for * 1000)
        self._key = key
        self._inbox: deque[tuple[bool, bytes]] = deque(maxlen=_MOST_QUEUED)
        self._signaled = False
        self.wake: Callable[[], None] = lambda: None
        """Called when a hint has come."""
        self.used_total = 0
        """Hints whose rows were used."""
        self.refused_total = 0
        """Hints that were worth no more than a look at storage."""

    def allocated(self, payload: bytes) -> None:
        """Take an ``allocated`` hint; returns at once."""
        self._put(allocated=True, payload=payload)

    def revoked(self, payload: bytes) -> None:
        """Take a ``revoked`` hint; returns at once."""
        self._put(allocated=False, payload=payload)

    def _put(self, *, allocated: bool, payload: bytes) -> None:
        if len(self._inbox) == _MOST_QUEUED:
            self._look()  # the oldest falls out
        self._inbox.append((allocated, payload))
        if not self._signaled:
            self._signaled = True
            self.wake()

    def run_once(self) -> None:
        """Act on the hints that have come."""
        self._signaled = False
        while self._inbox:
            allocated, payload = self._inbox.popleft()
            if allocated:
                self._allocated(payload)
            else:
                self._revoked(payload)

    def _allocated(self, payload: bytes) -> None:
        hint = decode_allocated(payload, self._identity.runner_id, self._key)
        if (
            hint is None
            or not hint.tasks
            or hint.generation != self._identity.generation
            or not self._fresh(hint.sent_at_ms)
        ):
            self.refused_total += 1
            self._look()
            return
        self.used_total += 1
        if not self._admission.admit(hint.tasks):
            self._look()

    def _fresh(self, sent_at_ms: int) -> bool:
        try:
            age = self._database_ms() - sent_at_ms
        except StorageError:
            return False
        return -_CLOCK_ERROR_MS <= age < self._fresh_ms

    def _revoked(self, payload: bytes) -> None:
        hint = decode_revoked(payload, self._key)
        if hint is not None and hint.give_back:
            self._give_back(hint.give_back)
        if hint is None or hint.task_ids:
            self._look()
