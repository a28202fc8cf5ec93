"""Workers that die, and workers that come back from the dead."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mqtasks.errors import InvalidTask
from mqtasks.model import AsyncTask, AttemptOutcome, ExecuteResult, TaskStatus
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.site import eventually, open_site, report

HEARTBEATS = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}


@pytest.mark.timeout(120)
def test_p3_a_killed_workers_long_task_moves_within_the_timeout(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site, shop.at(mysql_url):
        site.scheduler()
        first = site.worker("first")
        handle = shop.patient.options(id="long").enqueue(60.0, "long")
        eventually(lambda: traces(tmp_path, "patient"), 20, "the task starts")
        site.worker("second")
        eventually(lambda: len(shop.app.service.storage.runners()) == 2, 20, "two runners")

        clock = shop.app.service.clock
        site.kill(first)
        killed = clock.monotonic()
        eventually(lambda: len(traces(tmp_path, "patient")) == 2, 30, "the task starts again")
        moved = clock.monotonic() - killed

        task = handle.fetch()
        assert (task.status, task.runner, task.epoch) == (TaskStatus.RUNNING, "second", 2)
        report(f"moved {moved:.2f} s after the kill; heartbeat timeout 2.0 s")


@pytest.mark.timeout(120)
def test_p3_a_stopped_worker_that_continues_writes_nothing_and_cancels(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site, shop.at(mysql_url):
        site.scheduler()
        first = site.worker("first")
        handle = shop.patient.options(id="zombie").enqueue(8.0, "zombie")
        stale = eventually(lambda: _started(handle.fetch()), 20, "storage knows that it runs")
        site.worker("second")
        eventually(lambda: len(shop.app.service.storage.runners()) == 2, 20, "two runners")

        site.signal_tree(first, signal.SIGSTOP)
        eventually(lambda: handle.fetch().epoch == 2, 30, "the task moves")
        site.signal_tree(first, signal.SIGCONT)

        lines = eventually(
            lambda: [line for line in traces(tmp_path, "patient") if "cancelled" in line],
            20,
            "the first executor sees the cancellation",
        )
        assert lines[0].startswith("cancelled zombie 1")
        with pytest.raises(InvalidTask):
            shop.app.service.complete("first", stale, ExecuteResult())
        assert handle.result(30) == "zombie in epoch 2"
        [attempt] = shop.app.service.attempts(handle.task_id)
        assert (attempt.epoch, attempt.runner) == (1, "first")
        assert attempt.outcome == AttemptOutcome.FENCED, "the charge was taken back"


@pytest.mark.timeout(120)
def test_p8_a_poison_task_fails_alone_and_its_neighbours_succeed(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site, shop.at(mysql_url):
        good = shop.double.enqueue_many([(n,) for n in range(500)])
        bad = shop.poison.options(id="poison", priority=1).enqueue()
        more = shop.double.enqueue_many([(n,) for n in range(500)])
        site.scheduler()
        site.worker("first", "--parallelism", "4")

        task = eventually(lambda: _ended(bad.fetch()), 90, "the poison task ends")
        results = [handle.result(60) for handle in (*good, *more)]

        assert task is not None
        assert task.execute_result is not None
        assert task.execute_result.code == 1
        assert results == [2 * n for n in range(500)] * 2
        assert len(traces(tmp_path, "poison")) == task.crashes == 4  # 3 allowed, the 4th fails it


@pytest.mark.timeout(120)
def test_a_rolling_restart_loses_nothing_and_burns_no_attempt(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site, shop.at(mysql_url):
        site.scheduler()
        worker = site.worker("roll", "--parallelism", "4")
        handles = shop.double.enqueue_many([(n,) for n in range(1000)])
        for _ in range(3):
            seen = len(traces(tmp_path, "double"))
            eventually(lambda: len(traces(tmp_path, "double")) > seen, 20, "tasks run")  # noqa: B023
            assert site.stop(worker) == 0
            worker = site.worker("roll", "--parallelism", "4")
            handles += shop.double.enqueue_many([(n,) for n in range(1000)])

        assert [handle.result(60) for handle in handles] == [2 * n for n in range(1000)] * 4
        tasks = shop.app.service.query_task()
        assert {(task.attempt, task.crashes) for task in tasks} == {(0, 0)}
        assert len(traces(tmp_path, "double")) == 4000


def _ended(task: AsyncTask) -> AsyncTask | None:
    return task if task.status.is_final else None


def _started(task: AsyncTask) -> AsyncTask | None:
    return task if task.started_at else None
