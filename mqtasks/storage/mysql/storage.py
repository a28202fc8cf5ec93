"""The storage in a MySQL or MariaDB database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

from mqtasks.clock import Clock
from mqtasks.debug import framework_disabled
from mqtasks.errors import InvalidArgument, StorageConflict
from mqtasks.storage.contract import Capabilities, JoinedTransaction
from mqtasks.storage.mysql.address import parse_address
from mqtasks.storage.mysql.joined import Place, open_session
from mqtasks.storage.mysql.pool import MySQLPool
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.joined import SqlJoined
from mqtasks.storage.sql.storage import SQLTaskStorage

DEFAULT_POOL_SIZE = 16
_MIGRATION_WAIT = 60  # seconds
_START_JITTER = 2  # seconds by which two readings of the server's start may differ


class MySQLTaskStorage(SQLTaskStorage):
    """Tasks in a MySQL (8.0 or later) or MariaDB (10.6 or later) database.

    Nothing is connected before the first call, and the schema is never changed by itself: run
    ``mqtasks migrate up``. All times are the server's, so the clocks of hosts do not matter. Safe
    to use from many threads; after a fork the child opens connections of its own.

    Args:
        url: ``mysql://user:password@host:3306/database`` (also ``mariadb://``); options as in
            `MySQLAddress`.
        clock: Replaces the server's clock, in tests. None = the server's.
        pool_size: Most connections at once, >= 1; further callers wait.
        heartbeat_timeout: Seconds, >= 1: the server ends a session that is silent for this long,
            and frees its locks, so that a frozen process blocks nobody for longer.

    Raises:
        ConfigError: the URL or an option is wrong.
    """

    def __init__(
        self,
        url: str,
        clock: Clock | None = None,
        *,
        pool_size: int = DEFAULT_POOL_SIZE,
        heartbeat_timeout: float = 15.0,
    ) -> None:
        if pool_size < 1:
            raise InvalidArgument("pool_size", pool_size, "must be >= 1")
        if not heartbeat_timeout >= 1:
            raise InvalidArgument("heartbeat_timeout", heartbeat_timeout, "must be >= 1 second")
        self.address = parse_address(url)
        self._url = url
        self._pool = MySQLPool(self.address, clock, pool_size, int(heartbeat_timeout))
        super().__init__(
            Database(self._pool, self.address.shown),
            Capabilities(
                name="mysql",
                cross_process=True,
                concurrent_writers=True,
                change_counter=False,
                host_clock=False,
            ),
        )
        self._clock = clock
        self._place = Place(self._db)
        self._identity_lock = threading.Lock()
        self._last_identity = ("", 0)

    def __repr__(self) -> str:
        return f"MySQLTaskStorage({self.address.shown!r})"

    @property
    def url(self) -> str:
        """The URL it was made with, password included."""
        return self._url

    def close(self) -> None:
        """Close the connections. Idempotent; later calls raise StorageUnavailable."""
        self._db.close()
        self._pool.close()

    def interrupt(self, thread_id: int) -> bool:
        """Break the connection on which another thread waits; its call raises."""
        return self._pool.interrupt(thread_id)

    def join(self, connection: Any, *, begin: bool = False) -> JoinedTransaction:
        """Take part in a transaction on a connection of the caller's to the same schema."""
        session, handle = open_session(connection, self._place, self._clock, begin=begin)
        return SqlJoined(session, handle, self._note_retentions)

    def server_identity(self) -> str:
        """Return text that changes when another server, or a restarted one, answers."""
        if framework_disabled():
            return ""
        name, port, server_id, seconds, uptime = self._db.read(_server_facts)
        server = f"mysql-{name}-{port}-{server_id}"
        started = seconds - uptime
        with self._identity_lock:
            last_server, last_started = self._last_identity
            if server == last_server and abs(started - last_started) <= _START_JITTER:
                started = last_started
            self._last_identity = (server, started)
        return f"{server}-{started}"

    @contextmanager
    def migrating(self) -> Iterator[Session]:
        """Lend a session that nobody else can migrate beside; each of its statements commits."""
        digest = blake2b(self.address.database.encode(), digest_size=8).hexdigest()
        lock = f"mqtasks_migrate_{digest}"
        try:
            session = self._pool.connect(patient=True)
            try:
                if session.rows("take_named_lock", lock, _MIGRATION_WAIT)[0][0] != 1:
                    raise StorageConflict(
                        f"{self.address.shown}: another `mqtasks migrate` has been running for"
                        f" {_MIGRATION_WAIT} s; wait for it"
                    )
                yield session
            finally:
                session.connection.close()  # frees the named lock
        except self._pool.errors as error:
            raise self._pool.classify(error).error from error


def _server_facts(session: Session) -> tuple[str, int, int, int, int]:
    name, port, server_id, seconds = session.rows("server")[0]
    uptime = int(session.rows("uptime")[0][1])
    return name, port, server_id, seconds, uptime
