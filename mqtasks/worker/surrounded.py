"""Executors with middlewares around them. Without any, none of this is in the way of a task."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from mqtasks.errors import MQTasksError, Verdict
from mqtasks.middleware import Middleware, surround
from mqtasks.model import AsyncTask
from mqtasks.payload import is_async
from mqtasks.registry import TaskDefinition
from mqtasks.worker.context import TaskContext
from mqtasks.worker.executors import TaskExecutor


def surrounded(
    definition: TaskDefinition, middlewares: Sequence[Middleware]
) -> TaskExecutor | None:
    """Return what runs tasks of a definition inside ``middlewares``; None if none surrounds it.

    They see the function's own result, and all errors but those of storing it. Raises ConfigError
    for one that cannot stand around this executor.
    """
    innermost = _innermost(definition)
    chain = surround(middlewares, innermost, definition.executor)
    if chain is innermost:
        return None
    raw = definition.convention == "raw"
    awaits = is_async(definition.function)

    def encode(value: Any) -> bytes:
        return definition.codec.encode_result(value)

    def stored(value: Any) -> Any:
        if isinstance(value, Verdict):
            raise value
        if inspect.iscoroutine(value):
            value.close()
            raise MQTasksError(
                f"a middleware around {definition.executor!r} returned a coroutine that nobody"
                " awaits: `return await call_next(context)`"
            )
        return value if raw or value is None else encode(value)

    def execute(context: TaskContext, _task: AsyncTask) -> Any:
        return stored(chain(context))

    async def execute_async(context: TaskContext, _task: AsyncTask) -> Any:
        return stored(await chain(context))

    execution: TaskExecutor = execute_async if awaits else execute
    if not raw:
        # `TaskContext.transaction` stores results as the task's own codec does.
        execution.encode = encode  # type: ignore[attr-defined]
    return execution


def _innermost(definition: TaskDefinition) -> Any:
    """Return the call itself, of a context alone."""
    function, codec, signature = definition.function, definition.codec, definition.signature

    def call(context: Any) -> Any:
        if definition.convention == "raw":
            return function(context, context.task)
        args, kwargs = codec.decode_call(context.task.metadata.context, signature)
        return function(*args, **kwargs)

    async def call_async(context: Any) -> Any:
        return await call(context)

    return call_async if is_async(function) else call
