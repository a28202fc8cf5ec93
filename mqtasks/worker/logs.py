"""Which task a log line belongs to."""

from __future__ import annotations

import logging
from typing import Final

from mqtasks.worker.context import current

FIELDS: Final = ("task_id", "executor", "attempt", "epoch", "runner")


class TaskLogFilter(logging.Filter):
    """Adds the task that is being executed to each record; it refuses none.

    Records get ``task_id``, ``executor``, ``attempt`` (how often it has failed before), ``epoch``
    and ``runner``: of any logger, logged in the executor's thread or coroutine. All are None
    elsewhere, also in threads that an executor starts, unless it runs them in a copy of its context
    (`contextvars.copy_context`). What a record has already stays.

    Add it to a handler rather than to a logger, whose filters see no records of its children.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; return True."""
        context = current.get()
        known = record.__dict__
        if context is None:
            for name in FIELDS:
                known.setdefault(name, None)
        else:
            known.setdefault("task_id", context.task_id)
            known.setdefault("executor", context.task.metadata.executor)
            known.setdefault("attempt", context.attempt)
            known.setdefault("epoch", context.epoch)
            known.setdefault("runner", context.runner_id)
        return True


def add_task_fields() -> None:
    """Let all present handlers of the root logger tell of tasks. May be called again."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, TaskLogFilter) for one in handler.filters):
            handler.addFilter(TaskLogFilter())
