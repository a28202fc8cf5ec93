"""Tasks in processes of their own that do their worst: ``tests.worker.isolation.horrors:app``."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import deque
from itertools import repeat

from mqtasks import MQTasks
from mqtasks.worker import current_context

app = MQTasks()

TWO_GIB = 2 << 30


@app.task(isolation="process")
def add(left: int, right: int) -> int:
    return left + right


@app.task(isolation="process")
def pid() -> int:
    return os.getpid()


@app.task(isolation="process", timeout=0.5)
def endless_power() -> None:
    pow(3, 10**9)


@app.task(isolation="process", timeout=0.5)
def endless_c() -> None:
    """Never come back from a C function that does not look for signals."""
    deque(repeat(0), maxlen=0)


@app.task(isolation="process")
def endless() -> None:
    current_context().report_progress(b"inside")
    while True:
        pass


@app.task(isolation="process")
def end_runner() -> None:
    """Kill the runner, which is the parent of this process."""
    os.kill(os.getppid(), signal.SIGKILL)
    signal.sigtimedwait([], 20)


@app.task(isolation="process")
def leave(code: int = 3) -> None:
    os._exit(code)


@app.task(isolation="process")
def segfault() -> None:
    ctypes.string_at(0)


@app.task(isolation="process", memory_limit=1 << 30)
def hoard() -> int:
    return len(bytearray(TWO_GIB))


@app.task(isolation="process")
def hold() -> str:
    """Wait for a cancellation, up to a minute."""
    context = current_context()
    context.wait_cancelled(60)
    return context.cancel_reason


@app.task(isolation="process", timeout=0.5)
async def endless_wait() -> None:
    await asyncio.Event().wait()


@app.task(isolation="process", timeout=0.5)
async def endless_block() -> None:
    deque(repeat(0), maxlen=0)


@app.task(isolation="process")
async def add_later(left: int, right: int) -> int:
    await asyncio.sleep(0)
    return left + right


@app.task(isolation="process", timeout=0.5)
def stubborn() -> None:
    """Swallow whatever is raised."""
    while True:
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001 - that is the point
            pass


@app.task(isolation="process")
def with_a_grandchild() -> None:
    """Start a program, tell which, and die."""
    program = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    current_context().report_progress(str(program.pid).encode())
    threading.Event().wait(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(isolation="process")
def stubborn_for_good() -> None:
    """Swallow whatever is raised, without any limit."""
    current_context().report_progress(b"inside")
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass


@app.task(isolation="process")
async def endless_block_for_good() -> None:
    current_context().report_progress(b"inside")
    deque(repeat(0), maxlen=0)


kept: list[bytearray] = []


@app.task(isolation="process")
def keep(size: int) -> int:
    """Never free some memory."""
    kept.append(bytearray(size))
    return os.getpid()


@app.task(isolation="process")
def transact_and_leave(path: str, *, inside: bool) -> None:
    """Die in the transaction that completes the task, or right behind it."""
    connection = sqlite3.connect(path, isolation_level=None)
    with current_context().transaction(connection):
        connection.execute("INSERT INTO mine VALUES (1)")
        if inside:
            os._exit(1)
    os._exit(2)


@app.task(isolation="process")
def fork_and_return() -> int:
    """Come back twice."""
    return os.fork()


@app.task(isolation="process")
def leave_a_thread() -> None:
    """Report progress of this task when the next one runs."""
    context = current_context()

    def late() -> None:
        other: object = context
        while other is context:
            other = running[0]
            threading.Event().wait(0.01)
        context.report_progress(b"late")
        reported.set()

    running[:] = [context]
    reported.clear()
    threading.Thread(target=late, daemon=True).start()


running: list[object] = []
reported = threading.Event()


@app.task(isolation="process")
def be_next() -> bool:
    running[:] = [current_context()]
    return reported.wait(20)


@app.task(isolation="process")
def close_everything() -> None:
    os.closerange(3, 64)


@app.task(isolation="process")
def hold_after_a_crash() -> None:
    context = current_context()
    if context.task.crashes == 0:
        os._exit(1)
    context.wait_cancelled(60)


@app.task(isolation="process")
def tell_pid_in_c() -> None:
    """Say which process this is, and which its runner; then never let go of the interpreter."""
    context = current_context()
    pids = f"{context.epoch} {os.getpid()} {os.getppid()}"
    context.report_progress(pids.encode())
    threading.Event().wait(0.2)  # until the last report is out
    deque(repeat(0), maxlen=0)


@app.task
def neighbour_counts(seconds: float) -> int:
    """Count the hundredths of a second in which this thread came to run."""
    context = current_context()
    ticks, begun = 0, time.monotonic()
    while time.monotonic() - begun < seconds and not context.wait_cancelled(0.01):
        ticks += 1
    return ticks


@app.task
def neighbour_holds() -> None:
    current_context().wait_cancelled(60)


@app.task(isolation="process", timeout=60)
def use_a_pool() -> int:
    """Fork processes, and terminate them: that is how a pool ends."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return sum(pool.map(abs, [-1, -2]))
