"""Executors in processes of their own make children, and read what their parents returned (S12)."""

from __future__ import annotations

import pytest

from mqtasks import RunnerOptions, Scheduler, SchedulerOptions, TaskRunner
from mqtasks.config import Settings
from tests.worker.isolation.relatives_app import app, parent

DEADLINE = 60.0


@pytest.mark.timeout(120)
def test_s12_isolated_tasks_have_relatives(sqlite_url: str) -> None:
    app.configure(Settings.load(url=sqlite_url, environ={}))
    try:
        handle = parent.options(id="p").enqueue(3)
        with (
            Scheduler(app.service, SchedulerOptions(promote_poll=0.02)),
            TaskRunner("r", app.service, RunnerOptions(parallelism=2), registry=app.registry),
        ):
            assert handle.result(DEADLINE) == "p/total:0"
            assert app.handle("p/total:0").result(DEADLINE) == 3
        assert len(app.service.storage.children(handle.task_id)) == 4
    finally:
        app.close()
