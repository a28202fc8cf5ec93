"""A worker brings in what its application declares, and runs it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mqtasks import MQTasks, where
from mqtasks.model import TaskStatus
from tests.support.site import open_site

SOURCE = """
from mqtasks import MQTasks

app = MQTasks()

@app.cron("* * * * * *", id="tick", args=[2], misfire="all")
@app.task
def double(number: int) -> int:
    return 2 * number
"""


@pytest.mark.timeout(120)
def test_m15_a_worker_stores_and_runs_what_is_declared(tmp_path: Path) -> None:
    (tmp_path / "ticking.py").write_text(SOURCE)
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    with open_site(tmp_path, url) as site:
        site.start("worker", "ticking:app", "--with-scheduler", "--processes", "2")
        pause = threading.Event()
        with MQTasks(url) as app:
            done = where.status == TaskStatus.COMPLETED
            ended = app.service.query_task(where.parent_task_id == "tick", done)
            for _ in range(600):
                if len(ended) > 1:
                    break
                pause.wait(0.1)
                ended = app.service.query_task(where.parent_task_id == "tick", done)
            assert [app.handle(task.id).result(timeout=1) for task in ended[:2]] == [4, 4]
            (cron,) = app.service.query_cron_task()
        assert (cron.app, cron.version) == ("ticking", 0)
