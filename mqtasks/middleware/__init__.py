"""Middleware: what stands around creating and executing tasks, and hears of failures."""

from mqtasks.middleware.base import ExecutionContext, Failure, Middleware, checked
from mqtasks.middleware.chain import CallNext, compose
from mqtasks.middleware.enqueue import EnqueueContext, EnqueueTask, enqueue_through
from mqtasks.middleware.execute import listeners, surround, tell
from mqtasks.middleware.ready import around, on_error

__all__ = [
    "CallNext",
    "EnqueueContext",
    "EnqueueTask",
    "ExecutionContext",
    "Failure",
    "Middleware",
    "around",
    "checked",
    "compose",
    "enqueue_through",
    "listeners",
    "on_error",
    "surround",
    "tell",
]
