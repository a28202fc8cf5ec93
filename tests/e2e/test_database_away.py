"""The database is killed under load and comes back on the same data (G1, G10, P4, P14)."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mqtasks.model import TaskStatus
from mqtasks.storage import migrate
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.servers import MariaDBServer
from tests.support.site import eventually, open_site


@pytest.mark.timeout(120)
def test_p14_an_outage_longer_than_the_lease_loses_nothing_and_charges_nobody(
    tmp_path: Path, own_mariadb: MariaDBServer, redis_url: str
) -> None:
    url = own_mariadb.create_database("outage")
    with MySQLTaskStorage(url) as storage:
        migrate.up(storage)
    settings = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}
    with open_site(tmp_path, url, redis_url, **settings) as site, shop.at(url, redis_url):
        site.scheduler()
        site.worker("left", "--parallelism", "4")
        site.worker("right", "--parallelism", "4")
        handles = shop.double.enqueue_many([(n,) for n in range(500)])
        long = shop.patient.enqueue(3.0, "long")
        eventually(lambda: traces(tmp_path, "patient"), 20, "the long task starts")
        handles += shop.double.enqueue_many([(n,) for n in range(500, 2000)])

        own_mariadb.kill()
        threading.Event().wait(6)
        own_mariadb.restart()

        assert [handle.result(60) for handle in handles] == [2 * n for n in range(2000)]
        assert long.result(60).startswith("long in epoch")
        tasks = shop.app.service.query_task()
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert {(task.attempt, task.crashes) for task in tasks} == {(0, 0)}
