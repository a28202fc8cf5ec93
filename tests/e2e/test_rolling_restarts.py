"""Workers are stopped in order and started again under load, over and over (M17, P8, G1).

A hundred restarts are made with ``MQTASKS_TEST_LONG=1``; by default a few.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mqtasks import TaskHandle
from mqtasks.model import AttemptOutcome, RunnerState, TaskStatus
from mqtasks.service import TaskService
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.site import eventually, open_site, report

LONG = os.environ.get("MQTASKS_TEST_LONG") == "1"
RESTARTS = 100 if LONG else 4
LOAD = 300
"""Tasks that are added for each restart."""


@pytest.mark.timeout(1200 if LONG else 120)
def test_m17_rolling_restarts_lose_no_task_and_burn_no_attempt(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    settings = {"heartbeat_interval": 0.3, "heartbeat_timeout": 3.0}
    with (
        open_site(tmp_path, mysql_url, redis_url, **settings) as site,
        shop.at(mysql_url, redis_url) as service,
    ):
        site.scheduler()
        workers = [site.worker(f"roll-{n}", "--parallelism", "4") for n in range(2)]
        handles: list[TaskHandle[Any]] = []
        for turn in range(RESTARTS):
            handles += shop.double.enqueue_many([(n,) for n in range(LOAD)])
            handles += shop.patient.enqueue_many([(0.1, f"{turn}-{n}") for n in range(8)])
            goal = len(handles) - LOAD // 2
            eventually(partial(_ran, tmp_path, goal), 60, "tasks are under way")
            # A process that is told to stop before it has set up its signals just ends.
            eventually(partial(_both_run, service), 60, "both workers run")
            assert site.stop(workers[turn % 2]) == 0
            workers[turn % 2] = site.worker(f"roll-{turn % 2}", "--parallelism", "4")
        for handle in handles:
            assert handle.wait(120)

        tasks = service.query_task()
        assert len(tasks) == len(handles)
        assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
        assert {task.execute_result.code.name for task in tasks if task.execute_result} == {
            "SUCCESS"
        }
        assert {(task.attempt, task.crashes, task.reassigned) for task in tasks} == {(0, 0, 0)}
        moved = [task for task in tasks if task.epoch > 1]
        outcomes = {item.outcome for task in moved for item in service.attempts(task.id)}
        assert outcomes <= {int(AttemptOutcome.RELEASED)}
        ran = Counter(traces(tmp_path, "double"))
        assert set(ran.values()) == {RESTARTS}, "what is started is finished: each ran once"
        report(f"{RESTARTS} restarts, {len(tasks)} tasks, {len(moved)} handed back unstarted")


def _both_run(service: TaskService) -> bool:
    return sum(item.state is RunnerState.ACTIVE for item in service.storage.runners()) == 2


def _ran(folder: Path, most: int) -> bool:
    return sum(len(traces(folder, name)) for name in ("double", "patient")) >= most
