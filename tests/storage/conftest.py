"""The storages that the conformance suite runs over, each empty, on a clock set by hand."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator

import pytest

from mqtasks.clock import Clock, ManualClock
from mqtasks.storage.contract import TaskStorage
from mqtasks.storage.memory import MemoryTaskStorage
from tests.support.servers import MariaDBServer, temporary_database
from tests.support.stage import Stage

Opener = Callable[[Clock | None], TaskStorage]
"""Opens the one database of a test; again and again for the same rows, if it is shared."""


def _available(name: str) -> bool:
    spec = importlib.util.find_spec(f"mqtasks.storage.{name}")
    return spec is not None and spec.origin is not None


BACKENDS = ["memory", *(name for name in ("sqlite", "mysql") if _available(name))]


@pytest.fixture(scope="session")
def shared_mysql_url(mariadb: MariaDBServer) -> Iterator[str]:
    """A database with the current schema; its tables are emptied before each test."""
    from mqtasks.storage import migrate
    from mqtasks.storage.mysql import MySQLTaskStorage

    with temporary_database(mariadb) as url:
        with contextlib.closing(MySQLTaskStorage(url)) as storage:
            migrate.up(storage)
        yield url


def _open_memory(request: pytest.FixtureRequest) -> Opener:
    made: list[TaskStorage] = []

    def open_one(clock: Clock | None) -> TaskStorage:
        if not made:
            made.append(MemoryTaskStorage(clock))
        return made[0]

    return open_one


def _open_sqlite(request: pytest.FixtureRequest) -> Opener:
    from mqtasks.storage.sqlite import SQLiteTaskStorage

    path = request.getfixturevalue("tmp_path") / "tasks.db"
    return lambda clock: SQLiteTaskStorage(path, clock=clock)


def _open_mysql(request: pytest.FixtureRequest) -> Opener:
    from mqtasks.storage.mysql import MySQLTaskStorage

    url = request.getfixturevalue("shared_mysql_url")
    server: MariaDBServer = request.getfixturevalue("mariadb")
    _empty_tables(server, url.rsplit("/", 1)[1])
    return lambda clock: MySQLTaskStorage(url, clock=clock)


def _empty_tables(server: MariaDBServer, database: str) -> None:
    with contextlib.closing(server.client()) as client, client.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
            " AND table_name NOT LIKE '%%migration%%'",
            (database,),
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f"DELETE FROM `{database}`.`{table}`")
        client.commit()


OPENERS: dict[str, Callable[[pytest.FixtureRequest], Opener]] = {
    "memory": _open_memory,
    "sqlite": _open_sqlite,
    "mysql": _open_mysql,
}


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the storage under test, unix ms 1,700,000,000,000 at first."""
    return ManualClock()


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """A function that opens the test's database; it may be opened several times."""
    open_one = OPENERS[request.param](request)
    with contextlib.ExitStack() as opened:
        yield lambda clock: opened.enter_context(contextlib.closing(open_one(clock)))


@pytest.fixture
def storage(opener: Opener, clock: ManualClock) -> TaskStorage:
    """An empty storage that tells the time of `clock`."""
    return opener(clock)


@pytest.fixture
def stage(storage: TaskStorage, clock: ManualClock) -> Stage:
    """The storage with short-hands."""
    return Stage(storage, clock)
