"""Cron rows and their triggers in memory (P12)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from mqtasks.model import (
    AsyncTask,
    CronFiring,
    CronTask,
    FiringKind,
    FiringState,
    NewTask,
    TaskMetadata,
    options_from_bytes,
    options_to_bytes,
)
from mqtasks.storage.checks import check_record
from mqtasks.storage.contract import CronOperations, Trigger
from mqtasks.storage.crons import check_cron, check_trigger
from mqtasks.storage.memory.rows import row_of
from mqtasks.storage.memory.tables import CronRow
from mqtasks.storage.memory.tasks import MemoryTasks


class MemoryCron(MemoryTasks, CronOperations):
    """See `CronOperations`."""

    def add_cron_task(self, *crons: CronTask) -> int:
        """Insert definitions and return how many were new, or came back from deletion."""
        for cron in crons:
            check_cron(cron)
        tables = self._tables
        added = 0
        with self._transaction as now:
            for cron in crons:
                known = tables.crons.get(cron.metadata.id)
                if known is not None and not known.deleted:
                    continue
                added += 1
                if known is None:
                    record = replace(
                        cron,
                        id=len(tables.cron_ids) + 1,
                        created_at=cron.created_at or now,
                        updated_at=now,
                    )
                    tables.cron_ids[record.id] = record.metadata.id
                else:
                    record = replace(
                        cron,
                        id=known.record.id,
                        trigger_times=known.record.trigger_times,
                        version=known.record.version + 1,
                        created_at=known.record.created_at,
                        updated_at=now,
                    )
                self._store(record)
        return added

    def query_cron_task(self) -> list[CronTask]:
        """Return all definitions that are not deleted, by metadata id."""
        with self._transaction:
            crons = self._tables.crons
            return [_copy(crons[key].record) for key in sorted(crons) if not crons[key].deleted]

    def find_cron_task(self, metadata_id: str) -> CronTask | None:
        """Return one definition; None if there is none, or it is deleted."""
        with self._transaction:
            known = self._tables.crons.get(metadata_id)
            return None if known is None or known.deleted else _copy(known.record)

    def update_cron_task(self, cron: CronTask, task: AsyncTask) -> int:
        """Advance the row to ``cron`` and insert ``task``; 2, or 0 and nothing is written."""
        check_record(task)
        tables = self._tables
        with self._transaction as now:
            if not self._may_fire(cron, cron.trigger_times - 1, task.metadata.id):
                return 0
            stored = tables.crons[cron.metadata.id].record
            moment, name = stored.next_time, task.metadata.id
            if not self._record(stored.id, moment, FiringState.FIRED, name, now):
                return 0
            self._advance(cron, cron.next_time, now)
            tables.insert(row_of(tables.next_id(), task, now))
            return 2

    def trigger_many(self, triggers: Sequence[Trigger]) -> list[bool]:
        """Trigger definitions in one transaction, each conditional; answers in order."""
        for item in triggers:
            check_trigger(item)
        with self._transaction as now:
            return [self._fire(item, now) for item in triggers]

    def due_cron(self, limit: int) -> list[CronTask]:
        """Return unpaused definitions with next_time <= now, earliest first."""
        tables = self._tables
        with self._transaction as now:
            return [
                _copy(tables.crons[tables.cron_ids[cron_id]].record)
                for next_time, cron_id in tables.due_crons.take(limit)
                if next_time <= now
            ]

    def next_cron_in_ms(self) -> int | None:
        """Return milliseconds until the next unpaused definition is due; None = none."""
        with self._transaction as now:
            first = self._tables.due_crons.first()
            return None if first is None else first[0] - now

    def edit_cron_task(self, cron: CronTask) -> bool:
        """Replace a definition if its version still is ``cron.version``; version + 1."""
        check_cron(cron)
        with self._transaction as now:
            known = self._tables.crons.get(cron.metadata.id)
            if known is None or known.deleted or known.record.version != cron.version:
                return False
            self._store(
                replace(
                    known.record,
                    metadata=cron.metadata,
                    cron_expr=cron.cron_expr,
                    timezone=cron.timezone,
                    policy=cron.policy,
                    next_time=cron.next_time,
                    paused=cron.paused,
                    pause_reason=cron.pause_reason,
                    counted_from=cron.counted_from,
                    app=cron.app,
                    digest=cron.digest,
                    version=cron.version + 1,
                    updated_at=now,
                )
            )
            return True

    def delete_cron_task(self, metadata_id: str) -> bool:
        """Delete a definition softly; False if there is none."""
        with self._transaction as now:
            known = self._tables.crons.get(metadata_id)
            if known is None or known.deleted:
                return False
            self._store(replace(known.record, updated_at=now), deleted=True)
            return True

    # -- shared; the caller holds the lock -----------------------------------------------------

    def _fire(self, item: Trigger, now: int) -> bool:
        cron, task = item.cron, item.task
        name = task.metadata.id if task is not None else ""
        if not self._may_fire(cron, cron.trigger_times, name):
            return False
        stored = self._tables.crons[cron.metadata.id].record
        if stored.next_time != cron.next_time:
            return False
        recorded = self._record(stored.id, item.moment, item.state, name, now)
        made = recorded and task is not None
        self._advance(cron, item.next_time, now, int(made))
        if made and task is not None:
            self._create(NewTask(task.metadata, task.parent_task_id, task.run_at), now)
        return recorded

    def _record(
        self,
        cron_id: int,
        moment: int,
        state: FiringState,
        task: str,
        now: int,
        *,
        kind: FiringKind = FiringKind.SCHEDULED,
    ) -> bool:
        """Record a firing; False if it is recorded already."""
        records = self._tables.firings[cron_id, kind]
        if moment in records:
            return False
        records[moment] = CronFiring(kind, moment, state, task, now)
        return True

    def _may_fire(self, cron: CronTask, fired: int, task_id: str) -> bool:
        known = self._tables.crons.get(cron.metadata.id)
        return (
            known is not None
            and not known.deleted
            and not known.record.paused
            and known.record.trigger_times == fired
            and known.record.version == cron.version
            and task_id not in self._tables.by_metadata
        )

    def _advance(self, cron: CronTask, next_time: int, now: int, times: int = 1) -> None:
        record = self._tables.crons[cron.metadata.id].record
        self._store(
            replace(
                record,
                next_time=next_time,
                trigger_times=record.trigger_times + times,
                updated_at=now,
            )
        )

    def _store(self, record: CronTask, *, deleted: bool = False) -> None:
        tables = self._tables
        old = tables.crons.get(record.metadata.id)
        if old is not None and _fires(old):
            tables.due_crons.remove((old.record.next_time, old.record.id))
        row = CronRow(_copy(record), deleted)
        tables.crons[record.metadata.id] = row
        if _fires(row):
            tables.due_crons.add((record.next_time, record.id))


def _fires(row: CronRow) -> bool:
    return not row.deleted and not row.record.paused


def _copy(cron: CronTask) -> CronTask:
    metadata = cron.metadata
    options = options_from_bytes(options_to_bytes(metadata.options))
    return replace(
        cron, metadata=TaskMetadata(metadata.id, metadata.executor, metadata.context, options)
    )
