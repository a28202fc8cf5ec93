"""Attempts and delays outlive the processes that decided them (M9)."""

from __future__ import annotations

from pathlib import Path

import pytest

from mqtasks.model import TaskStatus
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.site import eventually, open_site, report


@pytest.mark.timeout(120)
def test_m9_attempt_and_delay_survive_the_loss_of_every_process(
    tmp_path: Path, mysql_url: str
) -> None:
    with open_site(tmp_path, mysql_url) as site, shop.at(mysql_url):
        handle = shop.unsteady.enqueue()
        lost = (site.scheduler(), site.worker("first"))
        eventually(lambda: handle.fetch().attempt == 1, 30, "the first attempt fails")
        for process in lost:
            site.kill(process)
        waiting = handle.fetch()
        (failed,) = shop.app.service.attempts(handle.task_id)
        assert (waiting.status, waiting.attempt, waiting.epoch) == (TaskStatus.SCHEDULED, 1, 1)
        assert waiting.run_at - failed.ended_at == 3000

        site.scheduler()
        site.worker("second")
        assert handle.result(60) == 1
        done = handle.fetch()
        assert (done.attempt, done.epoch, done.crashes, done.reassigned) == (1, 2, 0, 0)
        assert traces(tmp_path, "unsteady") == ["0 1 first", "1 2 second"]
        assert done.completed_at >= waiting.run_at
        report(f"ran {(done.completed_at - waiting.run_at) / 1000:.2f} s after it was due")
