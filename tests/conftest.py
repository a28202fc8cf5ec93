"""Fixtures for every test. Servers are started by the first test that asks for one.

================ ======== ===============================================================
fixture          lifetime what it is
================ ======== ===============================================================
mariadb          session  `MariaDBServer`, shared: a test leaves it running
redis_server     session  `RedisServer`, shared: a test leaves it running
own_mariadb      test     `MariaDBServer` of this test alone: to kill, stop and restart
own_redis        test     `RedisServer` of this test alone: to kill, stop and restart
mysql_url        test     storage URL of a MySQL database with the current schema, no rows
empty_mysql_url  test     storage URL of a new MySQL database without any table
sqlite_url       test     storage URL of a new SQLite file with the current schema
empty_sqlite_url test     storage URL of an SQLite file that does not exist yet
redis_url        test     URL of the shared Redis, emptied
================ ======== ===============================================================
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from tests.support.databases import DatabasePool
from tests.support.servers import MariaDBServer, RedisServer, temporary_database

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background jobs so. Programs under test would inherit it and miss Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on how fast the machine is just now.
hypothesis.settings.register_profile("mqtasks", deadline=None)
hypothesis.settings.load_profile("mqtasks")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """The MariaDB shared by the whole run; a test must leave it running."""
    with MariaDBServer.start() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """The Redis shared by the whole run; a test must leave it running."""
    with RedisServer.start() as server:
        yield server


@pytest.fixture
def own_mariadb() -> Iterator[MariaDBServer]:
    """A MariaDB for one test, which may kill, stop and restart it."""
    with MariaDBServer.start() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test, which may kill, stop, flush and restart it."""
    with RedisServer.start() as server:
        yield server


@pytest.fixture
def empty_mysql_url(mariadb: MariaDBServer) -> Iterator[str]:
    """The URL of a new database without any table."""
    with temporary_database(mariadb) as url:
        yield url


@pytest.fixture(scope="session")
def mysql_databases(mariadb: MariaDBServer) -> DatabasePool:
    """The databases with a schema that `mysql_url` lends."""
    from mqtasks.storage import migrate
    from mqtasks.storage.mysql import MySQLTaskStorage

    def install(url: str) -> None:
        with contextlib.closing(MySQLTaskStorage(url)) as storage:
            migrate.up(storage)

    return DatabasePool(mariadb, install)


@pytest.fixture
def mysql_url(mysql_databases: DatabasePool) -> Iterator[str]:
    """The URL of a database with the current schema, without rows."""
    with mysql_databases.lend() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of the shared Redis, emptied, also of what earlier tests left subscribed."""
    url = redis_server.url()
    with redis.Redis.from_url(url) as client:
        client.client_kill_filter(_type="pubsub", skipme=True)
        client.flushall()
    return url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'tasks.db'}"


@pytest.fixture
def sqlite_url(empty_sqlite_url: str) -> str:
    """The URL of a new SQLite file with the current schema."""
    from mqtasks.storage.sqlite import SQLiteTaskStorage

    SQLiteTaskStorage(empty_sqlite_url.removeprefix("sqlite:///")).close()
    return empty_sqlite_url
