"""Taking part in a transaction on a caller's connection to the same SQLite file (P10)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from mqtasks.clock import Clock
from mqtasks.errors import InvalidArgument
from mqtasks.model import NewTask
from mqtasks.storage.caller import Handle, aborted, unwrap
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row
from mqtasks.storage.sqlite.session import SQLiteSession

_DATABASES: Final = Template("PRAGMA database_list")


def open_session(
    connection: Any, path: str, clock: Clock, *, begin: bool
) -> tuple[CallerSession, Handle]:
    """Return a session inside the caller's transaction. Raises as `TaskRecords.join` says."""
    handle = unwrap(connection)
    driver = handle.driver
    if not isinstance(driver, sqlite3.Connection):
        raise InvalidArgument(
            "connection",
            type(connection).__name__,
            "cannot be joined: pass a sqlite3 connection, a SQLAlchemy Connection or Session or a"
            " Django connection over one",
        )
    session = CallerSession(driver, clock)
    _demand_same(session, path)
    if begin and handle.opens:
        handle.begin()
    elif not driver.in_transaction:
        if not begin and _autocommits(driver):
            raise InvalidArgument(
                "connection",
                type(connection).__name__,
                "is in autocommit mode, and no transaction is open: begin one first, so that the"
                " task and your writes are committed together",
            )
        session.begin()
    return session, _Explicit(driver) if type(handle) is Handle else handle


class CallerSession(SQLiteSession):
    """A caller's connection: rows are tuples whatever its row and text factories."""

    def __init__(self, connection: sqlite3.Connection, clock: Clock) -> None:
        super().__init__(_Plain(connection), clock)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Open a transaction that holds the write lock from the start."""
        self._guarded(super().begin)

    def rows(self, statement: str | Template, *params: Any) -> list[Row]:
        """Run a query and return its rows."""
        found: list[Row] = self._guarded(super().rows, statement, *params)
        if self.connection.text_factory is str:
            return found
        return [tuple(_text(value) for value in row) for row in found]

    def run(self, statement: str | Template, *params: Any) -> int:
        """Run a write; return how many rows matched. Raises DuplicateKey."""
        matched: int = self._guarded(super().run, statement, *params)
        return matched

    def run_each(self, name: str, fields: Sequence[str], rows: Sequence[Row], *params: Any) -> int:
        """Run a write in which ``{field}`` differs by row; return how many rows matched."""
        matched: int = self._guarded(super().run_each, name, fields, rows, *params)
        return matched

    def insert_tasks(self, tasks: Sequence[NewTask]) -> list[int]:
        """Insert new tasks; return their ids in order. Raises DuplicateKey."""
        ids: list[int] = self._guarded(super().insert_tasks, tasks)
        return ids

    def _guarded(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except sqlite3.Error as error:
            raise aborted(error) from error


class _Plain:
    """The connection with cursors that return tuples."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.text_factory = connection.text_factory

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        return cursor

    def execute(self, sql: str, params: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self._cursor().execute(sql, params)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> sqlite3.Cursor:
        return self._cursor().executemany(sql, rows)


class _Explicit(Handle):
    """A bare connection; ``commit()`` of one in autocommit mode would do nothing."""

    def commit(self) -> None:
        """Commit."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        self._end("ROLLBACK")

    def _end(self, sql: str) -> None:
        driver = self.driver
        if driver.in_transaction:
            driver.execute(sql)


def _demand_same(session: CallerSession, path: str) -> None:
    (file,) = (row[2] for row in session.rows(_DATABASES) if row[1] == "main")
    try:
        same = bool(file) and Path(file).samefile(path)
    except OSError:
        same = False
    if not same:
        raise InvalidArgument(
            "connection",
            file or ":memory:",
            f"leads to another file than the tasks, which are in {path}: pass a connection to it",
        )


def _autocommits(driver: Any) -> bool:
    """Return whether a write would be committed by itself (Python 3.12 knows two ways)."""
    return driver.isolation_level is None if getattr(driver, "autocommit", -1) == -1 else True


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes | bytearray) else value
