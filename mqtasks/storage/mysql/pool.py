"""Connections of one server: opened when needed, checked after a pause, lent to one thread each."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any, Final

import pymysql
from pymysql.constants import CLIENT, FIELD_TYPE
from pymysql.err import Error

from mqtasks.clock import Clock, SystemClock
from mqtasks.errors import ConfigError, StorageUnavailable
from mqtasks.storage.mysql.address import MySQLAddress
from mqtasks.storage.mysql.errors import classify
from mqtasks.storage.mysql.seek import LaneMemory
from mqtasks.storage.mysql.session import MySQLSession
from mqtasks.storage.sql.dialect import Failure, Session

LOCK_WAIT: Final = 2
"""Seconds a statement waits for a row lock (P10)."""
_CHECK_AFTER: Final = 2.0
"""Seconds of rest after which a connection is checked before use."""
_WAIT_FOR_CONNECTION: Final = 10.0
_SQL_MODE: Final = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

# VARBINARY is how keys are stored: they come back as text. BLOBs stay bytes.
_INTEGERS: Final = ("TINY", "SHORT", "LONG", "LONGLONG", "INT24", "NEWDECIMAL")
_CONVERTERS: Final[dict[Any, Any]] = {
    **{getattr(FIELD_TYPE, name): int for name in _INTEGERS},
    FIELD_TYPE.FLOAT: float,
    FIELD_TYPE.DOUBLE: float,
    FIELD_TYPE.VAR_STRING: bytes.decode,
    FIELD_TYPE.VARCHAR: bytes.decode,
}


class MySQLPool:
    """See `Dialect`. The last connection given back is lent first, so that idle ones lapse."""

    errors: tuple[type[BaseException], ...] = (Error, OSError)
    bare_writes = True
    tries = 6

    def __init__(
        self, address: MySQLAddress, clock: Clock | None, size: int, wait_timeout: int
    ) -> None:
        self._address = address
        self._clock = clock
        self._size = size
        self._wait_timeout = wait_timeout
        self._monotonic = SystemClock().monotonic
        self._lanes = LaneMemory()
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._open = 0
        self._waiting = 0
        self._resting: list[tuple[MySQLSession, float]] = []
        self._lent: dict[int, MySQLSession] = {}
        self._closed = False

    def checkout(self, *, write: bool) -> Session:  # noqa: ARG002 - one kind of connection
        """Lend a connection, opening one if none rests. Raises StorageUnavailable or the like."""
        if os.getpid() != self._pid:
            # Forked: the sockets are the parent's. Dropped without a farewell to the server.
            for rested, _ in self._resting:
                rested.abandon()
            self._start()
        session = self._rested()
        if session is None:
            try:
                session = self.connect()
            except BaseException:
                self._shrink()
                raise
        self._lent[threading.get_ident()] = session
        return session

    def give_back(self, session: Session, *, broken: bool) -> None:
        """Take a connection back; a broken one is closed."""
        assert isinstance(session, MySQLSession)  # noqa: S101 - checkout lends nothing else
        self._lent.pop(threading.get_ident(), None)
        if broken or self._closed or session.interrupted:
            session.abandon()
            self._shrink()
            return
        with self._changed:
            self._resting.append((session, self._monotonic()))
            if self._waiting:
                self._changed.notify()

    def classify(self, error: BaseException) -> Failure:
        """Judge a driver error."""
        return classify(error, self._address.shown)

    def interrupt(self, thread_id: int) -> bool:
        """Break the connection on which another thread waits; see `TaskRecords.interrupt`."""
        session = self._lent.get(thread_id)
        if session is None:
            return False
        session.interrupted = True
        with contextlib.suppress(OSError, AttributeError):  # it has just been closed
            session.socket.shutdown(socket.SHUT_RDWR)
        return True

    def close(self) -> None:
        """Close every connection that rests; those lent close when they come back."""
        self._closed = True
        with self._changed:
            resting, self._resting = self._resting, []
        for session, _ in resting:
            with contextlib.suppress(*self.errors):
                session.connection.close()

    def connect(self, *, patient: bool = False) -> MySQLSession:
        """Open a connection outside of the pool; a ``patient`` one waits for any long statement."""
        arguments = self._address.arguments()
        if patient:
            arguments["read_timeout"] = None
        try:
            connection = pymysql.connect(
                **arguments,
                charset="utf8mb4",
                use_unicode=False,
                conv=_CONVERTERS,
                client_flag=CLIENT.FOUND_ROWS,
                autocommit=True,
            )
        except RuntimeError as error:  # the driver lacks the package for this kind of login
            raise ConfigError(
                f"{self._address.shown}: {error}; or encrypt the connection with ?ssl=require"
            ) from error
        try:
            return self._prepared(connection)
        except BaseException:
            connection.close()
            raise

    def _prepared(self, connection: Any) -> MySQLSession:
        settings = (
            f"SET SESSION wait_timeout = {self._wait_timeout},"
            f" innodb_lock_wait_timeout = {LOCK_WAIT}, sql_mode = '{_SQL_MODE}'"
        )
        if "MariaDB" in connection.get_server_info():
            # A list of 1,000 ids must stay a list: as a subquery it loses the order of its locks.
            settings += ", in_predicate_conversion_threshold = 0"
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            cursor.execute(settings)
            cursor.execute("SELECT @@max_allowed_packet, @@auto_increment_increment")
            max_packet, id_step = cursor.fetchone()
        return MySQLSession(connection, self._clock, self._lanes, max_packet, id_step)

    def _rested(self) -> MySQLSession | None:
        """Return a connection that rests and still works, or None: the caller may open one."""
        while True:
            with self._changed:
                if not self._resting and self._open < self._size:
                    self._open += 1
                    return None
                if not self._resting:
                    self._wait_for_one()
                    continue
                session, since = self._resting.pop()
            rest = self._monotonic() - since
            if rest < _CHECK_AFTER:
                return session
            try:
                if rest < self._wait_timeout:
                    session.connection.ping(reconnect=False)
                    return session
            except self.errors:
                pass  # closed by the server or the network meanwhile
            session.abandon()
            self._shrink()

    def _wait_for_one(self) -> None:
        self._waiting += 1
        try:
            if not self._changed.wait(_WAIT_FOR_CONNECTION):
                raise StorageUnavailable(
                    f"{self._address.shown}: all {self._size} connections were busy for"
                    f" {_WAIT_FOR_CONNECTION:.0f} s; raise pool_size"
                )
        finally:
            self._waiting -= 1

    def _shrink(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()
