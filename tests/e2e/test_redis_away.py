"""Redis dies, returns empty, is flushed: it costs latency, nothing else (G4, G10).

The long form (30 s outage, 5,000 tasks) is run with ``MQTASKS_TEST_LONG=1``; by default the same
script runs with a shorter outage and fewer tasks.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import redis

from mqtasks.model import TaskStatus
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.servers import RedisServer
from tests.support.site import eventually, open_site, report

LONG = os.environ.get("MQTASKS_TEST_LONG") == "1"
OUTAGE = 30.0 if LONG else 6.0
HELD = 5_000 if LONG else 1_000


@pytest.mark.timeout(300)
def test_p3_redis_may_stop_restart_empty_and_be_flushed_while_tasks_are_held(
    tmp_path: Path, mysql_url: str, own_redis: RedisServer
) -> None:
    redis_url = own_redis.url()
    settings = {"heartbeat_interval": 0.5, "heartbeat_timeout": 3.0}
    width = str(HELD // 2)
    with (
        open_site(tmp_path, mysql_url, redis_url, **settings) as site,
        shop.at(mysql_url, redis_url) as service,
    ):
        site.scheduler()
        for name in ("left", "right"):
            site.worker(name, "--parallelism", width)
        handles = shop.hold.enqueue_many([("gate", n) for n in range(HELD)])
        eventually(lambda: len(traces(tmp_path, "hold")) == HELD, 60, "all tasks are in flight")

        with redis.Redis.from_url(redis_url) as client:
            keys = client.keys("mqtasks:*")
            assert {client.pttl(key) > 0 for key in keys} == {True}, "every key has a TTL"
        own_redis.kill()
        pause = threading.Event()
        pause.wait(OUTAGE)
        own_redis.restart()
        for _ in range(4):
            pause.wait(2)
            with redis.Redis.from_url(redis_url) as client:
                client.flushall()
        assert {task.reassigned for task in service.query_task()} == {0}, "nothing was taken away"

        (tmp_path / "gate").touch()
        assert [handle.result(120) for handle in handles] == list(range(HELD))
        tasks = service.query_task()
        assert {(task.status, task.reassigned) for task in tasks} == {(TaskStatus.COMPLETED, 0)}
        assert len(traces(tmp_path, "hold")) == 2 * HELD, "each ran once"


@pytest.mark.timeout(120)
def test_p3_a_worker_killed_while_redis_is_down_is_rescued_on_time(
    tmp_path: Path, mysql_url: str, own_redis: RedisServer
) -> None:
    settings = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}
    with (
        open_site(tmp_path, mysql_url, own_redis.url(), **settings) as site,
        shop.at(mysql_url) as service,
    ):
        site.scheduler()
        first = site.worker("first")
        handle = shop.patient.enqueue(60.0, "long")
        eventually(lambda: traces(tmp_path, "patient"), 20, "the task starts")
        site.worker("second")
        eventually(lambda: len(service.storage.runners()) == 2, 20, "two runners")
        own_redis.kill()

        began = service.clock.monotonic()
        site.kill(first)
        eventually(lambda: len(traces(tmp_path, "patient")) == 2, 30, "the task starts again")
        took = service.clock.monotonic() - began

        assert (handle.fetch().runner, handle.fetch().epoch) == ("second", 2)
        report(f"rescued {took:.2f} s after the kill; heartbeat timeout 2.0 s, Redis down")
