"""Records of cron firings, and firings beside the schedule, in memory (P12)."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import nsmallest

from mqtasks.model import CronFiring, CronTask, FiredTask, FiringKind, FiringState, NewFiring
from mqtasks.storage.contract import MANUAL_COUNTS_MS, FiringOperations
from mqtasks.storage.crons import has_failed, last_ids, tasks_of
from mqtasks.storage.memory.cron import MemoryCron


class MemoryFirings(MemoryCron, FiringOperations):
    """See `FiringOperations`."""

    def add_firings(
        self, cron: CronTask, kind: FiringKind, firings: Sequence[NewFiring]
    ) -> list[bool]:
        """Fire beside the schedule; answer in the order given, whether this call fired."""
        tasks = tasks_of(cron, firings)
        tables = self._tables
        with self._transaction as now:
            known = tables.crons.get(cron.metadata.id)
            if known is None or known.deleted or known.record.version != cron.version:
                return [False] * len(firings)
            answers = []
            for item, task in zip(firings, tasks, strict=True):
                name = task.metadata.id
                fires = name not in tables.by_metadata and self._record(
                    known.record.id, item.fire_time, FiringState.FIRED, name, now, kind=kind
                )
                if fires:
                    self._create(task, now)
                answers.append(fires)
            return answers

    def cron_firings(
        self, metadata_id: str, limit: int, kind: FiringKind, until: int | None = None
    ) -> list[CronFiring]:
        """Return recorded firings of one kind, the latest fire_time first."""
        with self._transaction:
            known = self._tables.crons.get(metadata_id)
            records = {} if known is None else self._tables.firings[known.record.id, kind]
            times = sorted((at for at in records if until is None or at <= until), reverse=True)
            return [records[at] for at in times[:limit]]

    def fired_tasks(self, crons: Sequence[CronTask], last: int) -> dict[str, list[FiredTask]]:
        """Return what has become of earlier firings, by the definition's metadata id."""
        tables = self._tables
        found: dict[str, list[FiredTask]] = {}
        with self._transaction as now:
            for cron in crons:
                records = tables.firings[cron.id, FiringKind.MANUAL]
                since = now - MANUAL_COUNTS_MS
                manual = [records[at].task for at in sorted(records) if at > since]
                found[cron.metadata.id] = [
                    FiredTask(
                        row.task_id,
                        name,
                        row.status,
                        has_failed(row.status, None if row.result is None else row.result.code),
                    )
                    for name in (*last_ids(cron, last), *manual)
                    if name in tables.by_metadata
                    for row in (tables.rows[tables.by_metadata[name]],)
                ]
        return found

    def prune_firings(self, limit: int, keep_ms: int) -> int:
        """Delete up to ``limit`` records that are older than ``keep_ms``, the oldest first."""
        firings = self._tables.firings
        with self._transaction as now:
            past = nsmallest(
                limit,
                (
                    (item.fired_at, key, at)
                    for key, records in firings.items()
                    for at, item in records.items()
                    if item.fired_at <= now - keep_ms
                ),
            )
            for _, key, at in past:
                del firings[key][at]
            return len(past)
