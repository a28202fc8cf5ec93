"""Runner rows in memory: registering, renewing, states."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mqtasks.errors import RunnerConflict
from mqtasks.model import RunnerRecord, RunnerState, checked_id
from mqtasks.storage.checks import STARTED_ANEW
from mqtasks.storage.contract import Renewal, RunnerOperations
from mqtasks.storage.memory.rescue import MemoryRescue, was_started
from mqtasks.storage.memory.tables import RunnerRow


class MemoryRunners(MemoryRescue, RunnerOperations):
    """See `RunnerOperations`; taking tasks from runners is `MemoryRescue`."""

    def register_runner(self, runner: RunnerRecord, lease_ms: int, max_crashes: int) -> int:
        """Write a runner's row ACTIVE with generation + 1; return the generation."""
        checked_id("runner.id", runner.id)
        checked_id("runner.holder", runner.holder, empty=True)
        with self._transaction as now:
            row = self._tables.runners.get(runner.id)
            if row is not None and row.record.holder != runner.holder:
                remaining = row.expires_at - now
                if row.record.state is not RunnerState.STOPPED and remaining > 0:
                    raise RunnerConflict(
                        runner.id,
                        f"is alive at {row.record.host or 'another host'}"
                        f" (process {row.record.pid}) for {remaining / 1000:.1f} s more;"
                        " stop that one, wait, or choose another id",
                        remaining / 1000,
                    )
            generation = (0 if row is None else row.record.generation) + 1
            record = replace(
                _copy(runner),
                generation=generation,
                state=RunnerState.ACTIVE,
                started_at=now,
                lease_remaining_ms=0,
            )
            self._tables.runners[runner.id] = RunnerRow(record, now + lease_ms)
            older = [row for row in self._tables.live_of(runner.id) if row.generation != generation]
            self._rescue(older, was_started, max_crashes, STARTED_ANEW, now)
            return generation

    def renew_runners(self, renewals: Sequence[Renewal], lease_ms: int) -> frozenset[str]:
        """Extend leases to now + lease_ms; return the runner ids that were renewed."""
        renewed: set[str] = set()
        with self._transaction as now:
            for item in renewals:
                row = self._tables.runners.get(item.runner_id)
                if (
                    row is not None
                    and row.record.generation == item.generation
                    and row.record.state is not RunnerState.STOPPED
                ):
                    row.expires_at = now + lease_ms
                    renewed.add(item.runner_id)
        return frozenset(renewed)

    def set_runner_state(self, runner_id: str, generation: int, state: RunnerState) -> bool:
        """Write ACTIVE, DRAINING or STOPPED; False if that generation is over. Idempotent."""
        with self._transaction as now:
            row = self._tables.runners.get(runner_id)
            if row is None or row.record.generation != generation:
                return False
            if row.record.state is RunnerState.STOPPED:
                return state is RunnerState.STOPPED
            row.record = replace(row.record, state=RunnerState(state))
            if state is RunnerState.STOPPED:
                row.stopped_at = now
            return True

    def runners(self) -> list[RunnerRecord]:
        """Return all runner rows by id."""
        with self._transaction as now:
            return [
                replace(_copy(row.record), lease_remaining_ms=row.expires_at - now)
                for _, row in sorted(self._tables.runners.items())
            ]

    def forget_runners(self, stopped_for_ms: int) -> int:
        """Delete rows of runners STOPPED that long ago which own no live task."""
        tables = self._tables
        with self._transaction as now:
            old = [
                runner_id
                for runner_id, row in tables.runners.items()
                if row.record.state is RunnerState.STOPPED
                and row.stopped_at + stopped_for_ms <= now
                and runner_id not in tables.live
            ]
            for runner_id in old:
                del tables.runners[runner_id]
        return len(old)


def _copy(record: RunnerRecord) -> RunnerRecord:
    return replace(
        record,
        labels=dict(record.labels),
        executors=tuple(record.executors),
        resources={name: float(amount) for name, amount in record.resources.items()},
    )
