"""What an executor may decide about its own task: retry, snooze, cancel, fail (M9)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import count

import pytest

from mqtasks import (
    AttemptOutcome,
    Cancel,
    Fail,
    InvalidArgument,
    MQTasks,
    Retry,
    Scheduler,
    Snooze,
    TaskCanceled,
    TaskFailed,
    TaskHandle,
    TaskRunner,
    TaskStatus,
)

DEADLINE = 30.0


def ended(app: MQTasks, handle: TaskHandle[object]) -> list[tuple[AttemptOutcome, str]]:
    """Run the application until a task has ended; return its history."""
    with Scheduler(app.service), TaskRunner("r", app.service, registry=app.registry):
        assert handle.wait(DEADLINE)
    history = app.service.attempts(handle.task_id)
    return [(AttemptOutcome(item.outcome), item.error) for item in history]


def test_m9_a_snooze_burns_no_attempt_and_keeps_its_history(app: MQTasks):
    runs = count()

    @app.task
    def poll() -> str:
        if next(runs) < 3:
            raise Snooze(0.01, "not there yet")
        return "there"

    handle = poll.enqueue()
    assert ended(app, handle) == [(AttemptOutcome.SNOOZED, "not there yet")] * 3
    assert handle.result(0) == "there"
    task = handle.fetch()
    assert (task.attempt, task.crashes, task.epoch) == (0, 0, 4)


def test_m9_a_retry_names_its_delay_and_counts(app: MQTasks):
    @app.task(max_retry_times=2, retry_interval=3600)
    async def fetch() -> None:
        await asyncio.sleep(0)
        raise Retry("rate limited", after=timedelta(milliseconds=10))

    handle = fetch.enqueue()
    assert ended(app, handle) == [(AttemptOutcome.FAILED, "rate limited")] * 3
    with pytest.raises(TaskFailed, match="rate limited"):
        handle.result(0)
    assert handle.fetch().epoch == 3


def test_m9_fail_ends_a_task_though_retries_are_left(app: MQTasks):
    @app.task(max_retry_times=5)
    def charge() -> None:
        raise Fail("the card is stolen")

    handle = charge.enqueue()
    assert ended(app, handle) == [(AttemptOutcome.FAILED, "the card is stolen")]
    with pytest.raises(TaskFailed, match="the card is stolen"):
        handle.result(0)


def test_m9_cancel_ends_a_task_as_canceled(app: MQTasks):
    @app.task
    def remind() -> object:
        return Cancel("the order is gone")

    handle = remind.enqueue()
    assert ended(app, handle) == [(AttemptOutcome.CANCELED, "the order is gone")]
    assert handle.status() is TaskStatus.CANCELED
    with pytest.raises(TaskCanceled):
        handle.result(0)


def test_a_raw_executor_may_return_a_verdict(app: MQTasks):
    runs = count()

    def execute(_context: object, _task: object) -> object:
        return Snooze(0.01) if next(runs) == 0 else b"done"

    handle = app.remote("raw").enqueue()
    runner = TaskRunner("r", app.service)
    runner.register_executor("raw", execute)
    with Scheduler(app.service), runner:
        assert handle.wait(DEADLINE)
    task = handle.fetch()
    assert (task.attempt, task.epoch) == (0, 2)


@pytest.mark.parametrize("after", [-1, float("nan"), "soon", True])
def test_a_delay_that_is_none_is_refused(after):
    for verdict in (lambda: Snooze(after), lambda: Retry(after=after)):
        with pytest.raises(InvalidArgument, match="seconds >= 0, or a timedelta"):
            verdict()
