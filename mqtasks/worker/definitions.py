"""Executors of the reference's form from the definitions of an application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mqtasks.errors import Verdict
from mqtasks.middleware import Middleware, listeners
from mqtasks.model import AsyncTask
from mqtasks.registry import TaskDefinition
from mqtasks.worker.context import TaskContext
from mqtasks.worker.executors import Executors, TaskExecutor
from mqtasks.worker.isolation.call import IsolatedCall
from mqtasks.worker.surrounded import surrounded


def register_definition(
    executors: Executors, definition: TaskDefinition, middlewares: Sequence[Middleware] = ()
) -> bool:
    """Register the executor of a definition, with all it is to be treated by; False if known."""
    return executors.register(
        definition.executor,
        executor_of(definition, middlewares),
        definition.codec,
        definition.retry,
        listeners(middlewares),
    )


def executor_of(definition: TaskDefinition, middlewares: Sequence[Middleware] = ()) -> TaskExecutor:
    """Return what runs tasks of a definition: arguments from the payload, the result as bytes.

    Around it stand the ``middlewares`` that stand around executions. Raises ConfigError for one
    that cannot stand around this one.
    """
    if definition.isolation == "process":
        if middlewares:
            surrounded(definition, middlewares)  # what it refuses, the process would find too late
        return IsolatedCall(definition)
    if middlewares:
        wrapped = surrounded(definition, middlewares)
        if wrapped is not None:
            return wrapped
    if definition.convention == "raw":
        return definition.function
    if definition.isolation == "async":
        return _async_call(definition)
    return _plain_call(definition)


def _plain_call(definition: TaskDefinition) -> TaskExecutor:
    function, arguments, encode = _ways(definition)

    def execute(_context: TaskContext, task: AsyncTask) -> bytes | None:
        data = task.metadata.context
        if data:
            args, kwargs = arguments(data)
            value = function(*args, **kwargs)
        else:
            value = function()
        return None if value is None else encode(value)

    # `TaskContext.transaction` stores results as the task's own codec does.
    execute.encode = encode  # type: ignore[attr-defined]
    return execute


def _async_call(definition: TaskDefinition) -> TaskExecutor:
    function, arguments, encode = _ways(definition)

    async def execute(_context: TaskContext, task: AsyncTask) -> bytes | None:
        args, kwargs = arguments(task.metadata.context)
        value = await function(*args, **kwargs)
        return None if value is None else encode(value)

    # `TaskContext.transaction` stores results as the task's own codec does.
    execute.encode = encode  # type: ignore[attr-defined]
    return execute


def _ways(
    definition: TaskDefinition,
) -> tuple[Callable[..., Any], Callable[[bytes], tuple[Any, Any]], Callable[[Any], bytes]]:
    """Return the function, the way in to its arguments, and the way out of its result."""
    codec, signature = definition.codec, definition.signature
    return (
        definition.function,
        lambda data: codec.decode_call(data, signature),
        lambda value: codec.encode_result(_unless_verdict(value)),
    )


def _unless_verdict(value: Any) -> Any:
    """Return a result; raise it if it is the executor's verdict on its task."""
    if isinstance(value, Verdict):
        raise value
    return value
