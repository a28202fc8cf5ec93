"""Workers that die, and workers that come back from the dead."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from mqtasks.errors import InvalidTask
from mqtasks.model import (
    AsyncTask,
    AttemptOutcome,
    ExecuteResult,
    RunnerRecord,
    RunnerState,
    TaskStatus,
)
from tests.e2e import shop
from tests.e2e.shop import traces
from tests.support.servers import MariaDBServer
from tests.support.site import Site, eventually, open_site, report

HEARTBEATS = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}
SLOW_TIMEOUT = 4.0
SLOW_HEARTBEATS = {"heartbeat_interval": 0.5, "heartbeat_timeout": SLOW_TIMEOUT}


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
def test_p3_while_renewals_are_blocked_a_live_key_keeps_the_task_and_its_expiry_moves_it(
    tmp_path: Path, mariadb: MariaDBServer, mysql_url: str, redis_url: str
) -> None:
    with (
        open_site(tmp_path, mysql_url, redis_url, **SLOW_HEARTBEATS) as site,
        shop.at(mysql_url, redis_url) as service,
        redis.Redis.from_url(redis_url) as inspector,
        _renewals_blocked(mariadb, mysql_url, "first") as block,
    ):
        site.scheduler()
        single = ("--parallelism", "1", "--max-wait", "0")
        first = site.worker("first", *single)
        kept = shop.deaf.options(id="kept").enqueue(90.0, "kept")
        eventually(lambda: _started(kept.fetch()), 20, "storage knows that it runs")
        control = site.worker("control", *single)
        lost = shop.patient.options(id="lost").enqueue(90.0, "lost")
        eventually(lambda: _started(lost.fetch()), 20, "storage knows that the other one runs")
        assert (kept.fetch().runner, lost.fetch().runner) == ("first", "control")
        site.worker("second", "--parallelism", "4")
        eventually(lambda: len(service.storage.runners()) == 3, 20, "three runners")
        runner_key, task_key = (
            "mqtasks:{default}:runner:first",
            f"mqtasks:{{default}}:hb:{kept.task_id}",
        )

        # One runner is gone altogether; the other one beats in Redis, but cannot renew its lease.
        block()
        site.kill(control)

        def stays() -> RunnerRecord:
            keys = _keys(inspector)
            assert 0 < keys[runner_key] <= SLOW_TIMEOUT * 1000
            assert 0 < keys[task_key] <= SLOW_TIMEOUT * 1000
            assert inspector.get(task_key) == b"first:1"
            task = kept.fetch()
            assert (task.runner, task.epoch, task.status) == ("first", 1, TaskStatus.RUNNING)
            row = _runner("first")
            assert (row.generation, row.state) == (1, RunnerState.ACTIVE)
            return row

        eventually(
            lambda: stays().generation == 1 and lost.fetch().epoch == 2, 20, "the dead one's moves"
        )
        lost.cancel()  # blamed for the death, it would run alone, and keep the other one waiting
        assert "mqtasks:{default}:runner:control" not in _keys(inspector)
        # So the scheduler judges. For one more timeout it takes nothing from whom the key defends.
        eventually(
            lambda: stays().lease_remaining_ms <= -SLOW_TIMEOUT * 1000,
            20,
            "the lease has been over for a timeout",
        )

        os.kill(first.pid, signal.SIGSTOP)  # only the process that beats; the task goes on
        inspector.pexpire(runner_key, 200)
        eventually(lambda: inspector.pttl(runner_key) == -2, 5, "the key expires", every=0.01)
        expired = service.clock.monotonic()
        eventually(lambda: kept.fetch().epoch == 2, 5, "the task moves", every=0.01)
        moved = service.clock.monotonic() - expired

        eventually(lambda: len(traces(tmp_path, "deaf")) == 2, 20, "it starts again")
        task = kept.fetch()
        assert (task.runner, task.epoch, task.status) == ("second", 2, TaskStatus.RUNNING)
        assert [(a.epoch, a.runner) for a in service.attempts(kept.task_id)] == [(1, "first")]
        assert traces(tmp_path, "deaf") == ["start kept 1", "start kept 2"]
        lapsed = _lapsed(site, "first")
        assert SLOW_TIMEOUT <= lapsed < 2 * SLOW_TIMEOUT, "the key decided, not its longest delay"
        report(
            f"moved {moved:.2f} s after the key had expired, {lapsed:.1f} s after the lease had;"
            f" heartbeat timeout {SLOW_TIMEOUT} s, a pass each {SLOW_TIMEOUT / 10} s"
        )


@pytest.mark.timeout(120)
def test_p3_a_key_that_lives_on_delays_the_rescue_by_two_timeouts_at_most(
    tmp_path: Path, mariadb: MariaDBServer, mysql_url: str, redis_url: str
) -> None:
    with (
        open_site(tmp_path, mysql_url, redis_url, **HEARTBEATS) as site,
        shop.at(mysql_url, redis_url) as service,
        redis.Redis.from_url(redis_url) as inspector,
        _renewals_blocked(mariadb, mysql_url, "first") as block,
    ):
        site.scheduler()
        site.worker("first")
        handle = shop.deaf.enqueue(90.0, "long")
        eventually(lambda: _started(handle.fetch()), 20, "storage knows that it runs")
        site.worker("second")
        eventually(lambda: len(service.storage.runners()) == 2, 20, "two runners")
        # Else the scheduler would not trust this Redis yet, and a lapsed lease would do.
        inspector.set("watch", "", px=2_500)
        eventually(lambda: not inspector.exists("watch"), 20, "Redis is trusted")
        block()

        def defended() -> bool:
            assert inspector.pttl("mqtasks:{default}:runner:first") > 0
            return handle.fetch().epoch == 2

        eventually(defended, 30, "the task moves all the same")
        lapsed = _lapsed(site, "first")
        assert lapsed >= 2 * HEARTBEATS["heartbeat_timeout"]
        report(f"moved {lapsed:.1f} s after the lease had lapsed; heartbeat timeout 2.0 s")


@contextlib.contextmanager
def _renewals_blocked(
    server: MariaDBServer, url: str, runner_id: str
) -> Iterator[Callable[[], None]]:
    """Yield what makes the database refuse to renew one runner's lease, until the end.

    It lets every other write to the row pass, as fencing it is.
    """
    with (
        contextlib.closing(server.client(url.rpartition("/")[2])) as client,
        client.cursor() as cursor,
    ):

        def block() -> None:
            cursor.execute(
                "CREATE TRIGGER no_renewal BEFORE UPDATE ON mqtasks_runner FOR EACH ROW"
                " BEGIN IF NEW.runner_id = %s AND NEW.generation = OLD.generation"
                " AND NEW.lease_expires_at <> OLD.lease_expires_at THEN"
                " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no renewal, says the test';"
                " END IF; END",
                (runner_id,),
            )

        try:
            yield block
        finally:
            cursor.execute("DROP TRIGGER IF EXISTS no_renewal")


def _keys(client: redis.Redis) -> dict[str, int]:
    """Return each key of mqtasks with its time to live in milliseconds, as redis-cli finds them."""
    return {key.decode(): client.pttl(key) for key in client.scan_iter("mqtasks:*")}


def _runner(runner_id: str) -> RunnerRecord:
    [row] = [row for row in shop.app.service.storage.runners() if row.id == runner_id]
    return row


def _lapsed(site: Site, runner_id: str) -> float:
    """Return for how many seconds a lease had been over when the scheduler took the tasks."""
    said = rf"took 1 tasks from runner {runner_id}: its lease lapsed ([0-9.]+) s ago"
    match = eventually(lambda: re.search(said, site.logs()), 10, "the scheduler says so")
    assert match is not None
    return float(match[1])


def _ended(task: AsyncTask) -> AsyncTask | None:
    return task if task.status.is_final else None


def _started(task: AsyncTask) -> AsyncTask | None:
    return task if task.started_at else None
