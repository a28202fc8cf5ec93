"""P14: the lease of a runner embedded in a program, kept by a process of its own."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mqtasks.model import (
    SUCCESS,
    RunnerRecord,
    RunnerState,
    TaskMetadata,
    TaskStatus,
)
from mqtasks.service import TaskService
from mqtasks.storage.factory import storage_from_url
from mqtasks.worker import RunnerOptions, TaskRunner
from mqtasks.worker.process_lease import ProcessLease
from tests.support.site import ROOT, eventually
from tests.worker.tree import QUICK, gone


def embedded(service: TaskService, **options) -> TaskRunner:
    return TaskRunner("e", service, RunnerOptions(**(QUICK | options)))


def allocated(service: TaskService, code: str, runner_id: str = "e") -> int:
    task_id = service.create(TaskMetadata(f"{code}-{len(service.storage.query())}", code))
    service.allocate(service.get(task_id), runner_id)
    return task_id


def hog(_ctx, _task) -> None:
    """Hold the interpreter in one C call for longer than the lease: PyDLL does not let go of it."""
    ctypes.PyDLL(None).usleep(2_500_000)


def renewed(runner: TaskRunner) -> None:
    """Wait until the lease process has renewed the lease once more."""
    board = runner._parts.board  # type: ignore[union-attr]
    until = board.trusted_until
    eventually(lambda: board.trusted_until > until, 10, "the lease is renewed")


def test_p14_a_long_c_call_keeps_its_lease(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    with runner:
        lease = runner._lease
        assert isinstance(lease, ProcessLease)
        renewed(runner)
        task_id = allocated(service, "hog")
        eventually(lambda: service.get(task_id).status.is_final, 20, "the call ends")
        assert runner.generation == 1
        task = service.get(task_id)
    assert task.execute_result == SUCCESS
    assert task.completed_at - task.started_at >= 2500  # and the lease is 1.5 s
    assert service.attempts(task_id) == []


def test_p14_a_lease_process_that_dies_is_replaced(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    with runner:
        lease = runner._lease
        assert isinstance(lease, ProcessLease)
        first = lease.pid
        os.kill(first, signal.SIGKILL)
        eventually(lambda: lease.pid not in {0, first}, 10, "another one is started")
        renewed(runner)
        assert runner.generation == 1


@pytest.mark.parametrize("database", ["sqlite_url", "mysql_url"])
def test_p14_a_killed_program_with_a_runner_is_reported_by_its_lease_process(request, database):
    url = request.getfixturevalue(database)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("embedded.py")), url],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with TaskService(storage_from_url(url)) as service:
        try:
            eventually(service.storage.runners, 20, "the runner is there")
            task_id = allocated(service, "hold", "embedded")
            eventually(lambda: service.get(task_id).started_at, 20, "the task runs")
        finally:
            process.kill()
            process.wait(10)
        eventually(lambda: service.get(task_id).status is TaskStatus.CREATED, 10, "it is back")
        assert service.get(task_id).crashes == 1
        assert service.storage.runners()[0].state is RunnerState.STOPPED


def test_the_runner_process_keeps_no_child_after_stop(service):
    runner = embedded(service)
    runner.register_executor("hog", hog)
    runner.start()
    lease = runner._lease
    assert isinstance(lease, ProcessLease)
    pid = lease.pid
    runner.stop()
    assert gone(pid)
    assert service.storage.runners()[0].state is RunnerState.STOPPED


def test_p2_waiting_for_the_lease_of_an_earlier_holder_is_told(service, caplog):
    caplog.set_level(logging.INFO, "mqtasks.worker")
    earlier = RunnerRecord(id="e", holder="earlier", host="elsewhere", pid=4711)
    service.storage.register_runner(earlier, 1_500, 3)
    runner = embedded(service, heartbeat="thread")
    runner.register_executor("hog", hog)
    with runner:
        assert runner.generation == 2
    told = [record for record in caplog.records if "waits for" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.INFO]
    text = told[0].getMessage()
    assert "'e': is alive at elsewhere (process 4711)" in text
    match = re.search(r"([0-9.]+) s at most", text)
    assert match is not None
    assert 0 < float(match[1]) <= 1.6


def test_heartbeat_thread_starts_no_process(service):
    runner = embedded(service, heartbeat="thread")
    runner.register_executor("hog", hog)
    with runner:
        assert not isinstance(runner._lease, ProcessLease)
