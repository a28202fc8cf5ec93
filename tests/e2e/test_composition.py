"""Plans survive the death of whoever moves them: each task starts once, or not at all (S12)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mqtasks import ResultCode, chain, group
from mqtasks.config import Settings
from tests.e2e.family import app, broad, gate, link
from tests.e2e.shop import traces
from tests.support.site import Site, eventually, open_site, report

LONG = bool(os.environ.get("MQTASKS_TEST_LONG"))
KILLS = 20 if LONG else 3
HEARTBEATS = {"heartbeat_interval": 0.3, "heartbeat_timeout": 2.0}
QUICK_ELECTION = {"leader_ttl": 0.9, "leader_renew": 0.25}


@contextmanager
def family(folder: Path, url: str, redis: str) -> Iterator[Site]:
    app.configure(Settings.load(url=url, redis=redis, environ={}))
    try:
        with open_site(folder, url, redis, **HEARTBEATS, **QUICK_ELECTION) as site:
            yield site
    finally:
        app.close()


def worker(site: Site, name: str):
    return site.start("worker", "tests.e2e.family:app", "--runner-id", name)


def goes_on(folder: Path) -> None:
    """Wait until one more task has begun."""
    begun = len(traces(folder, "links"))
    eventually(lambda: len(traces(folder, "links")) > begun, 60, "another task begins")


def all_ran_once(folder: Path, names: list[str]) -> None:
    """Hold history and traces to one execution for each name."""
    assert Counter(traces(folder, "links")) == Counter(f"{name} 1" for name in names)
    for task in app.service.query_task():
        assert task.execute_result is not None
        assert (task.epoch, task.execute_result.code) == (1, ResultCode.SUCCESS)
        assert app.service.attempts(task.id) == []


@pytest.mark.timeout(120)
def test_s12_a_scheduler_dies_between_a_parents_end_and_its_child(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with family(tmp_path, mysql_url, redis_url) as site:
        first = site.scheduler()
        worker(site, "w1")
        handle = chain(gate.s("a"), link.s("b"), link.s("c")).enqueue(id="p")
        eventually(lambda: traces(tmp_path, "links"), 30, "the parent begins")
        site.kill(first)
        (tmp_path / "gate").touch()
        parent = app.handle("p/0")
        assert parent.wait(30)
        assert handle.status().name == "WAITING", "nobody is there to move it"
        site.scheduler()
        assert handle.result(60) == "c<b<a>>"
        all_ran_once(tmp_path, ["a", "b", "c"])


@pytest.mark.timeout(400)
def test_s12_leading_schedulers_are_killed_while_plans_run(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    """Standbys resolve beside a leader that dies at any point of its work."""
    with family(tmp_path, mysql_url, redis_url) as site:
        schedulers = [site.scheduler(), site.scheduler()]
        worker(site, "w1")
        worker(site, "w2")
        lasts, names = [], []
        for plan in range(KILLS):
            chains = [
                chain(*(link.s(f"{plan}.{side}.{depth}") for depth in range(4)))
                for side in range(8)
            ]
            names += [f"{plan}.{side}.{depth}" for side in range(8) for depth in range(4)]
            names.append(f"{plan}.all")
            lasts.append(group(chains).then(link.s(f"{plan}.all")).enqueue(id=f"p{plan}"))
            goes_on(tmp_path)
            site.kill(schedulers.pop(0))
            schedulers.append(site.scheduler())
        for last in lasts:
            assert last.result(120).count("<") == 1 + 8 * 4
        all_ran_once(tmp_path, names)
        report(f"{len(names)} tasks in {KILLS} plans, {KILLS} kills: each ran once")


@pytest.mark.timeout(120)
def test_s12_a_worker_dies_while_it_makes_children(
    tmp_path: Path, mysql_url: str, redis_url: str
) -> None:
    with family(tmp_path, mysql_url, redis_url) as site:
        site.scheduler()
        first = worker(site, "w1")
        handle = broad.options(id="b").enqueue(6)
        eventually(lambda: traces(tmp_path, "broad"), 30, "half of them are made")
        site.kill(first)
        (tmp_path / "gate").touch()
        worker(site, "w2")
        last = app.handle(handle.result(60))
        assert last.result(60) == f"all<{','.join(f'{n}<>' for n in range(6))}>"
        assert app.service.get(handle.task_id).epoch == 2
        children = app.service.storage.children(handle.task_id)
        assert len(children) == 7
        ran = Counter(line.split()[0] for line in traces(tmp_path, "links"))
        # Those that the dead worker was executing may have run again; none is there twice.
        assert set(ran) == {*map(str, range(6)), "all"}
        assert ran["all"] == 1
