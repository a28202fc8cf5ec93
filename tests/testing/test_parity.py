"""What the kit does to tasks is what a scheduler and a runner with threads do to them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from mqtasks import (
    AttemptOutcome,
    Cancel,
    Fail,
    MQTasks,
    Retry,
    RunnerOptions,
    Scheduler,
    Snooze,
    TaskRunner,
    TaskStatus,
    wait,
)
from mqtasks.testing import TaskTester, manual
from mqtasks.worker import current_context

app = MQTasks("memory://")


@app.task(max_retry_times=2, retry_interval=0)
def act(what: str) -> str:
    context = current_context()
    context.progress(0.5, "half")
    assert context.step("one", str.upper, what) == what.upper()
    first = context.epoch == 1
    if what == "retry" and first:
        raise Retry("again", after=0)
    if what == "snooze" and first:
        raise Snooze(0, "too early")
    if what == "cancel":
        raise Cancel("not wanted")
    if what == "fail":
        raise Fail("no use")
    if what == "error":
        raise ValueError(what)
    if what == "unstorable":
        return threading.Lock()  # type: ignore[return-value]
    return what


@app.task(timeout=600)
async def aact(what: str) -> str:
    await asyncio.sleep(0)
    if what == "cancelled":
        raise asyncio.CancelledError
    return what


CALLS = [
    *((act, what) for what in ("ok", "retry", "snooze", "cancel", "fail", "error", "unstorable")),
    *((aact, what) for what in ("ok", "cancelled")),
]
Story = dict[str, object]


def stories() -> tuple[list[Any], Callable[[], list[Story]]]:
    """Enqueue every call; return handles, and a function that tells what became of them."""
    handles: list[Any] = [
        task.options(id=f"{task.code}-{what}", key="k", priority=n, tags=("t",)).enqueue(what)
        for n, (task, what) in enumerate(CALLS)
    ]

    def tell() -> list[Story]:
        told: list[Story] = []
        for handle in handles:
            row = handle.fetch()
            attempts = handle.service.attempts(row.id)
            told.append(
                {
                    "id": row.metadata.id,
                    "status": TaskStatus(row.status),
                    "epoch": row.epoch,
                    "attempt": row.attempt,
                    "crashes": row.crashes,
                    "result": row.execute_result,
                    "progress": handle.progress() and handle.progress().message,
                    "steps": [(step.name, step.epoch, step.value) for step in handle.steps()],
                    "attempts": [(AttemptOutcome(one.outcome), one.error) for one in attempts],
                    "traced": [bool(one.traceback) for one in attempts],
                }
            )
        return told

    return handles, tell


def by_threads() -> list[Story]:
    app.close()  # its memory is empty then
    runner = TaskRunner("r", app.service, RunnerOptions(parallelism=4), registry=app.registry)
    with app, Scheduler(app.service), runner:
        handles, tell = stories()
        assert not wait(handles, timeout=50).pending
        return tell()


def test_the_rows_are_those_of_production() -> None:
    with manual(app) as tasks:
        _, tell = stories()
        tasks.drain()
        by_hand = tell()

    assert by_hand == by_threads()
    assert {story["status"] for story in by_hand} == {TaskStatus.COMPLETED, TaskStatus.CANCELED}


def test_nothing_is_left_running(mqtasks_app: TaskTester) -> None:
    before = set(threading.enumerate())
    with manual(app) as tasks:
        stories()
        tasks.drain()
        tasks.advance(3600)
    assert {thread for thread in threading.enumerate() if thread not in before} == set()
