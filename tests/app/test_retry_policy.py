"""Retrying by exception and by a delay of the task's own, from the decorator to the row (M9)."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

from mqtasks import (
    AttemptOutcome,
    InvalidArgument,
    MQTasks,
    RetryPolicy,
    Scheduler,
    TaskFailed,
    TaskHandle,
    TaskOptions,
    TaskRunner,
)
from mqtasks.events import subscribe

DEADLINE = 30.0


class Busy(ConnectionError):
    pass


@pytest.fixture
def memory():
    with MQTasks("memory://") as made:
        yield made


def ended(app: MQTasks, handle: TaskHandle[Any]) -> list[str]:
    """Run the application until a task has ended; return the errors of its history."""
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        assert handle.wait(DEADLINE)
    return [attempt.error for attempt in app.service.attempts(handle.task_id)]


def test_m9_listed_exceptions_are_retried_and_others_end_the_task(memory: MQTasks):
    runs = count()

    @memory.task(max_retry_times=5, retry_on=ConnectionError, retry_delay=0.01)
    def fetch() -> None:
        raise Busy("busy") if next(runs) < 2 else ValueError("no such page")

    handle = fetch.enqueue()
    assert ended(memory, handle) == ["Busy: busy", "Busy: busy", "ValueError: no such page"]
    with pytest.raises(TaskFailed, match="no such page"):
        handle.result(0)
    task = handle.fetch()
    assert (task.epoch, task.metadata.options) == (3, TaskOptions(max_retry_times=5))


def test_m9_exceptions_given_up_on_end_a_coroutine_task(memory: MQTasks):
    @memory.task(max_retry_times=5, give_up_on=(KeyError, ConnectionError), retry_on=Busy)
    async def fetch(kind: str) -> None:
        await asyncio.sleep(0)
        raise {"other": KeyError, "gone": ConnectionError, "busy": Busy}[kind]

    many = fetch.options(max_retry_times=1, retry_interval=0.01).enqueue_many(
        [("other",), ("gone",), ("busy",)]
    )
    with Scheduler(memory.service), TaskRunner("r", memory.service, registry=memory.registry):
        assert all(handle.wait(DEADLINE) for handle in many)
    assert [handle.fetch().epoch for handle in many] == [1, 1, 2]


def test_m9_a_function_chooses_each_delay_in_the_row(app: MQTasks):
    told: list[tuple[int, str]] = []

    def delay(attempt: int, error: Exception) -> timedelta | float:
        told.append((attempt, str(error)))
        return timedelta(milliseconds=10) if attempt == 1 else 3600

    @app.task(max_retry_times=2, retry_delay=delay)
    def fetch() -> None:
        raise Busy("busy")

    handle = fetch.enqueue()
    waits = threading.Event()
    retried: list[int] = []

    def heard(_name: str, fields: Any) -> None:
        retried.append(fields["delay_ms"])
        if len(retried) == 2:
            waits.set()

    end = subscribe("task.retried", heard)
    try:
        with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
            assert waits.wait(DEADLINE)
    finally:
        end()
    task = handle.fetch()
    last = app.service.attempts(handle.task_id)[-1]
    assert told == [(1, "busy"), (2, "busy")]
    assert retried == [10, 3_600_000]
    assert task.attempt == 2
    assert 0 <= task.run_at - 3_600_000 - last.ended_at < 60_000


def test_m9_a_function_that_fails_loses_no_task_and_is_told_in_the_history(memory: MQTasks):
    def delay(_attempt: int, _error: Exception) -> float:
        raise LookupError("no such table")

    @memory.task(max_retry_times=1, retry_delay=delay, retry_interval=0.01)
    def fetch() -> None:
        raise Busy("busy")

    told = "retry_delay failed, so the task's options decide: LookupError: no such table"
    assert ended(memory, fetch.enqueue()) == [f"Busy: busy\n{told}", "Busy: busy"]


@pytest.mark.parametrize(("given_up", "epoch"), [(OSError, 1), (ValueError, 2)])
def test_a_timeout_counts_as_a_timeout_error(memory: MQTasks, given_up, epoch):
    @memory.task(max_retry_times=1, retry_delay=0, give_up_on=given_up, timeout=0.05)
    async def hang() -> None:
        await asyncio.sleep(DEADLINE)

    handle = hang.enqueue()
    assert len(ended(memory, handle)) == epoch
    history = memory.service.attempts(handle.task_id)
    assert {attempt.outcome for attempt in history} == {AttemptOutcome.TIMED_OUT}


def test_an_executor_of_the_references_form_takes_a_policy(memory: MQTasks):
    def execute(_context: object, _task: object) -> bytes:
        raise ValueError("no")

    handle = memory.remote("raw", max_retry_times=5).enqueue()
    runner = TaskRunner("r", memory.service)
    runner.register_executor("raw", execute, retry=RetryPolicy.of(give_up_on=ValueError))
    with Scheduler(memory.service), runner:
        assert handle.wait(DEADLINE)
    assert handle.fetch().epoch == 1


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ({"retry_on": OSError}, "retry_on", "give max_retry_times >= 1"),
        ({"give_up_on": OSError, "max_retry_times": 0}, "give_up_on", "give max_retry_times >= 1"),
        ({"retry_delay": 5}, "retry_delay", "give max_retry_times >= 1"),
        (
            {"retry_delay": 5, "max_retry_times": 1, "retry_interval": 5},
            "retry_interval",
            "no effect beside retry_delay",
        ),
        ({"retry_on": "OSError", "max_retry_times": 1}, "retry_on", "an exception class"),
        ({"retry_delay": -1, "max_retry_times": 1}, "retry_delay", "seconds >= 0"),
    ],
)
def test_a_policy_is_judged_when_the_task_is_registered(memory: MQTasks, given, field, remedy):
    with pytest.raises(InvalidArgument) as caught:
        memory.task(**given)
    assert caught.value.field == field
    assert remedy in str(caught.value)
    assert len(memory.registry) == 0
