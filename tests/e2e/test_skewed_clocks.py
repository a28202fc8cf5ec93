"""Hosts whose clocks are wrong by ten minutes change nothing on MySQL (G9)."""

from __future__ import annotations

import itertools
import threading

import pytest

from mqtasks.clock import SystemClock
from mqtasks.conditions import where
from mqtasks.model import CronPolicy, NewTask, TaskMetadata, TaskOptions, TaskStatus
from mqtasks.scheduler import Scheduler, SchedulerOptions
from mqtasks.service import TaskService
from mqtasks.storage.mysql import MySQLTaskStorage
from mqtasks.worker import RunnerOptions, TaskRunner
from tests.support.site import eventually


class SkewedClock(SystemClock):
    """A host clock that is off by ``seconds``; its monotonic clock is right, as clocks are."""

    def __init__(self, seconds: float) -> None:
        self._skew_ms = int(seconds * 1000)

    def now_ms(self) -> int:
        return super().now_ms() + self._skew_ms


@pytest.mark.timeout(120)
@pytest.mark.parametrize("skews", [(600.0, -600.0), (-600.0, 600.0)], ids=["fast", "slow"])
def test_g9_skewed_hosts_expire_nothing_early_and_fire_cron_on_time(
    mysql_url: str, skews: tuple[float, float]
) -> None:
    scheduler_skew, runner_skew = skews
    services = [
        TaskService(MySQLTaskStorage(mysql_url), clock=SkewedClock(skew))
        for skew in (scheduler_skew, runner_skew, 0.0)
    ]
    ours = services[2]
    ran: list[str] = []
    release = threading.Event()

    def work(context: object, task: object) -> None:
        ran.append(task.metadata.id)  # type: ignore[attr-defined]
        if task.metadata.id == "long":  # type: ignore[attr-defined]
            release.wait(60)

    options = RunnerOptions(
        parallelism=4,
        heartbeat="thread",
        heartbeat_interval=0.3,
        heartbeat_timeout=2.0,
        fetch_interval=0.1,
    )
    runner = TaskRunner("r1", services[1], options)
    runner.register_executor("work", work)
    scheduler = Scheduler(services[0], SchedulerOptions(heartbeat_timeout=2.0, rescue_interval=0.5))
    try:
        with scheduler, runner:
            ours.create_tasks([NewTask(TaskMetadata("long", "work"))])
            delayed = TaskMetadata("delayed", "work", options=TaskOptions(delay_duration=3.0))
            [made] = ours.create_tasks([NewTask(delayed)])
            each = CronPolicy(misfire="all")
            ours.create_cron_task(TaskMetadata("tick", "work"), "* * * * * *", policy=each)
            eventually(
                lambda: len(ours.query_task(where.parent_task_id == "tick")) >= 6, 30, "cron"
            )

            [long] = ours.query_task(where.metadata_id == "long")
            late = ours.get(made.task_id)
            fired = ours.query_task(where.parent_task_id == "tick")
            release.set()

            assert (long.status, long.epoch) == (TaskStatus.RUNNING, 1)
            assert late.status is TaskStatus.COMPLETED
            assert late.run_at <= late.started_at < late.run_at + 2000
            assert ran.count("long") == 1
            gaps = {b.run_at - a.run_at for a, b in itertools.pairwise(fired)}
            assert gaps == {1000}
    finally:
        release.set()
        for service in services:
            service.close()
