"""The fetch loop: what storage says this runner owns, compared with what it holds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from mqtasks.clock import Clock
from mqtasks.errors import StorageUnavailable
from mqtasks.model import LIVE, AsyncTask
from mqtasks.storage.contract import TaskStorage
from mqtasks.worker.admission import Admission
from mqtasks.worker.cancel import Canceller
from mqtasks.worker.dispatcher import Dispatcher
from mqtasks.worker.held import Cancel, Held, Holdings, Phase
from mqtasks.worker.identity import Identity
from mqtasks.worker.marker import Marker
from mqtasks.worker.once import Once
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.outcome import Released
from mqtasks.worker.ownership import Findings, Ownership

_REMEMBERED: Final = 20_000
"""More finished pairs than this make fetches frequent, because only a fetch lets forget them."""


class _Call(msgspec.Struct):
    """A fetch under way."""

    begun: float
    thread: int
    expired: bool = False


class Fetcher:
    """One look at storage: cancel what is lost, load and start what is new, mark what lasts.

    ``settle(held)`` takes tasks that end without an execution; ``hints_flow()`` says whether
    allocations are announced, so that looking seldom is enough.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        storage: TaskStorage,
        options: RunnerOptions,
        once: Once,
        holdings: Holdings,
        admission: Admission,
        dispatcher: Dispatcher,
        canceller: Canceller,
        marker: Marker,
        settle: Callable[[Held], None],
        hints_flow: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._identity = identity
        self._storage = storage
        self._options = options
        self._once = once
        self._holdings = holdings
        self._admission = admission
        self._dispatcher = dispatcher
        self._canceller = canceller
        self._marker = marker
        self._settle = settle
        self._hints_flow = hints_flow
        self._now = clock.monotonic
        self._ownership = Ownership(holdings, once, options.heartbeat_interval)
        self._call: _Call | None = None
        self._due = 0.0
        self.asked = False
        """Somebody has reason to look now; set by other threads."""
        self.left_out = False
        """Whether the last fetch had to leave rows for lack of room."""
        self.timeouts = 0
        """Fetches that took longer than ``fetch_timeout``."""

    def run_once(self) -> float:
        """Look once; return seconds until the next look. Raises StorageError."""
        if not self._admission.open:
            return self._options.safety_interval
        self.asked = False
        identity, storage = self._identity, self._storage
        generation = identity.generation
        call = self._call = _Call(self._now(), threading.get_ident())
        try:
            owned = storage.owned(identity.runner_id, generation)
            self._check(call)
            findings = self._ownership.compare(owned, call.begun, self._now())
            rows = self._load(findings.unknown)
            self._check(call)
        finally:
            self._call = None
        if generation != identity.generation:
            return 0.0
        self._act(findings)
        fits = self._admission.admit(rows)
        self.left_out = not fits or len(rows) < len(findings.unknown)
        self._once.fetched(call.begun, self._now())
        self._mark_long()
        wait = self._next()
        self._due = self._now() + wait
        return wait

    def rest(self) -> float:
        """Return the seconds for which nothing needs a look; 0.0 = look now.

        At most one interval: what hints bring meanwhile is looked after from then on. So an idle
        runner wakes each interval, too, though it asks storage nothing.
        """
        left = self._due - self._now()
        if self.asked or left <= 0 or len(self._holdings) or not self._hints_flow():
            return 0.0
        return min(left, self._options.heartbeat_interval)

    def expire(self, now: float) -> None:
        """Drop the connection of a fetch that takes too long; from another thread."""
        call = self._call
        if call is None or call.expired or now - call.begun <= self._options.fetch_timeout:
            return
        call.expired = True
        self.timeouts += 1
        self._options.log.warning(
            "a fetch has not ended after %g s (fetch_timeout); its connection is dropped (%d so"
            " far)",
            self._options.fetch_timeout,
            self.timeouts,
        )
        self._storage.interrupt(call.thread)

    def _check(self, call: _Call) -> None:
        if call.expired:
            limit = self._options.fetch_timeout
            raise StorageUnavailable(f"the fetch took longer than fetch_timeout ({limit:g} s)")

    def _load(self, unknown: Sequence[int]) -> list[AsyncTask]:
        most = min(self._admission.room, self._options.fetch_limit)
        if not unknown or not most:
            return []
        identity = self._identity
        return [
            task
            for task in self._storage.load(unknown[:most])
            if task.status in LIVE
            and task.runner == identity.runner_id
            and task.generation == identity.generation
        ]

    def _act(self, findings: Findings) -> None:
        for helds, reason in (
            (findings.lost, Cancel.REASSIGNED),
            (findings.canceled, Cancel.CANCELED),
        ):
            if not helds:
                continue
            wanted = set(helds)
            for held in self._dispatcher.withdraw(wanted.__contains__):
                wanted.discard(held)
                if reason is Cancel.CANCELED:
                    held.outcome = Released(reason)
                    self._settle(held)
                else:
                    self._holdings.discard(held)
            for held in wanted:
                self._canceller.cancel(held, reason)
        if findings.orphaned:
            self._storage.release_many(
                self._identity.runner_id, findings.orphaned, "the runner does not hold it"
            )

    def _mark_long(self) -> None:
        since = self._now() - self._options.heartbeat_interval
        self._marker.mark(
            held
            for held in self._dispatcher.running()
            if held.phase is Phase.EXECUTING and held.started <= since
        )

    def _next(self) -> float:
        options = self._options
        quiet = options.safety_interval if self._hints_flow() else options.fetch_interval
        if self._once.finished_count > _REMEMBERED:
            return min(quiet, options.fetch_interval)
        return min(quiet, options.heartbeat_interval) if len(self._holdings) else quiet
