"""Task records in memory: creating, reading, editing, pruning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from mqtasks.conditions import FIELDS, Condition, Op, Selection, Value
from mqtasks.errors import InvalidCondition
from mqtasks.model import (
    FINAL,
    AsyncTask,
    Attempt,
    Created,
    NewTask,
    ResultCode,
    TaskStatus,
    options_from_bytes,
)
from mqtasks.storage.checks import check_new, check_record
from mqtasks.storage.contract import ExecutorCount, PruneReport, TaskRecords
from mqtasks.storage.memory.base import MemoryBase
from mqtasks.storage.memory.linking import demand_parents, first_linked, is_needed, link
from mqtasks.storage.memory.rows import Row, new_row, row_of
from mqtasks.storage.memory.windows import keep_windows, open_windows
from mqtasks.storage.plans import is_plan, stored_plan
from mqtasks.storage.windows import Windows, windowed

_READ: Final[dict[str, Callable[[Row], Value]]] = {name: attrgetter(name) for name in FIELDS}
_FINAL: Final = frozenset(map(int, FINAL))


class MemoryTasks(MemoryBase, TaskRecords):
    """See `TaskRecords`."""

    def add(self, *tasks: AsyncTask) -> int:
        """Insert whole rows; return how many were new."""
        for task in tasks:
            check_record(task)
        tables = self._tables
        added = 0
        with self._transaction as now:
            for task in tasks:
                if task.metadata.id not in tables.by_metadata:
                    tables.insert(row_of(tables.next_id(), task, now))
                    added += 1
        return added

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
        tables = self._tables
        matched = 0
        with self._transaction:
            for task in sorted(tasks, key=attrgetter("id")):
                row = tables.rows.get(task.id)
                if row is None or not _matches(selection, row):
                    continue
                tables.unlink(row)
                row.overwrite(task)
                tables.link(row)
                tables.note_retention(row)
                tables.note_deadline(row)
                matched += 1
        return matched

    def delete(self, *conditions: Condition) -> int:
        """Delete the selected rows with their attempts; return how many."""
        selection = Selection(conditions)
        selection.demand_explicit("delete")
        with self._transaction:
            victims = self._select(selection)
            for row in victims:
                self._tables.delete(row)
        return len(victims)

    def query(self, *conditions: Condition) -> list[AsyncTask]:
        """Return the selected tasks by ascending task id, or descending if asked."""
        selection = Selection(conditions)
        with self._transaction:
            return [row.record() for row in self._select(selection)]

    def create_tasks(self, tasks: Sequence[NewTask]) -> list[Created]:
        """Create tasks, idempotent by metadata id; answer in the order given."""
        for task in tasks:
            check_new(task)
        with self._transaction as now:
            return self._create_any(tasks, now)

    def _create_any(self, tasks: Sequence[NewTask], now: int) -> list[Created]:
        if not windowed(tasks):
            return self._create_all(tasks, now)
        tables = self._tables
        windows = Windows(tasks, open_windows(tables, tasks, now))
        created = self._create_all(windows.chosen, now)
        keep_windows(tables, windows.taken(created), now)
        return windows.answers(created)

    def _create_all(self, tasks: Sequence[NewTask], now: int) -> list[Created]:
        if is_plan(tasks):
            by_metadata = self._tables.by_metadata
            names = (task.metadata.id for task in tasks)
            stored = stored_plan(
                tasks, {name: by_metadata[name] for name in names if name in by_metadata}
            )
            if stored is not None:
                return [stored[task.metadata.id] for task in tasks]
        linked = first_linked(tasks)
        if linked:
            demand_parents(self._tables, linked, {task.metadata.id for task in tasks})
        # One that is stored keeps the links it has.
        new = [task for task in linked if task.metadata.id not in self._tables.by_metadata]
        created = [self._create(task, now) for task in tasks]
        link(self._tables, new, now)
        return created

    def find(self, metadata_ids: Iterable[str]) -> dict[str, AsyncTask]:
        """Return the stored tasks of these metadata ids."""
        tables = self._tables
        wanted = dict.fromkeys(metadata_ids)
        with self._transaction:
            return {
                metadata_id: tables.rows[tables.by_metadata[metadata_id]].record()
                for metadata_id in wanted
                if metadata_id in tables.by_metadata
            }

    def attempts(self, task_id: int) -> list[Attempt]:
        """Return the history of a task by ascending epoch."""
        with self._transaction:
            history = self._tables.attempts.get(task_id, {})
            return [history[epoch] for epoch in sorted(history)]

    def count_by_status(self, cap: int) -> dict[int, int]:
        """Return how many tasks are in each status, capped; every status is in the answer."""
        with self._transaction:
            return {status: min(cap, len(rows)) for status, rows in self._tables.by_status.items()}

    def count_by_executor(self, cap: int) -> list[ExecutorCount]:
        """Return how many tasks each executor has in each status, of at most ``cap`` each."""
        counts: Counter[tuple[str, int, bool]] = Counter()
        with self._transaction:
            for status, rows in self._tables.by_status.items():
                for row in islice(rows.values(), cap):
                    failed = row.result is not None and row.result.code is ResultCode.FAILED
                    counts[row.executor, status, failed] += 1
        return [ExecutorCount(*key, count) for key, count in sorted(counts.items())]

    def prune(self, from_id: int, limit: int, success_ms: int, failure_ms: int) -> PruneReport:
        """Delete ended rows past their retention, one chunk in id order."""
        tables = self._tables
        with self._transaction as now:
            chunk = [tables.rows[task_id] for task_id in tables.ids.since(from_id, limit)]
            victims = [
                row
                for row in chunk
                if _is_past(row, now, success_ms, failure_ms) and not is_needed(tables, row)
            ]
            for row in victims:
                tables.delete(row)
            if len(chunk) < limit or not chunk:
                return PruneReport(len(victims), 0)
            shortest = min(success_ms, failure_ms, tables.shortest_retention)
            last = chunk[-1]
            swept = last.created_at > now - shortest or not tables.ids.since(last.task_id + 1, 1)
            return PruneReport(len(victims), 0 if swept else last.task_id + 1)

    # -- shared by the groups; the caller holds the lock ---------------------------------------

    def _create(self, task: NewTask, now: int) -> Created:
        tables = self._tables
        known = tables.by_metadata.get(task.metadata.id)
        if known is not None:
            return Created(known, is_new=False)
        row = new_row(tables.next_id(), task, now)
        tables.insert(row)
        return Created(row.task_id, is_new=True)

    def _select(self, selection: Selection) -> list[Row]:
        chosen: list[Row] = []
        for row in self._candidates(selection):
            if selection.limit is not None and len(chosen) >= selection.limit:
                break
            if _matches(selection, row):
                chosen.append(row)
        return chosen

    def _candidates(self, selection: Selection) -> Iterable[Row]:
        """Return rows in the order asked for: all of them, or fewer if an index knows better."""
        tables = self._tables
        fewest: Iterable[int] | None = None
        size = len(tables.rows)
        for ids, count in self._indexed(selection):
            if count < size:
                fewest, size = ids, count
        if fewest is None:
            ordered: Iterator[int] = (
                reversed(tables.ids) if selection.descending else iter(tables.ids)
            )
            return (tables.rows[task_id] for task_id in ordered)
        found = sorted(set(fewest) & tables.rows.keys(), reverse=selection.descending)
        return (tables.rows[task_id] for task_id in found)

    def _indexed(self, selection: Selection) -> Iterator[tuple[Iterable[int], int]]:
        tables = self._tables
        for item in selection.comparisons:
            values = item.value if isinstance(item.value, tuple) else (item.value,)
            if item.op not in {Op.EQ, Op.IN}:
                continue
            if item.field == "task_id":
                yield [int(value) for value in values], len(values)
            elif item.field == "metadata_id":
                names = map(str, values)
                known = [tables.by_metadata[name] for name in names if name in tables.by_metadata]
                yield known, len(known)
            elif item.field == "status":
                groups = [tables.by_status[int(value)] for value in set(values)]
                yield (key for group in groups for key in group), sum(map(len, groups))


def _matches(selection: Selection, row: Row) -> bool:
    return all(item.holds(_READ[item.field](row)) for item in selection.comparisons)


def _is_past(row: Row, now: int, success_ms: int, failure_ms: int) -> bool:
    if row.status not in _FINAL:
        return False
    succeeded = (
        row.status == TaskStatus.COMPLETED
        and row.result is not None
        and row.result.code is ResultCode.SUCCESS
    )
    own = options_from_bytes(row.options).retention if row.options else None
    retention = (success_ms if succeeded else failure_ms) if own is None else round(own * 1000)
    return row.completed_at + retention <= now
