"""M10, M11, M16: whatever an isolated task does, it ends as one attempt, and harms nobody else."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import threading
import time

import pytest

from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus
from mqtasks.worker.isolation import ladder
from tests.support.site import eventually
from tests.worker.isolation.bench import Bench
from tests.worker.isolation.horrors import app
from tests.worker.tree import gone

LIMIT = 0.5
SLACK = 3.0
"""Seconds that a slow machine may take on top; without it each end comes within 1 s."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A runner that all these tests share: nothing that they do may harm the others."""
    url = f"sqlite:///{tmp_path_factory.mktemp('isolated')}/tasks.db"
    with contextlib.closing(Bench(app, url, parallelism=8)) as made:
        yield made


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A runner with one slot, and so with one process."""
    url = f"sqlite:///{tmp_path_factory.mktemp('single')}/tasks.db"
    with contextlib.closing(Bench(app, url, parallelism=1)) as made:
        yield made


@pytest.fixture
def child(single):
    """Its process, warm and idle."""
    pid = single.value("pid")
    eventually(lambda: single.children.idle == [pid], 20, "the process is idle")
    return pid


def test_m11_an_attempt_ends_within_a_second_of_its_limit_with_its_stack(bench):
    codes = ("endless_power", "endless_c", "endless_wait", "endless_block", "stubborn")
    neighbour = bench.give("hold")
    for code, task_id in [(code, bench.give(code)) for code in codes]:
        task = bench.ended(task_id)
        (attempt,) = bench.storage.attempts(task_id)
        assert LIMIT * 1000 <= attempt.ended_at - attempt.started_at < (LIMIT + 1 + SLACK) * 1000
        assert (task.status, task.execute_result.code) == (TaskStatus.COMPLETED, ResultCode.FAILED)
        assert task.execute_result.error.startswith("timed out after 0.5 s")
        assert attempt.outcome == AttemptOutcome.TIMED_OUT
        assert f"in {code}" in attempt.traceback
        assert "mqtasks/worker/isolation/workplace" not in attempt.traceback
        assert task.crashes == 0
    assert bench.task(neighbour).status is TaskStatus.RUNNING
    bench.service.cancel(neighbour)
    assert bench.value("add", 1, 2) == 3


@pytest.mark.parametrize(
    ("code", "cause", "trace"),
    [
        ("leave", "its process ended with exit code 3", ""),
        ("segfault", "SIGSEGV", "in segfault"),
    ],
)
def test_m10_a_dead_process_is_one_crash_of_its_task_and_of_no_other(bench, code, cause, trace):
    neighbours = [bench.give("hold"), bench.give("neighbour_holds")]
    for neighbour in neighbours:
        bench.started(neighbour)
    task, attempt, _ = bench.run(code)
    assert (task.status, task.crashes, task.attempt) == (TaskStatus.SCHEDULED, 1, 0)
    assert attempt.outcome == AttemptOutcome.CRASHED
    assert cause in attempt.error
    assert trace in attempt.traceback
    assert [bench.task(n).status for n in neighbours] == [TaskStatus.RUNNING] * 2
    assert [bench.task(n).crashes for n in neighbours] == [0, 0]
    assert bench.value("add", 1, 2) == 3


def test_m10_a_task_that_crashes_its_process_again_and_again_ends_failed(sqlite_url):
    with contextlib.closing(Bench(app, sqlite_url, max_crashes=1)) as bench:
        task_id = bench.give("leave", retry_interval=0.0)
        bench.ended(task_id)
        bench.allocate(task_id)
        task = bench.ended(task_id)
        assert task.execute_result is not None
        assert (task.status, task.execute_result.code) == (TaskStatus.COMPLETED, ResultCode.FAILED)
        assert "its process died 2 times" in task.execute_result.error
        assert (task.crashes, task.attempt) == (2, 0)
        outcomes = [attempt.outcome for attempt in bench.storage.attempts(task_id)]
        assert outcomes == [AttemptOutcome.CRASHED] * 2


def test_an_allocation_over_the_limit_fails_and_costs_one_attempt(single, child):
    task, attempt, took = single.run("hoard")
    assert (task.execute_result.error, took < 1 + SLACK) == ("MemoryError", True)
    assert attempt.outcome == AttemptOutcome.FAILED
    assert "len(bytearray(TWO_GIB))" in attempt.traceback
    assert single.children.idle == [child]
    assert len(bytearray(1 << 20)) == 1 << 20


def test_a_process_that_keeps_too_much_is_replaced(sqlite_url):
    with contextlib.closing(Bench(app, sqlite_url, isolated_memory=512 << 20)) as bench:
        first = bench.value("keep", 1 << 20)
        assert bench.value("keep", 270 << 20) == first
        assert bench.value("keep", 1) != first


def test_a_process_is_replaced_after_its_number_of_tasks(sqlite_url):
    with contextlib.closing(Bench(app, sqlite_url, isolated_tasks=2)) as bench:
        pids = [bench.value("pid") for _ in range(3)]
        assert (pids[0] == pids[1], pids[1] == pids[2]) == (True, False)
        eventually(lambda: gone(pids[0]), 20, "the worn process ends")
    eventually(lambda: gone(pids[2]), 20, "an idle process ends with its runner")


def test_m16_a_cancellation_ends_a_running_task_and_wins(bench):
    codes = ("hold", "endless", "stubborn_for_good", "endless_block_for_good")
    tasks = {code: bench.give(code) for code in codes}
    for code, task_id in tasks.items():
        bench.started(task_id)
        if code != "hold":  # whose stack nobody asks for
            eventually(lambda: bench.task(task_id).progress, 20, "it is in its own code")  # noqa: B023
    began = time.monotonic()
    bench.service.cancel(*tasks.values())
    for code, task_id in tasks.items():
        task = bench.ended(task_id)
        assert (task.status, task.crashes) == (TaskStatus.CANCELED, 0)
        (attempt,) = bench.storage.attempts(task_id)
        assert attempt.outcome == AttemptOutcome.CANCELED
        if code != "hold":
            assert f"in {code}" in attempt.traceback
    assert time.monotonic() - began < bench.options.heartbeat_interval + 1 + SLACK


def test_what_a_killed_process_has_started_is_killed_too(bench):
    task_id = bench.give("with_a_grandchild")
    bench.ended(task_id)
    grandchild = int(bench.task(task_id).progress)
    eventually(lambda: gone(grandchild), 20, "the grandchild is gone")


def test_the_shutdown_of_a_service_does_not_break_tasks_off(single, child, monkeypatch):
    monkeypatch.setattr(ladder, "STEP", 20)  # nor does the runner itself, on a busy machine
    task_id = single.give("hold")
    single.started(task_id)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(child, number)
    single.service.cancel(task_id)  # a task that TERM had broken off would have failed by now
    assert single.ended(task_id).status is TaskStatus.CANCELED
    assert single.children.idle == [child]


@pytest.mark.parametrize("code", ["hold", "stubborn_for_good"])
def test_a_stop_lets_isolated_tasks_end_and_then_ends_them(sqlite_url, code):
    bench = Bench(app, sqlite_url, cancel_timeout=1.0)
    with contextlib.closing(bench):
        task_id = bench.give(code)
        bench.started(task_id)
        bench.runner.stop(0)
        task = bench.task(task_id)
        assert (task.status, task.attempt, task.crashes) == (TaskStatus.CREATED, 0, 0)


def test_an_idle_process_that_died_is_not_missed(single, child):
    os.kill(child, signal.SIGKILL)
    eventually(lambda: gone(child), 20, "the process ends")
    task, attempt, _ = single.run("add", 1, 2)
    assert (task.execute_result.code, task.crashes, attempt) == (ResultCode.SUCCESS, 0, None)


def test_a_process_that_was_stopped_is_killed_in_time(single, child):
    task_id = single.give("endless_wait")
    single.started(task_id)
    os.kill(child, signal.SIGSTOP)
    task = single.ended(task_id)
    assert task.execute_result.error.startswith("timed out after 0.5 s")
    assert gone(child)


def test_a_process_that_closes_its_connection_is_ended(bench):
    task, attempt, _ = bench.run("close_everything")
    assert (attempt.outcome, task.crashes) == (AttemptOutcome.CRASHED, 1)
    assert bench.value("add", 1, 2) == 3


@pytest.mark.parametrize("inside", [True, False])
def test_n10_what_a_dying_process_has_committed_stands_and_nothing_else(single, inside):
    path = single.service.storage.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS mine (value)")
        connection.execute("DELETE FROM mine")
        task, attempt, _ = single.run("transact_and_leave", path, inside=inside)
        (count,) = connection.execute("SELECT count(*) FROM mine").fetchone()
    if inside:
        assert (task.status, task.crashes, count) == (TaskStatus.SCHEDULED, 1, 0)
        assert "exit code 1" in attempt.error
    else:
        assert (task.status, task.crashes, count) == (TaskStatus.COMPLETED, 0, 1)
        assert (task.execute_result.code, attempt) == (ResultCode.SUCCESS, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_copy_of_a_process_does_not_speak_for_it(single):
    assert single.value("fork_and_return") > 0
    assert [single.value("add", n, 1) for n in range(5)] == [1, 2, 3, 4, 5]


def test_what_a_task_leaves_behind_does_not_speak_for_the_next(single):
    single.value("leave_a_thread")
    task_id = single.give("be_next")
    task = single.ended(task_id)
    assert task.execute_result.code == ResultCode.SUCCESS
    assert task.progress == b""


def test_isolated_tasks_run_side_by_side_and_after_a_crash_not_alone(bench):
    crashed = bench.give("hold_after_a_crash", retry_interval=0.0)
    bench.ended(crashed)
    beside = bench.give("hold")
    bench.started(beside)
    bench.allocate(crashed)
    bench.started(crashed)  # while the other one still runs (P8)
    assert bench.task(beside).status is TaskStatus.RUNNING
    bench.service.cancel(crashed, beside)
    assert bench.ended(crashed).status is TaskStatus.CANCELED


def test_a_process_outlives_the_thread_that_asked_for_it(single, child):
    """The kernel ends it with the thread that has started it."""
    pool, taken = single.children, []
    taken.append(pool.take())
    thread = threading.Thread(target=lambda: taken.append(pool.take()))
    thread.start()
    thread.join()
    warm, fresh = taken
    assert (warm.pid, fresh.pid != child) == (child, True)
    pool.give_back(fresh)
    assert single.value("pid") == fresh.pid
    warm.end()


def test_processes_that_a_task_forks_can_be_terminated(bench):
    assert bench.value("use_a_pool") == 3
