"""A cron of every second under two schedulers, one of which is killed (G8, P12)."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from mqtasks.conditions import where
from mqtasks.model import CronPolicy, TaskMetadata
from tests.e2e import shop
from tests.support.site import open_site

SECONDS = 30 if os.environ.get("MQTASKS_TEST_LONG") == "1" else 12


@pytest.mark.timeout(120)
def test_p12_every_second_fires_once_while_a_scheduler_is_killed(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with (
        open_site(tmp_path, mysql_url, redis_url) as site,
        shop.at(mysql_url, redis_url) as service,
    ):
        schedulers = [site.scheduler(), site.scheduler()]
        pause = threading.Event()
        pause.wait(3)
        each = CronPolicy(misfire="all")
        service.create_cron_task(TaskMetadata("tick", "double"), "* * * * * *", policy=each)
        [cron] = service.query_cron_task()
        pause.wait(SECONDS / 2)
        site.kill(schedulers[0])
        pause.wait(SECONDS / 2 + 1.5)
        service.delete_cron_task("tick")

        fired = service.query_task(where.parent_task_id == "tick")

        assert [task.metadata.id for task in fired] == [f"tick:{n + 1}" for n in range(len(fired))]
        assert [task.run_at for task in fired] == [
            cron.next_time + 1000 * n for n in range(len(fired))
        ]
        assert len(fired) >= SECONDS
