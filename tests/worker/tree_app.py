"""The app of the process tests: ``tests.worker.tree_app:app``, on the database that is given."""

from __future__ import annotations

import os
import signal

from mqtasks import MQTasks
from mqtasks.worker import current_context

app = MQTasks()


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def hold() -> str:
    """Wait for a cancellation, up to a minute."""
    context = current_context()
    context.wait_cancelled(60)
    return context.cancel_reason


@app.task
def stubborn() -> None:
    """Wait for half a minute, whatever happens."""
    signal.sigtimedwait([], 30)


@app.task
def die() -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def hog() -> None:
    """Keep the interpreter to itself for minutes."""
    pow(3, 10**9)


@app.task(max_retry_times=5)
def leave() -> None:
    """End this process without a word."""
    os._exit(3)
