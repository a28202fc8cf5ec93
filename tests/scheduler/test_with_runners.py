"""The scheduler and real runners over the memory store, in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mqtasks.clock import SystemClock
from mqtasks.model import AsyncTask, TaskMetadata
from mqtasks.scheduler import Scheduler
from mqtasks.service import TaskService
from mqtasks.storage.memory import MemoryTaskStorage
from mqtasks.worker import RunnerOptions, TaskContext, TaskRunner

OPTIONS = RunnerOptions(parallelism=10, heartbeat="thread", shutdown_timeout=5.0)


class Busy:
    """A runner whose tasks last until they are released; notes when it has ten of them."""

    def __init__(self, name: str, service: TaskService, release: threading.Event) -> None:
        self.runner = TaskRunner(name, service, OPTIONS)
        self.runner.register_executor("work", self._work)
        self.full = threading.Event()
        self.began: set[int] = set()
        self._release = release

    def _work(self, _context: TaskContext, task: AsyncTask) -> None:
        self.began.add(task.id)
        if len(self.began) >= OPTIONS.parallelism:
            self.full.set()
        self._release.wait(30)


@pytest.fixture
def service() -> Iterator[TaskService]:
    with TaskService(MemoryTaskStorage()) as made:
        yield made


@pytest.mark.parametrize("count", [20, 1_000])
def test_p6_a_second_runner_joins_and_both_are_busy_within_a_second(service, count):
    """With 20 tasks all are at the first runner already: ten of them wait there and move."""
    release, clock = threading.Event(), SystemClock()
    first, second = Busy("first", service, release), Busy("second", service, release)
    with Scheduler(service):
        try:
            first.runner.start()
            service.create_batch([TaskMetadata(f"task-{i}", "work") for i in range(count)])
            assert first.full.wait(10)
            joined = clock.monotonic()
            second.runner.start()
            assert second.full.wait(10)
            assert clock.monotonic() - joined < 1.0
        finally:
            release.set()
            first.runner.stop()
            second.runner.stop()
    assert not first.began & second.began
