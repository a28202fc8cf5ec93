"""Executing tasks: `TaskRunner`, and the process tree of ``mqtasks worker``.

Names are loaded when they are first used (PEP 562): the processes that execute isolated tasks have
no use for a runner, and start the sooner without.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mqtasks.worker.context import TaskContext, current_context
    from mqtasks.worker.executors import TaskExecutor
    from mqtasks.worker.logs import TaskLogFilter
    from mqtasks.worker.options import RunnerOptions
    from mqtasks.worker.runner import TaskRunner

_HOME_OF = {
    "RunnerOptions": "options",
    "TaskContext": "context",
    "TaskExecutor": "executors",
    "TaskLogFilter": "logs",
    "TaskRunner": "runner",
    "current_context": "context",
}

__all__ = [
    "RunnerOptions",
    "TaskContext",
    "TaskExecutor",
    "TaskLogFilter",
    "TaskRunner",
    "current_context",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'mqtasks.worker' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(f"mqtasks.worker.{home}"), name)
    globals()[name] = value
    return value
