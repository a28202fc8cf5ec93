"""The scheduler: its components, a thread for each, and what wakes them."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Final, Self

from mqtasks import events
from mqtasks.coordination.base import Subscription
from mqtasks.loop import ChangeWatcher, Loop, LoopGroup, LoopLike, Step
from mqtasks.model import Leadership
from mqtasks.process.identity import default_runner_id
from mqtasks.scheduler.components import Components
from mqtasks.scheduler.options import SchedulerOptions
from mqtasks.scheduler.pacing import PacedWake
from mqtasks.service import TaskService

_PROMOTER_GAP: Final = 0.1
"""Seconds between two steps of the promoter at least, however many hints come."""

_log = logging.getLogger("mqtasks.scheduler")


class Scheduler:
    """Allocates, rescues, promotes, prunes while it leads; triggers cron always.

    Start any number of them: one leads, the others stand by and take over. A context manager.
    `start` and `stop` may be called from any thread, repeatedly; `run_once` only while stopped.
    The service is used, not closed.
    """

    def __init__(
        self,
        service: TaskService,
        options: SchedulerOptions | None = None,
        *,
        holder: str | None = None,
    ) -> None:
        """Build the components; nothing runs before `start`.

        ``holder`` names this scheduler in the leader lease and must be unlike any other's, also
        after a restart; the default is made of host, pid and a random part.
        """
        self.service: Final = service
        self.options: Final = options or SchedulerOptions()
        self.holder: Final = holder or default_runner_id()
        self._reported: Leadership | None = None
        self._subscription: Subscription | None = None
        self.parts: Final = Components(
            service,
            self.options,
            self.holder,
            on_doubt=self._doubt,
            on_promoted=self._allocator_wake,
        )
        """The components, each with a `run_once` of its own."""
        parts, options = self.parts, self.options
        self._election: Final = self._loop("election", self._elect, options.leader_renew)
        self._allocator: Final = self._loop(
            "allocator",
            parts.allocator.run_once,
            options.slow_poll,
            PacedWake(lambda: parts.allocator.gap),
        )
        self._promoter: Final = self._loop(
            "promoter",
            parts.promoter.run_once,
            options.promote_poll,
            PacedWake(lambda: _PROMOTER_GAP),
        )
        self._resolver: Final = self._loop(
            "resolver",
            parts.resolver.run_once,
            options.resolve_poll,
            PacedWake(lambda: parts.resolver.gap),
        )
        self._cron: Final = self._loop("cron", parts.cron.run_once, options.cron_poll)
        self._others: Final = (
            self._loop("expirer", parts.expirer.run_once, options.promote_poll),
            self._loop("rescuer", parts.rescuer.run_once, options.rescue_interval),
            self._loop("pruner", parts.pruner.run_once, options.prune_interval),
            self._loop("stats", parts.stats.run_once, options.stats_interval),
        )
        loops: list[LoopLike] = [
            self._election,
            self._allocator,
            self._promoter,
            self._resolver,
            self._cron,
            *self._others,
        ]
        if service.storage.capabilities.change_counter:
            loops.append(self._watcher())
        self._group: Final = LoopGroup(loops, service.clock)

    @property
    def leading(self) -> bool:
        """Whether this scheduler leads, as far as it may trust that."""
        return self.parts.election.leadership() is not None

    def start(self) -> None:
        """Start the threads; returns at once. Does nothing while they run."""
        if self._subscription is None:
            keys = self.service.keys
            self._subscription = self.service.notifier.subscribe(
                [keys.created, keys.cron, keys.ended], self._hinted, self._wake_all
            )
        self._group.start()

    def request_stop(self) -> None:
        """Let no further step begin, and return at once. Safe in signal handlers."""
        self._group.request_stop()

    def stop(self, timeout: float | None = None) -> bool:
        """Stop the threads and resign, so that a standby leads at once.

        Waits up to ``timeout`` seconds (None: as long as it takes) for the steps under way;
        returns whether all have ended.
        """
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()
        ended = self._group.stop(timeout)
        self.parts.election.resign()
        self._report()
        return ended

    def run_once(self) -> float:
        """Make one step of each component, in a fixed order, in this thread.

        The allocator makes passes until it has nothing more to do at once. Returns the seconds
        until the first component wants its next step. For tests, simulation and one-shot use.
        Raises StorageError.
        """
        parts = self.parts
        return min(
            self._elect(),
            parts.cron.run_once(),
            parts.expirer.run_once(),
            parts.promoter.run_once(),
            parts.rescuer.run_once(),
            parts.resolve(),
            parts.allocate(),
            parts.pruner.run_once(),
            parts.stats.run_once(),
        )

    def __enter__(self) -> Self:
        """Start and return the scheduler."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _loop(self, name: str, step: Step, interval: float, wake: PacedWake | None = None) -> Loop:
        clock = self.service.clock
        return Loop(f"scheduler-{name}", step, interval, clock=clock, wake=wake, logger=_log)

    def _watcher(self) -> ChangeWatcher:
        return ChangeWatcher(
            self.service.storage.change_count,
            self._work_came,
            name="scheduler-changes",
            clock=self.service.clock,
        )

    # -- what wakes them ---------------------------------------------------------------------------

    def _hinted(self, channel: str, _payload: bytes) -> None:
        if channel == self.service.keys.cron:
            self._cron.wake()
        elif channel == self.service.keys.ended:
            if self.parts.resolver.waiting:
                self._resolver.wake()
        else:
            self._work_came()

    def _work_came(self) -> None:
        self._allocator.wake()
        self._promoter.wake()
        self._resolver.wake()

    def _allocator_wake(self) -> None:
        self._allocator.wake()

    def _wake_all(self) -> None:
        self._work_came()
        self._cron.wake()

    def _elect(self) -> float:
        try:
            return self.parts.election.run_once()
        finally:
            if self._report():
                self._wake_all()
                for loop in self._others:
                    loop.wake()

    def _doubt(self, leadership: Leadership) -> None:
        self.parts.election.doubt(leadership)
        self._election.wake()

    def _report(self) -> bool:
        """Tell listeners of a change of leadership; return whether this scheduler leads newly."""
        now, before = self.parts.election.leadership(), self._reported
        if now == before:
            return False
        self._reported = now
        if before is not None:
            events.emit("scheduler.deposed", holder=before.holder, term=before.term)
        if now is not None:
            events.emit("scheduler.leading", holder=now.holder, term=now.term)
        return now is not None
