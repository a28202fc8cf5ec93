"""The application that the end-to-end tests run; it leaves traces outside mqtasks' tables."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mqtasks import MQTasks
from mqtasks.config import Settings
from mqtasks.service import TaskService
from mqtasks.worker import current_context

app = MQTasks()
_FOLDER = Path(os.environ.get("SHOP_FOLDER", "."))


@contextmanager
def at(url: str, redis: str | None = None) -> Iterator[TaskService]:
    """Let this process enqueue into the shop at ``url`` for a while."""
    app.configure(Settings.load(url=url, redis=redis, environ={}))
    try:
        yield app.service
    finally:
        app.close()


def trace(name: str, line: str) -> None:
    """Append one line to a file; O_APPEND writes of one line do not mix."""
    handle = os.open(_FOLDER / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


def traces(folder: Path, name: str) -> list[str]:
    """Return the lines written so far."""
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


@app.task
def double(number: int) -> int:
    """Do a little work."""
    trace("double", str(number))
    return 2 * number


@app.task
def patient(seconds: float, label: str) -> str:
    """Work for long, looking at the cancellation as an executor should."""
    context = current_context()
    trace("patient", f"start {label} {context.epoch} {os.getpid()}")
    if context.wait_cancelled(seconds):
        trace("patient", f"cancelled {label} {context.epoch} {context.cancel_reason}")
        return "cancelled"
    trace("patient", f"end {label} {context.epoch}")
    return f"{label} in epoch {context.epoch}"


@app.task
def deaf(seconds: float, label: str) -> None:
    """Work for long, and never ask whether anybody still wants it."""
    trace("deaf", f"start {label} {current_context().epoch}")
    threading.Event().wait(seconds)


@app.task
def alone(seconds: float, label: str) -> None:
    """Say when somebody else is inside; the lock goes with the process that held it."""
    with (_FOLDER / "inside").open("a") as door:
        try:
            fcntl.flock(door, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            trace("overlap", label)
        threading.Event().wait(seconds)
        trace("alone", label)


@app.task
async def hold(gate: str, number: int) -> int:
    """Stay in flight until a file appears."""
    context = current_context()
    trace("hold", f"start {number} {context.epoch}")
    while not (_FOLDER / gate).exists():  # noqa: ASYNC110 - another process makes the file
        await asyncio.sleep(0.25)
    trace("hold", f"end {number} {context.epoch}")
    return number


@app.task
def poison() -> None:
    """Take the whole process down."""
    trace("poison", str(current_context().epoch))
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait()


@app.task(max_retry_times=2, retry_interval=0.1, jitter=0.0)
def flaky(fails: int) -> int:
    """Fail until the given attempt."""
    context = current_context()
    trace("flaky", str(context.attempt))
    if context.attempt < fails:
        msg = f"attempt {context.attempt} fails on purpose"
        raise RuntimeError(msg)
    return context.attempt


@app.task(max_retry_times=3, retry_on=ConnectionError, retry_delay=3)
def unsteady() -> int:
    """Fail once, and say then how often that has happened."""
    context = current_context()
    trace("unsteady", f"{context.attempt} {context.epoch} {context.runner_id}")
    if context.attempt == 0:
        raise ConnectionError("not at the first attempt")
    return context.attempt
