"""Connections of one SQLite file: one writer behind a lock, and a few readers."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import Final

from mqtasks.clock import Clock
from mqtasks.errors import StorageConflict
from mqtasks.storage.sql.dialect import Failure, Session
from mqtasks.storage.sqlite.errors import classify
from mqtasks.storage.sqlite.files import BUSY_TIMEOUT, open_file
from mqtasks.storage.sqlite.session import SQLiteSession

_IDLE_READERS: Final = 8
_STALL: Final = 1.0
"""Seconds of waiting for the write lock after which leases may have lapsed for no other reason."""
_inherited: list[object] = []
"""Connections of a parent process. Closing them here would end the parent's locks, so never."""


class SQLiteDialect:
    """See `Dialect`. Writers of this process queue at a lock, those of others at the file's."""

    errors: tuple[type[BaseException], ...] = (sqlite3.Error,)
    bare_writes = False
    tries = 3

    def __init__(self, path: str, clock: Clock) -> None:
        self.path = path
        self._clock = clock
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._write_lock = threading.Lock()
        self._writer: _Writer | None = None
        self._readers: list[SQLiteSession] = []
        self._closed = False
        self.stalls = 0

    def checkout(self, *, write: bool) -> Session:
        """Lend the writer, once nobody has it, or a reader."""
        if os.getpid() != self._pid:  # forked
            _inherited.append((self._writer, self._readers))
            self._start()
        if write:
            return self._lend_writer()
        try:
            return self._readers.pop()
        except IndexError:
            return SQLiteSession(open_file(self.path, readonly=True), self._clock)

    def give_back(self, session: Session, *, broken: bool) -> None:
        """Take a session back; a broken one is closed."""
        assert isinstance(session, SQLiteSession)  # noqa: S101 - checkout lends nothing else
        if session is self._writer:
            if broken:
                self._writer = None
                session.connection.close()
            self._write_lock.release()
        elif broken or self._closed or len(self._readers) >= _IDLE_READERS:
            session.connection.close()
        else:
            self._readers.append(session)

    def classify(self, error: BaseException) -> Failure:
        """Judge an error of the driver."""
        return classify(error, self.path)

    def close(self) -> None:
        """Write the WAL back into the file and close every connection that is not lent."""
        with self._write_lock:
            self._closed = True
            if self._writer is not None:
                connection = self._writer.connection
                # If it is busy or full, the next process that opens the file does it.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                connection.close()
                self._writer = None
        while self._readers:
            self._readers.pop().connection.close()

    def _lend_writer(self) -> Session:
        asked = self._clock.monotonic()
        if not self._write_lock.acquire(timeout=2 * BUSY_TIMEOUT):
            raise StorageConflict(
                f"SQLite file {self.path}: other threads of this process kept it locked too long"
            )
        try:
            writer = self._writer
            if writer is None:
                writer = self._writer = _Writer(self, open_file(self.path), self._clock)
            writer.asked = asked
            writer.stalled = False
            return writer
        except BaseException:
            self._write_lock.release()
            raise


class _Writer(SQLiteSession):
    """The writing session; it notices when it had to wait long for its locks."""

    def __init__(
        self, dialect: SQLiteDialect, connection: sqlite3.Connection, clock: Clock
    ) -> None:
        super().__init__(connection, clock)
        self._dialect = dialect
        self._clock = clock
        self.asked = 0.0

    def begin(self) -> None:
        """Open a transaction that holds the write lock from the start."""
        super().begin()
        if self._clock.monotonic() - self.asked > _STALL:
            self.stalled = True
            self._dialect.stalls += 1
