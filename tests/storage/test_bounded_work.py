"""What a pass of the allocator reads does not depend on how many rows there are (M14).

The full size, 1,000,000 ended and 100,000 queued rows, is run with ``MQTASKS_TEST_LONG=1``.
"""

from __future__ import annotations

import contextlib
import os

import pytest

from mqtasks.model import SUCCESS, RunnerRecord, TaskMetadata
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.service import TaskService
from mqtasks.storage import migrate
from mqtasks.storage.contract import Completion
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.support.servers import MariaDBServer, temporary_database

LONG = os.environ.get("MQTASKS_TEST_LONG") == "1"
ENDED, QUEUED = (1_000_000, 100_000) if LONG else (8_000, 4_000)
ROOM = 100


class Fleet:
    """A leader and one runner over a table, and what the server reads for a pass."""

    def __init__(self, server: MariaDBServer, url: str) -> None:
        storage = MySQLTaskStorage(url)
        migrate.up(storage)
        self.database = url.rsplit("/", 1)[1]
        self.server = server
        self.service = TaskService(storage)
        self.storage = storage
        record = RunnerRecord(
            id="r", holder="h", executors=("work",), parallelism=ROOM, max_wait_tasks=0
        )
        storage.register_runner(record, 10**9, 3)
        self.scheduler = Scheduler(self.service, SchedulerOptions(leader_ttl=3600.0))
        self.scheduler.parts.election.run_once()

    def multiply(self, queued: int, ended: int) -> None:
        """Copy rows until there are so many."""
        with (
            contextlib.closing(self.server.client(self.database)) as client,
            client.cursor() as cursor,
        ):
            cursor.execute("SHOW COLUMNS FROM mqtasks_task")
            names = [row[0] for row in cursor.fetchall()]
            kept = ", ".join(n for n in names if n not in {"task_id", "metadata_id"})
            for status, wanted in ((0, queued), (2, ended)):
                where = f"FROM mqtasks_task WHERE status = {status}"
                while True:
                    cursor.execute(f"SELECT COUNT(*) {where}")
                    (count,) = cursor.fetchone() or (0,)
                    if count >= wanted:
                        break
                    cursor.execute(
                        f"INSERT INTO mqtasks_task (metadata_id, {kept})"
                        f" SELECT UUID(), {kept} {where} LIMIT {wanted - count}"
                    )
                    client.commit()
            cursor.execute("ANALYZE TABLE mqtasks_task")

    def reads(self) -> int:
        with (
            contextlib.closing(self.server.client(self.database)) as client,
            client.cursor() as cursor,
        ):
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Handler_read%'")
            return sum(int(row[1]) for row in cursor.fetchall())

    def cost(self) -> int:
        """Return how many rows and index entries a pass that fills all slots reads."""
        self.scheduler.parts.allocator.capacity.expire()
        before = self.reads()
        base = self.reads() - before  # of asking itself
        self.scheduler.parts.allocate()
        cost = self.reads() - before - 2 * base
        owned = self.storage.owned("r", 1)
        assert len(owned) == ROOM
        ended = [Completion(item.task_id, item.epoch, SUCCESS) for item in owned]
        self.storage.complete_many("r", ended)
        return cost


@pytest.mark.timeout(900 if LONG else 60)
def test_m14_a_pass_reads_what_it_gives_whatever_there_is_besides(mariadb: MariaDBServer):
    with temporary_database(mariadb) as url:
        fleet = Fleet(mariadb, url)
        with fleet.service:
            fleet.service.create_batch([TaskMetadata(f"t{n}", "work") for n in range(1_000)])
            fleet.cost()  # whatever is read once in the life of a process
            small = min(fleet.cost() for _ in range(3))
            fleet.multiply(QUEUED, ENDED)
            large = min(fleet.cost() for _ in range(3))
    assert small >= ROOM
    assert large <= 1.2 * small + 20, f"{small} reads, {large} among {ENDED + QUEUED:,} rows"
