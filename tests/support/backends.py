"""The storages that tests run over: how each is opened, again and again, and emptied."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
from collections.abc import Callable
from typing import Protocol

import pytest

from mqtasks.clock import Clock
from mqtasks.storage.contract import TaskStorage
from mqtasks.storage.memory import MemoryTaskStorage
from tests.support.servers import MariaDBServer

# A driver that is not installed leaves its storage out; nothing else does.
BACKENDS = tuple(
    name
    for name in ("memory", "sqlite", "mysql")
    if getattr(importlib.util.find_spec(f"mqtasks.storage.{name}"), "origin", None)
)
SQL_BACKENDS = BACKENDS[1:]


class Backend(Protocol):
    """One database. Made with the request of the test that uses it."""

    def open(self, clock: Clock | None) -> TaskStorage:
        """Open it; all storages opened until `empty` share their rows."""
        ...

    def empty(self) -> None:
        """Forget all rows."""
        ...


class MemoryBackend:
    """One process; every opener gets the same object."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._made: list[TaskStorage] = []

    def open(self, clock: Clock | None) -> TaskStorage:
        if not self._made:
            self._made.append(MemoryTaskStorage(clock))
        return self._made[0]

    def empty(self) -> None:
        self._made.clear()


class SQLiteBackend:
    """A file in the test's folder; a new one after each `empty`."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._folder = request.getfixturevalue("tmp_path")
        self._numbers = itertools.count(1)
        self.empty()

    def open(self, clock: Clock | None) -> TaskStorage:
        from mqtasks.storage.sqlite import SQLiteTaskStorage

        return SQLiteTaskStorage(self._path, clock=clock)

    def empty(self) -> None:
        self._path = self._folder / f"tasks {next(self._numbers)}.db"


class MySQLBackend:
    """The session's database: making one takes longer than most tests."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._url: str = request.getfixturevalue("shared_mysql_url")
        self._server: MariaDBServer = request.getfixturevalue("mariadb")
        self.empty()

    def open(self, clock: Clock | None) -> TaskStorage:
        from mqtasks.storage.mysql import MySQLTaskStorage

        return MySQLTaskStorage(self._url, clock=clock)

    def empty(self) -> None:
        database = self._url.rsplit("/", 1)[1]
        with contextlib.closing(self._server.client()) as client, client.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
                " AND table_name NOT LIKE '%%schema%%'",
                (database,),
            )
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM `{database}`.`{table}`")
            client.commit()


MAKERS: dict[str, Callable[[pytest.FixtureRequest], Backend]] = {
    "memory": MemoryBackend,
    "sqlite": SQLiteBackend,
    "mysql": MySQLBackend,
}
