"""Rates as executors see them: when they are really started, by a real runner (S3)."""

from __future__ import annotations

import threading

import pytest

from mqtasks.clock import SystemClock
from mqtasks.model import AsyncTask, TaskMetadata, TaskOptions
from mqtasks.scheduler import Scheduler
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskContext, TaskRunner

COUNT = 36
LIMIT, BURST = 20, 5


@pytest.mark.parametrize(
    "options",
    [
        {"rate_limit": "20/s burst 5"},
        {"concurrency_key": "k", "key_concurrency": 0, "key_rate_limit": "20/s burst 5"},
    ],
    ids=["executor", "key"],
)
def test_s3_in_any_second_no_more_than_limit_and_burst_start(options):
    clock, started, over = SystemClock(), list[float](), threading.Event()

    def work(_context: TaskContext, _task: AsyncTask) -> None:
        started.append(clock.monotonic())
        if len(started) == COUNT:
            over.set()

    made = TaskOptions(**options)
    with TaskService(MemoryTaskStorage()) as service:
        runner = TaskRunner("r", service, RunnerOptions(parallelism=20, heartbeat="thread"))
        runner.register_executor("work", work)
        with runner, Scheduler(service):
            service.create_batch([TaskMetadata(f"t{i}", "work", b"", made) for i in range(COUNT)])
            assert over.wait(30)
    started.sort()
    for start in started:
        assert sum(start <= at < start + 1 for at in started) <= LIMIT + BURST
    assert started[-1] - started[0] >= (COUNT - BURST) / LIMIT * 0.9
