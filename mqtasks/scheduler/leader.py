"""Leader election: a storage lease with a term, and a local deadline for trusting it (P6).

State: either *standby* or *trusted until a monotonic instant*. The instant counts from before a
renewal was sent, minus a margin, so it always lies before the moment at which the database lets
somebody else lead. Whoever asks `leadership` after it gets None, even if the thread that renews
is stuck. Doubt ends the reign at once: a refused renewal, a write refused with NotLeader, or a
deadline that passed before the renewal did. The next reign then has a new term.

A renewal that merely fails (the database is away) changes nothing: the deadline stands.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from mqtasks.clock import Clock, SystemClock
from mqtasks.errors import StorageError
from mqtasks.model import Leadership
from mqtasks.storage.contract import LeaseOperations

LEASE_NAME: Final = "scheduler"
"""The lease that the leading scheduler of a database holds."""
_MARGIN: Final = 0.2
"""Share of the ttl that is not trusted: covers drift between this host's clock and the server's."""

_log = logging.getLogger("mqtasks.scheduler")


class LeaderElection:
    """Holds, renews or waits for the leader lease. Durations are seconds; any thread may ask.

    ``holder`` names this scheduler and must differ from that of every other one, also of one that
    ran before on the same host.
    """

    def __init__(
        self,
        storage: LeaseOperations,
        holder: str,
        ttl: float = 5.0,
        renew: float = 1.5,
        clock: Clock | None = None,
        *,
        standby_poll: float = 0.5,
    ) -> None:
        """Stand by; nothing is written before `run_once`."""
        self.holder: Final = holder
        self._storage = storage
        self._ttl = ttl
        self._renew = renew
        self._standby_poll = standby_poll
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._held: tuple[Leadership, float] | None = None

    def leadership(self) -> Leadership | None:
        """Return the leadership while it can be trusted, else None. Costs no round trip."""
        held = self._held
        if held is not None and self._clock.monotonic() < held[1]:
            return held[0]
        return None

    def run_once(self) -> float:
        """Renew, or try to win; return seconds until the next step.

        Raises StorageError; trust won before then stands until its deadline.
        """
        leading = self.leadership()
        if leading is not None:
            before = self._clock.monotonic()
            if self._storage.renew_lease(leading, round(self._ttl * 1000)):
                self._trust(leading, before, only_if_held=True)
                return self._renew
            self.doubt(leading)
        elif self._held is not None:
            self.doubt(self._held[0])
        return self._campaign()

    def doubt(self, leadership: Leadership) -> None:
        """Step down because a write made under ``leadership`` was refused. Idempotent."""
        with self._lock:
            if self._held is None or self._held[0] != leadership:
                return
            self._held = None
        _log.warning("%s: leadership of term %d is over", self.holder, leadership.term)

    def resign(self) -> None:
        """Step down and free the lease, so that a standby may lead at once. Idempotent."""
        with self._lock:
            held, self._held = self._held, None
        if held is None:
            return
        try:
            self._storage.release_lease(held[0])
        except StorageError as error:
            _log.warning("%s: the leader lease lapses by itself: %s", self.holder, error)
        else:
            _log.info("%s: resigned in term %d", self.holder, held[0].term)

    def _campaign(self) -> float:
        # Reading first: taking the lease locks its row, which the leader's every write needs.
        info = self._storage.lease(LEASE_NAME)
        if info is not None and info.remaining_ms > 0 and info.holder not in {"", self.holder}:
            return min(self._standby_poll, info.remaining_ms / 1000)
        before = self._clock.monotonic()
        won = self._storage.acquire_lease(LEASE_NAME, self.holder, round(self._ttl * 1000))
        if won is None:
            return self._standby_poll
        self._trust(won, before, only_if_held=False)
        _log.info("%s: leads in term %d", self.holder, won.term)
        return self._renew

    def _trust(self, leadership: Leadership, before: float, *, only_if_held: bool) -> None:
        with self._lock:
            if only_if_held and (self._held is None or self._held[0] != leadership):
                return  # doubted meanwhile by another thread
            self._held = (leadership, before + self._ttl * (1 - _MARGIN))
