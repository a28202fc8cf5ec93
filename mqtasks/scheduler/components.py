"""The parts of a scheduler, built from its options; no threads here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mqtasks.model import Leadership
from mqtasks.scheduler.allocator import Allocator
from mqtasks.scheduler.cadence import Cadence
from mqtasks.scheduler.cron import CronFirer
from mqtasks.scheduler.expirer import Expirer
from mqtasks.scheduler.leader import LeaderElection
from mqtasks.scheduler.options import SchedulerOptions
from mqtasks.scheduler.promoter import Promoter
from mqtasks.scheduler.pruner import Pruner
from mqtasks.scheduler.rescuer import Rescuer
from mqtasks.scheduler.resolver import Resolver
from mqtasks.scheduler.stats import Stats
from mqtasks.service import TaskService


class Components:
    """One of each, sharing one election."""

    def __init__(
        self,
        service: TaskService,
        options: SchedulerOptions,
        holder: str,
        *,
        on_doubt: Callable[[Leadership], None],
        on_promoted: Callable[[], None],
    ) -> None:
        """Call ``on_doubt`` when a write was refused for want of leadership."""
        storage, clock = service.storage, service.clock
        self.election: Final = LeaderElection(
            storage,
            holder,
            options.leader_ttl,
            options.leader_renew,
            clock,
            standby_poll=options.standby_poll,
        )
        leadership = self.election.leadership

        def cadence() -> Cadence:
            return Cadence(
                service,
                safety_poll=options.safety_poll,
                fast_poll=options.fast_poll,
                slow_poll=options.slow_poll,
            )

        self.allocator: Final = Allocator(
            service,
            leadership,
            on_doubt,
            cadence(),
            batch=options.allocate_batch,
            ageing=options.ageing,
        )
        self.promoter: Final = Promoter(
            storage,
            leadership,
            on_promoted,
            batch=options.promote_batch,
            poll=options.promote_poll,
        )
        self.resolver: Final = Resolver(
            service, leadership, cadence(), poll=options.resolve_poll, batch=options.resolve_batch
        )
        self.expirer: Final = Expirer(service, leadership, poll=options.promote_poll)
        self.rescuer: Final = Rescuer(
            service,
            leadership,
            on_doubt,
            heartbeat_timeout=options.heartbeat_timeout,
            max_crashes=options.max_crashes,
            interval=options.rescue_interval,
            forget_after=options.forget_runners_after,
        )
        self.cron: Final = CronFirer(service, poll=options.cron_poll)
        self.pruner: Final = Pruner(
            storage,
            leadership,
            clock,
            retention_success=options.retention_success,
            retention_failure=options.retention_failure,
            interval=options.prune_interval,
            batch=options.prune_batch,
        )
        self.stats: Final = Stats(service, leadership, interval=options.stats_interval)

    def resolve(self) -> float:
        """Make passes of the resolver until one moves nothing; its delay."""
        while True:
            delay = self.resolver.run_once()
            if not self.resolver.moved:
                return delay

    def allocate(self) -> float:
        """Make passes of the allocator until it has nothing more to do at once; its delay."""
        while (delay := self.allocator.run_once()) <= 0:
            pass
        return delay
