"""M9: the code of an isolated task judges its exceptions as it does in threads."""

from __future__ import annotations

import contextlib

import pytest

from mqtasks.model import AttemptOutcome, TaskStatus
from tests.worker.isolation.bench import Bench
from tests.worker.isolation.policy_app import app


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('policies')}/tasks.db"
    with contextlib.closing(Bench(app, url)) as made:
        yield made


def test_m9_the_exception_itself_chooses_the_delay(bench):
    task, attempt, _ = bench.run("call", "limited")
    assert (task.status, task.attempt) == (TaskStatus.SCHEDULED, 1)
    assert abs(task.run_at - attempt.ended_at - 1_000_000) < 5_000


def test_m9_a_type_that_is_given_up_on_ends_the_task(bench):
    task, attempt, _ = bench.run("call", "given up")
    assert task.status is TaskStatus.COMPLETED
    assert attempt.error == "ValueError"


def test_m9_a_function_that_fails_is_told_of_and_the_options_decide(bench):
    task, attempt, _ = bench.run("call", "other", retry_interval=500.0, jitter=0.0)
    assert task.status is TaskStatus.SCHEDULED
    assert abs(task.run_at - attempt.ended_at - 500_000) < 5_000
    assert "retry_delay failed" in attempt.error
    assert "no patience for attempt 1" in attempt.error


def test_m9_a_timeout_is_a_timeout_error_also_where_the_process_was_killed(bench):
    task, attempt, _ = bench.run("hang")
    assert task.status is TaskStatus.COMPLETED
    assert attempt.outcome == AttemptOutcome.TIMED_OUT
