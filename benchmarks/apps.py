"""The application that is measured: tasks that do nothing but say that they ran."""

from __future__ import annotations

import functools
import os
import time

from benchmarks.counting import ExecutionLog
from mqtasks import MQTasks

LOG_VARIABLE = "MQTASKS_BENCHMARK_LOG"

app = MQTasks()


@functools.cache
def _log() -> ExecutionLog:
    return ExecutionLog(os.environ[LOG_VARIABLE])


@app.task(name="bench.noop")
def noop(number: int) -> None:
    """Note one execution."""
    _log().add(number)


@app.task(name="bench.noop_async")
async def noop_async(number: int) -> None:
    """Note one execution, on the event loop."""
    _log().add(number)


@app.task(name="bench.rest")
def rest(seconds: float) -> None:
    """Hold a slot for a while, and need nothing else."""
    time.sleep(seconds)


@app.task(name="bench.block", concurrency=1)
def block(seconds: float) -> None:
    """Hold the only place of its executor."""
    time.sleep(seconds)
