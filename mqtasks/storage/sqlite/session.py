"""One SQLite connection as a session: prepared statements, one run per row where rows differ."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from mqtasks.clock import Clock
from mqtasks.model import (
    AsyncTask,
    NewTask,
    TaskStatus,
    executor_code,
    lane_of,
    options_to_bytes,
)
from mqtasks.storage.sql.dialect import DuplicateKey, Session
from mqtasks.storage.sql.queries import Template, load_queries
from mqtasks.storage.sql.rows import (
    TASK_NUMBERS,
    TASK_TEXTS,
    Row,
    queue_keys,
    retention_ms,
    task_from,
)
from mqtasks.storage.sqlite.errors import is_duplicate

_CHUNK: Final = 10_000
"""Values in one list; SQLite binds up to 32,766."""
_INSERT_CHUNK: Final = 50_000
_NOW: Final = "{now}"
_NUMBERS: Final = len(TASK_NUMBERS)


class SQLiteSession(Session):
    """A connection in autocommit mode; transactions are explicit.

    ``{now}`` is bound: the clock is read once per statement, after the locks are held.
    """

    queries: Mapping[str, Template] = load_queries("sqlite", ", ".join(TASK_NUMBERS + TASK_TEXTS))

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        self.connection = connection
        self._now_ms: Callable[[], int] = clock.now_ms

    # -- transactions --------------------------------------------------------------------------

    def begin(self) -> None:
        """Open a transaction that holds the write lock from the start."""
        self.connection.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit it."""
        self.connection.execute("COMMIT")

    def rollback(self) -> None:
        """Roll it back, if one is open."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    # -- statements ----------------------------------------------------------------------------

    def run(self, statement: str | Template, *params: Any) -> int:
        """Run a write; return how many rows matched. Raises DuplicateKey."""
        return self._execute(statement, params).rowcount

    def rows(self, statement: str | Template, *params: Any) -> list[Row]:
        """Run a query and return its rows."""
        return self._execute(statement, params).fetchall()

    def run_in(self, name: str, values: Sequence[int], *params: Any) -> int:
        """Run a write over ``{in}``, in chunks; return how many rows matched."""
        return sum(self.run(one, *params) for one in self._listed(name, values))

    def rows_in(self, name: str, values: Sequence[int] | Sequence[str], *params: Any) -> list[Row]:
        """Run a query over ``{in}``, in chunks; return the rows of all."""
        if values and isinstance(values[0], str):
            return self._rows_in_texts(name, values, params)
        found: list[Row] = []
        for one in self._listed(name, values):
            found += self.rows(one, *params)
        return found

    def run_each(self, name: str, fields: Sequence[str], rows: Sequence[Row], *params: Any) -> int:
        """Run a write in which ``{field}`` differs by row; return how many rows matched."""
        if not rows:
            return 0
        sql, order = _by_row(self.queries[name], tuple(fields), len(params))
        fixed = (*params, self._now_ms())
        width = len(fields)
        bound = [
            tuple([row[at] if at < width else fixed[at - width] for at in order]) for row in rows
        ]
        return self.connection.executemany(sql, bound).rowcount

    def insert_records(self, rows: Sequence[Row]) -> int:
        """Insert whole rows, all or none; return how many. Raises DuplicateKey."""
        self._insert(self.queries["insert_records"].text, rows)
        return len(rows)

    def insert_tasks(self, tasks: Sequence[NewTask]) -> list[int]:
        """Insert new tasks; return their ids in order. Raises DuplicateKey."""
        now = self._now_ms()
        self._insert(self.queries["insert_tasks"].text, [_values(task, now) for task in tasks])
        # The write lock is held, so AUTOINCREMENT gave consecutive ids.
        last: int = self.connection.execute("SELECT last_insert_rowid()").fetchone()[0]
        return list(range(last - len(tasks) + 1, last + 1))

    def insert_batch(self, tasks: Sequence[NewTask], start: int) -> int:
        """Return the index behind the last task that one `insert_tasks` from ``start`` takes."""
        return min(len(tasks), start + _INSERT_CHUNK)

    def tasks(self, statement: str | Template, *params: Any) -> list[AsyncTask]:
        """Run a query for ``{task_columns}``; return the records."""
        return _records(self.rows(statement, *params))

    def tasks_in(
        self, name: str, values: Sequence[int] | Sequence[str], *params: Any
    ) -> list[AsyncTask]:
        """Run a query for ``{task_columns}`` over ``{in}``; return the records."""
        return _records(self.rows_in(name, values, *params))

    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows; one seek for each."""
        return [row[0] for row in self.rows("lanes", after, limit)]

    # -- private -------------------------------------------------------------------------------

    def _execute(self, statement: str | Template, params: Sequence[Any]) -> sqlite3.Cursor:
        if isinstance(statement, str):
            statement = self.queries[statement]
        parts = statement.parts
        if len(parts) == 1:
            sql, bound = parts[0], params
        else:
            sql, bound = statement.text.replace(_NOW, "?"), self._bound(parts, params)
        try:
            return self.connection.execute(sql, bound)
        except sqlite3.IntegrityError as error:
            if is_duplicate(error):
                raise DuplicateKey(str(error)) from error
            raise

    def _bound(self, parts: Sequence[str], params: Sequence[Any]) -> list[Any]:
        given = iter(params)
        now = self._now_ms()
        return [now if part == _NOW else next(given) for part in parts[1::2]]

    def _listed(self, name: str, values: Sequence[Any]) -> list[Template]:
        """Return the statement for each chunk of integers, written into the text."""
        text = self.queries[name].text
        chunks = [values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK)]
        return [
            Template(text.replace("{in}", ("%d," * len(chunk))[:-1] % tuple(chunk)))
            for chunk in chunks
        ]

    def _rows_in_texts(self, name: str, values: Sequence[Any], params: Sequence[Any]) -> list[Row]:
        text = self.queries[name].text
        front = text[: text.index("{in}")].count("?")
        found: list[Row] = []
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            marks = ("?," * len(chunk))[:-1]
            statement = Template(text.replace("{in}", marks))
            found += self.rows(statement, *params[:front], *chunk, *params[front:])
        return found

    def _insert(self, sql: str, rows: Sequence[Row]) -> None:
        execute = self.connection.execute
        execute("SAVEPOINT inserting")
        try:
            self.connection.executemany(sql, rows)
        except sqlite3.IntegrityError as error:
            execute("ROLLBACK TO inserting")
            execute("RELEASE inserting")
            if is_duplicate(error):
                raise DuplicateKey(str(error)) from error
            raise
        execute("RELEASE inserting")


def _records(rows: Sequence[Row]) -> list[AsyncTask]:
    return [task_from(row[:_NUMBERS], *row[_NUMBERS:]) for row in rows]


@cache
def _by_row(
    statement: Template, fields: tuple[str, ...], params: int
) -> tuple[str, tuple[int, ...]]:
    """Return the text with ``?`` everywhere, and which value goes where.

    Values are numbered: fields first, then the fixed parameters, then the clock.
    """
    numbers = {f"{{{field}}}": at for at, field in enumerate(fields)}
    numbers[_NOW] = len(fields) + params
    fixed = iter(range(len(fields), len(fields) + params))
    order = tuple(next(fixed) if part == "?" else numbers[part] for part in statement.parts[1::2])
    return "?".join(statement.parts[::2]), order


def _values(task: NewTask, now: int) -> Row:
    """Return the values of ``insert_tasks``."""
    metadata = task.metadata
    options = metadata.options
    if task.after:
        run_at, status = task.run_at, int(TaskStatus.WAITING)
    else:
        run_at = task.run_at or now + round(options.delay_duration * 1000)
        status = int(TaskStatus.SCHEDULED if run_at > now else TaskStatus.CREATED)
    lane = lane_of(metadata)
    return (
        metadata.id,
        metadata.context,
        executor_code(metadata.executor),
        options_to_bytes(options),
        task.parent_task_id,
        status,
        options.priority,
        lane,
        *queue_keys(status, lane, options.priority),
        run_at,
        retention_ms(options),
        now,
    )
