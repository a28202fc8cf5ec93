"""Taking part in a transaction on a caller's connection to the same server and schema (P10)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pymysql.connections import Connection
from pymysql.constants import FIELD_TYPE
from pymysql.cursors import Cursor

from mqtasks.clock import Clock
from mqtasks.errors import InvalidArgument, StorageError
from mqtasks.model import NewTask
from mqtasks.storage.caller import Handle, aborted, unwrap
from mqtasks.storage.mysql.errors import DUPLICATE
from mqtasks.storage.mysql.insert import render_tasks
from mqtasks.storage.mysql.seek import LaneMemory
from mqtasks.storage.mysql.session import MySQLSession
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import DuplicateKey
from mqtasks.storage.sql.queries import Template
from mqtasks.storage.sql.rows import Row

_IN_TRANSACTION: Final = 1568  # transaction characteristics cannot be changed now
_TEXTS: Final[frozenset[Any]] = frozenset(
    {FIELD_TYPE.VAR_STRING, FIELD_TYPE.VARCHAR, FIELD_TYPE.STRING}
)


class Place:
    """Which server and schema the storage's own connections lead to. Safe from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Row = ()

    def demand(self, place: Row) -> None:
        """Raise InvalidArgument unless ``place`` is the same, and its tables are transactional."""
        if self._known == place:
            return
        engines: dict[str, str] = {}

        def look(session: Any) -> Row:
            engines.update(session.rows("table_engines"))
            return tuple(session.rows("caller_place")[0][:5])

        # Asked again whenever it differs: the storage may have followed its server elsewhere.
        try:
            mine = self._database.read(look)
        except StorageError as error:
            raise aborted(error) from error
        if mine != place:
            raise InvalidArgument(
                "connection",
                f"{place[4]} on {place[0]}:{place[1]}",
                f"leads to another server or schema than the tasks, which are in {mine[4]} on"
                f" {mine[0]}:{mine[1]}: pass a connection to that one",
            )
        for table, engine in sorted(engines.items()):
            if engine != "InnoDB":
                raise InvalidArgument(
                    "connection",
                    place[4],
                    f"table {table} has engine {engine}, which knows no transactions; run: ALTER"
                    f" TABLE {table} ENGINE=InnoDB",
                )
        self._known = mine


def open_session(
    connection: Any, place: Place, clock: Clock | None, *, begin: bool
) -> tuple[CallerSession, Handle]:
    """Return a session inside the caller's transaction. Raises as `TaskRecords.join` says."""
    handle = unwrap(connection)
    session = CallerSession(handle.driver, _plain_cursor(connection, handle.driver), clock)
    *where, autocommit, packet, step = session.rows("caller_place")[0]
    place.demand(tuple(where))
    session.limit(packet, step)
    if begin and handle.opens:
        handle.begin()
    elif autocommit and not session.in_transaction():
        if not begin:
            raise InvalidArgument(
                "connection",
                type(connection).__name__,
                "is in autocommit mode, and no transaction is open: begin one first, so that the"
                " task and your writes are committed together",
            )
        session.begin()
    return session, handle


class CallerSession(MySQLSession):
    """A caller's connection: nothing is assumed of its flags, cursors and isolation level."""

    # A worker could not end what a caller, who may commit late, has locked.
    judges_parents = False
    # A snapshot may be older than the row that holds a key: only a locking read sees it.
    queries: Mapping[str, Template] = {
        **MySQLSession.queries,
        "known_ids": Template(f"{MySQLSession.queries['known_ids'].text} LOCK IN SHARE MODE"),
    }

    def __init__(self, driver: Any, make_cursor: Callable[[], Any], clock: Clock | None) -> None:
        super().__init__(_Maker(make_cursor), clock, LaneMemory(), 1 << 20, 1)  # type: ignore[arg-type]
        self._driver = driver

    def limit(self, max_packet: int, id_step: int) -> None:
        """Take over what the caller's session says of itself."""
        self._max_packet, self._id_step = max_packet, id_step
        self._most_bytes = min(self._most_bytes, max_packet // 2)

    def in_transaction(self) -> bool:
        """Return whether a transaction is open; no driver and no variable tells it everywhere."""
        try:
            self._cursor.execute("SET TRANSACTION READ WRITE")
        except Exception as error:
            if error.args and error.args[0] == _IN_TRANSACTION:
                return True
            raise aborted(error) from error
        return False

    def begin(self) -> None:
        """Open a transaction."""
        self._write("BEGIN")

    def insert_tasks(self, tasks: Sequence[NewTask]) -> list[int]:
        """Insert new tasks by one statement; return their ids in order. Raises DuplicateKey."""
        default = "DEFAULT" if self._clock is None else self._now()
        listed = render_tasks(tasks, self._now(), default)
        self._write(self._render("insert_tasks", (), {"{rows}": listed}))
        first = int(self._cursor.lastrowid)
        return list(range(first, first + len(tasks) * self._id_step, self._id_step))

    def _write(self, sql: str) -> int:
        self._check_size(sql)
        try:
            self._cursor.execute(sql)
        except Exception as error:
            if error.args and error.args[0] == DUPLICATE:
                raise DuplicateKey(str(error)) from error
            raise aborted(error) from error
        return self._cursor.rowcount

    def _read(self, sql: str) -> list[Row]:
        self._check_size(sql)
        try:
            self._cursor.execute(sql)
            rows = self._cursor.fetchall()
        except Exception as error:
            raise aborted(error) from error
        texts = [column[1] in _TEXTS for column in self._cursor.description]
        return [tuple(map(_value, row, texts)) for row in rows]


class _Maker:
    """What `MySQLSession` needs of a connection."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.cursor = make


def _value(value: Any, text: bool) -> Any:  # noqa: FBT001 - mapped over a row
    return bytes(value).decode() if text and isinstance(value, bytes | bytearray) else value


def _plain_cursor(connection: Any, driver: Any) -> Callable[[], Any]:
    """Return what makes cursors that return tuples, whatever class the caller prefers."""
    if isinstance(driver, Connection):
        return lambda: driver.cursor(Cursor)
    other = sys.modules.get("MySQLdb.connections")
    if other is not None and isinstance(driver, other.Connection):
        plain = sys.modules["MySQLdb.cursors"].Cursor
        return lambda: driver.cursor(plain)
    raise InvalidArgument(
        "connection",
        type(connection).__name__,
        "cannot be joined: pass a connection of PyMySQL or mysqlclient, a SQLAlchemy Connection or"
        " Session or a Django connection over one of them",
    )
