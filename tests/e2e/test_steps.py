"""A worker dies in the middle of a task of steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqtasks.app.task import Task
from mqtasks.config import Settings
from tests.e2e.journey import app, fly, travel
from tests.e2e.shop import traces
from tests.support.site import eventually, open_site

HEARTBEATS = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("task", [travel, fly], ids=["thread", "event loop"])
def test_w10_after_a_kill_in_step_three_only_later_steps_run(
    tmp_path: Path, mysql_url: str, redis_url: str, task: Task[[], list[int]]
) -> None:
    def worker(name):
        return site.start("worker", "tests.e2e.journey:app", "--runner-id", name)

    app.configure(Settings.load(url=mysql_url, environ={}))
    try:
        with open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site:
            site.scheduler()
            first = worker("first")
            handle = task.enqueue()
            eventually(lambda: "3 1" in traces(tmp_path, "legs"), 30, "step three begins")
            site.kill(first)
            (tmp_path / "gate").touch()
            worker("second")
            assert handle.result(60) == [10, 20, 30, 40, 50]
            assert traces(tmp_path, "legs") == ["1 1", "2 1", "3 1", "3 2", "4 2", "5 2"]
            assert [step.epoch for step in handle.steps()] == [1, 1, 2, 2, 2]
    finally:
        app.close()
