"""A deadline over all attempts ends an isolated task as it does any other, and as surely."""

from __future__ import annotations

import contextlib

from mqtasks.model import AttemptOutcome, ResultCode, TaskStatus
from tests.worker.isolation.bench import Bench
from tests.worker.isolation.horrors import app

SLACK_MS = 4000


def test_a_deadline_ends_an_isolated_task_for_good_and_refuses_late_retries(sqlite_url):
    with contextlib.closing(Bench(app, sqlite_url)) as bench:
        assert bench.value("add", 1, 2) == 3  # a process is warm
        task, attempt, _ = bench.run("endless_power", timeout=0.0, deadline=1.0, max_retry_times=5)
        assert task.execute_result is not None
        assert attempt is not None
        assert (task.status, task.execute_result.code) == (TaskStatus.COMPLETED, ResultCode.FAILED)
        assert "passed while it ran" in attempt.error
        assert "in endless_power" in attempt.traceback
        assert (attempt.outcome, task.crashes) == (AttemptOutcome.TIMED_OUT, 0)
        assert 1000 <= attempt.ended_at - task.created_at < 2000 + SLACK_MS

        options = {"deadline": 60.0, "max_retry_times": 5, "retry_interval": 3600.0, "jitter": 0.0}
        task, attempt, _ = bench.run("leave", **options)
        assert attempt is not None
        assert (task.status, attempt.outcome) == (TaskStatus.COMPLETED, AttemptOutcome.CRASHED)
        assert "its next run would be after its deadline" in attempt.error
        assert bench.value("add", 1, 2) == 3
