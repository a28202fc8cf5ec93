"""Inline mode: a task has run when `enqueue` returns."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mqtasks import TaskStatus
from mqtasks.testing import TaskTester, inline
from tests.testing import shop

pytestmark = pytest.mark.mqtasks(inline=True)


def test_a_result_is_there_at_once(mqtasks_app: TaskTester) -> None:
    assert shop.note.enqueue("x").result(0) == "x"
    assert shop.anote.enqueue("y").result(0) == "y"
    assert [handle.result(0) for handle in shop.note.enqueue_many([(1,), (2,)])] == ["1", "2"]


def test_tasks_may_wait_for_tasks(mqtasks_app: TaskTester) -> None:
    assert shop.parent.enqueue("a", "b").result(0) == ["a", "b"]


def test_an_error_comes_out_of_the_call(mqtasks_app: TaskTester) -> None:
    with pytest.raises(ConnectionError, match="failure 1"):
        shop.flaky.options(max_retry_times=0).enqueue(1)


def test_a_failure_that_is_retried_is_no_error_yet(mqtasks_app: TaskTester) -> None:
    handle = shop.flaky.enqueue(9)
    assert handle.status() is TaskStatus.SCHEDULED

    assert len(mqtasks_app.advance(10)) == 1
    with pytest.raises(ConnectionError, match="failure 3"):
        mqtasks_app.advance(20)
    assert not handle.succeeded()


@pytest.mark.mqtasks(inline=True, raise_errors=False)
def test_errors_can_stay_in_the_row(mqtasks_app: TaskTester) -> None:
    handle = shop.flaky.options(max_retry_times=0).enqueue(1)

    assert handle.status() is TaskStatus.COMPLETED
    assert not handle.succeeded()


def test_what_is_delayed_runs_at_its_time(mqtasks_app: TaskTester) -> None:
    start = mqtasks_app.clock.now_ms()

    @shop.app.task(name=f"clocked-{id(mqtasks_app)}")
    def clocked() -> None:
        shop.events.append((mqtasks_app.clock.now_ms() - start) / 1000)

    for delay in (20, 10):
        clocked.options(delay=delay).enqueue()
    assert shop.events == []

    assert len(mqtasks_app.advance(30)) == 2
    assert shop.events == [10.0, 20.0]


def test_the_modes_can_change_within_a_test(mqtasks_app: TaskTester) -> None:
    with mqtasks_app.manual():
        shop.note.enqueue("waits")
        assert shop.events == []
        with mqtasks_app.inline(raise_errors=False):
            shop.note.enqueue("runs")
            assert shop.events == ["waits", "runs"]
    shop.note.enqueue("again")
    assert shop.events == ["waits", "runs", "again"]


def test_threads_of_a_task_may_enqueue(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"threaded-{id(mqtasks_app)}")
    def threaded() -> list[str]:
        results: list[str] = []
        thread = threading.Thread(target=lambda: results.append(shop.note.enqueue("x").result(0)))
        thread.start()
        thread.join(20)
        return results

    assert threaded.enqueue().result(0) == ["x"]


def test_coroutines_may_enqueue(mqtasks_app: TaskTester) -> None:
    async def test() -> str:
        return (await shop.anote.aenqueue("x")).result(0)

    assert asyncio.run(test()) == "x"


def test_an_async_task_may_enqueue_another(mqtasks_app: TaskTester) -> None:
    @shop.app.task(name=f"nesting-{id(mqtasks_app)}")
    async def nesting() -> str:
        return (await shop.anote.aenqueue("inner")).result(0) + shop.note.enqueue("!").result(0)

    assert nesting.enqueue().result(0) == "inner!"


def test_every_application_has_its_own_mode(mqtasks_app: TaskTester) -> None:
    with inline(shop.app, raise_errors=False) as other:
        shop.flaky.options(max_retry_times=0).enqueue(1)
        assert len(other.enqueued(shop.flaky)) == 1
    mqtasks_app.refute_enqueued(shop.flaky)
