"""MySQL databases with a schema, used again by the next test if the last one left no trace."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.servers import MariaDBServer, drop_database

# By table: its definition and its rows.
Contents = dict[str, tuple[str, tuple[Any, ...]]]

# Shared by all pools: several may lend databases of one server.
_numbers = itertools.count(1)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")


class DatabasePool:
    """Lends databases to which `install(url)` has given their tables.

    Emptying one is several times faster than making one. But it is lent again only if nobody is
    connected any more and its tables are as they were made; otherwise it is dropped.
    """

    def __init__(self, server: MariaDBServer, install: Callable[[str], None]) -> None:
        self._server = server
        self._install = install
        self._free: list[str] = []
        self._fresh: dict[str, Contents] = {}

    @contextlib.contextmanager
    def lend(self) -> Iterator[str]:
        """Yield the URL of a database as `install` leaves it, counters included."""
        name = self._free.pop() if self._free else self._make()
        try:
            yield self._server.url(name)
        finally:
            self._take_back(name)

    def _make(self) -> str:
        name = f"pooled_{next(_numbers)}"
        self._install(self._server.create_database(name))
        with contextlib.closing(self._server.client(name)) as client, client.cursor() as cursor:
            self._fresh[name] = _contents(cursor, name)
        return name

    def _take_back(self, name: str) -> None:
        if not self._server.running:
            self._server.restart()
        with contextlib.closing(self._server.client()) as client, client.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s", (name,)
            )
            if cursor.fetchone() == (0,):
                fresh = self._fresh[name]
                cursor.execute(f"USE `{name}`")
                _truncate(cursor, name, keep={table for table, (_, rows) in fresh.items() if rows})
                if _contents(cursor, name) == fresh:
                    self._free.append(name)
                    return
        drop_database(self._server, name)


def _truncate(cursor: Any, name: str, keep: set[str]) -> None:
    """Empty the tables that were written to, and start their counters again."""
    cursor.execute(
        "SELECT table_name, auto_increment FROM information_schema.tables WHERE table_schema = %s",
        (name,),
    )
    for table, counter in cursor.fetchall():
        cursor.execute(f"SELECT EXISTS (SELECT 1 FROM `{table}`)")
        if table not in keep and (counter not in {None, 1} or cursor.fetchone() == (1,)):
            cursor.execute(f"TRUNCATE TABLE `{table}`")


def _contents(cursor: Any, name: str) -> Contents:
    """Return definition and rows of each table."""
    cursor.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (name,)
    )
    contents: Contents = {}
    for (table,) in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TABLE `{table}`")
        definition = _COUNTER.sub("", cursor.fetchone()[1])
        cursor.execute(f"SELECT * FROM `{table}`")
        contents[table] = (definition, cursor.fetchall())
    return contents
