"""Executing tasks: `TaskRunner`, and the process tree of ``mqtasks worker``."""

from mqtasks.worker.context import TaskContext, current_context
from mqtasks.worker.executors import TaskExecutor
from mqtasks.worker.logs import TaskLogFilter
from mqtasks.worker.options import RunnerOptions
from mqtasks.worker.runner import TaskRunner

__all__ = [
    "RunnerOptions",
    "TaskContext",
    "TaskExecutor",
    "TaskLogFilter",
    "TaskRunner",
    "current_context",
]
