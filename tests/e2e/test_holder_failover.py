"""The database's address changes under load; nothing accepted is lost (P10, G1)."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import pytest

from mqtasks.errors import StorageError
from mqtasks.holder import CreateTaskService, TaskServiceHolder
from mqtasks.model import TaskMetadata
from mqtasks.storage import migrate
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.support.servers import MariaDBServer
from tests.support.site import eventually


@pytest.mark.timeout(120)
def test_p10_a_holder_follows_the_database_to_its_new_address(own_mariadb: MariaDBServer) -> None:
    url = own_mariadb.create_database("failover")
    with MySQLTaskStorage(url) as storage:
        migrate.up(storage)
    parts = urlsplit(url)
    address = [f"{parts.hostname}:{parts.port}"]
    holder = TaskServiceHolder(lambda: address[0])
    assert holder.get() is None
    holder.create(CreateTaskService(parts.username or "", parts.password or "", "failover"))
    service = holder.get()
    assert service is not None
    accepted: list[str] = []
    moved, done = threading.Event(), threading.Event()
    failures: list[StorageError] = []

    def produce(producer: int) -> None:
        after = 0
        for number in range(100_000):
            name = f"{producer}-{number}"
            while True:
                try:
                    service.create(TaskMetadata(name, 1))
                    break
                except StorageError as error:  # what a producer does: try the same id again
                    failures.append(error)
                    done.wait(0.05)
            accepted.append(name)
            after += moved.is_set()
            if after > 200:
                return

    producers = [threading.Thread(target=produce, args=(n,)) for n in range(4)]
    for thread in producers:
        thread.start()
    eventually(lambda: len(accepted) > 400, 30, "load")
    own_mariadb.kill()
    with MariaDBServer.start(datadir=own_mariadb.datadir) as second:
        new = urlsplit(second.url("failover"))
        assert (new.hostname, new.port) != (parts.hostname, parts.port)
        address[0] = f"{new.hostname}:{new.port}"
        moved.set()
        for thread in producers:
            thread.join(60)
        assert not any(thread.is_alive() for thread in producers)

        stored = {task.metadata.id for task in service.query_task()}

        assert set(accepted) <= stored
        assert len(stored) == len(set(accepted))
        assert failures, "the kill came under load"
        holder.close()
        holder.close()
        assert holder.get() is None
