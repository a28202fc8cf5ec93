"""One MySQL connection as a session: statements rendered whole, one round trip each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from socket import socket
from typing import Any, Final

from pymysql.connections import Connection
from pymysql.cursors import Cursor
from pymysql.err import IntegrityError

from mqtasks.clock import Clock
from mqtasks.errors import InvalidArgument
from mqtasks.model import AsyncTask, NewTask
from mqtasks.storage.mysql.errors import DUPLICATE
from mqtasks.storage.mysql.insert import render_tasks
from mqtasks.storage.mysql.packed import PACKED_COLUMNS, unpack_tasks
from mqtasks.storage.mysql.render import by_key, integers, literal, weight
from mqtasks.storage.mysql.seek import ENTRIES, LaneMemory, find_lanes
from mqtasks.storage.sql.dialect import BATCH, DuplicateKey, Session
from mqtasks.storage.sql.queries import Template, load_queries
from mqtasks.storage.sql.rows import Row

SERVER_NOW: Final = "(TIMESTAMPDIFF(MICROSECOND,'1970-01-01',UTC_TIMESTAMP(3)) DIV 1000)"
"""Unix milliseconds of the server, whatever the session's time zone (P11)."""
_MOST_ROWS: Final = 10_000
_MOST_BYTES: Final = 4_000_000
_PARAM: Final = "?"
_NOW: Final = "{now}"
_IN: Final = "{in}"


class MySQLSession(Session):
    """A connection in autocommit mode; transactions are explicit."""

    queries: Mapping[str, Template] = load_queries("mysql", PACKED_COLUMNS)
    row_lock = " FOR UPDATE"

    def __init__(
        self,
        connection: Connection[Cursor],
        clock: Clock | None,
        lanes: LaneMemory,
        max_packet: int,
        id_step: int,
    ) -> None:
        self.connection = connection
        self._cursor = connection.cursor()
        self._clock = clock
        self._lanes = lanes
        self._max_packet = max_packet
        self._id_step = id_step
        self._most_bytes = min(_MOST_BYTES, max_packet // 2)
        self._in_transaction = False

    # -- transactions --------------------------------------------------------------------------

    def begin(self) -> None:
        """Open a transaction."""
        self.connection.query("BEGIN")
        self._in_transaction = True

    def commit(self) -> None:
        """Commit it."""
        self._in_transaction = False
        self.connection.query("COMMIT")

    def rollback(self) -> None:
        """Roll it back, if one is open."""
        if self._in_transaction:
            self._in_transaction = False
            self.connection.query("ROLLBACK")

    # -- statements ----------------------------------------------------------------------------

    def run(self, statement: str | Template, *params: Any) -> int:
        """Run a write; return how many rows matched. Raises DuplicateKey."""
        return self._write(self._render(statement, params))

    def rows(self, statement: str | Template, *params: Any) -> list[Row]:
        """Run a query and return its rows."""
        return self._read(self._render(statement, params))

    def run_in(self, name: str, values: Sequence[int], *params: Any) -> int:
        """Run a write over ``{in}``, in chunks; return how many rows matched."""
        matched = 0
        for start in range(0, len(values), BATCH):
            listed = {_IN: integers(values[start : start + BATCH])}
            matched += self._write(self._render(name, params, listed))
        return matched

    def rows_in(self, name: str, values: Sequence[int] | Sequence[str], *params: Any) -> list[Row]:
        """Run a query over ``{in}``, in chunks; return the rows of all."""
        found: list[Row] = []
        for start in range(0, len(values), _MOST_ROWS):
            chunk: Sequence[Any] = values[start : start + _MOST_ROWS]
            texts = isinstance(chunk[0], str)
            listed = ",".join(map(literal, chunk)) if texts else integers(chunk)
            found += self._read(self._render(name, params, {_IN: listed}))
        return found

    def run_each(self, name: str, fields: Sequence[str], rows: Sequence[Row], *params: Any) -> int:
        """Run a write in which ``{field}`` differs by row; return how many rows matched."""
        matched = 0
        for chunk in self._chunks(rows):
            columns = list(zip(*chunk, strict=True))
            keys = columns[0]
            parts = {
                f"{{{field}}}": by_key(fields[0], keys, column)
                for field, column in zip(fields[1:], columns[1:], strict=True)
            }
            parts[f"{{{fields[0]}}}"] = integers(keys)
            matched += self._write(self._render(name, params, parts))
        return matched

    def insert_records(self, rows: Sequence[Row]) -> int:
        """Insert the first of these whole rows; return how many. Raises DuplicateKey."""
        chunk = next(self._chunks(rows))
        listed = ",".join([f"({','.join(map(literal, row))})" for row in chunk])
        self._write(self._render("insert_records", (), {"{rows}": listed}))
        return len(chunk)

    def insert_tasks(self, tasks: Sequence[NewTask]) -> list[int]:
        """Insert new tasks by one statement; return their ids in order. Raises DuplicateKey."""
        default = "DEFAULT" if self._clock is None else self._now()
        listed = render_tasks(tasks, self._now(), default)
        self._write(self._render("insert_tasks", (), {"{rows}": listed}))
        # The rows of one INSERT get consecutive numbers in every innodb_autoinc_lock_mode.
        first: int = self.connection.insert_id()  # type: ignore[no-untyped-call]
        return list(range(first, first + len(tasks) * self._id_step, self._id_step))

    def insert_batch(self, tasks: Sequence[NewTask], start: int) -> int:
        """Return the index behind the last task that one `insert_tasks` from ``start`` takes."""
        end = min(len(tasks), start + _MOST_ROWS)
        room = self._most_bytes // 2
        for index in range(start, end):
            metadata = tasks[index].metadata
            room -= len(metadata.context) + len(metadata.id) + 128
            if room < 0 and index > start:
                return index
        return end

    def tasks(self, statement: str | Template, *params: Any) -> list[AsyncTask]:
        """Run a query for ``{task_columns}``; return the records."""
        return unpack_tasks(self.rows(statement, *params))

    def tasks_in(
        self, name: str, values: Sequence[int] | Sequence[str], *params: Any
    ) -> list[AsyncTask]:
        """Run a query for ``{task_columns}`` over ``{in}``; return the records."""
        return unpack_tasks(self.rows_in(name, values, *params))

    def lanes(self, after: int, limit: int) -> list[int]:
        """Return up to ``limit`` lanes > ``after`` that hold CREATED rows; one seek for each."""
        return find_lanes(self._seek, self._lanes, after, limit, self._entries)

    @property
    def socket(self) -> socket:
        """The connection's socket; the driver has no public name for it."""
        found: socket = self.connection._sock  # type: ignore[attr-defined]  # noqa: SLF001
        return found

    def abandon(self) -> None:
        """Close the connection without a word to the server; it may be a parent process's."""
        self.connection._force_close()  # type: ignore[attr-defined]  # noqa: SLF001

    # -- private -------------------------------------------------------------------------------

    def _seek(self, ranges: Sequence[tuple[int, int]]) -> list[Row]:
        seeks = [self._render("lanes", (at, *bounds)) for at, bounds in enumerate(ranges)]
        return self._read(" UNION ALL ".join(seeks))

    def _entries(self, after: int) -> list[int]:
        return [row[0] for row in self.rows("lane_entries", after, ENTRIES)]

    def _now(self) -> str:
        return SERVER_NOW if self._clock is None else str(self._clock.now_ms())

    def _render(
        self,
        statement: str | Template,
        params: Sequence[Any],
        parts: Mapping[str, str] | None = None,
    ) -> str:
        if isinstance(statement, str):
            statement = self.queries[statement]
        tokens = statement.parts
        if len(tokens) == 1:
            return tokens[0]
        pieces = list(tokens)
        given = iter(params)
        now = self._now()
        for at in range(1, len(pieces), 2):
            token = pieces[at]
            if token == _PARAM:
                pieces[at] = literal(next(given))
            elif token == _NOW:
                pieces[at] = now
            elif parts is not None:
                pieces[at] = parts[token]
        return "".join(pieces)

    def _write(self, sql: str) -> int:
        self._check_size(sql)
        try:
            return self.connection.query(sql)
        except IntegrityError as error:
            if error.args[0] == DUPLICATE:
                raise DuplicateKey(str(error.args[1])) from error
            raise

    def _read(self, sql: str) -> list[Row]:
        self._check_size(sql)
        self._cursor.execute(sql)
        return list(self._cursor.fetchall())

    def _check_size(self, sql: str) -> None:
        if len(sql) >= self._max_packet:
            raise InvalidArgument(
                "statement",
                f"{len(sql)} bytes",
                f"is larger than the server takes (max_allowed_packet is {self._max_packet}):"
                " store large data elsewhere and pass a reference, or raise max_allowed_packet",
            )

    def _chunks(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Cut rows so that each chunk makes one statement of a size the server likes."""
        start = 0
        size = 0
        for index, row in enumerate(rows):
            size += weight(row)
            if index > start and (size > self._most_bytes or index - start >= BATCH):
                yield rows[start:index]
                start, size = index, weight(row)
        if start < len(rows):
            yield rows[start:]
