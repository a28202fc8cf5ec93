"""The storage in one SQLite file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mqtasks.clock import Clock, SystemClock
from mqtasks.errors import SchemaMismatch, StorageUnavailable
from mqtasks.model import TaskOptions
from mqtasks.storage import migrate
from mqtasks.storage.contract import Capabilities, JoinedTransaction
from mqtasks.storage.sql.base import note_retentions
from mqtasks.storage.sql.database import Database
from mqtasks.storage.sql.dialect import Session
from mqtasks.storage.sql.joined import SqlJoined
from mqtasks.storage.sql.storage import SQLTaskStorage
from mqtasks.storage.sqlite.dialect import SQLiteDialect
from mqtasks.storage.sqlite.errors import classify
from mqtasks.storage.sqlite.files import checked_path, is_absent, open_file
from mqtasks.storage.sqlite.joined import open_session


class SQLiteTaskStorage(SQLTaskStorage):
    """Tasks in one SQLite file, for any number of processes on one host.

    The file is created, and brought to this release's schema, when the storage is made, unless
    ``create`` is False. Commits are durable (WAL, ``synchronous=FULL``). Safe to use from many
    threads. Do not use a storage that was made before a fork; make one in the child.

    Args:
        path: The file; its folder must exist, on a local disk.
        clock: Gives the times of all records; None = the host's clock.
        create: Whether to create the file and to update its schema. Without, a file that does not
            exist counts as one without a schema (SchemaMismatch at first use).

    Raises:
        ConfigError: the path cannot hold a shared database, or the file is something else.
        StorageUnavailable: the file cannot be opened or written.
        SchemaMismatch: a later release of mqtasks has changed its schema.
    """

    def __init__(
        self, path: str | Path, clock: Clock | None = None, *, create: bool = True
    ) -> None:
        self.path = checked_path(path)
        self._clock = clock or SystemClock()
        self._dialect = SQLiteDialect(self.path, self._clock)
        super().__init__(
            Database(self._dialect, f"SQLite file {self.path}"),
            Capabilities(
                name="sqlite",
                cross_process=True,
                concurrent_writers=False,
                change_counter=True,
                host_clock=True,
            ),
        )
        self._watcher: sqlite3.Connection | None = None
        self._watching = threading.Lock()
        self._is_closed = False
        if create:
            migrate.up(self)

    def __repr__(self) -> str:
        return f"SQLiteTaskStorage({self.path!r})"

    @property
    def url(self) -> str:
        """A URL of the file, wherever the process that opens it works."""
        return f"sqlite:///{quote(str(Path(self.path).absolute()))}"

    def close(self) -> None:
        """Write the WAL back and close the file. Idempotent; later calls raise."""
        self._db.close()
        self._dialect.close()
        with self._watching:
            self._is_closed = True
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None

    def check_schema(self) -> None:
        """Raise SchemaMismatch, with the command to run, unless the schema is the known one."""
        if is_absent(self.path):
            raise SchemaMismatch(f"SQLite file {self.path} does not exist; run: mqtasks migrate up")
        super().check_schema()

    def join(self, connection: Any, *, begin: bool = False) -> JoinedTransaction:
        """Take part in a transaction on a connection of the caller's to the same file."""
        session, handle = open_session(connection, self.path, self._clock, begin=begin)

        def note(options: Iterable[TaskOptions]) -> None:
            # In the caller's transaction, which holds the write lock; so not yet certain.
            note_retentions(session, self._new_retentions(options))

        return SqlJoined(session, handle, note)

    def server_identity(self) -> str:
        """Return text that changes when the file is another one, or was locked for long.

        Whoever judges leases starts to observe anew then: while a frozen process held the lock,
        nobody could renew (P13).
        """
        try:
            status = Path(self.path).stat()
        except OSError as error:
            raise StorageUnavailable(f"SQLite file {self.path}: {error}") from error
        return f"sqlite-{status.st_dev}-{status.st_ino}-{self._dialect.stalls}"

    def change_count(self) -> int:
        """Return a number that changes whenever anybody commits; microseconds (P13)."""
        with self._watching:
            if self._is_closed:
                raise StorageUnavailable(f"SQLite file {self.path} was closed; make a new storage")
            try:
                if self._watcher is None:
                    # A connection that never writes sees the commits of all others.
                    self._watcher = open_file(self.path, readonly=True)
                count: int = self._watcher.execute("PRAGMA data_version").fetchone()[0]
            except sqlite3.Error as error:
                raise classify(error, self.path).error from error
            return count

    @contextmanager
    def migrating(self) -> Iterator[Session]:
        """Lend a session that nobody else can migrate beside; its work is one transaction."""
        session = self._dialect.checkout(write=True)
        broken = True
        try:
            session.begin()
            yield session
            session.commit()
            broken = False
        except sqlite3.Error as error:
            raise classify(error, self.path).error from error
        finally:
            self._dialect.give_back(session, broken=broken)
