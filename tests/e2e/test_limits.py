"""Limits and pauses while processes die and are restarted (S2, S4).

More crashes and drains are made with ``MQTASKS_TEST_LONG=1``.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from mqtasks.model import TaskStatus
from mqtasks.storage import migrate
from mqtasks.storage.mysql import MySQLTaskStorage
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.servers import MariaDBServer
from tests.support.site import eventually, open_site, report

LONG = os.environ.get("MQTASKS_TEST_LONG") == "1"
ENDS = 40 if LONG else 4
HEARTBEATS = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}


@pytest.mark.timeout(900 if LONG else 120)
def test_s2_one_of_a_key_at_a_time_while_workers_crash_and_drain(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with (
        open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site,
        shop.at(mysql_url, redis_url) as service,
    ):
        for _ in range(2):
            site.scheduler()
        workers = [site.worker(f"w{n}", "--parallelism", "8") for n in range(2)]
        count = 20 * ENDS
        keyed = shop.alone.options(key="one", key_concurrency=1, max_retry_times=0)
        handles = keyed.enqueue_many([(0.02, str(n)) for n in range(count)])
        for turn in range(ENDS):
            goal = min(count, len(traces(tmp_path, "alone")) + 10)
            eventually(partial(_reached, tmp_path, goal), 60, "tasks go on")
            worker = workers[turn % 2]
            if turn % 3:
                site.kill(worker)
            else:
                assert site.stop(worker) == 0
            workers[turn % 2] = site.worker(f"w{turn % 2}", "--parallelism", "8")
        for handle in handles:
            assert handle.wait(120)
        tasks = service.query_task()
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert traces(tmp_path, "overlap") == []
        assert set(traces(tmp_path, "alone")) == {str(n) for n in range(count)}
        again = sum(task.epoch > 1 for task in tasks)
        report(f"{count} tasks of one key, {ENDS} crashes and drains, {again} tasks moved")


def _reached(folder: Path, goal: int) -> bool:
    return len(traces(folder, "alone")) >= goal


@pytest.mark.timeout(120)
def test_s4_pauses_outlive_a_restart_of_everything(
    tmp_path: Path, own_mariadb: MariaDBServer
) -> None:
    url = own_mariadb.create_database("paused")
    with MySQLTaskStorage(url) as storage:
        migrate.up(storage)
    with open_site(tmp_path, url, None, **HEARTBEATS) as site:
        with shop.at(url) as service:
            assert service.control.pause("executor", str(shop.double.code))
            assert service.control.pause("key", "customer 7")
            assert service.control.pause("runner", "cordoned")
            processes = [site.scheduler(), site.worker("open"), site.worker("cordoned")]
            handles = [
                shop.double.enqueue(1),
                shop.patient.options(key="customer 7").enqueue(0.0, "keyed"),
            ]
            free = shop.patient.enqueue_many([(0.0, f"free {n}") for n in range(20)])
            assert all(handle.wait(30) for handle in free)
            for process in processes:
                site.kill(process)
        own_mariadb.kill()
        own_mariadb.restart()
        with shop.at(url) as service:
            site.scheduler()
            site.worker("open")
            site.worker("cordoned")
            runners = service.storage.runners
            eventually(
                lambda: sum(runner.lease_remaining_ms > 0 for runner in runners()) == 2,
                30,
                "two runners",
            )
            more = shop.patient.enqueue_many([(0.0, f"more {n}") for n in range(20)])
            assert all(handle.wait(30) for handle in more)
            again = [shop.app.handle(handle.task_id) for handle in handles]
            assert {handle.status() for handle in again} == {TaskStatus.CREATED}
            done = service.storage.load([handle.task_id for handle in [*free, *more]])
            assert {task.runner for task in done} == {"open"}
            pauses = [(pause.kind.value, pause.name) for pause in service.control.pauses()]
            assert sorted(pauses) == [
                ("executor", str(shop.double.code)),
                ("key", "customer 7"),
                ("runner", "cordoned"),
            ]
            for kind, name in pauses:
                assert service.control.resume(kind, name)  # type: ignore[arg-type]
            assert all(handle.wait(30) for handle in again)
