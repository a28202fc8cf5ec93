"""Awaiting results: woken by a hint, polled without one, one statement for all who wait (S5)."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mqtasks import MQTasks, ResultTimeout, StorageUnavailable, TaskCanceled, TaskFailed
from mqtasks.config import Settings
from mqtasks.scheduler import Scheduler
from mqtasks.service import waiting
from mqtasks.worker import TaskRunner
from mqtasks.worker.ended import EndedNews

DEADLINE = 30.0


@pytest.fixture(params=["memory", "sqlite", "redis", "mysql"])
def app(request):
    urls = {"memory": "memory://", "mysql": "mysql_url"}
    url = urls.get(request.param, "sqlite_url")
    url = request.getfixturevalue(url) if url.endswith("_url") else url
    redis = request.getfixturevalue("redis_url") if request.param in {"redis", "mysql"} else ""
    given = {"url": url, "redis": redis} if redis else {"url": url}
    with MQTasks(settings=Settings.load(environ={}, **given)) as made:
        yield made


@pytest.fixture
def gate(app: MQTasks):
    opened = threading.Event()

    @app.task
    def work(number: int) -> int:
        assert opened.wait(DEADLINE)
        if number < 0:
            raise ValueError("negative")
        return number

    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        yield work, opened
        opened.set()


def test_s5_a_hint_wakes_who_waits(app, gate, monkeypatch):
    for name in ("FIRST_LOOK", "LONGEST", "LONGEST_UNHINTED"):
        monkeypatch.setattr(waiting, name, 600.0)
    work, opened = gate
    handle = work.enqueue(7)
    told, awaited = threading.Event(), EndedNews.awaited

    def spy(news):
        awaited(news)
        told.set()

    monkeypatch.setattr(EndedNews, "awaited", spy)  # the runner has heard that somebody waits
    threading.Thread(target=lambda: told.wait(DEADLINE) and opened.set()).start()
    assert handle.wait(DEADLINE)
    assert handle.result(0) == 7


def test_s5_failed_and_canceled_raise_per_handle(gate):
    work, opened = gate
    failed, canceled = work.enqueue(-1), work.options(delay=3600).enqueue(1)
    canceled.cancel()
    opened.set()
    with pytest.raises(TaskCanceled):
        canceled.result(DEADLINE)
    with pytest.raises(TaskFailed, match="negative"):
        asyncio.run(failed.aresult(DEADLINE))


def test_s5_without_news_the_timeout_ends_the_wait(app, gate):
    work, _ = gate
    handle = work.enqueue(1)
    assert not handle.wait(0)
    assert not app.service.waiter.active, "only looking needs no thread"
    assert not handle.wait(0.05)
    with pytest.raises(ResultTimeout):
        asyncio.run(handle.aresult(0.05))


def test_s5_a_thousand_tasks_cost_one_statement_per_look(app: MQTasks, monkeypatch):
    @app.task
    def never(n: int) -> int:
        return n

    handles = never.enqueue_many([(n,) for n in range(1000)])
    asked, enough = [], threading.Event()
    unended = app.service.storage.unended

    def spy(ids):
        asked.append(len(ids))
        if len(asked) == 3:
            enough.set()
        return unended(ids)

    monkeypatch.setattr(app.service.storage, "unended", spy)
    watch = app.service.waiter.watch([handle.task_id for handle in handles], lambda: None)
    assert enough.wait(DEADLINE)
    watch.close()
    assert set(asked) == {1000}


def test_s5_close_ends_every_wait_and_the_thread(app, gate):
    work, _ = gate
    news = threading.Event()
    service = app.service
    watch = service.waiter.watch([work.enqueue(1).task_id], news.set)
    assert service.waiter.active
    service.waiter.close()
    assert news.wait(DEADLINE)
    assert not service.waiter.active
    with pytest.raises(StorageUnavailable, match="closed"):
        watch.take()
