"""Runner rows: generations, leases, fencing and rescue (P2, P3, P4, P8)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from mqtasks.model import Leadership, LeaseInfo, RunnerRecord, RunnerState, TaskEpoch
from mqtasks.storage.contract.records import Orphans, Renewal, RescueReport


class RunnerOperations(ABC):
    """Who may own tasks, and taking tasks from those who may not any more.

    "Rescue" of a live row means, in one transaction with what fences its owner: RUNNING becomes
    CREATED (runner cleared, epoch kept, reassigned + 1), CANCEL_REQUESTED becomes CANCELED; an
    attempt row is written, CRASHED if the executor had been started, else LOST. A started task
    is charged (crashes + 1); it ends FAILED when crashes > ``max_crashes``, or when reassigned
    exceeds its own max_reassign_times (if > 0).
    """

    @abstractmethod
    def register_runner(self, runner: RunnerRecord, lease_ms: int, max_crashes: int) -> int:
        """Start a runner: write its row ACTIVE with generation + 1; return the generation.

        Raises RunnerConflict, with the remaining lease, while the id is leased by another holder
        and not STOPPED. Live rows of older generations are rescued in the same transaction,
        before the newcomer can fetch. The same holder may register again (a fenced runner that
        comes back): that also fences and rescues whatever its older generation held.
        """

    @abstractmethod
    def renew_runners(self, renewals: Sequence[Renewal], lease_ms: int) -> frozenset[str]:
        """Extend leases to now + lease_ms; return the runner ids that were renewed.

        Conditional on generation and not STOPPED: an id that is missing in the answer is fenced
        and must cancel everything. A lapsed but unfenced lease is renewed. One statement.
        """

    @abstractmethod
    def set_runner_state(self, runner_id: str, generation: int, state: RunnerState) -> bool:
        """Write ACTIVE, DRAINING or STOPPED; False if that generation is over. Idempotent."""

    @abstractmethod
    def runners(self) -> list[RunnerRecord]:
        """Return all runner rows by id, lease_remaining_ms by the database's clock."""

    @abstractmethod
    def report_dead(
        self,
        runner_id: str,
        generation: int,
        started: Sequence[TaskEpoch],
        max_crashes: int,
        cause: str = "",
    ) -> RescueReport | None:
        """Stop a runner whose process is known dead and rescue its tasks at once (P8, P14).

        ``started`` are the tasks that had been handed to an executor: only they are charged,
        whatever started_at says. Fences first (generation + 1, STOPPED). ``cause`` is kept as the
        error of each attempt that ends so. None if that generation is over already.
        """

    @abstractmethod
    def fence_lapsed(
        self, leadership: Leadership, runner_id: str, generation: int, max_crashes: int
    ) -> RescueReport | None:
        """Fence one runner whose lease has lapsed and rescue its tasks, in one transaction (P4).

        First ``generation + 1, STOPPED`` where the generation still is the one given, the state
        is not STOPPED and lease_expires_at < now; None if that matched nothing (it came back).
        Tasks whose started_at is set count as started. Raises NotLeader.
        """

    @abstractmethod
    def orphans(self) -> list[Orphans]:
        """Return runner ids that own live rows but are STOPPED or have no row. Index seeks."""

    @abstractmethod
    def rescue_orphans(
        self,
        leadership: Leadership,
        runner_id: str,
        max_crashes: int,
        silent_ms: int = 0,
        spared: Sequence[int] = (),
    ) -> RescueReport:
        """Rescue live rows of a runner that is STOPPED, or has no row.

        Without a row only tasks with last_heartbeat < now - ``silent_ms`` are taken, and none
        of the ``spared`` (their Redis key is alive); for them a started_at or last_heartbeat
        after the allocation counts as started. Nothing happens if the runner is not STOPPED or
        missing any more. Raises NotLeader.
        """

    @abstractmethod
    def absolve(self, runner_id: str, tasks: Sequence[TaskEpoch]) -> int:
        """Take back crash charges: the runner was fenced, but its process lives (P14).

        Where the attempt row (task, epoch) of this runner is CRASHED it becomes FENCED, and the
        task's crashes go down by one, unless the task has ended. Returns how many. Idempotent.
        """

    @abstractmethod
    def forget_runners(self, stopped_for_ms: int) -> int:
        """Delete rows of runners STOPPED that long ago which own no live task; return how many."""


class LeaseOperations(ABC):
    """Leases with a term, for leadership (P6)."""

    @abstractmethod
    def acquire_lease(self, name: str, holder: str, ttl_ms: int) -> Leadership | None:
        """Take the lease if it is free, lapsed or already this holder's; term + 1 each time.

        Waits for allocating transactions of the former term to end. None if somebody holds it.
        """

    @abstractmethod
    def renew_lease(self, leadership: Leadership, ttl_ms: int) -> bool:
        """Extend to now + ttl_ms if holder and term still match, even if it has just lapsed."""

    @abstractmethod
    def release_lease(self, leadership: Leadership) -> bool:
        """Give the lease up, if holder and term still match; the term is kept. Idempotent."""

    @abstractmethod
    def lease(self, name: str) -> LeaseInfo | None:
        """Return who holds a lease; None if nobody ever has."""
