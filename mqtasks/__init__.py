"""Durable tasks on MySQL, SQLite or memory, with Redis for hints.

Everything public is named here and loaded when it is first used (PEP 562), so that importing one
part never costs the import of all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mqtasks._version import __version__

if TYPE_CHECKING:
    from mqtasks.app import (
        MQTasks,
        Plan,
        Task,
        TaskHandle,
        Waited,
        as_completed,
        chain,
        group,
        results,
        wait,
    )
    from mqtasks.conditions import Condition, Op, where
    from mqtasks.debug import debug_ctl_task_framework
    from mqtasks.errors import (
        Cancel,
        ConfigError,
        CronNotFound,
        Fail,
        InvalidArgument,
        InvalidCondition,
        InvalidCron,
        InvalidTask,
        MQTasksError,
        NotLeader,
        PayloadError,
        PayloadTooLarge,
        ResultTimeout,
        Retry,
        RunnerConflict,
        SchemaMismatch,
        Snooze,
        StorageConflict,
        StorageError,
        StorageUnavailable,
        TaskAborted,
        TaskCanceled,
        TaskFailed,
        TaskNotFound,
        TransactionAborted,
        UnknownExecutor,
    )
    from mqtasks.holder import CreateTaskService, TaskServiceHolder
    from mqtasks.middleware import (
        CallNext,
        EnqueueContext,
        EnqueueTask,
        ExecutionContext,
        Failure,
        Middleware,
        around,
        on_error,
    )
    from mqtasks.model import (
        AsyncTask,
        Attempt,
        AttemptOutcome,
        CronTask,
        DependencyOutcome,
        ExecuteResult,
        LabelRule,
        NewTask,
        ParentResult,
        Pause,
        PauseKind,
        Progress,
        RateLimit,
        ResultCode,
        TaskMetadata,
        TaskOptions,
        TaskStatus,
        label,
    )
    from mqtasks.payload import FernetTransform, PayloadTransform
    from mqtasks.retry import RetryPolicy
    from mqtasks.scheduler import Scheduler, SchedulerOptions
    from mqtasks.service import TaskService
    from mqtasks.storage import (
        FixedTaskStorageFactory,
        MemoryTaskStorage,
        MySQLTaskStorage,
        MySQLTaskStorageFactory,
        SQLiteTaskStorage,
        TaskStorage,
        TaskStorageFactory,
        storage_from_url,
    )
    from mqtasks.worker import RunnerOptions, TaskContext, TaskLogFilter, TaskRunner

_HOMES = {
    "mqtasks.app": (
        "MQTasks",
        "Plan",
        "Task",
        "TaskHandle",
        "Waited",
        "as_completed",
        "chain",
        "group",
        "results",
        "wait",
    ),
    "mqtasks.conditions": ("Condition", "Op", "where"),
    "mqtasks.debug": ("debug_ctl_task_framework",),
    "mqtasks.errors": (
        "Cancel",
        "ConfigError",
        "CronNotFound",
        "Fail",
        "InvalidArgument",
        "InvalidCondition",
        "InvalidCron",
        "InvalidTask",
        "MQTasksError",
        "NotLeader",
        "PayloadError",
        "PayloadTooLarge",
        "ResultTimeout",
        "Retry",
        "RunnerConflict",
        "SchemaMismatch",
        "Snooze",
        "StorageConflict",
        "StorageError",
        "StorageUnavailable",
        "TaskAborted",
        "TaskCanceled",
        "TaskFailed",
        "TaskNotFound",
        "TransactionAborted",
        "UnknownExecutor",
    ),
    "mqtasks.holder": ("CreateTaskService", "TaskServiceHolder"),
    "mqtasks.middleware": (
        "CallNext",
        "EnqueueContext",
        "EnqueueTask",
        "ExecutionContext",
        "Failure",
        "Middleware",
        "around",
        "on_error",
    ),
    "mqtasks.model": (
        "AsyncTask",
        "Attempt",
        "AttemptOutcome",
        "CronTask",
        "DependencyOutcome",
        "ExecuteResult",
        "LabelRule",
        "NewTask",
        "ParentResult",
        "Pause",
        "PauseKind",
        "Progress",
        "RateLimit",
        "ResultCode",
        "TaskMetadata",
        "TaskOptions",
        "TaskStatus",
        "label",
    ),
    "mqtasks.payload": ("FernetTransform", "PayloadTransform"),
    "mqtasks.retry": ("RetryPolicy",),
    "mqtasks.scheduler": ("Scheduler", "SchedulerOptions"),
    "mqtasks.service": ("TaskService",),
    "mqtasks.storage": (
        "FixedTaskStorageFactory",
        "MemoryTaskStorage",
        "MySQLTaskStorage",
        "MySQLTaskStorageFactory",
        "SQLiteTaskStorage",
        "TaskStorage",
        "TaskStorageFactory",
        "storage_from_url",
    ),
    "mqtasks.worker": ("RunnerOptions", "TaskContext", "TaskLogFilter", "TaskRunner"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "AsyncTask",
    "Attempt",
    "AttemptOutcome",
    "CallNext",
    "Cancel",
    "Condition",
    "ConfigError",
    "CreateTaskService",
    "CronNotFound",
    "CronTask",
    "DependencyOutcome",
    "EnqueueContext",
    "EnqueueTask",
    "ExecuteResult",
    "ExecutionContext",
    "Fail",
    "Failure",
    "FernetTransform",
    "FixedTaskStorageFactory",
    "InvalidArgument",
    "InvalidCondition",
    "InvalidCron",
    "InvalidTask",
    "LabelRule",
    "MQTasks",
    "MQTasksError",
    "MemoryTaskStorage",
    "Middleware",
    "MySQLTaskStorage",
    "MySQLTaskStorageFactory",
    "NewTask",
    "NotLeader",
    "Op",
    "ParentResult",
    "Pause",
    "PauseKind",
    "PayloadError",
    "PayloadTooLarge",
    "PayloadTransform",
    "Plan",
    "Progress",
    "RateLimit",
    "ResultCode",
    "ResultTimeout",
    "Retry",
    "RetryPolicy",
    "RunnerConflict",
    "RunnerOptions",
    "SQLiteTaskStorage",
    "Scheduler",
    "SchedulerOptions",
    "SchemaMismatch",
    "Snooze",
    "StorageConflict",
    "StorageError",
    "StorageUnavailable",
    "Task",
    "TaskAborted",
    "TaskCanceled",
    "TaskContext",
    "TaskFailed",
    "TaskHandle",
    "TaskLogFilter",
    "TaskMetadata",
    "TaskNotFound",
    "TaskOptions",
    "TaskRunner",
    "TaskService",
    "TaskServiceHolder",
    "TaskStatus",
    "TaskStorage",
    "TaskStorageFactory",
    "TransactionAborted",
    "UnknownExecutor",
    "Waited",
    "__version__",
    "around",
    "as_completed",
    "chain",
    "debug_ctl_task_framework",
    "group",
    "label",
    "on_error",
    "results",
    "storage_from_url",
    "wait",
    "where",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home on first use."""
    home = _HOME_OF.get(name)
    if home is None:
        msg = f"module 'mqtasks' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
