"""M10, M11, M16: isolated tasks do their worst in a real worker on MariaDB."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqtasks import TaskCanceled, TaskFailed
from mqtasks.app import TaskHandle
from mqtasks.config import Settings
from mqtasks.model import AttemptOutcome, TaskStatus
from tests.support.site import Site, eventually, open_site, report
from tests.worker.isolation import horrors
from tests.worker.tree import gone

APP = "tests.worker.isolation.horrors:app"
LIMIT_MS = 500
QUICK = {"heartbeat_interval": 0.3, "heartbeat_timeout": 3.0, "parallelism": 8, "max_crashes": 1}


@pytest.fixture
def site(tmp_path: Path, mysql_url: str, redis_url: str) -> Iterator[Site]:
    horrors.app.configure(Settings.load(environ={}, url=mysql_url, redis=redis_url))
    with (
        contextlib.closing(horrors.app),
        open_site(tmp_path, mysql_url, redis_url, **QUICK) as made,
    ):
        made.scheduler()
        yield made


def error_of(handle: TaskHandle[Any]) -> str:
    with pytest.raises(TaskFailed) as caught:
        handle.result(40)
    return caught.value.error


@pytest.mark.timeout(120)
def test_m11_m10_horrors_end_in_time_with_cause_and_stack_and_neighbours_go_on(site: Site) -> None:
    site.start("worker", APP, "--runner-id", "w")
    assert horrors.add.enqueue(1, 2).result(40) == 3
    service = horrors.app.service
    counting = horrors.neighbour_counts.enqueue(3.0)
    isolated = horrors.hold.enqueue()
    neighbours: list[TaskHandle[Any]] = [counting, isolated]
    eventually(
        lambda: all(one.fetch().status is TaskStatus.RUNNING for one in neighbours), 20, "they run"
    )

    timed: list[TaskHandle[Any]] = [horrors.endless_power.enqueue(), horrors.endless_c.enqueue()]
    crashing: list[TaskHandle[Any]] = [horrors.leave.enqueue(), horrors.segfault.enqueue()]
    hoarding = horrors.hoard.enqueue()
    for handle, frame in zip(timed, ("in endless_power", "in endless_c"), strict=True):
        assert error_of(handle).startswith("timed out after 0.5 s")
        (attempt,) = service.attempts(handle.task_id)
        assert attempt.outcome == AttemptOutcome.TIMED_OUT
        assert frame in attempt.traceback
        took = attempt.ended_at - attempt.started_at
        assert LIMIT_MS <= took < LIMIT_MS + 4000
        report(f"{frame[3:]}: ended {took - LIMIT_MS} ms after its limit")
    for handle, cause in zip(crashing, ("exit code 3", "SIGSEGV"), strict=True):
        assert "its process died 2 times" in error_of(handle)
        attempts = service.attempts(handle.task_id)
        assert [attempt.outcome for attempt in attempts] == [AttemptOutcome.CRASHED] * 2
        assert all(cause in attempt.error for attempt in attempts)
        task = handle.fetch()
        assert (task.attempt, task.crashes) == (0, 2)
    assert error_of(hoarding) == "MemoryError"

    assert isolated.fetch().status is TaskStatus.RUNNING
    isolated.cancel()
    with pytest.raises(TaskCanceled):
        isolated.result(20)
    ticks = counting.result(20)
    report(f"the neighbour thread ran in {ticks} of about 290 hundredths of a second")
    assert ticks > 100
    rows = [one.fetch() for one in neighbours]
    assert [(row.crashes, row.attempt, row.epoch) for row in rows] == [(0, 0, 1)] * 2
    (runner,) = service.storage.runners()
    assert runner.generation == 1


@pytest.mark.timeout(120)
def test_p14_no_isolated_process_outlives_its_runner(site: Site) -> None:
    worker = site.start("worker", APP, "--runner-id", "w")
    handle = horrors.tell_pid_in_c.enqueue()

    def processes(epoch: int) -> tuple[int, int]:
        """Return the task's process and its runner, once it runs in that epoch."""
        prefix = f"{epoch} ".encode()
        eventually(lambda: handle.fetch().progress.startswith(prefix), 40, "the task runs")
        _, child, runner = map(int, handle.fetch().progress.split())
        return child, runner

    child, runner = processes(1)
    os.kill(runner, signal.SIGKILL)
    eventually(lambda: gone(runner) and gone(child), 10, "the runner's processes are gone")
    child, runner = processes(2)  # the worker has started another, which got the task again
    assert handle.fetch().crashes == 1  # nobody knows that it was not to blame
    os.kill(worker.pid, signal.SIGKILL)
    eventually(lambda: gone(runner) and gone(child), 10, "the worker's processes are gone")


@pytest.mark.timeout(120)
def test_p8_m10_an_isolated_task_that_takes_its_runner_down_fails_alone(site: Site) -> None:
    """As where the memory of a whole container runs out; its neighbours are tried alone, too."""
    site.start("worker", APP, "--runner-id", "w")
    neighbour = horrors.add.enqueue(1, 2)
    poison = horrors.end_runner.enqueue()
    assert "its process died 2 times" in error_of(poison)
    task = poison.fetch()
    assert (task.attempt, task.crashes) == (0, 2)
    attempts = horrors.app.service.attempts(poison.task_id)
    assert [attempt.outcome for attempt in attempts] == [AttemptOutcome.CRASHED] * 2
    assert all("of its runner was ended by SIGKILL" in attempt.error for attempt in attempts)
    assert neighbour.result(40) == 3
