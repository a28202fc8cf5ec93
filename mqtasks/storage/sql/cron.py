"""Cron rows and their triggers (P12)."""

from __future__ import annotations

from collections.abc import Sequence

from mqtasks.model import (
    AsyncTask,
    CronTask,
    FiringKind,
    TaskMetadata,
    executor_code,
    executor_value,
    options_from_bytes,
    options_to_bytes,
)
from mqtasks.model.cron import details_to_bytes, with_details
from mqtasks.storage.checks import check_record
from mqtasks.storage.contract import Trigger
from mqtasks.storage.crons import check_cron, check_trigger
from mqtasks.storage.sql.base import SqlBase, nothing, when_disabled
from mqtasks.storage.sql.deadlines import note_deadlines_of
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.firings import Round, record_firings
from mqtasks.storage.sql.rows import Row
from mqtasks.storage.sql.tasks import add_in


class SqlCron(SqlBase):
    """See `CronOperations`."""

    @when_disabled(int)
    def add_cron_task(self, *crons: CronTask) -> int:
        """Insert definitions and return how many were new, or came back from deletion."""
        for cron in crons:
            check_cron(cron)
        unique = {cron.metadata.id: cron for cron in reversed(crons)}
        names = sorted(unique)

        def work(session: Session) -> int:
            known = {row[1]: row for row in session.rows_in("lock_crons", names)}
            now = session.now()
            added = 0
            for name in names:
                cron, row = unique[name], known.get(name)
                if row is None:
                    counts = (cron.trigger_times, cron.version, cron.created_at or now)
                    session.run("insert_cron", *_definition(cron), *counts, name)
                    row = session.rows("lock_cron", name)[0]
                elif row[5]:
                    session.run("replace_cron", *_definition(cron), row[0])
                else:
                    continue
                session.run("put_cron_policy", details_to_bytes(cron), row[0])
                added += 1
            return added

        return self._db.transact(work) if crons else 0

    @when_disabled(list[CronTask])
    def query_cron_task(self) -> list[CronTask]:
        """Return all definitions that are not deleted, by metadata id."""
        return [_from_row(row) for row in self._db.read(lambda session: session.rows("cron_tasks"))]

    @when_disabled(nothing)
    def find_cron_task(self, metadata_id: str) -> CronTask | None:
        """Return one definition; None if there is none, or it is deleted."""
        row = self._db.read(lambda session: session.one("find_cron", metadata_id))
        return None if row is None else _from_row(row)

    @when_disabled(int)
    def update_cron_task(self, cron: CronTask, task: AsyncTask) -> int:
        """Advance the row to ``cron`` and insert ``task``; 2, or 0 and nothing is written."""
        check_record(task)
        self._note_retentions([task.metadata.options])
        note_deadlines_of(self._db, [task])

        def work(session: Session) -> int:
            row = session.one("lock_cron", cron.metadata.id)
            fired = cron.trigger_times - 1
            if row is None or not _may_fire(row, cron, fired) or _is_stored(session, task.metadata):
                return 2 if session.repeated and _has_fired(session, row, fired, task) else 0
            if not record_firings(
                session, [(row[0], FiringKind.SCHEDULED, row[6], task.metadata.id)]
            ):
                return 0
            advanced = [(row[0], cron.next_time, 1)]
            session.run_each("advance_crons", ("cron_id", "next_time", "times"), advanced)
            if not add_in(session, [task]):
                raise DuplicateKey(task.metadata.id)
            return 2

        return self._db.transact(work)

    @when_disabled(list[bool])
    def trigger_many(self, triggers: Sequence[Trigger]) -> list[bool]:
        """Trigger definitions in one transaction, each conditional; answers in order."""
        for item in triggers:
            check_trigger(item)
        tasks = [item.task for item in triggers if item.task is not None]
        self._note_retentions(task.metadata.options for task in tasks)
        note_deadlines_of(self._db, tasks)
        names = sorted({item.cron.metadata.id for item in triggers})
        task_ids = sorted({task.metadata.id for task in tasks})

        def work(session: Session) -> list[bool]:
            rows = {row[1]: row for row in session.rows_in("lock_crons", names)}
            stored = {row[0] for row in session.rows_in("known_ids", task_ids)}
            return Round(session, rows, stored).apply(triggers)

        return self._db.transact(work) if triggers else []

    @when_disabled(list[CronTask])
    def due_cron(self, limit: int) -> list[CronTask]:
        """Return unpaused definitions with next_time <= now, earliest first."""
        rows = self._db.read(lambda session: session.rows("due_cron", limit))
        return [_from_row(row) for row in rows]

    @when_disabled(nothing)
    def next_cron_in_ms(self) -> int | None:
        """Return milliseconds until the next unpaused definition is due; None = none."""
        first = self._db.read(lambda session: session.one("next_cron"))
        return None if first is None else first[0]

    @when_disabled(bool)
    def edit_cron_task(self, cron: CronTask) -> bool:
        """Replace a definition if its version still is ``cron.version``; version + 1."""
        check_cron(cron)

        def work(session: Session) -> bool:
            row = session.one("lock_cron", cron.metadata.id)
            if row is None or row[5] or row[3] != cron.version:
                return False
            session.run("replace_cron", *_definition(cron), row[0])
            session.run("put_cron_policy", details_to_bytes(cron), row[0])
            return True

        return self._db.transact(work)

    @when_disabled(bool)
    def delete_cron_task(self, metadata_id: str) -> bool:
        """Delete a definition softly; False if there is none."""
        return self._db.single(lambda session: session.run("delete_cron", metadata_id)) > 0


def _may_fire(row: Row, cron: CronTask, fired: int) -> bool:
    _, _, trigger_times, version, paused, deleted, _ = row
    return not deleted and not paused and (trigger_times, version) == (fired, cron.version)


def _is_stored(session: Session, metadata: TaskMetadata) -> bool:
    return bool(session.rows_in("known_ids", [metadata.id]))


def _has_fired(session: Session, row: Row | None, fired: int, task: AsyncTask) -> bool:
    """Return whether the try before this one, whose outcome was unknown, has fired (P10)."""
    return row is not None and row[2] == fired + 1 and _is_stored(session, task.metadata)


def _definition(cron: CronTask) -> Row:
    metadata = cron.metadata
    return (
        executor_code(metadata.executor),
        metadata.context,
        options_to_bytes(metadata.options),
        cron.cron_expr,
        cron.timezone,
        cron.next_time,
        int(cron.paused),
    )


def _from_row(row: Row) -> CronTask:
    (
        cron_id,
        metadata_id,
        executor,
        context,
        options,
        cron_expr,
        timezone,
        next_time,
        trigger_times,
        version,
        paused,
        created_at,
        updated_at,
        details,
    ) = row
    cron = CronTask(
        id=cron_id,
        metadata=TaskMetadata(
            metadata_id, executor_value(executor), context, options_from_bytes(options)
        ),
        cron_expr=cron_expr,
        timezone=timezone,
        next_time=next_time,
        trigger_times=trigger_times,
        version=version,
        paused=bool(paused),
        created_at=created_at,
        updated_at=updated_at,
    )
    return with_details(cron, details)
