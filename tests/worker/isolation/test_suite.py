"""S10: executors behave alike as threads, coroutines, and in processes of their own."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from mqtasks.config import Settings
from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus, decode_progress
from tests.worker.isolation.bench import Bench
from tests.worker.isolation.suite_app import MODES, Point, app

ARGUMENTS = (datetime(2026, 1, 2, tzinfo=UTC), Point(2, 0.5), 3, 4)


@pytest.fixture(scope="module", params=MODES)
def suite(request, tmp_path_factory):
    """A runner, and the names of its executors in one mode."""
    path = str(tmp_path_factory.mktemp("suite") / "tasks.db")
    app.configure(Settings.load(environ={}, url=f"sqlite:///{path}"))
    with contextlib.closing(Bench(app, f"sqlite:///{path}")) as bench:
        yield SimpleNamespace(
            bench=bench,
            mode=request.param,
            path=path,
            run=lambda name, *args, **options: bench.run(
                f"{request.param}.{name}", *args, **options
            )[:2],
        )
    app.close()


def test_s10_arguments_and_results_are_what_the_annotations_say(suite):
    task, attempt = suite.run("convert", *ARGUMENTS)
    assert attempt is None
    definition = app.registry.require(f"{suite.mode}.convert")
    assert definition.codec.decode_result(task.execute_result.value, Point) == Point(9, 1013.0)


def test_s10_the_context_describes_the_execution(suite):
    task_id = suite.bench.give(f"{suite.mode}.describe")
    task = suite.bench.ended(task_id)
    found = app.registry.require(task.metadata.executor).codec.decode_result(
        task.execute_result.value, dict
    )
    assert found == {
        "task_id": task_id,
        "epoch": 1,
        "attempt": 0,
        "runner": suite.bench.runner_id,
        "remaining": True,
        "cancelled": False,
        "metadata": task.metadata.id,
    }


def test_s10_no_result_is_no_result(suite):
    task, attempt = suite.run("nothing")
    assert (task.execute_result.value, task.execute_result.error, attempt) == (b"", "", None)


@pytest.mark.parametrize(
    ("name", "options", "status", "outcome", "error"),
    [
        ("fail", {}, "COMPLETED", "FAILED", "ValueError: no such thing"),
        ("fail", {"max_retry_times": 1}, "SCHEDULED", "FAILED", "ValueError: no such thing"),
        ("retry", {"max_retry_times": 1}, "SCHEDULED", "FAILED", "not yet"),
        ("snooze", {}, "SCHEDULED", "SNOOZED", "too early"),
        ("cancel", {}, "CANCELED", "CANCELED", "not wanted"),
        ("refuse", {"max_retry_times": 3}, "COMPLETED", "FAILED", "never"),
        ("lose_key", {}, "COMPLETED", "FAILED", "KeyError: 'gone'"),
        ("leave", {}, "COMPLETED", "FAILED", "SystemExit: enough"),
        ("unstorable", {"max_retry_times": 3}, "COMPLETED", "FAILED", "PayloadError"),
        ("huge", {"max_retry_times": 3}, "COMPLETED", "FAILED", "PayloadTooLarge"),
        ("hold", {"timeout": 0.2}, "COMPLETED", "TIMED_OUT", "timed out after 0.2 s"),
    ],
)
def test_s10_ends_mean_the_same(suite, name, options, status, outcome, error):
    task, attempt = suite.run(name, **options)
    assert attempt is not None
    assert (task.status, attempt.outcome) == (TaskStatus[status], AttemptOutcome[outcome])
    assert error in attempt.error
    assert (task.crashes, task.epoch) == (0, 1)
    assert task.attempt == (outcome not in {"SNOOZED", "CANCELED"} and status == "SCHEDULED")
    if name == "fail":
        assert "in fail\n" in attempt.traceback
        assert "/mqtasks/worker/executor.py" not in attempt.traceback
    if name == "retry":
        assert 6000 < task.run_at - attempt.ended_at < 8000


def test_s10_a_canceled_task_gives_up(suite):
    task_id = suite.bench.give(f"{suite.mode}.hold")
    suite.bench.started(task_id)
    suite.bench.service.cancel(task_id)
    assert suite.bench.ended(task_id).status is TaskStatus.CANCELED


def test_s10_the_last_progress_is_stored(suite):
    task, attempt = suite.run("progress")
    assert attempt is not None
    progress = decode_progress(task.progress)
    assert progress is not None
    assert (progress.fraction, progress.message) == (1.0, "done")


def test_s10_a_step_runs_once_in_the_life_of_a_task(suite):
    bench = suite.bench
    task_id = bench.give(f"{suite.mode}.in_steps", max_retry_times=1, retry_interval=0.0)
    assert bench.ended(task_id).status is TaskStatus.SCHEDULED
    bench.allocate(task_id)
    task = bench.ended(task_id)
    assert task.execute_result.code == ResultCode.SUCCESS
    assert b"epoch 1" in task.execute_result.value


def test_s10_a_transaction_of_the_executor_completes_its_task(suite):
    task, attempt = suite.run("transact", suite.path)
    assert (task.status, task.execute_result.code) == (TaskStatus.COMPLETED, ResultCode.SUCCESS)
    assert b"both" in task.execute_result.value
    assert attempt is None
    with contextlib.closing(sqlite3.connect(suite.path)) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)


def test_s10_tasks_create_tasks(suite):
    task, attempt = suite.run("enqueue")
    assert attempt is None
    codec = app.registry.require(task.metadata.executor).codec
    made = suite.bench.task(codec.decode_result(task.execute_result.value, int))
    assert (made.metadata.executor, made.status) == (f"{suite.mode}.nothing", TaskStatus.CREATED)
