"""Isolated tasks with policies of their own: ``tests.worker.isolation.policy_app:app``."""

from __future__ import annotations

import threading

from mqtasks import MQTasks

app = MQTasks()


class Limited(Exception):
    """Never leaves its process, as its class may not be known elsewhere."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"wait {wait} s")
        self.wait = wait


def patience(attempt: int, error: Exception) -> float:
    if not isinstance(error, Limited):
        raise TypeError(f"no patience for attempt {attempt}")
    return error.wait * attempt


@app.task(isolation="process", max_retry_times=9, retry_delay=patience, give_up_on=ValueError)
def call(kind: str) -> None:
    if kind == "limited":
        raise Limited(1000.0)
    raise {"given up": ValueError, "other": OSError}[kind]


@app.task(isolation="process", max_retry_times=9, give_up_on=TimeoutError, timeout=0.3)
def hang() -> None:
    threading.Event().wait()
