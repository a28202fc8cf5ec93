"""The storages that the conformance suite runs over, each empty, on a clock set by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from mqtasks.clock import Clock, ManualClock
from mqtasks.storage.contract import TaskStorage
from tests.support.backends import BACKENDS, MAKERS
from tests.support.servers import MariaDBServer, temporary_database
from tests.support.stage import Stage

Opener = Callable[[Clock | None], TaskStorage]


@pytest.fixture(scope="session")
def shared_mysql_url(mariadb: MariaDBServer) -> Iterator[str]:
    """A database with the current schema, whose rows belong to one test at a time."""
    from mqtasks.storage import migrate
    from mqtasks.storage.mysql import MySQLTaskStorage

    with temporary_database(mariadb) as url:
        with contextlib.closing(MySQLTaskStorage(url)) as storage:
            migrate.up(storage)
        yield url


@pytest.fixture
def clock() -> ManualClock:
    """The clock of the storage under test, unix ms 1,700,000,000,000 at first."""
    return ManualClock()


@pytest.fixture(params=BACKENDS)
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """A function that opens the test's database; it may be opened several times."""
    backend = MAKERS[request.param](request)
    with contextlib.ExitStack() as opened:
        yield lambda clock: opened.enter_context(contextlib.closing(backend.open(clock)))


@pytest.fixture
def storage(opener: Opener, clock: ManualClock) -> TaskStorage:
    """An empty storage that tells the time of `clock`."""
    return opener(clock)


@pytest.fixture
def stage(storage: TaskStorage, clock: ManualClock) -> Stage:
    """The storage with short-hands."""
    return Stage(storage, clock)
