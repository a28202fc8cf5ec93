"""The reference's operations on task rows, and reading them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from mqtasks.conditions import Condition, Selection
from mqtasks.errors import InvalidCondition
from mqtasks.model import AsyncTask, Attempt, TaskStatus
from mqtasks.storage.checks import check_record
from mqtasks.storage.contract import ExecutorCount
from mqtasks.storage.sql.base import SqlBase, when_disabled
from mqtasks.storage.sql.conditions import where, where_ordered
from mqtasks.storage.sql.create import insert_missing
from mqtasks.storage.sql.deadlines import note_deadlines_of
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.queries import template
from mqtasks.storage.sql.rows import Row, attempt_from_row, record_values


class SqlTasks(SqlBase):
    """See `TaskRecords`; creating is `SqlCreate`, pruning `SqlPrune`."""

    @when_disabled(int)
    def add(self, *tasks: AsyncTask) -> int:
        """Insert whole rows; return how many were new."""
        for task in tasks:
            check_record(task)
        self._note_retentions(task.metadata.options for task in tasks)
        note_deadlines_of(self._db, tasks)
        return self._db.transact(lambda session: add_in(session, tasks)) if tasks else 0

    @when_disabled(int)
    def update(self, tasks: Sequence[AsyncTask], *conditions: Condition) -> int:
        """Overwrite rows by id where the conditions hold; return how many matched."""
        selection = Selection(conditions)
        selection.demand_explicit("update")
        if selection.limit is not None or selection.descending:
            raise InvalidCondition(
                "conditions",
                conditions,
                "update() names its rows by task id; leave limit and order out",
            )
        for task in tasks:
            check_record(task)
        self._note_retentions(task.metadata.options for task in tasks)
        note_deadlines_of(self._db, tasks)
        text, params = where(selection)

        def work(session: Session) -> int:
            statement = template(f"{session.text('overwrite_task')} AND {text}")
            return sum(
                session.run(statement, *_overwrite_values(task), *params)
                for task in sorted(tasks, key=attrgetter("id"))
            )

        return self._db.transact(work) if tasks else 0

    @when_disabled(int)
    def delete(self, *conditions: Condition) -> int:
        """Delete the selected rows with their attempts; return how many."""
        selection = Selection(conditions)
        selection.demand_explicit("delete")
        text, params = where_ordered(selection)

        def work(session: Session) -> int:
            statement = f"{session.text('select_doomed')} {text}{session.row_lock}"
            doomed = sorted(row[0] for row in session.rows(template(statement), *params))
            return delete_in(session, doomed)

        return self._db.transact(work)

    @when_disabled(list[AsyncTask])
    def query(self, *conditions: Condition) -> list[AsyncTask]:
        """Return the selected tasks by ascending task id, or descending if asked."""
        text, params = where_ordered(Selection(conditions))

        def work(session: Session) -> list[AsyncTask]:
            return session.tasks(template(f"{session.text('select_tasks')} {text}"), *params)

        return self._db.read(work)

    @when_disabled(dict[str, AsyncTask])
    def find(self, metadata_ids: Iterable[str]) -> dict[str, AsyncTask]:
        """Return the stored tasks of these metadata ids."""
        wanted = list(dict.fromkeys(metadata_ids))
        tasks = self._db.read(lambda session: session.tasks_in("find", wanted))
        found = {task.metadata.id: task for task in tasks}
        return {key: found[key] for key in wanted if key in found}

    @when_disabled(list[AsyncTask])
    def load(self, task_ids: Sequence[int]) -> list[AsyncTask]:
        """Return the stored tasks with these ids, by ascending id."""
        ids = sorted(set(task_ids))
        return self._db.read(lambda session: session.tasks_in("load", ids))

    @when_disabled(list[Attempt])
    def attempts(self, task_id: int) -> list[Attempt]:
        """Return the history of a task by ascending epoch."""
        rows = self._db.read(lambda session: session.rows("attempts", task_id))
        return [attempt_from_row(row) for row in rows]

    @when_disabled(dict[int, int])
    def count_by_status(self, cap: int) -> dict[int, int]:
        """Return how many tasks are in each status, capped; every status is in the answer."""
        return self._db.read(
            lambda session: {
                int(status): session.rows("count_status", int(status), cap)[0][0]
                for status in TaskStatus
            }
        )

    @when_disabled(list[ExecutorCount])
    def count_by_executor(self, cap: int) -> list[ExecutorCount]:
        """Return how many tasks each executor has in each status, of at most ``cap`` each."""

        def work(session: Session) -> list[Row]:
            rows: list[Row] = []
            for status in TaskStatus:
                rows += session.rows("count_executors", int(status), cap)
            return rows

        return [
            ExecutorCount(executor, status, bool(failed), count)
            for executor, status, failed, count in sorted(self._db.read(work))
        ]


def add_in(session: Session, tasks: Iterable[AsyncTask]) -> int:
    """Insert whole, valid rows that are not stored yet; return how many."""
    unique: dict[str, AsyncTask] = {}
    for task in tasks:
        unique.setdefault(task.metadata.id, task)
    now = session.now()
    pending = [record_values(task, now) for task in unique.values()]

    def insert(rows: Sequence[Row], start: int) -> int:
        return start + session.insert_records(rows[start:])

    known = insert_missing(session, pending, lambda row: row[0], insert)
    return len(pending) - len(known)


def delete_in(session: Session, task_ids: Sequence[int]) -> int:
    """Delete rows, locked by this unit, and what hangs on them; return how many."""
    deleted = session.run_in("delete_tasks", task_ids)
    session.run_in("delete_attempts", task_ids)
    session.run_in("delete_steps", task_ids)
    session.run_in("delete_edges", task_ids)
    return deleted


def _overwrite_values(task: AsyncTask) -> Row:
    (
        _,
        executor,
        context,
        options,
        parent,
        status,
        runner,
        generation,
        epoch,
        attempt,
        crashes,
        reassigned,
        priority,
        lane,
        queue_lane,
        queue_rank,
        *_,
        code,
        error,
        value,
        progress,
        retention,
    ) = record_values(task, 0)
    return (
        executor,
        context,
        options,
        parent,
        status,
        runner,
        generation,
        epoch,
        task.last_heartbeat,
        epoch,
        attempt,
        crashes,
        reassigned,
        priority,
        lane,
        queue_lane,
        queue_rank,
        task.run_at,
        task.last_heartbeat,
        task.started_at,
        task.completed_at,
        code,
        error,
        value,
        progress,
        retention,
        task.id,
    )
