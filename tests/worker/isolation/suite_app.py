"""One set of executors for each way to execute: ``tests.worker.isolation.suite_app:app``."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any

from mqtasks import Cancel, Fail, MQTasks, Retry, Snooze
from mqtasks.worker import current_context

MODES = ("thread", "async", "process", "async-process")

app = MQTasks()


@dataclass
class Point:
    x: int
    y: float


def convert(when: datetime, point: Point, *rest: int, scale: int = 1) -> Point:
    assert isinstance(when, datetime)
    return Point(point.x * scale + sum(rest), point.y * when.year)


def describe() -> dict[str, Any]:
    context = current_context()
    remaining = context.remaining()
    assert remaining is not None
    return {
        "task_id": context.task_id,
        "epoch": context.epoch,
        "attempt": context.attempt,
        "runner": context.runner_id,
        "remaining": 30 < remaining <= 60,
        "cancelled": context.cancelled,
        "metadata": context.task.metadata.id,
    }


def fail() -> None:
    raise ValueError("no such thing")


def retry() -> None:
    raise Retry("not yet", after=7)


def snooze() -> Any:
    return Snooze(5, "too early")


def cancel() -> None:
    raise Cancel("not wanted")


def refuse() -> None:
    raise Fail("never")


def lose_key() -> None:
    raise KeyError("gone")


def leave() -> None:
    sys.exit("enough")


def unstorable() -> object:
    return object()


def huge() -> str:
    return "x" * (2 << 20)


def nothing() -> None:
    pass


def progress() -> None:
    context = current_context()
    for n in range(1000):
        context.progress(n / 1000, f"step {n}")
    context.progress(1.0, "done")
    raise ValueError("after that")


def in_steps() -> str:
    """Fail behind its step the first time; the step tells which execution has run it."""
    context = current_context()
    found = context.step("once", lambda: f"epoch {context.epoch}")
    if context.epoch == 1:
        raise ValueError("after the step")
    return found


async def in_steps_async() -> str:
    context = current_context()
    found = await context.astep("once", lambda: f"epoch {context.epoch}")
    if context.epoch == 1:
        raise ValueError("after the step")
    return found


def transact(path: str) -> None:
    """Write, and complete, in one transaction; what is raised afterwards does not matter."""
    connection = sqlite3.connect(path, isolation_level=None)
    with current_context().transaction(connection) as transaction:
        connection.execute("CREATE TABLE mine (value)")
        transaction.result = "both"
    connection.close()
    raise ValueError("too late")


def enqueue() -> int:
    task_id: int = here("nothing").enqueue().task_id
    return task_id


def hold() -> None:
    current_context().wait_cancelled(60)
    current_context().check()


async def hold_async() -> None:
    await asyncio.sleep(60)


def _async(function: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    return run


_ASYNC: dict[Any, Any] = {in_steps: in_steps_async, hold: hold_async}
_OPTIONS: dict[Any, dict[str, Any]] = {
    describe: {"timeout": 60},
    lose_key: {"max_retry_times": 3, "give_up_on": KeyError},
}
_tasks: dict[str, Any] = {}


def here(name: str) -> Any:
    """Return the task of that name that is executed as the current one is."""
    mode, _, _ = str(current_context().task.metadata.executor).partition(".")
    return _tasks[f"{mode}.{name}"]


for _mode in MODES:
    _functions: tuple[Any, ...] = (
        *(convert, describe, fail, retry, snooze, cancel, refuse, lose_key, leave, unstorable),
        *(huge, nothing, progress, in_steps, transact, enqueue, hold),
    )
    for _function in _functions:
        _code = f"{_mode}.{_function.__name__}"
        _run = _ASYNC.get(_function) or _async(_function) if "async" in _mode else _function
        _isolation: Any = "process" if "process" in _mode else None
        _tasks[_code] = app.task(name=_code, isolation=_isolation, **_OPTIONS.get(_function, {}))(
            _run
        )
