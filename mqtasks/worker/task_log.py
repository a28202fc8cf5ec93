"""The logger that a task's context hands out."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from mqtasks.worker.held import Held

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


class TaskLog(_Adapter):
    """Puts the ids into each record's attributes, and the task id in front of its message."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the ids to one record; its own ``extra`` wins."""
        ids = self.extra or {}
        kwargs["extra"] = {**ids, **(kwargs.get("extra") or {})}
        return f"task {ids['task_id']}: {msg}", kwargs


def log_of(held: Held, log: logging.Logger, runner_id: str) -> TaskLog:
    """Return the logger of one execution, a child of the runner's ``log``."""
    return TaskLog(
        log.getChild("task"),
        {
            "task_id": held.task_id,
            "epoch": held.epoch,
            "attempt": held.task.attempt,
            "runner": runner_id,
        },
    )
