"""Attempts and delays outlive the processes that decided them (M9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqtasks.model import TaskStatus
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.site import eventually, open_site, report


@pytest.mark.timeout(120)
@pytest.mark.parametrize("database", ["mysql", "sqlite"])
def test_m9_attempt_and_delay_survive_the_loss_of_every_process(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue(f"{database}_url")
    heartbeats = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}
    with open_site(tmp_path, url, None, **heartbeats) as site, shop.at(url):
        handle = shop.unsteady.enqueue()
        lost = (site.scheduler(), site.worker("first"))
        eventually(lambda: handle.fetch().attempt == 1, 30, "the first attempt fails")
        for process in lost:
            site.kill(process)
        waiting = handle.fetch()
        (failed,) = shop.app.service.attempts(handle.task_id)
        assert (waiting.status, waiting.attempt, waiting.epoch) == (TaskStatus.SCHEDULED, 1, 1)
        assert 3000 <= waiting.run_at - failed.ended_at < 4000  # two readings of one clock

        site.scheduler()
        site.worker("second")
        assert handle.result(60) == 1
        done = handle.fetch()
        assert (done.attempt, done.crashes) == (1, 0)
        # The first worker's lease may not have lapsed yet: then it had the task once more.
        assert traces(tmp_path, "unsteady") == ["0 1 first", f"1 {done.epoch} second"]
        assert done.completed_at >= waiting.run_at
        report(f"ran {(done.completed_at - waiting.run_at) / 1000:.2f} s after it was due")
