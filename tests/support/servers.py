"""Private servers for tests: the package's own, and the databases made on them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

from mqtasks.process.private import ServerFailed, free_port
from mqtasks.process.servers import MariaDBServer, RedisServer

__all__ = [
    "MariaDBServer",
    "RedisServer",
    "ServerFailed",
    "drop_database",
    "free_port",
    "temporary_database",
]

_numbers = itertools.count(1)


@contextlib.contextmanager
def temporary_database(server: MariaDBServer) -> Iterator[str]:
    """Yield the URL of a new, empty database of its own; drop it afterwards."""
    name = f"test_{next(_numbers)}"
    yield server.create_database(name)
    if not server.running:
        server.restart()
    drop_database(server, name)


def drop_database(server: MariaDBServer, name: str) -> None:
    """Drop a database and whatever connections a test left open on it.

    They are killed first: one open transaction would block the DROP for ever.
    """
    with contextlib.closing(server.client()) as client, client.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
        for (thread_id,) in cursor.fetchall():
            with contextlib.suppress(client.OperationalError):  # it has just ended by itself
                cursor.execute("KILL CONNECTION %s", (thread_id,))
        cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
