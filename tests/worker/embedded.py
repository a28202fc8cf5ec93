"""A program with an embedded runner, for tests that kill it: ``embedded.py URL``."""

from __future__ import annotations

import sys
import threading

from mqtasks.service import TaskService
from mqtasks.storage.factory import storage_from_url
from mqtasks.worker import RunnerOptions, TaskContext, TaskRunner


def hold(ctx: TaskContext, _task: object) -> None:
    """Wait for a cancellation."""
    ctx.wait_cancelled(60)


def main() -> None:
    """Run tasks until killed."""
    service = TaskService(storage_from_url(sys.argv[1]))
    runner = TaskRunner(
        "embedded",
        service,
        RunnerOptions(parallelism=2, heartbeat_interval=0.3, heartbeat_timeout=60.0),
    )
    runner.register_executor("hold", hold)
    runner.start()
    threading.Event().wait()


if __name__ == "__main__":
    main()
